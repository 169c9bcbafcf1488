//! Subscriptions as a client keeps them: by id for its application, by name for what comes in. Each lives from
//! `subscribe` to its last event, over any number of connections.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::hash::BuildHasher;
use core::num::NonZeroU64;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::Time;
use crate::wire::{Point, Subscribe};

use super::Token;
use super::deadline::Deadline;
use super::presence::Membership;

/// One subscription of a client; the same over all its connections, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubId(pub(super) NonZeroU64);

impl SubId {
    /// The id as a number from 1 to 2^53 - 1, for hosts that hand it through a foreign language.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The inverse of [`get`](Self::get); `None` for 0. An id that was never given out finds nothing.
    #[must_use]
    pub fn new(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }
}

/// How a channel is subscribed to; the default begins with the next publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions<'a> {
    /// Proof of the right to this channel.
    pub token: Option<&'a str>,
    /// The last position that the application has: asks for what came after it.
    pub recover: Option<Point<'a>>,
    /// How many of the newest publications to send first.
    pub latest: Option<u64>,
}

/// Why a subscription was not taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The client is closed.
    Closed,
    /// Not 1 to 256 bytes of printable ASCII, or it starts with `$`.
    InvalidChannel,
    /// There is a subscription to this channel.
    AlreadySubscribed {
        /// That one.
        sub: SubId,
    },
    /// There are as many subscriptions as there may be.
    TooMany {
        /// From [`ClientConfig::max_subscriptions`](super::ClientConfig::max_subscriptions).
        max: u32,
    },
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the client is closed: connect it before subscribing"),
            Self::InvalidChannel => f.write_str(super::INVALID_CHANNEL),
            Self::AlreadySubscribed { .. } => {
                f.write_str("the client is subscribed to this channel already: share that subscription")
            }
            Self::TooMany { max } => {
                write!(f, "there are {max} subscriptions: unsubscribe from something first")
            }
        }
    }
}

impl Error for SubscribeError {}

/// Where a subscription stands with the server of the current connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// To be asked for with the next message or connection.
    Due,
    /// Asked for.
    Asked(Deadline),
    Active,
    /// Refused for now.
    Refused {
        until: Time,
    },
}

/// A place in a channel's stream, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) epoch: Box<str>,
    pub(super) offset: u64,
}

impl Position {
    pub(super) fn point(&self) -> Point<'_> {
        Point { epoch: &self.epoch, offset: self.offset }
    }
}

impl From<Point<'_>> for Position {
    fn from(point: Point<'_>) -> Self {
        Self { epoch: point.epoch.into(), offset: point.offset }
    }
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) id: SubId,
    pub(super) channel: Box<str>,
    token: Option<Token>,
    /// Asked for once only: later the position says more.
    latest: Option<u64>,
    /// The last publication that the application was given, in channels that number them.
    pub(super) position: Option<Position>,
    /// Publications up to this number may be missing: the newest were asked for, and there are fewer.
    until: u64,
    /// How many publications the application was told to miss and did not miss yet.
    told: u64,
    pub(super) state: State,
    /// Whether a request was sent on this connection, so that the server may know of the subscription.
    pub(super) asked: bool,
    /// How often in a row it was refused for now.
    pub(super) attempt: u32,
    /// What the client shows of itself in the channel.
    pub(super) member: Option<Membership>,
}

impl Subscription {
    /// The request; its `id` is the subscription's own on every connection, so that a late answer counts as well.
    pub(super) fn request(&self) -> Subscribe<'_> {
        Subscribe {
            id: self.id.get(),
            channel: &self.channel,
            token: self.token.as_ref().map(Token::expose),
            recover: self.position.as_ref().map(Position::point),
            latest: if self.position.is_none() { self.latest } else { None },
        }
    }

    pub(super) fn activate(&mut self) {
        self.state = State::Active;
        self.attempt = 0;
        self.latest = None;
        (self.until, self.told) = (0, 0);
    }

    /// It goes on behind this position; if `latest` newest were asked for, they come first, or as many as there are.
    pub(super) fn begin(&mut self, at: Option<Position>, latest: u64) {
        self.until = at.as_ref().map_or(0, |at| if latest > 0 { at.offset } else { 0 });
        self.position = at.map(|at| Position { offset: at.offset.saturating_sub(latest), ..at });
    }

    /// Judges a publication by its number, and takes its place if it is the next.
    pub(super) fn arrive(&mut self, offset: Option<u64>) -> Arrival {
        let (Some(position), Some(offset)) = (&mut self.position, offset) else { return Arrival::New };
        if offset <= position.offset {
            return Arrival::Repeated;
        }
        let missing = offset - position.offset.max(self.until.min(offset - 1)) - 1;
        match self.told.checked_sub(missing) {
            None => Arrival::Hole,
            Some(left) => {
                (self.told, position.offset) = (left, offset);
                Arrival::New
            }
        }
    }

    /// The application is told that so many publications are missing, or that nobody knows how many.
    pub(super) fn miss(&mut self, count: Option<u64>) {
        self.told = self.told.saturating_add(count.unwrap_or(u64::MAX));
    }
}

/// What a publication is to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    New,
    /// The application has had it.
    Repeated,
    /// Others should have come before it.
    Hole,
}

/// All subscriptions of a client.
#[derive(Debug)]
pub(super) struct Subscriptions {
    /// Rising by id: ids are given out in order.
    list: Vec<Subscription>,
    /// Ids by channel name.
    names: HashTable<SubId>,
    hasher: FixedState,
    /// No later than the first deadline of any of them; a little too early costs one look.
    next: Option<Time>,
}

impl Subscriptions {
    /// `seed` keys the hash: names may come from strangers.
    pub(super) fn new(seed: u64) -> Self {
        Self { list: Vec::new(), names: HashTable::new(), hasher: FixedState::with_seed(seed), next: None }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn add(&mut self, id: SubId, channel: &str, options: &SubscribeOptions<'_>) {
        self.list.push(Subscription {
            id,
            channel: channel.into(),
            token: options.token.map(Token::from),
            latest: options.latest,
            position: options.recover.map(Position::from),
            until: 0,
            told: 0,
            state: State::Due,
            asked: false,
            attempt: 0,
            member: None,
        });
        let Self { list, names, hasher, .. } = self;
        names.insert_unique(hasher.hash_one(channel), id, |&id| {
            let at = index(list, id.get()).expect("a name stands in the table as long as its subscription");
            hasher.hash_one(&*list[at].channel)
        });
    }

    pub(super) fn remove(&mut self, id: SubId) -> Option<Subscription> {
        let at = index(&self.list, id.get())?;
        let hash = self.hasher.hash_one(&*self.list[at].channel);
        self.names.find_entry(hash, |&other| other == id).expect("a subscription is in the table").remove();
        Some(self.list.remove(at))
    }

    pub(super) fn get(&self, id: SubId) -> Option<&Subscription> {
        index(&self.list, id.get()).map(|at| &self.list[at])
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut Subscription> {
        index(&self.list, id).map(|at| &mut self.list[at])
    }

    pub(super) fn find(&self, channel: &str) -> Option<SubId> {
        let list = &self.list;
        let named = |id: &SubId| index(list, id.get()).is_some_and(|at| *list[at].channel == *channel);
        self.names.find(self.hasher.hash_one(channel), named).copied()
    }

    pub(super) fn find_active(&self, channel: &str) -> Option<SubId> {
        self.find(channel)
            .filter(|id| matches!(self.get(*id), Some(Subscription { state: State::Active, .. })))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Subscription> {
        self.list.iter_mut()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = SubId> {
        self.list.iter().map(|sub| sub.id)
    }

    /// When [`due`](Self::due) is to be called.
    pub(super) fn next(&self) -> Option<Time> {
        self.next
    }

    /// Notes that one of them has a deadline.
    pub(super) fn wake_at(&mut self, at: Time) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// Forgets what the connection that is lost knew of them; all have to be asked for again.
    pub(super) fn reset(&mut self) {
        self.next = None;
        for sub in &mut self.list {
            (sub.state, sub.asked) = (State::Due, false);
        }
    }

    /// Looks at all whose deadline may have passed, by `look`, which returns a deadline that is still ahead.
    pub(super) fn due(&mut self, now: Time, mut look: impl FnMut(&mut Subscription) -> Option<Time>) {
        if self.next.is_some_and(|next| next <= now) {
            self.next = self.list.iter_mut().filter_map(&mut look).min();
        }
    }
}

fn index(list: &[Subscription], id: u64) -> Option<usize> {
    list.binary_search_by_key(&id, |sub| sub.id.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn id(id: u64) -> SubId {
        SubId::new(id).expect("ids of tests are not 0")
    }

    #[test]
    fn they_are_found_by_id_and_by_name_until_they_are_removed() {
        let mut subs = Subscriptions::new(3);
        for n in 1..=100 {
            subs.add(id(n), &format!("chat:{n}"), &SubscribeOptions::default());
        }
        for n in (1..=100).step_by(2) {
            assert_eq!(&*subs.remove(id(n)).unwrap().channel, format!("chat:{n}"));
        }
        for n in 1..=100 {
            let there = n % 2 == 0;
            assert_eq!(subs.find(&format!("chat:{n}")), there.then_some(id(n)));
            assert_eq!(subs.get(id(n)).is_some(), there);
        }
        assert!(subs.remove(id(1)).is_none(), "twice is a quiet no-op");
    }
}
