//! The command `pulse`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
