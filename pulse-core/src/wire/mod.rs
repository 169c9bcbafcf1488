//! The bytes of protocol version 1: frames, their MessagePack encoding, the length prefix and the code table.
//!
//! A frame on the wire is a `u32` big-endian length and one MessagePack map with string keys, `type` among them.
//! Decoding borrows from the input and allocates nothing; encoding appends to the caller's buffer.

mod code;
mod error;
mod frame;
pub mod json;
mod mp;
mod read;
mod split;
mod value;
mod write;

pub use code::{CLOSES, CloseCode, CloseRow, ERRORS, ErrorCode, ErrorRow};
pub use error::{DecodeError, Invalid, Malformed, What};
pub use frame::{
    Ack, Connect, Connected, Disconnect, ErrorFrame, Format, Frame, Gap, History, Point, Presence,
    PresenceAction, Publish, Refresh, Subscribe, Unsubscribe, Unsubscribed,
};

pub use read::decode;
pub use split::{PREFIX, Split, split};
pub(crate) use value::MembersBuf;
pub use value::{List, Member, Members, Payload, Publications, Tags, Value};

/// How deep arrays and maps may be nested in a frame, the frame's own map counted.
pub const MAX_DEPTH: usize = 32;

/// How deep arrays and maps may be nested in a [`Value`]: what the deepest place for one, a member of a list in a
/// frame, leaves over.
pub const MAX_VALUE_DEPTH: usize = MAX_DEPTH - 3;

/// The largest number in a frame: the largest that JavaScript counts to without skipping any.
pub const MAX_SAFE: u64 = (1 << 53) - 1;
