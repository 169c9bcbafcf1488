//! What a subscriber gets of what was published before: all that it missed, or the newest few, or the reason why not.
//!
//! It is pulled out of the history as the connection takes it, one page after the other, and the subscriber stands in its
//! channel's list only from the turn on in which nothing is left to pull. So what is published meanwhile waits behind the rest
//! in the history itself, and each number comes once.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::channel::Subscriber;
use crate::grant::Rules;
use crate::history::{EpochText, Lost};
use crate::limits::{REPLAY_BYTES, REPLAYS_AT_ONCE};
use crate::link::Encoding;
use crate::peer::{Asked, PeerMessage, Recall, Recalled};
use crate::wire::{self, Ack, ErrorCode, Frame, Gap, Point, Split, Subscribe};
use crate::{BadParcel, Dialect};

use super::history::publication;
use super::session::{CATCHING_UP, Subscription};
use super::subscriptions::PendingAck;
use super::{Router, Slot};

/// What a client that subscribes wants first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Everything behind this position; without an epoch, one that is none of ours.
    since: Option<(Option<u32>, u64)>,
    /// The newest publications, where there is no such position or it is lost.
    latest: u64,
}

impl Wanted {
    /// What a request asks for, as far as it may; and if it asks to recover in vain, the reason.
    pub(super) fn new(
        request: &Subscribe<'_>,
        rules: &Rules,
        dialect: Dialect,
    ) -> (Self, Option<&'static str>) {
        let &Subscribe { recover, latest, .. } = request;
        let mut wanted = Self::default();
        let refusal = if rules.history().is_none() {
            Some("this channel keeps no history")
        } else if dialect == Dialect::Legacy {
            // It could not be told of what gets lost on the way.
            Some("only clients that name a subprotocol recover")
        } else {
            wanted.latest = latest.unwrap_or(0);
            (!rules.recovery).then_some("this namespace does not recover")
        };
        if refusal.is_none() {
            wanted.since = recover.map(|Point { epoch, offset }| (EpochText::parse(epoch), offset));
        }
        (wanted, refusal.filter(|_| recover.is_some()))
    }

    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What becomes of a wish.
struct Verdict {
    /// Why it cannot be recovered, where that was asked for.
    lost: Option<Lost>,
    /// The number behind which it goes on.
    after: u64,
}

/// The subscriptions that are catching up.
#[derive(Debug, Default)]
pub(super) struct Replays {
    conns: BTreeMap<Slot, Catching>,
    /// By channel.
    readers: BTreeSet<(u32, Slot)>,
    /// Connections that may get their next page.
    ready: VecDeque<Slot>,
    /// Pages that other routers were asked for.
    num_asked: usize,
    /// Connections that wait until these are fewer.
    stalled: VecDeque<Slot>,
}

#[derive(Debug, Default)]
struct Catching {
    /// Whether it stands in `ready` or `stalled`.
    listed: bool,
    /// In the order in which they began.
    cursors: Vec<Cursor>,
}

/// A subscription and how far it is.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    channel: u32,
    epoch: u32,
    /// The number of the newest publication that it was given.
    after: u64,
    /// The ticket of what the channel's home was asked, 0 for none.
    ticket: u64,
    /// The home has not said yet what becomes of it.
    unacked: Option<Unacked>,
}

#[derive(Clone, Copy, Debug)]
struct Unacked {
    ack: PendingAck,
    /// Whether it wants to recover.
    recovers: bool,
}

impl Replays {
    /// Whether a channel has to live on for somebody who reads its history.
    pub(super) fn reads(&self, channel: u32) -> bool {
        self.slots(channel).next().is_some()
    }

    /// The subscribers of a channel that are catching up.
    pub(super) fn slots(&self, channel: u32) -> impl Iterator<Item = Slot> {
        self.readers.range((channel, 0)..=(channel, Slot::MAX)).map(|(_, slot)| *slot)
    }

    /// Those of them that know that they are subscribed.
    pub(super) fn aware(&self, channel: u32) -> impl Iterator<Item = Slot> {
        self.slots(channel)
            .filter(move |slot| self.get(*slot, channel).is_some_and(|cursor| cursor.unacked.is_none()))
    }

    fn add(&mut self, slot: Slot, cursor: Cursor) {
        self.readers.insert((cursor.channel, slot));
        self.conns.entry(slot).or_default().cursors.push(cursor);
        self.list(slot);
    }

    /// The subscription is over, or has caught up.
    pub(super) fn remove(&mut self, slot: Slot, channel: u32) {
        self.readers.remove(&(channel, slot));
        let conn = self.conns.get_mut(&slot).expect("who catches up is noted");
        conn.cursors.retain(|cursor| cursor.channel != channel);
        if conn.cursors.is_empty() {
            // Where it is still listed it is passed over.
            self.conns.remove(&slot);
        }
    }

    /// The connection takes bytes, or an answer has come: it is given its next page in its turn.
    pub(super) fn list(&mut self, slot: Slot) {
        if let Some(conn) = self.conns.get_mut(&slot)
            && !core::mem::replace(&mut conn.listed, true)
        {
            self.ready.push_back(slot);
        }
    }

    /// The next connection that may get a page.
    fn next(&mut self) -> Option<Slot> {
        loop {
            let slot = match self.ready.pop_front() {
                None if self.num_asked < REPLAYS_AT_ONCE => self.stalled.pop_front()?,
                slot => slot?,
            };
            // It may have ended meanwhile.
            if let Some(conn) = self.conns.get_mut(&slot) {
                conn.listed = false;
                return Some(slot);
            }
        }
    }

    /// A page that another router was asked for has come, or will not.
    pub(super) fn arrived(&mut self) {
        self.num_asked -= 1;
    }

    /// The connection gets its page when fewer are asked for.
    fn stall(&mut self, slot: Slot) {
        if let Some(conn) = self.conns.get_mut(&slot) {
            conn.listed = true;
            self.stalled.push_back(slot);
        }
    }

    fn get(&self, slot: Slot, channel: u32) -> Option<&Cursor> {
        self.conns.get(&slot)?.cursors.iter().find(|cursor| cursor.channel == channel)
    }

    fn get_mut(&mut self, slot: Slot, channel: u32) -> Option<&mut Cursor> {
        self.conns.get_mut(&slot)?.cursors.iter_mut().find(|cursor| cursor.channel == channel)
    }

    /// Takes back the ack of a subscription that ends before the home has decided about it.
    pub(super) fn take_ack(&mut self, slot: Slot, channel: u32) -> Option<PendingAck> {
        let Unacked { ack, recovers } = self.get_mut(slot, channel)?.unacked.take()?;
        let refusal = recovers.then_some("the subscription ended before that was known");
        Some(PendingAck { refusal: ack.refusal.or(refusal), ..ack })
    }

    /// How far a subscription is that is catching up.
    pub(super) fn position(&self, slot: Slot, channel: u32) -> Option<(u32, u64)> {
        self.get(slot, channel).map(|cursor| (cursor.epoch, cursor.after))
    }
}

impl Router {
    /// Subscribes a connection that wants something of what was published before. Gives the ack back if there is nothing
    /// of that for it.
    pub(super) fn catch_up(
        &mut self,
        channel: u32,
        mut ack: PendingAck,
        mut wanted: Wanted,
    ) -> Option<PendingAck> {
        if let Some((None, _)) = wanted.since {
            (wanted.since, ack.refusal) = (None, Some(Lost::Epoch.text()));
        }
        if wanted.is_nothing() {
            return Some(ack);
        }
        self.stats.subscribed += 1;
        let recovers = wanted.since.is_some();
        if self.channels.is_home(channel) {
            let verdict = self.judge_wanted(channel, wanted);
            self.tell_verdict(channel, ack, recovers, verdict.lost);
            let (epoch, top) = self.channels.get(channel).position();
            self.resume_behind(ack.slot, channel, (epoch, verdict.after), top);
        } else {
            let slot = ack.slot;
            let unacked = Some(Unacked { ack, recovers });
            self.enter_behind(slot, Cursor { channel, epoch: 0, after: 0, ticket: 0, unacked });
            let since = wanted.since.map(|(epoch, after)| (epoch.unwrap_or_default(), after));
            self.recall(slot, channel, since, wanted.latest, false);
        }
        None
    }

    /// Whether a wish can be fulfilled in a channel that is at home here.
    fn judge_wanted(&mut self, channel: u32, wanted: Wanted) -> Verdict {
        let (epoch, top) = self.channels.get(channel).position();
        let history = self.histories.get(channel, self.now.mono);
        let recovered = wanted.since.map(|(given, after)| {
            if given == Some(epoch) { history.reaches(top, after).map(|()| after) } else { Err(Lost::Epoch) }
        });
        let latest = history.before_newest(top, wanted.latest);
        Verdict {
            lost: recovered.and_then(Result::err),
            after: recovered.and_then(Result::ok).unwrap_or(latest),
        }
    }

    fn tell_verdict(&mut self, channel: u32, ack: PendingAck, recovers: bool, lost: Option<Lost>) {
        let PendingAck { slot, id, refusal, .. } = ack;
        let reason = refusal.or_else(|| lost.map(Lost::text));
        let recovered = (recovers || refusal.is_some()).then_some(reason.is_none());
        let (position, sparse) = (self.channels.get(channel).position(), self.is_sparse(channel));
        self.tell_ack(slot, Ack { id, recovered, reason, sparse, ..Ack::default() }, Some(position));
    }

    /// Whether numbers of a channel that keeps history are missing by design, as its subscribers are told.
    pub(super) fn is_sparse(&self, channel: u32) -> Option<bool> {
        let rules = self.rulebook.rules(&self.channels.get(channel).name);
        rules.history_per_key.then_some(true)
    }

    /// A connection becomes a subscriber that knows of it, and goes on behind a position of the channel.
    fn resume_behind(&mut self, slot: Slot, channel: u32, (epoch, after): (u32, u64), top: u64) {
        if after == top {
            self.enter(slot, channel);
        } else {
            self.enter_behind(slot, Cursor { channel, epoch, after, ticket: 0, unacked: None });
        }
    }

    fn enter_behind(&mut self, slot: Slot, cursor: Cursor) {
        let subscription = Subscription { channel: cursor.channel, place: CATCHING_UP };
        self.conns[slot as usize].subscriptions.push(subscription);
        self.stats.subscriptions += 1;
        self.replays.add(slot, cursor);
    }

    /// Gives the next connection that catches up its next page, or asks for it; `false` if there is none that takes one. Only
    /// when all else is handed out: so one page is on its way at a time, and each is written before the next is made.
    pub(super) fn replay_next(&mut self) -> bool {
        while let Some(slot) = self.replays.next() {
            // Who takes nothing is listed again when it does.
            if self.fanout.is_queued(slot) {
                continue;
            }
            let Some(Cursor { channel, epoch, after, .. }) = self.next_cursor(slot) else { continue };
            if self.channels.is_home(channel) {
                self.replay(slot, channel, after);
                self.replays.list(slot);
                self.close_overflowed();
                return true;
            }
            if self.replays.num_asked >= REPLAYS_AT_ONCE {
                self.replays.stall(slot);
            } else {
                self.replays.num_asked += 1;
                self.recall(slot, channel, Some((epoch, after)), 0, true);
            }
        }
        false
    }

    /// The subscription of a connection that can be given its next page. One page of a connection is asked for at a time.
    fn next_cursor(&self, slot: Slot) -> Option<Cursor> {
        let cursors = &self.replays.conns.get(&slot)?.cursors;
        if cursors.iter().any(|cursor| cursor.ticket != 0 && cursor.unacked.is_none()) {
            return None;
        }
        let can = |cursor: &&Cursor| {
            let entry = self.channels.get(cursor.channel);
            let waits = cursor.unacked.is_some() || entry.joining;
            !waits
                && (self.channels.is_home(cursor.channel)
                    || self.outboxes[usize::from(entry.home())].connected)
        };
        cursors.iter().find(can).copied()
    }

    /// Gives a connection the next page of a channel that is at home here.
    fn replay(&mut self, slot: Slot, channel: u32, after: u64) {
        let (_, top) = self.channels.get(channel).position();
        let (from, frames) = self.page_behind(channel, after);
        self.turn_page(slot, channel, (after, from), &frames, top)
            .expect("what is kept was encoded here or checked");
    }

    /// At home: the next publications behind a number, and the number behind which they begin.
    fn page_behind(&mut self, channel: u32, after: u64) -> (u64, Vec<u8>) {
        let history = self.histories.get(channel, self.now.mono);
        let after = after.max(history.floor());
        let mut page = Vec::new();
        for frame in history.behind(after) {
            if !page.is_empty() && page.len() + frame.len() > REPLAY_BYTES {
                break;
            }
            page.extend_from_slice(frame);
        }
        (after, page)
    }

    /// Gives a connection a page, which begins behind `from`, where it would go on behind `after`.
    fn turn_page(
        &mut self,
        slot: Slot,
        channel: u32,
        (after, from): (u64, u64),
        frames: &[u8],
        top: u64,
    ) -> Result<(), BadParcel> {
        if from > after {
            self.tell_trimmed(slot, channel, after + 1, from);
        }
        let until = self.give(slot, channel, frames)?.unwrap_or(from);
        if until >= top {
            self.go_live(slot, channel);
        } else if let Some(cursor) = self.replays.get_mut(slot, channel) {
            cursor.after = until;
        }
        Ok(())
    }

    /// Appends publications, each with its length in front, to what a connection has to get; returns the number of the last.
    fn give(&mut self, slot: Slot, channel: u32, frames: &[u8]) -> Result<Option<u64>, BadParcel> {
        let policy = self.policy(channel);
        let encoding = self.conns[slot as usize].link.dialect.encoding();
        let (mut rest, mut last) = (frames, None);
        while let Split::Frame { rest: behind, .. } = wire::split(rest, rest.len()) {
            let frame = &rest[..rest.len() - behind.len()];
            let publication = publication(frame)?;
            let meta = self.meta(channel, policy, publication.key);
            let message = self.fanout.message(meta, |out| match encoding {
                Encoding::MessagePack => out.extend_from_slice(frame),
                Encoding::Json => encoding.encode(&Frame::Publish(publication), out),
            });
            self.fanout.push(slot, message);
            (rest, last) = (behind, publication.offset);
        }
        if rest.is_empty() { Ok(last) } else { Err(BadParcel) }
    }

    /// From now on a subscription gets what is published, when it is.
    fn go_live(&mut self, slot: Slot, channel: u32) {
        self.replays.remove(slot, channel);
        let at = self.conns[slot as usize].subscription(channel).expect("a subscriber has the subscription");
        let place = self.channels.join(channel, Subscriber { slot, at: at as u32 });
        self.conns[slot as usize].subscriptions[at].place = place;
    }

    /// History has dropped what a subscriber still had to get.
    fn tell_trimmed(&mut self, slot: Slot, channel: u32, from: u64, to: u64) {
        let name = self.channels.get(channel).name.clone();
        // Where a newer one of the same key was kept instead, nothing is missing: nobody knows how many are but one.
        let count = self.is_sparse(channel).is_none().then_some(to + 1 - from);
        self.fanout.counters.dropped += count.unwrap_or(1);
        let (from, to) = (Some(from), Some(to));
        self.tell(slot, &Frame::Gap(Gap { channel: &name, reason: "trimmed", from, to, count }));
    }

    // ---- between routers

    /// Asks a channel's home for what was published before.
    fn recall(&mut self, slot: Slot, channel: u32, since: Option<(u32, u64)>, latest: u64, page: bool) {
        let conn = self.id(slot);
        let entry = self.channels.get(channel);
        let ticket = self.outboxes[usize::from(entry.home())].ask(Asked::Replay { conn, channel, page });
        let recall = Recall { channel: &entry.name, since, latest, page };
        Self::send(&mut self.outboxes, &mut self.unsent, entry.home(), |out| {
            PeerMessage::Recall { ticket, recall }.encode(out);
        });
        self.replays.get_mut(slot, channel).expect("who asks is catching up").ticket = ticket;
    }

    /// At home: a leaf's question.
    pub(super) fn on_recall(&mut self, from: u16, ticket: u64, recall: &Recall<'_>) {
        let Some(channel) = self.find(recall.channel).filter(|at| self.channels.get(*at).kept) else {
            // The home has just refused the leaf for want of room.
            let code = ErrorCode::LIMIT_EXCEEDED.0;
            return self.say(from, PeerMessage::Refused { ticket, code });
        };
        let (epoch, offset) = self.channels.get(channel).position();
        let since = recall.since.map(|(epoch, after)| (Some(epoch), after));
        let Verdict { lost, mut after } = self.judge_wanted(channel, Wanted { since, latest: recall.latest });
        let mut frames = Vec::new();
        if let (true, Some((_, behind))) = (recall.page, recall.since)
            && lost.is_none_or(|lost| lost == Lost::Trimmed)
        {
            (after, frames) = self.page_behind(channel, behind);
        }
        let recalled = Recalled { lost: Lost::number(lost), epoch, offset, after, frames: &frames };
        self.say(from, PeerMessage::Recalled { ticket, recalled });
    }

    /// In a leaf: the home's answer.
    pub(super) fn on_recalled(
        &mut self,
        from: u16,
        ticket: u64,
        recalled: &Recalled<'_>,
    ) -> Result<(), BadParcel> {
        let Some((slot, cursor)) = self.recalled(from, ticket) else { return Ok(()) };
        let Cursor { channel, after, unacked, .. } = cursor;
        let &Recalled { lost, epoch, offset, after: from, frames } = recalled;
        let lost = Lost::from_number(lost);
        // What the home has left out is lost for the others here; from now on they and this one are at the same place.
        self.on_missed(channel, offset, false);
        if let Some(Unacked { ack, recovers }) = unacked {
            self.tell_verdict(channel, ack, recovers, lost);
            if from == offset {
                self.go_live(slot, channel);
            } else if let Some(cursor) = self.replays.get_mut(slot, channel) {
                (cursor.epoch, cursor.after, cursor.unacked) = (epoch, from, None);
            }
        } else if matches!(lost, Some(Lost::Epoch | Lost::Ahead)) {
            // The home has begun anew since this subscriber was told that all would follow.
            let name = self.channels.get(channel).name.clone();
            let gap = Gap { channel: &name, reason: "peer_lost", ..Gap::default() };
            self.tell(slot, &Frame::Gap(gap));
            self.go_live(slot, channel);
        } else {
            self.turn_page(slot, channel, (after, from), frames, offset)?;
        }
        Ok(())
    }

    /// The subscription that a home's answer is for, as it was; it waits for nothing any more.
    fn recalled(&mut self, from: u16, ticket: u64) -> Option<(Slot, Cursor)> {
        let Some(Asked::Replay { conn, channel, page }) = self.answered(from, ticket) else { return None };
        if page {
            self.replays.arrived();
        }
        let slot = self.open_slot(conn)?;
        self.replays.list(slot);
        // It may have left meanwhile, and even come again; and the index may be another channel's.
        let home = self.channels.get(channel).home();
        let cursor = self.replays.get_mut(slot, channel)?;
        if cursor.ticket != ticket || home != from {
            return None;
        }
        cursor.ticket = 0;
        Some((slot, *cursor))
    }

    /// The home of a channel is lost: who was not told yet that it is subscribed is not, the others wait.
    pub(super) fn stop_catching_up(&mut self, channel: u32) {
        let slots: Vec<Slot> = self.replays.slots(channel).collect();
        for slot in slots {
            let cursor = self.replays.get_mut(slot, channel).expect("it is listed as a reader");
            cursor.ticket = 0;
            if cursor.unacked.is_some() {
                self.expel(slot, channel, ErrorCode::SERVER_ERROR);
            }
        }
    }

    /// In a leaf: the channel takes part again.
    pub(super) fn go_on_catching_up(&mut self, channel: u32) {
        let slots: Vec<Slot> = self.replays.slots(channel).collect();
        slots.into_iter().for_each(|slot| self.replays.list(slot));
    }

    // ---- moving house

    /// Subscribes a connection that was imported, at the position that it had in a channel that keeps history.
    pub(super) fn move_behind(&mut self, slot: Slot, channel: u32, (epoch, after): (u32, u64)) {
        let entry = self.channels.get(channel);
        let (now, top) = entry.position();
        if self.channels.is_home(channel) && (epoch != now || after > top) {
            let name = entry.name.clone();
            self.tell(slot, &Frame::Gap(Gap { channel: &name, reason: "moved", ..Gap::default() }));
            self.enter(slot, channel);
        } else if !entry.joining && (epoch, after) == (now, top) {
            self.enter(slot, channel);
        } else {
            self.enter_behind(slot, Cursor { channel, epoch, after, ticket: 0, unacked: None });
        }
    }
}
