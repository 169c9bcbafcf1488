//! Every default and ceiling in one place: value, unit, who may change it and what happens beyond it.

use crate::wire::MAX_SAFE;

/// What one router accepts. The defaults are those of the server's configuration file.
///
/// ```
/// let limits = pulse_core::Limits::default();
/// assert_eq!(limits.max_message_size, 65_536);
/// assert_eq!(limits.transport_message(), 131_072);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Channels that exist at once. A subscription that would make one more gets error 1013.
    pub max_channels: u32,
    /// Subscriptions of one connection. One more gets error 1013.
    pub max_subscriptions_per_connection: u32,
    /// Bytes of payload in one publication. More gets error 1007, and the connection lives on.
    pub max_message_size: u32,
    /// Bytes that wait for a connection which cannot take more. Beyond them it is closed with code 4001.
    pub queue_bytes: u32,
    /// Bytes of data that one member of a channel's presence shows of itself. More gets error 1007.
    pub max_presence_size: u32,
    /// Bytes of all publications and idempotency keys that the channels of one server keep, with an overhead for each; the
    /// channels of one of several routers have its share. Beyond them the oldest give way.
    pub history_bytes: u64,
    /// Bytes that wait for a peer which takes nothing, beyond which publications for it are left out and told as missed. From an
    /// eighth of it on, connections that publish to its subscribers, or through it, are not read from. As much may wait
    /// for the store, beyond which publications of peers are refused with error 1013.
    pub peer_bytes: u32,
}

impl Limits {
    /// Room in a transport message for everything that is not payload: other keys, and many small frames at once.
    pub const MESSAGE_OVERHEAD: usize = 64 * 1024;

    /// Bytes of the largest transport message that a host passes on; it closes the transport at a larger one.
    #[must_use]
    pub fn transport_message(&self) -> usize {
        self.max_message_size as usize + Self::MESSAGE_OVERHEAD
    }

    /// Bytes of requests that wait behind one which a host decides. More are refused with error 1013 each.
    #[must_use]
    pub(crate) fn waiting_bytes(&self) -> usize {
        2 * self.transport_message()
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_channels: 10_000,
            max_subscriptions_per_connection: 100,
            max_message_size: 65_536,
            queue_bytes: 1 << 20,
            max_presence_size: 4_096,
            history_bytes: 1 << 30,
            peer_bytes: 8 << 20,
        }
    }
}

/// When a silent connection is asked for a sign of life, and when it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Milliseconds of silence before a connection is asked. 0 never asks and never gives up.
    pub interval_ms: u32,
    /// Milliseconds of silence after which it is closed with code 4002; above `interval_ms`.
    pub timeout_ms: u32,
    /// Milliseconds within which a client of dialect `pulse.v1` sends `connect`; then it is closed with code 4502.
    pub connect_ms: u32,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval_ms: 30_000, timeout_ms: 60_000, connect_ms: 10_000 }
    }
}

/// Bytes of new messages in a turn beyond which [`Router::is_full`](crate::Router::is_full) asks for a drain.
///
/// Measured on the prototype: 64 KiB costs nothing against no bound, 16 KiB costs 30 % at saturation,
/// and no bound at all took 4 GB with 200 busy publishers (2026-11-25).
pub(crate) const TURN_BYTES: usize = 64 * 1024;

/// Pending lists in a turn beyond which it is full as well: 28 B each, so under 2 MiB plus one fan-out.
pub(crate) const TURN_LISTS: usize = 64 * 1024;

/// Bytes in one batch from a connection's queue.
pub(crate) const WRITE_BYTES: usize = 64 * 1024;

/// Milliseconds that a closing connection has to take what is left for it.
pub(crate) const CLOSE_MS: u32 = 5_000;

/// Bytes of the longest channel name.
pub(crate) const CHANNEL_NAME_BYTES: usize = 256;

/// The highest number that a channel may have when a router takes it over. As many as are left from here on nobody publishes, so
/// numbers stay within what frames hold.
pub(crate) const OFFSET_MAX: u64 = MAX_SAFE / 2;

/// Requests that a peer has not answered, beyond which connections that ask more of it are not read from.
pub(crate) const PEER_REQUESTS: usize = 16 * 1024;

/// Members in one answer to a sync, which is also how many there are where a client gives no `limit`.
pub(crate) const PRESENCE_PAGE: u64 = 1000;

/// Bytes of members with which an answer to a sync ends, however few they are.
pub(crate) const PRESENCE_PAGE_BYTES: usize = 64 * 1024;

/// Bytes of changes with which a notice of presence ends and another one begins.
pub(crate) const PRESENCE_NOTICE_BYTES: usize = 32 * 1024;

/// Publications in one answer to a history query, and how many there are where a client gives no `limit`.
pub(crate) const HISTORY_PAGE: u64 = 1000;
pub(crate) const HISTORY_PAGE_DEFAULT: u64 = 100;

/// Bytes of publications with which an answer to a history query ends, however few they are.
pub(crate) const HISTORY_PAGE_BYTES: usize = 64 * 1024;

/// Bytes of publications that a subscriber which catches up is given at once, but one in any case.
pub(crate) const REPLAY_BYTES: usize = 64 * 1024;

/// Pages that one router waits for from others at a time: so many may be kept there for one that takes nothing.
pub(crate) const REPLAYS_AT_ONCE: usize = 16;

/// Bytes that one kept publication costs beside its frame: its place in the list, and the allocator's share.
pub(crate) const HISTORY_OVERHEAD: usize = 64;

/// Bytes that one known name costs beside itself: its place in the list and in the table, and the allocator's share. Measured:
/// 64 to 77, in lists that were full to four fifths (2026-11-27).
pub(crate) const NAME_OVERHEAD: usize = 80;

/// Bytes of the longest idempotency key. A longer one gets error 1001.
pub(crate) const IDEMPOTENCY_KEY_BYTES: usize = 255;

/// Publications that a channel knows by their idempotency keys. Beyond that the oldest are not known any more.
pub(crate) const REPEATS: usize = 10_000;

/// Milliseconds between two looks at a channel for what has become too old. Nobody sees it meanwhile.
pub(crate) const HISTORY_SWEEP_MS: u64 = 1000;

/// Milliseconds after which a store that has failed is tried again with what nobody waits for.
pub(crate) const STORE_RETRY_MS: u64 = 10_000;
