//! What a connection that cannot take more still has to get: whole frames, in order, bounded by bytes.
//!
//! When the bound is reached, each channel's policy decides what gives way. What is lost leaves a gap in its place, which is told
//! there; losses of one channel between two answers share the first one's.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::Dialect;
use crate::grant::SlowConsumer;
use crate::limits::WRITE_BYTES;
use crate::wire::{Frame, Gap};

/// Of frames that belong to no channel, or to one that the connection has left.
const NO_CHANNEL: u32 = u32::MAX;

/// What a queue has to know of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    channel: u32,
    /// Hash of the publication's key; 0 for none.
    key: u64,
    policy: SlowConsumer,
    /// Whether it is no publication, and its loss counts for none.
    notice: bool,
}

impl Meta {
    /// An answer or a notice: never given up for another frame.
    pub(crate) const CONTROL: Self =
        Self { channel: NO_CHANNEL, key: 0, policy: SlowConsumer::Disconnect, notice: true };

    /// A publication in a channel with this policy.
    pub(crate) fn publication(channel: u32, key: u64, policy: SlowConsumer) -> Self {
        Self { channel, key, policy, notice: false }
    }

    /// Changes of presence in a channel with this policy: if they are lost the client is told of a gap, of no publication.
    pub(crate) fn notice(channel: u32, policy: SlowConsumer) -> Self {
        Self { channel, key: 0, policy, notice: true }
    }

    fn may_be_lost(self) -> bool {
        self.policy != SlowConsumer::Disconnect
    }
}

/// Frames that wait for one connection.
#[derive(Debug)]
pub(crate) struct Queue {
    dialect: Dialect,
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Whether the host takes bytes for this connection again.
    pub(crate) writable: bool,
}

#[derive(Debug)]
enum Entry {
    Frame(Meta, Box<[u8]>),
    /// Publications of this channel that were given up, and changes of presence, which count for none. Costs nothing, so that
    /// losing something always makes room: there are no more of them than subscriptions.
    Gap {
        channel: u32,
        count: u64,
    },
}

impl Entry {
    fn frame(&self) -> Option<&Meta> {
        match self {
            Self::Frame(meta, _) => Some(meta),
            Self::Gap { .. } => None,
        }
    }

    fn cost(&self) -> usize {
        match self {
            Self::Frame(_, bytes) => cost(bytes),
            // Less than any frame: so losing one always makes room.
            Self::Gap { .. } => Queue::OVERHEAD / 2,
        }
    }
}

impl Queue {
    /// What one entry costs beside its bytes: its place in the list, and the allocator's share.
    const OVERHEAD: usize = 64;

    pub(crate) fn new(dialect: Dialect) -> Self {
        Self { dialect, entries: VecDeque::new(), bytes: 0, writable: false }
    }

    /// Appends a frame. What has to give way, by the policies of the frames, so that no more than `limit` bytes wait, is
    /// lost: returns how many publications that are. [`Full`] if nothing may.
    pub(crate) fn push(&mut self, meta: Meta, frame: &[u8], limit: usize) -> Result<u64, Full> {
        let mut lost = 0;
        if meta.policy == SlowConsumer::LatestPerKey && meta.key != 0 {
            let same = |other: &Meta| (other.channel, other.key) == (meta.channel, meta.key);
            if let Some(at) = self.entries.iter().rposition(|entry| entry.frame().is_some_and(same)) {
                lost += self.lose(at);
            }
        }
        while self.bytes + cost(frame) > limit {
            let may_be_lost = |entry: &Entry| entry.frame().is_some_and(|meta| meta.may_be_lost());
            match self.entries.iter().position(may_be_lost) {
                Some(at) => lost += self.lose(at),
                None if meta.may_be_lost() => return Ok(lost + self.note_loss(meta, self.entries.len())),
                None => return Err(Full),
            }
        }
        self.append(Entry::Frame(meta, frame.into()));
        Ok(lost)
    }

    /// Bytes that wait, with what the list itself takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets what waits and returns how many frames that were.
    pub(crate) fn clear(&mut self) -> u64 {
        let lost = self.entries.iter().filter(|entry| entry.frame().is_some()).count() as u64;
        (self.entries, self.bytes) = (VecDeque::new(), 0);
        lost
    }

    /// The connection has left a channel, whose name this is: what waits of it still comes, and what was lost of it before is
    /// still told.
    pub(crate) fn leave(&mut self, channel: u32, name: &str) {
        for entry in &mut self.entries {
            match entry {
                Entry::Frame(meta, _) if meta.channel == channel => meta.channel = NO_CHANNEL,
                Entry::Gap { channel: of, count } if *of == channel => {
                    let mut frame = Vec::new();
                    tell_gap(self.dialect, name, *count, &mut frame);
                    self.bytes += cost(&frame) - Self::OVERHEAD / 2;
                    *entry = Entry::Frame(Meta::CONTROL, frame.into());
                }
                _ => {}
            }
        }
    }

    /// Moves whole frames to the end of `out`: at least one and up to [`WRITE_BYTES`]. Returns how many. `name` is a
    /// channel's.
    pub(crate) fn take<'n>(&mut self, out: &mut Vec<u8>, name: impl Fn(u32) -> &'n str) -> u64 {
        let (begin, mut frames) = (out.len(), 0);
        while let Some(entry) = self.entries.front() {
            match entry {
                Entry::Frame(_, frame) if frames > 0 && out.len() - begin + frame.len() > WRITE_BYTES => {
                    break;
                }
                Entry::Frame(_, frame) => out.extend_from_slice(frame),
                Entry::Gap { channel, count } => tell_gap(self.dialect, name(*channel), *count, out),
            }
            self.bytes -= entry.cost();
            self.entries.pop_front();
            frames += 1;
        }
        frames
    }

    /// What waits, frame by frame.
    pub(crate) fn frames<'n>(&self, name: impl Fn(u32) -> &'n str) -> Vec<Vec<u8>> {
        let frame = |entry: &Entry| {
            let mut out = Vec::new();
            match entry {
                Entry::Frame(_, frame) => out.extend_from_slice(frame),
                Entry::Gap { channel, count } => tell_gap(self.dialect, name(*channel), *count, &mut out),
            }
            out
        };
        self.entries.iter().map(frame).collect()
    }

    fn append(&mut self, entry: Entry) {
        self.bytes += entry.cost();
        self.entries.push_back(entry);
    }

    /// Gives up the frame in this place. Returns how many publications that are.
    fn lose(&mut self, at: usize) -> u64 {
        let entry = self.entries.remove(at).expect("the caller has found it there");
        self.bytes -= entry.cost();
        let Entry::Frame(meta, _) = entry else { unreachable!("only frames are given up") };
        self.note_loss(meta, at)
    }

    /// Notes that a frame which had this place is lost.
    fn note_loss(&mut self, meta: Meta, at: usize) -> u64 {
        let lost = u64::from(!meta.notice);
        // A client of the first release does not know the frame.
        if meta.channel == NO_CHANNEL || self.dialect == Dialect::Legacy {
            return lost;
        }
        // Not across an answer: it may be a list of members, which later changes would be missing from.
        for entry in self.entries.iter_mut().take(at).rev() {
            match entry {
                Entry::Gap { channel, count } if *channel == meta.channel => {
                    *count += lost;
                    return lost;
                }
                Entry::Frame(other, _) if !other.may_be_lost() => break,
                _ => {}
            }
        }
        let gap = Entry::Gap { channel: meta.channel, count: lost };
        self.bytes += gap.cost();
        self.entries.insert(at, gap);
        lost
    }
}

fn tell_gap(dialect: Dialect, channel: &str, count: u64, out: &mut Vec<u8>) {
    let gap = Gap { channel, reason: "slow_consumer", count: Some(count), ..Gap::default() };
    dialect.encoding().encode(&Frame::Gap(gap), out);
}

fn cost(frame: &[u8]) -> usize {
    frame.len() + Queue::OVERHEAD
}

/// The queue has no room for this frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::wire::{self, Split};
    use alloc::string::String;
    use alloc::{format, vec};

    /// And for a gap.
    const ROOM_FOR_TWO: usize = 2 * (Queue::OVERHEAD + 10) + Queue::OVERHEAD / 2;

    fn queue() -> Queue {
        Queue::new(Dialect::V1)
    }

    /// What comes out, a word for each frame; the frames that are put in here are one byte long.
    fn take(queue: &mut Queue) -> Vec<String> {
        let mut out = vec![];
        let frames = queue.take(&mut out, |_| "news");
        let mut words = vec![];
        let mut bytes = &out[..];
        while let Split::Frame { map, rest } = wire::split(bytes, bytes.len()) {
            words.push(match wire::decode(map) {
                Ok(Frame::Gap(gap)) => format!("gap of {}", gap.count.unwrap()),
                _ => format!("{}", char::from(map[0])),
            });
            bytes = rest;
        }
        assert_eq!(words.len() as u64, frames);
        words
    }

    fn push(queue: &mut Queue, meta: Meta, name: u8, limit: usize) -> Result<u64, Full> {
        queue.push(meta, &[0, 0, 0, 1, name], limit)
    }

    fn of(policy: SlowConsumer) -> Meta {
        Meta::publication(1, 0, policy)
    }

    #[test]
    fn frames_come_out_whole_and_in_order() {
        let mut q = queue();
        for name in *b"abc" {
            assert_eq!(push(&mut q, Meta::CONTROL, name, 1000), Ok(0));
        }
        assert_eq!(take(&mut q), ["a", "b", "c"]);
        assert_eq!((q.is_empty(), q.bytes()), (true, 0));
    }

    #[test]
    fn a_take_ends_at_the_last_frame_that_fits() {
        let mut q = queue();
        let half = vec![7; WRITE_BYTES / 2 + 1];
        for _ in 0..3 {
            q.push(Meta::CONTROL, &half, 1 << 20).unwrap();
        }
        let mut out = vec![];
        assert_eq!([0; 3].map(|_| q.take(&mut out, |_| "")), [1, 1, 1]);
        q.push(Meta::CONTROL, &vec![7; 2 * WRITE_BYTES], 1 << 20).unwrap();
        assert_eq!(q.take(&mut out, |_| ""), 1, "one frame goes out however large it is");
    }

    #[test]
    fn without_a_frame_that_may_be_lost_the_bound_is_the_end() {
        let mut q = queue();
        for name in *b"ab" {
            push(&mut q, of(SlowConsumer::Disconnect), name, ROOM_FOR_TWO).unwrap();
        }
        assert_eq!(push(&mut q, of(SlowConsumer::Disconnect), b'c', ROOM_FOR_TWO), Err(Full));
        assert_eq!(push(&mut q, Meta::CONTROL, b'd', ROOM_FOR_TWO), Err(Full));
        assert_eq!(take(&mut q), ["a", "b"]);
        push(&mut q, Meta::CONTROL, b'e', ROOM_FOR_TWO).unwrap();
        assert_eq!((q.clear(), q.bytes()), (1, 0));
    }

    #[test]
    fn the_oldest_give_way_and_their_number_is_told_first() {
        let mut q = queue();
        let lost: Vec<_> = b"abcd"
            .iter()
            .map(|name| push(&mut q, of(SlowConsumer::DropOldest), *name, ROOM_FOR_TWO))
            .collect();
        assert_eq!(lost, [Ok(0), Ok(0), Ok(1), Ok(1)]);
        assert_eq!(take(&mut q), ["gap of 2", "c", "d"]);
        push(&mut q, of(SlowConsumer::DropOldest), b'e', ROOM_FOR_TWO).unwrap();
        assert_eq!(take(&mut q), ["e"], "told once");
    }

    #[test]
    fn answers_push_publications_out_but_never_the_other_way_round() {
        let mut q = queue();
        push(&mut q, of(SlowConsumer::DropOldest), b'a', ROOM_FOR_TWO).unwrap();
        for name in *b"xy" {
            push(&mut q, Meta::CONTROL, name, ROOM_FOR_TWO).unwrap();
        }
        assert_eq!(push(&mut q, of(SlowConsumer::DropOldest), b'b', ROOM_FOR_TWO), Ok(1));
        assert_eq!(take(&mut q), ["gap of 1", "x", "y", "gap of 1"]);
    }

    #[test]
    fn losses_on_both_sides_of_an_answer_are_told_on_both_sides() {
        let mut q = queue();
        push(&mut q, of(SlowConsumer::DropOldest), b'a', ROOM_FOR_TWO).unwrap();
        push(&mut q, Meta::CONTROL, b'x', ROOM_FOR_TWO).unwrap();
        for name in *b"bcd" {
            push(&mut q, of(SlowConsumer::DropOldest), name, ROOM_FOR_TWO).unwrap();
        }
        assert_eq!(take(&mut q), ["gap of 1", "x", "gap of 3"]);
        assert_eq!(q.bytes(), 0);
    }

    #[test]
    fn of_one_key_only_the_newest_waits() {
        let mut q = queue();
        let keyed = |key| Meta::publication(1, key, SlowConsumer::LatestPerKey);
        for (key, name) in [(7, b'a'), (8, b'b'), (7, b'c'), (7, b'd')] {
            push(&mut q, keyed(key), name, 1000).unwrap();
        }
        push(&mut q, Meta::publication(2, 7, SlowConsumer::LatestPerKey), b'e', 1000).unwrap();
        push(&mut q, keyed(0), b'f', 1000).unwrap();
        push(&mut q, keyed(0), b'g', 1000).unwrap();
        assert_eq!(take(&mut q), ["gap of 2", "b", "d", "e", "f", "g"]);
    }

    #[test]
    fn what_was_lost_before_a_channel_was_left_is_still_told() {
        let mut q = queue();
        for name in *b"abc" {
            push(&mut q, of(SlowConsumer::DropOldest), name, ROOM_FOR_TWO).unwrap();
        }
        q.leave(1, "news");
        push(&mut q, Meta::CONTROL, b'd', 1000).unwrap();
        assert_eq!(take(&mut q), ["gap of 1", "b", "c", "d"]);
        assert_eq!(q.bytes(), 0);
    }

    #[test]
    fn gaps_stand_where_frames_are_missing() {
        let mut q = queue();
        let keyed = |channel, key| Meta::publication(channel, key, SlowConsumer::LatestPerKey);
        push(&mut q, Meta::CONTROL, b'x', 1000).unwrap();
        for (channel, key, name) in [(1, 0, b'a'), (2, 7, b'b'), (1, 8, b'c'), (1, 8, b'd'), (2, 7, b'e')] {
            push(&mut q, keyed(channel, key), name, 1000).unwrap();
        }
        // b and c are lost in the middle; then, for want of room, a in front of them.
        push(&mut q, Meta::CONTROL, b'y', 380).unwrap();
        assert_eq!(take(&mut q), ["x", "gap of 1", "gap of 1", "gap of 1", "d", "e", "y"]);
    }

    #[test]
    fn lost_notices_are_a_gap_of_no_publication() {
        let mut q = queue();
        let notice = Meta::notice(1, SlowConsumer::DropOldest);
        for name in *b"abc" {
            push(&mut q, notice, name, ROOM_FOR_TWO).unwrap();
        }
        assert_eq!(take(&mut q), ["gap of 0", "b", "c"]);
    }

    #[test]
    fn a_client_of_the_first_release_is_spared_the_gap() {
        let mut q = Queue::new(Dialect::Legacy);
        for name in *b"abc" {
            push(&mut q, of(SlowConsumer::DropOldest), name, ROOM_FOR_TWO).unwrap();
        }
        assert_eq!(take(&mut q), ["b", "c"]);
    }
}
