//! A client that is no more than a socket: bytes prepared beforehand go out, frames that come in are counted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use pulse_core::wire::{self, Connect, Frame, Payload, Point, Publish, Subscribe};

use crate::Target;
use crate::stream::Stream;

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Subprotocol `pulse.v1`.
    V1,
    /// No subprotocol: a client of the first release.
    Legacy,
    /// No Pulse at all: a binary message is a payload, a text asks for the subscription (the peers in `peers/`).
    Raw,
}

/// One connection. Blocking until [`set_nonblocking`](Self::set_nonblocking).
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    dialect: Dialect,
    upgraded: bool,
    /// Bytes of an incomplete head or WebSocket frame.
    rest: Vec<u8>,
    /// Bytes of the largest message so far.
    largest: usize,
}

impl Client {
    /// Connects and asks for the upgrade; [`read`](Self::read) takes the answer.
    ///
    /// # Errors
    /// As [`TcpStream::connect`](std::net::TcpStream::connect) and [`write_all`](Self::write_all).
    pub fn begin(target: &Target, dialect: Dialect) -> io::Result<Self> {
        let mut stream = Stream::connect(target)?;
        let addr = target.addr;
        let protocol = if dialect == Dialect::V1 { "Sec-WebSocket-Protocol: pulse.v1\r\n" } else { "" };
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n{protocol}\r\n"
        );
        stream.write_all(request.as_bytes())?;
        Ok(Self { stream, dialect, upgraded: false, rest: Vec::new(), largest: 0 })
    }

    /// Connects, upgrades and opens a session.
    ///
    /// # Errors
    /// If the server refuses, or does not answer within ten seconds.
    pub fn connect(target: &Target, dialect: Dialect) -> io::Result<Self> {
        let mut client = Self::begin(target, dialect)?;
        client.stream.set_read_timeout(Duration::from_secs(10))?;
        let (mut buffer, mut seen) = (vec![0; 64 * 1024], 0);
        while !client.upgraded {
            client.read_some(&mut buffer, |_| seen += 1)?;
        }
        if dialect == Dialect::V1 {
            let mut out = Vec::new();
            message(&mut out, encode_connect);
            client.stream.write_all(&out)?;
        }
        while seen == 0 && dialect != Dialect::Raw {
            client.read_some(&mut buffer, |_| seen += 1)?;
        }
        Ok(client)
    }

    /// Subscribes and waits for the answer.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn subscribe(&mut self, channel: &str) -> io::Result<()> {
        let mut out = Vec::new();
        match self.dialect {
            Dialect::Raw => raw_subscribe(&mut out),
            Dialect::V1 | Dialect::Legacy => message(&mut out, |out| encode_subscribe(channel, out)),
        }
        self.stream.write_all(&out)?;
        let (mut buffer, mut seen) = (vec![0; 64 * 1024], 0);
        while seen == 0 {
            self.read_some(&mut buffer, |_| seen += 1)?;
        }
        Ok(())
    }

    /// The one message with which a fresh connection opens its session and subscribes, ready to be written after the
    /// upgrade. `is_subscribed` knows its answer.
    #[must_use]
    pub fn opening(dialect: Dialect, channel: &str) -> Vec<u8> {
        let mut out = Vec::new();
        match dialect {
            Dialect::Raw => raw_subscribe(&mut out),
            Dialect::V1 => message(&mut out, |out| {
                encode_connect(out);
                encode_subscribe(channel, out);
            }),
            Dialect::Legacy => message(&mut out, |out| encode_subscribe(channel, out)),
        }
        out
    }

    /// As [`opening`](Self::opening) in the dialect `pulse.v1`, for a client that was there before and has everything up to
    /// this position.
    #[must_use]
    pub fn returning(channel: &str, position: Point<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        message(&mut out, |out| {
            encode_connect(out);
            let recover = Some(position);
            Frame::Subscribe(Subscribe { id: SUBSCRIBE_ID, channel, recover, ..Subscribe::default() })
                .encode(out);
        });
        out
    }

    /// Whether the server has answered the upgrade.
    #[must_use]
    pub fn is_upgraded(&self) -> bool {
        self.upgraded
    }

    /// Bytes of the largest message that the server has sent so far.
    #[must_use]
    pub fn largest_message(&self) -> usize {
        self.largest
    }

    /// From now on reads and writes return `WouldBlock` instead of waiting.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        self.stream.set_nonblocking()
    }

    /// Bounds what the kernel keeps of what was written and the server has not room for; it takes about twice as much.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set_send_buffer(&self, bytes: usize) -> io::Result<()> {
        Ok(rustix::net::sockopt::set_socket_send_buffer_size(&self.stream, bytes)?)
    }

    /// Writes some of `bytes`.
    ///
    /// # Errors
    /// As [`Write::write`](std::io::Write::write).
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    /// Writes all of `bytes`, which has to fit into the socket's buffer if the client does not wait.
    ///
    /// # Errors
    /// As [`Write::write_all`](std::io::Write::write_all).
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads once and hands each frame, without its prefix, or each raw message to `on`. 0 bytes are the end of the stream.
    ///
    /// # Errors
    /// As [`Read::read`](std::io::Read::read), and if the server refuses the upgrade.
    pub fn read(&mut self, buffer: &mut [u8], mut on: impl FnMut(&[u8])) -> io::Result<usize> {
        let kept = self.rest.len();
        if kept >= buffer.len() {
            return Err(io::Error::other(format!(
                "the server sent a message of more than {} bytes",
                buffer.len()
            )));
        }
        buffer[..kept].copy_from_slice(&self.rest);
        let n = self.stream.read(&mut buffer[kept..])?;
        let mut bytes = &buffer[..kept + n];
        if !self.upgraded
            && let Some(head) = answer(bytes)?
        {
            self.upgraded = true;
            bytes = &bytes[head..];
        }
        let used = if self.upgraded { frames(bytes, self.dialect, &mut self.largest, &mut on) } else { 0 };
        self.rest.clear();
        self.rest.extend_from_slice(&bytes[used..]);
        Ok(n)
    }

    /// As [`read`](Self::read), but the end of the stream is an error.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_some(&mut self, buffer: &mut [u8], on: impl FnMut(&[u8])) -> io::Result<()> {
        match self.read(buffer, on)? {
            0 => Err(io::Error::other("the server closed the connection")),
            _ => Ok(()),
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Whether a frame, or a raw message, is the answer to [`Client::opening`].
///
/// # Errors
/// What the server says against it.
pub(crate) fn is_subscribed(frame: &[u8], dialect: Dialect) -> io::Result<bool> {
    if dialect == Dialect::Raw {
        return Ok(frame == RAW_SUBSCRIBED);
    }
    match wire::decode(frame) {
        Ok(Frame::Ack(ack)) => Ok(ack.id == SUBSCRIBE_ID),
        Ok(frame) => complaint(&frame).map_or(Ok(false), Err),
        Err(_) => Ok(false),
    }
}

/// What the server has against a request, or against the whole connection.
pub(crate) fn complaint(frame: &Frame<'_>) -> Option<io::Error> {
    let (code, text) = match frame {
        Frame::Error(error) => (error.code, error.message),
        Frame::Disconnect(end) => (end.code, end.reason),
        _ => return None,
    };
    Some(io::Error::other(format!("the server says {code}: {text}")))
}

/// The id that every subscription of these clients is requested under.
const SUBSCRIBE_ID: u64 = 1;

/// What a peer in `peers/` takes for a request to subscribe, and answers; both are text.
const RAW_SUBSCRIBE: &[u8] = b"subscribe";
const RAW_SUBSCRIBED: &[u8] = b"subscribed";

fn encode_connect(out: &mut Vec<u8>) {
    Frame::Connect(Connect { version: 1, ..Connect::default() }).encode(out);
}

fn encode_subscribe(channel: &str, out: &mut Vec<u8>) {
    Frame::Subscribe(Subscribe { id: SUBSCRIBE_ID, channel, ..Subscribe::default() }).encode(out);
}

fn raw_subscribe(out: &mut Vec<u8>) {
    masked(0x81, RAW_SUBSCRIBE, out);
}

/// Appends one masked binary WebSocket message whose payload `encode` writes.
pub(crate) fn message(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut payload = Vec::new();
    encode(&mut payload);
    masked(0x82, &payload, out);
}

/// Appends one WebSocket message with this first byte. The mask is zero, which is legal.
fn masked(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(first);
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
    out.extend_from_slice(payload);
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

/// How long the head of the answer to an upgrade is, once it is there whole.
fn answer(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    if !bytes.starts_with(b"HTTP/1.1 101") {
        let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        return Err(io::Error::other(format!("no upgrade: {}", String::from_utf8_lossy(line))));
    }
    Ok(Some(at + 4))
}

/// Hands each frame in whole server messages to `on`; returns how many bytes these messages are. `largest` is the
/// largest of them, or what it was.
fn frames(bytes: &[u8], dialect: Dialect, largest: &mut usize, on: &mut impl FnMut(&[u8])) -> usize {
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
        *largest = len.max(*largest);
        if matches!(bytes[at] & 15, 1 | 2) && dialect == Dialect::Raw {
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
