//! Which publications one channel has taken lately, by the names that their publishers gave them, so that a repeat is known and
//! what was said of the first one is said again.
//!
//! A name is whatever bytes the router makes of an idempotency key and of who sent it. It is kept whole: two names that only
//! look alike must not lose a publication.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::Time;
use crate::history::Size;
use crate::limits::{NAME_OVERHEAD, REPEATS};

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    /// Its number; of one that is stale, that of the newest one at the time.
    pub(crate) offset: u64,
    /// It was not newer than what the channel kept of its key, and dropped.
    pub(crate) stale: bool,
}

/// The names of the newest publications that had one, the oldest first; at most [`REPEATS`] of them.
#[derive(Debug)]
pub(crate) struct Repeats {
    hasher: FixedState,
    records: VecDeque<Record>,
    bytes: usize,
    /// How many records came before the first of `records`.
    gone: u64,
    /// By name: how many records came before it.
    names: HashTable<u64>,
}

#[derive(Debug)]
struct Record {
    at: Time,
    name: Box<[u8]>,
    fate: Fate,
}

impl Repeats {
    /// `seed` keys the hash: names come from clients, who must not be able to make them collide.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            hasher: FixedState::with_seed(seed),
            records: VecDeque::new(),
            bytes: 0,
            gone: 0,
            names: HashTable::new(),
        }
    }

    /// What became of the publication of this name, if it is known.
    pub(crate) fn get(&self, name: &[u8]) -> Option<Fate> {
        let hash = self.hasher.hash_one(name);
        let at = self.names.find(hash, |at| *self.record(*at).name == *name)?;
        Some(self.record(*at).fate)
    }

    /// Notes a publication whose name is not known yet. Where there are too many the oldest is not known any more.
    pub(crate) fn push(&mut self, now: Time, name: &[u8], fate: Fate) {
        if self.records.len() >= REPEATS {
            self.pop();
        }
        let at = self.gone + self.records.len() as u64;
        self.records.push_back(Record { at: now, name: name.into(), fate });
        self.bytes += name.len() + NAME_OVERHEAD;
        let Self { hasher, records, gone, names, .. } = self;
        let hash = |at: &u64| hasher.hash_one(&*records[(*at - *gone) as usize].name);
        names.insert_unique(hash(&at), at, hash);
    }

    /// Forgets what is as old as the window is long.
    pub(crate) fn trim(&mut self, now: Time, window_ms: u64) {
        while self.records.front().is_some_and(|oldest| oldest.at.after_ms(window_ms) <= now) {
            self.pop();
        }
        self.shrink();
    }

    /// Forgets the oldest, whatever its window says.
    pub(crate) fn give_way(&mut self) {
        self.pop();
        self.shrink();
    }

    /// Gives memory back that is not needed any more.
    fn shrink(&mut self) {
        // A channel that was busy once must not keep its memory for ever.
        if self.records.capacity() > 64 && self.records.len() < self.records.capacity() / 8 {
            self.records.shrink_to(2 * self.records.len());
            let Self { hasher, records, gone, names, .. } = self;
            names.shrink_to(2 * records.len(), |at| hasher.hash_one(&*records[(*at - *gone) as usize].name));
        }
    }

    fn pop(&mut self) {
        let Some(oldest) = self.records.front() else { return };
        let (hash, gone) = (self.hasher.hash_one(&*oldest.name), self.gone);
        self.names.find_entry(hash, |at| *at == gone).expect("a record is in the table by its name").remove();
        self.bytes -= oldest.name.len() + NAME_OVERHEAD;
        self.records.pop_front();
        self.gone += 1;
    }

    fn record(&self, at: u64) -> &Record {
        &self.records[(at - self.gone) as usize]
    }

    /// Names that are known, with [`NAME_OVERHEAD`] for each.
    pub(crate) fn size(&self) -> Size {
        Size { count: self.records.len(), bytes: self.bytes }
    }

    /// When the oldest was noted.
    pub(crate) fn oldest(&self) -> Option<Time> {
        self.records.front().map(|record| record.at)
    }

    /// When the newest was noted.
    pub(crate) fn newest(&self) -> Option<Time> {
        self.records.back().map(|record| record.at)
    }

    /// All of them, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Time, &[u8], Fate)> {
        self.records.iter().map(|record| (record.at, &*record.name, record.fate))
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn fate(offset: u64) -> Fate {
        Fate { offset, stale: offset % 2 == 1 }
    }

    fn filled(count: u64) -> Repeats {
        let mut repeats = Repeats::new(7);
        for n in 0..count {
            repeats.push(Time(n * 1000), &n.to_be_bytes(), fate(n));
        }
        repeats
    }

    fn known(repeats: &Repeats, count: u64) -> u64 {
        (0..count).filter(|n| repeats.get(&n.to_be_bytes()) == Some(fate(*n))).count() as u64
    }

    #[test]
    fn a_name_is_known_until_its_window_ends() {
        let mut repeats = filled(100);
        assert_eq!((known(&repeats, 200), repeats.get(b"")), (100, None));
        repeats.trim(Time(50_000), 10);
        assert_eq!(repeats.get(&40_u64.to_be_bytes()), None, "the window's end is not in it");
        assert_eq!((known(&repeats, 100), repeats.oldest()), (59, Some(Time(41_000))));
        repeats.trim(Time(1_000_000), 10);
        assert_eq!((known(&repeats, 100), repeats.oldest(), repeats.names.len()), (0, None, 0));
        repeats.push(Time(1_000_000), &40_u64.to_be_bytes(), fate(40));
        assert_eq!(known(&repeats, 100), 1, "and it may be taken again");
    }

    #[test]
    fn the_oldest_give_way_where_there_are_too_many() {
        let count = REPEATS as u64 + 10;
        let repeats = filled(count);
        assert_eq!((known(&repeats, count), repeats.get(&9_u64.to_be_bytes())), (REPEATS as u64, None));
        assert_eq!((repeats.iter().count(), repeats.names.len()), (REPEATS, REPEATS));
    }
}
