//! From a [`Frame`] to bytes: the length prefix, then a map with `type` first and the keys that are there, in the order
//! of the frame table, every number and string in its shortest format.
//!
//! Encoding checks nothing: what it is given is the caller's, and a caller that keeps its limits cannot go wrong.
//! Publications and acks are nearly all that is ever encoded, so the two have a way of their own up to the keys that
//! they rarely have: a block of known size in place of a growing buffer.

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

/// The most that the keys of `item` that have a value may take.
macro_rules! room {
    ($item:expr, $($key:ident),*) => {
        0 $(+ stringify!($key).len() + 1 + $item.$key.room())*
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
                out.reserve(head!($name).len() + room!(self, $($key),*));
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
    History "history" { id, channel, since, limit, reverse, epoch, offset, publications }
    Gap "gap" { channel, reason, from, to, count }
    Presence "presence" {
        id, channel, action, data, client, user, members, clients, users, changes, after, limit, next
    }
    Refresh "refresh" { id, token }
    ErrorFrame "error" { id, code, message, temporary }
    Disconnect "disconnect" { code, reason, retry_ms }
}

impl Publish<'_> {
    /// Appends the frame to `out`, its length prefix first.
    ///
    /// # Panics
    /// If the frame is longer than 4 GiB.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        let event = self.event.unwrap_or_default();
        if self.channel.len().max(event.len()) > SHORT {
            return self.encode_long(out);
        }
        let start = out.len();
        let plain = self.is_plain();
        // Once and for the most that it may take, so that nothing below has to grow the buffer.
        out.reserve(HOT + self.payload.len() + if plain { 0 } else { self.room_behind() });
        let mut block = Block::<HOT>::open(out, head!("publish"));
        if let Some(id) = self.id {
            block.key(key!("id"));
            block.uint(id);
        }
        block.key(key!("channel"));
        block.short_str(self.channel);
        if self.event.is_some() {
            block.key(key!("event"));
            block.short_str(event);
        }
        block.key(key!("payload"));
        block.bin_head(self.payload.len());
        let (len, head) = block.close(self.payload.len());
        out.truncate(start + len);
        self.payload.append_to(out);
        if !plain {
            self.finish(Map { out, start, head });
        }
    }

    /// Whether it has none of the keys behind the payload.
    #[inline]
    fn is_plain(&self) -> bool {
        // No `&&`: eight tests without a branch cost less than eight branches.
        (self.format == Format::Raw)
            & self.key.is_none()
            & self.version.is_none()
            & self.idempotency_key.is_none()
            & self.tags.is_none()
            & self.offset.is_none()
            & self.time.is_none()
            & self.client.is_none()
            & self.user.is_none()
    }

    /// What the keys behind the payload may take.
    #[inline(never)]
    fn room_behind(&self) -> usize {
        room!(self, format, key, version, idempotency_key, tags, offset, time, client, user)
    }

    /// Writes the keys behind the payload.
    #[inline(never)]
    fn finish(&self, mut map: Map<'_>) {
        puts!(map, self, format, key, version, idempotency_key, tags, offset, time, client, user);
        map.close();
    }

    #[inline(never)]
    fn encode_long(&self, out: &mut Vec<u8>) {
        let strings = self.channel.len() + self.event.room();
        out.reserve(HOT + strings + self.payload.len() + self.room_behind());
        let mut map = Map::open(out, head!("publish"));
        puts!(map, self, id, channel, event, payload);
        self.finish(map);
    }
}

impl Ack<'_> {
    /// Appends the frame to `out`, its length prefix first.
    ///
    /// # Panics
    /// If the frame is longer than 4 GiB.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let plain = self.epoch.is_none()
            & self.offset.is_none()
            & self.recovered.is_none()
            & self.reason.is_none()
            & self.stale.is_none()
            & self.sparse.is_none();
        if !plain {
            out.reserve(HOT_ACK + room!(self, epoch, offset, recovered, reason, stale, sparse));
        }
        let mut block = Block::<HOT_ACK>::open(out, head!("ack"));
        block.key(key!("id"));
        block.uint(self.id);
        let (len, head) = block.close(0);
        out.truncate(start + len);
        if !plain {
            self.finish(Map { out, start, head });
        }
    }

    /// Writes the keys behind the id.
    #[inline(never)]
    fn finish(&self, mut map: Map<'_>) {
        puts!(map, self, epoch, offset, recovered, reason, stale, sparse);
        map.close();
    }
}

/// The longest string whose head is one byte.
const SHORT: usize = 31;

/// The blocks of a publication and of an ack: the most that they take up to the payload, with short strings, or up to the
/// id, is 121 and 27 bytes.
const HOT: usize = 128 + SHORT + 1;
const HOT_ACK: usize = 32 + SHORT + 1;

/// The beginning of a frame, less than `N` bytes by so many as one write may take. They are all there at once, so that a
/// write is a store of a size and at a place that need no check at run time; the owner cuts off what was not needed.
struct Block<'o, const N: usize> {
    bytes: &'o mut [u8; N],
    at: usize,
    /// The map's head as it has to be so far.
    head: u8,
}

impl<'o, const N: usize> Block<'o, N> {
    /// Never reached by `at`: so it may be cut to its low bits, which shows that what follows is within the block.
    const END: usize = {
        let end = N - SHORT - 1;
        assert!(end.is_power_of_two());
        end
    };

    #[inline]
    fn open<const M: usize>(out: &'o mut Vec<u8>, head: &[u8; M]) -> Self {
        out.extend_from_slice(&[0; N]);
        let bytes = out.last_chunk_mut().expect("as many bytes were just appended");
        let mut block = Self { bytes, at: 0, head: 0x81 };
        block.put(head);
        block
    }

    #[inline]
    fn put<const M: usize>(&mut self, bytes: &[u8; M]) {
        let at = self.at & (Self::END - 1);
        self.bytes[at..at + M].copy_from_slice(bytes);
        self.at += M;
    }

    #[inline]
    fn key<const M: usize>(&mut self, key: &[u8; M]) {
        self.put(key);
        self.head += 1;
    }

    #[inline]
    fn uint(&mut self, number: u64) {
        match number {
            0..=0x7f => self.put(&[number as u8]),
            0x80..=0xff => self.put(&[0xcc, number as u8]),
            0x100..=0xffff => self.put_head(0xcd, (number as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.put_head(0xce, (number as u32).to_be_bytes()),
            _ => self.put_head(0xcf, number.to_be_bytes()),
        }
    }

    #[inline]
    fn bin_head(&mut self, len: usize) {
        match len {
            0..=0xff => self.put(&[0xc4, len as u8]),
            0x100..=0xffff => self.put_head(0xc5, (len as u16).to_be_bytes()),
            _ => self.put_head(0xc6, length(len).to_be_bytes()),
        }
    }

    #[inline]
    fn put_head<const M: usize>(&mut self, head: u8, number: [u8; M]) {
        self.put(&[head]);
        self.put(&number);
    }

    /// A string of at most [`SHORT`] bytes.
    #[inline]
    fn short_str(&mut self, text: &str) {
        self.put(&[0xa0 | text.len() as u8]);
        let at = self.at & (Self::END - 1);
        if let Some(to) = self.bytes[at..].first_chunk_mut() {
            copy_short(to, text.as_bytes());
        }
        self.at += text.len();
    }

    /// Fills in the length prefix, as if `more` bytes followed, and the map's head. Returns how many bytes are in use,
    /// and the head.
    #[inline]
    fn close(self, more: usize) -> (usize, u8) {
        debug_assert!(self.at < Self::END, "a block has room for all short keys and values");
        let [a, b, c, d] = length(self.at - PREFIX + more).to_be_bytes();
        self.bytes[..=PREFIX].copy_from_slice(&[a, b, c, d, self.head]);
        (self.at, self.head)
    }
}

/// Copies up to [`SHORT`] bytes. Two copies of fixed size that overlap take less time than the call that a copy of any
/// size is.
#[inline]
fn copy_short(to: &mut [u8; SHORT + 1], from: &[u8]) {
    // The likely lengths first.
    let len = from.len();
    if len >= 8 {
        if len < 16 { overlap::<8>(to, from) } else { overlap::<16>(to, from) }
    } else if len >= 4 {
        overlap::<4>(to, from);
    } else if len >= 2 {
        overlap::<2>(to, from);
    } else {
        to[..len].copy_from_slice(from);
    }
}

/// Copies the first `N` bytes and the last `N`: all of them if there are `N` to twice as many.
#[inline]
fn overlap<const N: usize>(to: &mut [u8; SHORT + 1], from: &[u8]) {
    to[..N].copy_from_slice(&from[..N]);
    let at = from.len() - N;
    to[at..at + N].copy_from_slice(&from[at..]);
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
    puts!(
        map,
        item,
        id,
        event,
        payload,
        format,
        key,
        version,
        idempotency_key,
        tags,
        offset,
        time,
        client,
        user
    );
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

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use alloc::vec;

    #[test]
    fn the_short_way_for_publications_writes_what_the_long_one_does() {
        let text = "0123456789abcdefghijklmnopqrstuvwxyz";
        let payload = vec![7; 70_000];
        for channel in (0..=36).map(|len| &text[..len]) {
            for event in [
                None,
                Some(""),
                Some("e"),
                Some("abc"),
                Some(&text[..7]),
                Some(&text[..31]),
                Some(&text[..32]),
            ] {
                for id in [None, Some(1), Some(200), Some(1 << 12), Some(1 << 20), Some(1 << 40)] {
                    for len in [0, 255, 256, 70_000] {
                        let plain = Publish {
                            id,
                            channel,
                            event,
                            payload: payload[..len].into(),
                            ..Publish::default()
                        };
                        for publish in [plain, Publish { format: Format::Json, user: Some("u"), ..plain }] {
                            let (mut short, mut long) = (vec![1, 2, 3], vec![1, 2, 3]);
                            publish.encode(&mut short);
                            publish.encode_long(&mut long);
                            assert!(
                                short == long,
                                "channel {channel:?}, event {event:?}, id {id:?}, {len} bytes"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_ack_has_room_for_every_id_and_every_other_key() {
        for id in [0, 127, 128, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            let full = Ack {
                id,
                epoch: Some("e"),
                offset: Some(9),
                recovered: Some(true),
                reason: Some("r"),
                stale: Some(true),
                sparse: Some(true),
            };
            for ack in [Ack { id, ..Ack::default() }, full] {
                let mut expected = head!("ack").to_vec();
                let mut map = Map { out: &mut expected, start: 0, head: 0x81 };
                puts!(map, ack, id);
                ack.finish(map);
                let mut bytes = vec![];
                ack.encode(&mut bytes);
                assert_eq!(bytes, expected);
            }
        }
    }
}
