//! A TCP stream in front of which some bytes were read already.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Reads give the early bytes first, then those of the stream.
#[derive(Debug)]
pub(super) struct Prefixed {
    early: Vec<u8>,
    read: usize,
    stream: TcpStream,
}

impl Prefixed {
    pub(super) fn new(early: Vec<u8>, stream: TcpStream) -> Self {
        Self { early, read: 0, stream }
    }

    /// The early bytes that nobody has read, and the stream.
    pub(super) fn into_parts(mut self) -> (Vec<u8>, TcpStream) {
        self.early.drain(..self.read);
        (self.early, self.stream)
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let early = &self.early[self.read..];
        if early.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let len = early.len().min(buf.remaining());
        buf.put_slice(&early[..len]);
        self.read += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
