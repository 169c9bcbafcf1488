//! Keeps an identity as its files are: on SIGHUP at once, and soon after they have changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::identity::{Identity, Stamp};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Reads the files again whenever SIGHUP comes, and when they have changed and then stayed the same for one look: two files
/// are not written at the same moment. Never ends; needs a tokio runtime around it.
///
/// # Errors
/// If the signal cannot be listened to.
pub fn follow(identity: Arc<Identity>) -> std::io::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    // As of now, not of the first poll: a change in between would never be noticed.
    let mut known = identity.stamp();
    Ok(async move {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changed: Option<Stamp> = None;
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                _ = looks.tick() => false,
            };
            let stamp = identity.stamp();
            let settled = changed.as_ref() == Some(&stamp);
            if asked || (settled && stamp != known) {
                (known, changed) = (stamp, None);
                reload(&identity);
            } else {
                changed = (stamp != known).then_some(stamp);
            }
        }
    })
}

fn reload(identity: &Identity) {
    match identity.reload() {
        Ok(()) => {
            info!("new connections get the certificate that is now in {}", identity.cert().display());
            if let Some(warning) = identity.warning() {
                warn!("{warning}");
            }
        }
        Err(error) => error!("the certificate stays as it was: {error}"),
    }
}
