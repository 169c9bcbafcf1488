//! The links between routers: parcels in order, bounded in bytes, and sessions that end and begin at both ends.

use alloc::vec::Vec;

use super::net::Wire;

/// How the links between routers behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerNetwork {
    /// Microseconds that the fastest parcel is under way.
    pub latency_us: u32,
    /// Microseconds that the slowest is under way longer.
    pub jitter_us: u32,
    /// Bytes under way in one direction beyond which the sending router is told that its peer is not writable.
    pub window: usize,
}

impl Default for PeerNetwork {
    fn default() -> Self {
        Self { latency_us: 20, jitter_us: 500, window: 256 * 1024 }
    }
}

/// What one end of a link can be told.
#[derive(Debug)]
pub(super) enum Said {
    Parcel(Vec<u8>),
    Lost,
    Joined,
    /// Parcels have arrived: the sender has room again.
    Room(usize),
}

/// One direction between two routers, as its sending host sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lane {
    pub(super) wire: Wire,
    /// Bytes that were sent and did not arrive.
    under_way: usize,
    full: bool,
    /// The session as this end knows it: odd while it is joined.
    pub(super) session: u32,
    /// Nothing arrives before this time.
    pub(super) stalled_until: u64,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self { session: 1, ..Self::default() }
    }

    pub(super) fn is_joined(&self) -> bool {
        self.session % 2 == 1
    }

    /// The end learns that the session is over, or that the next one begins.
    pub(super) fn turn_over(&mut self) {
        self.session += 1;
        (self.under_way, self.full) = (0, false);
    }

    /// A parcel is sent. `true` when the router has to be told that this is enough.
    pub(super) fn send(&mut self, bytes: usize, window: usize) -> bool {
        self.under_way += bytes;
        let fills = !self.full && self.under_way > window;
        self.full |= fills;
        fills
    }

    /// A parcel has arrived. `true` when the router has to be told that there is room again.
    pub(super) fn arrived(&mut self, bytes: usize, window: usize) -> bool {
        self.under_way -= bytes;
        let clears = self.full && self.under_way <= window / 2;
        self.full &= !clears;
        clears
    }
}
