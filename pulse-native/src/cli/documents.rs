//! What the program says of itself for other programs: the default file, completions for shells, manual pages.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use pulse_native::config;

use super::{Cli, MISUSED, complain, print};

pub(super) const AFTER_COMPLETIONS: &str = "\
Examples:
  pulse completions bash > /etc/bash_completion.d/pulse
  pulse completions zsh > ~/.zfunc/_pulse
  pulse completions fish > ~/.config/fish/completions/pulse.fish";

pub(super) const AFTER_MAN: &str = "\
Examples:
  pulse man > /usr/local/share/man/man1/pulse.1
  pulse man sub > /usr/local/share/man/man1/pulse-sub.1
  pulse man | man -l -";

/// `pulse default-config`: a file that says what holds without one.
pub(super) fn default_config() -> ExitCode {
    print(&config::default_toml())
}

/// For which shell.
#[derive(Args, Debug)]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> ExitCode {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "pulse", &mut script);
        print(&String::from_utf8(script).expect("scripts are text"))
    }
}

/// Of which command.
#[derive(Args, Debug)]
pub(super) struct Man {
    /// The command; without one, the page of the whole program.
    command: Option<String>,
}

impl Man {
    pub(super) fn run(&self) -> ExitCode {
        let mut program = Cli::command();
        program.build();
        let page = match &self.command {
            None => clap_mangen::Man::new(program),
            Some(name) => {
                let Some(command) = program.find_subcommand(name) else {
                    complain(format_args!("there is no command {name:?}; `pulse --help` lists them"));
                    return ExitCode::from(MISUSED);
                };
                clap_mangen::Man::new(command.clone()).title(format!("pulse-{name}"))
            }
        };
        let mut text = Vec::new();
        page.render(&mut text).expect("a list takes bytes");
        print(&String::from_utf8(text).expect("pages are text"))
    }
}
