//! Publications that are on disk before anybody gets them: what waits for the store, what becomes of it, and what a router is
//! given back when it starts.
//!
//! At home such a publication is encoded with its number and waits, seen by nobody: the channel's own number, its history and its
//! positions are those of what is stored. The host is handed one batch at a time, all that came meanwhile is the next one, so
//! many publications share one sync; and where a batch fails, none behind it can leave a hole. Then all that waits fails
//! with it, and its numbers are given anew.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use hashbrown::HashMap;

use crate::history::{EpochText, Item};
use crate::peer::PeerMessage;
use crate::repeats::Fate;
use crate::wire::{Ack, ErrorCode, Publish};
use crate::{ConnId, Effect, ImportError, Now, Outcome, Record, Refused, Stored, Ticket, Time};

use super::Router;
use super::history::{Matters, publication};

/// What waits for the store.
#[derive(Debug)]
pub(super) struct Storing {
    /// In the order in which they came.
    pending: VecDeque<Pending>,
    /// How many of these the host was handed, with this sequence number.
    sent: Option<(u64, usize)>,
    last_sequence: u64,
    /// Not handed out yet.
    records: Vec<u8>,
    /// How many publications of a channel wait; none of 0.
    by_channel: HashMap<u32, u64, foldhash::fast::FixedState>,
    /// Of the frames that wait, and of those who wait for their ends.
    bytes: usize,
    /// Connections that are not read from, because too much waits.
    paused: VecDeque<ConnId>,
    bound: usize,
}

/// A publication that waits.
#[derive(Debug)]
struct Pending {
    channel: u32,
    at: Time,
    frame: Box<[u8]>,
    /// What the channel will know it by; empty for nothing.
    name: Box<[u8]>,
    /// Its key and version, where it has both.
    tag: Option<(Box<str>, u64)>,
    asker: Asker,
    others: Vec<Other>,
}

/// Somebody else whose answer depends on what becomes of a publication.
#[derive(Debug)]
struct Other {
    asker: Asker,
    /// What it sent is an older version, and will be known by this name as one that was stale; empty for nothing. `None` if it
    /// sent the same again.
    stale: Option<Box<[u8]>>,
}

impl Pending {
    fn askers(&self) -> impl Iterator<Item = Asker> {
        core::iter::once(self.asker).chain(self.others.iter().map(|other| other.asker))
    }

    /// Bytes that it takes while it waits.
    fn cost(&self) -> usize {
        self.frame.len() + self.others.iter().map(Other::cost).sum::<usize>()
    }

    /// Whether a publication of this name waits for its end: `false` in it if it is this one, `true` if it is a stale one.
    fn has(&self, name: &[u8]) -> Option<bool> {
        if *self.name == *name {
            return Some(false);
        }
        let is_it = |other: &Other| other.stale.as_ref().is_some_and(|stale| **stale == *name);
        self.others.iter().any(is_it).then_some(true)
    }
}

impl Other {
    fn cost(&self) -> usize {
        size_of::<Self>() + self.stale.as_ref().map_or(0, |name| name.len())
    }
}

/// Who is told what becomes of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A connection of this router, under this id if it gave one.
    Client { conn: ConnId, id: Option<u64> },
    /// Another router; a ticket of 0 wants no answer.
    Peer { from: u16, ticket: u64 },
    /// The host itself.
    Host { ticket: Ticket },
}

/// What [`Router::restore`] has done with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// It is here, as it was.
    Here,
    /// Another router has it.
    Elsewhere,
    /// Its namespace keeps nothing on disk any more: it is left alone.
    NotDurable,
}

impl Storing {
    /// `bound` is [`Limits::peer_bytes`](crate::Limits::peer_bytes).
    pub(super) fn new(bound: usize) -> Self {
        Self {
            pending: VecDeque::new(),
            sent: None,
            last_sequence: 0,
            records: Vec::new(),
            by_channel: HashMap::with_hasher(foldhash::fast::FixedState::default()),
            bytes: 0,
            paused: VecDeque::new(),
            bound,
        }
    }

    /// Whether so much waits that publishers have to wait as well.
    pub(super) fn is_crowded(&self) -> bool {
        self.bytes >= self.bound / 8
    }

    /// Whether nothing more is taken, from whoever could not be told to wait.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.bound
    }

    /// Whether there is room for a record that nobody waits for. Without one a channel begins with its first publication, and
    /// what is forgotten or too old stays on disk until a later record or the next start; but channels that come and go
    /// while the disk takes nothing must not fill the memory.
    fn has_room(&self) -> bool {
        self.records.len() < self.bound
    }

    /// Whether publications of a channel wait.
    pub(super) fn holds(&self, channel: u32) -> bool {
        self.by_channel.contains_key(&channel)
    }

    /// Whether a connection has to be told of something that waits.
    pub(super) fn owes(&self, conn: ConnId) -> bool {
        let mut askers = self.pending.iter().flat_map(Pending::askers);
        askers.any(|asker| matches!(asker, Asker::Client { conn: of, .. } if of == conn))
    }

    /// What the host is to store next.
    pub(super) fn poll(&mut self) -> Option<Effect> {
        if self.sent.is_some() || self.records.is_empty() {
            return None;
        }
        self.last_sequence += 1;
        self.sent = Some((self.last_sequence, self.pending.len()));
        Some(Effect::Store { sequence: self.last_sequence, records: core::mem::take(&mut self.records) })
    }

    /// Notes a connection that is not read from. Those that `is_there` does not know are let go if there are more than `bound`.
    pub(super) fn pause(&mut self, conn: ConnId, bound: usize, is_there: impl Fn(&ConnId) -> bool) {
        if self.paused.len() >= bound {
            self.paused.retain(is_there);
        }
        self.paused.push_back(conn);
    }

    /// A connection that may go on.
    pub(super) fn unpause(&mut self) -> Option<ConnId> {
        if self.is_crowded() { None } else { self.paused.pop_front() }
    }

    /// Has somebody told, too, what becomes of the publication of this name; false if none waits.
    fn join(&mut self, channel: u32, name: &[u8], asker: Asker) -> bool {
        if name.is_empty() || !self.holds(channel) {
            return false;
        }
        let mut waiting = self.pending.iter_mut().filter(|it| it.channel == channel);
        let Some((first, stale)) = waiting.find_map(|it| it.has(name).map(|stale| (it, stale))) else {
            return false;
        };
        let other = Other { asker, stale: stale.then(Box::default) };
        self.bytes += other.cost();
        first.others.push(other);
        true
    }

    /// Has somebody told that a version is stale, or that it may be tried again, by what becomes of one that waits and is as new,
    /// or newer; false if there is none.
    fn follow(&mut self, channel: u32, tag: (&str, u64), name: &[u8], asker: Asker) -> bool {
        if !self.holds(channel) {
            return false;
        }
        let is_newer =
            |it: &Pending| it.tag.as_ref().is_some_and(|(key, version)| **key == *tag.0 && tag.1 <= *version);
        let newer = self.pending.iter_mut().find(|it| it.channel == channel && is_newer(it));
        let Some(newer) = newer else { return false };
        let other = Other { asker, stale: Some(name.into()) };
        self.bytes += other.cost();
        newer.others.push(other);
        true
    }

    fn push(&mut self, pending: Pending) {
        self.bytes += pending.cost();
        *self.by_channel.entry(pending.channel).or_default() += 1;
        self.pending.push_back(pending);
    }

    fn pop(&mut self) -> Option<Pending> {
        let pending = self.pending.pop_front()?;
        self.bytes -= pending.cost();
        let count = self.by_channel.get_mut(&pending.channel).expect("what waits is counted");
        *count -= 1;
        if *count == 0 {
            self.by_channel.remove(&pending.channel);
        }
        Some(pending)
    }
}

impl Router {
    /// What [`Effect::Store`] asked for is on disk: it is published. Another sequence number than the last one's changes
    /// nothing.
    pub fn stored(&mut self, sequence: u64) {
        let Some((_, count)) = self.storing.sent.take_if(|(sent, _)| *sent == sequence) else { return };
        let was_crowded = self.storing.is_crowded();
        for _ in 0..count {
            let pending = self.storing.pop().expect("what was handed out waits until it is answered");
            self.publish_stored(&pending);
        }
        self.unsent.changed |= was_crowded;
        self.close_overflowed();
    }

    /// What [`Effect::Store`] asked for is not on disk, none of it, for a reason that publishers may be told. It fails with a
    /// temporary error, and so does all that waits behind it. Another sequence number than the last one's changes nothing.
    pub fn not_stored(&mut self, sequence: u64, reason: &'static str) {
        if self.storing.sent.take_if(|(sent, _)| *sent == sequence).is_none() {
            return;
        }
        let was_crowded = self.storing.is_crowded();
        // What else is lost with it comes again: a channel begins with its first publication, one that is forgotten is
        // forgotten once more if it was restored.
        self.storing.records.clear();
        while let Some(pending) = self.storing.pop() {
            pending.askers().for_each(|asker| self.refuse_unstored(asker, reason));
            self.vacate(pending.channel);
        }
        self.unsent.changed |= was_crowded;
        self.close_overflowed();
    }

    /// Whether publications wait for the store.
    #[must_use]
    pub fn is_storing(&self) -> bool {
        !self.storing.pending.is_empty()
    }

    /// Takes back a channel that was stored, before anything else but [`advance`](Self::advance). Clients that come back find it
    /// as they left it, and repeats are known. It is taken whatever `limits.max_channels` says.
    ///
    /// # Errors
    /// [`ImportError::Malformed`] if this is not what a router has stored; nothing is changed then.
    pub fn restore(&mut self, stored: &Stored<'_>) -> Result<Restored, ImportError> {
        let &Stored { channel, epoch, first, top, publications, names } = stored;
        let restored = self.restores(channel);
        if restored != Restored::Here {
            return Ok(restored);
        }
        let hash = self.channels.hash(channel);
        let is_new = crate::grant::is_channel_name(channel) && self.channels.find(hash, channel).is_none();
        let below = first.checked_sub(1).filter(|_| is_new && top <= crate::limits::OFFSET_MAX);
        let below = below.ok_or(ImportError::Malformed)?;
        let (mut last, mut items) = (below, Vec::with_capacity(publications.len()));
        for (_, frame) in publications {
            let publication = publication(frame).map_err(|_| ImportError::Malformed)?;
            let offset = publication.offset.filter(|offset| *offset > last);
            let (Some(offset), Some(_), true) = (offset, publication.time, publication.channel == channel)
            else {
                return Err(ImportError::Malformed);
            };
            items.push(Item::new(&publication, frame));
            last = offset;
        }
        let rises = names.windows(2).all(|pair| pair[0].0 < pair[1].0);
        // The newest is kept, or nothing is.
        if last != top || !rises || names.iter().any(|(offset, _, name)| *offset > top || name.is_empty()) {
            return Err(ImportError::Malformed);
        }
        let at = self.make_channel(hash, channel);
        let entry = self.channels.get_mut(at);
        (entry.epoch, entry.offset) = (epoch, top);
        let times = ages(self.now, publications.iter().map(|(time, _)| *time));
        let items: Vec<_> = times.zip(items).collect();
        let superseded = self.histories.restore(at, self.now.mono, below, &items);
        let times = ages(self.now, names.iter().map(|(_, time, _)| *time));
        for (time, &(offset, _, name)) in times.zip(names) {
            // After a clock was set back, the window of an earlier one may not be over.
            if self.histories.fate(at, self.now.mono, name).is_none() {
                self.histories.note_fate(at, time, name, Fate { offset, stale: false });
            }
        }
        let named = names.first().map_or(1, |(offset, ..)| *offset);
        self.histories.set_stored_from(at, Matters { first, named });
        superseded.into_iter().for_each(|offset| self.store_superseded(at, offset));
        self.store_trimming(at);
        self.vacate(at);
        Ok(Restored::Here)
    }

    /// What [`restore`](Self::restore) would do with a channel of this name.
    #[must_use]
    pub fn restores(&self, channel: &str) -> Restored {
        if self.home(channel).0 != self.config.shards.index {
            Restored::Elsewhere
        } else if self.rulebook.rules(channel).stores() {
            Restored::Here
        } else {
            Restored::NotDurable
        }
    }

    /// At home: a publication waits for the store from now on.
    pub(super) fn store(&mut self, channel: u32, publication: &Publish<'_>, name: &[u8], asker: Asker) {
        let entry = self.channels.get(channel);
        let waiting = self.storing.by_channel.get(&channel).copied().unwrap_or(0);
        let (offset, time) = (entry.offset + waiting + 1, self.now.unix_ms);
        let mut frame = Vec::new();
        Publish { offset: Some(offset), time: Some(time), ..*publication }.encode(&mut frame);
        let (to, epoch) = (&entry.name, entry.epoch);
        let record = Record::Publication { channel: to, epoch, offset, time, name, frame: &frame };
        record.encode(&mut self.storing.records);
        self.store_trimming(channel);
        let was_crowded = self.storing.is_crowded();
        let tag = publication.key.zip(publication.version).map(|(key, version)| (key.into(), version));
        let (at, frame, name) = (self.now.mono, frame.into(), name.into());
        self.storing.push(Pending { channel, at, frame, name, tag, asker, others: Vec::new() });
        self.unsent.changed |= !was_crowded && self.storing.is_crowded();
    }

    /// At home: whether what becomes of a publication depends on one that waits for the store, by its name or as an older
    /// version. Then `asker` is told with that one.
    pub(super) fn waits_along(
        &mut self,
        channel: u32,
        publication: &Publish<'_>,
        name: &[u8],
        asker: Asker,
    ) -> bool {
        let was_crowded = self.storing.is_crowded();
        let tag = publication.key.zip(publication.version);
        let waits = self.storing.join(channel, name, asker)
            || tag.is_some_and(|tag| self.storing.follow(channel, tag, name, asker));
        self.unsent.changed |= !was_crowded && self.storing.is_crowded();
        waits
    }

    /// At home: a channel has been made. Whoever is told its position may come back with it after a restart.
    pub(super) fn store_beginning(&mut self, channel: u32) {
        if self.histories.stores(channel) && self.storing.has_room() {
            let entry = self.channels.get(channel);
            Record::Begun { channel: &entry.name, epoch: entry.epoch }.encode(&mut self.storing.records);
        }
    }

    /// At home: a channel is about to be forgotten.
    pub(super) fn store_end(&mut self, channel: u32) {
        if self.histories.stores(channel) && self.storing.has_room() {
            let channel = &self.channels.get(channel).name;
            Record::Forgotten { channel }.encode(&mut self.storing.records);
        }
    }

    /// At home: some of what a channel keeps may have become too old.
    pub(super) fn store_trimming(&mut self, channel: u32) {
        if self.histories.stores(channel) && self.storing.has_room() {
            let name = &self.channels.get(channel).name;
            if let Some(Matters { first, named }) = self.histories.tell_matters(channel, self.now.mono) {
                Record::Trimmed { channel: name, first, named }.encode(&mut self.storing.records);
            }
        }
    }

    /// What the host is to store next, with what of it has given way since.
    pub(super) fn poll_store(&mut self) -> Option<Effect> {
        while let Some(channel) = self.histories.take_untold() {
            self.store_trimming(channel);
        }
        self.storing.poll()
    }

    /// At home: the publication of this number is not kept any more, a newer one of its key is.
    fn store_superseded(&mut self, channel: u32, offset: u64) {
        // What has no room stays on disk until it is too old, or is found out at the next start.
        if self.storing.has_room() {
            let channel = &self.channels.get(channel).name;
            Record::Superseded { channel, offset }.encode(&mut self.storing.records);
        }
    }

    /// Numbers a publication that is on disk, keeps it, acknowledges it and gives it to all subscribers.
    fn publish_stored(&mut self, pending: &Pending) {
        let &Pending { channel, at, ref frame, ref name, .. } = pending;
        let offset = self.channels.number(channel);
        let publication = publication(frame).expect("it was encoded here");
        debug_assert_eq!(publication.offset, Some(offset), "what is stored is published in its order");
        let item = Item::new(&publication, frame);
        if let Some(before) = self.histories.push(channel, at, &item) {
            self.store_superseded(channel, before);
        }
        let stale = pending.others.iter().filter_map(|other| Some((&**other.stale.as_ref()?, true)));
        for (name, stale) in core::iter::once((&**name, false)).chain(stale) {
            if !name.is_empty() {
                self.histories.note_fate(channel, self.now.mono, name, Fate { offset, stale });
            }
        }
        let epoch = self.channels.get(channel).epoch;
        self.tell_stored(pending.asker, (epoch, offset), false);
        for Other { asker, stale } in &pending.others {
            self.tell_stored(*asker, (epoch, offset), stale.is_some());
        }
        let meta = self.meta(channel, self.policy(channel), publication.key);
        self.spread_kept(channel, frame, publication, meta);
        self.vacate(channel);
    }

    fn tell_stored(&mut self, asker: Asker, position: (u32, u64), stale: bool) {
        match asker {
            Asker::Client { conn, id: Some(id) } => {
                if let Some(slot) = self.open_slot(conn) {
                    let ack = Ack { id, stale: stale.then_some(true), ..Ack::default() };
                    self.tell_ack(slot, ack, Some(position));
                }
            }
            Asker::Client { id: None, .. } | Asker::Peer { ticket: 0, .. } => {}
            Asker::Peer { from, ticket } => self.accept(from, ticket, Some(position), stale),
            Asker::Host { ticket } => {
                let (epoch, offset) = position;
                let epoch = EpochText::new(epoch).as_str().into();
                let outcome =
                    if stale { Outcome::Stale { epoch, offset } } else { Outcome::Kept { epoch, offset } };
                self.effects.push_back(Effect::Settled { ticket, outcome: Ok(outcome) });
            }
        }
    }

    fn refuse_unstored(&mut self, asker: Asker, reason: &'static str) {
        let code = ErrorCode::SERVER_ERROR;
        match asker {
            Asker::Client { conn, id } => {
                if let Some(slot) = self.open_slot(conn) {
                    self.refuse(slot, id.unwrap_or(0), code, reason);
                }
            }
            // Who wants no answer is not told, but it is counted.
            Asker::Peer { ticket: 0, .. } => self.stats.dropped_between += 1,
            Asker::Peer { from, ticket } => self.say(from, PeerMessage::Refused { ticket, code: code.0 }),
            Asker::Host { ticket } => {
                let outcome = Err(Refused { code, message: reason });
                self.effects.push_back(Effect::Settled { ticket, outcome });
            }
        }
    }
}

/// When publications of these times of day were published. A clock that was set back must not make any of them younger than one
/// before it.
fn ages(now: Now, times: impl Iterator<Item = u64>) -> impl Iterator<Item = Time> {
    let mut youngest = u64::MAX;
    times.map(move |time| {
        youngest = youngest.min(now.unix_ms.saturating_sub(time));
        Time(now.mono.0.saturating_sub(youngest.saturating_mul(1_000)))
    })
}
