//! The header of a frame, both ways, and the frames that are written whole.
//!
//! Reading checks what one header can tell by itself; whether a frame fits into the stream of frames is the
//! [`Reader`](super::Reader)'s to say.

use core::ops::Deref;

use super::{Violation, mask::unmask};

/// What a frame is (RFC 6455 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Another fragment of the message that has begun.
    Continuation = 0x0,
    /// A UTF-8 message, or its first fragment.
    Text = 0x1,
    /// A message of bytes, or its first fragment.
    Binary = 0x2,
    /// The last frame of a side.
    Close = 0x8,
    /// Asks for a pong.
    Ping = 0x9,
    /// Answers a ping, or says that its sender is alive.
    Pong = 0xA,
}

impl Opcode {
    /// Whether it is one of the frames that may come between the fragments of a message.
    #[must_use]
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }
}

/// At most `N` bytes, made on the stack.
#[derive(Clone, Copy, Debug)]
pub struct Short<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

/// An encoded frame header, 2 to 10 bytes.
pub type Header = Short<10>;

impl<const N: usize> Short<N> {
    pub(super) const EMPTY: Self = Self { bytes: [0; N], len: 0 };

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }
}

impl<const N: usize> Deref for Short<N> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The header of an unmasked, unfragmented frame, as a server sends it, in front of `len` bytes of payload.
///
/// ```
/// use pulse_native::ws::{Opcode, header};
/// assert_eq!(*header(Opcode::Binary, 5), [0x82, 5]);
/// assert_eq!(*header(Opcode::Text, 300), [0x81, 126, 1, 44]);
/// ```
#[must_use]
pub fn header(opcode: Opcode, len: usize) -> Header {
    let mut out = Header::EMPTY;
    let first = FIN | opcode as u8;
    // The shortest form that holds the length is the only legal one.
    match len {
        0..=125 => out.push(&[first, len as u8]),
        126..=0xffff => {
            out.push(&[first, 126]);
            out.push(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(&[first, 127]);
            out.push(&(len as u64).to_be_bytes());
        }
    }
    out
}

/// Appends a whole unmasked control frame.
///
/// # Panics
/// If `payload` is longer than 125 bytes: what a peer sent in a control frame always fits, and
/// [`close_payload`](super::close_payload) cuts.
pub fn control(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    assert!(opcode.is_control() && payload.len() <= MAX_CONTROL, "control frames hold at most 125 bytes");
    out.extend_from_slice(&header(opcode, payload.len()));
    out.extend_from_slice(payload);
}

/// Appends a whole masked frame, as a client sends it. `mask` should not be foreseeable (RFC 6455 5.3).
pub fn masked(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: [u8; 4]) {
    let start = out.len();
    out.extend_from_slice(&header(opcode, payload.len()));
    out[start + 1] |= MASK;
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], mask);
}

pub(super) const MAX_CONTROL: usize = 125;
/// Two bytes, eight of length, four of mask.
pub(super) const MAX_HEAD: usize = 14;
const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASK: u8 = 0x80;

/// Who wrote the frames that are read: clients mask, servers do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

/// A frame header as it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    /// Zeros, which change nothing, in a frame of a server.
    pub(super) mask: [u8; 4],
    /// Bytes of payload, at most 2^63 - 1: to be held against a limit before it becomes a `usize`.
    pub(super) len: u64,
    /// Bytes of the header itself, 2 to 14.
    pub(super) size: usize,
}

impl Head {
    /// The header at the start of `bytes`; `None` if it is not there whole. What is wrong is told by the first byte
    /// that shows it.
    #[inline]
    pub(super) fn parse(bytes: &[u8], sender: Sender) -> Result<Option<Self>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        if first & RESERVED != 0 {
            return Err(Violation::RESERVED_BITS);
        }
        let Some(opcode) = Opcode::from_bits(first & 0x0f) else { return Err(Violation::UNKNOWN_OPCODE) };
        let fin = first & FIN != 0;
        if opcode.is_control() && !fin {
            return Err(Violation::FRAGMENTED_CONTROL);
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        match (sender, second & MASK != 0) {
            (Sender::Client, false) => return Err(Violation::UNMASKED),
            (Sender::Server, true) => return Err(Violation::MASKED),
            _ => {}
        }
        let short = second & !MASK;
        if opcode.is_control() && usize::from(short) > MAX_CONTROL {
            return Err(Violation::LONG_CONTROL);
        }
        let (len, mut size) = match short {
            126 => {
                let Some(len) = bytes[2..].first_chunk() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(*len)), 4)
            }
            127 => {
                let Some(len) = bytes[2..].first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*len), 10)
            }
            len => (u64::from(len), 2),
        };
        if len >> 63 != 0 {
            return Err(Violation::HUGE_LENGTH);
        }
        if (size == 4 && len < 126) || (size == 10 && len <= 0xffff) {
            return Err(Violation::LONG_LENGTH);
        }
        let mut mask = [0; 4];
        if sender == Sender::Client {
            let Some(bytes) = bytes[size..].first_chunk() else { return Ok(None) };
            mask = *bytes;
            size += 4;
        }
        Ok(Some(Self { opcode, fin, mask, len, size }))
    }
}

#[cfg(test)]
mod tests {
    use fastwebsockets::{Frame, OpCode, Payload};

    use super::*;

    const OPCODES: [(Opcode, OpCode); 6] = [
        (Opcode::Continuation, OpCode::Continuation),
        (Opcode::Text, OpCode::Text),
        (Opcode::Binary, OpCode::Binary),
        (Opcode::Close, OpCode::Close),
        (Opcode::Ping, OpCode::Ping),
        (Opcode::Pong, OpCode::Pong),
    ];

    #[test]
    fn headers_are_those_of_fastwebsockets() {
        for (ours, theirs) in OPCODES {
            for len in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
                let payload = vec![0; len];
                let mut expected = [0; 16];
                let size =
                    Frame::new(true, theirs, None, Payload::Borrowed(&payload)).fmt_head(&mut expected);
                assert_eq!(*header(ours, len), expected[..size], "{ours:?} of {len} bytes");
            }
        }
    }

    #[test]
    fn masked_frames_are_those_of_fastwebsockets() {
        for (ours, theirs) in OPCODES {
            for len in [0, 1, 7, 125, 126, 65_536] {
                let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let mask = [0xa1, 2, 0x33, 4];
                let mut frame = Frame::new(true, theirs, Some(mask), Payload::Owned(payload.clone()));
                frame.mask();
                let mut out = b"before".to_vec();
                masked(&mut out, ours, &payload, mask);
                assert_eq!(out[6..], *frame.write(&mut Vec::new()), "{ours:?} of {len} bytes");
            }
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written_and_only_when_it_is_whole() {
        for len in [0, 125, 126, 65_535, 65_536] {
            let mut bytes = Vec::new();
            masked(&mut bytes, Opcode::Binary, &vec![0; len], [1, 2, 3, 4]);
            let size = bytes.len() - len;
            for cut in 0..size {
                assert_eq!(Head::parse(&bytes[..cut], Sender::Client), Ok(None), "{cut} of {size} bytes");
            }
            let head = Head { opcode: Opcode::Binary, fin: true, mask: [1, 2, 3, 4], len: len as u64, size };
            assert_eq!(Head::parse(&bytes, Sender::Client), Ok(Some(head)));
        }
    }

    #[test]
    #[should_panic(expected = "at most 125 bytes")]
    fn a_control_frame_of_ours_is_never_too_long() {
        control(&mut Vec::new(), Opcode::Ping, &[0; 126]);
    }
}
