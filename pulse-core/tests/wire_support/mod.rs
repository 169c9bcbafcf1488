//! What the tests of the wire share: a seeded generator of frames, a description of a frame in JSON, and a MessagePack
//! checker that is as plain as can be, as an oracle for the decoder's verdicts.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fmt::Write as _;
use std::sync::LazyLock;

use pulse_core::wire::{
    Ack, Connect, Connected, Disconnect, ErrorFrame, Format, Frame, Gap, History, List, MAX_DEPTH, MAX_SAFE,
    Member, Members, Payload, Point, Presence, PresenceAction, Publications, Publish, Refresh, Split,
    Subscribe, Tags, Unsubscribe, Unsubscribed, Value, decode, split,
};
use serde_json::{Map, Value as Json, json};

/// Xorshift: random enough for tests, and the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (((self.next() >> 32) * bound as u64) >> 32) as usize
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// The bytes after the length prefix of what is exactly one frame.
pub(crate) fn map_of(frame: &[u8]) -> &[u8] {
    match split(frame, usize::MAX) {
        Split::Frame { map, rest: [] } => map,
        other => panic!("{} is not one whole frame: {other:?}", hex(frame)),
    }
}

pub(crate) fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("strings take everything");
        text
    })
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().map(|c| c.to_digit(16).expect("a hexadecimal digit")).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

// ---- the plain checker ----

/// The length of the value that `bytes` begin with, whose container is `depth` deep. Recursive and slow.
pub(crate) fn item_len(bytes: &[u8], depth: usize) -> Option<usize> {
    let number = |from: usize, len: usize| {
        let bytes = bytes.get(from..from + len)?;
        Some(bytes.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte)))
    };
    let flat = |len: usize| (bytes.len() >= len).then_some(len);
    let nested = |head: usize, items: usize| {
        if depth >= MAX_DEPTH {
            return None;
        }
        let mut at = head;
        for _ in 0..items {
            at += item_len(&bytes[at..], depth + 1)?;
        }
        Some(at)
    };
    match *bytes.first()? {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => flat(1),
        head @ 0x80..=0x8f => nested(1, 2 * usize::from(head & 15)),
        head @ 0x90..=0x9f => nested(1, usize::from(head & 15)),
        head @ 0xa0..=0xbf => flat(1 + usize::from(head & 31)),
        0xc1 => None,
        0xc4 | 0xd9 => flat(number(1, 1)?.checked_add(2)?),
        0xc5 | 0xda => flat(number(1, 2)?.checked_add(3)?),
        0xc6 | 0xdb => flat(number(1, 4)?.checked_add(5)?),
        0xc7 => flat(number(1, 1)?.checked_add(3)?),
        0xc8 => flat(number(1, 2)?.checked_add(4)?),
        0xc9 => flat(number(1, 4)?.checked_add(6)?),
        0xcc | 0xd0 => flat(2),
        0xcd | 0xd1 => flat(3),
        0xca | 0xce | 0xd2 => flat(5),
        0xcb | 0xcf | 0xd3 => flat(9),
        head @ 0xd4..=0xd8 => flat(2 + (1 << (head - 0xd4))),
        0xdc => nested(3, number(1, 2)?),
        0xdd => nested(5, number(1, 4)?),
        0xde => nested(3, number(1, 2)?.checked_mul(2)?),
        0xdf => nested(5, number(1, 4)?.checked_mul(2)?),
    }
}

/// The pairs of the map that `bytes` begin with, each as the bytes of key and value, and what follows the map; `None`
/// if that is not a well-formed map.
pub(crate) fn pairs(bytes: &[u8]) -> Option<(Vec<&[u8]>, &[u8])> {
    let (map, rest) = bytes.split_at(item_len(bytes, 0)?);
    let mut at = match map[0] {
        0x80..=0x8f => 1,
        0xde => 3,
        0xdf => 5,
        _ => return None,
    };
    let mut pairs = Vec::new();
    while at < map.len() {
        let key = item_len(&map[at..], 1)?;
        let value = item_len(&map[at + key..], 1)?;
        pairs.push(&map[at..at + key + value]);
        at += key + value;
    }
    Some((pairs, rest))
}

/// A map of these pairs, its head in the longest format, and `rest`.
pub(crate) fn map_from(pairs: &[&[u8]], rest: &[u8]) -> Vec<u8> {
    let mut map = vec![0xdf];
    map.extend_from_slice(&(pairs.len() as u32).to_be_bytes());
    map.extend(pairs.iter().copied().flatten());
    map.extend_from_slice(rest);
    map
}

// ---- a frame in JSON ----

/// The content of a frame, in the form of the vector files: keys as on the wire, bytes as `{"hex": ..}`, absent keys
/// absent.
pub(crate) fn describe(frame: &Frame<'_>) -> Json {
    let mut keys = Keys::default();
    match *frame {
        Frame::Connect(Connect { version, token, name, features }) => {
            keys.of("connect").put("version", version).opt("token", token).opt("name", name);
            keys.opt("features", features.map(list));
        }
        Frame::Connected(Connected { connection_id, version, heartbeat, features, user, expires_at }) => {
            keys.of("connected").put("connection_id", connection_id).put("version", version);
            keys.put("heartbeat", heartbeat).opt("features", features.map(list)).opt("user", user);
            keys.opt("expires_at", expires_at);
        }
        Frame::Subscribe(Subscribe { id, channel, token, recover, latest }) => {
            keys.of("subscribe").put("id", id).put("channel", channel).opt("token", token);
            keys.opt("recover", recover.map(point)).opt("latest", latest);
        }
        Frame::Unsubscribe(Unsubscribe { id, channel }) => {
            keys.of("unsubscribe").put("id", id).put("channel", channel);
        }
        Frame::Unsubscribed(Unsubscribed { channel, code, reason }) => {
            keys.of("unsubscribed").put("channel", channel).put("code", code).put("reason", reason);
        }
        Frame::Publish(publish) => {
            keys.of("publish").put("channel", publish.channel).publication(&publish);
        }
        Frame::History(History { id, channel, since, limit, reverse, epoch, offset, publications }) => {
            keys.of("history").put("id", id).opt("channel", channel).opt("since", since.map(point));
            keys.opt("limit", limit).opt("reverse", reverse).opt("epoch", epoch).opt("offset", offset);
            let page = |page: Publications<'_>| {
                page.iter().map(|item| Keys::default().publication(&item).done()).collect::<Vec<_>>()
            };
            keys.opt("publications", publications.map(page));
        }
        Frame::Gap(Gap { channel, reason, from, to, count }) => {
            keys.of("gap").put("channel", channel).put("reason", reason).opt("from", from).opt("to", to);
            keys.opt("count", count);
        }
        Frame::Presence(presence) => {
            let Presence { id, channel, action, data, client, user, .. } = presence;
            let Presence { members, clients, users, changes, after, limit, next, .. } = presence;
            keys.of("presence").put("id", id).put("channel", channel).put("action", action as u8);
            keys.opt("data", data.map(value)).opt("client", client).opt("user", user);
            keys.opt("members", members.map(members_of)).opt("clients", clients).opt("users", users);
            keys.opt("changes", changes.map(members_of)).opt("after", after).opt("limit", limit);
            keys.opt("next", next);
        }
        Frame::Refresh(Refresh { id, token }) => {
            keys.of("refresh").put("id", id).put("token", token);
        }
        Frame::Ack(Ack { id, epoch, offset, recovered, reason, stale, sparse }) => {
            keys.of("ack")
                .put("id", id)
                .opt("epoch", epoch)
                .opt("offset", offset)
                .opt("recovered", recovered);
            keys.opt("reason", reason).opt("stale", stale).opt("sparse", sparse);
        }
        Frame::Error(ErrorFrame { id, code, message, temporary }) => {
            keys.of("error")
                .put("id", id)
                .put("code", code)
                .put("message", message)
                .opt("temporary", temporary);
        }
        Frame::Disconnect(Disconnect { code, reason, retry_ms }) => {
            keys.of("disconnect").put("code", code).put("reason", reason).opt("retry_ms", retry_ms);
        }
        Frame::Ping { timestamp } => {
            keys.of("ping").opt("timestamp", timestamp);
        }
        Frame::Pong { timestamp } => {
            keys.of("pong").opt("timestamp", timestamp);
        }
        _ => panic!("{frame:?} is of a type that this test does not know"),
    }
    keys.done()
}

#[derive(Default)]
struct Keys(Map<String, Json>);

impl Keys {
    fn of(&mut self, kind: &str) -> &mut Self {
        self.put("type", kind)
    }

    fn put(&mut self, key: &str, value: impl Into<Json>) -> &mut Self {
        assert_eq!(self.0.insert(key.to_owned(), value.into()), None, "{key} is described once");
        self
    }

    fn opt(&mut self, key: &str, value: Option<impl Into<Json>>) -> &mut Self {
        if let Some(value) = value {
            self.put(key, value);
        }
        self
    }

    fn publication(&mut self, publish: &Publish<'_>) -> &mut Self {
        let Publish {
            channel: _,
            payload,
            id,
            event,
            format,
            key,
            version,
            idempotency_key,
            tags,
            offset,
            time,
            client,
            user,
        } = *publish;
        let mut bytes = Vec::new();
        payload.append_to(&mut bytes);
        assert_eq!(payload.len(), bytes.len());
        self.put("payload", json!({ "hex": hex(&bytes) })).opt("id", id).opt("event", event);
        let format = match format {
            Format::Raw => None,
            Format::Json => Some("json"),
            Format::MsgPack => Some("msgpack"),
        };
        self.opt("format", format)
            .opt("key", key)
            .opt("version", version)
            .opt("idempotency_key", idempotency_key);
        let tags = tags.map(|tags| {
            tags.iter().map(|(key, value)| (key.to_owned(), value.into())).collect::<Map<_, _>>()
        });
        self.opt("tags", tags).opt("offset", offset).opt("time", time).opt("client", client).opt("user", user)
    }

    fn done(&mut self) -> Json {
        Json::Object(std::mem::take(&mut self.0))
    }
}

fn list(list: List<'_>) -> Vec<Json> {
    list.iter().map(Json::from).collect()
}

fn point(point: Point<'_>) -> Json {
    json!({ "epoch": point.epoch, "offset": point.offset })
}

fn value(value: Value<'_>) -> Json {
    rmp_serde::from_slice(value.as_bytes()).unwrap_or_else(|_| json!({ "hex": hex(value.as_bytes()) }))
}

fn members_of(members: Members<'_>) -> Vec<Json> {
    let member = |Member { action, client, user, data }: Member<'_>| {
        let mut keys = Keys::default();
        keys.put("client", client).opt("user", user).opt("data", data.map(value));
        keys.opt("action", action.map(|action| action as u8)).done()
    };
    members.iter().map(member).collect()
}

// ---- frames ----

/// What frames are made of. Made once and kept, so that generated frames borrow from it for good.
struct Pool {
    texts: Vec<&'static str>,
    epochs: Vec<&'static str>,
    payloads: Vec<Payload<'static>>,
    values: Vec<Value<'static>>,
    lists: Vec<List<'static>>,
    tags: Vec<Tags<'static>>,
    members: Vec<Members<'static>>,
    publications: Vec<Publications<'static>>,
}

const NUMBERS: &[u64] = &[
    0,
    1,
    42,
    127,
    128,
    255,
    256,
    65_535,
    65_536,
    0xffff_ffff,
    0x1_0000_0000,
    1_764_547_200_000,
    MAX_SAFE - 1,
    MAX_SAFE,
];
const ACTIONS: &[PresenceAction] = &[
    PresenceAction::Join,
    PresenceAction::Leave,
    PresenceAction::Update,
    PresenceAction::Sync,
    PresenceAction::Count,
];

static POOL: LazyLock<Pool> = LazyLock::new(|| {
    let text =
        |len: usize| &*String::leak("abcdefghijklmnopqrstuvwxyz:/".chars().cycle().take(len).collect());
    let mut texts: Vec<&str> = [0, 1, 5, 30, 31, 32, 33, 100, 255, 256].into_iter().map(text).collect();
    texts.extend(["chat:lobby", "ünïcödé ✓", "type", "id", "\0", "日本語", "room"]);
    let bytes = |len: usize| Payload::from(&*Vec::leak((0..len).map(|at| (at * 7) as u8).collect()));
    let mut payloads: Vec<_> = [0, 1, 5, 64, 255, 256, 300].into_iter().map(bytes).collect();
    payloads.push(array_payload());
    let values = [
        json!(true),
        json!(3),
        json!(-70_000),
        json!("Ada"),
        json!(1.5),
        json!([]),
        json!({}),
        json!([1, [2, [3, ["✓", null]]]]),
        json!({ "n": 3, "name": "Ada", "typing": true, "at": { "x": 1, "y": [1, 2, 300] } }),
    ];
    let values: Vec<_> = values
        .iter()
        .map(|json| {
            Value::new(Vec::leak(rmp_serde::to_vec_named(json).expect("JSON is encoded"))).expect("a value")
        })
        .collect();
    let mut rng = Rng::new(1);
    let mut lists = Vec::new();
    let mut tags = Vec::new();
    let mut members = Vec::new();
    let mut publications = Vec::new();
    for items in [0, 1, 2, 15, 16, 40] {
        let strings: Vec<_> = (0..items).map(|_| rng.pick(&texts)).collect();
        lists.push(List::encode(&strings, Box::leak(Box::default())));
        // Keys that differ: a map in JSON has each once.
        let pairs: Vec<_> = (0..items).map(|at| (text(at), rng.pick(&texts))).collect();
        tags.push(Tags::encode(&pairs, Box::leak(Box::default())));
        let some: Vec<_> = (0..items)
            .map(|_| Member {
                action: rng.one_in(2).then(|| rng.pick(ACTIONS)),
                client: rng.pick(&texts),
                user: rng.one_in(2).then(|| rng.pick(&texts)),
                data: rng.one_in(2).then(|| rng.pick(&values)),
            })
            .collect();
        members.push(Members::encode(&some, Box::leak(Box::default())));
    }
    let epochs = vec!["", "e", "0123456789abcdef", "ünïcödé", "7f"];
    let mut pool = Pool { texts, epochs, payloads, values, lists, tags, members, publications: Vec::new() };
    for items in [0, 1, 3, 17] {
        let some: Vec<_> = (0..items).map(|_| Gen::of(&pool, &mut rng, false).publication("")).collect();
        publications.push(Publications::encode(&some, Box::leak(Box::default())));
    }
    pool.publications = publications;
    pool
});

/// A payload that came as an array, in all formats of integers.
fn array_payload() -> Payload<'static> {
    let frame = b"\x83\xa4type\xa7publish\xa7channel\xa1c\xa7payload\x96\x00\x7f\xcc\xff\xcd\x00\x80\xd1\x00\x01\xca\x40\x40\x00\x00";
    match decode(frame) {
        Ok(Frame::Publish(publish)) => publish.payload,
        other => panic!("{other:?} is not the publication"),
    }
}

/// How many types of frame there are.
pub(crate) const TYPES: usize = 16;

/// A frame of the given type (0 to [`TYPES`], history counts twice); with all its keys, or with some.
pub(crate) fn frame(kind: usize, rng: &mut Rng, all: bool) -> Frame<'static> {
    Gen::of(&POOL, rng, all).frame(kind)
}

struct Gen<'r> {
    pool: &'r Pool,
    rng: &'r mut Rng,
    all: bool,
}

impl<'r> Gen<'r> {
    fn of(pool: &'r Pool, rng: &'r mut Rng, all: bool) -> Self {
        Self { pool, rng, all }
    }

    fn number(&mut self) -> u64 {
        if self.rng.one_in(2) { self.rng.pick(NUMBERS) } else { self.rng.next() >> 11 >> self.rng.below(53) }
    }

    fn code(&mut self) -> u16 {
        self.rng.next() as u16
    }

    fn text(&mut self) -> &'static str {
        self.rng.pick(&self.pool.texts)
    }

    fn epoch(&mut self) -> &'static str {
        self.rng.pick(&self.pool.epochs)
    }

    fn point(&mut self) -> Point<'static> {
        Point { epoch: self.epoch(), offset: self.number() }
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.all || self.rng.one_in(3)).then(|| make(self))
    }

    fn from<T: Copy + 'r>(&mut self, pool: impl FnOnce(&'r Pool) -> &'r [T]) -> Option<T> {
        self.maybe(|this| this.rng.pick(pool(this.pool)))
    }

    fn publication(&mut self, channel: &'static str) -> Publish<'static> {
        let formats =
            if self.all { &[Format::Json, Format::MsgPack][..] } else { &[Format::Raw, Format::Json] };
        Publish {
            channel,
            payload: self.rng.pick(&self.pool.payloads),
            id: self.maybe(Self::number),
            event: self.maybe(Self::text),
            format: self.rng.pick(formats),
            key: self.maybe(Self::text),
            version: self.maybe(Self::number),
            idempotency_key: self.maybe(Self::text),
            tags: self.from(|pool| &pool.tags),
            offset: self.maybe(Self::number),
            time: self.maybe(Self::number),
            client: self.maybe(Self::text),
            user: self.maybe(Self::text),
        }
    }

    fn frame(&mut self, kind: usize) -> Frame<'static> {
        match kind {
            0 => Frame::Connect(Connect {
                version: self.number(),
                token: self.maybe(Self::text),
                name: self.maybe(Self::text),
                features: self.from(|pool| &pool.lists),
            }),
            1 => Frame::Connected(Connected {
                connection_id: self.text(),
                version: self.number(),
                heartbeat: self.number(),
                features: self.from(|pool| &pool.lists),
                user: self.maybe(Self::text),
                expires_at: self.maybe(Self::number),
            }),
            2 => Frame::Subscribe(Subscribe {
                id: self.number(),
                channel: self.text(),
                token: self.maybe(Self::text),
                recover: self.maybe(Self::point),
                latest: self.maybe(Self::number),
            }),
            3 => Frame::Unsubscribe(Unsubscribe { id: self.number(), channel: self.text() }),
            4 => Frame::Unsubscribed(Unsubscribed {
                channel: self.text(),
                code: self.code(),
                reason: self.text(),
            }),
            5 => {
                let channel = self.text();
                Frame::Publish(self.publication(channel))
            }
            6 => Frame::History(History {
                id: self.number(),
                channel: Some(self.text()),
                since: self.maybe(Self::point),
                limit: self.maybe(Self::number),
                reverse: self.maybe(|this| this.rng.one_in(2)),
                ..History::default()
            }),
            7 => Frame::History(History {
                id: self.number(),
                epoch: Some(self.epoch()),
                offset: Some(self.number()),
                publications: Some(self.rng.pick(&self.pool.publications)),
                ..History::default()
            }),
            8 => Frame::Gap(Gap {
                channel: self.text(),
                reason: self.text(),
                from: self.maybe(Self::number),
                to: self.maybe(Self::number),
                count: self.maybe(Self::number),
            }),
            9 => Frame::Presence(Presence {
                id: self.number(),
                channel: self.text(),
                action: self.rng.pick(ACTIONS),
                data: self.from(|pool| &pool.values),
                client: self.maybe(Self::text),
                user: self.maybe(Self::text),
                members: self.from(|pool| &pool.members),
                clients: self.maybe(Self::number),
                users: self.maybe(Self::number),
                changes: self.from(|pool| &pool.members),
                after: self.maybe(Self::text),
                limit: self.maybe(Self::number),
                next: self.maybe(Self::text),
            }),
            10 => Frame::Refresh(Refresh { id: self.number(), token: self.text() }),
            11 => Frame::Ack(Ack {
                id: self.number(),
                epoch: self.maybe(Self::epoch),
                offset: self.maybe(Self::number),
                recovered: self.maybe(|this| this.rng.one_in(2)),
                reason: self.maybe(Self::text),
                stale: self.maybe(|this| this.rng.one_in(2)),
                sparse: self.maybe(|this| this.rng.one_in(2)),
            }),
            12 => Frame::Error(ErrorFrame {
                id: self.number(),
                code: self.code(),
                message: self.text(),
                temporary: self.maybe(|this| this.rng.one_in(2)),
            }),
            13 => Frame::Disconnect(Disconnect {
                code: self.code(),
                reason: self.text(),
                retry_ms: self.maybe(Self::number),
            }),
            14 => Frame::Ping { timestamp: self.maybe(Self::number) },
            15 => Frame::Pong { timestamp: self.maybe(Self::number) },
            kind => panic!("there is no type number {kind}"),
        }
    }
}
