//! A host as all hosts are: it stacks inputs, drains the router's outputs, keeps what a socket does not take, and does
//! what the effects ask.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use crate::wire::CloseCode;
use crate::{Answer, Batch, ConnId, Effect, Framing, Kind, Link, PeerId, Router, Stats, Ticket, wire};

use super::client::ClientNo;
use super::net;
use super::peers::Said;
use super::world::{Event, World};

/// Microseconds for which inputs are stacked at most before a turn.
const STACKING_US: u32 = 300;
/// Microseconds that a closed connection has to take its last bytes.
const LINGER_US: u64 = 5_000_000;

/// What a host takes in.
#[derive(Debug)]
pub(super) enum Input {
    Open(ClientNo),
    Message(ClientNo, Kind, Vec<u8>),
    /// The transport's own pong.
    Alive(ClientNo),
    /// The client ended the connection, or its link broke.
    Closed(ClientNo),
    /// The client has taken bytes.
    Room(ClientNo, usize),
    /// A closed connection has had its time.
    Linger(ClientNo),
    Answer(Ticket, Answer),
    Peer(usize, Said),
    /// What became of the batch of records with this number.
    Stored(u64, Result<(), &'static str>),
}

/// One router and what its host keeps.
#[derive(Debug)]
pub(super) struct Host {
    index: usize,
    pub(super) router: Router,
    inbox: Vec<Input>,
    conns: BTreeMap<ClientNo, Conn>,
    by_slot: BTreeMap<u32, ClientNo>,
    /// When the next turn is.
    turn_at: Option<u64>,
    /// Questions that were not answered.
    num_asked: usize,
    /// The disk has a batch of records of which the router was not told.
    is_storing: bool,
    /// What takes the router's place when it can be left.
    successor: Option<Router>,
}

/// The host's end of a client's connection.
#[derive(Debug)]
struct Conn {
    id: ConnId,
    /// What the socket did not take.
    tail: Vec<u8>,
    /// Bytes that the client has not taken.
    under_way: usize,
    paused: bool,
    /// What came while nothing is read.
    held: Vec<Input>,
    /// The router knows it no more, and only the tail is still written.
    closing: bool,
}

impl Host {
    pub(super) fn new(index: usize, router: Router) -> Self {
        Self {
            index,
            router,
            inbox: Vec::new(),
            conns: BTreeMap::new(),
            by_slot: BTreeMap::new(),
            turn_at: None,
            num_asked: 0,
            is_storing: false,
            successor: None,
        }
    }

    /// Everything moves into this router at the end of a turn in which all of it can.
    pub(super) fn succeed(&mut self, successor: Router, world: &mut World) {
        self.successor = Some(successor);
        self.wake(world.now + 1, world);
    }

    /// Something has come: it is taken in the next turn, which is soon.
    pub(super) fn input(&mut self, input: Input, world: &mut World) {
        let from = match &input {
            Input::Message(client, ..) | Input::Alive(client) => Some(*client),
            _ => None,
        };
        if let Some(conn) = from.and_then(|client| self.conns.get_mut(&client))
            && conn.paused
        {
            return conn.held.push(input);
        }
        self.inbox.push(input);
        let at = world.now + 1 + u64::from(world.random.below(STACKING_US));
        self.wake(at, world);
    }

    /// A turn at this time, unless one comes earlier.
    pub(super) fn wake(&mut self, at: u64, world: &mut World) {
        if self.turn_at.is_none_or(|planned| at < planned) {
            self.turn_at = Some(at);
            world.plan(at, Event::Turn(self.index));
        }
    }

    pub(super) fn stats(&self) -> Stats {
        self.router.stats()
    }

    /// Bytes that wait for its connections in the router's queues.
    pub(super) fn queued_bytes(&self) -> usize {
        self.conns.values().map(|conn| self.router.queued_bytes(conn.id)).sum()
    }

    pub(super) fn turn(&mut self, world: &mut World) {
        if self.turn_at != Some(world.now) {
            return;
        }
        self.turn_at = None;
        self.router.advance(world.clock());
        for input in core::mem::take(&mut self.inbox) {
            self.take(input, world);
            if self.router.is_full() {
                self.write(world);
            }
        }
        self.drain(world);
        if self.successor.is_some() && self.move_house(world) {
            self.drain(world);
        }
        if let Some(due) = self.router.poll_timeout() {
            self.wake(world.due(due), world);
        }
    }

    fn drain(&mut self, world: &mut World) {
        loop {
            self.write(world);
            let Some(effect) = self.router.poll_effect() else { return };
            self.act(effect, world);
        }
    }

    /// Exports all that the router has and imports it into the next one. Not while an answer is under way, of the application or
    /// of the disk, which the next one could not tell from its own.
    fn move_house(&mut self, world: &mut World) -> bool {
        let (mut channels, mut sessions) = (Vec::new(), Vec::new());
        if self.num_asked > 0 || self.is_storing || !self.router.export_channels(&mut channels) {
            return false;
        }
        for (client, conn) in self.conns.iter().filter(|(_, conn)| !conn.closing) {
            let mut session = Vec::new();
            if !self.router.export(conn.id, &mut session) {
                return false;
            }
            sessions.push((*client, session));
        }
        self.router = self.successor.take().expect("the caller has seen it");
        self.router.advance(world.clock());
        let moved = self.router.import_channels(&channels);
        world
            .trace(|| format!("router {} has moved with {} sessions: {moved:?}", self.index, sessions.len()));
        self.by_slot.clear();
        for (client, session) in sessions {
            match self.router.import(0, &session) {
                Ok(id) => {
                    self.by_slot.insert(id.slot(), client);
                    self.conns.get_mut(&client).expect("it was exported just now").id = id;
                }
                Err(error) => world.fail("moving", format!("client {}: {error}", client.0)),
            }
        }
        if moved.is_err() {
            world.fail("moving", "the channels of a router could not be imported".into());
        }
        true
    }

    fn take(&mut self, input: Input, world: &mut World) {
        match input {
            Input::Open(client) => self.open(client, world),
            Input::Message(client, kind, bytes) => {
                if let Some(id) = self.live(client) {
                    self.router.receive(id, kind, &bytes);
                }
            }
            Input::Alive(client) => {
                if let Some(id) = self.live(client) {
                    self.router.heard(id);
                }
            }
            Input::Closed(client) => {
                if let Some(id) = self.live(client) {
                    self.by_slot.remove(&id.slot());
                    self.router.closed(id);
                }
                self.conns.remove(&client);
            }
            Input::Room(client, bytes) => self.room(client, bytes, world),
            Input::Linger(client) => {
                self.conns.remove(&client);
                world.hang_up_on(client);
            }
            Input::Answer(ticket, answer) => {
                self.num_asked -= 1;
                self.router.answer(ticket, answer);
            }
            Input::Peer(peer, said) => self.peer(peer, said, world),
            Input::Stored(sequence, stored) => {
                self.is_storing = false;
                match stored {
                    Ok(()) => self.router.stored(sequence),
                    Err(reason) => self.router.not_stored(sequence, reason),
                }
            }
        }
    }

    fn live(&self, client: ClientNo) -> Option<ConnId> {
        self.conns.get(&client).filter(|conn| !conn.closing).map(|conn| conn.id)
    }

    fn open(&mut self, client: ClientNo, world: &World) {
        let link = Link { class: 0, dialect: world.clients[client.0].dialect() };
        let id = self.router.open(link);
        self.by_slot.insert(id.slot(), client);
        let conn =
            Conn { id, tail: Vec::new(), under_way: 0, paused: false, held: Vec::new(), closing: false };
        self.conns.insert(client, conn);
    }

    fn peer(&mut self, peer: usize, said: Said, world: &mut World) {
        let (id, window) = (PeerId(peer as u16), world.peer_network.window);
        let lane = &mut world.lanes[self.index][peer];
        match said {
            Said::Parcel(parcel) => {
                if self.router.peer(id, &parcel).is_err() {
                    world.fail("peers", format!("router {} got a bad parcel from {peer}", self.index));
                }
            }
            Said::Lost => {
                lane.turn_over();
                self.router.peer_lost(id);
            }
            Said::Joined => {
                lane.turn_over();
                self.router.peer_joined(id);
            }
            Said::Room(bytes) => {
                // The news may be of a session that is over.
                if lane.is_joined() && lane.arrived(bytes, window) {
                    self.router.set_peer_writable(id, true);
                }
            }
        }
    }

    // ---- out

    fn write(&mut self, world: &mut World) {
        // What the router has to be told once the batch, which borrows from it, is written.
        let mut blocked = Vec::new();
        loop {
            {
                let Some(mut batch) = self.router.poll_write() else { break };
                let (to, kind) = (batch.to().to_vec(), batch.kind());
                let bytes: Vec<u8> = match batch.framing() {
                    Framing::Whole => batch.framed(&net::header(kind, batch.payload().len())).into(),
                    Framing::PerFrame => message_each(&batch),
                };
                for id in to {
                    let client = self.by_slot.get(&id.slot()).copied();
                    let conn = client.and_then(|client| self.conns.get_mut(&client));
                    match (client, conn.filter(|conn| conn.id == id)) {
                        (Some(client), Some(conn)) => {
                            if conn.write(client, &bytes, world) {
                                blocked.push(id);
                            }
                        }
                        _ => world.fail("host", format!("a batch for {id:?}, which is closed")),
                    }
                }
            }
            for id in blocked.drain(..) {
                self.router.set_writable(id, false);
            }
        }
    }

    fn room(&mut self, client: ClientNo, bytes: usize, world: &mut World) {
        let Some(conn) = self.conns.get_mut(&client) else { return };
        conn.under_way -= bytes;
        if conn.tail.is_empty() {
            return;
        }
        let tail = core::mem::take(&mut conn.tail);
        if conn.write(client, &tail, world) {
            return;
        }
        if conn.closing {
            self.conns.remove(&client);
        } else {
            self.router.set_writable(conn.id, true);
        }
    }

    fn act(&mut self, effect: Effect, world: &mut World) {
        match effect {
            Effect::Close { conn, code } => self.close(conn, code, world),
            Effect::Ping { conn } => {
                let short =
                    self.find(conn).is_some_and(|(client, conn)| conn.write(client, &net::ping(), world));
                if short {
                    self.router.set_writable(conn, false);
                }
            }
            Effect::Pause { conn, paused } => {
                let Some((_, conn)) = self.find(conn) else { return };
                conn.paused = paused;
                if !paused {
                    for input in core::mem::take(&mut conn.held) {
                        self.input(input, world);
                    }
                }
            }
            Effect::Authorize { ticket, request, .. } => {
                self.num_asked += 1;
                let answer = (world.decide)(&request);
                let at = world.now + 1 + u64::from(world.random.below(world.decide_us));
                world.trace(|| format!("router {} asks about {request:?}: {answer:?}", self.index));
                world.plan(at, Event::Host(self.index, Input::Answer(ticket, answer)));
            }
            Effect::Send { to, parcel } => self.send(usize::from(to.0), parcel, world),
            Effect::Store { sequence, records } => {
                self.is_storing = true;
                world.store(self.index, sequence, records);
            }
            Effect::Settled { .. } => unreachable!("hosts here publish nothing of their own"),
        }
    }

    fn find(&mut self, id: ConnId) -> Option<(ClientNo, &mut Conn)> {
        let client = *self.by_slot.get(&id.slot())?;
        self.conns.get_mut(&client).filter(|conn| conn.id == id).map(|conn| (client, conn))
    }

    fn close(&mut self, id: ConnId, code: CloseCode, world: &mut World) {
        let Some((client, conn)) = self.find(id) else { return };
        conn.closing = true;
        world.trace(|| format!("client {} is closed with {}", client.0, code.0));
        if conn.write(client, &net::close(code.0), world) {
            world.plan(world.now + LINGER_US, Event::Host(self.index, Input::Linger(client)));
        } else {
            self.conns.remove(&client);
        }
        self.by_slot.remove(&id.slot());
        self.router.closed(id);
    }

    fn send(&mut self, to: usize, parcel: Vec<u8>, world: &mut World) {
        let window = world.peer_network.window;
        let lane = world.lanes.get_mut(self.index).and_then(|lanes| lanes.get_mut(to));
        let Some(lane) = lane.filter(|_| to != self.index) else {
            return world.fail("peers", format!("router {} sends to router {to}", self.index));
        };
        if !lane.is_joined() {
            let text = format!("router {} sends to router {to}, which it knows to be lost", self.index);
            return world.fail("peers", text);
        }
        if lane.send(parcel.len(), window) {
            self.router.set_peer_writable(PeerId(to as u16), false);
        }
        world.carry(self.index, to, parcel);
    }
}

impl Conn {
    /// Writes what the socket takes and keeps the rest. `true` if there is a rest.
    fn write(&mut self, client: ClientNo, bytes: &[u8], world: &mut World) -> bool {
        if !self.tail.is_empty() {
            self.tail.extend_from_slice(bytes);
            return true;
        }
        let room = world.network.socket_bytes.saturating_sub(self.under_way);
        let (taken, rest) = bytes.split_at(room.min(bytes.len()));
        if !taken.is_empty() {
            self.under_way += taken.len();
            world.carry_down(client, taken.into());
        }
        self.tail.extend_from_slice(rest);
        !rest.is_empty()
    }
}

/// Each frame of a batch as a message of its own.
fn message_each(batch: &Batch<'_>) -> Vec<u8> {
    let (mut bytes, mut out) = (batch.payload(), Vec::new());
    while let wire::Split::Frame { rest, .. } = wire::split(bytes, bytes.len()) {
        let frame = &bytes[..bytes.len() - rest.len()];
        out.extend(net::header(batch.kind(), frame.len()));
        out.extend_from_slice(frame);
        bytes = rest;
    }
    out
}
