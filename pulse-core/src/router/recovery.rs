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
use crate::limits::REPLAY_BYTES;
use crate::wire::{Ack, Frame, Gap, Point, Subscribe};
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

    pub(super) fn recovers(&self) -> bool {
        self.since.is_some()
    }

    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What becomes of a wish.
struct Verdict {
    /// Why it cannot be recovered, where it was asked for.
    recovered: Option<Result<(), Lost>>,
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
}

#[derive(Debug, Default)]
struct Catching {
    /// Whether it stands in `ready`.
    listed: bool,
    /// In the order in which they began.
    cursors: Vec<Cursor>,
}

/// A subscription and how far it is.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    channel: u32,
    /// The number of the newest publication that it was given.
    after: u64,
}

impl Replays {
    /// Whether a channel has to live on for somebody who reads its history.
    pub(super) fn reads(&self, channel: u32) -> bool {
        self.readers_of(channel).next().is_some()
    }

    /// Who is catching up in a channel.
    pub(super) fn readers_of(&self, channel: u32) -> impl Iterator<Item = Slot> {
        self.readers.range((channel, 0)..=(channel, Slot::MAX)).map(|(_, slot)| *slot)
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
            // If it is still listed it is passed over.
            self.conns.remove(&slot);
        }
    }

    /// The connection takes bytes: it is given its next page in its turn.
    pub(super) fn list(&mut self, slot: Slot) {
        if let Some(conn) = self.conns.get_mut(&slot)
            && !core::mem::replace(&mut conn.listed, true)
        {
            self.ready.push_back(slot);
        }
    }

    /// The next connection's next subscription.
    fn next(&mut self) -> Option<(Slot, Cursor)> {
        while let Some(slot) = self.ready.pop_front() {
            // It may have ended meanwhile.
            let Some(conn) = self.conns.get_mut(&slot) else { continue };
            conn.listed = false;
            return Some((slot, conn.cursors[0]));
        }
        None
    }

    /// Moves a cursor on.
    fn moved(&mut self, slot: Slot, channel: u32, after: u64) {
        let conn = self.conns.get_mut(&slot).expect("who catches up is noted");
        let cursor = conn.cursors.iter_mut().find(|cursor| cursor.channel == channel);
        cursor.expect("a subscription that catches up has a cursor").after = after;
    }
}

impl Router {
    /// Subscribes a connection that wants something of what was published before; `false` if it gets nothing of that here.
    pub(super) fn catch_up(&mut self, channel: u32, ack: PendingAck, wanted: Wanted) -> bool {
        if wanted.is_nothing() || !self.channels.is_home(channel) {
            return false;
        }
        let Verdict { recovered, after } = self.judge_wanted(channel, wanted);
        let PendingAck { slot, id, .. } = ack;
        let (recovered, reason) = match (ack.refusal, recovered) {
            (Some(refusal), _) => (Some(false), Some(refusal)),
            (None, Some(Err(lost))) => (Some(false), Some(lost.text())),
            (None, Some(Ok(()))) => (Some(true), None),
            (None, None) => (None, None),
        };
        let position = self.channels.get(channel).position();
        self.stats.subscribed += 1;
        self.tell_ack(slot, Ack { id, recovered, reason, ..Ack::default() }, Some(position));
        if after == position.1 {
            self.enter(slot, channel);
        } else {
            self.conns[slot as usize].subscriptions.push(Subscription { channel, place: CATCHING_UP });
            self.stats.subscriptions += 1;
            self.replays.add(slot, Cursor { channel, after });
        }
        true
    }

    /// At home: whether a wish can be fulfilled.
    fn judge_wanted(&mut self, channel: u32, wanted: Wanted) -> Verdict {
        let (epoch, top) = self.channels.get(channel).position();
        let history = self.histories.get(channel, self.now.mono);
        let recovered = wanted.since.map(|(given, after)| {
            if given == Some(epoch) { history.reaches(top, after).map(|()| after) } else { Err(Lost::Epoch) }
        });
        let latest = top.saturating_sub(wanted.latest).max(history.first(top) - 1);
        let after = recovered.and_then(Result::ok).unwrap_or(latest);
        Verdict { recovered: recovered.map(|recovered| recovered.map(|_| ())), after }
    }

    /// Gives the next connection that catches up its next page; `false` if there is none that takes one. Only when all else
    /// is handed out: so one page is on its way at a time, and each is written before the next is made.
    pub(super) fn replay_next(&mut self) -> bool {
        while let Some((slot, cursor)) = self.replays.next() {
            // Who takes nothing is listed again when it does.
            if !self.fanout.is_queued(slot) {
                self.replay(slot, cursor);
                self.replays.list(slot);
                self.close_overflowed();
                return true;
            }
        }
        false
    }

    /// Gives a connection the next page of one channel, which is at home here.
    fn replay(&mut self, slot: Slot, Cursor { channel, after }: Cursor) {
        let top = self.channels.get(channel).offset;
        let first = self.histories.get(channel, self.now.mono).first(top);
        let after = if after + 1 < first {
            self.tell_trimmed(slot, channel, after + 1, first - 1);
            first - 1
        } else {
            after
        };
        let history = self.histories.get(channel, self.now.mono);
        let (mut bytes, mut page) = (0, Vec::new());
        for frame in history.behind(top, after) {
            bytes += frame.len();
            if bytes > REPLAY_BYTES && !page.is_empty() {
                break;
            }
            page.push(frame);
        }
        let after = after + page.len() as u64;
        let page = page.concat();
        self.give(slot, channel, &page).expect("what is kept was encoded here or checked when it was read");
        if after == top {
            self.go_live(slot, channel);
        } else {
            self.replays.moved(slot, channel, after);
        }
    }

    /// Appends publications to what a connection has to get, each with its length in front.
    fn give(&mut self, slot: Slot, channel: u32, page: &[u8]) -> Result<(), BadParcel> {
        let policy = self.policy(channel);
        let encoding = self.conns[slot as usize].link.dialect.encoding();
        let mut rest = page;
        while let Some((frame, behind)) = split_frame(rest) {
            let publication = publication(frame)?;
            let meta = self.meta(channel, policy, publication.key);
            let message = self.fanout.message(meta, |out| match encoding {
                crate::link::Encoding::MessagePack => out.extend_from_slice(frame),
                crate::link::Encoding::Json => encoding.encode(&Frame::Publish(publication), out),
            });
            self.fanout.push(slot, message);
            rest = behind;
        }
        if rest.is_empty() { Ok(()) } else { Err(BadParcel) }
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
        let count = to + 1 - from;
        self.fanout.counters.dropped += count;
        let name = self.channels.get(channel).name.clone();
        let gap =
            Gap { channel: &name, reason: "trimmed", from: Some(from), to: Some(to), count: Some(count) };
        self.tell(slot, &Frame::Gap(gap));
    }
}

/// The first of some frames, with its length in front, and what follows it.
fn split_frame(frames: &[u8]) -> Option<(&[u8], &[u8])> {
    match crate::wire::split(frames, frames.len()) {
        crate::wire::Split::Frame { rest, .. } => Some(frames.split_at(frames.len() - rest.len())),
        _ => None,
    }
}
