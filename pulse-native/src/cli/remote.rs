//! What the commands that talk to a server share: where it is, and how they end.

use std::{future::Future, path::PathBuf, process::ExitCode};

use clap::Args;
use pulse_native::client::{Client, ConnectError, Interruption, Options, Roots};

use super::{MISUSED, complain};

/// Bytes of the largest payload that a server can be configured to take.
pub(crate) const MAX_PAYLOAD: usize = 64 << 20;

/// Which server to talk to.
#[derive(Args, Debug)]
pub(crate) struct Remote {
    /// Where the server is; wss:// for TLS.
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080/ws")]
    pub(crate) url: String,
    /// Trust the certificates in this file, PEM, instead of those that the system trusts.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
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
    /// Connects, for as long as the connection lasts.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        self.connect_with(Options { reconnect: false, ..Options::default() }).await
    }

    pub(crate) async fn connect_with(&self, options: Options) -> Result<Client, Failure> {
        let roots = self.ca.clone().map_or(Roots::System, Roots::File);
        let options = Options {
            name: concat!("pulse/", env!("CARGO_PKG_VERSION")).to_owned(),
            roots,
            // Whatever a server can be configured to take, twice, so that one message can be on its way while another is read.
            outbox_bytes: 2 * MAX_PAYLOAD + (1 << 20),
            ..options
        };
        Client::connect(&self.url, options).await.map_err(|error| match error {
            ConnectError::Url(_) | ConnectError::Roots(_) => Failure::Misused(error.to_string()),
            error => Failure::Failed(error.to_string()),
        })
    }
}

/// Why a client is closed that nobody has closed here.
pub(crate) fn lost(why: Option<Interruption>) -> Failure {
    Failure::Failed(why.map_or_else(|| "the client was closed".to_owned(), |why| why.to_string()))
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
