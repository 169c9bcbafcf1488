//! The signals that end a server.

use std::future::Future;
use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

/// The exit status of a process that a second signal ended.
const IMPATIENT: i32 = 130;

/// A future that is ready at the first SIGTERM or SIGINT. A second one ends the process at once, with status 130.
///
/// Signals are caught from the call on, which needs a tokio runtime with I/O around it.
///
/// # Errors
/// If the signals cannot be caught.
pub fn requested() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    Ok(async move {
        let name = next().await;
        info!("{name}: no more connections are accepted, and clients are asked to leave");
        tokio::spawn(async move {
            let name = next().await;
            warn!("{name} as well: leaving at once");
            std::process::exit(IMPATIENT);
        });
    })
}
