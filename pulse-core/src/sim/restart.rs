//! The process whose threads the routers are: how it ends without a word, and how the next one begins.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use crate::random::{Random, Seed};
use crate::{Config, Router, Shards};

use super::disk::DiskCounts;
use super::host::Host;
use super::peers::Lane;
use super::world::{Bond, Boot, Event, World};
use super::{ClientNo, Sim};

/// Microseconds that a machine's clock has run at most when a process begins on it.
const BOOTED_US: u32 = 100_000_000;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is killed: its sockets are closed, and what it has written to them still arrives.
    Killed,
    /// Power is lost: nothing arrives any more, and clients learn within so many milliseconds that nobody is there.
    PowerLost(u32),
}

impl Sim {
    /// The process of all routers ends, and after so many milliseconds another one begins with so many routers. What was in
    /// routers or under way between them is gone; what the disk was told to store and has not answered is there or is not.
    /// Nothing happens while the next process has not begun.
    ///
    /// # Panics
    /// If there are to be no routers, or more than [`Shards::MAX`].
    pub fn restart(&mut self, routers: u16, end: End, down_ms: u32) {
        assert!((1..=Shards::MAX).contains(&routers), "there are 1 to {} routers", Shards::MAX);
        if core::mem::replace(&mut self.world.is_up, false) {
            self.hosts.clear();
            self.world.end_process(usize::from(routers), end);
            let at = self.world.now + u64::from(down_ms) * 1000;
            self.world.plan(at, Event::Start { routers });
        }
    }

    /// Whether there are routers: none from the end of a process to the beginning of the next one.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.world.is_up
    }

    /// The disk takes nothing for so many milliseconds.
    pub fn fill_disk(&mut self, ms: u32) {
        let until = self.world.now + u64::from(ms) * 1000;
        self.world.disk.full_until = self.world.disk.full_until.max(until);
        self.world.trace(|| format!("the disk is full for {ms} ms"));
    }

    /// What has happened to batches of records.
    #[must_use]
    pub fn disk(&self) -> DiskCounts {
        self.world.disk.counts()
    }

    /// The channels of which something is on the disk.
    pub fn stored_channels(&self) -> impl Iterator<Item = &str> {
        self.world.disk.channels()
    }

    /// The next process begins.
    pub(super) fn start(&mut self, routers: u16) {
        let Self { config, hosts, world } = self;
        world.boot = Boot { run: world.now + world.skew_us, mono: u64::from(world.random.below(BOOTED_US)) };
        world.is_up = true;
        let mut routers = make(config, routers, &mut world.random);
        let clock = world.clock();
        routers.iter_mut().for_each(|router| router.advance(clock));
        if let Err(text) = world.disk.restore(&mut routers) {
            world.fail("disk", text);
        }
        world.trace(|| format!("a process begins, with {} routers", routers.len()));
        *hosts = routers.into_iter().enumerate().map(|(index, router)| Host::new(index, router)).collect();
        // They may have something to do soon, and something to store.
        for host in hosts {
            host.wake(world.now, world);
        }
    }
}

/// Routers that share channels.
pub(super) fn make(config: &Config, count: u16, random: &mut Random) -> Vec<Router> {
    let key = random.next();
    let router = |index| {
        let shards = Shards { index, count, key };
        Router::new(Config { shards, ..config.clone() }, Seed(random.next()))
    };
    (0..count).map(router).collect()
}

impl World {
    /// Only what is under way to clients, or happens to them, outlives the process.
    fn end_process(&mut self, routers: usize, end: End) {
        self.trace(|| format!("the process ends: {end:?}"));
        self.events.retain(|_, event| matches!(event, Event::Chunk(..) | Event::Broken(_)));
        for no in (0..self.clients.len()).map(ClientNo) {
            self.abandon(no, end);
        }
        let unused = Bond { epoch: 0, up: true, since: 0, known: 0 };
        (self.lanes, self.bonds) =
            (vec![vec![Lane::new(); routers]; routers], vec![vec![unused; routers]; routers]);
        if let Err(text) = self.disk.end(&mut self.random) {
            self.fail("disk", text);
        }
        self.life += 1;
    }

    /// A client's connection ends with the process.
    fn abandon(&mut self, no: ClientNo, end: End) {
        let client = &mut self.clients[no.0];
        if client.broken || client.orphaned {
            return;
        }
        client.orphaned = true;
        let at = match end {
            End::Killed => {
                let earliest = self.network.arrival(self.now, &mut self.random);
                client.down.arrival(earliest)
            }
            End::PowerLost(ms) => {
                client.broken = true;
                self.now + u64::from(self.random.below(ms.saturating_mul(1000)))
            }
        };
        self.plan(at, Event::Broken(no));
    }
}
