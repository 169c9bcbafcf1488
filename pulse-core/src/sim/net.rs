//! The wires: how long bytes are under way, that they keep their order, and how a stream of bytes is cut into messages.

use alloc::vec::Vec;

use crate::Kind;
use crate::random::Random;

/// How the network between clients and routers behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Microseconds that the fastest bytes are under way.
    pub latency_us: u32,
    /// Microseconds that the slowest are under way longer.
    pub jitter_us: u32,
    /// Bytes that are under way to one client or wait for it unread, beyond which the host's writes fall short.
    pub socket_bytes: usize,
}

impl Default for Network {
    fn default() -> Self {
        Self { latency_us: 200, jitter_us: 2_000, socket_bytes: 64 * 1024 }
    }
}

impl Network {
    /// When something that is sent now arrives, if nothing is in front of it.
    pub(super) fn arrival(&self, now: u64, random: &mut Random) -> u64 {
        now + u64::from(self.latency_us) + u64::from(random.below(self.jitter_us + 1))
    }
}

/// One direction of a link: nothing overtakes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wire {
    last: u64,
}

impl Wire {
    /// When something that would arrive at this time does.
    pub(super) fn arrival(&mut self, earliest: u64) -> u64 {
        self.last = self.last.max(earliest);
        self.last
    }
}

/// What a server's transport carries to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Message(Kind, Vec<u8>),
    Ping,
    Close(u16),
}

/// Bytes in front of each packet: a tag and a length.
pub(super) const HEADER: usize = 5;

const BINARY: u8 = 0;
const TEXT: u8 = 1;
const PING: u8 = 2;
const CLOSE: u8 = 3;

/// The header of a message.
pub(super) fn header(kind: Kind, len: usize) -> [u8; HEADER] {
    let tag = match kind {
        Kind::Binary => BINARY,
        Kind::Text => TEXT,
    };
    head(tag, len)
}

/// A whole packet that is no message.
pub(super) fn ping() -> [u8; HEADER] {
    head(PING, 0)
}

/// The last packet.
pub(super) fn close(code: u16) -> [u8; HEADER + 2] {
    let ([a, b, c, d, e], [f, g]) = (head(CLOSE, 2), code.to_be_bytes());
    [a, b, c, d, e, f, g]
}

fn head(tag: u8, len: usize) -> [u8; HEADER] {
    let [a, b, c, d] = u32::try_from(len).expect("messages are far shorter than 4 GiB").to_be_bytes();
    [tag, a, b, c, d]
}

/// Puts chunks of a stream together.
#[derive(Debug, Default)]
pub(super) struct Assembly(Vec<u8>);

impl Assembly {
    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.0.extend_from_slice(chunk);
    }

    /// The next packet that is whole.
    pub(super) fn next(&mut self) -> Option<Packet> {
        let &[tag, a, b, c, d] = self.0.first_chunk::<HEADER>()?;
        let end = HEADER + u32::from_be_bytes([a, b, c, d]) as usize;
        let body = self.0.get(HEADER..end)?;
        let packet = match tag {
            BINARY => Packet::Message(Kind::Binary, body.into()),
            TEXT => Packet::Message(Kind::Text, body.into()),
            PING => Packet::Ping,
            CLOSE => Packet::Close(u16::from_be_bytes([body[0], body[1]])),
            _ => unreachable!("only the four packets of this file are sent"),
        };
        self.0.drain(..end);
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use alloc::vec;

    #[test]
    fn packets_come_whole_however_the_stream_is_cut() {
        let mut stream = header(Kind::Text, 3).to_vec();
        stream.extend_from_slice(b"abc");
        stream.extend(ping());
        stream.extend(close(4001));
        let (mut assembly, mut packets) = (Assembly::default(), vec![]);
        for byte in stream {
            assembly.push(&[byte]);
            packets.extend(assembly.next());
        }
        assert_eq!(
            packets,
            [Packet::Message(Kind::Text, b"abc".to_vec()), Packet::Ping, Packet::Close(4001)]
        );
    }

    #[test]
    fn nothing_overtakes_on_a_wire() {
        let mut wire = Wire::default();
        assert_eq!([5, 3, 9].map(|at| wire.arrival(at)), [5, 5, 9]);
    }
}
