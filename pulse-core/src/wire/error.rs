//! What can be wrong with the bytes of a frame, as values with a text for people.
//!
//! The line between the two kinds decides what happens to the sender: [`Malformed`] bytes cannot be followed by
//! anything that makes sense, so the connection ends; an [`Invalid`] frame is answered and the connection lives on.

use core::error::Error;
use core::fmt;

use super::MAX_DEPTH;

/// Why [`decode`](super::decode) returned no frame. Which of the two it is does not depend on the order of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Not one well-formed MessagePack map: the connection is closed.
    Malformed(Malformed),
    /// A well-formed map that is no frame of this protocol: error 1001 under its id.
    Invalid(Invalid),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Invalid(invalid) => invalid.what.fmt(f),
        }
    }
}

impl Error for DecodeError {}

/// Why bytes are not one well-formed MessagePack map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// A value announces more than the bytes that are left.
    Truncated,
    /// A well-formed value, but not a map.
    NotAMap,
    /// The byte 0xc1, which begins no value.
    Reserved,
    /// Arrays and maps are nested more than [`MAX_DEPTH`] deep.
    TooDeep,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => {
                f.write_str("the frame ends within a value: its length prefix has to cover the whole map")
            }
            Self::NotAMap => {
                f.write_str("the frame is not a MessagePack map: it has to be one map with string keys")
            }
            Self::Reserved => f.write_str("the byte 0xc1 begins no MessagePack value"),
            Self::TooDeep => write!(f, "arrays and maps are nested too deep: {MAX_DEPTH} levels are allowed"),
        }
    }
}

impl Error for Malformed {}

/// A well-formed map that is no frame of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The map's `id`; 0 when it has none, has it twice, or has one that is out of range.
    pub id: u64,
    /// What was wrong; its `Display` is the `message` of an `error` frame.
    pub what: What,
}

/// What is wrong with a well-formed map. When several things are, any one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// `type` is a string, but names no frame.
    UnknownType,
    /// A key that this type of frame needs is absent or `nil`.
    MissingKey(&'static str),
    /// A key that this type of frame has stands in it twice.
    RepeatedKey(&'static str),
    /// The value is of another type, or out of range.
    WrongType {
        /// The key in the frame's map.
        key: &'static str,
        /// What its value has to be.
        expected: &'static str,
    },
    /// Bytes follow the map.
    TrailingBytes,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType => {
                f.write_str("type is unknown: it has to be a frame type of protocol version 1")
            }
            Self::MissingKey(key) => write!(f, "{key} is missing: frames of this type need it"),
            Self::RepeatedKey(key) => write!(f, "{key} is repeated: each key has to come once"),
            Self::WrongType { key, expected } => {
                write!(f, "{key} has the wrong type or range: it has to be {expected}")
            }
            Self::TrailingBytes => f.write_str("bytes follow the map: a frame has to be exactly one map"),
        }
    }
}

/// A decoder's own view of trouble, found on its way through the map and judged only when the whole map is known.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Malformed(Malformed),
    What(What),
}

impl From<Malformed> for Fault {
    #[cold]
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

#[cold]
pub(super) fn wrong(key: &'static str, expected: &'static str) -> Fault {
    Fault::What(What::WrongType { key, expected })
}

#[cold]
pub(super) fn missing(key: &'static str) -> Fault {
    Fault::What(What::MissingKey(key))
}

#[cold]
pub(super) fn repeated(key: &'static str) -> Fault {
    Fault::What(What::RepeatedKey(key))
}
