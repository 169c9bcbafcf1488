//! Counters of one router, for its host's metrics.

use crate::wire::{CLOSES, ERRORS};

/// What a router counted since it was made. Everything but the last eight only rises.
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
    /// Publications not delivered because another router was, counted once for each receiver.
    pub dropped_between: u64,
    /// Publications that history has dropped because all channels together kept too much.
    pub history_evicted: u64,
    /// Idempotency keys that are not known any more for the same reason.
    pub history_keys_evicted: u64,
    /// `error` frames sent, by the row of the table [`ERRORS`].
    pub errors: [u64; ERRORS.len()],
    /// Connections that the router has ended, by the row of the table [`CLOSES`].
    pub closed: [u64; CLOSES.len()],
    /// Connections open now.
    pub connections: u64,
    /// Subscriptions that exist now.
    pub subscriptions: u64,
    /// Channels that exist now and are at home at this router.
    pub channels: u64,
    /// Members in their presence now.
    pub members: u64,
    /// Publications that channels keep now.
    pub history_publications: u64,
    /// Idempotency keys that channels know now.
    pub history_keys: u64,
    /// Bytes of both, with an overhead for each.
    pub history_bytes: u64,
    /// Bytes that wait in queues now, for connections that take nothing.
    pub backlog_bytes: u64,
}
