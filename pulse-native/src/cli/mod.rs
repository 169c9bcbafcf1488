//! The command line: what is asked for, and how the process ends.
//!
//! Flags for settings come from the table in [`pulse_native::config`]; each subcommand has a file of its own.

mod bench;
mod check_config;
mod dev_cert;
mod documents;
mod flags;
mod history;
mod line;
mod presence;
mod publish;
mod reload;
mod remote;
mod serve;
mod store;
mod sub;

use std::{
    fmt::Display,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

/// The exit code where the command line or the configuration is wrong. The parser of the command line uses the same
/// number; run-time failures are [`ExitCode::FAILURE`].
const MISUSED: u8 = 2;

/// Pulse, a realtime publish/subscribe server.
///
/// Without a command, `pulse` serves. Settings come from a file, then from the environment, then from flags, each
/// stronger than the one before; without any of them it listens on ws://127.0.0.1:8080/ws.
#[derive(Debug, Parser)]
#[command(name = "pulse", version, after_help = AFTER, after_long_help = AFTER_LONG, max_term_width = 110)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients; the same as no command at all.
    #[command(after_help = AFTER, after_long_help = AFTER_LONG)]
    Serve(serve::Serve),
    /// Print what is published in channels.
    #[command(after_help = sub::AFTER)]
    Sub(sub::Sub),
    /// Publish messages into a channel.
    #[command(name = "pub", after_help = publish::AFTER)]
    Publish(publish::Publish),
    /// Print who is present in a channel.
    #[command(after_help = presence::AFTER)]
    Presence(presence::Presence),
    /// Print what is kept of a channel.
    #[command(after_help = history::AFTER)]
    History(history::History),
    /// Measure a server, or this machine.
    #[command(after_help = bench::AFTER)]
    Bench(bench::Bench),
    /// Make a certificate for trying TLS out.
    #[command(after_help = dev_cert::AFTER)]
    DevCert(dev_cert::DevCert),
    /// Say what a configuration means, or what is wrong with it.
    #[command(after_help = check_config::AFTER)]
    CheckConfig(check_config::CheckConfig),
    /// Look into stored history, copy it into one file, or bring it back.
    #[command(after_help = store::AFTER)]
    Store(store::Store),
    /// Print a configuration file with every setting, its meaning and its default.
    DefaultConfig,
    /// Print a script that makes a shell complete this command line.
    #[command(after_help = documents::AFTER_COMPLETIONS)]
    Completions(documents::Completions),
    /// Print a manual page.
    #[command(after_help = documents::AFTER_MAN)]
    Man(documents::Man),
}

const AFTER: &str = "`pulse --help` shows every setting.";

const AFTER_LONG: &str = "\
Examples:
  pulse                                       listen on ws://127.0.0.1:8080/ws
  pulse --port 9000 --logging-format json     another port, logs for machines
  pulse --config pulse.toml                   settings from a file
  PULSE_LIMITS_MAX_CONNECTIONS=5000 pulse     a setting from the environment
  pulse sub chat:lobby                        print what is published there
  pulse pub chat:lobby 'hello, world'         publish
  pulse presence chat:lobby                   print who is there
  pulse bench                                 what this machine can do
  pulse default-config > pulse.toml           a file to begin with
  pulse check-config pulse.toml               what it means, or what is wrong with it

Times are milliseconds, sizes bytes. A list is separated by commas.
Every setting has a variable, PULSE_<SECTION>_<KEY>, and a place in the file, key under [section].

Exit codes:
  0  it ended as it was asked to
  1  it failed while running, for example because the address is in use
  2  the command line or the configuration is wrong; nothing was started";

/// Parses the command line and does what it says.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => cli.serve.run(),
        Some(Command::Serve(serve)) => serve.run(),
        Some(Command::Sub(sub)) => sub.run(),
        Some(Command::Publish(publish)) => publish.run(),
        Some(Command::Presence(presence)) => presence.run(),
        Some(Command::History(history)) => history.run(),
        Some(Command::Bench(bench)) => bench.run(),
        Some(Command::DevCert(dev_cert)) => dev_cert.run(),
        Some(Command::CheckConfig(check)) => check.run(),
        Some(Command::Store(store)) => store.run(),
        Some(Command::DefaultConfig) => documents::default_config(),
        Some(Command::Completions(completions)) => completions.run(),
        Some(Command::Man(man)) => man.run(),
    }
}

/// Writes to standard output. Whoever has closed it, such as `head`, has what he wants.
fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(format_args!("standard output takes nothing: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Tells people, where there is somebody to tell.
fn complain(text: impl Display) {
    // A closed standard error leaves nobody to tell, and is no reason for another exit code.
    let _ = writeln!(io::stderr(), "pulse: {text}");
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    #[track_caller]
    fn parse(line: &str) -> Result<Cli, ErrorKind> {
        Cli::try_parse_from(line.split(' ')).map_err(|error| error.kind())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_is_what_pulse_does_without_a_command() {
        let flags = |cli: Cli| match cli.command {
            None => cli.serve.settings.0,
            Some(Command::Serve(serve)) => serve.settings.0,
            Some(other) => panic!("{other:?} does not serve"),
        };
        let expected = [("server.port".to_owned(), "9000".to_owned())];
        for line in
            ["pulse --port 9000", "pulse --server-port 9000", "pulse serve --port 9000", "pulse --port=9000"]
        {
            assert_eq!(flags(parse(line).expect("this is a command line")), expected, "{line}");
        }
        assert_eq!(flags(parse("pulse").expect("this is a command line")), []);
    }

    #[test]
    fn a_value_that_no_setting_takes_is_left_to_the_configuration_to_refuse() {
        let cli = parse("pulse --port -1").expect("the flag exists");
        assert_eq!(cli.serve.settings.0, [("server.port".to_owned(), "-1".to_owned())]);
    }

    #[test]
    fn a_flag_that_does_not_exist_or_comes_twice_is_misuse() {
        assert_eq!(parse("pulse --prot 1").err(), Some(ErrorKind::UnknownArgument));
        assert_eq!(parse("pulse --port 1 --server-port 2").err(), Some(ErrorKind::ArgumentConflict));
        assert_eq!(parse("pulse --port").err(), Some(ErrorKind::InvalidValue));
        assert_eq!(parse("pulse srve").err(), Some(ErrorKind::InvalidSubcommand));
        assert_eq!(parse("pulse sub").err(), Some(ErrorKind::MissingRequiredArgument));
        assert_eq!(parse("pulse sub --count 0 c").err(), Some(ErrorKind::ValueValidation));
        assert_eq!(parse("pulse pub c").err(), Some(ErrorKind::MissingRequiredArgument));
        assert_eq!(parse("pulse pub --format yaml c x").err(), Some(ErrorKind::InvalidValue));
    }

    #[test]
    fn a_payload_may_look_like_a_number_below_zero() {
        assert!(parse("pulse pub temperature -5").is_ok());
        assert!(parse("pulse pub chat -- --hello").is_ok());
    }
}
