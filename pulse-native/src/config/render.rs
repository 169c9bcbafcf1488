//! The settings as text: the default file and the reference of `docs/CONFIGURATION.md`.

use std::fmt::Write as _;

use super::{
    setting::{Kind, Setting},
    table::{SECTIONS, SETTINGS},
};

/// A configuration file that says what holds without one: every setting with its meaning and its default.
#[must_use]
pub fn default_toml() -> String {
    let mut text = String::new();
    for (section, about) in SECTIONS {
        let _ = writeln!(text, "#{about}\n[{section}]");
        for setting in of_section(section) {
            let _ = writeln!(text, "# {} Allowed: {}.", setting.doc(), setting.kind.allowed());
            let _ = writeln!(text, "{} = {}", setting.key, setting.default_value());
        }
        text.push('\n');
    }
    text.push_str(
        "# The same rules for the channels of one namespace, here those whose names start with `chat:`;\n\
         # what a namespace does not say is as in [channels].\n\
         # [namespaces.chat]\n\
         # publish = \"nobody\"\n",
    );
    text
}

/// The reference in Markdown: a table for each section.
#[must_use]
pub fn reference() -> String {
    let mut text = String::new();
    for (section, about) in SECTIONS {
        let _ = writeln!(text, "### `[{section}]`\n\n{}\n", about.trim_start());
        text.push_str("| Key | Default | Allowed | Variable | Flag | Meaning |\n");
        text.push_str("|---|---|---|---|---|---|\n");
        for setting in of_section(section) {
            let variables = [Some(setting.variable()), setting.short_variable()];
            let flags = [Some(setting.flag()), setting.short_flag().map(str::to_owned)];
            let all = |names: [Option<String>; 2], before: &str| {
                let names = names.into_iter().flatten().map(|name| format!("`{before}{name}`"));
                names.collect::<Vec<_>>().join(", ")
            };
            let _ = writeln!(
                text,
                "| `{}` | `{}` | {} | {} | {} | {} |",
                setting.key,
                setting.default_value(),
                allowed(&setting.kind),
                all(variables, ""),
                all(flags, "--"),
                setting.doc()
            );
        }
        text.push('\n');
    }
    text
}

/// As in an error, but with numbers that are quicker to read in a table.
fn allowed(kind: &Kind) -> String {
    match kind {
        Kind::Number { min, max, unit: "" } => format!("{min} to {max}"),
        Kind::Number { min, max, unit } => format!("{min} to {max} {unit}"),
        other => other.allowed(),
    }
}

fn of_section(section: &str) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |setting| setting.section == section)
}
