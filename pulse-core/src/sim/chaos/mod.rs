//! Random things done to routers, decided by one seed, and judged by the model.

mod ending;
mod plan;
mod returning;
mod wish;

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::random::{Random, Seed, mix};
use crate::wire::{Ack, Connect, Frame, PresenceAction};
use crate::{Dialect, Kind};

use super::model::{self, MAX_DATA, MAX_PAYLOAD, Mark, Tally, Weather};
use super::net::Network;
use super::peers::PeerNetwork;
use super::{ClientNo, Sim, SimConfig};
use returning::Named;
use wish::Wish;

/// Channels of which a run uses some. The namespaces have rules of their own.
const CHANNELS: [&str; 22] = [
    "a", "b", "lobby", "news:1", "news:2", "news:3", "chat:7", "drop:1", "drop:2", "key:1", "key:2",
    "kept:1", "kept:2", "kept:3", "safe:1", "safe:2", "safe:3", "ask:1", "ask:2", "ask:no!", "no:1", "$bad",
];
/// Events that a failure shows by itself.
const TAIL: usize = 100;
const KEYS: [&str; 3] = ["k", "l", "m"];

/// A run that ended well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// What made life hard in it.
    pub weather: Weather,
    /// Routers.
    pub routers: u64,
    /// Clients that came.
    pub clients: u64,
    /// Milliseconds that it took in its own time.
    pub ms: u64,
    /// What was published, received and missed.
    pub tally: Tally,
    /// Of everything that clients read.
    pub digest: u64,
}

/// A run in which a promise was broken, and what is needed to see it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The same seed fails in the same way.
    pub seed: u64,
    /// What made life hard in it.
    pub weather: Weather,
    /// The promise.
    pub property: &'static str,
    /// The channel, where it is about one.
    pub channel: String,
    /// What happened.
    pub text: String,
    /// What happened in the run, oldest first.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace[self.trace.len().saturating_sub(TAIL)..] {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {}: {} in channel {:?}: {}", self.seed, self.property, self.channel, self.text)?;
        writeln!(f, "weather: {:?}", self.weather)?;
        write!(
            f,
            "again: PULSE_SIM_SEED={} cargo test -p pulse-core --features sim --test sim_chaos replay -- --nocapture",
            self.seed
        )
    }
}

/// One run.
///
/// # Errors
/// [`Failure`] if a promise was broken.
pub fn run(seed: u64) -> Result<Summary, Failure> {
    play(seed, false)
        .map_err(|_| play(seed, true).expect_err("a run is a function of its seed, traced or not"))
}

/// One run whose events are written down, and these.
///
/// # Errors
/// [`Failure`] if a promise was broken.
pub fn replay(seed: u64) -> Result<Summary, Failure> {
    play(seed, true)
}

fn play(seed: u64, trace: bool) -> Result<Summary, Failure> {
    let mut chaos = Chaos::new(seed, trace);
    let tally = chaos.play().map_err(|broken| Failure {
        seed,
        weather: chaos.weather,
        property: broken.property,
        channel: broken.channel,
        text: broken.text,
        trace: chaos.sim.trace(),
    })?;
    Ok(Summary {
        weather: chaos.weather,
        routers: chaos.routers as u64,
        clients: chaos.drivers.len() as u64,
        ms: chaos.sim.now_ms(),
        tally,
        digest: chaos.sim.digest(),
    })
}

struct Chaos {
    sim: Sim,
    random: Random,
    weather: Weather,
    routers: usize,
    grace_ms: u32,
    channels: Vec<&'static str>,
    drivers: Vec<Driver>,
    /// How often routers were given more than they can pass on.
    floods: u32,
    /// How many of the drivers came before the process did that runs now.
    num_old: usize,
    /// Drivers whose connection broke, and who may come back.
    away: Vec<usize>,
    /// What may be published again.
    named: Vec<Named>,
}

/// What one client is up to.
struct Driver {
    no: ClientNo,
    last_id: u64,
    published: u32,
    /// Channels that it asked for, and did not leave.
    wants: BTreeSet<&'static str>,
    /// Its link was broken: whatever is done to it comes to nothing.
    cut: bool,
    /// Who the server takes it for.
    user: Option<String>,
    /// It may not be who it was.
    rude: bool,
}

impl Chaos {
    fn new(seed: u64, trace: bool) -> Self {
        let mut random = Random::new(Seed(mix(seed ^ 0x5eed)));
        let weather = plan::weather(&mut random);
        let routers = 1 + random.below(4) as usize;
        let mut channels = Vec::new();
        if weather.restarts {
            channels.push("safe:1");
        }
        while channels.len() < 5 {
            let channel = CHANNELS[random.below(CHANNELS.len() as u32) as usize];
            if !channels.contains(&channel) {
                channels.push(channel);
            }
        }
        let grace_ms = 100 + random.below(1_000);
        let config = SimConfig {
            routers: routers as u16,
            router: plan::router(&weather, grace_ms, &mut random),
            network: Network {
                latency_us: 50 + random.below(2_000),
                jitter_us: random.below(5_000),
                // With much to carry, what is too small for a round trip would take longer than a heartbeat.
                socket_bytes: match weather {
                    Weather { overload: true, .. } => 64 * 1024,
                    Weather { slow: true, .. } => 2_048,
                    _ => 1 << (9 + random.below(8)),
                },
            },
            peer_network: PeerNetwork {
                latency_us: 10 + random.below(300),
                jitter_us: random.below(3_000),
                window: 1 << (9 + random.below(9)),
            },
            decide: plan::decide,
            decide_us: 1 + random.below(80_000),
            sync_us: 1 << (8 + random.below(10)),
            trace,
        };
        let sim = Sim::new(&config, Seed(random.next()));
        Self {
            sim,
            random,
            weather,
            routers,
            grace_ms,
            channels,
            drivers: Vec::new(),
            floods: 0,
            num_old: 0,
            away: Vec::new(),
            named: Vec::new(),
        }
    }

    fn play(&mut self) -> Result<Tally, model::Broken> {
        for _ in 0..3 + self.random.below(6) {
            self.come();
        }
        for _ in 0..100 + self.random.below(100) {
            let us = match self.random.below(10) {
                0..=3 => 0,
                4..=8 => self.random.below(20_000),
                _ => self.random.below(400_000),
            };
            self.sim.run_until(self.sim.world.now + u64::from(us));
            self.act();
        }
        let visitor = self.settle()?;
        if let Some((property, text)) = self.sim.failure() {
            return Err(self.broken(property, text.into()));
        }
        let mut tally = model::judge(self.sim.clients(), &self.weather, self.grace_ms, visitor)?;
        (tally.restarts, tally.disk) = (self.sim.world.life as u64, self.sim.disk());
        self.judge_counters()?;
        self.leave()?;
        Ok(tally)
    }

    // ---- one thing at a time

    fn act(&mut self) {
        if self.one_in(12) && self.drivers.len() - self.num_old < 14 {
            return self.come();
        }
        if self.one_in(10) {
            return self.storm();
        }
        let open: Vec<usize> = (0..self.drivers.len())
            .filter(|&at| !self.drivers[at].cut && self.sim.client(self.drivers[at].no).is_open())
            .collect();
        let Some(&at) = self.pick(&open) else { return self.come() };
        match self.random.below(30) {
            0 => self.sim.hang_up(self.drivers[at].no),
            1 if self.weather.cuts => {
                self.drivers[at].cut = true;
                self.away.push(at);
                self.sim.cut(self.drivers[at].no, 500);
            }
            2 | 3 if self.weather.slow => self.sim.stop_reading(self.drivers[at].no),
            4..=6 if self.weather.slow => self.sim.resume_reading(self.drivers[at].no),
            7 if self.one_in(8) => self.be_rude(at),
            8 if self.weather.slow && self.one_in(2) => self.lag(at),
            8 | 9 if self.weather.slow || self.weather.overload => self.flood(at),
            _ => {
                let several = 1 + if self.one_in(4) { self.random.below(5) } else { 0 };
                let mut wishes = Vec::new();
                for _ in 0..several {
                    wishes.push(self.wish(at));
                }
                self.ask(at, &wishes);
            }
        }
    }

    /// What happens to routers and the network.
    fn storm(&mut self) {
        let (a, b) = (self.random.below(self.routers as u32), self.random.below(self.routers as u32));
        let (a, b) = (a as usize, b as usize);
        match self.random.below(7) {
            4 if self.routers == 1 && self.sim.is_up() => self.sim.move_house(),
            0 if self.weather.partitions && a != b => self.sim.partition(a, b),
            1 if self.weather.partitions && a != b => self.sim.heal(a, b),
            2 if (self.weather.overload || self.one_in(4)) && a != b => {
                let ms = if self.weather.overload { self.random.below(1_000) } else { self.random.below(50) };
                self.sim.stall(a, b, ms);
            }
            3 if self.weather.leaps && self.one_in(3) => {
                let longest = if self.one_in(4) { 90_000 } else { 3_000 };
                let ms = self.random.below(longest);
                self.sim.leap(ms);
            }
            5 if self.weather.restarts && self.sim.is_up() => self.restart(),
            6 if self.weather.full => {
                let ms = self.random.below(600);
                self.sim.fill_disk(ms);
            }
            _ => {}
        }
    }

    fn come(&mut self) {
        if !self.away.is_empty() && !self.one_in(4) {
            return self.come_back();
        }
        let dialect =
            [Dialect::V1, Dialect::V1, Dialect::Json, Dialect::Legacy][self.random.below(4) as usize];
        let token = match self.random.below(8) {
            0 if self.weather.asks => Some("deny".to_string()),
            1..=4 => Some(format!("user{}", self.random.below(3))),
            _ => None,
        };
        // Some say nothing, and are closed for it.
        let connects = !self.one_in(20);
        self.enter(dialect, token, connects);
    }

    /// A client opens a connection, and says who it is where it has to.
    fn enter(&mut self, dialect: Dialect, token: Option<String>, connects: bool) -> usize {
        let router = self.random.below(self.routers as u32) as usize;
        let no = self.sim.open(dialect, router);
        if connects && (dialect != Dialect::Legacy || self.weather.asks) {
            let connect = Connect { version: 1, token: token.as_deref(), ..Connect::default() };
            self.sim.send(no, &[Frame::Connect(connect)]);
        }
        let user = token.filter(|_| self.weather.asks);
        let (wants, cut, rude) = (BTreeSet::new(), false, false);
        self.drivers.push(Driver { no, last_id: 0, published: 0, wants, cut, user, rude });
        self.drivers.len() - 1
    }

    /// Something that a client may ask.
    fn wish(&mut self, at: usize) -> Wish {
        let channel = self.pick(&self.channels.clone()).copied().expect("a run has channels");
        let inside = self.drivers[at].wants.contains(channel);
        let id = self.new_id(at);
        match self.random.below(24) {
            0..=6 if !inside || self.one_in(10) => {
                self.drivers[at].wants.insert(channel);
                let (recover, latest) = self.wanted(at, channel);
                Wish::Subscribe { id, channel, recover, latest }
            }
            0 | 1 => {
                self.drivers[at].wants.remove(channel);
                Wish::Unsubscribe { id, channel }
            }
            2 => Wish::Ping,
            3 if self.one_in(4) && !model::is_kept(channel) => Wish::Unavailable { id, channel },
            3 if model::is_kept(channel) => self.question(id, channel),
            4..=8 => self.presence(id, channel),
            _ => {
                if self.one_in(8)
                    && let Some(repeat) = self.repeat_any(at)
                {
                    return repeat;
                }
                let len = match self.random.below(20) {
                    0 if self.one_in(4) => MAX_PAYLOAD + 1,
                    0..=2 => self.random.below(2_000) as usize,
                    _ => 0,
                };
                self.publication(at, channel, len)
            }
        }
    }

    /// Something about who is present.
    fn presence(&mut self, id: u64, channel: &'static str) -> Wish {
        use PresenceAction::{Count, Join, Leave, Sync, Update};
        let action = [Join, Join, Join, Update, Leave, Sync, Count][self.random.below(7) as usize];
        if action == Sync {
            return Wish::Page { id, channel, after: None, limit: None };
        }
        let len = if self.one_in(30) { MAX_DATA + 1 } else { self.random.below(12) as usize };
        // A string in MessagePack, with the shortest head, as it is after a way through JSON.
        let head = match len {
            0..32 => [0xa0 | len as u8].to_vec(),
            _ => [0xda, (len >> 8) as u8, len as u8].to_vec(),
        };
        let text = (0..len as u64).map(|at| b'a' + ((at + id) % 26) as u8);
        let data = head.into_iter().chain(text).collect();
        let shows = matches!(action, Join | Update) && !self.one_in(6);
        Wish::Presence { id, channel, action, data: shows.then_some(data) }
    }

    /// What a client wants when it comes (back) to a channel that keeps history.
    fn wanted(&mut self, at: usize, channel: &str) -> (Option<(String, u64)>, Option<u64>) {
        if !model::is_kept(channel) || self.sim.client(self.drivers[at].no).dialect() == Dialect::Legacy {
            return (None, None);
        }
        let latest = self.one_in(4).then(|| u64::from(self.random.below(6)));
        let recover = if self.one_in(4) { None } else { self.position(channel) };
        (recover, latest)
    }

    fn question(&mut self, id: u64, channel: &'static str) -> Wish {
        let since = if self.one_in(2) { self.position(channel) } else { None };
        let limit = self.one_in(2).then(|| u64::from(self.random.below(8)));
        Wish::History { id, channel, since, limit, reverse: self.one_in(3) }
    }

    /// A position that some client has had, or nearly so.
    fn position(&mut self, channel: &str) -> Option<(String, u64)> {
        let clients = self.sim.clients();
        let from = self.random.below(clients.len() as u32) as usize;
        let known = (0..clients.len()).find_map(|at| clients[(from + at) % clients.len()].position(channel));
        let (epoch, offset) = known?;
        Some(match self.random.below(20) {
            0 => ("00000000".to_string(), offset),
            1 => (epoch, offset + 1 + u64::from(self.random.below(3))),
            2 => (epoch, offset / 2),
            _ => (epoch, offset),
        })
    }

    fn publication(&mut self, at: usize, channel: &'static str, len: usize) -> Wish {
        let (json, with_id, key) = (self.one_in(3), self.one_in(2), self.random.below(6) as usize);
        let id = self.new_id(at);
        let driver = &mut self.drivers[at];
        driver.published += 1;
        let mark = Mark { client: driver.no.0 as u32, count: driver.published };
        let publication = Named {
            by: at,
            id: with_id.then_some(id),
            user: driver.user.clone(),
            channel,
            mark,
            len,
            key: KEYS.get(key).copied(),
            json,
        };
        let is_named = model::is_kept(channel) && !self.drivers[at].rude && self.one_in(3);
        let wish = publication.wish(publication.id, is_named);
        if is_named {
            self.named.push(publication);
        }
        wish
    }

    /// Much at once, so that queues fill, and in heavy weather those between routers, where nothing arrives meanwhile.
    fn flood(&mut self, at: usize) {
        let channel = self.pick(&self.channels.clone()).copied().expect("a run has channels");
        let heavy = self.weather.overload && self.floods < 4;
        let (count, len) = if heavy {
            self.floods += 1;
            for from in 0..self.routers {
                for to in (0..self.routers).filter(|to| *to != from) {
                    if self.one_in(2) {
                        let ms = 100 + self.random.below(1_000);
                        self.sim.stall(from, to, ms);
                    }
                }
            }
            (20 + self.random.below(30), 60_000)
        } else {
            (10 + self.random.below(30), 1_000)
        };
        for _ in 0..count {
            let wish = self.publication(at, channel, len as usize);
            self.ask(at, &[wish]);
        }
    }

    /// A client takes nothing while it wants what was published before, until history has dropped some of it.
    fn lag(&mut self, at: usize) {
        let kept: Vec<&str> =
            self.channels.iter().copied().filter(|channel| model::is_kept(channel)).collect();
        let others: Vec<usize> = (0..self.drivers.len())
            .filter(|&other| other != at && self.lives(&self.drivers[other]))
            .collect();
        let (Some(&channel), Some(&other)) = (self.pick(&kept), self.pick(&others)) else { return };
        if self.sim.client(self.drivers[at].no).dialect() == Dialect::Legacy {
            return;
        }
        let publish = |chaos: &mut Self, count: u32| {
            for _ in 0..count {
                let wish = chaos.publication(other, channel, 500);
                chaos.ask(other, &[wish]);
            }
            chaos.sim.run_for(20);
        };
        publish(self, 10);
        self.sim.stop_reading(self.drivers[at].no);
        for latest in [Some(model::HISTORY_SIZE), None] {
            let recover = if latest.is_none() { self.position(channel) } else { None };
            let (leave, come) = (self.new_id(at), self.new_id(at));
            let leave = Wish::Unsubscribe { id: leave, channel };
            self.ask(at, &[leave, Wish::Subscribe { id: come, channel, recover, latest }]);
            self.drivers[at].wants.insert(channel);
            self.sim.run_for(20);
        }
        let count = 1 + self.random.below(30);
        publish(self, count);
    }

    fn ask(&mut self, at: usize, wishes: &[Wish]) {
        let frames: Vec<Frame<'_>> = wishes.iter().map(Wish::frame).collect();
        self.sim.send(self.drivers[at].no, &frames);
    }

    /// What no client should do.
    fn be_rude(&mut self, at: usize) {
        let no = self.drivers[at].no;
        self.drivers[at].rude = true;
        match self.random.below(3) {
            0 if self.sim.client(no).dialect() == Dialect::Json => {
                self.sim.send_raw(no, Kind::Text, b"{\"type\":");
            }
            0 => self.sim.send_raw(no, Kind::Binary, b"\0\0\0\x01\xc1"),
            1 => self.sim.send(no, &[Frame::Connect(Connect { version: 1, ..Connect::default() })]),
            _ => self.sim.send(no, &[Frame::Ack(Ack { id: 1, ..Ack::default() })]),
        }
    }

    fn new_id(&mut self, at: usize) -> u64 {
        self.drivers[at].last_id += 1;
        self.drivers[at].last_id
    }

    fn lives(&self, driver: &Driver) -> bool {
        !driver.cut && self.sim.client(driver.no).is_open()
    }

    fn broken(&self, property: &'static str, text: String) -> model::Broken {
        model::Broken { property, channel: String::new(), text }
    }

    // ---- dice

    fn one_in(&mut self, n: u32) -> bool {
        self.random.below(n) == 0
    }

    fn pick<'t, T>(&mut self, from: &'t [T]) -> Option<&'t T> {
        from.get(self.random.below(from.len() as u32) as usize)
    }
}
