//! From bytes to a [`Frame`]: one pass over the map when `type` comes first, as it does from every encoder of ours, and
//! a look ahead for it otherwise.
//!
//! Publications are nearly all that a server decodes; those whose keys come as our encoders write them are read without
//! a loop over keys. Whatever is not like that, right or wrong, takes the way of all frames.
//!
//! The pass stops at the first trouble. Whether that makes the frame malformed or invalid is judged afterwards, over the
//! whole map, so that the verdict does not depend on the order of keys.

use super::error::{DecodeError, Fault, Invalid, Malformed, What, missing, repeated, wrong};
use super::mp::{Reader, Token, whole};
use super::value::Member;
use super::{
    Ack, Connect, Connected, Disconnect, ErrorFrame, Format, Frame, Gap, History, List, Members, Payload,
    Point, Presence, PresenceAction, Publications, Publish, Refresh, Subscribe, Tags, Unsubscribe,
    Unsubscribed, Value,
};

/// Decodes one frame: `map` is what follows the length prefix. Borrows from it and allocates nothing.
///
/// # Errors
/// [`DecodeError::Malformed`] if the bytes do not begin with a well-formed map, [`DecodeError::Invalid`] if the map is
/// no frame of this protocol or bytes follow it.
///
/// ```
/// use pulse_core::wire::{Frame, decode};
/// assert_eq!(decode(b"\x81\xa4type\xa4ping"), Ok(Frame::Ping { timestamp: None }));
/// ```
#[inline]
pub fn decode(map: &[u8]) -> Result<Frame<'_>, DecodeError> {
    if let Some(publish) = usual_publish(map) {
        return Ok(Frame::Publish(publish));
    }
    frame(map).map_err(|fault| judge(map, fault))
}

/// A publication with the usual keys in the usual order: an id or none, the channel, an event or none, the payload.
/// `None` says nothing about the frame.
#[inline]
fn usual_publish(map: &[u8]) -> Option<Publish<'_>> {
    let (&[head, ref pair @ ..], rest) = map.split_first_chunk::<14>()?;
    if pair != b"\xa4type\xa7publish" {
        return None;
    }
    let mut reader = Reader::new(rest);
    let mut publish = Publish::default();
    let mut pairs = 0x83;
    if reader.pass(b"\xa2id") {
        pairs += 1;
        publish.id = Some(uint(&mut reader, "id").ok()??);
    }
    if !reader.pass(b"\xa7channel") {
        return None;
    }
    publish.channel = core::str::from_utf8(reader.short_str()?).ok()?;
    if reader.pass(b"\xa5event") {
        pairs += 1;
        publish.event = Some(core::str::from_utf8(reader.short_str()?).ok()?);
    }
    if !reader.pass(b"\xa7payload") {
        return None;
    }
    publish.payload = reader.bin()?.into();
    (head == pairs && reader.rest().is_empty()).then_some(publish)
}

#[inline(never)]
fn frame(map: &[u8]) -> Result<Frame<'_>, Fault> {
    let mut reader = Reader::new(map);
    let mut pairs = map_head(&mut reader)?;
    let mut ahead = reader;
    let mut seen = 0;
    let name = if pairs > 0 && key(&mut ahead, 1)? == b"type" {
        reader = ahead;
        pairs -= 1;
        seen = TYPE;
        type_name(&mut reader)?
    } else {
        find_type(reader, pairs)?
    };
    let fields = Fields { reader: &mut reader, pairs, seen };
    let frame = match name {
        b"publish" => Frame::Publish(publish(fields)?),
        b"ack" => Frame::Ack(ack(fields)?),
        b"ping" => Frame::Ping { timestamp: beat(fields)?.timestamp },
        b"pong" => Frame::Pong { timestamp: beat(fields)?.timestamp },
        b"subscribe" => Frame::Subscribe(subscribe(fields)?),
        b"unsubscribe" => Frame::Unsubscribe(unsubscribe(fields)?),
        b"unsubscribed" => Frame::Unsubscribed(unsubscribed(fields)?),
        b"presence" => Frame::Presence(presence(fields)?),
        b"history" => Frame::History(history(fields)?),
        b"error" => Frame::Error(error(fields)?),
        b"connect" => Frame::Connect(connect(fields)?),
        b"connected" => Frame::Connected(connected(fields)?),
        b"gap" => Frame::Gap(gap(fields)?),
        b"refresh" => Frame::Refresh(refresh(fields)?),
        b"disconnect" => Frame::Disconnect(disconnect(fields)?),
        _ => return Err(Fault::What(What::UnknownType)),
    };
    if reader.rest().is_empty() { Ok(frame) } else { Err(Fault::What(What::TrailingBytes)) }
}

/// The verdict on a frame in which trouble was found: malformed if any of its map is, else invalid under its id.
#[cold]
#[inline(never)]
fn judge(map: &[u8], fault: Fault) -> DecodeError {
    match (identify(map), fault) {
        (Err(malformed), _) | (_, Fault::Malformed(malformed)) => DecodeError::Malformed(malformed),
        (Ok(id), Fault::What(what)) => DecodeError::Invalid(Invalid { id, what }),
    }
}

/// Passes over the whole map; its id, or 0 if there is none, it is out of range or there are several.
fn identify(map: &[u8]) -> Result<u64, Malformed> {
    let mut reader = Reader::new(map);
    let pairs = map_head(&mut reader)?;
    let mut id = None;
    for _ in 0..pairs {
        if key(&mut reader, 1)? == b"id" {
            let mut ahead = reader;
            let value = uint(&mut ahead, "id").ok().flatten();
            id = Some(if id.is_none() { value.unwrap_or(0) } else { 0 });
        }
        reader.skip(1)?;
    }
    Ok(id.unwrap_or(0))
}

fn map_head(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    if let Some(pairs) = reader.short_map() {
        return Ok(pairs);
    }
    let mut ahead = *reader;
    match ahead.token()? {
        Token::Map(pairs) => {
            *reader = ahead;
            Ok(pairs)
        }
        _ => Err(Malformed::NotAMap),
    }
}

/// The value of the first `type` in the map.
#[cold]
#[inline(never)]
fn find_type<'a>(mut reader: Reader<'a>, pairs: u32) -> Result<&'a [u8], Fault> {
    for _ in 0..pairs {
        if key(&mut reader, 1)? == b"type" {
            return type_name(&mut reader);
        }
        reader.skip(1)?;
    }
    Err(missing("type"))
}

fn type_name<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Fault> {
    if let Some(name) = reader.short_str() {
        return Ok(name);
    }
    match reader.token()? {
        Token::Str(name) => Ok(name),
        Token::Nil => Err(missing("type")),
        _ => Err(wrong("type", "a string")),
    }
}

/// The next key of a map that stands within `open - 1` others. A key that is no string is passed over and comes back
/// empty, which is no key of ours either.
#[inline]
fn key<'a>(reader: &mut Reader<'a>, open: usize) -> Result<&'a [u8], Malformed> {
    match reader.short_str() {
        Some(key) => Ok(key),
        None => unusual_key(reader, open),
    }
}

#[cold]
#[inline(never)]
fn unusual_key<'a>(reader: &mut Reader<'a>, open: usize) -> Result<&'a [u8], Malformed> {
    let start = *reader;
    match reader.token()? {
        Token::Str(key) => Ok(key),
        Token::Array(_) | Token::Map(_) => {
            *reader = start;
            reader.skip(open)?;
            Ok(b"")
        }
        _ => Ok(b""),
    }
}

/// The pairs of a map that are still to be read.
struct Fields<'r, 'a> {
    reader: &'r mut Reader<'a>,
    pairs: u32,
    /// One bit for each known key that was there.
    seen: u32,
}

/// The bit of `type`.
const TYPE: u32 = 1;

/// Writes a function that reads the pairs of one kind of map. `open` counts the map itself and those around it; only the
/// outermost, 1, has a `type`.
macro_rules! fields {
    ($(fn $name:ident($open:literal) -> $Struct:ty { $($key:ident: $kind:path),* } requires [$($required:ident),*];)*) => {$(
        fn $name<'a>(fields: Fields<'_, 'a>) -> Result<$Struct, Fault> {
            #[expect(non_camel_case_types, reason = "they are the keys, for counting bits")]
            enum Bit { r#type, $($key),* }
            const _: () = assert!(1 << Bit::r#type as u32 == TYPE);

            let Fields { reader, pairs, mut seen } = fields;
            let mut given = 0_u32;
            let mut map = <$Struct>::default();
            for _ in 0..pairs {
                let key = key(reader, $open)?;
                $(if key == stringify!($key).as_bytes() {
                    once(&mut seen, 1 << Bit::$key as u32, stringify!($key))?;
                    if let Some(value) = $kind(reader, stringify!($key))? {
                        given |= 1 << Bit::$key as u32;
                        map.$key = value.into();
                    }
                } else)* {
                    if $open == 1 && key == b"type" {
                        once(&mut seen, TYPE, "type")?;
                    }
                    reader.skip($open)?;
                }
            }
            const REQUIRED: u32 = 0 $(| 1 << Bit::$required as u32)*;
            if given | REQUIRED != given {
                return Err(first_missing(given, &[$((1 << Bit::$required as u32, stringify!($required))),*]));
            }
            Ok(map)
        }
    )*};
}

#[inline]
fn once(seen: &mut u32, bit: u32, key: &'static str) -> Result<(), Fault> {
    if *seen & bit != 0 {
        return Err(repeated(key));
    }
    *seen |= bit;
    Ok(())
}

#[cold]
fn first_missing(given: u32, required: &[(u32, &'static str)]) -> Fault {
    missing(required.iter().find(|(bit, _)| given & bit == 0).map_or("", |(_, key)| key))
}

fields! {
    fn connect(1) -> Connect<'a> { version: uint, token: text, name: text, features: List::read } requires [version];
    fn connected(1) -> Connected<'a> {
        connection_id: text, version: uint, heartbeat: uint, features: List::read, user: text, expires_at: uint
    } requires [connection_id, version, heartbeat];
    fn subscribe(1) -> Subscribe<'a> { id: uint, channel: text, token: text, recover: point, latest: uint }
        requires [id, channel];
    fn unsubscribe(1) -> Unsubscribe<'a> { id: uint, channel: text } requires [id, channel];
    fn unsubscribed(1) -> Unsubscribed<'a> { channel: text, code: code, reason: text } requires [channel, code, reason];
    fn publish(1) -> Publish<'a> {
        id: uint, channel: text, payload: Payload::read, event: text, format: format, key: text, version: uint,
        idempotency_key: text,
        tags: Tags::read, offset: uint, time: uint, client: text, user: text
    } requires [channel, payload];
    fn history_map(1) -> History<'a> {
        id: uint, channel: text, since: point, limit: uint, reverse: boolean, epoch: epoch, offset: uint,
        publications: Publications::read
    } requires [id];
    fn gap(1) -> Gap<'a> { channel: text, reason: text, from: uint, to: uint, count: uint } requires [channel, reason];
    fn presence(1) -> Presence<'a> {
        id: uint, channel: text, action: action, data: Value::read, client: text, user: text, members: Members::read,
        clients: uint, users: uint, changes: Members::read, after: text, limit: uint, next: text
    } requires [id, channel, action];
    fn refresh(1) -> Refresh<'a> { id: uint, token: text } requires [id, token];
    fn ack(1) -> Ack<'a> { id: uint, epoch: epoch, offset: uint, recovered: boolean, reason: text, stale: boolean, sparse: boolean }
        requires [id];
    fn error(1) -> ErrorFrame<'a> { id: uint, code: code, message: text, temporary: boolean } requires [id, code, message];
    fn disconnect(1) -> Disconnect<'a> { code: code, reason: text, retry_ms: uint } requires [code, reason];
    fn beat(1) -> Beat { timestamp: uint } requires [];
    fn point_map(2) -> Place<'a> { epoch: epoch, offset: uint } requires [epoch, offset];
    fn publication_map(3) -> Publish<'a> {
        id: uint, payload: Payload::read, event: text, format: format, key: text, version: uint,
        idempotency_key: text,
        tags: Tags::read, offset: uint, time: uint, client: text, user: text
    } requires [payload];
    fn member_map(3) -> Member<'a> { action: action, client: text, user: text, data: Value::read } requires [client];
}

/// What `ping` and `pong` have in common.
#[derive(Default)]
struct Beat {
    timestamp: Option<u64>,
}

/// A [`Point`] on its way: a place has no default, but a map that is still being read has.
#[derive(Default)]
struct Place<'a> {
    epoch: &'a str,
    offset: u64,
}

/// A history frame is a query, which names a channel, or a page.
fn history<'a>(fields: Fields<'_, 'a>) -> Result<History<'a>, Fault> {
    let history = history_map(fields)?;
    if history.channel.is_some() {
        return Ok(history);
    }
    match (history.epoch, history.offset, history.publications) {
        (Some(_), Some(_), Some(_)) => Ok(history),
        (None, None, None) => Err(missing("channel")),
        (None, ..) => Err(missing("epoch")),
        (_, None, _) => Err(missing("offset")),
        (.., None) => Err(missing("publications")),
    }
}

/// A map within others, at the beginning of `reader`. Only for callers that make one fault of all faults.
fn inner<'a, T>(
    reader: &mut Reader<'a>,
    read: impl FnOnce(Fields<'_, 'a>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let pairs = map_head(reader)?;
    read(Fields { reader, pairs, seen: 0 })
}

pub(super) fn publication<'a>(reader: &mut Reader<'a>) -> Result<Publish<'a>, Fault> {
    inner(reader, publication_map)
}

pub(super) fn member<'a>(reader: &mut Reader<'a>) -> Result<Member<'a>, Fault> {
    inner(reader, member_map)
}

fn point<'a>(reader: &mut Reader<'a>, key: &'static str) -> Result<Option<Point<'a>>, Fault> {
    if absent(reader) {
        return Ok(None);
    }
    match inner(reader, point_map) {
        Ok(Place { epoch, offset }) => Ok(Some(Point { epoch, offset })),
        Err(_) => Err(wrong(key, "a map of epoch (a string of at most 16 bytes) and offset (an integer)")),
    }
}

/// Passes over a `nil`.
fn absent(reader: &mut Reader<'_>) -> bool {
    let mut ahead = *reader;
    let absent = matches!(ahead.token(), Ok(Token::Nil));
    if absent {
        *reader = ahead;
    }
    absent
}

#[inline]
pub(super) fn text<'a>(reader: &mut Reader<'a>, key: &'static str) -> Result<Option<&'a str>, Fault> {
    let bytes = match reader.short_str() {
        Some(bytes) => bytes,
        None => match reader.token()? {
            Token::Str(bytes) => bytes,
            Token::Nil => return Ok(None),
            _ => return Err(wrong(key, EXPECTED_TEXT)),
        },
    };
    match core::str::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(wrong(key, EXPECTED_TEXT)),
    }
}

const EXPECTED_TEXT: &str = "a string of UTF-8";

#[inline]
fn uint(reader: &mut Reader<'_>, key: &'static str) -> Result<Option<u64>, Fault> {
    match reader.short_uint() {
        Some(number) => Ok(Some(number)),
        None => long_uint(reader, key),
    }
}

fn long_uint(reader: &mut Reader<'_>, key: &'static str) -> Result<Option<u64>, Fault> {
    match reader.token()? {
        Token::Nil => Ok(None),
        token => whole(token).map(Some).ok_or_else(|| wrong(key, "an integer from 0 to 2^53 - 1")),
    }
}

fn code(reader: &mut Reader<'_>, key: &'static str) -> Result<Option<u16>, Fault> {
    let expected = "an integer from 0 to 65535";
    match uint(reader, key) {
        Ok(Some(number)) => number.try_into().map(Some).map_err(|_| wrong(key, expected)),
        Ok(None) => Ok(None),
        Err(_) => Err(wrong(key, expected)),
    }
}

fn boolean(reader: &mut Reader<'_>, key: &'static str) -> Result<Option<bool>, Fault> {
    match reader.token()? {
        Token::Nil => Ok(None),
        Token::Bool(value) => Ok(Some(value)),
        _ => Err(wrong(key, "true or false")),
    }
}

fn epoch<'a>(reader: &mut Reader<'a>, key: &'static str) -> Result<Option<&'a str>, Fault> {
    match text(reader, key) {
        Ok(Some(epoch)) if epoch.len() > MAX_EPOCH => Err(wrong(key, EXPECTED_EPOCH)),
        Ok(epoch) => Ok(epoch),
        Err(_) => Err(wrong(key, EXPECTED_EPOCH)),
    }
}

/// Bytes of an epoch, at most: what a position costs to keep is known beforehand.
const MAX_EPOCH: usize = 16;
const EXPECTED_EPOCH: &str = "a string of at most 16 bytes of UTF-8";

fn format(reader: &mut Reader<'_>, key: &'static str) -> Result<Option<Format>, Fault> {
    match text(reader, key) {
        Ok(None) => Ok(None),
        Ok(Some("raw")) => Ok(Some(Format::Raw)),
        Ok(Some("json")) => Ok(Some(Format::Json)),
        Ok(Some("msgpack")) => Ok(Some(Format::MsgPack)),
        _ => Err(wrong(key, "one of raw, json and msgpack")),
    }
}

fn action(reader: &mut Reader<'_>, key: &'static str) -> Result<Option<PresenceAction>, Fault> {
    let wrong = wrong(key, "0 (join), 1 (leave), 2 (update), 3 (sync) or 4 (count)");
    match uint(reader, key) {
        Ok(None) => Ok(None),
        Ok(Some(number)) => PresenceAction::from_number(number).map(Some).ok_or(wrong),
        Err(_) => Err(wrong),
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn the_short_way_for_publications_reads_what_the_long_one_does() {
        let payload = [b'x'; 300];
        let (mut short, mut long) = (0, 0);
        for id in [None, Some(3), Some(300), Some(u64::MAX)] {
            for event in [None, Some("message")] {
                for payload in [&payload[..2], &payload] {
                    let publish =
                        Publish { id, channel: "a:b", event, payload: payload.into(), ..Publish::default() };
                    let mut bytes = Vec::new();
                    publish.encode(&mut bytes);
                    let map = &mut bytes[4..];
                    // Every beginning of it, and every byte of its head changed to every other one.
                    for len in 0..=map.len() {
                        agree(&map[..len], &mut short, &mut long);
                    }
                    for at in 0..map.len().min(60) {
                        let byte = map[at];
                        for other in 0..=255 {
                            map[at] = other;
                            agree(map, &mut short, &mut long);
                        }
                        map[at] = byte;
                    }
                }
            }
        }
        assert!(short > 1000 && long > 1000, "both ways were taken: {short} and {long}");
    }

    fn agree(map: &[u8], short: &mut u32, long: &mut u32) {
        match usual_publish(map) {
            Some(publish) => {
                *short += 1;
                assert_eq!(frame(map).ok(), Some(Frame::Publish(publish)), "{map:?}");
            }
            None => *long += 1,
        }
    }
}
