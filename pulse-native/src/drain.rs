//! The signals that end a server.

use std::future::Future;
use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

/// The exit status of a process that a second signal ended.
const IMPATIENT: i32 = 130;

/// From now on SIGTERM and SIGINT do not end the process: the future is ready at the first of them. A second one ends
/// the process at once. Needs a tokio runtime around it.
///
/// # Errors
/// If the signals cannot be listened to.
pub fn listen() -> io::Result<impl Future<Output = ()>> {
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
