//! Which publications are taken: none twice, by the name that its channel's home knows it by, and none that is older than what
//! the channel keeps of the same key.
//!
//! The home decides, when the publication would get its number, and notes the name in the same turn: what was refused before is
//! not known, and what is known was published.

use alloc::vec::Vec;

use crate::bytes::put_str;
use crate::grant::Rules;
use crate::history::EpochText;
use crate::limits::IDEMPOTENCY_KEY_BYTES;
use crate::peer::PeerMessage;
use crate::repeats::Fate;
use crate::wire::{Ack, ErrorCode, MAX_SAFE, Publish};

use super::commands::{Outcome, Refused};
use super::publications::{Source, for_subscribers};
use super::storing::Asker;
use super::{Router, Slot};

/// Who an idempotency key is of: the same key of somebody else is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Publisher<'a> {
    /// A client of whom the host has not said who it is. They cannot be told from each other, since a client that comes back has
    /// another connection.
    Somebody,
    User(&'a str),
    Host,
}

impl Publisher<'_> {
    /// What the channel knows the publication by.
    fn name(self, key: &str) -> Vec<u8> {
        let mut name = Vec::new();
        let (kind, user) = match self {
            Self::Somebody => (0, ""),
            Self::User(user) => (1, user),
            Self::Host => (2, ""),
        };
        name.push(kind);
        put_str(&mut name, user);
        name.extend_from_slice(key.as_bytes());
        name
    }
}

/// What the home of a channel makes of a publication.
struct Verdict {
    epoch: u32,
    /// As it is told: of a repeat, what was told of the first one.
    fate: Fate,
    /// Whether it is to be numbered and delivered.
    is_new: bool,
}

/// Whether what a publication says for its guards is sound.
pub(super) fn check_guards(request: &Publish<'_>, rules: &Rules) -> Result<(), (ErrorCode, &'static str)> {
    let &Publish { key, version, idempotency_key, .. } = request;
    if idempotency_key.is_some_and(|key| !(1..=IDEMPOTENCY_KEY_BYTES).contains(&key.len())) {
        Err((ErrorCode::INVALID_FRAME, "an idempotency_key is 1 to 255 bytes"))
    } else if version.is_some_and(|version| version > MAX_SAFE) {
        // A host can say so, a frame cannot.
        Err((ErrorCode::INVALID_FRAME, "a version is an integer from 0 to 2^53 - 1"))
    } else if version.is_some() && key.is_none() {
        Err((ErrorCode::INVALID_FRAME, "a version is one of a key: send the key too"))
    } else if version.is_some() && rules.history().is_none() {
        // To take it unguarded would be found out by the first stale one.
        Err((ErrorCode::NOT_AVAILABLE, "this namespace keeps no history to compare versions with"))
    } else {
        Ok(())
    }
}

impl Router {
    /// What the home is to know a client's publication by; empty for nothing.
    pub(super) fn name_at_home(&self, slot: Slot, request: &Publish<'_>, rules: &Rules) -> Vec<u8> {
        match request.idempotency_key {
            Some(key) if rules.is_idempotent() => {
                let user = self.users.get(&slot);
                user.map_or(Publisher::Somebody, |user| Publisher::User(user)).name(key)
            }
            _ => Vec::new(),
        }
    }

    /// At home: decides about a publication that is kept. If it is new, the caller delivers it in this turn. With an `asker` the
    /// channel is one on disk; without a verdict the publication then waits to be stored, or for one that does, and `asker` is told
    /// what becomes of it.
    fn judge_publication(
        &mut self,
        channel: u32,
        publication: &Publish<'_>,
        name: &[u8],
        asker: Option<Asker>,
    ) -> Option<Verdict> {
        let (epoch, top) = self.channels.get(channel).position();
        let now = self.now.mono;
        let known = if name.is_empty() { None } else { self.histories.fate(channel, now, name) };
        let fate = if let Some(fate) = known {
            fate
        } else {
            if asker.is_some_and(|asker| self.storing.join(channel, name, asker)) {
                return self.wait_along();
            }
            let guard = publication.key.zip(publication.version);
            let waiting = guard.and_then(|(key, _)| self.storing.newest(channel, key));
            let stale = guard.is_some_and(|(key, version)| {
                let newest = match waiting {
                    Some((_, newest)) => newest,
                    None => self.histories.get(channel, now).version(key),
                };
                newest.is_some_and(|newest| version <= newest)
            });
            match (asker, waiting) {
                (Some(asker), Some((first, _))) if stale => {
                    self.storing.follow(channel, first, name, asker);
                    return self.wait_along();
                }
                (Some(asker), _) if !stale => {
                    self.store(channel, publication, name, asker);
                    return self.wait_along();
                }
                _ => {}
            }
            let fate = Fate { offset: if stale { top } else { top + 1 }, stale };
            if !name.is_empty() {
                // Of a stale one too: what it was older than may have gone when it comes again.
                self.histories.note_fate(channel, now, name, fate);
            }
            fate
        };
        if let Some(asker) = asker
            && self.storing.holds(channel)
        {
            self.storing.tell_behind(channel, asker, fate);
            return self.wait_along();
        }
        Some(Verdict { epoch, fate, is_new: known.is_none() && !fate.stale })
    }

    /// No verdict yet: it waits for the store, and so may all others have to.
    fn wait_along(&mut self) -> Option<Verdict> {
        self.unsent.changed |= self.storing.is_crowded();
        None
    }

    /// At home: does what was decided.
    fn settle_publication(&mut self, channel: u32, publication: &Publish<'_>, verdict: &Verdict) {
        if verdict.is_new {
            let meta = self.meta(channel, self.policy(channel), publication.key);
            self.deliver(channel, Source::Publication(publication), meta);
        } else {
            self.vacate(channel);
        }
    }

    /// At home: a client of this router publishes into a channel that keeps history.
    pub(super) fn publish_to_keep(
        &mut self,
        slot: Slot,
        id: Option<u64>,
        publication: &Publish<'_>,
        name: &[u8],
    ) {
        let Some(channel) = self.channel_to_keep(publication.channel) else {
            let message = "limits.max_channels is reached";
            return self.refuse(slot, id.unwrap_or(0), ErrorCode::LIMIT_EXCEEDED, message);
        };
        let conn = self.id(slot);
        let asker = self.histories.stores(channel).then_some(Asker::Client { conn, id });
        let Some(verdict) = self.judge_publication(channel, publication, name, asker) else { return };
        self.stats.publications += u64::from(verdict.is_new);
        if let Some(id) = id {
            let Verdict { epoch, fate: Fate { offset, stale }, .. } = verdict;
            self.tell_ack(
                slot,
                Ack { id, stale: stale.then_some(true), ..Ack::default() },
                Some((epoch, offset)),
            );
        }
        self.settle_publication(channel, publication, &verdict);
    }

    /// At home: a client of a leaf publishes into a channel that keeps history.
    pub(super) fn on_publish_to_keep(
        &mut self,
        from: u16,
        ticket: u64,
        name: &[u8],
        publication: &Publish<'_>,
    ) {
        let stores = self.rulebook.rules(publication.channel).stores();
        let taken = !(stores && self.storing.is_full());
        let Some(channel) = taken.then(|| self.channel_to_keep(publication.channel)).flatten() else {
            // Who wants no answer is not told, but it is counted.
            self.stats.dropped_between += u64::from(ticket == 0);
            if ticket != 0 {
                self.say(from, PeerMessage::Refused { ticket, code: ErrorCode::LIMIT_EXCEEDED.0 });
            }
            return;
        };
        let asker = stores.then_some(Asker::Peer { from, ticket });
        let Some(verdict) = self.judge_publication(channel, publication, name, asker) else { return };
        let Verdict { epoch, fate: Fate { offset, stale }, .. } = verdict;
        self.accept(from, ticket, Some((epoch, offset)), stale);
        self.settle_publication(channel, publication, &verdict);
    }

    /// At home: the host publishes into a channel that keeps history.
    pub(super) fn host_publish_to_keep(&mut self, publish: &Publish<'_>) -> Result<Outcome, Refused> {
        let Some(channel) = self.channel_to_keep(publish.channel) else {
            let message = "limits.max_channels is reached";
            return Err(Refused { code: ErrorCode::LIMIT_EXCEEDED, message });
        };
        let key = publish.idempotency_key.filter(|_| self.rulebook.rules(publish.channel).is_idempotent());
        let name = key.map(|key| Publisher::Host.name(key)).unwrap_or_default();
        let publication = for_subscribers(publish);
        let ticket = self.histories.stores(channel).then(|| self.next_ticket());
        let asker = ticket.map(|ticket| Asker::Host { ticket });
        let Some(verdict) = self.judge_publication(channel, &publication, &name, asker) else {
            return Ok(Outcome::Storing(ticket.expect("only what has a ticket waits")));
        };
        self.stats.publications += u64::from(verdict.is_new);
        self.settle_publication(channel, &publication, &verdict);
        let Fate { offset, stale } = verdict.fate;
        let epoch = EpochText::new(verdict.epoch).as_str().into();
        Ok(if stale { Outcome::Stale { epoch, offset } } else { Outcome::Kept { epoch, offset } })
    }
}
