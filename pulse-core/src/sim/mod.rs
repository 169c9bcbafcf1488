//! Routers and clients in virtual time: a network that one seed decides, the same run every time.
//!
//! A [`Sim`] has hosts around its routers that do what real hosts do, links that are slow, break and heal, a disk, and clients
//! that write down what happens to them. All routers are threads of one process, which can end at any moment: what the next
//! one knows is on the disk. [`chaos`] does random things to one and judges what clients saw by a model;
//! [`scenario`] is a list of behaviours that any server has to show, this one or one behind real sockets.

pub mod chaos;
mod client;
mod disk;
mod frame;
mod host;
pub mod model;
mod net;
mod peers;
mod restart;
pub mod scenario;
mod world;

use alloc::string::String;
use alloc::vec::Vec;

use crate::random::{Random, Seed, mix};
use crate::wire::Frame;
use crate::{Answer, Config, Dialect, Kind, Request, Router, Shards, Stats};

use host::{Host, Input};
use world::{Event, World};

pub use client::{Client, ClientNo, Entry, What};
pub use disk::DiskCounts;
pub use frame::{NoFrames, OwnedFrame, frames, message};
pub use net::Network;
pub use peers::PeerNetwork;
pub use restart::End;

/// What a simulation is made of.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// How many routers, 1 to [`Shards::MAX`].
    pub routers: u16,
    /// What each of them is made with; which of them it is the simulation decides.
    pub router: Config,
    /// Between clients and routers.
    pub network: Network,
    /// Between routers.
    pub peer_network: PeerNetwork,
    /// What the host answers when it is asked.
    pub decide: fn(&Request) -> Answer,
    /// Microseconds within which it answers.
    pub decide_us: u32,
    /// Microseconds within which the disk has synced a batch.
    pub sync_us: u32,
    /// Whether the newest events are kept as text, for [`Sim::trace`].
    pub trace: bool,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            routers: 1,
            router: Config::default(),
            network: Network::default(),
            peer_network: PeerNetwork::default(),
            decide: |_| Answer::Allow,
            decide_us: 10_000,
            sync_us: 5_000,
            trace: false,
        }
    }
}

/// Routers, their hosts, clients, and the network between all of them.
///
/// ```
/// use pulse_core::sim::{Sim, SimConfig, What};
/// use pulse_core::wire::{Frame, Subscribe};
/// use pulse_core::{Dialect, Seed};
///
/// let mut sim = Sim::new(&SimConfig::default(), Seed(1));
/// let client = sim.open(Dialect::Legacy, 0);
/// sim.send(client, &[Frame::Subscribe(Subscribe { id: 1, channel: "news", ..Subscribe::default() })]);
/// sim.run_for(100);
/// let last = sim.client(client).log().last();
/// assert!(matches!(&last.unwrap().what, What::Got(frame) if matches!(frame.get(), Frame::Ack(ack) if ack.id == 1)));
/// ```
#[derive(Debug)]
pub struct Sim {
    config: Config,
    hosts: Vec<Host>,
    world: World,
}

impl Sim {
    /// Routers without clients, at time 0.
    ///
    /// # Panics
    /// If there are no routers, or more than [`Shards::MAX`].
    #[must_use]
    pub fn new(config: &SimConfig, seed: Seed) -> Self {
        assert!((1..=Shards::MAX).contains(&config.routers), "there are 1 to {} routers", Shards::MAX);
        let mut random = Random::new(Seed(mix(seed.0)));
        let routers = restart::make(&config.router, config.routers, &mut random);
        let hosts = routers.into_iter().enumerate().map(|(index, router)| Host::new(index, router));
        Self { hosts: hosts.collect(), config: config.router.clone(), world: World::new(config, seed) }
    }

    // ---- clients

    /// A client opens a connection to a router; it says nothing yet. It is in vain while no process runs.
    pub fn open(&mut self, dialect: Dialect, router: usize) -> ClientNo {
        let no = ClientNo(self.world.clients.len());
        self.world.clients.push(Client::new(dialect, router, self.world.life));
        self.world.trace(|| alloc::format!("client {} opens, {dialect:?} at router {router}", no.0));
        if self.world.is_up {
            self.world.carry_up(no, Input::Open(no));
        } else {
            self.world.hang_up_on(no);
        }
        no
    }

    /// A client sends frames, all in one message.
    pub fn send(&mut self, client: ClientNo, frames: &[Frame<'_>]) {
        self.world.send(client, frames);
    }

    /// A client sends a message that is made of anything.
    pub fn send_raw(&mut self, client: ClientNo, kind: Kind, message: &[u8]) {
        let now = self.world.now;
        self.world.clients[client.0].note(now, What::Garbage);
        self.world.carry_up(client, Input::Message(client, kind, message.into()));
    }

    /// A client takes nothing more from its socket.
    pub fn stop_reading(&mut self, client: ClientNo) {
        let now = self.world.now;
        self.world.clients[client.0].stop(now);
        self.world.trace(|| alloc::format!("client {} stops reading", client.0));
    }

    /// A client reads again: first what has come meanwhile.
    pub fn resume_reading(&mut self, client: ClientNo) {
        let now = self.world.now;
        self.world.trace(|| alloc::format!("client {} reads again", client.0));
        for chunk in self.world.clients[client.0].resume(now) {
            self.world.deliver(client, &chunk);
        }
    }

    /// A client ends its connection.
    pub fn hang_up(&mut self, client: ClientNo) {
        let now = self.world.now;
        if self.world.clients[client.0].is_open() {
            self.world.clients[client.0].hang_up(now);
            self.world.carry_up(client, Input::Closed(client));
            self.world.trace(|| alloc::format!("client {} hangs up", client.0));
        }
    }

    /// A client's link breaks: what is under way is lost, and both ends learn it within so many milliseconds.
    pub fn cut(&mut self, client: ClientNo, within_ms: u32) {
        let now = self.world.now;
        let broken = &mut self.world.clients[client.0];
        // Who is left by a process that has ended learns that anyway.
        if broken.orphaned || core::mem::replace(&mut broken.broken, true) {
            return;
        }
        let shard = broken.shard();
        let [there, here] =
            [(); 2].map(|()| now + u64::from(self.world.random.below(within_ms.saturating_mul(1000))));
        // Not before it is open.
        let there = self.world.clients[client.0].up.arrival(there);
        self.world.plan(there, Event::Host(shard, Input::Closed(client)));
        self.world.plan(here, Event::Broken(client));
        self.world.trace(|| alloc::format!("the link of client {} breaks", client.0));
    }

    /// A client and what happened to it.
    #[must_use]
    pub fn client(&self, client: ClientNo) -> &Client {
        &self.world.clients[client.0]
    }

    /// All clients there ever were.
    #[must_use]
    pub fn clients(&self) -> &[Client] {
        &self.world.clients
    }

    // ---- between routers

    /// Two routers lose each other; what is under way between them is lost. Nothing happens where they just did, or there are
    /// none.
    pub fn partition(&mut self, a: usize, b: usize) {
        if self.world.is_up {
            self.world.partition(a, b);
        }
    }

    /// Two routers that lost each other begin a new session.
    pub fn heal(&mut self, a: usize, b: usize) {
        self.world.heal(a, b);
    }

    /// Nothing more arrives from one router at another for so long.
    pub fn stall(&mut self, from: usize, to: usize, ms: u32) {
        let until = self.world.now + u64::from(ms) * 1000;
        let lane = &mut self.world.lanes[from][to];
        lane.stalled_until = lane.stalled_until.max(until);
        self.world.trace(|| alloc::format!("nothing arrives from router {from} at {to} for {ms} ms"));
    }

    /// A router that is alone moves with all its sessions and channels into a new one, as soon as it can. Clients have to
    /// notice nothing.
    ///
    /// # Panics
    /// If there is not one router.
    pub fn move_house(&mut self) {
        assert_eq!(self.hosts.len(), 1, "what other routers have of it does not move with a router");
        let successor = Router::new(self.config.clone(), Seed(self.world.random.next()));
        self.hosts[0].succeed(successor, &mut self.world);
    }

    // ---- time

    /// Milliseconds since the run began.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.world.now / 1000
    }

    /// The server's clock leaps, as when its machine was asleep.
    pub fn leap(&mut self, ms: u32) {
        self.world.skew_us += u64::from(ms) * 1000;
        self.world.trace(|| alloc::format!("the server's clock leaps by {ms} ms"));
        let now = self.world.now;
        for host in &mut self.hosts {
            host.wake(now, &mut self.world);
        }
    }

    /// Lets everything happen that happens within so many milliseconds.
    pub fn run_for(&mut self, ms: u64) {
        self.run_until(self.world.now + ms * 1000);
    }

    /// Lets the next thing happen, if it happens until this time in microseconds; `false` if nothing does.
    pub fn step(&mut self, until: u64) -> bool {
        let Some(event) = self.world.next(until) else { return false };
        let world = &mut self.world;
        match event {
            Event::Turn(host) => self.hosts[host].turn(world),
            Event::Host(host, input) => {
                let lost = matches!(&input, Input::Message(client, ..) | Input::Alive(client)
                    | Input::Room(client, _) if world.clients[client.0].broken);
                if !lost {
                    self.hosts[host].input(input, world);
                }
            }
            Event::Chunk(client, chunk) => {
                if !world.clients[client.0].broken {
                    world.deliver(client, &chunk);
                }
            }
            Event::Broken(client) => {
                let now = world.now;
                world.clients[client.0].broken = true;
                world.clients[client.0].end(now, None);
            }
            Event::Synced(host) => world.synced(host),
            Event::Start { routers } => self.start(routers),
            Event::Parcel { from, to, epoch, parcel } => world.arrive(from, to, epoch, parcel),
        }
        true
    }

    /// Lets everything happen that happens until this time in microseconds.
    fn run_until(&mut self, until: u64) {
        while self.step(until) {}
        self.world.pass(until);
    }

    // ---- getters

    /// The counters of each router.
    pub fn stats(&self) -> impl Iterator<Item = Stats> {
        self.hosts.iter().map(Host::stats)
    }

    /// Bytes that wait in the routers' queues for clients.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.hosts.iter().map(Host::queued_bytes).sum()
    }

    /// Whether any router has a channel of this name, at home or as a leaf.
    #[must_use]
    pub fn knows(&self, channel: &str) -> bool {
        self.hosts.iter().any(|host| host.router.top(channel).is_some())
    }

    /// A digest of everything that clients have read, and of when.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.world.digest
    }

    /// The newest events as text, oldest first; empty unless they are kept.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.world.traced()
    }

    /// What a router or its host did that none may ever do, if there was anything: which rule, and what.
    #[must_use]
    pub fn failure(&self) -> Option<(&'static str, &str)> {
        self.world.failure().map(|(property, text)| (*property, text.as_str()))
    }
}
