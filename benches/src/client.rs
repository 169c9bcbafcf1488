//! A client that is no more than a socket: bytes prepared beforehand go out, frames that come in are counted.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use pulse_core::wire::{Connect, Frame, Payload, Publish, Subscribe};

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Subprotocol `pulse.v1`.
    V1,
    /// No subprotocol: a client of the first release.
    Legacy,
    /// No Pulse at all: every message is a payload, and connecting is subscribing (the peers in `peers/`).
    Raw,
}

/// One connection. Blocking until [`set_nonblocking`](Self::set_nonblocking).
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    dialect: Dialect,
    /// Bytes of an incomplete WebSocket frame.
    rest: Vec<u8>,
}

impl Client {
    /// Connects, upgrades and opens a session.
    ///
    /// # Errors
    /// If the server refuses, or does not answer within ten seconds.
    pub fn connect(addr: SocketAddr, dialect: Dialect) -> io::Result<Self> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let protocol = if dialect == Dialect::V1 { "Sec-WebSocket-Protocol: pulse.v1\r\n" } else { "" };
        let mut request = format!(
            "GET /ws HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n{protocol}\r\n"
        )
        .into_bytes();
        if dialect == Dialect::V1 {
            message(&mut request, |out| {
                Frame::Connect(Connect { version: 1, ..Connect::default() }).encode(out);
            });
        }
        stream.write_all(&request)?;
        let mut client = Self { stream, dialect, rest: Vec::new() };
        let mut buffer = vec![0; 4096];
        let head = loop {
            let n = client.stream.read(&mut buffer)?;
            if n == 0 {
                return Err(io::Error::other("the server closed the connection during the upgrade"));
            }
            client.rest.extend_from_slice(&buffer[..n]);
            if let Some(at) = client.rest.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
        };
        if !client.rest.starts_with(b"HTTP/1.1 101") {
            let line = client.rest.split(|b| *b == b'\r').next().unwrap_or_default();
            return Err(io::Error::other(format!("no upgrade: {}", String::from_utf8_lossy(line))));
        }
        client.rest.drain(..head);
        if dialect != Dialect::Raw {
            client.expect(1)?;
        }
        Ok(client)
    }

    /// Subscribes and waits for the answer.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn subscribe(&mut self, channel: &str) -> io::Result<()> {
        if self.dialect == Dialect::Raw {
            return Ok(());
        }
        let mut out = Vec::new();
        let subscribe = Subscribe { id: 1, channel, ..Subscribe::default() };
        message(&mut out, |out| Frame::Subscribe(subscribe).encode(out));
        self.stream.write_all(&out)?;
        self.expect(1)
    }

    /// From now on reads and writes return `WouldBlock` instead of waiting.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        self.stream.set_nonblocking(true)
    }

    /// Writes some of `bytes`.
    ///
    /// # Errors
    /// As [`Write::write`].
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    /// Writes all of `bytes`, which has to fit into the socket's buffer if the client does not wait.
    ///
    /// # Errors
    /// As [`Write::write_all`].
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads once and hands each frame, without its prefix, or each raw message to `on`. 0 bytes are the end of the stream.
    ///
    /// # Errors
    /// As [`Read::read`].
    pub fn read(&mut self, buffer: &mut [u8], mut on: impl FnMut(&[u8])) -> io::Result<usize> {
        let kept = self.rest.len();
        buffer[..kept].copy_from_slice(&self.rest);
        let n = self.stream.read(&mut buffer[kept..])?;
        let bytes = &buffer[..kept + n];
        let used = frames(bytes, self.dialect, &mut on);
        self.rest.clear();
        self.rest.extend_from_slice(&bytes[used..]);
        Ok(n)
    }

    fn expect(&mut self, frames: usize) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut seen = 0;
        let kept = std::mem::take(&mut self.rest);
        let used = self::frames(&kept, self.dialect, &mut |_| seen += 1);
        self.rest.extend_from_slice(&kept[used..]);
        while seen < frames {
            if self.read(&mut buffer, |_| seen += 1)? == 0 {
                return Err(io::Error::other("the server closed the connection"));
            }
        }
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Appends one masked binary WebSocket message whose payload `encode` writes. The mask is zero, which is legal.
pub(crate) fn message(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut payload = Vec::new();
    encode(&mut payload);
    out.push(0x82);
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=65_535 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&payload);
}

impl Client {
    /// The bytes of one publication without an id, ready to be written.
    #[must_use]
    pub fn publication(dialect: Dialect, channel: &str, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if dialect == Dialect::Raw {
            message(&mut out, |out| out.extend_from_slice(payload));
            return out;
        }
        let publish = Publish { channel, payload: Payload::from(payload), ..Publish::default() };
        message(&mut out, |out| publish.encode(out));
        out
    }
}

/// Hands each frame in whole server messages to `on`; returns how many bytes these messages are.
fn frames(bytes: &[u8], dialect: Dialect, on: &mut impl FnMut(&[u8])) -> usize {
    let mut at = 0;
    while bytes.len() >= at + 2 {
        let (len, head) = match bytes[at + 1] & 127 {
            126 if bytes.len() >= at + 4 => {
                (usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]])), 4)
            }
            127 if bytes.len() >= at + 10 => {
                let len: [u8; 8] = bytes[at + 2..at + 10].try_into().expect("eight bytes");
                (u64::from_be_bytes(len) as usize, 10)
            }
            126 | 127 => break,
            len => (usize::from(len), 2),
        };
        let Some(mut payload) = bytes.get(at + head..at + head + len) else { break };
        if bytes[at] & 15 == 2 && dialect == Dialect::Raw {
            on(payload);
        } else if bytes[at] & 15 == 2 {
            while let Some((prefix, rest)) = payload.split_first_chunk::<4>() {
                let len = u32::from_be_bytes(*prefix) as usize;
                on(&rest[..len]);
                payload = &rest[len..];
            }
        }
        at += head + len;
    }
    at
}
