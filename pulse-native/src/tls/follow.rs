//! Keeps an identity as its files are, soon after they have changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use super::identity::{Identity, Stamp};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Reads the files again when they have changed since they were last read, and then stayed the same for one look: two files
/// are not written at the same moment. Never ends; needs a tokio runtime around it.
pub async fn follow(identity: Arc<Identity>) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changed: Option<Stamp> = None;
    loop {
        looks.tick().await;
        let stamp = identity.stamp();
        if stamp == identity.known() {
            changed = None;
        } else if changed.as_ref() == Some(&stamp) {
            renew(&identity);
            changed = None;
        } else {
            changed = Some(stamp);
        }
    }
}

/// Reads the files again now, and says in the log what came of it.
pub fn renew(identity: &Identity) {
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
