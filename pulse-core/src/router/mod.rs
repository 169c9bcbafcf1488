//! One thread's worth of Pulse: every connection and channel of it, from input bytes to output batches.
//!
//! This file owns the turn and the life of connections. `requests` answers what clients ask, with `subscriptions`,
//! `publications`, `guards`, `history` (with `histories`; `bound` says what of them is too much), `durable`, `recovery` and,
//! where a request cannot be decided at once, `waiting`; `commands` does what the host wants; `peers` speaks with other
//! routers; `fanout` decides which bytes go to whom (with `lists`; `backlog` has what waits), `timer` when a silent
//! connection is looked at.

mod backlog;
mod bound;
mod commands;
mod durable;
mod fanout;
mod guards;
mod histories;
mod history;
mod lists;
mod moving;
mod peers;
mod presence;
mod publications;
mod recovery;
mod requests;
mod session;
mod storing;
mod subscriptions;
mod timer;
mod waiting;

pub use commands::{Command, Outcome, Refused, Target, is_client_name};
pub use durable::Restored;
pub use moving::ImportError;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::channel::Channels;
use crate::grant::Rulebook;
use crate::link::Encoding;
use crate::peer::Outbox;
use crate::presence::ClientName;
use crate::queue::Meta;
use crate::random::{Random, Seed, mix};
use crate::wire::{CLOSES, CloseCode, Disconnect, Frame, MAX_SAFE};
use crate::{
    Answer, Batch, ConnId, Dialect, Effect, Kind, Limits, Link, Namespace, Now, PeerId, Rule, Rules, Shards,
    Stats, Ticket, Time, limits,
};

use bound::Piece;
use fanout::Fanout;
use histories::Histories;
use lists::Message;
use peers::Unsent;
use presence::Crowds;
use recovery::Replays;
use session::{Conn, State};
use storing::Storing;
use subscriptions::Joining;
use timer::{Deadlines, Heartbeat};

/// What a router is made with.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Ceilings.
    pub limits: Limits,
    /// Signs of life.
    pub heartbeat: limits::Heartbeat,
    /// The rules of channels without a namespace, or of one that is not listed.
    pub rules: Rules,
    /// Namespaces with rules of their own.
    pub namespaces: Vec<Namespace>,
    /// Who may open a session. Clients of the first release, who do not ask, may unless this is `Nobody`.
    pub connect: Rule,
    /// Which of several routers this one is.
    pub shards: Shards,
}

/// All connections and channels of one thread, worker or tab. No lock, no atomic, no task.
///
/// Inputs are stacked in any number, then outputs are drained: [`poll_write`](Self::poll_write) until `None`, then
/// [`poll_effect`](Self::poll_effect) until `None`. That is one *turn*. Stopping early keeps the rest. So several
/// messages for one connection in one turn leave as one write.
///
/// ```
/// use pulse_core::{Config, Dialect, Kind, Link, Now, Router, Seed};
/// use pulse_core::wire::{self, Frame, Payload, Publish, Subscribe};
///
/// let mut router = Router::new(Config::default(), Seed(1));
/// router.advance(Now::default());
/// let conn = router.open(Link { class: 0, dialect: Dialect::Legacy });
/// let mut message = Vec::new();
/// Frame::Subscribe(Subscribe { id: 1, channel: "news", ..Subscribe::default() }).encode(&mut message);
/// let hello = Publish { channel: "news", payload: Payload::from(&b"hello"[..]), ..Publish::default() };
/// Frame::Publish(hello).encode(&mut message);
/// router.receive(conn, Kind::Binary, &message);
///
/// let mut kinds = Vec::new();
/// while let Some(batch) = router.poll_write() {
///     let mut bytes = batch.payload();
///     while let wire::Split::Frame { map, rest } = wire::split(bytes, 1024) {
///         kinds.push(match wire::decode(map).unwrap() {
///             Frame::Connected(_) => "connected",
///             Frame::Ack(ack) if ack.id == 1 => "ack",
///             Frame::Publish(p) if p.payload == hello.payload => "publish",
///             other => panic!("{other:?}"),
///         });
///         bytes = rest;
///     }
/// }
/// assert_eq!(kinds, ["connected", "ack", "publish"]);
/// ```
#[derive(Debug)]
pub struct Router {
    config: Config,
    rulebook: Rulebook,
    random: Random,
    /// Keys the names that connections are told.
    name_key: u64,
    now: Now,
    conns: Vec<Conn>,
    free: Vec<u32>,
    deadlines: Deadlines,
    channels: Channels,
    /// By index: channels that wait for their home to take this router as a leaf.
    joining: HashMap<u32, Joining, foldhash::fast::FixedState>,
    crowds: Crowds,
    histories: Histories,
    replays: Replays,
    storing: Storing,
    fanout: Fanout,
    /// By the peer's number; this router's own is never used. Empty while it is alone.
    outboxes: Vec<Outbox>,
    unsent: Unsent,
    effects: VecDeque<Effect>,
    tickets: HashMap<Ticket, ConnId, foldhash::fast::FixedState>,
    last_ticket: u64,
    /// Who a connection's client is, where the host has said so.
    users: HashMap<Slot, Box<str>, foldhash::fast::FixedState>,
    /// Names, as numbers, of connections that were imported.
    names: HashMap<Slot, u64, foldhash::fast::FixedState>,
    /// Channels that were imported, and that nobody may need.
    moved_in: Vec<Box<str>>,
    /// The map and the frame that a line of JSON stands for, while it is taken.
    scratch: (Vec<u8>, Vec<u8>),
    /// The frame of a publication that is kept, while it is delivered.
    kept_frame: Vec<u8>,
    /// Open connections of an encoding other than MessagePack: while there is none, fan-out need not ask.
    num_json: u32,
    stats: Stats,
}

/// A connection's place in the tables, where its id was checked already.
type Slot = u32;

impl Router {
    /// A router without connections. The same configuration, seed and inputs give the same outputs.
    ///
    /// # Panics
    /// If `config.shards` has no place for this router: a count of 0 or over [`Shards::MAX`], or an index that is not below it.
    #[must_use]
    pub fn new(config: Config, seed: Seed) -> Self {
        let shards = config.shards;
        assert!(
            shards.index < shards.count && shards.count <= Shards::MAX,
            "shard {} of {}: indices are below the count, and that is at most {}",
            shards.index,
            shards.count,
            Shards::MAX
        );
        let mut random = Random::new(seed);
        let (mut name_key, mut hash_key) = (random.next(), random.next());
        let mut outboxes = Vec::new();
        if shards.count > 1 {
            // What all of them have to agree on: homes, and names that no two of their connections share.
            (name_key, hash_key) = (mix(shards.key), mix(!shards.key));
            let bound = config.limits.peer_bytes as usize;
            outboxes.resize_with(shards.count.into(), || Outbox::new(bound));
        }
        let history_bytes = config.limits.history_bytes.div_ceil(shards.count.into());
        let history_bytes = usize::try_from(history_bytes).unwrap_or(usize::MAX);
        Self {
            rulebook: Rulebook::new(config.rules, config.namespaces.clone()),
            random,
            name_key,
            now: Now::default(),
            conns: Vec::new(),
            free: Vec::new(),
            deadlines: Deadlines::new(&config.heartbeat),
            channels: Channels::new(hash_key, shards),
            joining: HashMap::with_hasher(foldhash::fast::FixedState::default()),
            crowds: Crowds::new(),
            // Of the same randomness, but not the hash that places channels.
            histories: Histories::new(mix(!hash_key), history_bytes),
            replays: Replays::default(),
            storing: Storing::new(config.limits.peer_bytes as usize, mix(!hash_key)),
            outboxes,
            unsent: Unsent::default(),
            fanout: Fanout::new(config.limits.queue_bytes as usize),
            effects: VecDeque::new(),
            tickets: HashMap::with_hasher(foldhash::fast::FixedState::default()),
            last_ticket: 0,
            users: HashMap::with_hasher(foldhash::fast::FixedState::default()),
            names: HashMap::with_hasher(foldhash::fast::FixedState::default()),
            moved_in: Vec::new(),
            scratch: Default::default(),
            kept_frame: Vec::new(),
            num_json: 0,
            stats: Stats::default(),
            config,
        }
    }

    // ---- in: any number per turn, in arrival order

    /// Opens a turn: sets its clock and looks after connections that are due.
    pub fn advance(&mut self, now: Now) {
        // Frames have no room for a later time of day.
        self.now = Now { unix_ms: now.unix_ms.min(MAX_SAFE), ..now };
        self.drop_unused();
        self.crowds.advance(now.mono);
        self.forget_expired();
        if !self.deadlines.advance(now.mono) {
            return;
        }
        let (mut from, mut ping) = (0, Shared::default());
        while let Some(slot) = self.deadlines.next_due(from) {
            self.attend(slot, &mut ping);
            from = slot + 1;
        }
        self.close_overflowed();
    }

    /// A transport is ready. A client of the first release is sent `connected` at once.
    pub fn open(&mut self, link: Link) -> ConnId {
        let slot = self.take_slot(link);
        self.stats.opened += 1;
        match (link.dialect, self.config.connect) {
            (Dialect::Legacy, Rule::Anyone) => self.greet(slot),
            (Dialect::Legacy, Rule::Nobody) => self.end(slot, CloseCode::UNAUTHORIZED, None),
            _ => self.deadlines.set(slot, self.config.heartbeat.connect_ms),
        }
        self.id(slot)
    }

    fn take_slot(&mut self, link: Link) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.conns.push(Conn::default());
            u32::try_from(self.conns.len() - 1).expect("hosts hold fewer connections than a u32 counts")
        });
        let conn = &mut self.conns[slot as usize];
        conn.open(link, self.deadlines.tick());
        let id = ConnId::new(slot, conn.generation);
        self.fanout.open(id, link);
        self.num_json += u32::from(link.dialect.encoding() == Encoding::Json);
        self.stats.connections += 1;
        slot
    }

    /// One whole transport message, unmasked. What is wrong with it is told to its sender, never to the host.
    pub fn receive(&mut self, conn: ConnId, kind: Kind, message: &[u8]) {
        let Some(slot) = self.live(conn) else { return };
        let tick = self.deadlines.tick();
        let conn = &mut self.conns[slot as usize];
        conn.heard = tick;
        if matches!(conn.state, State::Closing { .. }) {
            return;
        }
        if kind != conn.link.dialect.kind() {
            return self.end(slot, CloseCode::WRONG_KIND, None);
        }
        match kind {
            Kind::Binary => self.frames(slot, message),
            Kind::Text => self.lines(slot, message),
        }
        self.close_overflowed();
    }

    /// The client is alive: it sent something that is no message (a transport's own ping or pong).
    pub fn heard(&mut self, conn: ConnId) {
        if let Some(slot) = self.live(conn) {
            self.conns[slot as usize].heard = self.deadlines.tick();
        }
    }

    /// `false` after a short write, whose tail the host keeps; `true` once that tail is gone.
    pub fn set_writable(&mut self, conn: ConnId, writable: bool) {
        let Some(slot) = self.live(conn) else { return };
        if writable {
            self.fanout.unblock(slot, self.conns[slot as usize].link);
            self.replays.list(slot);
        } else {
            self.fanout.block(slot, self.conns[slot as usize].link);
            self.close_overflowed();
        }
    }

    /// The transport is gone, whoever ended it.
    pub fn closed(&mut self, conn: ConnId) {
        let Some(slot) = self.live(conn) else { return };
        self.leave_all(slot);
        self.forget_waiting(slot);
        self.fanout.close(slot);
        self.users.remove(&slot);
        self.names.remove(&slot);
        self.deadlines.clear(slot);
        let conn = &mut self.conns[slot as usize];
        conn.state = State::Free;
        self.num_json -= u32::from(conn.link.dialect.encoding() == Encoding::Json);
        self.free.push(slot);
        self.stats.connections -= 1;
    }

    /// Settles an [`Effect::Authorize`]. An answer for a connection that is gone, or a second one, changes nothing.
    pub fn answer(&mut self, ticket: Ticket, answer: Answer) {
        let Some(conn) = self.tickets.remove(&ticket) else { return };
        let slot = self.live(conn).expect("a ticket goes with its connection");
        self.resume(slot, Some(&answer));
        self.close_overflowed();
    }

    /// Tells every client that the server goes, and to come back at some moment within `spread_ms` milliseconds.
    /// Each is closed with code 4000.
    pub fn drain(&mut self, spread_ms: u32) {
        // A moment for each of 64 groups, not for each client: so a hundred thousand clients share 64 messages.
        let moments: Vec<u64> =
            (0..64).map(|_| u64::from(self.random.below(spread_ms.saturating_add(1)))).collect();
        for slot in 0..self.conns.len() as u32 {
            if matches!(self.conns[slot as usize].state, State::Greeting | State::Open) {
                let retry_ms = moments[self.random.below(64) as usize];
                self.end(slot, CloseCode::SHUTDOWN, Some(retry_ms));
            }
        }
        self.close_overflowed();
    }

    // ---- out: drained in this order; stopping early keeps the rest

    /// The next bytes for some connections; `None` when the turn is drained. May have news after every input. Whether it
    /// returns anything or not, it may have made effects, too.
    #[must_use]
    pub fn poll_write(&mut self) -> Option<Batch<'_>> {
        if self.crowds.is_due() {
            self.tell_changes();
        }
        let gathered = loop {
            let Self { conns, channels, fanout, .. } = self;
            let link = |slot| conns[slot as usize].link;
            if let Some(gathered) = fanout.gather(link, |channel| &channels.get(channel).name) {
                break gathered;
            }
            // One connection after the other, each written before the next: what waited for all of them would make one
            // turn of megabytes.
            if !self.replay_next() && !self.resume_next() {
                return None;
            }
        };
        Some(self.fanout.batch(gathered))
    }

    /// The next thing that only the host can do. May have news after every input; ask when
    /// [`poll_write`](Self::poll_write) has none left, since a `Close` stands behind what is still to be written.
    #[must_use]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        while let Some(slot) = self.fanout.poll_drained() {
            self.ask_to_close(slot);
        }
        self.effects.pop_front().or_else(|| self.poll_parcel()).or_else(|| self.poll_store())
    }

    /// When [`advance`](Self::advance) is due at the latest; `None` while nothing can fall due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let kept = [self.histories.next(), self.storing.next()].into_iter().flatten();
        self.deadlines.next().into_iter().chain(self.crowds.next()).chain(kept).min()
    }

    /// Whether the turn holds as much as it should: drain before the next input.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.fanout.is_full() || self.unsent.is_full()
    }

    // ---- getters

    /// Counters since the router was made.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let fanout::Counters { frames, bytes, dropped } = self.fanout.counters;
        let [publications, names] = Piece::ALL.map(|piece| self.histories.size(piece));
        Stats {
            frames_out: frames,
            bytes_out: bytes,
            dropped,
            history_evicted: self.histories.gone(Piece::Publication),
            history_keys_evicted: self.histories.gone(Piece::Name),
            history_publications: publications.count as u64,
            history_keys: names.count as u64,
            history_bytes: (publications.bytes + names.bytes) as u64,
            channels: self.channels.num_home() as u64,
            members: self.crowds.members,
            backlog_bytes: self.fanout.backlog_bytes() as u64,
            ..self.stats
        }
    }

    /// Number of the newest publication in a channel that has subscribers, 0 before the first.
    #[must_use]
    pub fn top(&self, channel: &str) -> Option<u64> {
        self.channels.find(self.channels.hash(channel), channel).map(|at| self.channels.get(at).offset)
    }

    /// The router that numbers a channel's publications, whether the channel exists or not.
    #[must_use]
    pub fn home(&self, channel: &str) -> PeerId {
        PeerId(self.channels.home(self.channels.hash(channel)))
    }

    /// Bytes that wait for a connection which takes nothing, with what the list itself takes; 0 for any other.
    #[must_use]
    pub fn queued_bytes(&self, conn: ConnId) -> usize {
        self.live(conn).map_or(0, |slot| self.fanout.queued_bytes(slot))
    }

    /// Bytes that wait in all connections' queues: by these a host decides when to read from nobody for a while.
    #[must_use]
    pub fn backlog_bytes(&self) -> usize {
        self.fanout.backlog_bytes()
    }

    /// The name that a connection's client was told.
    #[must_use]
    pub fn name(&self, conn: ConnId) -> [u8; 16] {
        ClientName::new(self.client(conn)).bytes()
    }

    // ---- the life of a connection

    /// The name that a connection's client was told, as a number.
    fn client(&self, conn: ConnId) -> u64 {
        if let Some(name) = self.names.get(&conn.slot()) {
            return *name;
        }
        // A bijection: no two connections of routers with one key have one name, up to 16 million connections each.
        mix(conn.to_bits() ^ u64::from(self.config.shards.index) << 24 ^ self.name_key)
    }

    fn live(&self, id: ConnId) -> Option<Slot> {
        let conn = self.conns.get(id.slot() as usize)?;
        (conn.generation == id.generation() && conn.state != State::Free).then_some(id.slot())
    }

    fn id(&self, slot: Slot) -> ConnId {
        ConnId::new(slot, self.conns[slot as usize].generation)
    }

    /// Says goodbye and asks the host to close. `Closing` from here on: only what is left is still written.
    fn end(&mut self, slot: Slot, code: CloseCode, retry_ms: Option<u64>) {
        self.end_saying(slot, code, code.text(), retry_ms);
    }

    fn end_saying(&mut self, slot: Slot, code: CloseCode, reason: &str, retry_ms: Option<u64>) {
        self.leave_all(slot);
        self.forget_waiting(slot);
        if let Some(row) = CLOSES.iter().position(|row| row.code == code.0) {
            self.stats.closed[row] += 1;
        }
        let conn = &mut self.conns[slot as usize];
        conn.state = State::Closing { code, asked: false };
        let dialect = conn.link.dialect;
        if code == CloseCode::SLOW_CONSUMER {
            self.fanout.drop_queue(slot);
        }
        // A client of the first release does not know the frame: it gets the transport's close alone.
        if dialect != Dialect::Legacy {
            self.tell(slot, &Frame::Disconnect(Disconnect { code: code.0, reason, retry_ms }));
        }
        self.deadlines.set(slot, limits::CLOSE_MS);
        if self.fanout.is_drained(slot) {
            self.ask_to_close(slot);
        }
    }

    /// Hands the end over to the host, once.
    fn ask_to_close(&mut self, slot: Slot) {
        let id = self.id(slot);
        if let State::Closing { code, asked: asked @ false } = &mut self.conns[slot as usize].state {
            *asked = true;
            self.effects.push_back(Effect::Close { conn: id, code: *code });
            self.deadlines.clear(slot);
        }
    }

    /// Ends the connections whose queue has overflowed.
    fn close_overflowed(&mut self) {
        while let Some(slot) = self.fanout.poll_overflow() {
            if matches!(self.conns[slot as usize].state, State::Greeting | State::Open) {
                self.end(slot, CloseCode::SLOW_CONSUMER, None);
            }
        }
    }

    /// Looks after a connection whose deadline has come.
    fn attend(&mut self, slot: Slot, ping: &mut Shared) {
        match self.conns[slot as usize].state {
            State::Free => {}
            // It has sent `connect`, and the host still decides.
            State::Greeting if self.conns[slot as usize].waiting.is_some() => {
                self.deadlines.set(slot, self.config.heartbeat.connect_ms);
            }
            State::Greeting => self.end(slot, CloseCode::CONNECT_EXPECTED, None),
            State::Closing { .. } => self.ask_to_close(slot),
            // It is not read from, so it cannot be heard. But it must not take the server for dead.
            State::Open if self.conns[slot as usize].waiting.is_some() => {
                self.deadlines.set(slot, self.config.heartbeat.interval_ms);
                self.ask_for_life(slot, ping);
            }
            State::Open => match self.deadlines.heartbeat(slot, self.conns[slot as usize].heard) {
                Heartbeat::Silent => self.end(slot, CloseCode::HEARTBEAT_TIMEOUT, None),
                Heartbeat::Ask => self.ask_for_life(slot, ping),
                Heartbeat::Fine => {}
            },
        }
    }

    /// All connections that are asked in one turn share one message.
    fn ask_for_life(&mut self, slot: Slot, ping: &mut Shared) {
        let dialect = self.conns[slot as usize].link.dialect;
        if dialect == Dialect::Legacy {
            self.effects.push_back(Effect::Ping { conn: self.id(slot) });
            return;
        }
        let message = ping.message(
            dialect.encoding(),
            Meta::CONTROL,
            &Frame::Ping { timestamp: None },
            &mut self.fanout,
        );
        self.fanout.push(slot, message);
    }
}

/// One frame for several connections: encoded into the palette once for each encoding that is asked for.
#[derive(Debug, Default)]
struct Shared([Option<Message>; Encoding::COUNT]);

impl Shared {
    /// A frame whose MessagePack is a message already.
    fn with(message: Message) -> Self {
        let mut shared = Self::default();
        shared.0[Encoding::MessagePack as usize] = Some(message);
        shared
    }

    /// The message in one encoding. The frame has to be the same in every call.
    fn message(&mut self, encoding: Encoding, meta: Meta, frame: &Frame<'_>, fanout: &mut Fanout) -> Message {
        let encode = |out: &mut Vec<u8>| encoding.encode(frame, out);
        *self.0[encoding as usize].get_or_insert_with(|| fanout.message(meta, encode))
    }
}
