//! A WebSocket over TCP, as a client drives it: what is to be sent is kept here until the stream takes it, and one call
//! moves bytes both ways, so that neither side can wait for the other.

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    io,
    ops::ControlFlow,
};

use rustix::net::{RecvFlags, recv};
use tokio::{io::Interest, net::TcpStream};

use super::{Disconnected, session::Reply};
use crate::ws::{self, Opcode, Reader};

/// Bytes that one read takes at most.
const READ: usize = 64 << 10;

/// Unsent bytes beyond which nothing more is answered: a server that asks and does not listen is not to fill the memory.
const MAX_UNSENT: usize = 64 << 10;

pub(super) struct Socket {
    stream: TcpStream,
    reader: Reader,
    max_message: usize,
    /// Whole frames; the stream has not taken them yet.
    out: Vec<u8>,
    masks: Masks,
    /// Our close frame is among what was sent.
    closed: bool,
    buf: Box<[u8]>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, max_message: usize) -> Self {
        Self {
            stream,
            reader: Reader::of_server(),
            max_message,
            out: Vec::new(),
            masks: Masks::default(),
            closed: false,
            buf: vec![0; READ].into_boxed_slice(),
        }
    }

    /// Whether the stream has yet to take something.
    pub(super) fn is_unsent(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether the system holds bytes, or the end of the stream, that were not read yet.
    pub(super) fn has_input(&self) -> bool {
        recv(&self.stream, &mut [0u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT).is_ok()
    }

    /// Sends a binary message.
    pub(super) fn send(&mut self, message: &[u8]) {
        self.push(Opcode::Binary, message);
    }

    /// Sends an answer, unless too much waits already.
    pub(super) fn reply(&mut self, reply: Reply) {
        if self.out.len() < MAX_UNSENT {
            self.push(reply.opcode, &reply.payload);
        }
    }

    /// Sends a close frame, once; nothing follows it.
    pub(super) fn close(&mut self, code: u16) {
        self.push(Opcode::Close, &ws::close_payload(code, ""));
        self.closed = true;
    }

    /// Takes in bytes of the server.
    pub(super) fn feed(
        &mut self,
        bytes: &mut [u8],
        on: impl FnMut(ws::Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), Disconnected> {
        feed(&mut self.reader, bytes, self.max_message, on)
    }

    /// Waits until bytes can move and moves them, both ways. True if something was heard. May be dropped at any time.
    pub(super) async fn exchange(
        &mut self,
        on: impl FnMut(ws::Event<'_>) -> ControlFlow<()>,
    ) -> Result<bool, Disconnected> {
        let interest =
            if self.is_unsent() { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let ready = self.stream.ready(interest).await?;
        if ready.is_writable() {
            self.write();
        }
        if !ready.is_readable() && !ready.is_read_closed() {
            return Ok(false);
        }
        match self.stream.try_read(&mut self.buf) {
            Ok(0) => Err(Disconnected::Lost(io::ErrorKind::UnexpectedEof)),
            Ok(n) => feed(&mut self.reader, &mut self.buf[..n], self.max_message, on).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn push(&mut self, opcode: Opcode, payload: &[u8]) {
        if self.closed {
            return;
        }
        let mask = self.masks.next();
        ws::masked(&mut self.out, opcode, payload, mask);
        self.write();
    }

    /// Writes what the stream takes now.
    fn write(&mut self) {
        while !self.out.is_empty() {
            match self.stream.try_write(&self.out) {
                Ok(n) => drop(self.out.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Why it broke is what the server said last, if it said anything: reading will tell.
                Err(_) => self.out.clear(),
            }
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("stream", &self.stream)
            .field("unsent", &self.out.len())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

fn feed(
    reader: &mut Reader,
    bytes: &mut [u8],
    max_message: usize,
    on: impl FnMut(ws::Event<'_>) -> ControlFlow<()>,
) -> Result<(), Disconnected> {
    reader
        .feed(bytes, max_message, on)
        .map_err(|violation| Disconnected::Protocol(violation.reason().to_owned()))
}

/// Numbers that nobody can foresee, for masks and keys: a keyed hash over a counter, its key from the system.
#[derive(Default)]
pub(super) struct Masks {
    key: RandomState,
    count: u64,
}

impl Masks {
    pub(super) fn number(&mut self) -> u64 {
        self.count += 1;
        self.key.hash_one(self.count)
    }

    fn next(&mut self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.number().to_ne_bytes();
        [a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_differ_from_frame_to_frame_and_from_socket_to_socket() {
        let (mut one, mut other) = (Masks::default(), Masks::default());
        let mut seen: Vec<u64> = (0..100).flat_map(|_| [one.number(), other.number()]).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 200);
    }
}
