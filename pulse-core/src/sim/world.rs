//! What is between the routers: the clock, what is under way, the clients, and the randomness that all of it draws from.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use crate::random::{Random, Seed, mix};
use crate::wire::Frame;
use crate::{Answer, Now, Request, Time};

use super::SimConfig;
use super::client::{Client, ClientNo};
use super::disk::Disk;
use super::host::Input;
use super::net::Network;
use super::peers::{Lane, PeerNetwork, Said};

/// The server's clocks when a run begins: they start anywhere.
const START_US: u64 = 77_000_000;
const START_UNIX_MS: u64 = 1_800_000_000_000;

/// Lines of the trace that are kept.
const TRACE_LINES: usize = 20_000;

/// Something that happens at its time.
#[derive(Debug)]
pub(super) enum Event {
    /// A host's turn.
    Turn(usize),
    /// Something arrives at a host.
    Host(usize, Input),
    /// Bytes arrive at a client.
    Chunk(ClientNo, Vec<u8>),
    /// A client learns that its link is broken.
    Broken(ClientNo),
    /// A parcel arrives.
    Parcel { from: usize, to: usize, epoch: u32, parcel: Vec<u8> },
    /// The disk is done with what a host wants stored.
    Synced(usize),
    /// A process begins.
    Start { routers: u16 },
}

/// The wire between two routers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bond {
    /// Counts the sessions.
    pub(super) epoch: u32,
    pub(super) up: bool,
    /// Nothing passes before this time: not both ends know that the last session is over.
    pub(super) since: u64,
    /// By this time both ends know how it is.
    pub(super) known: u64,
}

/// When a process began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Boot {
    /// By the server's clock, in microseconds since the run began.
    pub(super) run: u64,
    /// By the clock that the process has.
    pub(super) mono: u64,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: u64,
    /// How far the server's clock is ahead of the run's.
    pub(super) skew_us: u64,
    pub(super) boot: Boot,
    /// Whether a process runs, and how many have ended.
    pub(super) is_up: bool,
    pub(super) life: usize,
    pub(super) events: BTreeMap<(u64, u64), Event>,
    planned: u64,
    pub(super) random: Random,
    pub(super) clients: Vec<Client>,
    pub(super) network: Network,
    pub(super) peer_network: PeerNetwork,
    /// From each router to each.
    pub(super) lanes: Vec<Vec<Lane>>,
    /// By the lower of two routers, then by the higher.
    pub(super) bonds: Vec<Vec<Bond>>,
    pub(super) decide: fn(&Request) -> Answer,
    pub(super) decide_us: u32,
    pub(super) disk: Disk,
    sync_us: u32,
    /// Of everything that clients were sent.
    pub(super) digest: u64,
    trace: Option<VecDeque<String>>,
    failure: Option<(&'static str, String)>,
}

impl World {
    pub(super) fn new(config: &SimConfig, seed: Seed) -> Self {
        let routers = usize::from(config.routers);
        Self {
            now: 0,
            skew_us: 0,
            boot: Boot { run: 0, mono: START_US },
            is_up: true,
            life: 0,
            events: BTreeMap::new(),
            planned: 0,
            random: Random::new(seed),
            clients: Vec::new(),
            network: config.network,
            peer_network: config.peer_network,
            lanes: vec![vec![Lane::new(); routers]; routers],
            bonds: vec![vec![Bond { epoch: 0, up: true, since: 0, known: 0 }; routers]; routers],
            decide: config.decide,
            decide_us: config.decide_us,
            disk: Disk::default(),
            sync_us: config.sync_us,
            digest: 0,
            trace: config.trace.then(VecDeque::new),
            failure: None,
        }
    }

    pub(super) fn plan(&mut self, at: u64, event: Event) {
        self.planned += 1;
        self.events.insert((at.max(self.now), self.planned), event);
    }

    /// The next event that is due until a time; the clock goes there.
    pub(super) fn next(&mut self, until: u64) -> Option<Event> {
        let first = self.events.first_entry().filter(|first| first.key().0 <= until)?;
        self.now = first.key().0;
        Some(first.remove())
    }

    /// The clock goes on without anything happening.
    pub(super) fn pass(&mut self, until: u64) {
        self.now = self.now.max(until);
    }

    /// The time as a process reads it.
    pub(super) fn clock(&self) -> Now {
        let run = self.now + self.skew_us;
        Now { mono: Time(self.boot.mono + run - self.boot.run), unix_ms: START_UNIX_MS + run / 1000 }
    }

    /// When something happens that a process wants at this time, but not before the next microsecond.
    pub(super) fn due(&self, Time(mono): Time) -> u64 {
        let run = mono.saturating_sub(self.boot.mono) + self.boot.run;
        run.saturating_sub(self.skew_us).max(self.now + 1)
    }

    // ---- the disk

    /// A host wants a batch of records stored.
    pub(super) fn store(&mut self, host: usize, sequence: u64, records: Vec<u8>) {
        if let Err(text) = self.disk.take(host, sequence, records) {
            return self.fail("disk", text);
        }
        let at = self.now + 1 + u64::from(self.random.below(self.sync_us));
        self.plan(at, Event::Synced(host));
    }

    pub(super) fn synced(&mut self, host: usize) {
        match self.disk.sync(host, self.now) {
            Ok((sequence, stored)) => self.plan(self.now, Event::Host(host, Input::Stored(sequence, stored))),
            Err(text) => self.fail("disk", text),
        }
    }

    // ---- the links of clients

    pub(super) fn carry_down(&mut self, client: ClientNo, chunk: Vec<u8>) {
        let earliest = self.network.arrival(self.now, &mut self.random);
        let to = &mut self.clients[client.0];
        if !to.broken {
            let at = to.down.arrival(earliest);
            self.plan(at, Event::Chunk(client, chunk));
        }
    }

    /// The server's end goes without a word.
    pub(super) fn hang_up_on(&mut self, client: ClientNo) {
        let to = &mut self.clients[client.0];
        let at = to.down.arrival(self.now);
        to.broken = true;
        self.plan(at, Event::Broken(client));
    }

    pub(super) fn carry_up(&mut self, client: ClientNo, input: Input) {
        let earliest = self.network.arrival(self.now, &mut self.random);
        let from = &mut self.clients[client.0];
        if !from.broken && !from.orphaned {
            let (at, shard) = (from.up.arrival(earliest), from.shard());
            self.plan(at, Event::Host(shard, input));
        }
    }

    /// Bytes arrive at a client, or are read now that it reads again.
    pub(super) fn deliver(&mut self, client: ClientNo, chunk: &[u8]) {
        let to = &mut self.clients[client.0];
        let seen = to.log().len();
        match to.take(self.now, chunk) {
            Ok(owed) => {
                if owed.read > 0 {
                    self.digest = fold(self.digest ^ mix(self.now), chunk);
                    self.carry_up(client, Input::Room(client, owed.read));
                }
                if owed.alive {
                    self.carry_up(client, Input::Alive(client));
                }
                for timestamp in owed.pongs {
                    self.send(client, &[Frame::Pong { timestamp }]);
                }
            }
            Err(text) => self.fail("wire", format!("{text} to client {}", client.0)),
        }
        if self.trace.is_some() {
            for at in seen..self.clients[client.0].log().len() {
                self.trace_entry(client, at);
            }
        }
    }

    /// A client sends frames in one message.
    pub(super) fn send(&mut self, client: ClientNo, frames: &[Frame<'_>]) {
        let from = &mut self.clients[client.0];
        let seen = from.log().len();
        frames.iter().for_each(|frame| from.sent(self.now, frame));
        let message = Input::Message(client, from.kind(), super::frame::message(from.dialect(), frames));
        if self.trace.is_some() {
            for at in seen..self.clients[client.0].log().len() {
                self.trace_entry(client, at);
            }
        }
        self.carry_up(client, message);
    }

    // ---- the links of routers

    pub(super) fn carry(&mut self, from: usize, to: usize, parcel: Vec<u8>) {
        let Bond { epoch, up, since, .. } = self.bonds[from.min(to)][from.max(to)];
        if !up || self.now < since {
            return;
        }
        let PeerNetwork { latency_us, jitter_us, .. } = self.peer_network;
        let earliest = self.now + u64::from(latency_us) + u64::from(self.random.below(jitter_us + 1));
        let lane = &mut self.lanes[from][to];
        let at = lane.wire.arrival(earliest.max(lane.stalled_until));
        self.plan(at, Event::Parcel { from, to, epoch, parcel });
    }

    /// A parcel has come over: its taker gets it, its sender room.
    pub(super) fn arrive(&mut self, from: usize, to: usize, epoch: u32, parcel: Vec<u8>) {
        let bond = self.bonds[from.min(to)][from.max(to)];
        if !bond.up || bond.epoch != epoch {
            return;
        }
        let at = self.now + u64::from(self.peer_network.latency_us);
        self.plan(at, Event::Host(from, Input::Peer(to, Said::Room(parcel.len()))));
        self.plan(self.now, Event::Host(to, Input::Peer(from, Said::Parcel(parcel))));
    }

    /// What is under way between two routers is lost, and both learn it.
    pub(super) fn partition(&mut self, a: usize, b: usize) {
        let told = [(); 2].map(|()| self.now + u64::from(self.random.below(50_000)));
        let bond = &mut self.bonds[a.min(b)][a.max(b)];
        if !bond.up || bond.known > self.now {
            return;
        }
        *bond = Bond { epoch: bond.epoch + 1, up: false, since: 0, known: told[0].max(told[1]) + 10_000 };
        self.trace(|| format!("routers {a} and {b} lose each other"));
        self.plan(told[0], Event::Host(a, Input::Peer(b, Said::Lost)));
        self.plan(told[1], Event::Host(b, Input::Peer(a, Said::Lost)));
    }

    /// A new session begins, once both know that the old one is over.
    pub(super) fn heal(&mut self, a: usize, b: usize) {
        let delays = [(); 2].map(|()| u64::from(self.random.below(20_000)));
        let bond = &mut self.bonds[a.min(b)][a.max(b)];
        if bond.up {
            return;
        }
        let told = delays.map(|delay| self.now.max(bond.known) + delay);
        let both = told[0].max(told[1]);
        *bond = Bond { up: true, since: told[0].min(told[1]), known: both + 10_000, ..*bond };
        self.trace(|| format!("routers {a} and {b} find each other"));
        self.plan(told[0], Event::Host(a, Input::Peer(b, Said::Joined)));
        self.plan(told[1], Event::Host(b, Input::Peer(a, Said::Joined)));
        // No parcel of the new session overtakes the news of it.
        for lane in [(a, b), (b, a)] {
            self.lanes[lane.0][lane.1].wire.arrival(both);
        }
    }

    // ---- what is told about the run

    pub(super) fn fail(&mut self, property: &'static str, text: String) {
        self.trace(|| format!("FAILED: {property}: {text}"));
        self.failure.get_or_insert((property, text));
    }

    pub(super) fn failure(&self) -> Option<&(&'static str, String)> {
        self.failure.as_ref()
    }

    pub(super) fn trace(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.trace {
            if lines.len() == TRACE_LINES {
                lines.pop_front();
            }
            lines.push_back(format!("{:>9} us  {}", self.now, line()));
        }
    }

    pub(super) fn traced(&self) -> Vec<String> {
        self.trace.iter().flatten().cloned().collect()
    }

    fn trace_entry(&mut self, client: ClientNo, at: usize) {
        let mut text = format!("client {}: {:?}", client.0, self.clients[client.0].log()[at].what);
        if text.len() > 400 {
            text.truncate((0..=400).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0));
        }
        self.trace(|| text);
    }
}

/// Mixes bytes into a digest.
fn fold(digest: u64, bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    let mut digest = mix(digest ^ bytes.len() as u64);
    for chunk in &mut chunks {
        let word = chunk.try_into().map(u64::from_le_bytes).expect("the chunks are of 8 bytes");
        digest = mix(digest.wrapping_add(word));
    }
    chunks.remainder().iter().fold(digest, |digest, &byte| mix(digest ^ u64::from(byte)))
}
