//! What a connection that cannot take more still has to get: whole frames, in order, bounded by bytes.

use alloc::vec::Vec;

use crate::limits::WRITE_BYTES;
use crate::link::Encoding;

/// Frames that wait for one connection.
#[derive(Debug)]
pub(crate) struct Queue {
    encoding: Encoding,
    bytes: Vec<u8>,
    /// Bytes at the front that were handed out already.
    at: usize,
    /// Whether the host takes bytes for this connection again.
    pub(crate) writable: bool,
}

impl Queue {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Self { encoding, bytes: Vec::new(), at: 0, writable: false }
    }

    /// Appends frames unless that would leave more than `limit` bytes waiting.
    pub(crate) fn push(&mut self, frames: &[u8], limit: usize) -> Result<(), Full> {
        if self.len() + frames.len() > limit {
            return Err(Full);
        }
        self.bytes.extend_from_slice(frames);
        Ok(())
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what waits and returns how many frames that were.
    pub(crate) fn clear(&mut self) -> u64 {
        let lost = count(self.encoding, &self.bytes[self.at..]);
        (self.bytes, self.at) = (Vec::new(), 0);
        lost
    }

    /// Moves whole frames, at least one and then up to [`WRITE_BYTES`], to the end of `out`; returns how many.
    pub(crate) fn take(&mut self, out: &mut Vec<u8>) -> u64 {
        let waiting = &self.bytes[self.at..];
        let (mut end, mut frames) = (0, 0);
        while let Some(len) = self.encoding.frame_len(&waiting[end..]) {
            if frames > 0 && end + len > WRITE_BYTES {
                break;
            }
            (end, frames) = (end + len, frames + 1);
        }
        out.extend_from_slice(&waiting[..end]);
        self.at += end;
        // Moving the rest down only when it is the smaller half keeps this linear in what passes through.
        if self.at * 2 >= self.bytes.len() {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        frames
    }
}

/// The queue has no room for these frames.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// How many frames of our own making stand in `bytes`.
pub(crate) fn count(encoding: Encoding, mut bytes: &[u8]) -> u64 {
    let mut frames = 0;
    while let Some(len) = encoding.frame_len(bytes) {
        (bytes, frames) = (&bytes[len..], frames + 1);
    }
    frames
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use alloc::vec;

    fn frame(len: usize) -> Vec<u8> {
        let mut frame = (len as u32).to_be_bytes().to_vec();
        frame.resize(4 + len, 7);
        frame
    }

    #[test]
    fn frames_come_out_whole_and_in_order() {
        let mut queue = Queue::new(Encoding::MessagePack);
        for len in [1, 2, 3] {
            queue.push(&frame(len), 100).unwrap();
        }
        let mut out = vec![];
        assert_eq!(queue.take(&mut out), 3);
        assert_eq!(out, [frame(1), frame(2), frame(3)].concat());
        assert!(queue.is_empty());
    }

    #[test]
    fn lines_are_told_apart_as_well() {
        let mut queue = Queue::new(Encoding::Json);
        queue.push(b"{\"a\":1}\n{}\n", 100).unwrap();
        let mut out = vec![];
        assert_eq!(queue.take(&mut out), 2);
        assert_eq!(out, b"{\"a\":1}\n{}\n");
        queue.push(b"{}\n", 100).unwrap();
        assert_eq!(queue.clear(), 1);
    }

    #[test]
    fn a_take_ends_at_the_last_frame_that_fits() {
        let mut queue = Queue::new(Encoding::MessagePack);
        for _ in 0..3 {
            queue.push(&frame(WRITE_BYTES / 2), 1 << 20).unwrap();
        }
        let mut out = vec![];
        assert_eq!([0; 3].map(|_| queue.take(&mut out)), [1, 1, 1]);
        queue.push(&frame(2 * WRITE_BYTES), 1 << 20).unwrap();
        assert_eq!(queue.take(&mut out), 1, "one frame goes out however large it is");
    }

    #[test]
    fn the_bound_is_on_what_waits_not_on_what_passed() {
        let mut queue = Queue::new(Encoding::MessagePack);
        queue.push(&frame(6), 10).unwrap();
        assert_eq!(queue.push(&frame(0), 10), Err(Full));
        queue.take(&mut vec![]);
        queue.push(&frame(6), 10).unwrap();
        assert_eq!((queue.clear(), queue.len()), (1, 0));
    }
}
