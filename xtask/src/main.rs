//! The project's own commands, for people and for continuous integration alike: `cargo xtask help` lists them.
//!
//! Nothing here is part of Pulse. A module is one command, or one thing that several commands need.

use std::process::ExitCode;

mod api;
mod autobahn;
mod codes;
mod coverage;
mod interop;
mod lint;
mod playground;
mod project;
mod readme;
mod setup;
mod sh;
mod tally;
mod test;
mod tidy;
mod toolchain;

use project::Project;
use sh::Result;

const HELP: &str = "\
usage: cargo xtask <command>

  setup                     install what the tests need; quick when all is there
  test [--full] [STEP...]   set up, then run every step, or the steps named (--full knows the long ones too)
  lint                      formatting, clippy, documentation, tidy
  tidy                      the project's own checks on its files
  codes                     write the code tables into docs/PROTOCOL.md
  coverage                  print the line and branch coverage of the decoder
  help                      this text
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result {
    let project = Project::find()?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["setup"] => setup::run(&project),
        ["test", rest @ ..] => test::run(&project, rest),
        ["lint"] => lint::run(&project),
        ["tidy"] => tidy::run(&project),
        ["codes"] => codes::run(&project),
        ["coverage"] => coverage::run(&project),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}\n{}", test::help());
            Ok(())
        }
        [] => Err(format!("a command is missing\n\n{HELP}")),
        [other, ..] => Err(format!("{other:?} is no command, or takes no such arguments\n\n{HELP}")),
    }
}
