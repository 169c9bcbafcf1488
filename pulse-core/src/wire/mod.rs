//! The bytes of protocol version 1: frames, their MessagePack encoding, the length prefix and the code table.
//!
//! A frame on the wire is a `u32` big-endian length and one MessagePack map with string keys, `type` among them.
//! Decoding borrows from the input and allocates nothing; encoding appends to the caller's buffer.

mod code;
mod frame;

pub use code::{CLOSES, CloseCode, CloseRow, ERRORS, ErrorCode, ErrorRow};
pub use frame::{
    Ack, Connect, Connected, Disconnect, ErrorFrame, Format, Frame, Gap, History, Point, Presence, PresenceAction,
    Publish, Refresh, Subscribe, Unsubscribe, Unsubscribed,
};
