//! A router in virtual time with clients that write down what they get, one short line a frame.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use std::collections::BTreeMap;

use pulse_core::wire::{self, Frame, Payload, Publish, Split, Subscribe, Unsubscribe};
use pulse_core::{
    Answer, Config, ConnId, Dialect, Effect, Kind, Link, Now, Request, Router, Seed, Ticket, Time,
};

/// A router, its clock and what its clients have seen.
pub struct World {
    pub router: Router,
    pub now_ms: u64,
    seen: BTreeMap<ConnId, Vec<String>>,
    pub effects: Vec<String>,
    pub tickets: Vec<Ticket>,
}

impl World {
    pub fn new(config: Config) -> Self {
        let mut router = Router::new(config, Seed(42));
        router.advance(Now::default());
        Self { router, now_ms: 0, seen: BTreeMap::new(), effects: vec![], tickets: vec![] }
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
        assert_eq!(self.take(conn).last().map(String::as_str), Some("ack 1"));
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
                Effect::Close { conn, code } => format!("close {} {}", conn.slot(), code.0),
                Effect::Ping { conn } => format!("ping {}", conn.slot()),
                Effect::Pause { conn, paused } => format!("pause {} {paused}", conn.slot()),
                Effect::Authorize { ticket, conn, request } => {
                    self.tickets.push(ticket);
                    match *request {
                        Request::Subscribe { channel, .. } => {
                            format!("may {} subscribe {channel}", conn.slot())
                        }
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
        Frame::Ack(ack) => match ack.recovered {
            None => format!("ack {}", ack.id),
            Some(recovered) => format!("ack {} recovered {recovered}", ack.id),
        },
        Frame::Publish(p) => {
            let mut payload = vec![];
            p.payload.append_to(&mut payload);
            format!("{} {}", p.channel, String::from_utf8_lossy(&payload))
        }
        Frame::Error(e) => format!("error {} {}", e.id, e.code),
        Frame::Disconnect(d) => format!("disconnect {}", d.code),
        Frame::Gap(gap) => format!("gap {} {}", gap.channel, gap.count.unwrap_or(0)),
        Frame::Ping { .. } => "ping".into(),
        Frame::Pong { timestamp } => format!("pong {}", timestamp.unwrap_or(0)),
        other => panic!("unexpected {other:?}"),
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
