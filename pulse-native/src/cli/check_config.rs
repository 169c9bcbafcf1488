//! `pulse check-config`: what `pulse serve` would make of the same file, environment and flags.

use std::{env, io::Write as _, path::PathBuf, process::ExitCode};

use clap::Args;
use pulse_native::config::{self, Loaded};

use super::{MISUSED, complain, flags::Flags};

pub(super) const AFTER: &str = "\
Prints the settings that hold, as a file, each with where it comes from: `default`, a line of the file, a variable or a
flag. What is allowed but probably not meant goes to standard error.

Exit codes:
  0  a server would start with these settings
  2  it would not; each mistake is named on standard error, with its place and what is allowed there";

/// What to check.
#[derive(Args, Debug)]
pub(super) struct CheckConfig {
    /// Configuration file, in TOML; without one, the environment and the flags are checked.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    settings: Flags,
}

impl CheckConfig {
    pub(super) fn run(self) -> ExitCode {
        match config::load(self.file.as_deref(), env::vars_os(), &self.settings.0) {
            Ok(loaded) => {
                loaded.warnings.iter().for_each(complain);
                super::print(&text(&loaded))
            }
            Err(errors) => {
                errors.iter().for_each(complain);
                ExitCode::from(MISUSED)
            }
        }
    }
}

/// The settings that hold, as a file.
fn text(loaded: &Loaded) -> String {
    let effective = loaded.effective();
    let mut out = Vec::new();
    for section in effective.chunk_by(|one, next| one.section == next.section) {
        let lines = section.iter().map(|line| (format!("{} = {}", line.key, line.value), line.origin));
        let lines: Vec<_> = lines.collect();
        let width = lines.iter().map(|(line, _)| line.len()).max().unwrap_or(0).min(40);
        let begin = if out.is_empty() { "" } else { "\n" };
        writeln!(out, "{begin}[{}]", section[0].section).expect("a list takes bytes");
        for (line, origin) in lines {
            writeln!(out, "{line:width$}  # {origin}").expect("a list takes bytes");
        }
    }
    String::from_utf8(out).expect("text was written")
}
