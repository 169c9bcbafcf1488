//! The length prefix: cuts a stream of bytes into frames.
//!
//! It decides from the four bytes of the prefix alone whether a frame is too long, so that nobody buffers a frame that
//! is going to be refused. What is in the frame is [`decode`](super::decode)'s business.

/// Bytes of the length prefix.
pub const PREFIX: usize = 4;

/// What the next bytes of a stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split<'a> {
    /// A whole frame.
    Frame {
        /// The bytes after the prefix, for [`decode`](super::decode).
        map: &'a [u8],
        /// What follows the frame; maybe nothing.
        rest: &'a [u8],
    },
    /// No whole frame yet.
    Incomplete {
        /// How many bytes there have to be, counted from the first byte of the prefix, before anything more can be
        /// said: 4, or 4 and the frame's length. Always more than there are.
        need: usize,
    },
    /// The frame is longer than allowed; there is no way to go on.
    TooLong {
        /// What the prefix says, without the prefix itself.
        len: usize,
    },
}

/// Cuts the first frame off `bytes`. A frame may be `max_len` bytes long, its prefix not counted.
///
/// ```
/// use pulse_core::wire::{Split, split};
/// assert_eq!(split(b"\0\0\0\x01\x80\0\0", 64), Split::Frame { map: b"\x80", rest: b"\0\0" });
/// assert_eq!(split(b"\0\0", 64), Split::Incomplete { need: 4 });
/// assert_eq!(split(b"\0\0\0\x05\x80", 64), Split::Incomplete { need: 9 });
/// assert_eq!(split(b"\0\0\0\x41", 64), Split::TooLong { len: 65 });
/// ```
#[must_use]
#[inline]
pub fn split(bytes: &[u8], max_len: usize) -> Split<'_> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Split::Incomplete { need: PREFIX };
    };
    let len = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
    if len > max_len {
        return Split::TooLong { len };
    }
    match rest.split_at_checked(len) {
        Some((map, rest)) => Split::Frame { map, rest },
        None => Split::Incomplete { need: len.saturating_add(PREFIX) },
    }
}
