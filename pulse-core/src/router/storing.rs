//! What waits for the store: publications in the order in which they came, who is told what becomes of them, and the records that
//! the host is handed.
//!
//! All of it is bounded by what it takes in memory, names and askers included. What a publication is looked for by, the name or
//! the key, is indexed: a disk that hangs for a while makes this long.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hash::Hash;

use foldhash::fast::FixedState;
use hashbrown::{Equivalent, HashMap};

use crate::limits::STORE_RETRY_MS;
use crate::repeats::Fate;
use crate::{ConnId, Effect, Record, Ticket, Time};

#[derive(Debug)]
pub(super) struct Storing {
    /// In the order in which they came.
    pending: VecDeque<Pending>,
    /// How many came before the first of them.
    gone: u64,
    /// How many of these the host was handed, with this sequence number.
    sent: Option<(u64, usize)>,
    last_sequence: u64,
    /// Not handed out yet.
    records: Vec<u8>,
    /// Of these, those that nobody waits for.
    chores: Vec<u8>,
    /// Of what was handed out, those that nobody waits for.
    sent_chores: Vec<u8>,
    /// The disk has failed, and nothing has come since: until then chores alone do not try it again.
    rests: Option<Time>,
    /// No entry where nothing waits.
    by_channel: HashMap<u32, Line, FixedState>,
    names: HashMap<(u32, Box<[u8]>), Named, FixedState>,
    /// The newest of each key that waits.
    keys: HashMap<(u32, Box<str>), u64, FixedState>,
    bytes: usize,
    /// Connections that are not read from, because too much waits.
    paused: VecDeque<ConnId>,
    bound: usize,
}

/// What waits of a channel.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    count: u64,
    /// Which is the last.
    last: u64,
}

/// What becomes of a publication of some name.
#[derive(Clone, Copy, Debug)]
struct Named {
    /// If this one is stored.
    first: u64,
    fate: Fate,
}

/// A publication that waits.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) channel: u32,
    /// Its number, where all that waits before it is stored.
    pub(super) offset: u64,
    /// When it came.
    pub(super) at: Time,
    pub(super) frame: Box<[u8]>,
    /// What the channel will know it by; empty for nothing.
    pub(super) name: Box<[u8]>,
    /// What others compare their versions with: its key, where the channel looks for it by that, and its version.
    pub(super) key: Option<Box<str>>,
    pub(super) version: Option<u64>,
    pub(super) asker: Asker,
    /// Those who are told behind it.
    pub(super) others: Vec<Other>,
}

/// Somebody whose answer waits for that of a publication that came before, of whatever name and key: answers about a channel come
/// in the order of the requests.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) asker: Asker,
    /// What it is told.
    pub(super) fate: Fate,
    /// If this publication is stored; in any case without one.
    first: Option<u64>,
    /// What the channel will know it by, if it is one that was stale; empty for nothing.
    pub(super) name: Box<[u8]>,
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

impl Pending {
    fn askers(&self) -> impl Iterator<Item = Asker> {
        core::iter::once(self.asker).chain(self.others.iter().map(|other| other.asker))
    }

    /// Bytes that it takes while it waits, with its record and its places in the indexes.
    fn cost(&self) -> usize {
        let key = self.key.as_ref().map_or(0, |key| key.len());
        let own = size_of::<Self>() + 2 * self.frame.len() + 3 * self.name.len() + 2 * key;
        own + self.others.iter().map(Other::cost).sum::<usize>()
    }
}

impl Other {
    fn cost(&self) -> usize {
        size_of::<Self>() + 2 * self.name.len()
    }
}

impl Storing {
    /// `bound` is [`Limits::peer_bytes`](crate::Limits::peer_bytes). `seed` keys the hashes of names and keys: they come from
    /// clients, who must not be able to make them collide.
    pub(super) fn new(bound: usize, seed: u64) -> Self {
        Self {
            pending: VecDeque::new(),
            gone: 0,
            sent: None,
            last_sequence: 0,
            records: Vec::new(),
            chores: Vec::new(),
            sent_chores: Vec::new(),
            rests: None,
            by_channel: HashMap::with_hasher(FixedState::default()),
            names: HashMap::with_hasher(FixedState::with_seed(seed)),
            keys: HashMap::with_hasher(FixedState::with_seed(seed)),
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
    pub(super) fn has_room(&self) -> bool {
        self.records.len() + self.sent_chores.len() < self.bound
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether publications of a channel wait.
    pub(super) fn holds(&self, channel: u32) -> bool {
        self.by_channel.contains_key(&channel)
    }

    /// How many publications of a channel wait.
    pub(super) fn count(&self, channel: u32) -> u64 {
        self.by_channel.get(&channel).map_or(0, |line| line.count)
    }

    /// Whether a connection has to be told of something that waits.
    pub(super) fn owes(&self, conn: ConnId) -> bool {
        let mut askers = self.pending.iter().flat_map(Pending::askers);
        askers.any(|asker| matches!(asker, Asker::Client { conn: of, .. } if of == conn))
    }

    /// When there is something to store again for which nobody waits.
    pub(super) fn next(&self) -> Option<Time> {
        self.rests.filter(|_| !self.records.is_empty())
    }

    /// What the host is to store next, as of now.
    pub(super) fn poll(&mut self, now: Time) -> Option<Effect> {
        if self.sent.is_some() || self.records.is_empty() || self.rests.is_some_and(|until| now < until) {
            return None;
        }
        self.rests = None;
        self.last_sequence += 1;
        self.sent = Some((self.last_sequence, self.pending.len()));
        self.sent_chores = core::mem::take(&mut self.chores);
        Some(Effect::Store { sequence: self.last_sequence, records: core::mem::take(&mut self.records) })
    }

    /// The host is done with this batch, if it is the last one; returns how many publications were in it.
    pub(super) fn take_sent(&mut self, sequence: u64) -> Option<usize> {
        self.sent.take_if(|(sent, _)| *sent == sequence).map(|(_, count)| count)
    }

    /// What nobody waited for is on disk.
    pub(super) fn forget_chores(&mut self) {
        self.sent_chores = Vec::new();
    }

    /// The disk has failed: what nobody waits for is said again in its order, with what comes next or after a while.
    pub(super) fn keep_chores(&mut self, now: Time) {
        let mut chores = core::mem::take(&mut self.sent_chores);
        chores.append(&mut self.chores);
        self.records.clear();
        self.records.extend_from_slice(&chores);
        self.chores = chores;
        self.rests = Some(now.after_ms(STORE_RETRY_MS));
    }

    /// Has something done that nobody waits for.
    pub(super) fn note(&mut self, chore: &Record<'_>) {
        chore.encode(&mut self.records);
        chore.encode(&mut self.chores);
        self.rests = None;
    }

    /// Has a publication stored.
    pub(super) fn push(&mut self, record: &Record<'_>, pending: Pending) {
        record.encode(&mut self.records);
        self.rests = None;
        let (channel, at) = (pending.channel, self.gone + self.pending.len() as u64);
        let line = self.by_channel.entry(channel).or_default();
        *line = Line { count: line.count + 1, last: at };
        if !pending.name.is_empty() {
            let fate = Fate { offset: pending.offset, stale: false };
            self.names.insert((channel, pending.name.clone()), Named { first: at, fate });
        }
        if let Some(key) = &pending.key {
            self.keys.insert((channel, key.clone()), at);
        }
        self.bytes += pending.cost();
        self.pending.push_back(pending);
    }

    /// The publication that waits for the longest time; it waits no more.
    pub(super) fn pop(&mut self) -> Option<Pending> {
        let pending = self.pending.pop_front()?;
        let (channel, at) = (pending.channel, self.gone);
        self.gone += 1;
        self.bytes -= pending.cost();
        let line = self.by_channel.get_mut(&channel).expect("what waits is counted");
        line.count -= 1;
        if line.count == 0 {
            self.by_channel.remove(&channel);
        }
        let others = pending.others.iter().map(|other| &other.name);
        for name in core::iter::once(&pending.name).chain(others).filter(|name| !name.is_empty()) {
            self.names.remove(&In(channel, &**name));
        }
        if let Some(key) = &pending.key
            && self.keys.get(&In(channel, &**key)) == Some(&at)
        {
            self.keys.remove(&In(channel, &**key));
        }
        Some(pending)
    }

    /// Whether somebody who was told behind another one's publication is told what it was to be told, though that one failed.
    pub(super) fn is_told(&self, other: &Other, failed: u64) -> bool {
        other.first.is_none_or(|first| first < failed)
    }

    /// The place of the first that waits.
    pub(super) fn first(&self) -> u64 {
        self.gone
    }

    /// Has somebody told, too, what becomes of the publication of this name; false if none waits.
    pub(super) fn join(&mut self, channel: u32, name: &[u8], asker: Asker) -> bool {
        let named = if name.is_empty() { None } else { self.names.get(&In(channel, name)).copied() };
        let Some(Named { first, fate }) = named else { return false };
        self.append(channel, Other { asker, fate, first: Some(first), name: Box::default() });
        true
    }

    /// The newest publication of a key that waits: its place, and its version if it has one.
    pub(super) fn newest(&self, channel: u32, key: &str) -> Option<(u64, Option<u64>)> {
        let at = *self.keys.get(&In(channel, key))?;
        Some((at, self.pending[(at - self.gone) as usize].version))
    }

    /// Has somebody told that what it sent is stale by a publication that waits, or that it may be tried again, by what becomes
    /// of that one.
    pub(super) fn follow(&mut self, channel: u32, first: u64, name: &[u8], asker: Asker) {
        let fate = Fate { offset: self.pending[(first - self.gone) as usize].offset, stale: true };
        if !name.is_empty() {
            self.names.insert((channel, name.into()), Named { first, fate });
        }
        self.append(channel, Other { asker, fate, first: Some(first), name: name.into() });
    }

    /// Has somebody told what is known already, behind all that waits of the channel.
    pub(super) fn tell_behind(&mut self, channel: u32, asker: Asker, fate: Fate) {
        self.append(channel, Other { asker, fate, first: None, name: Box::default() });
    }

    fn append(&mut self, channel: u32, other: Other) {
        let last = self.by_channel.get(&channel).expect("the caller has seen that something waits").last;
        self.bytes += other.cost();
        self.pending[(last - self.gone) as usize].others.push(other);
    }

    /// A peer has lost its questions: what it asks from now on is something else.
    pub(super) fn forget_peer(&mut self, peer: u16) {
        let askers = self.pending.iter_mut().flat_map(|pending| {
            core::iter::once(&mut pending.asker)
                .chain(pending.others.iter_mut().map(|other| &mut other.asker))
        });
        for asker in askers {
            if let Asker::Peer { from, ticket } = asker
                && *from == peer
            {
                *ticket = 0;
            }
        }
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
}

/// Something in a channel, as the indexes are asked for it.
#[derive(Hash)]
struct In<'a, T: ?Sized>(u32, &'a T);

impl<T: ?Sized + Eq + Hash> Equivalent<(u32, Box<T>)> for In<'_, T> {
    fn equivalent(&self, key: &(u32, Box<T>)) -> bool {
        self.0 == key.0 && *self.1 == *key.1
    }
}
