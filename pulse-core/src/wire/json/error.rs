//! What can be wrong with a line, as values with a text for people.
//!
//! All of it is malformed in the sense of [`DecodeError`](crate::wire::DecodeError): text that is not one JSON object
//! cannot be answered under an id. An object that is no frame is [`decode`](crate::wire::decode)'s to find.

use core::error::Error;
use core::fmt;

use crate::wire::MAX_DEPTH;

/// Why a line is not one well-formed JSON object: the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Where, in bytes from the beginning of the line.
    pub at: usize,
    /// What was wrong there.
    pub what: What,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.at, self.what)
    }
}

impl Error for JsonError {}

/// What is wrong with a line of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The text ends within the object.
    Ended,
    /// A value, but not an object.
    NotAnObject,
    /// Something else has to stand here.
    Expected(&'static str),
    /// A control character stands in a string as it is.
    Control,
    /// A backslash that begins no escape of JSON.
    Escape,
    /// Half of a surrogate pair, without the other half.
    Surrogate,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A number that is too large for a 64-bit float.
    OutOfRange,
    /// Arrays and objects are nested more than [`MAX_DEPTH`] deep.
    TooDeep,
    /// The line is longer than 1 GiB.
    TooLong,
    /// More text follows the object.
    Trailing,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "the line ends within a value: a frame has to be one whole JSON object on one line",
            Self::NotAnObject => "the line is not a JSON object: a frame has to be one",
            Self::Expected(expected) => return write!(f, "{expected} has to stand here"),
            Self::Control => "a control character in a string: it has to be escaped",
            Self::Escape => {
                "an unknown escape: a backslash has to be followed by one of \" \\ / b f n r t or by u and four \
                 hexadecimal digits"
            }
            Self::Surrogate => "half a surrogate pair: both halves have to be there, the high one first",
            Self::NotUtf8 => "the text is not UTF-8",
            Self::OutOfRange => "the number is out of range: it has to fit a 64-bit float",
            Self::TooDeep => {
                return write!(f, "arrays and objects are nested too deep: {MAX_DEPTH} levels are allowed");
            }
            Self::TooLong => "the line is too long: 1 GiB is allowed",
            Self::Trailing => "text follows the object: a line has to be exactly one object",
        })
    }
}
