//! The connections of one shard: a table with generations, and what is kept for each.
//!
//! An idle connection is one entry here and nothing else: no task, no buffer, no timer. What only some have at some
//! time (an unsent tail, half of a request head) is boxed in [`Rare`] and goes when it is no longer needed.

use std::os::fd::OwnedFd;

use pulse_core::{ConnId, Time};

use crate::tls::Session;
use crate::ws::Reader;

/// Names an entry of the table: index and generation, as one number for epoll.
///
/// A slot may be given out again within the turn that freed it; the generation tells the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

impl Key {
    /// Names no connection: generations stay below 2^31.
    pub(super) const NONE: Self = Self(u64::MAX);

    fn new(index: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(index))
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn to_bits(self) -> u64 {
        self.0
    }

    fn index(self) -> usize {
        self.0 as u32 as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Where a connection stands. It only ever moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its request head is not complete.
    Handshake,
    /// A WebSocket.
    Open,
    /// Nothing more is read; the answers to what was read go out before the close frame.
    Ending,
    /// Our last bytes are written or queued; what still comes is thrown away until the peer's end of the stream.
    Closing,
}

/// One socket.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) fd: OwnedFd,
    pub(super) phase: Phase,
    /// It is registered with the epoll.
    pub(super) watched: bool,
    /// The engine asked to read no more for now.
    pub(super) paused: bool,
    /// The shard reads from nobody for now.
    pub(super) held: bool,
    /// It counts as an open WebSocket of the process.
    pub(super) seated: bool,
    pub(super) reader: Reader,
    /// The engine's name for it, from opening until the engine is told of the end.
    pub(super) session: Option<ConnId>,
    /// `None` for plain TCP.
    pub(super) tls: Option<Box<Session>>,
    pub(super) rare: Option<Box<Rare>>,
}

/// What most connections do not have most of the time.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// An incomplete request head; then, until the first write, the answer to it.
    pub(super) head: Vec<u8>,
    pub(super) tail: Tail,
    /// The newest pong owed, whole frame: it follows the tail (RFC 6455 5.5.3 allows to answer only the newest ping).
    pub(super) pong: Vec<u8>,
    /// A text `pong` is owed.
    pub(super) text_pong: bool,
}

impl Rare {
    /// Whether the socket took nothing of the tail for `ms` milliseconds.
    pub(super) fn is_stalled(&self, now: Time, ms: u64) -> bool {
        !self.tail.is_empty() && now.ms_since(self.tail.moved) >= ms
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.tail.is_empty() && self.pong.is_empty() && !self.text_pong
    }
}

/// Bytes that the socket did not take yet. An offset moves, not the bytes.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    sent: usize,
    /// When the socket last took some of it.
    pub(super) moved: Time,
}

impl Tail {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(super) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(super) fn push(&mut self, bytes: &[u8], now: Time) {
        if self.bytes.is_empty() {
            self.moved = now;
        } else if self.sent > self.bytes.len() / 2 {
            // Each byte is moved at most once for each time that as many were sent.
            self.bytes.drain(..std::mem::take(&mut self.sent));
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The socket took `len` more bytes.
    pub(super) fn advance(&mut self, len: usize, now: Time) {
        self.sent += len;
        if len > 0 {
            self.moved = now;
        }
        if self.sent == self.bytes.len() {
            (self.bytes, self.sent) = (Vec::new(), 0);
        }
    }
}

impl Conn {
    pub(super) fn new(fd: OwnedFd, tls: Option<Box<Session>>) -> Self {
        Self {
            fd,
            phase: Phase::Handshake,
            watched: false,
            paused: false,
            held: false,
            seated: false,
            reader: Reader::new(),
            session: None,
            tls,
            rare: None,
        }
    }

    /// Whether TLS is still being agreed upon.
    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    pub(super) fn has_tail(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.tail.is_empty())
    }

    pub(super) fn tail_len(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.tail.len())
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Gives the box back if nothing is left in it.
    pub(super) fn slim(&mut self) {
        if self.rare.as_ref().is_some_and(|rare| rare.is_empty()) {
            self.rare = None;
        }
    }
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// By the engine's slot: whose session it is.
    sessions: Vec<Key>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    conn: Option<Conn>,
}

impl Table {
    pub(super) fn insert(&mut self, conn: Conn) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, conn: None });
            u32::try_from(self.slots.len() - 1).expect("there are fewer sockets than 2^32")
        });
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1) & (u32::MAX >> 1);
        slot.conn = Some(conn);
        Key::new(index, slot.generation)
    }

    pub(super) fn get(&self, key: Key) -> Option<&Conn> {
        let slot = self.slots.get(key.index())?;
        slot.conn.as_ref().filter(|_| slot.generation == key.generation())
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Conn> {
        let slot = self.slots.get_mut(key.index())?;
        slot.conn.as_mut().filter(|_| slot.generation == key.generation())
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Conn> {
        self.get(key)?;
        self.free.push(key.index() as u32);
        self.slots[key.index()].conn.take()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Conn)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            slot.conn.as_ref().map(|conn| (Key::new(index as u32, slot.generation), conn))
        })
    }

    /// Notes the engine's name for a connection.
    pub(super) fn bind(&mut self, key: Key, session: ConnId) {
        let slot = session.slot() as usize;
        if self.sessions.len() <= slot {
            self.sessions.resize(slot + 1, Key::NONE);
        }
        self.sessions[slot] = key;
        self.get_mut(key).expect("only a live connection is opened").session = Some(session);
    }

    /// Whose session it is; `None` if that connection is gone, or the engine was told of its end.
    pub(super) fn find(&mut self, session: ConnId) -> Option<(Key, &mut Conn)> {
        let key = *self.sessions.get(session.slot() as usize)?;
        let conn = self.get_mut(key).filter(|conn| conn.session == Some(session))?;
        Some((key, conn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> OwnedFd {
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into()
    }

    #[test]
    fn a_slot_that_was_given_out_again_is_not_found_by_its_old_key() {
        let mut table = Table::default();
        let old = table.insert(Conn::new(socket(), None));
        table.bind(old, ConnId::new(3, 1));
        assert!(table.find(ConnId::new(3, 1)).is_some());
        assert!(table.remove(old).is_some());
        let new = table.insert(Conn::new(socket(), None));
        assert_eq!(old.index(), new.index());
        assert!(table.get(old).is_none() && table.remove(old).is_none());
        assert!(table.find(ConnId::new(3, 1)).is_none());
        assert!(table.get(new).is_some());
        assert_eq!(table.len(), 1);
        assert!(table.get(Key::NONE).is_none());
    }

    #[test]
    fn a_tail_keeps_order_and_forgets_what_was_sent() {
        let mut tail = Tail::default();
        tail.push(b"abcdef", Time(1));
        tail.advance(4, Time(2));
        tail.push(b"gh", Time(3));
        assert_eq!((tail.unsent(), tail.len(), tail.moved), (&b"efgh"[..], 4, Time(2)));
        tail.advance(4, Time(4));
        assert!(tail.is_empty());
    }

    #[test]
    fn an_idle_connection_stays_small() {
        assert!(size_of::<Slot>() <= 64, "{} bytes", size_of::<Slot>());
    }
}
