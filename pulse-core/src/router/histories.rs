//! What all channels that are at home here keep of their publications: which is looked at when, which may be forgotten, and that
//! all that they keep is counted. How much one channel keeps is `crate::history`'s business, what all of them may keep `bound`'s.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::Time;
use crate::history::{Bounds, History, Item, Size};
use crate::limits::HISTORY_SWEEP_MS;
use crate::repeats::{Fate, Repeats};

use super::bound::{Bound, Piece};

/// The history of all channels that are at home here and keep one.
#[derive(Debug)]
pub(super) struct Histories {
    by_channel: HashMap<u32, Kept, foldhash::fast::FixedState>,
    /// When to look at which channel next.
    alarms: BTreeSet<(Time, u32)>,
    /// Channels that nobody needed when they were last looked at, and since when: those that live on for their history alone,
    /// but none with publications on disk. The first gives way where a channel is to be made and there is no room.
    vacant: BTreeSet<(Time, u32)>,
    /// What all of them keep together.
    bound: Bound,
    /// Channels on disk of which something gave way, and of which the store was not told.
    untold: BTreeSet<u32>,
    /// Keys the hashes of names that clients give.
    seed: u64,
}

#[derive(Debug)]
struct Kept {
    history: History,
    /// What was published under an idempotency key; made with the first of them.
    repeats: Option<Box<Repeats>>,
    bounds: Bounds,
    alarm: Option<Time>,
    /// Its entry in `vacant`.
    vacant: Option<Time>,
    /// Its publications are on disk; which of them the store was told to matter.
    stored_from: Option<Matters>,
    /// The highest number whose publication had a name.
    last_named: u64,
    /// Its entries among those that keep the oldest, by [`Piece`].
    listed: [Option<Time>; 2],
}

/// From which numbers on publications and their names matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Matters {
    pub(super) first: u64,
    pub(super) named: u64,
}

impl Kept {
    fn size(&self, piece: Piece) -> Size {
        match piece {
            Piece::Publication => self.history.size(),
            Piece::Name => self.repeats.as_ref().map(|repeats| repeats.size()).unwrap_or_default(),
        }
    }

    fn oldest(&self, piece: Piece) -> Option<Time> {
        match piece {
            Piece::Publication => self.history.oldest(),
            Piece::Name => self.repeats.as_ref()?.oldest(),
        }
    }

    /// Drops the oldest piece.
    fn give_way(&mut self, piece: Piece) {
        match piece {
            Piece::Publication => self.history.give_way(),
            Piece::Name => {
                if let Some(repeats) = &mut self.repeats {
                    repeats.give_way();
                }
                self.free_repeats();
            }
        }
    }

    fn free_repeats(&mut self) {
        self.repeats.take_if(|repeats| repeats.oldest().is_none());
    }

    /// When the channel is forgotten if nobody needs it until then: after as long as it keeps anything, be it names.
    fn over(&self) -> Option<Time> {
        let over = self.vacant?.after_ms(self.bounds.ttl_ms);
        let newest = self.repeats.as_ref().and_then(|repeats| repeats.newest());
        Some(newest.map_or(over, |at| over.max(at.after_ms(self.bounds.window_ms))))
    }
}

impl Histories {
    /// `bytes` is what all channels may keep together.
    pub(super) fn new(seed: u64, bytes: usize) -> Self {
        Self {
            by_channel: HashMap::with_hasher(foldhash::fast::FixedState::default()),
            alarms: BTreeSet::new(),
            vacant: BTreeSet::new(),
            bound: Bound::new(bytes),
            untold: BTreeSet::new(),
            seed,
        }
    }

    /// When something becomes too old.
    pub(super) fn next(&self) -> Option<Time> {
        self.alarms.first().map(|(at, _)| *at)
    }

    pub(super) fn create(&mut self, channel: u32, bounds: Bounds, stores: bool) {
        let kept = Kept {
            history: History::new(self.seed, 0),
            repeats: None,
            bounds,
            alarm: None,
            vacant: None,
            stored_from: stores.then_some(Matters { first: 1, named: 1 }),
            last_named: 0,
            listed: [None; 2],
        };
        self.by_channel.insert(channel, kept);
    }

    pub(super) fn remove(&mut self, channel: u32) {
        let kept = self.by_channel.remove(&channel).expect("a channel that keeps history is known");
        if let Some(alarm) = kept.alarm {
            self.alarms.remove(&(alarm, channel));
        }
        if let Some(since) = kept.vacant {
            self.vacant.remove(&(since, channel));
        }
        for piece in Piece::ALL {
            self.bound.count(piece, kept.size(piece), Size::default());
            if let Some(listed) = kept.listed[piece as usize] {
                self.bound.unlist(piece, listed, channel);
            }
        }
    }

    /// How much all channels keep.
    pub(super) fn size(&self, piece: Piece) -> Size {
        self.bound.size(piece)
    }

    /// How many pieces have given way because all channels together kept too much.
    pub(super) fn gone(&self, piece: Piece) -> u64 {
        self.bound.gone(piece)
    }

    /// A channel's history as of now.
    pub(super) fn get(&mut self, channel: u32, now: Time) -> &History {
        self.change(channel, |kept| kept.history.trim(now, &kept.bounds));
        &self.of(channel).history
    }

    /// Keeps the channel's newest publication, of this time. Returns the number of the one whose place it takes, if any.
    pub(super) fn push(&mut self, channel: u32, now: Time, item: &Item<'_>) -> Option<u64> {
        let before = self.keep(channel, now, item);
        self.make_room();
        self.wake_within(channel, now, |bounds| bounds.ttl_ms);
        before
    }

    /// As `push`, but what other channels keep does not give way.
    fn keep(&mut self, channel: u32, now: Time, item: &Item<'_>) -> Option<u64> {
        let (room, seed) = (self.bound.bytes(), self.seed);
        let (before, gone) = self.change(channel, |kept| {
            let before = kept.history.push(now, item, &kept.bounds);
            if kept.history.newest_bytes() <= room {
                return (before, 0);
            }
            // One that is larger than all may be takes its channel along, and no other.
            let gone = kept.history.size().count;
            kept.history = History::new(seed, item.offset);
            (before, gone)
        });
        if gone > 0 {
            self.note_gone(channel, Piece::Publication, gone);
        }
        before
    }

    /// What became of the publication of this name, if the channel knows it as of now.
    pub(super) fn fate(&mut self, channel: u32, now: Time, name: &[u8]) -> Option<Fate> {
        self.change(channel, |Kept { repeats, bounds, .. }| {
            let repeats = repeats.as_mut()?;
            repeats.trim(now, bounds.window_ms);
            repeats.get(name)
        })
    }

    /// Notes what became of a publication, as of this time; its name is not known.
    pub(super) fn note_fate(&mut self, channel: u32, now: Time, name: &[u8], fate: Fate) {
        let seed = self.seed;
        let kept = self.of(channel);
        if !fate.stale {
            kept.last_named = kept.last_named.max(fate.offset);
        }
        if kept.bounds.window_ms == 0 {
            return;
        }
        self.change(channel, |kept| {
            kept.repeats.get_or_insert_with(|| Box::new(Repeats::new(seed))).push(now, name, fate);
        });
        self.make_room();
        self.wake_within(channel, now, |bounds| bounds.window_ms);
    }

    /// What a channel knows as of now of publications that had a name, with their times, the oldest first.
    pub(super) fn fates(&self, channel: u32, now: Time) -> Vec<(Time, &[u8], Fate)> {
        let Some(Kept { repeats: Some(repeats), bounds, .. }) = self.by_channel.get(&channel) else {
            return Vec::new();
        };
        repeats.iter().filter(|(at, ..)| at.after_ms(bounds.window_ms) > now).collect()
    }

    /// What a channel keeps as of now, with its times, the oldest first; nothing for one that keeps none.
    pub(super) fn kept(&self, channel: u32, now: Time) -> Vec<(Time, &[u8])> {
        let Some(Kept { history, bounds, .. }) = self.by_channel.get(&channel) else { return Vec::new() };
        let kept = history.iter().filter(|(_, at, _)| at.after_ms(bounds.ttl_ms) > now);
        kept.map(|(_, at, frame)| (at, frame)).collect()
    }

    /// The number behind which that is everything.
    pub(super) fn floor(&self, channel: u32, now: Time) -> Option<u64> {
        let Kept { history, bounds, .. } = self.by_channel.get(&channel)?;
        let old = history.iter().take_while(|(_, at, _)| at.after_ms(bounds.ttl_ms) <= now);
        Some(old.last().map_or_else(|| history.floor(), |(offset, ..)| offset))
    }

    /// Takes over, as of now, what a channel keeps behind the number `floor`, with its ages, the oldest first. Where this router keeps every
    /// publication, what lies before a hole is not kept. Returns the numbers of those whose places later ones have taken.
    pub(super) fn restore(
        &mut self,
        channel: u32,
        now: Time,
        floor: u64,
        items: &[(Time, Item<'_>)],
    ) -> Vec<u64> {
        let seed = self.seed;
        let kept = self.of(channel);
        let (mut floor, mut from) = (floor, 0);
        if !kept.bounds.per_key {
            for (at, (_, item)) in items.iter().enumerate() {
                let before = if at == 0 { floor } else { items[at - 1].1.offset };
                if item.offset != before + 1 {
                    (floor, from) = (item.offset - 1, at);
                }
            }
        }
        self.change(channel, |kept| kept.history = History::new(seed, floor));
        let superseded =
            items[from..].iter().filter_map(|(at, item)| self.keep(channel, *at, item)).collect();
        // Only now: what does not stay here must not drive out what others keep.
        self.make_room();
        self.wake(channel, now);
        superseded
    }

    /// Nobody needs the channel, as of now. `is_empty` if nothing was ever published in it.
    pub(super) fn vacate(&mut self, channel: u32, now: Time, is_empty: bool) {
        let kept = self.of(channel);
        let gives_way = kept.stored_from.is_none() || is_empty;
        if let Some(before) = kept.vacant.replace(now) {
            self.vacant.remove(&(before, channel));
        }
        if gives_way {
            self.vacant.insert((now, channel));
        }
        self.wake(channel, now);
    }

    /// Whether a channel that keeps history does so on disk.
    pub(super) fn stores(&self, channel: u32) -> bool {
        self.by_channel.get(&channel).is_some_and(|kept| kept.stored_from.is_some())
    }

    /// Whether a channel keeps only the newest of each key.
    pub(super) fn is_per_key(&self, channel: u32) -> bool {
        self.by_channel.get(&channel).is_some_and(|kept| kept.bounds.per_key)
    }

    /// A channel was restored, of which the store has what begins here.
    pub(super) fn set_stored_from(&mut self, channel: u32, matters: Matters) {
        self.of(channel).stored_from = Some(matters);
    }

    /// What matters in a channel on disk as of now, if the store was not told; it is to be told now.
    pub(super) fn tell_matters(&mut self, channel: u32, now: Time) -> Option<Matters> {
        let first = self.get(channel, now).floor() + 1;
        let kept = self.of(channel);
        // The oldest may be one that was stale, whose name is not on disk.
        let oldest = kept.repeats.as_ref().and_then(|repeats| repeats.iter().next());
        let behind = kept.last_named + 1;
        let named = oldest.map_or(behind, |(_, _, fate)| behind.min(fate.offset));
        let matters = Matters { first, named };
        (kept.stored_from.replace(matters) != Some(matters)).then_some(matters)
    }

    /// A channel on disk of which something gave way to others; it is to be told now.
    pub(super) fn take_untold(&mut self) -> Option<u32> {
        self.untold.pop_first()
    }

    /// The channel that nobody has needed for the longest time; it is not listed any more.
    pub(super) fn take_vacant(&mut self) -> Option<u32> {
        let (_, channel) = self.vacant.pop_first()?;
        self.of(channel).vacant = None;
        Some(channel)
    }

    /// The next channel whose time has come; true with it if nobody has needed it for as long as it keeps anything.
    pub(super) fn due(&mut self, now: Time) -> Option<(u32, bool)> {
        let (at, channel) = *self.alarms.first().filter(|(at, _)| *at <= now)?;
        self.alarms.remove(&(at, channel));
        self.change(channel, |kept| {
            kept.alarm = None;
            kept.history.trim(now, &kept.bounds);
            if let Some(repeats) = &mut kept.repeats {
                repeats.trim(now, kept.bounds.window_ms);
            }
            kept.free_repeats();
        });
        let kept = self.of(channel);
        let over = kept.over().is_some_and(|over| over <= now);
        if over {
            let since = kept.vacant.take().expect("it was found above");
            self.vacant.remove(&(since, channel));
        }
        self.wake(channel, now);
        Some((channel, over))
    }

    /// Sees to it that a channel is looked at when something of it is too old.
    fn wake(&mut self, channel: u32, now: Time) {
        let kept = self.of(channel);
        let ttl = kept.bounds.ttl_ms;
        let old = kept.history.oldest().map(|at| at.after_ms(ttl));
        let named = kept.repeats.as_ref().and_then(|repeats| repeats.oldest());
        let named = named.map(|at| at.after_ms(kept.bounds.window_ms));
        let old = old.into_iter().chain(named).min().map(|at| at.max(now.after_ms(HISTORY_SWEEP_MS)));
        let alarm = old.into_iter().chain(kept.over()).min();
        let before = core::mem::replace(&mut kept.alarm, alarm);
        if let Some(before) = before {
            self.alarms.remove(&(before, channel));
        }
        if let Some(alarm) = alarm {
            self.alarms.insert((alarm, channel));
        }
    }

    /// The same, where nothing but what has come now can make it earlier.
    #[inline]
    fn wake_within(&mut self, channel: u32, now: Time, ms: impl FnOnce(&Bounds) -> u64) {
        let kept = self.of(channel);
        let due = now.after_ms(ms(&kept.bounds).max(HISTORY_SWEEP_MS));
        if kept.alarm.is_none_or(|alarm| due < alarm) {
            self.wake(channel, now);
        }
    }

    /// Changes what a channel keeps. All that does so goes this way, since it is counted.
    #[inline]
    fn change<T>(&mut self, channel: u32, change: impl FnOnce(&mut Kept) -> T) -> T {
        let Self { by_channel, bound, .. } = self;
        let kept = by_channel.get_mut(&channel).expect("a channel that keeps history is known");
        let before = Piece::ALL.map(|piece| kept.size(piece));
        let result = change(kept);
        for (piece, before) in Piece::ALL.into_iter().zip(before) {
            bound.count(piece, before, kept.size(piece));
            if kept.listed[piece as usize].is_none()
                && let Some(oldest) = kept.oldest(piece)
            {
                kept.listed[piece as usize] = Some(oldest);
                bound.list(piece, oldest, channel);
            }
        }
        result
    }

    /// Drops the oldest of what all channels keep, as long as that is too much.
    fn make_room(&mut self) {
        while let Some(piece) = self.bound.excess() {
            let (listed, channel) = self.bound.pop(piece).expect("who keeps anything is listed");
            let kept = self.of(channel);
            kept.listed[piece as usize] = None;
            let is_oldest = kept.oldest(piece) == Some(listed);
            self.change(channel, |kept| {
                if is_oldest {
                    kept.give_way(piece);
                }
            });
            if is_oldest {
                self.note_gone(channel, piece, 1);
            }
        }
    }

    fn note_gone(&mut self, channel: u32, piece: Piece, count: usize) {
        self.bound.give_way(piece, count);
        if self.stores(channel) {
            self.untold.insert(channel);
        }
    }

    fn of(&mut self, channel: u32) -> &mut Kept {
        self.by_channel.get_mut(&channel).expect("a channel that keeps history is known")
    }
}
