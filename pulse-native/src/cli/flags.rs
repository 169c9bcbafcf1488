//! One flag for each setting of the table.

use std::sync::LazyLock;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, error::Error};
use pulse_native::config::{SETTINGS, Setting};

/// The settings that were given as flags, by their full names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags(pub(crate) Vec<(String, String)>);

/// A setting's names, for as long as the parser wants them.
struct Names {
    setting: &'static Setting,
    path: String,
    flag: String,
    heading: String,
    help: String,
}

static NAMES: LazyLock<Vec<Names>> = LazyLock::new(|| {
    let names = |setting: &'static Setting| Names {
        setting,
        path: setting.path(),
        flag: setting.flag(),
        heading: format!("Settings of [{}]", setting.section),
        help: format!(
            "{} [default: {}] [allowed: {}]",
            setting.doc().trim_end_matches('.'),
            setting.default_value(),
            setting.kind.allowed()
        ),
    };
    SETTINGS.iter().map(names).collect()
});

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.args(NAMES.iter().map(|names| {
            let short = names.setting.short_flag();
            let arg = Arg::new(&*names.path)
                .long(short.unwrap_or(&names.flag))
                .value_name(names.setting.kind.value_name())
                .help(&*names.help)
                .help_heading(&*names.heading)
                .allow_negative_numbers(true)
                // `-h` shows what everyone sets, `--help` everything.
                .hide_short_help(short.is_none());
            if short.is_some() { arg.visible_alias(&*names.flag) } else { arg }
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let given = NAMES.iter().filter_map(|names| {
            let value = matches.get_one::<String>(&names.path)?;
            Some((names.path.clone(), value.clone()))
        });
        self.0.extend(given);
        Ok(())
    }
}
