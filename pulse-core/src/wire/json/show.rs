//! One MessagePack value as JSON, if JSON can say all of it; and JSON text made fit for a line.
//!
//! What cannot be said is listed at the [module](super): then nothing is written, and the caller has another way.

use alloc::vec::Vec;
use core::fmt::{Arguments, Write};

use super::scan::{Check, Scanner};
use super::text::{plain, put};
use crate::wire::mp::{Reader, Token};
use crate::wire::{MAX_DEPTH, MAX_SAFE};

/// Appends what `bytes`, exactly one MessagePack value, say, to stand within `open` arrays and objects. Tells whether JSON
/// can say it; if not, nothing is appended.
pub(super) fn msgpack(bytes: &[u8], open: usize, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let said = transcode(bytes, open, out).is_some();
    if !said {
        out.truncate(start);
    }
    said
}

/// An array or a map that is open.
#[derive(Clone, Copy, Default)]
struct Level {
    /// Items or pairs that are still to come.
    left: u32,
    map: bool,
    /// Whether no item was written yet.
    first: bool,
}

fn transcode(bytes: &[u8], open: usize, out: &mut Vec<u8>) -> Option<()> {
    let mut reader = Reader::new(bytes);
    let mut levels = [Level::default(); MAX_DEPTH];
    let mut depth = open;
    loop {
        let before = reader;
        match reader.token().ok()? {
            Token::Nil => out.extend_from_slice(b"null"),
            Token::Bool(value) => boolean(value, out),
            Token::Uint(number) if number <= MAX_SAFE => print(format_args!("{number}"), out),
            Token::Negative => print(format_args!("{}", negative(reader.since(before))?), out),
            // The shortest text that reads as the same float, always with a fraction or an exponent.
            Token::Float(float) if float.is_finite() => print(format_args!("{float:?}"), out),
            Token::Str(text) => put(core::str::from_utf8(text).ok()?, out),
            Token::Array(left) => {
                *levels.get_mut(depth)? = Level { left, map: false, first: true };
                depth += 1;
                out.push(b'[');
            }
            Token::Map(left) => {
                *levels.get_mut(depth)? = Level { left, map: true, first: true };
                depth += 1;
                out.push(b'{');
            }
            Token::Uint(_) | Token::Float(_) | Token::Bin(_) | Token::Ext => return None,
        }
        // Close what is complete, and go on to the next item.
        loop {
            if depth == open {
                return reader.rest().is_empty().then_some(());
            }
            let level = &mut levels[depth - 1];
            if level.left == 0 {
                out.push(if level.map { b'}' } else { b']' });
                depth -= 1;
                continue;
            }
            level.left -= 1;
            if !core::mem::take(&mut level.first) {
                out.push(b',');
            }
            if level.map {
                let Token::Str(key) = reader.token().ok()? else { return None };
                put(core::str::from_utf8(key).ok()?, out);
                out.push(b':');
            }
            break;
        }
    }
}

/// The number below zero that these bytes are; `None` if it is beyond what JavaScript counts to.
fn negative(bytes: &[u8]) -> Option<i64> {
    let number = match *bytes {
        [byte] | [0xd0, byte] => i64::from(byte as i8),
        [0xd1, a, b] => i64::from(i16::from_be_bytes([a, b])),
        [0xd2, a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
        [0xd3, ref number @ ..] => i64::from_be_bytes(*number.first_chunk()?),
        _ => return None,
    };
    (number.unsigned_abs() <= MAX_SAFE).then_some(number)
}

pub(super) fn boolean(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Appends formatted text.
pub(super) fn print(text: Arguments<'_>, out: &mut Vec<u8>) {
    struct Out<'o>(&'o mut Vec<u8>);

    impl Write for Out<'_> {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }

    // A vector takes everything, and numbers have nothing to fail of.
    let _ = Out(out).write_fmt(text);
}

/// Appends `bytes` if they are exactly one JSON text that may stand within `open` arrays and objects: as they are, but
/// without the white space around it, and all of it if there are ends of lines. Tells whether they are.
pub(super) fn json(bytes: &[u8], open: usize, out: &mut Vec<u8>) -> bool {
    let Ok(mut scanner) = Scanner::new(bytes) else { return false };
    scanner.peek();
    let from = scanner.at();
    if scanner.value(open, &mut Check).is_err() {
        return false;
    }
    let text = scanner.since(from).as_bytes();
    if scanner.peek().is_some() {
        return false;
    }
    if text.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        squeeze(text, out);
    } else {
        out.extend_from_slice(text);
    }
    true
}

/// Appends a well-formed JSON text without the white space between its pieces.
fn squeeze(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    let mut inside = false;
    while let Some((&byte, after)) = rest.split_first() {
        let len = match byte {
            b'"' => {
                inside = !inside;
                1
            }
            b'\\' => 2,
            b' ' | b'\t' | b'\n' | b'\r' if !inside => {
                rest = after;
                continue;
            }
            _ if inside => plain(rest).max(1),
            _ => 1,
        };
        let (piece, after) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        out.extend_from_slice(piece);
        rest = after;
    }
}
