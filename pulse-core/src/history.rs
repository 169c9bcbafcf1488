//! What one channel keeps of its publications for those who come later: the newest ones, bounded by number, bytes and age.
//!
//! The last one is the channel's newest. They are consecutive, but where only the newest of each key is kept: then a number is
//! missing whose key has come again since, and what is kept behind a number is still all there is to know. Which channels keep
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
    /// Whether only the newest of each key is kept.
    pub(crate) per_key: bool,
    /// Milliseconds for which publications are known by their idempotency keys; 0 for none.
    pub(crate) window_ms: u64,
}

/// How much something is, in pieces and in bytes with an overhead for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
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
    /// Rising by number. Some may be empty: of their keys a newer one is kept. The first and the last are none of these.
    entries: VecDeque<Entry>,
    num_empty: usize,
    bytes: usize,
    /// The newest number that the bounds have dropped.
    floor: u64,
    hasher: FixedState,
    /// By key: the number of the newest one that has a [`Tag`].
    keys: HashTable<u64>,
}

#[derive(Debug)]
struct Entry {
    offset: u64,
    at: Time,
    /// As subscribers get it, with its length in front; empty if a newer one of the same key is kept instead.
    frame: Box<[u8]>,
    /// Only of those that are looked for by it.
    tag: Option<Box<Tag>>,
}

#[derive(Debug)]
struct Tag {
    key: Box<str>,
    version: Option<u64>,
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.frame.is_empty()
    }

    fn cost(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        self.frame.len() + self.tag.as_ref().map_or(0, |tag| tag.key.len()) + HISTORY_OVERHEAD
    }
}

impl History {
    /// Of a channel that keeps nothing up to the number `floor`. `seed` keys the hash of keys: they come from clients, who must
    /// not be able to make them collide.
    pub(crate) fn new(seed: u64, floor: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            num_empty: 0,
            bytes: 0,
            floor,
            hasher: FixedState::with_seed(seed),
            keys: HashTable::new(),
        }
    }

    /// Keeps the channel's newest publication, and of the others what the bounds allow. Returns the number of the one whose place
    /// it takes, if only the newest of each key is kept.
    pub(crate) fn push(&mut self, now: Time, item: &Item<'_>, bounds: &Bounds) -> Option<u64> {
        let &Item { offset, frame, key, version } = item;
        let key = key.filter(|_| bounds.per_key || version.is_some());
        let tag = key.map(|key| Box::new(Tag { key: key.into(), version }));
        let entry = Entry { offset, at: now, frame: frame.into(), tag };
        self.bytes += entry.cost();
        self.entries.push_back(entry);
        let before = key.and_then(|key| self.index(key, offset)).filter(|_| bounds.per_key);
        if let Some(before) = before {
            self.empty(before);
        }
        self.trim(now, bounds);
        before
    }

    /// Takes out a publication of whose key a newer one is kept. Its place goes when many have.
    fn empty(&mut self, offset: u64) {
        let at = self.entries.partition_point(|entry| entry.offset < offset);
        let entry = &mut self.entries[at];
        self.bytes -= entry.cost();
        (entry.frame, entry.tag) = (Box::default(), None);
        self.num_empty += 1;
        while self.entries.front().is_some_and(Entry::is_empty) {
            self.entries.pop_front();
            self.num_empty -= 1;
        }
        if self.num_empty > self.entries.len() / 2 {
            self.entries.retain(|entry| !entry.is_empty());
            self.num_empty = 0;
        }
    }

    /// The newest version of a key among the publications that are kept.
    pub(crate) fn version(&self, key: &str) -> Option<u64> {
        let is_it = |at: &u64| self.tag(*at).is_some_and(|tag| *tag.key == *key);
        let at = self.keys.find(self.hasher.hash_one(key), is_it)?;
        self.tag(*at)?.version
    }

    /// Notes the newest publication of a key, which is kept; returns the one that was noted before.
    fn index(&mut self, key: &str, offset: u64) -> Option<u64> {
        let Self { entries, hasher, keys, .. } = self;
        let key_of = |offset: u64| tag(entries, offset).map_or("", |tag| &tag.key);
        let hash = |offset: &u64| hasher.hash_one(key_of(*offset));
        match keys.entry(hasher.hash_one(key), |at| key_of(*at) == key, hash) {
            hash_table::Entry::Occupied(mut entry) => Some(core::mem::replace(entry.get_mut(), offset)),
            hash_table::Entry::Vacant(entry) => {
                entry.insert(offset);
                None
            }
        }
    }

    fn tag(&self, offset: u64) -> Option<&Tag> {
        tag(&self.entries, offset)
    }

    /// Drops what is too much or too old.
    pub(crate) fn trim(&mut self, now: Time, bounds: &Bounds) {
        while let Some(oldest) = self.entries.front()
            && (oldest.is_empty()
                || self.entries.len() - self.num_empty > bounds.size
                || self.bytes > bounds.bytes
                || oldest.at.after_ms(bounds.ttl_ms) <= now)
        {
            self.drop_oldest();
        }
        self.shrink();
    }

    /// Drops the oldest, whatever the bounds allow.
    pub(crate) fn give_way(&mut self) {
        self.drop_oldest();
        while self.entries.front().is_some_and(Entry::is_empty) {
            self.drop_oldest();
        }
        self.shrink();
    }

    /// Gives memory back that is not needed any more.
    fn shrink(&mut self) {
        // A channel that was busy once must not keep its memory for ever.
        if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to(2 * self.entries.len());
            let Self { entries, hasher, keys, .. } = self;
            keys.shrink_to(2 * keys.len(), |at| {
                hasher.hash_one(tag(entries, *at).map_or("", |tag| &tag.key))
            });
        }
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.entries.pop_front() else { return };
        if oldest.is_empty() {
            self.num_empty -= 1;
            return;
        }
        self.bytes -= oldest.cost();
        self.floor = oldest.offset;
        if let Some(tag) = &oldest.tag {
            let hash = self.hasher.hash_one(&*tag.key);
            // Where a newer one has the key, that one is noted.
            if let Ok(noted) = self.keys.find_entry(hash, |at| *at == oldest.offset) {
                noted.remove();
            }
        }
    }

    /// The number behind which everything is kept: everything, or the newest of each key.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Whether everything behind this number is kept, where `top` is the channel's newest.
    pub(crate) fn reaches(&self, top: u64, after: u64) -> Result<(), Lost> {
        if after > top {
            Err(Lost::Ahead)
        } else if after < self.floor {
            Err(Lost::Trimmed)
        } else {
            Ok(())
        }
    }

    /// The number behind which so many are kept, or all if there are fewer.
    pub(crate) fn before_newest(&self, top: u64, count: u64) -> u64 {
        let Some(skipped) = usize::try_from(count).ok().and_then(|count| count.checked_sub(1)) else {
            return if count == 0 { top } else { self.floor };
        };
        let kept = self.size().count;
        let first = if skipped >= kept {
            None
        } else if self.num_empty == 0 {
            self.entries.get(kept - 1 - skipped)
        } else {
            self.entries.iter().rev().filter(|entry| !entry.is_empty()).nth(skipped)
        };
        first.map_or(self.floor, |entry| entry.offset - 1)
    }

    /// What is kept behind this number, from the oldest on.
    pub(crate) fn behind(&self, after: u64) -> impl DoubleEndedIterator<Item = &[u8]> {
        let passed = self.entries.partition_point(|entry| entry.offset <= after);
        self.entries.range(passed..).filter(|entry| !entry.is_empty()).map(|entry| &*entry.frame)
    }

    /// All that is kept, with its numbers and times, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Time, &[u8])> {
        let kept = self.entries.iter().filter(|entry| !entry.is_empty());
        kept.map(|entry| (entry.offset, entry.at, &*entry.frame))
    }

    /// Publications that are kept, with [`HISTORY_OVERHEAD`] for each.
    pub(crate) fn size(&self) -> Size {
        Size { count: self.entries.len() - self.num_empty, bytes: self.bytes }
    }

    /// Bytes of the newest one, 0 if nothing is kept.
    pub(crate) fn newest_bytes(&self) -> usize {
        self.entries.back().map_or(0, Entry::cost)
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
        Bounds { size: 4, bytes: 4 * (HISTORY_OVERHEAD + 10), ttl_ms: 1_000, per_key: false, window_ms: 0 };

    /// Keeps publications of this many bytes, numbered from 1, one each 100 ms.
    fn kept(lengths: &[usize]) -> History {
        let mut history = History::new(1, 0);
        for (n, len) in (1..).zip(lengths) {
            keep(&mut history, n, &vec![n as u8; *len], None);
        }
        history
    }

    /// What is kept of keys that come again and again, against a list that is searched from its end.
    #[test]
    fn of_each_key_the_newest_is_kept_and_what_has_none_as_ever() {
        let bounds = Bounds { size: 8, bytes: usize::MAX, ttl_ms: 3_000, per_key: true, window_ms: 0 };
        let (mut history, mut model, mut floor) = (History::new(1, 0), Vec::new(), 0);
        let mut dice = crate::random::Random::new(crate::Seed(5));
        for offset in 1..20_000_u64 {
            let key = ["", "a", "b", "c", "d", "e", "f", "g", "h", "i"][dice.below(10) as usize];
            let tag = (!key.is_empty()).then_some(key);
            let now = Time(0).after_ms(offset * 100);
            let frame = offset.to_be_bytes();
            let item = Item { offset, frame: &frame, key: tag, version: None };
            history.push(now, &item, &bounds);
            model.retain(|(_, _, other)| tag.is_none() || *other != tag);
            model.push((offset, now, tag));
            while model.len() > 8 || model[0].1.after_ms(3_000) <= now {
                floor = model.remove(0).0;
            }
            let kept: Vec<_> = history.iter().map(|(offset, at, _)| (offset, at)).collect();
            assert_eq!(kept, model.iter().map(|(offset, at, _)| (*offset, *at)).collect::<Vec<_>>());
            assert_eq!((history.floor(), history.reaches(offset, floor)), (floor, Ok(())));
            assert!(history.entries.len() <= 2 * 8 + 1 && history.keys.len() <= 8, "its bound holds");
            let after = offset - u64::from(dice.below(12)).min(offset);
            let behind = history.behind(after).count();
            assert_eq!(behind, model.iter().filter(|(offset, ..)| *offset > after).count());
            let count = u64::from(dice.below(10));
            let newest = history.behind(history.before_newest(offset, count)).count() as u64;
            assert_eq!(newest, count.min(model.len() as u64));
        }
        assert_eq!(history.before_newest(19_999, u64::MAX), floor);
        history.trim(Time(u64::MAX), &bounds);
        assert_eq!((history.floor(), history.bytes, history.num_empty), (19_999, 0, 0));
        assert_eq!(history.keys.len(), 0);
    }

    fn keep(history: &mut History, offset: u64, frame: &[u8], tag: Option<(&str, u64)>) {
        let (key, version) = tag.unzip();
        history.push(Time(0).after_ms(offset * 100), &Item { offset, frame, key, version }, &BOUNDS);
    }

    #[test]
    fn the_newest_version_of_a_key_is_known_as_long_as_it_is_kept() {
        let mut history = History::new(1, 0);
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

    fn numbers(history: &History, after: u64) -> Vec<u8> {
        history.behind(after).map(|frame| frame[0]).collect()
    }

    #[test]
    fn the_newest_stay_as_far_as_number_bytes_and_age_allow() {
        let history = kept(&[1; 6]);
        assert_eq!((history.floor(), numbers(&history, 0)), (2, vec![3, 4, 5, 6]), "by number");
        let history = kept(&[1, 1, 38, 1]);
        assert_eq!((history.floor(), numbers(&history, 0)), (1, vec![2, 3, 4]), "by bytes");
        let mut history = kept(&[1, 1, 1, 1]);
        history.trim(Time(0).after_ms(1_199), &BOUNDS);
        assert_eq!(history.floor(), 1, "not to the age's last moment, but by then");
        history.trim(Time(0).after_ms(1_400), &BOUNDS);
        assert_eq!((history.floor(), history.oldest(), history.bytes), (4, None, 0));
    }

    #[test]
    fn the_oldest_gives_way_and_with_it_the_places_behind_it_that_are_empty() {
        let bounds = Bounds { per_key: true, ..BOUNDS };
        let mut history = History::new(1, 0);
        for (offset, key) in (1..).zip(["a", "b", "c", "b"]) {
            let item = Item { offset, frame: b"x", key: Some(key), version: None };
            history.push(Time(offset), &item, &bounds);
        }
        let cost = HISTORY_OVERHEAD + 2;
        assert_eq!(history.size(), Size { count: 3, bytes: 3 * cost });
        history.give_way();
        assert_eq!((history.size(), history.floor()), (Size { count: 2, bytes: 2 * cost }, 1));
        assert_eq!(history.oldest(), Some(Time(3)), "the place of the first b is none");
        history.give_way();
        history.give_way();
        assert_eq!((history.size(), history.oldest()), (Size::default(), None));
        assert_eq!((history.floor(), history.keys.len()), (4, 0));
    }

    #[test]
    fn one_that_is_larger_than_all_may_be_takes_everything_along() {
        let history = kept(&[1, 1, 1_000]);
        assert_eq!((history.floor(), history.bytes), (3, 0));
        assert_eq!(history.reaches(3, 2), Err(Lost::Trimmed));
        assert_eq!(history.reaches(3, 3), Ok(()), "who has it has missed nothing");
    }

    #[test]
    fn a_position_is_reached_or_said_to_be_lost() {
        let history = kept(&[1; 6]);
        let reached: Vec<_> = (0..=8).map(|after| history.reaches(6, after)).collect();
        let (trimmed, ahead) = (Err(Lost::Trimmed), Err(Lost::Ahead));
        assert_eq!(reached, [trimmed, trimmed, Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), ahead, ahead]);
        assert_eq!(numbers(&history, 4), [5, 6]);
        assert_eq!(numbers(&history, 6), [0; 0]);
        assert_eq!(numbers(&history, u64::from(u32::MAX)), [0; 0], "beyond the end there is nothing");
        assert_eq!(History::new(1, 0).reaches(0, 0), Ok(()), "before the first there is nothing to miss");
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
