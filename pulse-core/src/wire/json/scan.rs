//! A strict reader of JSON (RFC 8259) over borrowed text: checks values and hands their pieces to a [`Sink`].
//!
//! Stricter than the grammar in two places, where readers of the result would part: half surrogate pairs and numbers that
//! no 64-bit float holds are errors. It nests without recursion, at most [`MAX_DEPTH`] deep, and keeps nothing.

use super::error::{JsonError, What};
use super::text::{escape, plain};
use crate::wire::MAX_DEPTH;

/// What becomes of the pieces of a value.
pub(super) trait Sink {
    fn null(&mut self);
    fn boolean(&mut self, value: bool);
    fn number(&mut self, number: Number<'_>);
    /// A string, or the key of a pair.
    fn text(&mut self, text: Text<'_>);
    /// An array or an object begins; what comes back is given to `close`.
    fn open(&mut self) -> usize;
    fn close(&mut self, level: Level);
}

/// An array or an object that is open.
#[derive(Clone, Copy, Default)]
pub(super) struct Level {
    /// What [`Sink::open`] said.
    pub(super) mark: usize,
    /// Items or pairs so far.
    pub(super) items: usize,
    pub(super) object: bool,
}

/// Checks and does nothing else.
pub(super) struct Check;

impl Sink for Check {
    fn null(&mut self) {}
    fn boolean(&mut self, _: bool) {}
    fn number(&mut self, _: Number<'_>) {}
    fn text(&mut self, _: Text<'_>) {}
    fn open(&mut self) -> usize {
        0
    }
    fn close(&mut self, _: Level) {}
}

/// A checked string.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    /// What stands between the quotes.
    pub(super) raw: &'a str,
    /// How many bytes it means; as many as `raw` has exactly when there is no escape.
    pub(super) len: usize,
}

/// A checked number.
#[derive(Clone, Copy)]
pub(super) struct Number<'a> {
    pub(super) text: &'a str,
    /// Whether it has neither fraction nor exponent.
    pub(super) integer: bool,
}

/// A position in text.
#[derive(Clone, Copy)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, JsonError> {
        match core::str::from_utf8(bytes) {
            Ok(text) => Ok(Self { text, at: 0 }),
            Err(error) => Err(JsonError { at: error.valid_up_to(), what: What::NotUtf8 }),
        }
    }

    /// Where the next byte stands.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The text from an `earlier` position to this one.
    pub(super) fn since(&self, earlier: usize) -> &'a str {
        self.text.get(earlier..self.at).unwrap_or_default()
    }

    /// The same text, read again from an `earlier` position.
    pub(super) fn back(&self, earlier: usize) -> Self {
        Self { at: earlier, ..*self }
    }

    /// The next byte that is no white space.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.text.as_bytes().get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    /// Passes over the next byte that is no white space if it is this one.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    /// What is wrong here, where `expected` should be.
    #[cold]
    pub(super) fn expected(&self, expected: &'static str) -> JsonError {
        let ended = self.at == self.text.len();
        self.fail(if ended { What::Ended } else { What::Expected(expected) })
    }

    #[cold]
    pub(super) fn fail(&self, what: What) -> JsonError {
        JsonError { at: self.at, what }
    }

    /// The key of a pair, and the colon.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Text<'a>, JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key in quotes"));
        }
        let key = self.string()?;
        if self.take(b':') { Ok(key) } else { Err(self.expected("a colon")) }
    }

    /// Reads one value that stands within `open` arrays and objects.
    #[inline]
    pub(super) fn value(&mut self, open: usize, sink: &mut impl Sink) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'{' | b'[') => self.nested(open, sink),
            byte => self.scalar(byte, sink),
        }
    }

    fn nested(&mut self, open: usize, sink: &mut impl Sink) -> Result<(), JsonError> {
        let mut levels = [Level::default(); MAX_DEPTH];
        let mut depth = open;
        loop {
            match self.peek() {
                Some(byte @ (b'{' | b'[')) => {
                    let Some(level) = levels.get_mut(depth) else { return Err(self.fail(What::TooDeep)) };
                    let object = byte == b'{';
                    *level = Level { mark: sink.open(), items: 1, object };
                    self.at += 1;
                    if self.take(closing(object)) {
                        sink.close(Level { items: 0, ..*level });
                    } else {
                        depth += 1;
                        if object {
                            sink.text(self.key()?);
                        }
                        continue;
                    }
                }
                byte => self.scalar(byte, sink)?,
            }
            // A value has ended, and with it maybe those around it.
            loop {
                if depth == open {
                    return Ok(());
                }
                let level = &mut levels[depth - 1];
                if self.take(b',') {
                    level.items += 1;
                    if level.object {
                        sink.text(self.key()?);
                    }
                    break;
                }
                if !self.take(closing(level.object)) {
                    return Err(self.expected(after(level.object)));
                }
                sink.close(*level);
                depth -= 1;
            }
        }
    }

    #[inline]
    fn scalar(&mut self, byte: Option<u8>, sink: &mut impl Sink) -> Result<(), JsonError> {
        match byte {
            Some(b'"') => sink.text(self.string()?),
            Some(b'-' | b'0'..=b'9') => sink.number(self.number()?),
            Some(b'n') => {
                self.word("null")?;
                sink.null();
            }
            Some(b't') => {
                self.word("true")?;
                sink.boolean(true);
            }
            Some(b'f') => {
                self.word("false")?;
                sink.boolean(false);
            }
            _ => return Err(self.expected("a value")),
        }
        Ok(())
    }

    fn word(&mut self, word: &'static str) -> Result<(), JsonError> {
        for &byte in word.as_bytes() {
            if self.text.as_bytes().get(self.at) != Some(&byte) {
                return Err(self.expected(word));
            }
            self.at += 1;
        }
        Ok(())
    }

    /// The string whose opening quote comes next.
    #[inline]
    fn string(&mut self) -> Result<Text<'a>, JsonError> {
        self.at += 1;
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut len = 0;
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let plain = plain(rest);
            self.at += plain;
            len += plain;
            match rest.get(plain) {
                Some(b'"') => {
                    let raw = self.since(start);
                    self.at += 1;
                    return Ok(Text { raw, len });
                }
                Some(b'\\') => match escape(&rest[plain + 1..]) {
                    Ok((char, taken)) => {
                        self.at += 1 + taken;
                        len += char.len_utf8();
                    }
                    Err(what) => return Err(self.fail(what)),
                },
                Some(_) => return Err(self.fail(What::Control)),
                None => return Err(self.fail(What::Ended)),
            }
        }
    }

    fn number(&mut self) -> Result<Number<'a>, JsonError> {
        let start = self.at;
        let next = |scanner: &Self| scanner.text.as_bytes().get(scanner.at).copied();
        if next(self) == Some(b'-') {
            self.at += 1;
        }
        // A zero stands alone.
        if next(self) == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let whole = self.at;
        if next(self) == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let mut large = self.at - start > SAFE_DIGITS;
        if let Some(b'e' | b'E') = next(self) {
            self.at += 1;
            if let Some(b'+' | b'-') = next(self) {
                self.at += 1;
            }
            self.digits()?;
            large = true;
        }
        let number = Number { text: self.since(start), integer: self.at == whole };
        if large && !number.float().is_finite() {
            return Err(JsonError { at: start, what: What::OutOfRange });
        }
        Ok(number)
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), JsonError> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        if digits > 0 { Ok(()) } else { Err(self.expected("a digit")) }
    }
}

/// A number of so many digits and no exponent fits a float: the largest float has 309.
const SAFE_DIGITS: usize = 300;

impl Number<'_> {
    /// The number as a float: the nearest one, infinite if it is too large.
    pub(super) fn float(&self) -> f64 {
        // The grammar of Rust's floats includes that of JSON's numbers.
        self.text.parse().unwrap_or(f64::INFINITY)
    }
}

fn closing(object: bool) -> u8 {
    if object { b'}' } else { b']' }
}

/// What has to follow an item.
pub(super) fn after(object: bool) -> &'static str {
    if object { "a comma or a closing brace" } else { "a comma or a closing bracket" }
}
