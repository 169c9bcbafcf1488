//! Clients in virtual time: one against a server that the test plays itself, or many against a real router over links
//! that have latency, break and go silent. Everything that happens becomes one short line.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

pub mod net;
pub mod script;

use pulse_core::client::{Event, Failure, Subject};
use pulse_core::wire::{self, Connected, Frame, Payload, Publish, Split};

pub fn event_line(event: &Event<'_>) -> String {
    match event {
        Event::Connecting => "connecting".into(),
        Event::Connected(_) => "connected".into(),
        Event::Waiting { code: None, .. } => "waiting".into(),
        Event::Waiting { code: Some(code), .. } => format!("waiting {}", code.0),
        Event::Closed { code: None, .. } => "closed".into(),
        Event::Closed { code: Some(code), .. } => format!("closed {}", code.0),
        Event::Subscribed { sub, recovered: None } => format!("subscribed {}", sub.get()),
        Event::Subscribed { sub, recovered: Some(recovered) } => {
            format!("subscribed {} recovered {recovered}", sub.get())
        }
        Event::Unsubscribed { sub, code: None, .. } => format!("unsubscribed {}", sub.get()),
        Event::Unsubscribed { sub, code: Some(code), .. } => format!("unsubscribed {} {code}", sub.get()),
        Event::Publication { sub, publication } => format!("got {} {}", sub.get(), text(publication)),
        Event::Acked { id, stale: true, .. } => format!("acked {} as stale", id.get()),
        Event::Acked { id, position: None, .. } => format!("acked {}", id.get()),
        Event::Acked { id, position: Some(at), .. } => {
            format!("acked {} at {}/{}", id.get(), at.epoch, at.offset)
        }
        Event::Failed { subject, failure } => {
            let subject = match subject {
                Subject::Subscription(sub) => format!("subscription {}", sub.get()),
                Subject::Publication(id) => format!("publication {}", id.get()),
                Subject::Request(id) => format!("request {}", id.get()),
                Subject::None => "none".into(),
            };
            let failure = match failure {
                Failure::Refused { code, temporary: true, .. } => format!("{} for now", code.0),
                Failure::Refused { code, .. } => code.0.to_string(),
                Failure::Timeout => "timeout".into(),
                Failure::Lost => "lost".into(),
                Failure::Superseded => "superseded".into(),
                Failure::Closed { sent: true } => "closed, sent".into(),
                Failure::Closed { sent: false } => "closed, not sent".into(),
                other => panic!("{other:?}"),
            };
            format!("failed {subject}: {failure}")
        }
        Event::Gap { sub, reason, from, to, .. } => {
            format!("gap {} {}..{} {reason}", sub.get(), from.unwrap_or(0), to.unwrap_or(0))
        }
        Event::Presence { sub, presence } => format!("presence {} {:?}", sub.get(), presence.action),
        Event::Answered { id, presence: None } => format!("answered {}", id.get()),
        Event::Answered { id, presence: Some(presence) } => {
            format!("answered {} clients {}", id.get(), presence.clients.unwrap_or(0))
        }
        Event::History { id, page } => {
            let texts: Vec<_> =
                page.publications.iter().flat_map(|list| list.iter()).map(|it| text(&it)).collect();
            let (epoch, top) = (page.epoch.unwrap_or("none"), page.offset.unwrap_or(0));
            format!("history {} of {epoch}/{top}: {}", id.get(), texts.join(" "))
        }
        Event::Pong { after_ms } => format!("pong after {after_ms}"),
        other => panic!("{other:?}"),
    }
}

/// One line for a frame that clients send.
pub fn frame_line(frame: &Frame<'_>) -> String {
    match frame {
        Frame::Connect(connect) => match connect.token {
            None => "connect".into(),
            Some(token) => format!("connect {token}"),
        },
        Frame::Subscribe(s) => match (s.recover, s.latest) {
            (None, None) => format!("subscribe {} {}", s.id, s.channel),
            (Some(at), _) => format!("subscribe {} {} after {}/{}", s.id, s.channel, at.epoch, at.offset),
            (None, Some(latest)) => format!("subscribe {} {} latest {latest}", s.id, s.channel),
        },
        Frame::Unsubscribe(u) => format!("unsubscribe {}", u.channel),
        Frame::Publish(p) => format!("publish {} {} {}", p.id.unwrap_or(0), p.channel, text(p)),
        Frame::Presence(p) => {
            let data = p.data.map_or(String::new(), |data| format!(" {:02x?}", data.as_bytes()));
            format!("{:?} {} {}{data}", p.action, p.id, p.channel).to_lowercase()
        }
        Frame::History(q) => {
            let since = q.since.map_or(String::new(), |at| format!(" after {}/{}", at.epoch, at.offset));
            let limit = q.limit.map_or(String::new(), |limit| format!(" limit {limit}"));
            let reverse = if q.reverse == Some(true) { " reverse" } else { "" };
            format!("history {} {}{since}{limit}{reverse}", q.id, q.channel.unwrap_or(""))
        }
        Frame::Ping { .. } => "ping".into(),
        Frame::Pong { timestamp } => format!("pong {}", timestamp.unwrap_or(0)),
        other => panic!("clients do not send {other:?}"),
    }
}

/// The frames of one transport message, one line each.
pub fn frame_lines(message: &[u8]) -> Vec<String> {
    let (mut bytes, mut lines) = (message, vec![]);
    while let Split::Frame { map, rest } = wire::split(bytes, bytes.len()) {
        lines.push(frame_line(&wire::decode(map).expect("what a client sends is well formed")));
        bytes = rest;
    }
    assert!(bytes.is_empty() && !lines.is_empty(), "a message holds whole frames and at least one");
    lines
}

fn text(publish: &Publish<'_>) -> String {
    let mut payload = vec![];
    publish.payload.append_to(&mut payload);
    String::from_utf8_lossy(&payload).into_owned()
}

pub fn connected() -> Frame<'static> {
    Frame::Connected(Connected { connection_id: "c1", version: 1, heartbeat: 30_000, ..Connected::default() })
}

pub fn ack(id: u64) -> Frame<'static> {
    Frame::Ack(wire::Ack { id, ..wire::Ack::default() })
}

pub fn error(id: u64, code: u16, temporary: bool) -> Frame<'static> {
    let temporary = temporary.then_some(true);
    Frame::Error(wire::ErrorFrame { id, code, message: "no", temporary })
}

pub fn disconnect(code: u16, retry_ms: Option<u64>) -> Frame<'static> {
    Frame::Disconnect(wire::Disconnect { code, reason: "because", retry_ms })
}

pub fn publication<'a>(channel: &'a str, payload: &'a str, offset: Option<u64>) -> Frame<'a> {
    let payload = Payload::from(payload.as_bytes());
    Frame::Publish(Publish { channel, payload, offset, ..Publish::default() })
}

pub fn encode(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut bytes = vec![];
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    bytes
}

/// A small generator for tests that choose at random.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn roll(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * bound as u128) >> 64) as usize
    }
}
