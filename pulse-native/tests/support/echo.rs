//! An engine that sends back what it gets, behind the shipping I/O path.

use std::collections::{HashMap, VecDeque};

use pulse_core::wire::CloseCode;
use pulse_core::{Answer, Batch, ConnId, Dialect, Effect, Framing, Kind, Link, Now, Stats, Ticket, Time};
use pulse_native::engine::Engine;

/// As much as the router holds in a turn.
const FULL: usize = 64 << 10;

/// Echoes messages; with [`Echo::with_commands`], some binary ones have effects instead.
#[derive(Default)]
pub struct Echo {
    commands: bool,
    generations: Vec<u32>,
    free: Vec<u32>,
    open: HashMap<ConnId, Peer>,
    out: VecDeque<(ConnId, Message)>,
    out_bytes: usize,
    effects: VecDeque<Effect>,
    /// The batch that was handed out last.
    to: Vec<ConnId>,
    bytes: Vec<u8>,
    opened: u64,
}

#[derive(Default)]
struct Peer {
    blocked: bool,
    /// What waits while it is blocked.
    held: VecDeque<Message>,
    /// How often it was heard of without a message.
    heard: u32,
}

struct Message {
    kind: Kind,
    framing: Framing,
    /// Behind the headroom.
    bytes: Vec<u8>,
}

impl Message {
    fn new(kind: Kind, framing: Framing, payload: &[u8]) -> Self {
        Self { kind, framing, bytes: [&[0; Batch::HEADROOM], payload].concat() }
    }
}

impl Echo {
    /// Clients without a subprotocol are greeted by the frames `hello` and `again`; `!close`, `!ping`, `!pause`,
    /// `!resume`, `!tell`, `!flood` and `!heard` have effects.
    pub fn with_commands() -> Self {
        Self { commands: true, ..Self::default() }
    }

    fn push(&mut self, conn: ConnId, message: Message) {
        self.out_bytes += message.bytes.len();
        self.out.push_back((conn, message));
    }

    fn command(&mut self, conn: ConnId, command: &[u8]) -> bool {
        let effect = match command {
            b"!close" => Effect::Close { conn, code: CloseCode::SLOW_CONSUMER },
            b"!ping" => Effect::Ping { conn },
            b"!pause" => Effect::Pause { conn, paused: true },
            b"!resume" => {
                // Anybody may end everybody's pause: whoever is paused cannot.
                let pauses = self.open.keys().map(|&conn| Effect::Pause { conn, paused: false });
                self.effects.extend(pauses);
                return true;
            }
            b"!tell" => {
                let others: Vec<ConnId> = self.open.keys().copied().filter(|&other| other != conn).collect();
                for other in others {
                    self.push(other, Message::new(Kind::Text, Framing::Whole, b"told"));
                }
                return true;
            }
            b"!heard" => {
                let heard = if self.open[&conn].heard > 0 { &b"yes"[..] } else { b"no" };
                self.push(conn, Message::new(Kind::Text, Framing::Whole, heard));
                return true;
            }
            b"!flood" => {
                let all: Vec<ConnId> = self.open.keys().copied().collect();
                for conn in all {
                    self.push(conn, Message::new(Kind::Binary, Framing::Whole, &vec![7; 1 << 20]));
                }
                return true;
            }
            _ => return false,
        };
        self.effects.push_back(effect);
        true
    }
}

impl Engine for Echo {
    fn advance(&mut self, _: Now) {}

    fn open(&mut self, link: Link) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.generations.push(0);
            self.generations.len() as u32 - 1
        });
        self.generations[slot as usize] += 1;
        let conn = ConnId::new(slot, self.generations[slot as usize]);
        self.open.insert(conn, Peer::default());
        self.opened += 1;
        if self.commands && link.dialect == Dialect::Legacy {
            let frames = b"\0\0\0\x05hello\0\0\0\x05again";
            self.push(conn, Message::new(Kind::Binary, Framing::PerFrame, frames));
        }
        conn
    }

    fn receive(&mut self, conn: ConnId, kind: Kind, message: &[u8]) {
        if !(self.commands && self.command(conn, message)) {
            self.push(conn, Message::new(kind, Framing::Whole, message));
        }
    }

    fn heard(&mut self, conn: ConnId) {
        self.open.get_mut(&conn).expect("only open connections are heard of").heard += 1;
    }

    fn set_writable(&mut self, conn: ConnId, writable: bool) {
        let Some(peer) = self.open.get_mut(&conn) else { return };
        peer.blocked = !writable;
        if writable {
            // Before all that has come since.
            for message in std::mem::take(&mut peer.held).into_iter().rev() {
                self.out_bytes += message.bytes.len();
                self.out.push_front((conn, message));
            }
        }
    }

    fn closed(&mut self, conn: ConnId) {
        assert!(self.open.remove(&conn).is_some(), "a connection is closed once");
        self.free.push(conn.slot());
    }

    fn answer(&mut self, _: Ticket, _: Answer) {
        unreachable!("an echo asks nobody");
    }

    fn is_full(&self) -> bool {
        self.out_bytes >= FULL
    }

    fn drain(&mut self, _: u32) {
        let closes = self.open.keys().map(|&conn| Effect::Close { conn, code: CloseCode::SHUTDOWN });
        self.effects.extend(closes);
    }

    fn poll_write(&mut self) -> Option<Batch<'_>> {
        loop {
            let (conn, message) = self.out.pop_front()?;
            self.out_bytes -= message.bytes.len();
            match self.open.get_mut(&conn) {
                None => {}
                Some(peer) if peer.blocked => peer.held.push_back(message),
                Some(_) => {
                    self.to = vec![conn];
                    self.bytes = message.bytes;
                    return Some(Batch::with_kind(
                        &self.to,
                        0,
                        message.kind,
                        message.framing,
                        &mut self.bytes,
                    ));
                }
            }
        }
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn poll_timeout(&self) -> Option<Time> {
        None
    }

    fn stats(&self) -> Stats {
        Stats { opened: self.opened, connections: self.open.len() as u64, ..Stats::default() }
    }
}
