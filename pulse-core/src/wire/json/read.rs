//! From a line to the frame's MessagePack map: one pass that transcodes, and a second one over a payload that is not kept
//! as text.
//!
//! Heads are written before their counts are known and filled in afterwards. The payload's pair is written last, because
//! `format` may stand behind it.

use alloc::vec::Vec;

use super::base64;
use super::error::{JsonError, What};
use super::scan::{Check, Level, Number, Scanner, Sink, Text, after};
use super::text::unescape;
use crate::wire::mp::{fixstr, length, put_bin_head, put_uint};
use crate::wire::{MAX_SAFE, Value};

/// Bytes of a line at most. No host lets a message become that long; it keeps all lengths of the map below 4 GiB.
const MAX_LINE: usize = 1 << 30;

/// Replaces what `out` holds by the frame of one line as a MessagePack map, for [`decode`](crate::wire::decode).
///
/// # Errors
/// [`JsonError`] if the line is not exactly one well-formed JSON object; `out` is empty then. What is wrong with the frame
/// that it is stays in the map for `decode` to find: base64 that is none as a payload of the wrong type, both `payload`
/// and `payload_b64` as a repeated one.
///
/// ```
/// use pulse_core::wire::{Frame, decode, json};
/// let mut map = Vec::new();
/// json::to_map(br#"{"type": "ping", "timestamp": 5}"#, &mut map)?;
/// assert_eq!(map, b"\x82\xa4type\xa4ping\xa9timestamp\x05");
/// assert_eq!(decode(&map), Ok(Frame::Ping { timestamp: Some(5) }));
/// # Ok::<(), json::JsonError>(())
/// ```
pub fn to_map(line: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    out.clear();
    let result = frame(line, out);
    if result.is_err() {
        out.clear();
    }
    result
}

fn frame(line: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    if line.len() > MAX_LINE {
        return Err(JsonError { at: MAX_LINE, what: What::TooLong });
    }
    let mut scanner = Scanner::new(line)?;
    out.reserve(line.len());
    match scanner.peek() {
        Some(b'{') => object(&mut scanner, Place::Frame, out)?,
        Some(_) => return Err(scanner.fail(What::NotAnObject)),
        None => return Err(scanner.fail(What::Ended)),
    }
    if scanner.peek().is_some() { Err(scanner.fail(What::Trailing)) } else { Ok(()) }
}

/// Where an object with the keys of a frame stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Frame,
    /// In one of the lists of a frame.
    Item,
}

impl Place {
    /// How many arrays and objects are open within the object.
    fn open(self) -> usize {
        match self {
            Self::Frame => 1,
            Self::Item => 3,
        }
    }
}

/// The next value, an object whose keys have a meaning: a frame, or an item in a list of one.
fn object(scanner: &mut Scanner<'_>, place: Place, out: &mut Vec<u8>) -> Result<(), JsonError> {
    let start = Pack(out).open();
    let mut special = Special::default();
    let mut pairs = 0;
    scanner.take(b'{');
    if !scanner.take(b'}') {
        loop {
            pairs += pair(scanner, place, &mut special, out)?;
            if scanner.take(b'}') {
                break;
            }
            if !scanner.take(b',') {
                return Err(scanner.expected(after(true)));
            }
        }
    }
    pairs += special.finish(scanner, place, out)?;
    Pack(out).close(Level { mark: start, items: pairs, object: true });
    Ok(())
}

/// Reads one pair and writes what may be written now; tells how many pairs that are.
fn pair(
    scanner: &mut Scanner<'_>,
    place: Place,
    special: &mut Special,
    out: &mut Vec<u8>,
) -> Result<usize, JsonError> {
    let before = out.len();
    let key = scanner.key()?;
    Pack(out).text(key);
    let next = scanner.peek();
    match &out[out.len() - key.len..] {
        // Only `null` begins like this, or else the line is refused. It is absent, and as if nothing were there.
        b"payload_b64" | b"data_b64" if next == Some(b'n') => {
            out.truncate(before);
            scanner.value(place.open(), &mut Check)?;
            return Ok(0);
        }
        name @ (b"payload" | b"payload_b64") => {
            let base64 = name.len() > b"payload".len();
            out.truncate(before);
            return special.payload(scanner, place, base64, out);
        }
        b"format" => {
            out.truncate(before);
            return special.format(scanner, place, out);
        }
        b"data_b64" => {
            out.truncate(before);
            out.extend_from_slice(DATA);
            data(scanner, place, out)?;
        }
        b"publications" | b"members" | b"changes" if place == Place::Frame && next == Some(b'[') => {
            list(scanner, out)?;
        }
        _ => scanner.value(place.open(), &mut Pack(out))?,
    }
    Ok(1)
}

/// The next value, an array in a frame: those of its items that are objects have the keys of frames.
fn list(scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Result<(), JsonError> {
    let start = Pack(out).open();
    let mut items = 0;
    scanner.take(b'[');
    if !scanner.take(b']') {
        loop {
            match scanner.peek() {
                Some(b'{') => object(scanner, Place::Item, out)?,
                _ => scanner.value(Place::Frame.open() + 1, &mut Pack(out))?,
            }
            items += 1;
            if scanner.take(b']') {
                break;
            }
            if !scanner.take(b',') {
                return Err(scanner.expected(after(false)));
            }
        }
    }
    Pack(out).close(Level { mark: start, items, object: false });
    Ok(())
}

const PAYLOAD: &[u8] = &fixstr::<8>("payload");
const FORMAT: &[u8] = &fixstr::<7>("format");
const DATA: &[u8] = &fixstr::<5>("data");
const JSON: &[u8] = &fixstr::<5>("json");
const MSGPACK: &[u8] = &fixstr::<8>("msgpack");
const RAW: &[u8] = &fixstr::<4>("raw");
const NIL: u8 = 0xc0;
const FALSE: u8 = 0xc2;

/// The value of `data_b64`: MessagePack that goes into the map as it is. What is no value becomes a string that is not
/// UTF-8, for that is none to the decoder either.
fn data(scanner: &mut Scanner<'_>, place: Place, out: &mut Vec<u8>) -> Result<(), JsonError> {
    let start = out.len();
    let mut bytes = Bytes { out, whole: true };
    scanner.value(place.open(), &mut bytes)?;
    let whole = bytes.whole;
    if !whole || Value::new(&out[start..]).is_none() {
        out.truncate(start);
        out.extend_from_slice(b"\xa1\xff");
    }
    Ok(())
}

/// What is known so far of the keys that depend on each other.
#[derive(Default)]
struct Special {
    payload: Option<Pending>,
    format: Format,
}

/// A checked value that is still to be written.
#[derive(Clone, Copy)]
struct Pending {
    base64: bool,
    /// Where the value stands in the line.
    from: usize,
    to: usize,
}

/// What the object says of its payload.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Format {
    #[default]
    Absent,
    /// `null`, which is the same but for being said. Not yet written.
    Null,
    Raw,
    MsgPack,
    /// `json`, or something that is none and that the decoder will refuse.
    Other,
}

impl Special {
    /// Keeps the first payload for later. Of any other one only the key is written: that it is repeated is all that
    /// matters.
    fn payload(
        &mut self,
        scanner: &mut Scanner<'_>,
        place: Place,
        base64: bool,
        out: &mut Vec<u8>,
    ) -> Result<usize, JsonError> {
        let from = scanner.at();
        scanner.value(place.open(), &mut Check)?;
        if self.payload.is_none() {
            self.payload = Some(Pending { base64, from, to: scanner.at() });
            return Ok(0);
        }
        out.extend_from_slice(PAYLOAD);
        out.push(NIL);
        Ok(1)
    }

    /// Writes the format unless it is a first `null`, which may have to become `json`.
    fn format(
        &mut self,
        scanner: &mut Scanner<'_>,
        place: Place,
        out: &mut Vec<u8>,
    ) -> Result<usize, JsonError> {
        let mut pairs = 1;
        if self.format == Format::Null {
            out.extend_from_slice(FORMAT);
            out.push(NIL);
            pairs += 1;
        }
        let first = self.format == Format::Absent;
        let before = out.len();
        out.extend_from_slice(FORMAT);
        let start = out.len();
        scanner.value(place.open(), &mut Pack(out))?;
        self.format = match &out[start..] {
            [NIL] if first => {
                out.truncate(before);
                self.format = Format::Null;
                return Ok(0);
            }
            RAW if first => Format::Raw,
            MSGPACK if first => Format::MsgPack,
            _ => Format::Other,
        };
        Ok(pairs)
    }

    /// Writes the payload, now that its format is known; tells how many pairs that are.
    fn finish(self, scanner: &Scanner<'_>, place: Place, out: &mut Vec<u8>) -> Result<usize, JsonError> {
        let Some(Pending { base64, from, to }) = self.payload else { return Ok(0) };
        let mut value = scanner.back(from);
        out.extend_from_slice(PAYLOAD);
        if base64 {
            let start = out.len();
            let mut bytes = Bytes { out, whole: true };
            value.value(place.open(), &mut bytes)?;
            if bytes.whole {
                bin(out, start);
            } else {
                // As a payload it is of a wrong type, whatever it was.
                out.truncate(start);
                out.push(FALSE);
            }
            return Ok(1);
        }
        match self.format {
            Format::Raw => value.value(place.open(), &mut Pack(out))?,
            Format::MsgPack => {
                let start = out.len();
                value.value(place.open(), &mut Pack(out))?;
                bin(out, start);
            }
            Format::Absent | Format::Null | Format::Other => {
                let text = scanner.back(to).since(from);
                put_bin_head(out, text.len());
                out.extend_from_slice(text.as_bytes());
            }
        }
        if matches!(self.format, Format::Absent | Format::Null) {
            out.extend_from_slice(FORMAT);
            out.extend_from_slice(JSON);
            return Ok(2);
        }
        Ok(1)
    }
}

/// Makes binary data of what `out` holds from `start` on.
fn bin(out: &mut Vec<u8>, start: usize) {
    let len = out.len() - start;
    put_bin_head(out, len);
    // The head was written behind the content and is turned to the front.
    out[start..].rotate_left(len);
}

/// Takes a string of base64 and appends the bytes it means.
struct Bytes<'o> {
    out: &'o mut Vec<u8>,
    /// Whether the value was such a string.
    whole: bool,
}

impl Sink for Bytes<'_> {
    fn null(&mut self) {
        self.whole = false;
    }
    fn boolean(&mut self, _: bool) {
        self.whole = false;
    }
    fn number(&mut self, _: Number<'_>) {
        self.whole = false;
    }
    fn text(&mut self, text: Text<'_>) {
        if self.whole {
            let start = self.out.len();
            unescape(text.raw, self.out);
            self.whole = base64::decode_in_place(self.out, start).is_some();
        }
    }
    fn open(&mut self) -> usize {
        self.whole = false;
        0
    }
    fn close(&mut self, _: Level) {}
}

/// Appends MessagePack, everything in its shortest form.
struct Pack<'o>(&'o mut Vec<u8>);

impl Sink for Pack<'_> {
    fn null(&mut self) {
        self.0.push(NIL);
    }

    fn boolean(&mut self, value: bool) {
        self.0.push(FALSE | u8::from(value));
    }

    fn number(&mut self, number: Number<'_>) {
        let (negative, digits) = match number.text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, number.text),
        };
        let whole = if number.integer { digits.parse::<u64>().ok() } else { None };
        match whole.filter(|whole| *whole <= MAX_SAFE) {
            Some(whole) if !negative => put_uint(self.0, whole),
            Some(whole @ 1..) => put_negative(self.0, -(whole as i64)),
            // Minus zero is a float as well: integers have none.
            _ => {
                self.0.push(0xcb);
                self.0.extend_from_slice(&number.float().to_be_bytes());
            }
        }
    }

    #[inline]
    fn text(&mut self, text: Text<'_>) {
        match text.len {
            len @ 0..=31 => self.0.push(0xa0 | len as u8),
            len @ 32..=0xff => self.0.extend_from_slice(&[0xd9, len as u8]),
            len @ 0x100..=0xffff => {
                self.0.push(0xda);
                self.0.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                self.0.push(0xdb);
                self.0.extend_from_slice(&length(len).to_be_bytes());
            }
        }
        if text.len == text.raw.len() {
            self.0.extend_from_slice(text.raw.as_bytes());
        } else {
            unescape(text.raw, self.0);
        }
    }

    fn open(&mut self) -> usize {
        self.0.push(NIL);
        self.0.len() - 1
    }

    /// Fills in the head, and makes room if it needs more than a byte: each level moves its content once at most.
    fn close(&mut self, Level { mark, items, object }: Level) {
        let (short, long) = if object { (0x80, 0xde) } else { (0x90, 0xdc) };
        match items {
            0..=15 => self.0[mark] = short | items as u8,
            16..=0xffff => self.widen(mark, long, (items as u16).to_be_bytes()),
            _ => self.widen(mark, long + 1, length(items).to_be_bytes()),
        }
    }
}

impl Pack<'_> {
    fn widen<const N: usize>(&mut self, mark: usize, head: u8, count: [u8; N]) {
        let end = self.0.len();
        self.0.extend_from_slice(&count);
        self.0.copy_within(mark + 1..end, mark + 1 + N);
        self.0[mark] = head;
        self.0[mark + 1..=mark + N].copy_from_slice(&count);
    }
}

/// Writes a number below zero.
fn put_negative(out: &mut Vec<u8>, number: i64) {
    if let Ok(number) = i8::try_from(number) {
        if number < -32 {
            out.push(0xd0);
        }
        out.push(number as u8);
    } else if let Ok(number) = i16::try_from(number) {
        out.push(0xd1);
        out.extend_from_slice(&number.to_be_bytes());
    } else if let Ok(number) = i32::try_from(number) {
        out.push(0xd2);
        out.extend_from_slice(&number.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&number.to_be_bytes());
    }
}
