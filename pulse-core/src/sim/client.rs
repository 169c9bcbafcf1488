//! One client: it sends what it is told to, answers pings, and writes down everything in the order in which it happens.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use crate::wire::Frame;
use crate::{Dialect, Kind};

use super::frame::{self, OwnedFrame};
use super::net::{Assembly, Packet, Wire};

/// A client of a [`Sim`](super::Sim), by the order in which they came. A client has one connection in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientNo(pub usize);

/// Something that happened at a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Microseconds since the run began.
    pub at: u64,
    /// What.
    pub what: What,
}

/// What happens at a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It sent a frame. Pongs are not written down.
    Sent(OwnedFrame),
    /// It sent bytes that are none of its dialect's frames.
    Garbage,
    /// It got a frame.
    Got(OwnedFrame),
    /// It reads no more.
    Stopped,
    /// It reads again.
    Resumed,
    /// It ended the connection.
    HungUp,
    /// It learnt that the connection is over: with the server's code, or without one.
    Ended(Option<u16>),
}

/// A client and all that happened to it.
#[derive(Debug)]
pub struct Client {
    dialect: Dialect,
    shard: usize,
    /// The process that it is connected to, by the order in which they began.
    pub(super) life: usize,
    log: Vec<Entry>,
    reading: bool,
    open: bool,
    /// Chunks that came while it does not read.
    unread: VecDeque<Vec<u8>>,
    assembly: Assembly,
    /// To the server.
    pub(super) up: Wire,
    /// From the server.
    pub(super) down: Wire,
    /// The link is broken: nothing passes any more, whether or not the ends know.
    pub(super) broken: bool,
    /// The process at the other end has ended: nobody takes what it sends.
    pub(super) orphaned: bool,
}

impl Client {
    pub(super) fn new(dialect: Dialect, shard: usize, life: usize) -> Self {
        Self {
            dialect,
            shard,
            life,
            log: Vec::new(),
            reading: true,
            open: true,
            unread: VecDeque::new(),
            assembly: Assembly::default(),
            up: Wire::default(),
            down: Wire::default(),
            broken: false,
            orphaned: false,
        }
    }

    /// What it speaks.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The number of the router that it is connected to.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Everything that happened, oldest first.
    #[must_use]
    pub fn log(&self) -> &[Entry] {
        &self.log
    }

    /// The position that it knows of a channel.
    pub(super) fn position(&self, channel: &str) -> Option<(String, u64)> {
        let (mut asked, mut known) = (BTreeMap::new(), None);
        for entry in &self.log {
            match &entry.what {
                What::Sent(frame) => {
                    if let Frame::Subscribe(request) = frame.get()
                        && request.channel == channel
                    {
                        asked.insert(request.id, request.recover.map(|point| point.offset));
                    }
                }
                What::Got(frame) => match frame.get() {
                    Frame::Ack(ack) => {
                        if let (Some(since), Some((epoch, offset))) =
                            (asked.get(&ack.id), ack.epoch.zip(ack.offset))
                        {
                            let since = since.filter(|_| ack.recovered == Some(true));
                            known = Some((String::from(epoch), since.unwrap_or(offset)));
                        }
                    }
                    Frame::Publish(publish) if publish.channel == channel => {
                        if let (Some((_, known)), Some(offset)) = (&mut known, publish.offset) {
                            *known = offset;
                        }
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        known
    }

    /// Whether it got an answer to this request.
    pub(super) fn is_answered(&self, id: u64) -> bool {
        self.log.iter().any(|entry| match &entry.what {
            What::Got(frame) => match frame.get() {
                Frame::Ack(ack) => ack.id == id,
                Frame::Error(error) => error.id == id,
                _ => false,
            },
            _ => false,
        })
    }

    /// Whether it has not ended the connection and does not know of its end.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Whether it takes what comes.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.reading
    }

    pub(super) fn note(&mut self, at: u64, what: What) {
        self.log.push(Entry { at, what });
    }

    pub(super) fn sent(&mut self, at: u64, frame: &Frame<'_>) {
        if !matches!(frame, Frame::Pong { .. }) {
            self.note(at, What::Sent(OwnedFrame::new(frame)));
        }
    }

    pub(super) fn stop(&mut self, at: u64) {
        if core::mem::replace(&mut self.reading, false) {
            self.note(at, What::Stopped);
        }
    }

    /// Reads again; returns what came meanwhile.
    pub(super) fn resume(&mut self, at: u64) -> VecDeque<Vec<u8>> {
        if !core::mem::replace(&mut self.reading, true) {
            self.note(at, What::Resumed);
        }
        core::mem::take(&mut self.unread)
    }

    pub(super) fn hang_up(&mut self, at: u64) {
        self.open = false;
        self.note(at, What::HungUp);
    }

    pub(super) fn end(&mut self, at: u64, code: Option<u16>) {
        if core::mem::replace(&mut self.open, false) {
            self.note(at, What::Ended(code));
        }
    }

    /// Takes a chunk if it reads, else keeps it. Returns the answers that it owes, or why the chunk is a server's mistake.
    pub(super) fn take(&mut self, at: u64, chunk: &[u8]) -> Result<Owed, &'static str> {
        let mut owed = Owed::default();
        if !self.open {
            return Ok(owed);
        }
        if !self.reading {
            self.unread.push_back(chunk.into());
            return Ok(owed);
        }
        owed.read = chunk.len();
        self.assembly.push(chunk);
        while let Some(packet) = self.assembly.next() {
            match packet {
                Packet::Message(kind, _) if kind != self.dialect.kind() => {
                    return Err("a message of the wrong kind was sent");
                }
                Packet::Message(_, bytes) => {
                    let frames = frame::frames(self.dialect, &bytes)
                        .map_err(|_| "a message that is not made of whole frames was sent")?;
                    for frame in frames {
                        if let Frame::Ping { timestamp } = frame.get() {
                            owed.pongs.push(timestamp);
                        }
                        self.note(at, What::Got(frame));
                    }
                }
                Packet::Ping => owed.alive = true,
                Packet::Close(code) => self.end(at, Some(code)),
            }
        }
        Ok(owed)
    }

    /// The kind of its messages.
    pub(super) fn kind(&self) -> Kind {
        self.dialect.kind()
    }
}

/// What a client owes the server for what it has read.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Bytes that it took out of the socket.
    pub(super) read: usize,
    /// `ping` frames that want an answer.
    pub(super) pongs: Vec<Option<u64>>,
    /// Whether the transport's own ping came.
    pub(super) alive: bool,
}
