//! The few primitives of MessagePack that frames are made of: a bounded reader and an appending writer.
//!
//! The reader checks every announced length against the bytes that are left and bounds nesting, so that neither memory
//! nor stack can be made to grow by a sender. It knows nothing of frames.

use alloc::vec::Vec;

use super::error::Malformed;
use super::{MAX_DEPTH, MAX_SAFE};

/// The head of one value. Strings and bytes are complete, of arrays and maps the items follow.
#[derive(Clone, Copy, Debug)]
pub(super) enum Token<'a> {
    Nil,
    Bool(bool),
    /// Not negative, in whichever format it came.
    Uint(u64),
    Negative,
    Float(f64),
    Str(&'a [u8]),
    Bin(&'a [u8]),
    /// So many items follow.
    Array(u32),
    /// So many pairs follow.
    Map(u32),
    Ext,
}

/// A position in borrowed bytes. Copying it is looking ahead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The bytes from an `earlier` position to this one.
    #[inline]
    pub(super) fn since(&self, earlier: Self) -> &'a [u8] {
        let len = earlier.rest.len().saturating_sub(self.rest.len());
        earlier.rest.get(..len).unwrap_or_default()
    }

    /// The content of a string of the shortest format, which nearly all keys and channels have.
    #[inline]
    pub(super) fn short_str(&mut self) -> Option<&'a [u8]> {
        let (&head @ 0xa0..=0xbf, rest) = self.rest.split_first()? else { return None };
        let (text, rest) = rest.split_at_checked(usize::from(head & 0x1f))?;
        self.rest = rest;
        Some(text)
    }

    /// The content of binary data of the shortest format.
    #[inline]
    pub(super) fn short_bin(&mut self) -> Option<&'a [u8]> {
        let ([0xc4, len], rest) = self.rest.split_first_chunk()? else { return None };
        let (bytes, rest) = rest.split_at_checked(usize::from(*len))?;
        self.rest = rest;
        Some(bytes)
    }

    /// The content of binary data of any format.
    #[inline]
    pub(super) fn bin(&mut self) -> Option<&'a [u8]> {
        if let Some(bytes) = self.short_bin() {
            return Some(bytes);
        }
        match self.token() {
            Ok(Token::Bin(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// Passes over `bytes` if they come next.
    #[inline]
    pub(super) fn pass<const N: usize>(&mut self, bytes: &[u8; N]) -> bool {
        match self.rest.split_first_chunk::<N>() {
            Some((next, rest)) if next == bytes => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// An integer of the shortest format.
    #[inline]
    pub(super) fn short_uint(&mut self) -> Option<u64> {
        let (&head @ 0x00..=0x7f, rest) = self.rest.split_first()? else { return None };
        self.rest = rest;
        Some(u64::from(head))
    }

    /// The number of pairs of a map of the shortest format.
    #[inline]
    pub(super) fn short_map(&mut self) -> Option<u32> {
        let (&head @ 0x80..=0x8f, rest) = self.rest.split_first()? else { return None };
        self.rest = rest;
        Some(u32::from(head & 0x0f))
    }

    /// The head of the next value, in every format that there is.
    pub(super) fn token(&mut self) -> Result<Token<'a>, Malformed> {
        let head = self.int::<1>()? as u8;
        Ok(match head {
            0x00..=0x7f => Token::Uint(u64::from(head)),
            0x80..=0x8f => self.map(u64::from(head & 0x0f))?,
            0x90..=0x9f => self.array(u64::from(head & 0x0f))?,
            0xa0..=0xbf => Token::Str(self.take(u64::from(head & 0x1f))?),
            0xc0 => Token::Nil,
            0xc1 => return Err(Malformed::Reserved),
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xc4 => Token::Bin(self.sized::<1>()?),
            0xc5 => Token::Bin(self.sized::<2>()?),
            0xc6 => Token::Bin(self.sized::<4>()?),
            0xc7 => self.ext::<1>()?,
            0xc8 => self.ext::<2>()?,
            0xc9 => self.ext::<4>()?,
            0xca => Token::Float(f64::from(f32::from_bits(self.int::<4>()? as u32))),
            0xcb => Token::Float(f64::from_bits(self.int::<8>()?)),
            0xcc => Token::Uint(self.int::<1>()?),
            0xcd => Token::Uint(self.int::<2>()?),
            0xce => Token::Uint(self.int::<4>()?),
            0xcf => Token::Uint(self.int::<8>()?),
            0xd0 => signed(i64::from(self.int::<1>()? as i8)),
            0xd1 => signed(i64::from(self.int::<2>()? as i16)),
            0xd2 => signed(i64::from(self.int::<4>()? as i32)),
            0xd3 => signed(self.int::<8>()? as i64),
            // Extensions of 1, 2, 4, 8 and 16 bytes, behind a byte for their type.
            0xd4..=0xd8 => {
                self.take(1 + (1 << (head - 0xd4)))?;
                Token::Ext
            }
            0xd9 => Token::Str(self.sized::<1>()?),
            0xda => Token::Str(self.sized::<2>()?),
            0xdb => Token::Str(self.sized::<4>()?),
            0xdc => {
                let len = self.int::<2>()?;
                self.array(len)?
            }
            0xdd => {
                let len = self.int::<4>()?;
                self.array(len)?
            }
            0xde => {
                let pairs = self.int::<2>()?;
                self.map(pairs)?
            }
            0xdf => {
                let pairs = self.int::<4>()?;
                self.map(pairs)?
            }
            0xe0..=0xff => Token::Negative,
        })
    }

    /// Passes over one value that stands within `open` arrays and maps.
    pub(super) fn skip(&mut self, open: usize) -> Result<(), Malformed> {
        self.walk::<false>(open).map(drop)
    }

    /// Passes over one value that stands within `open` arrays and maps; tells whether all its strings are UTF-8, if
    /// `UTF8` asks.
    pub(super) fn walk<const UTF8: bool>(&mut self, open: usize) -> Result<bool, Malformed> {
        // How many items are still to come at each level. One array and no recursion: the stack is the same for
        // every input.
        let mut left = [0_u64; MAX_DEPTH];
        let mut depth = open;
        let mut utf8 = true;
        loop {
            let items = match self.token()? {
                Token::Array(len) => Some(u64::from(len)),
                Token::Map(pairs) => Some(2 * u64::from(pairs)),
                Token::Str(text) if UTF8 => {
                    utf8 &= core::str::from_utf8(text).is_ok();
                    None
                }
                _ => None,
            };
            if let Some(items) = items {
                *left.get_mut(depth).ok_or(Malformed::TooDeep)? = items;
                depth += 1;
            }
            // Close what is complete; the value is passed over when nothing of it is open.
            while depth > open && left[depth - 1] == 0 {
                depth -= 1;
            }
            if depth == open {
                return Ok(utf8);
            }
            left[depth - 1] -= 1;
        }
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(len).map_err(|_| Malformed::Truncated)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// `N` bytes as a big-endian number, 8 at most.
    fn int<const N: usize>(&mut self) -> Result<u64, Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn sized<const N: usize>(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.int::<N>()?;
        self.take(len)
    }

    fn ext<const N: usize>(&mut self) -> Result<Token<'a>, Malformed> {
        let len = self.int::<N>()?;
        self.take(len + 1)?;
        Ok(Token::Ext)
    }

    /// An item takes a byte at least: an array that announces more of them than bytes are left ends here, at once.
    fn array(&self, len: u64) -> Result<Token<'a>, Malformed> {
        if len > self.rest.len() as u64 { Err(Malformed::Truncated) } else { Ok(Token::Array(len as u32)) }
    }

    fn map(&self, pairs: u64) -> Result<Token<'a>, Malformed> {
        if 2 * pairs > self.rest.len() as u64 {
            Err(Malformed::Truncated)
        } else {
            Ok(Token::Map(pairs as u32))
        }
    }
}

fn signed(number: i64) -> Token<'static> {
    u64::try_from(number).map_or(Token::Negative, Token::Uint)
}

/// The number of a token, if it is a whole one from 0 to [`MAX_SAFE`]. Some JavaScript encoders write large whole
/// numbers as floats.
pub(super) fn whole(token: Token<'_>) -> Option<u64> {
    let number = match token {
        Token::Uint(number) => number,
        // The cast saturates and takes NaN for 0; comparing sorts both out.
        Token::Float(float) if (float as u64) as f64 == float => float as u64,
        _ => return None,
    };
    (number <= MAX_SAFE).then_some(number)
}

/// A short string with its head, for keys that are known when the program is built. `N` is its length and 1.
pub(super) const fn fixstr<const N: usize>(text: &str) -> [u8; N] {
    let text = text.as_bytes();
    assert!(text.len() < 32 && text.len() + 1 == N, "a short string has at most 31 bytes");
    let mut bytes = [0xa0 | text.len() as u8; N];
    let mut at = 0;
    while at < text.len() {
        bytes[at + 1] = text[at];
        at += 1;
    }
    bytes
}

#[inline]
pub(super) fn put_uint(out: &mut Vec<u8>, number: u64) {
    match number {
        0..=0x7f => out.push(number as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, number as u8]),
        0x100..=0xffff => put_head(out, 0xcd, (number as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => put_head(out, 0xce, (number as u32).to_be_bytes()),
        _ => put_head(out, 0xcf, number.to_be_bytes()),
    }
}

#[inline]
pub(super) fn put_str(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        len @ 0..=31 => out.push(0xa0 | len as u8),
        len @ 32..=0xff => out.extend_from_slice(&[0xd9, len as u8]),
        len @ 0x100..=0xffff => put_head(out, 0xda, (len as u16).to_be_bytes()),
        len => put_head(out, 0xdb, length(len).to_be_bytes()),
    }
    out.extend_from_slice(text.as_bytes());
}

#[inline]
pub(super) fn put_bin_head(out: &mut Vec<u8>, len: usize) {
    match len {
        0..=0xff => out.extend_from_slice(&[0xc4, len as u8]),
        0x100..=0xffff => put_head(out, 0xc5, (len as u16).to_be_bytes()),
        _ => put_head(out, 0xc6, length(len).to_be_bytes()),
    }
}

pub(super) fn put_array_head(out: &mut Vec<u8>, len: usize) {
    match len {
        0..=15 => out.push(0x90 | len as u8),
        16..=0xffff => put_head(out, 0xdc, (len as u16).to_be_bytes()),
        _ => put_head(out, 0xdd, length(len).to_be_bytes()),
    }
}

pub(super) fn put_map_head(out: &mut Vec<u8>, pairs: usize) {
    match pairs {
        0..=15 => out.push(0x80 | pairs as u8),
        16..=0xffff => put_head(out, 0xde, (pairs as u16).to_be_bytes()),
        _ => put_head(out, 0xdf, length(pairs).to_be_bytes()),
    }
}

fn put_head<const N: usize>(out: &mut Vec<u8>, head: u8, number: [u8; N]) {
    out.push(head);
    out.extend_from_slice(&number);
}

/// # Panics
/// If `len` is more than MessagePack can say: whoever encodes has no limit at all on what it takes in.
#[inline]
pub(super) fn length(len: usize) -> u32 {
    u32::try_from(len).expect("a value on the wire is shorter than 4 GiB")
}
