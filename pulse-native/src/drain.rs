//! The signals that end a server.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

/// The exit status of a process that a second signal ended.
const IMPATIENT: i32 = 130;

/// Ready at the first SIGTERM or SIGINT. A second one ends the process at once.
///
/// # Errors
/// If the signals cannot be listened to.
pub async fn requested() -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let name = next().await;
    info!("{name}: no more connections are accepted, and clients are asked to leave");
    tokio::spawn(async move {
        let name = next().await;
        warn!("{name} again: leaving at once");
        std::process::exit(IMPATIENT);
    });
    Ok(())
}
