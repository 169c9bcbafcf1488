//! A stream in front of which some bytes were read already, with or without TLS around it.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::sys;
use crate::tls::{RECORD, Session};

/// Reads give the early bytes first, then those of the stream.
#[derive(Debug)]
pub(super) struct Prefixed {
    /// In plain, not given out from `read` on.
    early: Vec<u8>,
    read: usize,
    stream: Stream,
    tls: Option<Box<Session>>,
    /// Records that the stream did not take yet, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
}

/// What a [`Prefixed`] is made of.
#[derive(Debug)]
pub(super) struct Parts {
    /// What nobody has read.
    pub(super) early: Vec<u8>,
    pub(super) stream: Stream,
    pub(super) tls: Option<Box<Session>>,
    pub(super) unsent: Vec<u8>,
}

impl Prefixed {
    pub(super) fn new(early: Vec<u8>, stream: Stream, tls: Option<Box<Session>>, unsent: Vec<u8>) -> Self {
        Self { early, read: 0, stream, tls, unsent, sent: 0 }
    }

    pub(super) fn into_parts(mut self) -> Parts {
        self.early.drain(..self.read);
        self.unsent.drain(..self.sent);
        Parts { early: self.early, stream: self.stream, tls: self.tls, unsent: self.unsent }
    }

    /// Sends all records.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            let stream = Pin::new(&mut self.stream);
            match ready!(stream.poll_write(cx, &self.unsent[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        (self.unsent, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Waits for plaintext; without any, the stream has ended.
    fn poll_decrypt(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.read == self.early.len() {
            let Some(tls) = self.tls.as_deref_mut().filter(|tls| !tls.has_ended()) else { break };
            let mut bytes = tls.unfinished().to_vec();
            let held = bytes.len();
            bytes.resize(held + 4096, 0);
            let mut buf = ReadBuf::new(&mut bytes);
            buf.set_filled(held);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            let len = buf.filled().len();
            if len == held {
                break;
            }
            (self.early, self.read) = (Vec::new(), 0);
            let received =
                tls.receive(&mut bytes[..len], |plain| self.early.extend_from_slice(plain), &mut self.unsent);
            // Whatever the stream does not take now goes with the next write.
            let _ = self.poll_drain(cx)?;
            received.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault.to_string()))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read == self.early.len() {
            if self.tls.is_none() {
                return Pin::new(&mut self.stream).poll_read(cx, buf);
            }
            ready!(self.poll_decrypt(cx))?;
        }
        let early = &self.early[self.read..];
        let len = early.len().min(buf.remaining());
        buf.put_slice(&early[..len]);
        self.read += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(tls) = this.tls.as_deref_mut() else {
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        };
        if this.sent < this.unsent.len() {
            ready!(this.poll_drain(cx))?;
            return self.poll_write(cx, bytes);
        }
        let len = bytes.len().min(RECORD);
        tls.seal(&bytes[..len], &mut this.unsent);
        if tls.is_spent() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        // They are taken; what the stream does not take now is for the next call.
        let _ = this.poll_drain(cx)?;
        Poll::Ready(Ok(len))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.tls.is_none() {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        }
        let first = slices.iter().find(|slice| !slice.is_empty());
        self.poll_write(cx, first.map_or(&[], |slice| slice))
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_none() && self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(tls) = &mut this.tls {
            tls.finish(&mut this.unsent);
        }
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

/// A socket of either kind, as tokio has them.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Does the same with either.
macro_rules! either {
    ($stream:expr, $inner:ident => $what:expr) => {
        match $stream {
            Stream::Tcp($inner) => $what,
            Stream::Unix($inner) => $what,
        }
    };
}

impl Stream {
    /// Takes a non-blocking socket. Needs a tokio runtime around it.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        if sys::is_unix(&fd) {
            return UnixStream::from_std(fd.into()).map(Self::Unix);
        }
        TcpStream::from_std(fd.into()).map(Self::Tcp)
    }

    pub(super) fn into_fd(self) -> io::Result<OwnedFd> {
        either!(self, stream => stream.into_std().map(Into::into))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        either!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
