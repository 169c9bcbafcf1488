//! The text dialect `pulse.v1.json`: the frames of protocol version 1 as JSON objects, one a line.
//!
//! It translates between the text and what the rest of the crate works with: [`to_map`] makes the MessagePack map that
//! [`decode`](super::decode) judges, [`encode`] writes a frame as a line. Keys, types and ranges are not its business,
//! only what JSON cannot say in the same way:
//!
//! - **`payload`** is any JSON value. Coming in it is kept as its JSON text, byte for byte, and its `format` is `json`;
//!   with `format` `msgpack` it is transcoded, and with `raw` it means what it means in MessagePack: a string is its
//!   UTF-8 bytes, an array of integers from 0 to 255 those bytes.
//! - **`payload_b64`** stands in its place for all other bytes: base64 with the standard alphabet, padding optional.
//!   `format` stays as it is given, absent is `raw`. Unlike `payload`, `payload_b64` is absent when it is `null`.
//! - Going out, a `json` payload is embedded if it is one JSON text, a `msgpack` payload is transcoded if JSON can say
//!   all of it, and everything else, `raw` always, is `payload_b64`. `format` is the publisher's in any case, so that
//!   its readers know.
//! - **`data`** of presence is transcoded both ways; what JSON cannot say is `data_b64`, base64 of its MessagePack.
//! - The items of `publications`, `members` and `changes` follow the same rules as a frame.
//!
//! JSON cannot say: binary data, extensions, floats that are not finite, integers beyond 2^53 - 1 (JavaScript would read
//! another number), map keys that are not strings, strings that are not UTF-8, and what nests so deep that the line would
//! be deeper than [`MAX_DEPTH`](super::MAX_DEPTH). Coming in, a number with a fraction or an exponent, `-0` and an
//! integer beyond 2^53 - 1 become 64-bit floats.
//!
//! A map is at most three times as long as its line, and a line at most seven times as long as its frame in MessagePack,
//! small constants aside.

mod base64;
mod error;
mod read;
mod scan;
mod show;
mod text;
mod write;

pub use error::{JsonError, What};
pub use read::to_map;
pub use write::encode;

/// The lines of a text message: cut at `\n`, without a `\r` before it, empty ones left out.
///
/// ```
/// use pulse_core::wire::json::lines;
/// assert!(lines(b"{}\r\n\n{\"a\":1}").eq([&b"{}"[..], b"{\"a\":1}"]));
/// ```
pub fn lines(message: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    message
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
}
