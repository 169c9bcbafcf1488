//! What one router is told of the others that hold channels with it, and what they say to each other.
//!
//! Every channel has one *home*, a router that orders and numbers its publications and knows who is present. Routers with
//! subscribers of their own for the channel are its *leaves*. With one router everything is at home.

mod message;
mod outbox;

pub(crate) use message::put_publish;
pub use message::{BadParcel, HistoryQuery, PeerMessage, PresenceRequest, Recall, Recalled};
pub(crate) use outbox::{Asked, Busy, Outbox};

use crate::random::mix;

/// One of the routers that hold channels together, by its number among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u16);

/// Which of several routers this one is. All of them are made with the same `count` and `key`.
///
/// ```
/// let alone = pulse_core::Shards::default();
/// assert_eq!((alone.index, alone.count), (0, 1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shards {
    /// The number of this router, below `count`. The others know it as [`PeerId`] of this number.
    pub index: u16,
    /// How many there are, 1 to [`MAX`](Self::MAX).
    pub count: u16,
    /// Decides which channel is at home where: secret, so that clients cannot choose names that all have one home.
    pub key: u64,
}

impl Shards {
    /// The most routers that share channels.
    pub const MAX: u16 = 64;

    /// The home of a channel whose name has this hash.
    #[inline]
    pub(crate) fn home(&self, hash: u64) -> u16 {
        // Mixed, since the tables of channels use bits of the hash as it is.
        if self.count == 1 { 0 } else { (mix(hash) % u64::from(self.count)) as u16 }
    }
}

impl Default for Shards {
    fn default() -> Self {
        Self { index: 0, count: 1, key: 0 }
    }
}
