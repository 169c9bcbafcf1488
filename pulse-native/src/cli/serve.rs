//! `pulse serve`: settings first, then logs, then the server.

use std::{env, path::PathBuf, process::ExitCode};

use clap::Args;
use pulse_native::{
    config::{self, Loaded},
    log,
};

use super::{MISUSED, complain, flags::Flags};

/// What to serve with.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Configuration file, in TOML.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Flags,
}

impl Serve {
    /// Serves until the process is told to stop.
    pub(crate) fn run(self) -> ExitCode {
        match config::load(self.config.as_deref(), env::vars_os(), &self.settings.0) {
            Ok(loaded) => run(&loaded),
            Err(errors) => {
                for error in errors.iter() {
                    complain(error);
                }
                ExitCode::from(MISUSED)
            }
        }
    }
}

fn run(loaded: &Loaded) -> ExitCode {
    log::init(&loaded.config.logging);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    announce(loaded);
    ExitCode::SUCCESS
}

/// Logs the effective settings, a line for each section: what holds, and what made it so.
fn announce(loaded: &Loaded) {
    let effective = loaded.effective();
    for section in effective.chunk_by(|one, next| one.section == next.section) {
        let settings: Vec<String> =
            section.iter().map(|line| format!("{} = {} ({})", line.key, line.value, line.origin)).collect();
        tracing::info!("[{}] {}", section[0].section, settings.join(", "));
    }
}
