//! The way out: batches, control frames and what the sockets did not take.
//!
//! Nothing here knows the engine; what the engine has to be told is left as [`Note`]s, since a batch borrows from it
//! while it is written. A connection is written to at once or has a tail, never both: so order holds. With TLS, what is
//! written becomes records first, so a tail holds bytes of the wire.

use std::rc::Rc;

use pulse_core::{Batch, ConnId, Framing, Kind, Time};
use tracing::debug;

use super::conn::{Conn, Key, Phase, Table};
use crate::sys::{self, Epoll, Interest};
use crate::ws::{Opcode, header};

/// Kept for the records of the next write; most writes of a turn fit.
const WIRE: usize = 128 << 10;

/// What the engine has to be told once the batch is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note {
    /// A tail is left.
    Blocked(ConnId),
    /// The tail is gone.
    Free(ConnId),
    /// Writing failed, or nothing more can be encrypted: the connection is gone.
    Lost(Key),
}

/// The connections and their unsent bytes.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) table: Table,
    pub(super) out: Out,
    scratch: Vec<u8>,
}

/// What writing needs beside the connection.
#[derive(Debug)]
pub(super) struct Out {
    epoll: Rc<Epoll>,
    pub(super) now: Time,
    pub(super) notes: Vec<Note>,
    /// Bytes in all tails.
    unsent: usize,
    /// Room for records on their way to a socket.
    wire: Vec<u8>,
}

impl Net {
    pub(super) fn new(epoll: Rc<Epoll>) -> Self {
        let out = Out { epoll, now: Time(0), notes: Vec::new(), unsent: 0, wire: Vec::new() };
        Self { table: Table::default(), out, scratch: Vec::new() }
    }

    /// Writes a batch to all its receivers; returns how many these are.
    pub(super) fn deliver(&mut self, batch: &mut Batch<'_>) -> usize {
        let to = batch.to();
        let opcode = opcode(batch.kind());
        let bytes = match batch.framing() {
            Framing::Whole => {
                let header = header(opcode, batch.payload().len());
                batch.framed(&header)
            }
            Framing::PerFrame => {
                self.scratch.clear();
                frame_each(batch.payload(), opcode, &mut self.scratch);
                &self.scratch
            }
        };
        for &session in to {
            if let Some((key, conn)) = self.table.find(session) {
                self.out.write(key, conn, bytes);
            }
        }
        to.len()
    }

    /// The socket takes bytes again.
    pub(super) fn writable(&mut self, key: Key) {
        let Some(conn) = self.table.get_mut(key) else { return };
        let Some(rare) = conn.rare.as_deref_mut().filter(|rare| !rare.tail.is_empty()) else { return };
        let Ok(sent) = sys::send(&conn.fd, rare.tail.unsent()) else {
            return self.out.notes.push(Note::Lost(key));
        };
        rare.tail.advance(sent, self.out.now);
        self.out.unsent -= sent;
        if !rare.tail.is_empty() {
            return;
        }
        let mut owed = std::mem::take(&mut rare.pong);
        if std::mem::take(&mut rare.text_pong) {
            text_pong(&mut owed);
        }
        conn.slim();
        if conn.phase == Phase::Closing {
            sys::finish(&conn.fd);
        } else {
            self.out.write(key, conn, &owed);
        }
        if !conn.has_tail() {
            if let Some(session) = conn.session {
                self.out.notes.push(Note::Free(session));
            }
            self.out.watch(key, conn);
        }
    }

    /// Bytes in all tails.
    pub(super) fn unsent(&self) -> usize {
        self.out.unsent
    }

    /// Takes a connection out of the table, its tail with it.
    pub(super) fn remove(&mut self, key: Key) -> Option<Conn> {
        let conn = self.table.remove(key)?;
        self.out.unsent -= conn.tail_len();
        Some(conn)
    }
}

impl Out {
    /// Writes `bytes` after everything written before; what the socket does not take becomes the tail.
    pub(super) fn write(&mut self, key: Key, conn: &mut Conn, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(rare) = conn.rare.as_deref_mut()
            && rare.tail.is_empty()
            && conn.phase != Phase::Handshake
            && !rare.head.is_empty()
        {
            // The answer to the upgrade waited for this, so that both leave in one write.
            let mut both = std::mem::take(&mut rare.head);
            conn.slim();
            both.extend_from_slice(bytes);
            return self.send(key, conn, &both);
        }
        self.send(key, conn, bytes);
    }

    /// What a TLS session has to say by itself, and nothing of what is written.
    pub(super) fn send_wire(&mut self, key: Key, conn: &mut Conn, wire: &[u8]) {
        if !wire.is_empty() {
            self.send_raw(key, conn, wire);
        }
    }

    /// Ends our side of the stream after everything written.
    pub(super) fn finish(&mut self, key: Key, conn: &mut Conn) {
        if let Some(tls) = conn.tls.as_deref_mut() {
            let mut wire = Vec::new();
            tls.finish(&mut wire);
            self.send_wire(key, conn, &wire);
        }
        if !conn.has_tail() {
            sys::finish(&conn.fd);
        }
    }

    /// Control frames: at once, or after the tail. While there is one, the newest pong replaces the older ones.
    pub(super) fn answer(&mut self, key: Key, conn: &mut Conn, pongs: &Pongs) {
        if pongs.is_empty() {
            return;
        }
        if !conn.has_tail() {
            return self.write(key, conn, &pongs.bytes);
        }
        let rare = conn.rare();
        rare.text_pong |= pongs.text;
        if let Some(newest) = pongs.newest {
            rare.pong.clear();
            rare.pong.extend_from_slice(&pongs.bytes[newest.0..newest.1]);
        }
    }

    /// The answer to the upgrade alone, if the engine had nothing to say.
    pub(super) fn write_head(&mut self, key: Key, conn: &mut Conn) {
        let Some(rare) = conn.rare.as_deref_mut().filter(|rare| !rare.head.is_empty()) else { return };
        let head = std::mem::take(&mut rare.head);
        conn.slim();
        self.send(key, conn, &head);
    }

    /// Registers with the epoll what the connection waits for now.
    pub(super) fn watch(&mut self, key: Key, conn: &mut Conn) {
        let read = match conn.phase {
            Phase::Handshake | Phase::Closing => true,
            Phase::Open => !conn.paused && !conn.held,
            Phase::Ending => false,
        };
        let interest = Interest { read, write: conn.has_tail() };
        let result = if conn.watched {
            self.epoll.modify(&conn.fd, key.to_bits(), interest)
        } else {
            self.epoll.add(&conn.fd, key.to_bits(), interest)
        };
        match result {
            Ok(()) => conn.watched = true,
            Err(error) => {
                // Out of memory or of epoll watches: a connection that nobody watches would never end.
                debug!(%error, "a socket cannot be watched, its connection is dropped");
                self.notes.push(Note::Lost(key));
            }
        }
    }

    fn send(&mut self, key: Key, conn: &mut Conn, bytes: &[u8]) {
        let Some(tls) = conn.tls.as_deref_mut() else { return self.send_raw(key, conn, bytes) };
        let mut wire = std::mem::take(&mut self.wire);
        let end = tls.seal_over(bytes, &mut wire, 0);
        let is_spent = tls.is_spent();
        self.send_raw(key, conn, &wire[..end]);
        if is_spent && conn.phase != Phase::Closing {
            self.notes.push(Note::Lost(key));
        }
        wire.truncate(WIRE);
        wire.shrink_to(WIRE);
        self.wire = wire;
    }

    fn send_raw(&mut self, key: Key, conn: &mut Conn, bytes: &[u8]) {
        let now = self.now;
        if conn.has_tail() {
            conn.rare().tail.push(bytes, now);
            self.unsent += bytes.len();
            return;
        }
        let Ok(sent) = sys::send(&conn.fd, bytes) else {
            return self.notes.push(Note::Lost(key));
        };
        let rest = &bytes[sent..];
        if rest.is_empty() {
            return;
        }
        conn.rare().tail.push(rest, now);
        self.unsent += rest.len();
        if let Some(session) = conn.session {
            self.notes.push(Note::Blocked(session));
        }
        self.watch(key, conn);
    }
}

/// The pongs that one read asks for, as frames.
#[derive(Debug, Default)]
pub(super) struct Pongs {
    bytes: Vec<u8>,
    /// Where the newest pong frame lies.
    newest: Option<(usize, usize)>,
    /// A text `pong` is among them.
    text: bool,
}

impl Pongs {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        (self.newest, self.text) = (None, false);
    }

    /// Answers a ping frame.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        let start = self.bytes.len();
        crate::ws::control(&mut self.bytes, Opcode::Pong, payload);
        self.newest = Some((start, self.bytes.len()));
    }

    /// Answers a text message `ping`.
    pub(super) fn text_pong(&mut self) {
        text_pong(&mut self.bytes);
        self.text = true;
    }
}

fn text_pong(out: &mut Vec<u8>) {
    out.extend_from_slice(&header(Opcode::Text, 4));
    out.extend_from_slice(b"pong");
}

fn opcode(kind: Kind) -> Opcode {
    match kind {
        Kind::Binary => Opcode::Binary,
        Kind::Text => Opcode::Text,
    }
}

/// One WebSocket message for each length-prefixed frame, the prefix included.
fn frame_each(mut payload: &[u8], opcode: Opcode, out: &mut Vec<u8>) {
    while let Some((prefix, rest)) = payload.split_first_chunk::<4>() {
        let len = u32::from_be_bytes(*prefix) as usize;
        assert!(len <= rest.len(), "an engine hands out whole frames");
        out.extend_from_slice(&header(opcode, 4 + len));
        out.extend_from_slice(&payload[..4 + len]);
        payload = &rest[len..];
    }
    assert!(payload.is_empty(), "an engine hands out whole frames");
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::tls::{Session, pair, pair_with_limit};

    /// A connection over TLS, and the other end of its socket: there, each write comes as one piece.
    fn secured(session: Session) -> (Net, Key, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut net = Net::new(Rc::new(Epoll::new().unwrap()));
        let mut conn = Conn::new(ours.into(), Some(Box::new(session)));
        conn.phase = Phase::Open;
        let key = net.table.insert(conn);
        (net, key, theirs)
    }

    #[test]
    fn a_connection_whose_keys_are_used_up_is_lost() {
        let (mut net, key, theirs) = secured(pair_with_limit(64).0);
        let conn = net.table.get_mut(key).unwrap();
        let mut written = 0;
        while net.out.notes.is_empty() {
            net.out.write(key, conn, b"x");
            theirs.recv(&mut [0; 64]).expect("a record, or the alert that ends the stream");
            written += 1;
        }
        assert!(matches!(net.out.notes[..], [Note::Lost(lost)] if lost == key) && written > 32);
    }

    #[test]
    fn what_is_written_over_tls_at_once_is_one_write_of_full_records() {
        let (mut net, key, theirs) = secured(pair().0);
        let conn = net.table.get_mut(key).unwrap();
        net.out.write(key, conn, &[7; 40_000]);
        net.out.write(key, conn, b"shorter, over what was longer");
        let mut buf = vec![0; 1 << 20];
        let mut writes = Vec::new();
        while let Ok(len) = theirs.recv(&mut buf) {
            let (mut records, mut rest) = (0, &buf[..len]);
            while let [23, _, _, high, low, ..] = *rest {
                records += 1;
                rest = &rest[5 + usize::from(u16::from_be_bytes([high, low]))..];
            }
            assert!(rest.is_empty(), "a write ends with a record");
            writes.push(records);
        }
        assert_eq!(writes, [3, 1]);
    }

    #[test]
    fn each_frame_becomes_a_message_with_its_prefix() {
        let mut out = Vec::new();
        frame_each(b"\0\0\0\x02ab\0\0\0\x01c", Opcode::Binary, &mut out);
        assert_eq!(out, b"\x82\x06\0\0\0\x02ab\x82\x05\0\0\0\x01c");
    }

    #[test]
    fn the_newest_of_several_pongs_is_known() {
        let mut pongs = Pongs::default();
        pongs.pong(b"a");
        pongs.text_pong();
        pongs.pong(b"b");
        assert_eq!(pongs.bytes, b"\x8a\x01a\x81\x04pong\x8a\x01b");
        let (from, to) = pongs.newest.unwrap();
        assert_eq!(&pongs.bytes[from..to], b"\x8a\x01b");
    }
}
