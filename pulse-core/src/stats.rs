//! Counters of one router, for its host's metrics.

use crate::wire::ERRORS;

/// What a router counted since it was made. Everything but the last four only rises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames received from clients.
    pub frames_in: u64,
    /// Bytes of these frames, their length prefixes included.
    pub bytes_in: u64,
    /// Frames handed out, counted once for each receiver.
    pub frames_out: u64,
    /// Bytes of these frames, counted once for each receiver.
    pub bytes_out: u64,
    /// Publications accepted.
    pub publications: u64,
    /// Subscriptions made.
    pub subscribed: u64,
    /// Connections opened.
    pub opened: u64,
    /// Publications not delivered because their receiver was too slow.
    pub dropped: u64,
    /// `error` frames sent, by the row of the table [`ERRORS`].
    pub errors: [u64; ERRORS.len()],
    /// Connections open now.
    pub connections: u64,
    /// Subscriptions that exist now.
    pub subscriptions: u64,
    /// Channels that exist now and are at home at this router.
    pub channels: u64,
    /// Members in their presence now.
    pub members: u64,
}
