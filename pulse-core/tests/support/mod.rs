//! A router in virtual time with clients that write down what they get, one short line a frame.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use std::collections::BTreeMap;

use pulse_core::wire::{
    self, Frame, Gap, History, Payload, Point, Presence, PresenceAction, Publish, Split, Subscribe,
    Unsubscribe, Value,
};
use pulse_core::{
    Answer, Config, ConnId, Dialect, Effect, Kind, Link, Now, Outcome, PeerId, Record, Request, Router, Seed,
    Shards, Stored, Ticket, Time,
};

/// A router, its clock and what its clients have seen.
pub struct World {
    pub router: Router,
    pub now_ms: u64,
    seen: BTreeMap<ConnId, Vec<String>>,
    pub effects: Vec<String>,
    pub tickets: Vec<Ticket>,
    /// What it has to say to other routers.
    pub parcels: Vec<(PeerId, Vec<u8>)>,
    /// What it wants to be stored.
    pub stores: Vec<(u64, Vec<u8>)>,
}

impl World {
    pub fn new(config: Config) -> Self {
        let mut router = Router::new(config, Seed(42));
        router.advance(Now::default());
        let (seen, effects, tickets) = (BTreeMap::new(), vec![], vec![]);
        Self { router, now_ms: 0, seen, effects, tickets, parcels: vec![], stores: vec![] }
    }

    /// A client that said `connect` and was answered.
    pub fn client(&mut self) -> ConnId {
        let conn = self.open(Dialect::V1);
        self.send(conn, &connect(1));
        self.drain();
        assert_eq!(self.take(conn), ["connected"]);
        conn
    }

    pub fn open(&mut self, dialect: Dialect) -> ConnId {
        self.router.open(Link { class: 0, dialect })
    }

    pub fn send(&mut self, conn: ConnId, frame: &Frame<'_>) {
        self.send_all(conn, &[*frame]);
    }

    /// Several frames in one message.
    pub fn send_all(&mut self, conn: ConnId, frames: &[Frame<'_>]) {
        let mut bytes = vec![];
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        self.router.receive(conn, Kind::Binary, &bytes);
    }

    pub fn subscribe(&mut self, conn: ConnId, channel: &str) {
        self.send(conn, &subscribe(1, channel));
        self.drain();
        assert!(self.take(conn).iter().any(|line| line.split(" at ").next() == Some("ack 1")));
    }

    /// Epoch and newest number of a channel that keeps history, as its server tells them.
    pub fn position(&mut self, conn: ConnId, channel: &str) -> (String, u64) {
        self.send(conn, &history(99, channel, None, Some(0), None));
        let seen = self.sees(conn);
        let position = seen.iter().find_map(|line| line.strip_prefix("history 99:  of "));
        let (epoch, offset) = position.and_then(|position| position.split_once(':')).expect("it is answered");
        (epoch.into(), offset.parse().expect("it is a number"))
    }

    pub fn advance(&mut self, ms: u64) {
        self.now_ms += ms;
        self.router.advance(Now { mono: Time(self.now_ms * 1000), unix_ms: self.now_ms });
        self.drain();
    }

    /// Hands everything out.
    pub fn drain(&mut self) {
        while let Some(batch) = self.router.poll_write() {
            let lines = lines(batch.payload());
            assert_eq!(batch.kind(), Kind::Binary);
            for to in batch.to() {
                self.seen.entry(*to).or_default().extend(lines.iter().cloned());
            }
        }
        while let Some(effect) = self.router.poll_effect() {
            self.effects.push(match effect {
                Effect::Send { to, parcel } => {
                    assert!(!parcel.is_empty(), "a parcel has a message");
                    self.parcels.push((to, parcel));
                    continue;
                }
                Effect::Store { sequence, records } => {
                    self.stores.push((sequence, records));
                    continue;
                }
                Effect::Settled { outcome: Ok(Outcome::Kept { epoch, offset }), .. } => {
                    format!("published {epoch}:{offset}")
                }
                Effect::Settled { outcome: Err(refused), .. } => format!("refused {}", refused.code.0),
                Effect::Close { conn, code } => format!("close {} {}", conn.slot(), code.0),
                Effect::Ping { conn } => format!("ping {}", conn.slot()),
                Effect::Pause { conn, paused } => format!("pause {} {paused}", conn.slot()),
                Effect::Authorize { ticket, conn, request } => {
                    self.tickets.push(ticket);
                    match *request {
                        Request::Subscribe { channel, .. } => {
                            format!("may {} subscribe {channel}", conn.slot())
                        }
                        Request::Connect { token } => {
                            format!(
                                "may {} connect with {}",
                                conn.slot(),
                                token.as_deref().unwrap_or("nothing")
                            )
                        }
                        Request::Presence { channel, .. } => {
                            format!("may {} presence {channel}", conn.slot())
                        }
                        Request::History { channel } => format!("may {} read {channel}", conn.slot()),
                        Request::Publish { channel } => format!("may {} publish {channel}", conn.slot()),
                        other => panic!("{other:?}"),
                    }
                }
                other => panic!("{other:?}"),
            });
        }
    }

    /// What a client has seen since the last call.
    pub fn take(&mut self, conn: ConnId) -> Vec<String> {
        self.seen.remove(&conn).unwrap_or_default()
    }

    /// What all clients have seen since they were last asked.
    pub fn take_all(&mut self) -> BTreeMap<ConnId, Vec<String>> {
        std::mem::take(&mut self.seen)
    }

    /// Drains, then what a client has seen.
    pub fn sees(&mut self, conn: ConnId) -> Vec<String> {
        self.drain();
        self.take(conn)
    }

    pub fn effects(&mut self) -> Vec<String> {
        self.drain();
        std::mem::take(&mut self.effects)
    }

    pub fn answer(&mut self, answer: Answer) {
        let ticket = self.tickets.remove(0);
        self.router.answer(ticket, answer);
        self.drain();
    }
}

pub fn connect(version: u64) -> Frame<'static> {
    Frame::Connect(wire::Connect { version, ..wire::Connect::default() })
}

pub fn subscribe(id: u64, channel: &str) -> Frame<'_> {
    Frame::Subscribe(Subscribe { id, channel, ..Subscribe::default() })
}

/// Subscribes and asks for what came after a position.
pub fn recover<'a>(id: u64, channel: &'a str, epoch: &'a str, offset: u64) -> Frame<'a> {
    let recover = Some(Point { epoch, offset });
    Frame::Subscribe(Subscribe { id, channel, recover, ..Subscribe::default() })
}

pub fn history<'a>(
    id: u64,
    channel: &'a str,
    since: Option<(&'a str, u64)>,
    limit: Option<u64>,
    reverse: Option<bool>,
) -> Frame<'a> {
    let since = since.map(|(epoch, offset)| Point { epoch, offset });
    Frame::History(History { id, channel: Some(channel), since, limit, reverse, ..History::default() })
}

pub fn unsubscribe(id: u64, channel: &str) -> Frame<'_> {
    Frame::Unsubscribe(Unsubscribe { id, channel })
}

pub fn publish<'a>(channel: &'a str, payload: &'a str) -> Frame<'a> {
    Frame::Publish(Publish { channel, payload: Payload::from(payload.as_bytes()), ..Publish::default() })
}

pub fn publish_with_id<'a>(id: u64, channel: &'a str, payload: &'a str) -> Frame<'a> {
    let Frame::Publish(publish) = publish(channel, payload) else { unreachable!() };
    Frame::Publish(Publish { id: Some(id), ..publish })
}

/// The frames of a batch's payload, one line each.
pub fn lines(mut bytes: &[u8]) -> Vec<String> {
    let mut lines = vec![];
    while let Split::Frame { map, rest } = wire::split(bytes, bytes.len()) {
        lines.push(line(&wire::decode(map).expect("what a router sends is well formed")));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "a batch holds whole frames");
    lines
}

fn line(frame: &Frame<'_>) -> String {
    match frame {
        Frame::Connected(_) => "connected".into(),
        Frame::Ack(ack) => {
            let recovered = ack.recovered.map(|recovered| format!(" recovered {recovered}"));
            let at = ack.epoch.zip(ack.offset).map(|(epoch, offset)| format!(" at {epoch}:{offset}"));
            let stale = ack.stale.map(|stale| format!(" stale {stale}"));
            let [recovered, stale, at] = [recovered, stale, at].map(Option::unwrap_or_default);
            let sparse = if ack.sparse == Some(true) { " sparse" } else { "" };
            format!("ack {}{recovered}{stale}{at}{sparse}", ack.id)
        }
        Frame::Publish(p) => {
            let number = p.offset.map(|offset| format!(" #{offset}")).unwrap_or_default();
            assert_eq!(p.offset.is_some(), p.time.is_some(), "a number comes with its time");
            format!("{} {}{number}", p.channel, text(p.payload))
        }
        Frame::History(page) => {
            let item =
                |p: Publish<'_>| format!("{}#{}@{}", text(p.payload), p.offset.unwrap(), p.time.unwrap());
            let items: Vec<String> = page.publications.unwrap().iter().map(item).collect();
            let (epoch, offset) = (page.epoch.unwrap(), page.offset.unwrap());
            format!("history {}: {} of {epoch}:{offset}", page.id, items.join(" "))
        }
        Frame::Error(e) => format!("error {} {}", e.id, e.code),
        Frame::Disconnect(d) => format!("disconnect {}", d.code),
        Frame::Gap(Gap { channel, reason: "slow_consumer", count: Some(count), .. }) => {
            format!("gap {channel} {count}")
        }
        Frame::Gap(gap) => {
            let count = gap.count.map_or_else(|| "some".into(), |count| count.to_string());
            format!("gap {} {count} {}", gap.channel, gap.reason)
        }
        Frame::Presence(p) => presence_line(p),
        Frame::Unsubscribed(u) => format!("unsubscribed {} {}", u.channel, u.code),
        Frame::Ping { .. } => "ping".into(),
        Frame::Pong { timestamp } => format!("pong {}", timestamp.unwrap_or(0)),
        other => panic!("unexpected {other:?}"),
    }
}

fn text(payload: Payload<'_>) -> String {
    let mut bytes = vec![];
    payload.append_to(&mut bytes);
    String::from_utf8(bytes).expect("tests publish text")
}

/// Clients are shown by what they say of themselves, since their names are any digits.
fn presence_line(p: &Presence<'_>) -> String {
    // Tests give short strings, whose head is one byte.
    let word = |data: Option<Value<'_>>| match data.map(|value| value.as_bytes()) {
        Some([_, text @ ..]) => String::from_utf8_lossy(text).into_owned(),
        _ => "-".into(),
    };
    let member = |m: &wire::Member<'_>| {
        let action = m.action.map_or("", |action| ["+", "-", "~"][action as usize]);
        let user = m.user.map(|user| format!("@{user}")).unwrap_or_default();
        format!("{action}{}{user}", word(m.data))
    };
    let totals = format!("{}/{}", p.clients.unwrap_or(0), p.users.unwrap_or(0));
    let list = |members: wire::Members<'_>| {
        let mut list: Vec<String> = members.iter().map(|m| member(&m)).collect();
        list.sort();
        list.join(" ")
    };
    match (p.id, p.members, p.changes) {
        (0, None, Some(changes)) => format!("{} {} of {totals}", p.channel, list(changes)),
        (0, None, None) => {
            let single = wire::Member {
                action: Some(p.action),
                client: p.client.unwrap(),
                user: p.user,
                data: p.data,
            };
            format!("{} {} of {totals}", p.channel, member(&single))
        }
        (id, Some(members), None) => format!("members {id}: {} of {totals}", list(members)),
        (id, None, None) => format!("count {id}: {totals}"),
        other => panic!("unexpected {other:?}"),
    }
}

pub fn presence<'a>(id: u64, channel: &'a str, action: PresenceAction, data: &'a [u8]) -> Frame<'a> {
    let data = (!data.is_empty()).then(|| Value::new(data).expect("tests give whole values"));
    Frame::Presence(Presence { id, channel, action, data, ..Presence::default() })
}

/// A store that is a disk in memory. It checks what routers ask of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk(pub BTreeMap<String, OnDisk>);

/// A channel on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDisk {
    pub epoch: u32,
    pub first: u64,
    pub top: u64,
    /// Number, time and frame.
    pub entries: Vec<(u64, u64, Vec<u8>)>,
    /// Number, time and name.
    pub names: Vec<(u64, u64, Vec<u8>)>,
}

impl OnDisk {
    fn new(epoch: u32) -> Self {
        Self { epoch, first: 1, top: 0, entries: vec![], names: vec![] }
    }
}

impl Disk {
    /// Does what a batch of records says.
    pub fn write(&mut self, mut records: &[u8]) {
        assert!(!records.is_empty(), "a batch has a record");
        while !records.is_empty() {
            let (record, rest) = Record::decode(records).expect("a router writes records");
            self.write_one(record);
            records = rest;
        }
    }

    fn begin(&mut self, channel: &str, epoch: u32) -> &mut OnDisk {
        let stored = self.0.entry(channel.into()).or_insert_with(|| OnDisk::new(epoch));
        if stored.epoch != epoch {
            *stored = OnDisk::new(epoch);
        }
        stored
    }

    fn write_one(&mut self, record: Record<'_>) {
        match record {
            Record::Begun { channel, epoch } => {
                let stored = self.begin(channel, epoch);
                assert_eq!(stored.top, 0, "{channel} begins once");
            }
            Record::Publication { channel, epoch, offset, time, name, frame } => {
                let stored = self.begin(channel, epoch);
                assert_eq!(offset, stored.top + 1, "{channel} has no hole, and no number twice");
                stored.top = offset;
                stored.entries.push((offset, time, frame.into()));
                if !name.is_empty() {
                    stored.names.push((offset, time, name.into()));
                }
            }
            Record::Superseded { channel, offset } => {
                if let Some(stored) = self.0.get_mut(channel) {
                    assert!(offset < stored.top, "{channel}: the newest of all stays");
                    stored.entries.retain(|(of, ..)| *of != offset);
                }
            }
            Record::Trimmed { channel, epoch, first, named } => {
                if let Some(stored) = self.0.get_mut(channel).filter(|it| it.epoch == epoch) {
                    assert!(stored.first <= first && first <= stored.top + 1, "{channel}: {first}");
                    stored.first = first;
                    stored.entries.retain(|(offset, ..)| *offset >= first);
                    stored.names.retain(|(offset, ..)| *offset >= named);
                }
            }
            Record::Forgotten { channel } => {
                self.0.remove(channel);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Gives a router back what is here.
    pub fn restore(&self, router: &mut Router) {
        self.0.keys().for_each(|channel| self.restore_one(channel, router));
    }

    fn restore_one(&self, channel: &str, router: &mut Router) {
        let OnDisk { epoch, first, top, ref entries, ref names } = self.0[channel];
        let publications: Vec<_> = entries.iter().map(|(_, time, frame)| (*time, &frame[..])).collect();
        let names: Vec<_> = names.iter().map(|(offset, time, name)| (*offset, *time, &name[..])).collect();
        let stored = Stored { channel, epoch, first, top, publications: &publications, names: &names };
        router.restore(&stored).expect("it was stored by a router");
    }

    /// Name and numbers of what is here.
    pub fn numbers(&self, channel: &str) -> Vec<u64> {
        self.0
            .get(channel)
            .map_or(vec![], |stored| stored.entries.iter().map(|(number, ..)| *number).collect())
    }
}

impl World {
    /// Stores what waits to be stored, until nothing does; returns how many batches that were.
    pub fn store(&mut self, disk: &mut Disk) -> usize {
        let mut count = 0;
        self.drain();
        while let Some((sequence, records)) = self.stores.pop() {
            assert!(self.stores.is_empty(), "one batch at a time");
            disk.write(&records);
            self.router.stored(sequence);
            count += 1;
            self.drain();
        }
        count
    }
}

/// Several routers that share channels. Parcels go at once unless their way is shut.
pub struct Cluster {
    pub worlds: Vec<World>,
    /// From and to: what is on its way.
    ways: BTreeMap<(u16, u16), Way>,
}

#[derive(Default)]
struct Way {
    shut: bool,
    parcels: Vec<Vec<u8>>,
}

impl Cluster {
    pub fn new(count: u16, config: &Config) -> Self {
        let shards = |index| Shards { index, count, key: 7 };
        let world = |index| World::new(Config { shards: shards(index), ..config.clone() });
        Self { worlds: (0..count).map(world).collect(), ways: BTreeMap::new() }
    }

    /// Drains all routers and carries their parcels until there is nothing left to carry.
    pub fn settle(&mut self) {
        loop {
            self.gather();
            let mut idle = true;
            for (&(from, to), way) in self.ways.iter_mut().filter(|(_, way)| !way.shut) {
                for parcel in way.parcels.drain(..) {
                    idle = false;
                    self.worlds[usize::from(to)].router.peer(PeerId(from), &parcel).expect("it is a parcel");
                }
            }
            if idle {
                return;
            }
        }
    }

    /// Settles, and stores what waits to be stored, until neither is left to do.
    pub fn store(&mut self, disk: &mut Disk) {
        loop {
            self.settle();
            if self.worlds.iter_mut().map(|world| world.store(disk)).sum::<usize>() == 0 {
                return;
            }
        }
    }

    /// Drains all routers; their parcels are on their way.
    fn gather(&mut self) {
        for (from, world) in self.worlds.iter_mut().enumerate() {
            world.drain();
            for (to, parcel) in world.parcels.drain(..) {
                self.ways.entry((from as u16, to.0)).or_default().parcels.push(parcel);
            }
        }
    }

    /// Carries what is on its way from one router to another that is shut or slow, and no more.
    pub fn carry(&mut self, from: u16, to: u16) {
        self.gather();
        for parcel in core::mem::take(&mut self.ways.entry((from, to)).or_default().parcels) {
            self.worlds[usize::from(to)].router.peer(PeerId(from), &parcel).expect("it is a parcel");
        }
    }

    /// What is said from now on waits, and the sender's host says that no more fits.
    pub fn shut(&mut self, from: u16, to: u16) {
        self.ways.entry((from, to)).or_default().shut = true;
        self.worlds[usize::from(from)].router.set_peer_writable(PeerId(to), false);
    }

    /// What is said from now on takes its time, but the sender's host has room for it.
    pub fn delay(&mut self, from: u16, to: u16) {
        self.ways.entry((from, to)).or_default().shut = true;
    }

    pub fn reopen(&mut self, from: u16, to: u16) {
        self.ways.entry((from, to)).or_default().shut = false;
        self.worlds[usize::from(from)].router.set_peer_writable(PeerId(to), true);
        self.settle();
    }

    /// The two lose each other; what was on its way is lost.
    pub fn part(&mut self, a: u16, b: u16) {
        for (one, other) in [(a, b), (b, a)] {
            self.ways.remove(&(one, other));
            self.worlds[usize::from(one)].router.peer_lost(PeerId(other));
        }
        self.settle();
    }

    pub fn rejoin(&mut self, a: u16, b: u16) {
        for (one, other) in [(a, b), (b, a)] {
            self.worlds[usize::from(one)].router.peer_joined(PeerId(other));
        }
        self.settle();
    }

    pub fn client(&mut self, at: u16) -> (u16, ConnId) {
        (at, self.worlds[usize::from(at)].client())
    }

    pub fn send(&mut self, (at, conn): (u16, ConnId), frames: &[Frame<'_>]) {
        self.worlds[usize::from(at)].send_all(conn, frames);
    }

    pub fn subscribe(&mut self, client: (u16, ConnId), channel: &str) {
        self.send(client, &[subscribe(1, channel)]);
        assert!(self.sees(client).iter().any(|line| line.split(" at ").next() == Some("ack 1")));
    }

    pub fn close(&mut self, (at, conn): (u16, ConnId)) {
        self.worlds[usize::from(at)].router.closed(conn);
        self.settle();
    }

    /// Settles, then what a client has seen.
    pub fn sees(&mut self, (at, conn): (u16, ConnId)) -> Vec<String> {
        self.settle();
        self.worlds[usize::from(at)].take(conn)
    }

    pub fn router(&mut self, at: u16) -> &mut Router {
        &mut self.worlds[usize::from(at)].router
    }

    /// A channel that is at home at this router.
    pub fn channel_of(&self, home: u16) -> String {
        (0..)
            .map(|n| format!("c{n}"))
            .find(|name| self.worlds[0].router.home(name) == PeerId(home))
            .expect("names without end have every home")
    }
}

/// A small generator for tests that choose at random.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
