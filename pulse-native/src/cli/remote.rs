//! What the commands that talk to a server share: where it is, and how they end.

use std::{future::Future, process::ExitCode};

use clap::Args;
use pulse_native::client::{Client, ConnectError, Options};

use super::{MISUSED, complain};

/// Which server to talk to.
#[derive(Args, Debug)]
pub(crate) struct Remote {
    /// Where the server is.
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080/ws")]
    pub(crate) url: String,
}

/// Why a command ends with another exit code than 0: a sentence for standard error.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was asked for makes no sense. 2.
    Misused(String),
    /// It did not work. 1.
    Failed(String),
}

impl Remote {
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let options =
            Options { name: concat!("pulse/", env!("CARGO_PKG_VERSION")).to_owned(), ..Options::default() };
        Client::connect(&self.url, options).await.map_err(|error| match error {
            ConnectError::Url(error) => Failure::Misused(error.to_string()),
            error => Failure::Failed(error.to_string()),
        })
    }
}

/// Does the work of a command, and says why it failed.
pub(crate) fn run(work: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(work);
    // A write to a pipe that nobody empties may be stuck for ever: the process ends without it.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(what)) => {
            complain(what);
            ExitCode::FAILURE
        }
        Err(Failure::Misused(what)) => {
            complain(what);
            ExitCode::from(MISUSED)
        }
    }
}
