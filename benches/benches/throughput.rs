//! The codec beside rmp-serde, and fan-out from the publisher's bytes to the last batch.
//!
//! `cargo bench -p pulse-bench --bench throughput` prints both; compare lines of one run only.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pulse_core::wire::{self, Format, Frame, Payload, Publish, Subscribe};
use pulse_core::{Config, ConnId, Dialect, Effect, Kind, Limits, Link, Now, PeerId, Router, Seed, Shards};
use serde::{Deserialize, Serialize};

/// The frame as the first release held it: one enum for all, tagged inside the map, with owned fields.
#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Tagged {
    Subscribe {
        id: u64,
        channel: String,
    },
    Publish {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        channel: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        event: Option<String>,
        #[serde(with = "serde_bytes")]
        payload: Vec<u8>,
    },
    Ack {
        id: u64,
    },
}

/// The leanest that serde can do: one struct, known beforehand, that borrows.
#[derive(Serialize, Deserialize)]
struct Flat<'a> {
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    channel: &'a str,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(with = "serde_bytes")]
    payload: &'a [u8],
}

const CHANNEL: &str = "chat:lobby";
const EVENT: Option<&str> = Some("message");

fn codec(c: &mut Criterion) {
    for size in [64, 1024, 65_536] {
        let payload = vec![0x61_u8; size];
        let publish = Publish {
            channel: CHANNEL,
            payload: Payload::from(&payload[..]),
            id: Some(3),
            event: EVENT,
            format: Format::Raw,
            ..Publish::default()
        };
        let tagged = Tagged::Publish {
            id: Some(3),
            channel: CHANNEL.into(),
            event: EVENT.map(Into::into),
            payload: payload.clone(),
        };
        let flat = Flat { r#type: "publish", id: Some(3), channel: CHANNEL, event: EVENT, payload: &payload };

        let mut out = Vec::with_capacity(size + 256);
        let mut group = c.benchmark_group(format!("encode/{size}"));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function("pulse", |b| {
            b.iter(|| {
                out.clear();
                black_box(&publish).encode(&mut out);
                black_box(out.len())
            });
        });
        group.bench_function("rmp-serde tagged", |b| {
            b.iter(|| {
                out.clear();
                out.extend_from_slice(&[0; 4]);
                black_box(&tagged)
                    .serialize(&mut rmp_serde::Serializer::new(&mut out).with_struct_map())
                    .unwrap();
                let len = (out.len() as u32 - 4).to_be_bytes();
                out[..4].copy_from_slice(&len);
                black_box(out.len())
            });
        });
        group.bench_function("rmp-serde flat", |b| {
            b.iter(|| {
                out.clear();
                out.extend_from_slice(&[0; 4]);
                black_box(&flat)
                    .serialize(&mut rmp_serde::Serializer::new(&mut out).with_struct_map())
                    .unwrap();
                let len = (out.len() as u32 - 4).to_be_bytes();
                out[..4].copy_from_slice(&len);
                black_box(out.len())
            });
        });
        group.finish();

        out.clear();
        publish.encode(&mut out);
        let map = &out[4..];
        let mut group = c.benchmark_group(format!("decode/{size}"));
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function("pulse", |b| {
            b.iter(|| match wire::decode(black_box(map)) {
                Ok(Frame::Publish(publish)) => black_box(publish.payload.len()),
                other => panic!("{other:?}"),
            });
        });
        group.bench_function("rmp-serde tagged", |b| {
            b.iter(|| match rmp_serde::from_slice(black_box(map)).unwrap() {
                Tagged::Publish { payload, .. } => black_box(payload.len()),
                Tagged::Subscribe { .. } | Tagged::Ack { .. } => panic!("another frame"),
            });
        });
        group.bench_function("rmp-serde flat", |b| {
            b.iter(|| {
                let flat: Flat<'_> = rmp_serde::from_slice(black_box(map)).unwrap();
                black_box(flat.payload.len())
            });
        });
        group.finish();
    }
}

/// A router with `connections` clients, each subscribed to what `channels` names for it.
fn router(connections: u32, channels: impl Fn(u32) -> Vec<String>) -> (Router, Vec<ConnId>) {
    shard(Shards::default(), connections, channels)
}

/// As [`router`], one of several.
fn shard(shards: Shards, connections: u32, channels: impl Fn(u32) -> Vec<String>) -> (Router, Vec<ConnId>) {
    let limits =
        Limits { max_channels: 1_000_000, max_subscriptions_per_connection: 1000, ..Limits::default() };
    let mut router = Router::new(Config { limits, shards, ..Config::default() }, Seed(1));
    router.advance(Now::default());
    let conns: Vec<ConnId> = (0..connections)
        .map(|n| {
            let conn = router.open(Link { class: 0, dialect: Dialect::V1 });
            let mut message = Vec::new();
            Frame::Connect(wire::Connect { version: 1, ..wire::Connect::default() }).encode(&mut message);
            for channel in channels(n) {
                Frame::Subscribe(Subscribe { id: 1, channel: &channel, ..Subscribe::default() })
                    .encode(&mut message);
            }
            router.receive(conn, Kind::Binary, &message);
            drain(&mut router);
            conn
        })
        .collect();
    (router, conns)
}

/// Takes all batches and returns the number of bytes times receivers.
fn drain(router: &mut Router) -> usize {
    let mut written = 0;
    while let Some(mut batch) = router.poll_write() {
        let receivers = batch.to().len();
        // What a WebSocket host does with it, up to the system call.
        written += receivers * black_box(batch.framed(&[0x82, 126, 0, 0])).len();
    }
    written
}

fn publication(channel: &str) -> Vec<u8> {
    let payload = [7; 100];
    let mut message = Vec::new();
    let publish = Publish { channel, payload: Payload::from(&payload[..]), ..Publish::default() };
    publish.encode(&mut message);
    message
}

fn one_channel(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan-out/one channel");
    for subscribers in [1, 10, 100, 1_000, 10_000] {
        let (mut router, conns) = router(subscribers, |_| vec!["room".into()]);
        let message = publication("room");
        group.throughput(Throughput::Elements(u64::from(subscribers)));
        group.bench_function(BenchmarkId::from_parameter(subscribers), |b| {
            b.iter(|| {
                router.receive(conns[0], Kind::Binary, black_box(&message));
                drain(&mut router)
            });
        });
    }
    group.finish();
}

/// A thousand publications a turn into 1,000 rooms of ten random members: almost every receiver has a list of its own.
fn rooms_of_ten(c: &mut Criterion) {
    let rooms = 1_000;
    let mut x = 88_172_645_463_325_252_u64;
    let mut random = move |bound: u64| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x % bound
    };
    let connections = 5_000;
    let mut members = vec![Vec::new(); connections];
    for room in 0..rooms {
        for _ in 0..10 {
            // A member twice in one room would be refused; the ten are distinct.
            loop {
                let member = &mut members[random(connections as u64) as usize];
                if !member.contains(&format!("room:{room}")) {
                    member.push(format!("room:{room}"));
                    break;
                }
            }
        }
    }
    let (mut router, conns) = router(connections as u32, |n| members[n as usize].clone());
    let messages: Vec<Vec<u8>> = (0..rooms).map(|room| publication(&format!("room:{room}"))).collect();
    let mut group = c.benchmark_group("fan-out/random rooms of ten");
    group.throughput(Throughput::Elements(10 * rooms));
    group.bench_function("1000 rooms", |b| {
        b.iter(|| {
            let mut written = 0;
            for message in &messages {
                router.receive(conns[0], Kind::Binary, message);
                if router.is_full() {
                    written += drain(&mut router);
                }
            }
            written + drain(&mut router)
        });
    });
    group.finish();
}

/// Two routers, the subscribers all at the one that is not the channel's home.
struct Hop {
    home: Router,
    leaf: Router,
    channel: &'static str,
    publishers: [ConnId; 2],
}

impl Hop {
    fn new(subscribers: u32) -> Self {
        let [home, leaf] = [0, 1].map(|index| Shards { index, count: 2, key: 7 });
        let channel = ["a", "b", "c", "d", "e", "f", "g", "h"].into_iter().find(|channel| {
            // A leaf has something to say to the home; the home itself has not.
            let (mut leaf, _) = shard(leaf, 1, |_| vec![(*channel).into()]);
            leaf.poll_effect().is_some()
        });
        let channel = channel.expect("of eight channels one is at home at the first router");
        let (home, at_home) = shard(home, 1, |_| Vec::new());
        let (leaf, at_leaf) = shard(leaf, subscribers, |_| vec![channel.into()]);
        let mut hop = Self { home, leaf, channel, publishers: [at_home[0], at_leaf[0]] };
        hop.settle();
        hop
    }

    /// Carries parcels and drains both until neither has anything to say; returns what was written.
    fn settle(&mut self) -> usize {
        let mut written = 0;
        loop {
            written += drain(&mut self.home) + drain(&mut self.leaf);
            let mut idle = true;
            while let Some(effect) = self.home.poll_effect() {
                carry(effect, PeerId(0), &mut self.leaf);
                idle = false;
            }
            while let Some(effect) = self.leaf.poll_effect() {
                carry(effect, PeerId(1), &mut self.home);
                idle = false;
            }
            if idle {
                return written;
            }
        }
    }
}

fn carry(effect: Effect, from: PeerId, to: &mut Router) {
    let Effect::Send { parcel, .. } = effect else { panic!("nothing else is asked of a host here") };
    to.peer(from, black_box(&parcel)).expect("a router understands another one");
}

/// What it costs that publisher, home and subscribers are at different routers, beside `fan-out/one channel`.
fn peers(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan-out/subscribers at a peer");
    for subscribers in [1, 1_000] {
        for (name, burst) in [("one", 1), ("bursts of 64", 64)] {
            let mut hop = Hop::new(subscribers);
            let message = publication(hop.channel).repeat(burst);
            group.throughput(Throughput::Elements(burst as u64));
            group.bench_function(BenchmarkId::new(format!("home to leaf, {name}"), subscribers), |b| {
                b.iter(|| {
                    hop.home.receive(hop.publishers[0], Kind::Binary, black_box(&message));
                    hop.settle()
                });
            });
            group.bench_function(
                BenchmarkId::new(format!("leaf to home to leaf, {name}"), subscribers),
                |b| {
                    b.iter(|| {
                        hop.leaf.receive(hop.publishers[1], Kind::Binary, black_box(&message));
                        hop.settle()
                    });
                },
            );
            let (mut alone, conns) = router(subscribers, |_| vec![hop.channel.into()]);
            group.bench_function(BenchmarkId::new(format!("no hop, {name}"), subscribers), |b| {
                b.iter(|| {
                    alone.receive(conns[0], Kind::Binary, black_box(&message));
                    drain(&mut alone)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, codec, one_channel, rooms_of_ten, peers);
criterion_main!(benches);
