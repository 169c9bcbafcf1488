//! From a [`Frame`] to bytes: the length prefix, then a map with `type` first and the keys that are there, in the order
//! of the frame table, every number and string in its shortest format.
//!
//! Encoding checks nothing: what it is given is the caller's, and a caller that keeps its limits cannot go wrong.

use alloc::vec::Vec;

use super::mp::{fixstr, length, put_bin_head, put_str, put_uint};
use super::value::Member;
use super::{
    Ack, Connect, Connected, Disconnect, ErrorFrame, Format, Frame, Gap, History, List, Members, PREFIX,
    Payload, Point, Presence, PresenceAction, Publications, Publish, Refresh, Subscribe, Tags, Unsubscribe,
    Unsubscribed, Value,
};

/// A key with its head, as bytes that stand in the program.
macro_rules! key {
    ($name:expr) => {{
        const KEY: [u8; $name.len() + 1] = fixstr($name);
        &KEY
    }};
}

/// The pair that every frame's map begins with.
macro_rules! head {
    ($name:literal) => {{
        const NAME: [u8; $name.len() + 1] = fixstr($name);
        const HEAD: [u8; 10 + NAME.len()] = join(&NAME);
        &HEAD
    }};
}

impl Frame<'_> {
    /// Appends the frame to `out`, its length prefix first.
    ///
    /// ```
    /// use pulse_core::wire::Frame;
    /// let mut out = Vec::new();
    /// Frame::Ping { timestamp: None }.encode(&mut out);
    /// assert_eq!(out, b"\0\0\0\x0b\x81\xa4type\xa4ping");
    /// ```
    ///
    /// # Panics
    /// If the frame is longer than 4 GiB.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Connect(frame) => frame.encode(out),
            Self::Connected(frame) => frame.encode(out),
            Self::Subscribe(frame) => frame.encode(out),
            Self::Unsubscribe(frame) => frame.encode(out),
            Self::Unsubscribed(frame) => frame.encode(out),
            Self::Publish(frame) => frame.encode(out),
            Self::History(frame) => frame.encode(out),
            Self::Gap(frame) => frame.encode(out),
            Self::Presence(frame) => frame.encode(out),
            Self::Refresh(frame) => frame.encode(out),
            Self::Ack(frame) => frame.encode(out),
            Self::Error(frame) => frame.encode(out),
            Self::Disconnect(frame) => frame.encode(out),
            Self::Ping { timestamp } => beat(out, head!("ping"), *timestamp),
            Self::Pong { timestamp } => beat(out, head!("pong"), *timestamp),
        }
    }
}

/// What every frame begins with: its length and the map's head, both still to be filled in, and the pair of `type`.
const fn join<const N: usize>(name: &[u8]) -> [u8; N] {
    let start = *b"\0\0\0\0\x80\xa4type";
    assert!(start.len() + name.len() == N, "the type's name follows");
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = if at < start.len() { start[at] } else { name[at - start.len()] };
        at += 1;
    }
    bytes
}

/// Writes the keys of `item` that have a value.
macro_rules! puts {
    ($map:ident, $item:expr, $($key:ident),*) => {
        $($item.$key.put(key!(stringify!($key)), &mut $map);)*
    };
}

/// Writes `encode` for a frame: the keys in this order, those with a value only.
macro_rules! frames {
    ($($Frame:ident $name:literal { $($key:ident),* })*) => {$(
        impl $Frame<'_> {
            /// Appends the frame to `out`, its length prefix first.
            ///
            /// # Panics
            /// If the frame is longer than 4 GiB.
            pub fn encode(&self, out: &mut Vec<u8>) {
                // Once and for the most that it may take, so that nothing below has to grow the buffer.
                out.reserve(head!($name).len() $(+ stringify!($key).len() + 1 + self.$key.room())*);
                let mut map = Map::open(out, head!($name));
                puts!(map, self, $($key),*);
                map.close();
            }
        }
    )*};
}

frames! {
    Connect "connect" { version, token, name, features }
    Connected "connected" { connection_id, version, heartbeat, features, user, expires_at }
    Subscribe "subscribe" { id, channel, token, recover, latest }
    Unsubscribe "unsubscribe" { id, channel }
    Unsubscribed "unsubscribed" { channel, code, reason }
    Publish "publish" {
        id, channel, event, payload, format, key, idempotency_key, tags, offset, time, client, user
    }
    History "history" { id, channel, since, limit, reverse, epoch, offset, publications }
    Gap "gap" { channel, reason, from, to, count }
    Presence "presence" { id, channel, action, data, client, user, members, clients, users, changes }
    Refresh "refresh" { id, token }
    Ack "ack" { id, epoch, offset, recovered, reason }
    ErrorFrame "error" { id, code, message, temporary }
    Disconnect "disconnect" { code, reason, retry_ms }
}

fn beat(out: &mut Vec<u8>, head: &[u8], timestamp: Option<u64>) {
    out.reserve(head.len() + key!("timestamp").len() + timestamp.room());
    let mut map = Map::open(out, head);
    timestamp.put(key!("timestamp"), &mut map);
    map.close();
}

/// A publication as an item of a history page.
pub(super) fn publication(item: &Publish<'_>, out: &mut Vec<u8>) {
    let mut map = Map::inner(out);
    puts!(map, item, id, event, payload, format, key, idempotency_key, tags, offset, time, client, user);
    map.close_inner();
}

/// A member as an item of a presence frame.
pub(super) fn member(item: &Member<'_>, out: &mut Vec<u8>) {
    let mut map = Map::inner(out);
    puts!(map, item, action, client, user, data);
    map.close_inner();
}

/// A map of at most 15 pairs that is being written: its head is one byte, so pairs may be counted on the way.
struct Map<'o> {
    out: &'o mut Vec<u8>,
    /// Where the length prefix, or an inner map's head, stands in `out`.
    start: usize,
    /// The map's head as it has to be so far.
    head: u8,
}

impl<'o> Map<'o> {
    #[inline]
    fn open(out: &'o mut Vec<u8>, head: &[u8]) -> Self {
        let start = out.len();
        out.extend_from_slice(head);
        Self { out, start, head: 0x81 }
    }

    fn inner(out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        out.push(0x80);
        Self { out, start, head: 0x80 }
    }

    #[inline]
    fn key(&mut self, key: &[u8]) -> &mut Vec<u8> {
        self.out.extend_from_slice(key);
        self.head += 1;
        self.out
    }

    /// Fills in the length prefix and the map's head.
    #[inline]
    fn close(self) {
        let len = length(self.out.len() - self.start - PREFIX).to_be_bytes();
        let [a, b, c, d] = len;
        if let Some(start) = self.out[self.start..].first_chunk_mut() {
            *start = [a, b, c, d, self.head];
        }
    }

    fn close_inner(self) {
        self.out[self.start] = self.head;
    }
}

/// What the value of a key can be.
trait Put {
    /// How many bytes it may take at most, without its key.
    fn room(&self) -> usize;
    /// Writes key and value, or nothing if there is no value.
    fn put(&self, key: &[u8], map: &mut Map<'_>);
}

impl<T: Put> Put for Option<T> {
    #[inline]
    fn room(&self) -> usize {
        self.as_ref().map_or(0, Put::room)
    }

    #[inline]
    fn put(&self, key: &[u8], map: &mut Map<'_>) {
        if let Some(value) = self {
            value.put(key, map);
        }
    }
}

/// The most that the head of a value takes.
const HEAD: usize = 9;

/// Writes `Put` for a type: how much room beside its head, and how its value is written.
macro_rules! values {
    ($($Type:ty: |$value:ident| $room:expr, |$out:ident| $put:expr;)*) => {$(
        impl Put for $Type {
            #[inline]
            fn room(&self) -> usize {
                let $value = self;
                HEAD + $room
            }

            #[inline]
            fn put(&self, key: &[u8], map: &mut Map<'_>) {
                let $value = self;
                let $out = map.key(key);
                $put;
            }
        }
    )*};
}

values! {
    &str: |text| text.len(), |out| put_str(out, text);
    u64: |_number| 0, |out| put_uint(out, *_number);
    u16: |_number| 0, |out| put_uint(out, u64::from(*_number));
    bool: |_value| 0, |out| out.push(0xc2 | u8::from(*_value));
    PresenceAction: |_action| 0, |out| out.push(*_action as u8);
    Payload<'_>: |payload| payload.len(), |out| { put_bin_head(out, payload.len()); payload.append_to(out) };
    Value<'_>: |value| value.as_bytes().len(), |out| out.extend_from_slice(value.as_bytes());
    List<'_>: |list| list.as_bytes().len(), |out| out.extend_from_slice(list.as_bytes());
    Tags<'_>: |tags| tags.as_bytes().len(), |out| out.extend_from_slice(tags.as_bytes());
    Publications<'_>: |list| list.as_bytes().len(), |out| out.extend_from_slice(list.as_bytes());
    Members<'_>: |list| list.as_bytes().len(), |out| out.extend_from_slice(list.as_bytes());
    Point<'_>: |point| POINT + point.epoch.len(), |out| {
        out.extend_from_slice(b"\x82\xa5epoch");
        put_str(out, point.epoch);
        out.extend_from_slice(b"\xa6offset");
        put_uint(out, point.offset);
    };
}

/// The heads, keys and number of a [`Point`].
const POINT: usize = 32;

/// Absent on the wire when it is raw.
impl Put for Format {
    #[inline]
    fn room(&self) -> usize {
        HEAD
    }

    #[inline]
    fn put(&self, key: &[u8], map: &mut Map<'_>) {
        match self {
            Self::Raw => {}
            Self::Json => map.key(key).extend_from_slice(key!("json")),
            Self::MsgPack => map.key(key).extend_from_slice(key!("msgpack")),
        }
    }
}
