//! What one channel keeps of its publications for those who come later: the newest ones, bounded by number, bytes and age.
//!
//! They are consecutive, and the last one is the channel's newest, so their numbers follow from its. Which channels keep
//! anything, and who is given what, is the router's business.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::{HashTable, hash_table};

use crate::Time;
use crate::limits::HISTORY_OVERHEAD;
use crate::wire::Publish;

/// How much a channel keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Publications.
    pub(crate) size: usize,
    /// Bytes of their frames, with [`HISTORY_OVERHEAD`] for each.
    pub(crate) bytes: usize,
    /// Age in milliseconds.
    pub(crate) ttl_ms: u64,
    /// Milliseconds for which publications are known by their idempotency keys; 0 for none.
    pub(crate) window_ms: u64,
}

/// A publication that is to be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    /// Its number.
    pub(crate) offset: u64,
    /// As subscribers get it, with its length in front.
    pub(crate) frame: &'a [u8],
    /// What it is about.
    pub(crate) key: Option<&'a str>,
    /// How new it is among those with the same key.
    pub(crate) version: Option<u64>,
}

impl<'a> Item<'a> {
    /// Of a publication that has its number, and its frame.
    pub(crate) fn new(publication: &Publish<'a>, frame: &'a [u8]) -> Self {
        let &Publish { offset, key, version, .. } = publication;
        Self { offset: offset.expect("nothing is kept unnumbered"), frame, key, version }
    }
}

/// The newest publications of a channel, the oldest first.
#[derive(Debug)]
pub(crate) struct History {
    entries: VecDeque<Entry>,
    bytes: usize,
    hasher: FixedState,
    /// By key: the number of the newest one that has a [`Tag`].
    keys: HashTable<u64>,
}

#[derive(Debug)]
struct Entry {
    offset: u64,
    at: Time,
    /// As subscribers get it, with its length in front.
    frame: Box<[u8]>,
    /// Only of those that are looked for by it.
    tag: Option<Box<Tag>>,
}

#[derive(Debug)]
struct Tag {
    key: Box<str>,
    version: u64,
}

impl Entry {
    fn cost(&self) -> usize {
        self.frame.len() + self.tag.as_ref().map_or(0, |tag| tag.key.len()) + HISTORY_OVERHEAD
    }
}

impl History {
    /// `seed` keys the hash of keys: they come from clients, who must not be able to make them collide.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            hasher: FixedState::with_seed(seed),
            keys: HashTable::new(),
        }
    }

    /// Keeps the channel's newest publication, and of the others what the bounds allow.
    pub(crate) fn push(&mut self, now: Time, item: &Item<'_>, bounds: &Bounds) {
        let &Item { offset, frame, key, version } = item;
        let tag = key.zip(version).map(|(key, version)| Box::new(Tag { key: key.into(), version }));
        let entry = Entry { offset, at: now, frame: frame.into(), tag };
        self.bytes += entry.cost();
        self.entries.push_back(entry);
        if let Some(key) = key.filter(|_| version.is_some()) {
            self.index(key, offset);
        }
        self.trim(now, bounds);
    }

    /// The newest version of a key among the publications that are kept.
    pub(crate) fn version(&self, key: &str) -> Option<u64> {
        let at = self
            .keys
            .find(self.hasher.hash_one(key), |at| self.tag(*at).is_some_and(|tag| *tag.key == *key))?;
        self.tag(*at).map(|tag| tag.version)
    }

    /// Notes the newest publication of a key, which is kept.
    fn index(&mut self, key: &str, offset: u64) {
        let Self { entries, hasher, keys, .. } = self;
        let key_of = |offset: u64| tag(entries, offset).map_or("", |tag| &tag.key);
        let hash = |offset: &u64| hasher.hash_one(key_of(*offset));
        match keys.entry(hasher.hash_one(key), |at| key_of(*at) == key, hash) {
            hash_table::Entry::Occupied(mut entry) => *entry.get_mut() = offset,
            hash_table::Entry::Vacant(entry) => drop(entry.insert(offset)),
        }
    }

    fn tag(&self, offset: u64) -> Option<&Tag> {
        tag(&self.entries, offset)
    }

    /// Drops what is too much or too old.
    pub(crate) fn trim(&mut self, now: Time, bounds: &Bounds) {
        while let Some(oldest) = self.entries.front()
            && (self.entries.len() > bounds.size
                || self.bytes > bounds.bytes
                || oldest.at.after_ms(bounds.ttl_ms) <= now)
        {
            self.bytes -= oldest.cost();
            if let Some(tag) = &oldest.tag {
                let hash = self.hasher.hash_one(&*tag.key);
                // Where a newer one has the key, that one is noted.
                if let Ok(noted) = self.keys.find_entry(hash, |at| *at == oldest.offset) {
                    noted.remove();
                }
            }
            self.entries.pop_front();
        }
        // A channel that was busy once must not keep its memory for ever.
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to(2 * self.entries.len());
            let Self { entries, hasher, keys, .. } = self;
            keys.shrink_to(2 * keys.len(), |at| {
                hasher.hash_one(tag(entries, *at).map_or("", |tag| &tag.key))
            });
        }
    }

    /// The number of the oldest publication that is kept, where `top` is the channel's newest; the one after `top` if none is.
    pub(crate) fn first(&self, top: u64) -> u64 {
        (top + 1).saturating_sub(self.entries.len() as u64)
    }

    /// Whether everything behind this number is kept.
    pub(crate) fn reaches(&self, top: u64, after: u64) -> Result<(), Lost> {
        if after > top {
            Err(Lost::Ahead)
        } else if after + 1 < self.first(top) {
            Err(Lost::Trimmed)
        } else {
            Ok(())
        }
    }

    /// What is kept behind this number, from the oldest on.
    pub(crate) fn behind(&self, top: u64, after: u64) -> impl DoubleEndedIterator<Item = &[u8]> {
        let passed = after.saturating_add(1).saturating_sub(self.first(top));
        let passed = usize::try_from(passed).unwrap_or(usize::MAX).min(self.entries.len());
        self.entries.range(passed..).map(|entry| &*entry.frame)
    }

    /// All that is kept, with its times, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Time, &[u8])> {
        self.entries.iter().map(|entry| (entry.at, &*entry.frame))
    }

    /// When the oldest was published.
    pub(crate) fn oldest(&self) -> Option<Time> {
        self.entries.front().map(|entry| entry.at)
    }
}

/// What the publication of this number is looked for by.
fn tag(entries: &VecDeque<Entry>, offset: u64) -> Option<&Tag> {
    let at = entries.partition_point(|entry| entry.offset < offset);
    entries.get(at).filter(|entry| entry.offset == offset)?.tag.as_deref()
}

/// Why what came after a position cannot be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The channel has been forgotten since, and what it kept.
    Epoch,
    /// Some of it is not kept any more.
    Trimmed,
    /// There is no such position yet.
    Ahead,
}

impl Lost {
    /// As routers tell each other; 0 is none.
    pub(crate) fn number(lost: Option<Self>) -> u8 {
        lost.map_or(0, |lost| lost as u8 + 1)
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Epoch, Self::Trimmed, Self::Ahead].into_iter().find(|lost| Self::number(Some(*lost)) == number)
    }

    /// For people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Epoch => "the position is of another epoch: the channel's history was lost since",
            Self::Trimmed => "the history does not reach back to this position any more",
            Self::Ahead => "the position is above the channel's newest publication",
        }
    }
}

/// An epoch as it stands on the wire: opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EpochText([u8; 8]);

impl EpochText {
    pub(crate) fn new(epoch: u32) -> Self {
        let digit = |at: usize| b"0123456789abcdef"[(epoch >> (28 - 4 * at)) as usize & 15];
        Self(core::array::from_fn(digit))
    }

    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).expect("hexadecimal digits are ASCII")
    }

    /// The epoch that this text stands for; `None` for one that no channel of ours ever has.
    pub(crate) fn parse(text: &str) -> Option<u32> {
        let epoch = u32::from_str_radix(text, 16).ok()?;
        (Self::new(epoch).as_str() == text).then_some(epoch)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    const BOUNDS: Bounds =
        Bounds { size: 4, bytes: 4 * (HISTORY_OVERHEAD + 10), ttl_ms: 1_000, window_ms: 0 };

    /// Keeps publications of this many bytes, numbered from 1, one each 100 ms.
    fn kept(lengths: &[usize]) -> History {
        let mut history = History::new(1);
        for (n, len) in (1..).zip(lengths) {
            keep(&mut history, n, &vec![n as u8; *len], None);
        }
        history
    }

    fn keep(history: &mut History, offset: u64, frame: &[u8], tag: Option<(&str, u64)>) {
        let (key, version) = tag.unzip();
        history.push(Time(0).after_ms(offset * 100), &Item { offset, frame, key, version }, &BOUNDS);
    }

    #[test]
    fn the_newest_version_of_a_key_is_known_as_long_as_it_is_kept() {
        let mut history = History::new(1);
        let tags = [Some(("a", 7)), Some(("b", 1)), Some(("a", 9)), None];
        for (n, tag) in (1..).zip(tags) {
            keep(&mut history, n, b"x", tag);
        }
        assert_eq!(
            [history.version("a"), history.version("b"), history.version("")],
            [Some(9), Some(1), None]
        );
        keep(&mut history, 5, b"x", None);
        keep(&mut history, 6, b"x", None);
        assert_eq!([history.version("a"), history.version("b")], [Some(9), None]);
        for n in 7..10_000 {
            let key = ["even", "odd"][n as usize % 2];
            keep(&mut history, n, b"x", Some((key, n)));
            assert_eq!(history.version(key), Some(n));
        }
        assert_eq!((history.version("a"), history.keys.len()), (None, 2));
        history.trim(Time(u64::MAX), &BOUNDS);
        assert_eq!((history.version("odd"), history.keys.len(), history.bytes), (None, 0, 0));
    }

    fn numbers(history: &History, top: u64, after: u64) -> Vec<u8> {
        history.behind(top, after).map(|frame| frame[0]).collect()
    }

    #[test]
    fn the_newest_stay_as_far_as_number_bytes_and_age_allow() {
        let history = kept(&[1; 6]);
        assert_eq!((history.first(6), numbers(&history, 6, 0)), (3, vec![3, 4, 5, 6]), "by number");
        let history = kept(&[1, 1, 38, 1]);
        assert_eq!((history.first(4), numbers(&history, 4, 0)), (2, vec![2, 3, 4]), "by bytes");
        let mut history = kept(&[1, 1, 1, 1]);
        history.trim(Time(0).after_ms(1_199), &BOUNDS);
        assert_eq!(history.first(4), 2, "not to the age's last moment, but by then");
        history.trim(Time(0).after_ms(1_400), &BOUNDS);
        assert_eq!((history.first(4), history.oldest(), history.bytes), (5, None, 0));
    }

    #[test]
    fn one_that_is_larger_than_all_may_be_takes_everything_along() {
        let history = kept(&[1, 1, 1_000]);
        assert_eq!((history.first(3), history.bytes), (4, 0));
        assert_eq!(history.reaches(3, 2), Err(Lost::Trimmed));
        assert_eq!(history.reaches(3, 3), Ok(()), "who has it has missed nothing");
    }

    #[test]
    fn a_position_is_reached_or_said_to_be_lost() {
        let history = kept(&[1; 6]);
        let reached: Vec<_> = (0..=8).map(|after| history.reaches(6, after)).collect();
        let (trimmed, ahead) = (Err(Lost::Trimmed), Err(Lost::Ahead));
        assert_eq!(reached, [trimmed, trimmed, Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), ahead, ahead]);
        assert_eq!(numbers(&history, 6, 4), [5, 6]);
        assert_eq!(numbers(&history, 6, 6), [0; 0]);
        assert_eq!(numbers(&history, 6, u64::from(u32::MAX)), [0; 0], "beyond the end there is nothing");
        assert_eq!(History::new(1).reaches(0, 0), Ok(()), "before the first there is nothing to miss");
    }

    #[test]
    fn an_epoch_is_its_own_text_and_no_other() {
        for epoch in [0, 1, 0xdead_beef, u32::MAX] {
            assert_eq!(EpochText::parse(EpochText::new(epoch).as_str()), Some(epoch));
        }
        for other in ["", "0", "000000000", "DEADBEEF", "+1234567", "0x123456", "e"] {
            assert_eq!(EpochText::parse(other), None, "{other}");
        }
    }
}
