//! What a close frame holds: nothing, or a code and a reason (RFC 6455 5.5.1 and 7.4).

use core::str::from_utf8;

use super::{
    Violation,
    header::{MAX_CONTROL, Short},
};

/// An encoded code and reason, 2 to 125 bytes.
pub type ClosePayload = Short<MAX_CONTROL>;

/// The payload of a close frame. A reason over 123 bytes is cut, at the end of a character.
///
/// ```
/// assert_eq!(*pulse_native::ws::close_payload(1000, "bye"), *b"\x03\xe8bye");
/// ```
#[must_use]
pub fn close_payload(code: u16, reason: &str) -> ClosePayload {
    let mut out = ClosePayload::EMPTY;
    out.push(&code.to_be_bytes());
    out.push(&reason.as_bytes()[..reason.floor_char_boundary(MAX_CONTROL - 2)]);
    out
}

/// Reads the payload of a close frame.
pub(super) fn parse(payload: &[u8]) -> Result<Option<(u16, &str)>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::SHORT_CLOSE) };
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) {
        return Err(Violation::CLOSE_CODE);
    }
    let reason = from_utf8(reason).map_err(|_| Violation::CLOSE_REASON)?;
    Ok(Some((code, reason)))
}

/// Whether a peer may put this code into a frame: not those that only stand for a missing one, nor unassigned ones.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_may_be_sent_are_told_from_those_that_may_not() {
        for code in 0..=u16::MAX {
            // 1014 (bad gateway) was registered after the library's table was written.
            let expected = code == 1014 || fastwebsockets::CloseCode::from(code).is_allowed();
            assert_eq!(may_be_sent(code), expected, "close code {code}");
        }
    }

    #[test]
    fn a_close_payload_is_read_as_it_was_written() {
        for reason in ["", "bye", "größer"] {
            assert_eq!(parse(&close_payload(4001, reason)), Ok(Some((4001, reason))));
        }
    }

    #[test]
    fn a_long_reason_is_cut_at_the_end_of_a_character() {
        for (reason, kept) in [("x".repeat(123), 123), ("x".repeat(124), 123), ("é".repeat(70), 122)] {
            let payload = close_payload(1000, &reason);
            assert_eq!(payload.len(), 2 + kept);
            assert_eq!(parse(&payload), Ok(Some((1000, &reason[..kept]))));
        }
    }
}
