//! The parts of a frame that are more than a string or a number: payloads, any values, lists and maps.
//!
//! Each is borrowed raw MessagePack that was checked once, when it was made: iterating cannot fail, and encoding passes
//! the bytes on as they are. Two of them are equal if their bytes are, except for payloads, which compare by content.

use alloc::vec::Vec;

use super::error::{Fault, wrong};
use super::mp::{Reader, Token, put_array_head, put_map_head, put_str, whole};
use super::{MAX_VALUE_DEPTH, PresenceAction, Publish, read, write};

/// An application's bytes. They may come as binary data, as a string or as an array of integers from 0 to 255; they are
/// always sent as binary data.
///
/// ```
/// use pulse_core::wire::Payload;
/// let payload = Payload::from(&b"hello"[..]);
/// assert_eq!((payload.len(), payload.as_bytes()), (5, Some(&b"hello"[..])));
/// assert!(Payload::default().is_empty());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a>(Repr<'a>);

#[derive(Clone, Copy, Debug)]
enum Repr<'a> {
    Bytes(&'a [u8]),
    /// `len` integers from 0 to 255, one after the other. Invariant: checked when it was read.
    Array {
        items: &'a [u8],
        len: usize,
    },
}

impl<'a> Payload<'a> {
    /// The number of bytes.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        match self.0 {
            Repr::Bytes(bytes) => bytes.len(),
            Repr::Array { len, .. } => len,
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes as one slice; `None` when they came as an array, for then they lie nowhere in one piece.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        match self.0 {
            Repr::Bytes(bytes) => Some(bytes),
            Repr::Array { .. } => None,
        }
    }

    /// Appends the bytes to `out`.
    #[inline]
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match self.0 {
            Repr::Bytes(bytes) => out.extend_from_slice(bytes),
            Repr::Array { items, len } => append_items(items, len, out),
        }
    }

    #[inline]
    pub(super) fn read(reader: &mut Reader<'a>, key: &'static str) -> Result<Option<Self>, Fault> {
        match reader.short_bin() {
            Some(bytes) => Ok(Some(Self(Repr::Bytes(bytes)))),
            None => Self::read_any(reader, key),
        }
    }

    #[inline(never)]
    fn read_any(reader: &mut Reader<'a>, key: &'static str) -> Result<Option<Self>, Fault> {
        match reader.token()? {
            Token::Nil => Ok(None),
            // A string's bytes are taken as they are: some encoders write all bytes as strings.
            Token::Bin(bytes) | Token::Str(bytes) => Ok(Some(Self(Repr::Bytes(bytes)))),
            Token::Array(len) => {
                let start = *reader;
                for _ in 0..len {
                    byte(reader).ok_or_else(|| wrong(key, EXPECTED_PAYLOAD))?;
                }
                Ok(Some(Self(Repr::Array { items: reader.since(start), len: len as usize })))
            }
            _ => Err(wrong(key, EXPECTED_PAYLOAD)),
        }
    }
}

const EXPECTED_PAYLOAD: &str = "binary data, a string or an array of integers from 0 to 255";

/// Apart from its caller, which is short without it.
#[cold]
#[inline(never)]
fn append_items(items: &[u8], len: usize, out: &mut Vec<u8>) {
    out.extend(Items { reader: Reader::new(items), left: len });
}

fn byte(reader: &mut Reader<'_>) -> Option<u8> {
    whole(reader.token().ok()?)?.try_into().ok()
}

impl Default for Payload<'_> {
    fn default() -> Self {
        Self(Repr::Bytes(&[]))
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Self {
        Self(Repr::Bytes(bytes))
    }
}

impl PartialEq for Payload<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Repr::Bytes(this), Repr::Bytes(that)) => this == that,
            (Repr::Bytes(bytes), Repr::Array { items, len })
            | (Repr::Array { items, len }, Repr::Bytes(bytes)) => {
                Items { reader: Reader::new(items), left: len }.eq(bytes.iter().copied())
            }
            (Repr::Array { items: this, len }, Repr::Array { items: that, len: other }) => {
                let this = Items { reader: Reader::new(this), left: len };
                this.eq(Items { reader: Reader::new(that), left: other })
            }
        }
    }
}

impl Eq for Payload<'_> {}

struct Items<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl Iterator for Items<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        self.left = self.left.checked_sub(1)?;
        byte(&mut self.reader)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// One well-formed MessagePack value of any type: its strings are UTF-8 and it nests at most 29 levels deep, so that it
/// can be passed on in every place that a frame has for a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a>(&'a [u8]);

impl<'a> Value<'a> {
    /// Checks `bytes`; `None` unless they are exactly one well-formed value. `nil` is one, but means absent in a frame.
    ///
    /// ```
    /// use pulse_core::wire::Value;
    /// assert!(Value::new(b"\x81\xa1x\x01").is_some());
    /// assert!(Value::new(b"\x81\xa1x").is_none());
    /// ```
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        whole_input(bytes, |reader| Self::read(reader, "")).or_else(|| (bytes == NIL).then_some(Self(bytes)))
    }

    /// The value's MessagePack.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn read(reader: &mut Reader<'a>, key: &'static str) -> Result<Option<Self>, Fault> {
        let start = *reader;
        // As if it stood at the deepest place that a frame has for a value.
        match reader.walk::<true>(super::MAX_DEPTH - MAX_VALUE_DEPTH) {
            Ok(true) => {
                let bytes = reader.since(start);
                Ok((bytes != NIL).then_some(Self(bytes)))
            }
            // What is malformed for the whole frame is told apart when the fault is judged.
            _ => Err(wrong(key, "a value with strings of UTF-8 that nests at most 29 levels deep")),
        }
    }
}

const NIL: &[u8] = &[0xc0];

/// Reads one value that has to be all of `bytes`.
fn whole_input<'a, T>(
    bytes: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Result<Option<T>, Fault>,
) -> Option<T> {
    let mut reader = Reader::new(bytes);
    let value = read(&mut reader).ok()??;
    reader.rest().is_empty().then_some(value)
}

/// Reads an array or map whose items `item` reads; `None` when it is `nil`.
fn collection<'a>(
    reader: &mut Reader<'a>,
    (key, expected): (&'static str, &'static str),
    head: impl FnOnce(Token<'a>) -> Option<u32>,
    item: impl Fn(&mut Reader<'a>) -> Option<()>,
) -> Result<Option<&'a [u8]>, Fault> {
    let start = *reader;
    let token = reader.token()?;
    if matches!(token, Token::Nil) {
        return Ok(None);
    }
    let items = head(token).ok_or_else(|| wrong(key, expected))?;
    for _ in 0..items {
        // Truncated items come here too; what is malformed is told apart when the fault is judged.
        item(reader).ok_or_else(|| wrong(key, expected))?;
    }
    Ok(Some(reader.since(start)))
}

fn array(token: Token<'_>) -> Option<u32> {
    if let Token::Array(len) = token { Some(len) } else { None }
}

fn map(token: Token<'_>) -> Option<u32> {
    if let Token::Map(pairs) = token { Some(pairs) } else { None }
}

/// Steps through the items of a collection that was checked.
#[derive(Clone, Debug)]
struct Steps<'a> {
    reader: Reader<'a>,
    left: u32,
}

impl<'a> Steps<'a> {
    fn new(raw: &'a [u8]) -> Self {
        let mut reader = Reader::new(raw);
        let left = match reader.token() {
            Ok(Token::Array(items) | Token::Map(items)) => items,
            _ => 0,
        };
        Self { reader, left }
    }

    fn next<T>(&mut self, item: impl FnOnce(&mut Reader<'a>) -> Option<T>) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        item(&mut self.reader)
    }
}

fn text<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    read::text(reader, "").ok()?
}

macro_rules! raw {
    ($(#[$doc:meta])* $name:ident of $item:ty, $expected:literal, $head:ident, $read:expr, $put:expr, $put_head:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name<'a>(&'a [u8]);

        impl<'a> $name<'a> {
            /// Checks `bytes`; `None` unless they are exactly one such value in MessagePack.
            #[must_use]
            pub fn new(bytes: &'a [u8]) -> Option<Self> {
                whole_input(bytes, |reader| Self::read(reader, ""))
            }

            /// Encodes `items` at the end of `out` and borrows the result from there.
            pub fn encode(items: &[$item], out: &'a mut Vec<u8>) -> Self {
                let start = out.len();
                $put_head(out, items.len());
                for item in items {
                    $put(out, item);
                }
                Self(&out[start..])
            }

            /// The MessagePack, as it came.
            #[must_use]
            pub fn as_bytes(&self) -> &'a [u8] {
                self.0
            }

            /// The number of items.
            #[must_use]
            pub fn len(&self) -> usize {
                Steps::new(self.0).left as usize
            }

            /// Whether there are no items.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The items, in the order in which they stand.
            pub fn iter(&self) -> impl Iterator<Item = $item> + Clone + use<'a> {
                let mut steps = Steps::new(self.0);
                core::iter::from_fn(move || steps.next($read))
            }

            pub(super) fn read(reader: &mut Reader<'a>, key: &'static str) -> Result<Option<Self>, Fault> {
                let raw = collection(reader, (key, $expected), $head, |reader| $read(reader).map(drop))?;
                Ok(raw.map(Self))
            }
        }
    };
}

raw! {
    /// A list of strings.
    List of &'a str, "a list of strings", array, text,
    |out: &mut Vec<u8>, item: &str| put_str(out, item), put_array_head
}

raw! {
    /// A map of strings to strings. A key that stands in it twice is passed on twice.
    Tags of (&'a str, &'a str), "a map of strings to strings", map,
    |reader: &mut Reader<'a>| Some((text(reader)?, text(reader)?)),
    |out: &mut Vec<u8>, (key, value): &(&str, &str)| { put_str(out, key); put_str(out, value); }, put_map_head
}

raw! {
    /// A list of publications: maps with the keys of a [`Publish`], but without `type` and `channel`, which are skipped
    /// when they are there and empty in the items.
    Publications of Publish<'a>, "a list of publications, each a map with a payload", array,
    |reader: &mut Reader<'a>| read::publication(reader).ok(),
    |out: &mut Vec<u8>, item: &Publish<'_>| write::publication(item, out), put_array_head
}

raw! {
    /// A list of members, or of changes to them.
    Members of Member<'a>, "a list of members, each a map with a client", array,
    |reader: &mut Reader<'a>| read::member(reader).ok(),
    |out: &mut Vec<u8>, item: &Member<'_>| write::member(item, out), put_array_head
}

/// One connection in a channel's presence. Required: `client`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Member<'a> {
    /// What happened, in a list of changes.
    pub action: Option<PresenceAction>,
    /// Connection id.
    pub client: &'a str,
    /// User of the connection.
    pub user: Option<&'a str>,
    /// The member's data.
    pub data: Option<Value<'a>>,
}

/// Makes [`Members`] of one member after another, each of which may borrow from something short-lived.
#[derive(Debug)]
pub(crate) struct MembersBuf {
    /// Room for the longest head of a list, then the members.
    bytes: Vec<u8>,
    len: usize,
}

impl MembersBuf {
    /// The longest head of a list.
    const HEAD: usize = 5;

    pub(crate) fn new() -> Self {
        Self { bytes: [0; Self::HEAD].into(), len: 0 }
    }

    pub(crate) fn push(&mut self, member: &Member<'_>) {
        write::member(member, &mut self.bytes);
        self.len += 1;
    }

    /// Forgets the members and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(Self::HEAD);
        self.len = 0;
    }

    /// The number of members.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the list.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The list of all that was pushed.
    pub(crate) fn members(&mut self) -> Members<'_> {
        // The head is put behind the members first, for only then is it known how long it is.
        let end = self.bytes.len();
        put_array_head(&mut self.bytes, self.len);
        let start = Self::HEAD - (self.bytes.len() - end);
        self.bytes.copy_within(end.., start);
        self.bytes.truncate(end);
        Members(&self.bytes[start..])
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn members_one_by_one_make_the_list_that_they_make_together() {
        let member = Member { client: "c", user: Some("u"), ..Member::default() };
        let mut buf = MembersBuf::new();
        for len in [0, 1, 15, 16, 300, 70_000] {
            buf.clear();
            (0..len).for_each(|_| buf.push(&member));
            let (mut bytes, all) = (Vec::new(), alloc::vec![member; len]);
            let together = Members::encode(&all, &mut bytes);
            assert_eq!((buf.len(), buf.size() >= together.as_bytes().len()), (len, true));
            // Taking it twice makes no difference.
            assert!(buf.members() == together && buf.members() == together, "{len} members");
        }
    }
}
