//! Frames that are kept: what a client was told, and messages in the encoding of its dialect.

use alloc::vec::Vec;
use core::fmt;

use crate::Dialect;
use crate::wire::{self, Frame, Split, json};

/// One frame with its bytes, for those who look at it later than it came.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnedFrame {
    /// MessagePack, whatever the dialect was. Invariant: it decodes.
    map: Vec<u8>,
}

impl OwnedFrame {
    /// Keeps a copy of a frame.
    #[must_use]
    pub fn new(frame: &Frame<'_>) -> Self {
        let mut map = Vec::new();
        frame.encode(&mut map);
        map.drain(..wire::PREFIX);
        Self { map }
    }

    /// The frame.
    #[must_use]
    pub fn get(&self) -> Frame<'_> {
        wire::decode(&self.map).expect("it was decoded once before it was kept")
    }

    fn read(map: &[u8]) -> Result<Self, NoFrames> {
        wire::decode(map).map_err(|_| NoFrames)?;
        Ok(Self { map: map.into() })
    }
}

/// As short as a line of a trace has to be.
impl fmt::Debug for OwnedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Frame::Publish(publish) => {
                let mut bytes = Vec::new();
                publish.payload.append_to(&mut bytes);
                let start = bytes[..bytes.len().min(16)].escape_ascii();
                write!(f, "publish {} {start} of {} B", publish.channel, bytes.len())?;
                publish.offset.map_or(Ok(()), |offset| write!(f, ", number {offset}"))?;
                publish.id.map_or(Ok(()), |id| write!(f, ", id {id}"))?;
                publish.key.map_or(Ok(()), |key| write!(f, ", key {key}"))
            }
            Frame::Subscribe(subscribe) => {
                write!(f, "subscribe {} {}", subscribe.id, subscribe.channel)?;
                subscribe.recover.map_or(Ok(()), |at| write!(f, ", behind {}:{}", at.epoch, at.offset))?;
                subscribe.latest.map_or(Ok(()), |latest| write!(f, ", latest {latest}"))
            }
            Frame::Unsubscribe(leave) => write!(f, "unsubscribe {} {}", leave.id, leave.channel),
            Frame::Ack(ack) => {
                write!(f, "ack {}", ack.id)?;
                let position = ack.epoch.zip(ack.offset);
                position.map_or(Ok(()), |(epoch, offset)| write!(f, " at {epoch}:{offset}"))?;
                ack.recovered.map_or(Ok(()), |recovered| write!(f, ", recovered {recovered}"))
            }
            Frame::Error(error) => write!(f, "error {} {}", error.id, error.code),
            Frame::Gap(gap) => write!(f, "gap {} {:?} {}", gap.channel, gap.count, gap.reason),
            Frame::Disconnect(end) => write!(f, "disconnect {}", end.code),
            other => other.fmt(f),
        }
    }
}

/// A transport message that is not made of whole frames of its dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFrames;

/// One transport message with these frames, as a client of this dialect sends it.
#[must_use]
pub fn message(dialect: Dialect, frames: &[Frame<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| dialect.encoding().encode(frame, &mut bytes));
    bytes
}

/// The frames of one transport message that a client of this dialect got.
///
/// # Errors
/// [`NoFrames`] if the message is not made of whole frames: a bug of the server.
pub fn frames(dialect: Dialect, message: &[u8]) -> Result<Vec<OwnedFrame>, NoFrames> {
    let mut frames = Vec::new();
    if dialect == Dialect::Json {
        let mut map = Vec::new();
        for line in json::lines(message) {
            json::to_map(line, &mut map).map_err(|_| NoFrames)?;
            frames.push(OwnedFrame::read(&map)?);
        }
    } else {
        let mut bytes = message;
        while let Split::Frame { map, rest } = wire::split(bytes, bytes.len()) {
            frames.push(OwnedFrame::read(map)?);
            bytes = rest;
        }
        if !bytes.is_empty() {
            return Err(NoFrames);
        }
    }
    // An old client reads exactly one frame from each message.
    let right = if dialect == Dialect::Legacy { frames.len() == 1 } else { !frames.is_empty() };
    if right { Ok(frames) } else { Err(NoFrames) }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::wire::{Publish, Unsubscribe};

    #[test]
    fn every_dialect_gives_the_frames_back() {
        let sent = [
            Frame::Unsubscribe(Unsubscribe { id: 7, channel: "news" }),
            Frame::Publish(Publish {
                channel: "news",
                payload: (&b"\xff\x00"[..]).into(),
                ..Publish::default()
            }),
        ];
        for dialect in [Dialect::V1, Dialect::Json] {
            let kept = frames(dialect, &message(dialect, &sent)).unwrap();
            assert!(kept.iter().map(OwnedFrame::get).eq(sent), "{dialect:?}");
        }
        assert_eq!(frames(Dialect::Legacy, &message(Dialect::Legacy, &sent)), Err(NoFrames));
        assert_eq!(frames(Dialect::V1, b"\0\0\0\x01"), Err(NoFrames));
    }
}
