//! From a [`Frame`] to a line: `type` first and the keys that are there, in the order in which the MessagePack encoder
//! writes them, without white space, and the end of the line.
//!
//! Encoding checks payloads, for they have to be JSON to be embedded, and nothing else: what it is given is the caller's.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::show::{boolean, json, msgpack, print};
use super::{base64, text};
use crate::wire::{
    Format, Frame, List, MAX_DEPTH, MAX_VALUE_DEPTH, Member, Members, Point, PresenceAction, Publications,
    Publish, Tags, Value,
};

/// Writes the keys of `item` that have a value.
macro_rules! puts {
    ($out:ident, $item:expr, $($key:ident),*) => {
        $($item.$key.put(concat!("\"", stringify!($key), "\":"), $out);)*
    };
}

/// Appends the frame as one JSON object and `\n`. The line has no other end of line in it and is always UTF-8.
///
/// ```
/// use pulse_core::wire::{Format, Frame, Payload, Publish, json};
/// let payload = Payload::from(&b"{\"text\": \"hi\"}"[..]);
/// let mut out = Vec::new();
/// json::encode(
///     &Frame::Publish(Publish { channel: "chat", payload, format: Format::Json, ..Publish::default() }),
///     &mut out,
/// );
/// assert_eq!(
///     out.escape_ascii().to_string().replace('\\', ""),
///     r#"{"type":"publish","channel":"chat","payload":{"text": "hi"},"format":"json"}n"#,
/// );
/// ```
pub fn encode(frame: &Frame<'_>, out: &mut Vec<u8>) {
    /// The frame's type and these keys.
    macro_rules! line {
        ($name:literal, $frame:expr, $($key:ident),*) => {{
            out.extend_from_slice(concat!("{\"type\":\"", $name, "\"").as_bytes());
            puts!(out, $frame, $($key),*);
        }};
    }

    match frame {
        Frame::Connect(frame) => line!("connect", frame, version, token, name, features),
        Frame::Connected(frame) => {
            line!("connected", frame, connection_id, version, heartbeat, features, user, expires_at);
        }
        Frame::Subscribe(frame) => line!("subscribe", frame, id, channel, token, recover, latest),
        Frame::Unsubscribe(frame) => line!("unsubscribe", frame, id, channel),
        Frame::Unsubscribed(frame) => line!("unsubscribed", frame, channel, code, reason),
        Frame::Publish(frame) => {
            line!("publish", frame, id, channel, event);
            published(frame, 1, out);
        }
        Frame::History(frame) => {
            line!("history", frame, id, channel, since, limit, reverse, epoch, offset, publications);
        }
        Frame::Gap(frame) => line!("gap", frame, channel, reason, from, to, count),
        Frame::Presence(frame) => {
            line!(
                "presence", frame, id, channel, action, data, client, user, members, clients, users, changes,
                after, limit, next
            );
        }
        Frame::Refresh(frame) => line!("refresh", frame, id, token),
        Frame::Ack(frame) => line!("ack", frame, id, epoch, offset, recovered, reason, stale, sparse),
        Frame::Error(frame) => line!("error", frame, id, code, message, temporary),
        Frame::Disconnect(frame) => line!("disconnect", frame, code, reason, retry_ms),
        Frame::Ping { timestamp } => line!("ping", Beat { timestamp }, timestamp),
        Frame::Pong { timestamp } => line!("pong", Beat { timestamp }, timestamp),
    }
    out.extend_from_slice(b"}\n");
}

/// What `ping` and `pong` have in common.
struct Beat<'a> {
    timestamp: &'a Option<u64>,
}

/// The keys of a publication from its payload on, within `open` arrays and objects.
fn published(publish: &Publish<'_>, open: usize, out: &mut Vec<u8>) {
    let Publish { payload, format, .. } = publish;
    let bytes = match payload.as_bytes() {
        Some(bytes) => Cow::Borrowed(bytes),
        None => {
            let mut bytes = Vec::with_capacity(payload.len());
            payload.append_to(&mut bytes);
            Cow::Owned(bytes)
        }
    };
    let start = out.len();
    key("\"payload\":", out);
    let said = match format {
        Format::Raw => false,
        Format::Json => json(&bytes, open, out),
        Format::MsgPack => msgpack(&bytes, open, out),
    };
    if !said {
        out.truncate(start);
        binary("\"payload_b64\":", &bytes, out);
    }
    puts!(out, publish, format, key, version, idempotency_key, tags, offset, time, client, user);
}

/// Begins a pair; `name` has its quotes and its colon.
#[inline]
fn key(name: &str, out: &mut Vec<u8>) {
    separate(b'{', out);
    out.extend_from_slice(name.as_bytes());
}

/// A comma, unless nothing was written since the `opening`.
#[inline]
fn separate(opening: u8, out: &mut Vec<u8>) {
    if out.last() != Some(&opening) {
        out.push(b',');
    }
}

fn binary(name: &str, bytes: &[u8], out: &mut Vec<u8>) {
    key(name, out);
    out.push(b'"');
    base64::encode(bytes, out);
    out.push(b'"');
}

/// What the value of a key can be.
trait Put {
    /// Writes the pair, or nothing if there is no value.
    fn put(&self, name: &str, out: &mut Vec<u8>);
}

impl<T: Put> Put for Option<T> {
    #[inline]
    fn put(&self, name: &str, out: &mut Vec<u8>) {
        if let Some(value) = self {
            value.put(name, out);
        }
    }
}

impl<T: Put> Put for &T {
    #[inline]
    fn put(&self, name: &str, out: &mut Vec<u8>) {
        (*self).put(name, out);
    }
}

/// Writes `Put` for a type: how its value is written behind the key.
macro_rules! values {
    ($($Type:ty: |$value:ident, $out:ident| $put:expr;)*) => {$(
        impl Put for $Type {
            fn put(&self, name: &str, $out: &mut Vec<u8>) {
                key(name, $out);
                let $value = self;
                $put;
            }
        }
    )*};
}

values! {
    &str: |string, out| text::put(string, out);
    u64: |number, out| print(format_args!("{number}"), out);
    u16: |number, out| print(format_args!("{number}"), out);
    bool: |value, out| boolean(*value, out);
    PresenceAction: |action, out| out.push(b'0' + *action as u8);
    List<'_>: |list, out| array(list.iter(), out, text::put);
    Publications<'_>: |page, out| array(page.iter(), out, |item, out| publication(&item, out));
    Members<'_>: |members, out| array(members.iter(), out, |member, out| item(&member, out));
    Point<'_>: |point, out| {
        out.push(b'{');
        puts!(out, point, epoch, offset);
        out.push(b'}');
    };
    Tags<'_>: |tags, out| {
        out.push(b'{');
        for (name, value) in tags.iter() {
            separate(b'{', out);
            text::put(name, out);
            out.push(b':');
            text::put(value, out);
        }
        out.push(b'}');
    };
}

fn array<T>(items: impl Iterator<Item = T>, out: &mut Vec<u8>, mut put: impl FnMut(T, &mut Vec<u8>)) {
    out.push(b'[');
    for item in items {
        separate(b'[', out);
        put(item, out);
    }
    out.push(b']');
}

/// A publication as an item of a history page.
fn publication(item: &Publish<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    puts!(out, item, id, event);
    published(item, 3, out);
    out.push(b'}');
}

/// A member as an item of a presence frame.
fn item(member: &Member<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    puts!(out, member, action, client, user, data);
    out.push(b'}');
}

/// Absent when it is raw.
impl Put for Format {
    fn put(&self, name: &str, out: &mut Vec<u8>) {
        match self {
            Self::Raw => {}
            Self::Json => "json".put(name, out),
            Self::MsgPack => "msgpack".put(name, out),
        }
    }
}

/// The key of a value is always `data`. It may stand in the deepest place that a frame has for one, wherever it does.
impl Put for Value<'_> {
    fn put(&self, name: &str, out: &mut Vec<u8>) {
        let start = out.len();
        key(name, out);
        if !msgpack(self.as_bytes(), MAX_DEPTH - MAX_VALUE_DEPTH, out) {
            out.truncate(start);
            binary("\"data_b64\":", self.as_bytes(), out);
        }
    }
}
