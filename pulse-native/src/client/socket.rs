//! A WebSocket as a client drives it: what is to be sent is kept here until the stream takes it, and one call moves bytes
//! both ways, so that neither side can wait for the other.

use std::{
    fmt,
    future::poll_fn,
    hash::{BuildHasher as _, RandomState},
    io,
    ops::ControlFlow,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    time::timeout,
};

use super::{Disconnected, stream::Stream};
use crate::ws::{self, Opcode, Reader};

/// Bytes that one read takes at most.
const READ: usize = 32 << 10;

/// Unsent bytes beyond which nothing more should be sent, and no ping is answered: a server that asks and does not listen
/// is not to fill the memory.
const MAX_UNSENT: usize = 64 << 10;

/// How long the server may take to hear that the client leaves.
const LEAVE: Duration = Duration::from_secs(1);

pub(super) struct Socket {
    stream: Stream,
    reader: Reader,
    max_message: usize,
    /// Whole frames, of which the stream has taken `taken` bytes.
    out: Vec<u8>,
    taken: usize,
    /// The stream may keep what it has taken until it is told to let it go.
    flush: bool,
    masks: Masks,
    /// Our close frame is among what was sent.
    closed: bool,
    buf: Box<[u8]>,
}

impl Socket {
    pub(super) fn new(stream: Stream, max_message: usize) -> Self {
        Self {
            stream,
            reader: Reader::of_server(),
            max_message,
            out: Vec::new(),
            taken: 0,
            flush: false,
            masks: Masks::default(),
            closed: false,
            buf: vec![0; READ].into_boxed_slice(),
        }
    }

    /// Whether so much waits for the stream that nothing more should be sent.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() - self.taken >= MAX_UNSENT
    }

    /// Sends a binary message with the next [`exchange`](Self::exchange).
    pub(super) fn send(&mut self, message: &[u8]) {
        self.push(Opcode::Binary, message);
    }

    /// Answers a ping, unless too much waits already.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        if !self.is_full() {
            self.push(Opcode::Pong, payload);
        }
    }

    /// Takes in bytes of the server.
    pub(super) fn feed(
        &mut self,
        bytes: &mut [u8],
        on: impl FnMut(ws::Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), Disconnected> {
        feed(&mut self.reader, bytes, self.max_message, on)
    }

    /// Waits until bytes can move and moves them, both ways, or only out. May be dropped at any time.
    pub(super) async fn exchange(
        &mut self,
        read: bool,
        mut on: impl FnMut(ws::Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), Disconnected> {
        poll_fn(|cx| self.poll_exchange(read, &mut on, cx)).await
    }

    /// Takes leave: says so and waits for the server to have heard it, for a second at most.
    pub(super) async fn leave(mut self, code: u16) {
        self.push(Opcode::Close, &ws::close_payload(code, ""));
        self.closed = true;
        let heard = async { while self.exchange(true, |_| ControlFlow::Continue(())).await.is_ok() {} };
        // A server that does not answer is left without its answer.
        let _ = timeout(LEAVE, heard).await;
    }

    fn poll_exchange(
        &mut self,
        read: bool,
        on: &mut impl FnMut(ws::Event<'_>) -> ControlFlow<()>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Disconnected>> {
        let moved = self.poll_write(cx);
        if read {
            let mut buf = ReadBuf::new(&mut self.buf);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    return Poll::Ready(Err(Disconnected::Lost(io::ErrorKind::UnexpectedEof)));
                }
                Poll::Ready(Ok(())) => {
                    return Poll::Ready(feed(&mut self.reader, buf.filled_mut(), self.max_message, on));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {}
            }
        }
        if moved { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Writes what the stream takes now; true if that was anything.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while self.taken < self.out.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.out[self.taken..]) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.taken += n;
                    (moved, self.flush) = (true, true);
                }
                // Why it broke is what the server said last, if it said anything: reading will tell.
                Poll::Ready(_) => self.taken = self.out.len(),
                Poll::Pending => break,
            }
        }
        if self.taken == self.out.len() && self.taken > 0 {
            self.out.clear();
            self.out.shrink_to(2 * MAX_UNSENT);
            self.taken = 0;
        } else if self.taken > MAX_UNSENT {
            self.out.drain(..self.taken);
            self.taken = 0;
        }
        if self.flush && Pin::new(&mut self.stream).poll_flush(cx).is_ready() {
            self.flush = false;
        }
        moved
    }

    fn push(&mut self, opcode: Opcode, payload: &[u8]) {
        if !self.closed {
            let mask = self.masks.next();
            ws::masked(&mut self.out, opcode, payload, mask);
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("stream", &self.stream)
            .field("unsent", &(self.out.len() - self.taken))
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
    reader.feed(bytes, max_message, on).map_err(|violation| Disconnected::Protocol(violation.reason()))
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
