//! What the core knows of a transport, and the unit in which it hands out writes.

use alloc::vec::Vec;

use crate::ConnId;
use crate::wire::{Frame, PREFIX, json};

/// How one connection is spoken to. Receivers of one [`Batch`] share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// The host's transport kind (0 to 15): opaque to the core, but never mixed within a batch.
    pub class: u8,
    /// Which frames, in which encoding.
    pub dialect: Dialect,
}

/// The protocol as one client knows it (docs/PROTOCOL.md, "Dialects").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// MessagePack frames; a transport message holds one or more; the client sends `connect` first.
    V1,
    /// The same frames as text: JSON objects, one a line; the client sends `connect` first ([`wire::json`]).
    ///
    /// [`wire::json`]: crate::wire::json
    Json,
    /// A client of the first release: `connected` is sent to it on opening, it gets one frame in each
    /// transport message, is checked for life by the transport's own ping, and gets no frame type that it does not know.
    Legacy,
}

impl Dialect {
    /// What a transport message of this dialect may hold.
    #[must_use]
    pub fn framing(self) -> Framing {
        match self {
            Self::V1 | Self::Json => Framing::Whole,
            Self::Legacy => Framing::PerFrame,
        }
    }

    /// The encoding of its frames.
    pub(crate) fn encoding(self) -> Encoding {
        match self {
            Self::V1 | Self::Legacy => Encoding::MessagePack,
            Self::Json => Encoding::Json,
        }
    }

    /// The kind of transport message that carries it.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self.encoding() {
            Encoding::MessagePack => Kind::Binary,
            Encoding::Json => Kind::Text,
        }
    }
}

/// How frames become bytes. A message is encoded once for each encoding that one of its receivers has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    MessagePack,
    Json,
}

impl Encoding {
    /// How many there are.
    pub(crate) const COUNT: usize = 2;

    pub(crate) fn encode(self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        match self {
            Self::MessagePack => frame.encode(out),
            Self::Json => json::encode(frame, out),
        }
    }

    /// Length of the first frame in bytes of our own making; `None` at their end.
    pub(crate) fn frame_len(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::MessagePack => {
                let prefix = bytes.first_chunk::<PREFIX>()?;
                Some(PREFIX + u32::from_be_bytes(*prefix) as usize)
            }
            Self::Json => Some(1 + bytes.iter().position(|b| *b == b'\n')?),
        }
    }
}

/// How a batch's payload is cut into transport messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// The whole payload is one message.
    Whole,
    /// Each length-prefixed frame is a message of its own; all of them may still go out in one write.
    PerFrame,
}

/// The two kinds of message that WebSocket and its likes tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Arbitrary bytes.
    Binary,
    /// UTF-8.
    Text,
}

/// The same bytes for 1 to 256 connections: the unit in which a router hands out writes.
///
/// [`Batch::HEADROOM`] spare bytes lie in front of the payload, so that a header and all frames leave as one slice
/// that is put together once for all receivers.
#[derive(Debug)]
pub struct Batch<'a> {
    to: &'a [ConnId],
    kind: Kind,
    framing: Framing,
    class: u8,
    /// `HEADROOM` spare bytes, then the payload.
    buf: &'a mut [u8],
}

impl<'a> Batch<'a> {
    /// Spare bytes kept in front of every payload for a transport's message header.
    pub const HEADROOM: usize = 16;
    /// The most receivers that one batch names.
    pub const MAX_RECEIVERS: usize = 256;

    /// A batch over `buf`, whose first [`HEADROOM`](Self::HEADROOM) bytes are spare.
    ///
    /// # Panics
    /// If `buf` has no room for the header or there is no receiver: a bug in the engine.
    #[must_use]
    pub fn new(to: &'a [ConnId], link: Link, buf: &'a mut [u8]) -> Self {
        Self::with_kind(to, link.class, link.dialect.kind(), link.dialect.framing(), buf)
    }

    /// A batch for engines that do not speak Pulse (tests put an echo behind the same host).
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn with_kind(to: &'a [ConnId], class: u8, kind: Kind, framing: Framing, buf: &'a mut [u8]) -> Self {
        assert!(buf.len() >= Self::HEADROOM, "a batch has {} bytes of headroom", Self::HEADROOM);
        assert!(!to.is_empty(), "a batch has a receiver");
        Self { to, kind, framing, class, buf }
    }

    /// Who gets it, 1 to [`MAX_RECEIVERS`](Self::MAX_RECEIVERS) connections.
    #[must_use]
    pub fn to(&self) -> &'a [ConnId] {
        self.to
    }

    /// The host's transport kind, equal for all receivers.
    #[must_use]
    pub fn class(&self) -> u8 {
        self.class
    }

    /// Text or binary messages.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the payload is one transport message or one for each frame.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// 1 to n whole frames.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.buf[Self::HEADROOM..]
    }

    /// `header` and payload as one slice, without moving the payload.
    ///
    /// # Panics
    /// If `header` is longer than [`HEADROOM`](Self::HEADROOM): a bug in the host, not in its input.
    #[must_use]
    pub fn framed(&mut self, header: &[u8]) -> &[u8] {
        assert!(header.len() <= Self::HEADROOM, "a transport header has at most {} bytes", Self::HEADROOM);
        let start = Self::HEADROOM - header.len();
        self.buf[start..Self::HEADROOM].copy_from_slice(header);
        &self.buf[start..]
    }
}
