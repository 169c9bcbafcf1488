//! What a peer did wrong, as the code and the reason of the close frame that tells it so.

use core::fmt;

/// A rule of RFC 6455 that the peer broke, or the message limit. The connection is to be closed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    code: u16,
    reason: &'static str,
}

impl Violation {
    /// The close code: 1002 (protocol error), 1007 (not UTF-8) or 1009 (message too big).
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// What was wrong, short enough for a close frame.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    const fn protocol(reason: &'static str) -> Self {
        Self { code: 1002, reason }
    }

    // RFC 6455 5.2
    pub(super) const RESERVED_BITS: Self =
        Self::protocol("reserved bits are set, and no extension was agreed on");
    pub(super) const UNKNOWN_OPCODE: Self = Self::protocol("unknown opcode");
    pub(super) const LONG_LENGTH: Self = Self::protocol("a length takes more bytes than it needs");
    pub(super) const HUGE_LENGTH: Self = Self::protocol("the highest bit of a 64-bit length is set");
    // 5.1
    pub(super) const UNMASKED: Self = Self::protocol("a client has to mask its frames");
    pub(super) const MASKED: Self = Self::protocol("a server must not mask its frames");
    // 5.5
    pub(super) const LONG_CONTROL: Self = Self::protocol("a control frame holds at most 125 bytes");
    pub(super) const FRAGMENTED_CONTROL: Self = Self::protocol("a control frame cannot be fragmented");
    // 5.4
    pub(super) const NO_START: Self = Self::protocol("a continuation frame continues no message");
    pub(super) const NOT_CONTINUED: Self =
        Self::protocol("a new message begins before the fragmented one is complete");
    // 5.5.1 and 7.4
    pub(super) const SHORT_CLOSE: Self = Self::protocol("a close frame holds a 2-byte code or nothing");
    pub(super) const CLOSE_CODE: Self = Self::protocol("a close frame holds a code that may not be sent");
    // 8.1
    pub(super) const TEXT: Self = Self { code: 1007, reason: "a text message is not UTF-8" };
    pub(super) const CLOSE_REASON: Self =
        Self { code: 1007, reason: "the reason of a close frame is not UTF-8" };
    // 7.4.1
    pub(super) const TOO_BIG: Self =
        Self { code: 1009, reason: "the message is larger than this server takes" };
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (close code {})", self.reason, self.code)
    }
}

impl core::error::Error for Violation {}
