//! Publications that are on disk before anybody gets them: what waits for the store, what becomes of it, and what a router is
//! given back when it starts.
//!
//! At home such a publication is encoded with its number and waits, seen by nobody: the channel's own number, its history and its
//! positions are those of what is stored. The host is handed one batch at a time, all that came meanwhile is the next one, so
//! many publications share one sync; and where a batch fails, none behind it can leave a hole. Then all that waits fails
//! with it, and its numbers are given anew.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::history::{EpochText, Item};
use crate::peer::PeerMessage;
use crate::repeats::Fate;
use crate::wire::{Ack, ErrorCode, Publish};
use crate::{Effect, ImportError, Now, Outcome, Record, Refused, Stored, Time};

use super::Router;
use super::histories::Matters;
use super::history::{item_behind, publication};
use super::storing::{Asker, Other, Pending};

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

impl Router {
    /// What [`Effect::Store`] asked for is on disk: it is published. Another sequence number than the last one's changes
    /// nothing.
    pub fn stored(&mut self, sequence: u64) {
        let Some(count) = self.storing.take_sent(sequence) else { return };
        self.storing.forget_chores();
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
        if self.storing.take_sent(sequence).is_none() {
            return;
        }
        let was_crowded = self.storing.is_crowded();
        let failed = self.storing.first();
        while let Some(pending) = self.storing.pop() {
            self.refuse_unstored(pending.asker, reason);
            for other in &pending.others {
                if self.storing.is_told(other, failed) {
                    self.tell_other(pending.channel, other);
                } else {
                    self.refuse_unstored(other.asker, reason);
                }
            }
            self.vacate(pending.channel);
        }
        self.storing.keep_chores(self.now.mono);
        self.unsent.changed |= was_crowded;
        self.close_overflowed();
    }

    /// Whether publications wait for the store.
    #[must_use]
    pub fn is_storing(&self) -> bool {
        !self.storing.is_empty()
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
            let item = item_behind(channel, last, frame).map_err(|_| ImportError::Malformed)?;
            last = item.offset;
            items.push(item);
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
        // After a clock was set back, or with a longer window, the same name may be there twice: the newest is the one.
        let mut known = BTreeSet::new();
        let times = ages(self.now, names.iter().map(|(_, time, _)| *time));
        let mut newest: Vec<_> = times.zip(names).collect();
        newest.reverse();
        newest.retain(|(_, (_, _, name))| known.insert(*name));
        for (time, &(offset, _, name)) in newest.into_iter().rev() {
            self.histories.note_fate(at, time, name, Fate { offset, stale: false });
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
        let (offset, time) = (entry.offset + self.storing.count(channel) + 1, self.now.unix_ms);
        let mut frame = Vec::new();
        Publish { offset: Some(offset), time: Some(time), ..*publication }.encode(&mut frame);
        let is_looked_for = publication.version.is_some() || self.histories.is_per_key(channel);
        let pending = Pending {
            channel,
            offset,
            at: self.now.mono,
            frame: frame.as_slice().into(),
            name: name.into(),
            key: publication.key.filter(|_| is_looked_for).map(Into::into),
            version: publication.version,
            asker,
            others: Vec::new(),
        };
        let (to, epoch) = (&entry.name, entry.epoch);
        let record = Record::Publication { channel: to, epoch, offset, time, name, frame: &frame };
        self.storing.push(&record, pending);
        self.store_trimming(channel);
    }

    /// At home: a channel has been made. Whoever is told its position may come back with it after a restart.
    pub(super) fn store_beginning(&mut self, channel: u32) {
        if self.histories.stores(channel) && self.storing.has_room() {
            let entry = self.channels.get(channel);
            self.storing.note(&Record::Begun { channel: &entry.name, epoch: entry.epoch });
        }
    }

    /// At home: a channel is about to be forgotten.
    pub(super) fn store_end(&mut self, channel: u32) {
        if self.histories.stores(channel) && self.storing.has_room() {
            self.storing.note(&Record::Forgotten { channel: &self.channels.get(channel).name });
        }
    }

    /// At home: some of what a channel keeps may have become too old.
    pub(super) fn store_trimming(&mut self, channel: u32) {
        if self.histories.stores(channel) && self.storing.has_room() {
            let entry = self.channels.get(channel);
            if let Some(Matters { first, named }) = self.histories.tell_matters(channel, self.now.mono) {
                let (channel, epoch) = (&entry.name, entry.epoch);
                self.storing.note(&Record::Trimmed { channel, epoch, first, named });
            }
        }
    }

    /// What the host is to store next, with what of it has given way since.
    pub(super) fn poll_store(&mut self) -> Option<Effect> {
        while let Some(channel) = self.histories.take_untold() {
            self.store_trimming(channel);
        }
        self.storing.poll(self.now.mono)
    }

    /// At home: the publication of this number is not kept any more, a newer one of its key is.
    fn store_superseded(&mut self, channel: u32, offset: u64) {
        // What has no room stays on disk until it is too old, or is found out at the next start.
        if self.storing.has_room() {
            self.storing.note(&Record::Superseded { channel: &self.channels.get(channel).name, offset });
        }
    }

    /// Numbers a publication that is on disk, keeps it, acknowledges it and gives it to all subscribers.
    fn publish_stored(&mut self, pending: &Pending) {
        let &Pending { channel, at, asker, ref frame, ref name, ref others, .. } = pending;
        // That of a leaf's client is counted there.
        self.stats.publications += u64::from(!matches!(asker, Asker::Peer { .. }));
        let offset = self.channels.number(channel);
        let publication = publication(frame).expect("it was encoded here");
        debug_assert_eq!(publication.offset, Some(offset), "what is stored is published in its order");
        let item = Item::new(&publication, frame);
        if let Some(before) = self.histories.push(channel, at, &item) {
            self.store_superseded(channel, before);
        }
        if !name.is_empty() {
            // As the store knows it: since it came, however long it has waited.
            self.histories.note_fate(channel, at, name, Fate { offset, stale: false });
        }
        let epoch = self.channels.get(channel).epoch;
        self.tell_stored(asker, (epoch, offset), false);
        others.iter().for_each(|other| self.tell_other(channel, other));
        let meta = self.meta(channel, self.policy(channel), publication.key);
        self.spread_kept(channel, frame, publication, meta);
        self.vacate(channel);
    }

    /// Tells somebody who was to be told behind a publication.
    fn tell_other(&mut self, channel: u32, other: &Other) {
        let &Other { asker, fate, ref name, .. } = other;
        if !name.is_empty() {
            self.histories.note_fate(channel, self.now.mono, name, fate);
        }
        let epoch = self.channels.get(channel).epoch;
        self.tell_stored(asker, (epoch, fate.offset), fate.stale);
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
