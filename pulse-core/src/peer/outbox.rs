//! What one peer still has to be told, and what it still has to answer.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::ConnId;
use crate::limits::{PEER_REQUESTS, TURN_BYTES};

/// One direction of a session between two routers: from this one to a peer.
#[derive(Debug)]
pub(crate) struct Outbox {
    /// Whether the peer is there at all.
    pub(crate) connected: bool,
    /// Whether the host takes parcels for it.
    pub(crate) writable: bool,
    /// What the peer has said that it has enough of.
    pub(crate) busy: Busy,
    /// Whether it is listed among those that have something to send.
    pub(crate) listed: bool,
    /// Messages that were not handed out yet, in parcels of about as much as a turn should hold: a peer takes a parcel whole.
    parcels: VecDeque<Vec<u8>>,
    /// Bytes of them.
    len: usize,
    /// Channels of which publications were not passed on, and whether changes of presence were not either.
    pub(crate) missed: BTreeMap<u32, bool>,
    /// Connections that are not read from, because too much waits for this peer or at it.
    pub(crate) paused: VecDeque<ConnId>,
    /// Those that wait for its store alone.
    pub(crate) paused_for_store: VecDeque<ConnId>,
    requests: VecDeque<Option<Asked>>,
    /// The ticket of the first of `requests`.
    first: u64,
    num_open: usize,
    bound: usize,
}

/// What a router has as much of as it can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Busy {
    /// What it has to pass on: nothing more should be published through it, or asked of it.
    pub(crate) peers: bool,
    /// What it has to store: nothing more of that should be published through it.
    pub(crate) store: bool,
}

/// A request that a peer has to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A client's request: answered under this id.
    Client {
        /// Who asked.
        conn: ConnId,
        /// The request's id.
        id: u64,
    },
    /// A client joins the presence of a channel: the same, but if it is not done the client is not present.
    Join {
        /// Who asked.
        conn: ConnId,
        /// The request's id.
        id: u64,
        /// The channel's index.
        channel: u32,
    },
    /// A subscriber wants what was published before.
    Replay {
        /// Who.
        conn: ConnId,
        /// The channel's index.
        channel: u32,
        /// Whether a page is asked for.
        page: bool,
    },
    /// A channel wants to become a leaf of its home.
    Channel {
        /// The channel's index.
        channel: u32,
    },
}

impl Outbox {
    /// `bound` is [`Limits::peer_bytes`](crate::Limits::peer_bytes).
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            connected: true,
            writable: true,
            busy: Busy::default(),
            listed: false,
            parcels: VecDeque::new(),
            len: 0,
            missed: BTreeMap::new(),
            paused: VecDeque::new(),
            paused_for_store: VecDeque::new(),
            requests: VecDeque::new(),
            first: 1,
            num_open: 0,
            bound,
        }
    }

    /// Whether connections that want something of the peer have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.is_crowded() || self.busy.peers || self.num_open >= PEER_REQUESTS
    }

    /// Whether connections that want something stored by the peer have to wait.
    pub(crate) fn is_store_full(&self) -> bool {
        self.is_full() || self.busy.store
    }

    /// Whether so much waits for it that publishers to its subscribers have to wait.
    pub(crate) fn is_crowded(&self) -> bool {
        !self.writable && self.len >= self.bound / 8
    }

    /// Whether publications for it are left out.
    pub(crate) fn leaves_out(&self) -> bool {
        !self.writable && self.len >= self.bound
    }

    /// Bytes that were not handed out yet.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends messages.
    #[inline]
    pub(crate) fn append(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.parcels.back().is_none_or(|parcel| parcel.len() >= TURN_BYTES) {
            self.parcels.push_back(Vec::new());
        }
        let parcel = self.parcels.back_mut().expect("there is one now");
        let before = parcel.len();
        encode(parcel);
        self.len += parcel.len() - before;
    }

    /// The next parcel for the host to carry.
    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        let parcel = self.parcels.pop_front()?;
        self.len -= parcel.len();
        Some(parcel)
    }

    /// Notes that something of a channel is left out, changes of presence or publications.
    pub(crate) fn miss(&mut self, channel: u32, changes: bool) {
        *self.missed.entry(channel).or_default() |= changes;
    }

    /// Notes a request and returns its ticket, never 0.
    pub(crate) fn ask(&mut self, asked: Asked) -> u64 {
        self.requests.push_back(Some(asked));
        self.num_open += 1;
        self.first + self.requests.len() as u64 - 1
    }

    /// The request that an answer is for; `None` for one that was answered or forgotten.
    pub(crate) fn answered(&mut self, ticket: u64) -> Option<Asked> {
        let at = usize::try_from(ticket.checked_sub(self.first)?).ok()?;
        let asked = self.requests.get_mut(at)?.take()?;
        self.num_open -= 1;
        while let Some(None) = self.requests.front() {
            self.requests.pop_front();
            self.first += 1;
        }
        Some(asked)
    }

    /// The requests that are not answered.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Asked> {
        self.requests.iter().flatten()
    }

    /// The session is over: forgets what was to be sent, and returns what will not be answered.
    pub(crate) fn end(&mut self) -> Vec<Asked> {
        self.connected = false;
        self.busy = Busy::default();
        self.parcels = VecDeque::new();
        self.len = 0;
        self.missed.clear();
        self.num_open = 0;
        self.first += self.requests.len() as u64;
        core::mem::take(&mut self.requests).into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use alloc::vec;

    fn asked(id: u64) -> Asked {
        Asked::Client { conn: ConnId::new(1, 1), id }
    }

    #[test]
    fn answers_find_their_requests_in_any_order_and_once() {
        let mut outbox = Outbox::new(1_000);
        let tickets: Vec<u64> = (0..3).map(|id| outbox.ask(asked(id))).collect();
        assert_eq!(outbox.answered(tickets[1]), Some(asked(1)));
        assert_eq!(outbox.answered(tickets[1]), None);
        assert_eq!(outbox.answered(tickets[0]), Some(asked(0)));
        assert_eq!(outbox.answered(tickets[0]), None, "its place is gone");
        assert_eq!(outbox.requests.len(), 1);
        assert_eq!(outbox.answered(99), None);
        assert_eq!(outbox.answered(0), None);
        assert_eq!(outbox.answered(tickets[2]), Some(asked(2)));
    }

    #[test]
    fn the_end_returns_what_is_open_and_no_ticket_is_used_twice() {
        let mut outbox = Outbox::new(1_000);
        let (first, second) = (outbox.ask(asked(0)), outbox.ask(asked(1)));
        outbox.answered(first);
        assert_eq!(outbox.end(), vec![asked(1)]);
        assert!(outbox.ask(asked(2)) > second);
        assert_eq!(outbox.answered(second), None);
    }

    #[test]
    fn parcels_are_cut_between_messages_and_keep_their_order() {
        let mut outbox = Outbox::new(1_000);
        let message = [7; 10_000];
        (0..20).for_each(|_| outbox.append(|out| out.extend_from_slice(&message)));
        assert_eq!(outbox.len(), 200_000);
        let parcels: Vec<usize> = core::iter::from_fn(|| outbox.take()).map(|parcel| parcel.len()).collect();
        assert_eq!((parcels, outbox.len()), (vec![70_000, 70_000, 60_000], 0));
    }

    #[test]
    fn requests_without_answers_are_bounded() {
        let mut outbox = Outbox::new(1_000);
        (0..PEER_REQUESTS as u64).for_each(|id| {
            assert!(!outbox.is_full());
            outbox.ask(asked(id));
        });
        assert!(outbox.is_full() && !outbox.leaves_out());
    }
}
