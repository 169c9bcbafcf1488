//! The other shards: parcels between engines, sockets that are theirs to serve, and leaving together.
//!
//! A shard that stops first asks the others whether they have dealt with all that its engine sent them, and tells its
//! clients to go when they have; meanwhile it reads nothing more. So a request that was taken is answered before the
//! goodbye. It stays for the others' sake, since channels of their clients may be at home here, until they have told
//! theirs.

use std::collections::BTreeSet;
use std::time::Instant;

use pulse_core::{PeerId, Time};
use tracing::debug;

use super::Shard;
use super::post::{Mail, Post, Posted};
use crate::engine::Engine;

/// How long the others may take for what was sent to them, before clients are told to go all the same.
const SETTLING_MS: u64 = 1_000;

/// How far a shard is on its way out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Drain {
    /// Asked for: nothing is done yet.
    Asked(Instant),
    /// Nobody is accepted or read from any more; the others are asked whether they are done, until this moment.
    Settling { until: Time, end: Time },
    /// Everybody was told; what is left then is cut off.
    Until(Time),
}

/// What is to be known of the other shards while this one drains.
#[derive(Debug)]
pub(super) struct Peers {
    /// Have not said yet that they are done.
    owing: BTreeSet<PeerId>,
    /// Have not told their clients to go.
    staying: BTreeSet<PeerId>,
    /// Wait for an answer to `Ask`.
    asking: Vec<PeerId>,
}

impl Peers {
    pub(super) fn new(post: &Post) -> Self {
        Self { owing: BTreeSet::new(), staying: post.others().collect(), asking: Vec::new() }
    }
}

impl<E: Engine> Shard<E> {
    /// Deals with one piece of mail; false if there is none that may be taken.
    pub(super) fn take_mail(&mut self) -> bool {
        if !self.has_mail() {
            return false;
        }
        let Some((from, mail)) = self.mail.pop_front() else { return false };
        match mail {
            Mail::Parcel(parcel) => {
                self.since.get_or_insert_with(|| self.clock.instant(self.now));
                self.engine.peer(from, &parcel).expect("all shards of a server are of one version");
                self.post.done(from, parcel.len());
            }
            Mail::Room => self.engine.set_peer_writable(from, true),
            Mail::Socket(fd) => self.welcome(fd),
            Mail::Ask => self.peers.asking.push(from),
            Mail::Done => {
                self.peers.owing.remove(&from);
                self.leave_if_settled();
            }
            Mail::Left => {
                self.peers.staying.remove(&from);
            }
            Mail::Gone => {
                debug!(shard = from.0, "a shard has ended");
                self.engine.peer_lost(from);
                self.peers.owing.remove(&from);
                self.peers.staying.remove(&from);
                self.leave_if_settled();
            }
        }
        true
    }

    /// Carries a parcel.
    pub(super) fn send(&mut self, to: PeerId, parcel: Vec<u8>) {
        match self.post.send(to, Mail::Parcel(parcel)) {
            Posted::Full => self.engine.set_peer_writable(to, false),
            // Of one that is gone this shard is told by mail.
            Posted::Roomy | Posted::Gone => {}
        }
    }

    /// Tells those who asked that what they sent is dealt with, once the engine's answers are on their way, also those that wait
    /// for the disk.
    pub(super) fn answer_asking(&mut self) {
        if self.engine.is_storing() {
            return;
        }
        for peer in self.peers.asking.drain(..) {
            self.post.send(peer, Mail::Done);
        }
    }

    /// Goes the next step on the way out, if there is one to go.
    pub(super) fn drain(&mut self) {
        match self.drain {
            Some(Drain::Asked(end)) => {
                let end = self.clock.time(end);
                self.stop_accepting();
                for peer in self.post.others() {
                    if self.post.send(peer, Mail::Ask) != Posted::Gone {
                        self.peers.owing.insert(peer);
                    }
                }
                self.drain = Some(Drain::Settling { until: self.now.after_ms(SETTLING_MS).min(end), end });
                self.leave_if_settled();
            }
            Some(Drain::Settling { until, end }) if self.now >= until => self.take_leave(end),
            _ => {}
        }
    }

    pub(super) fn leave_if_settled(&mut self) {
        if let Some(Drain::Settling { end, .. }) = self.drain
            && self.peers.owing.is_empty()
            && !self.engine.is_storing()
        {
            self.take_leave(end);
        }
    }

    /// Asks everybody to go.
    fn take_leave(&mut self, end: Time) {
        self.drain = Some(Drain::Until(end));
        self.engine.drain(self.options.retry_spread_ms);
        for peer in self.post.others() {
            self.post.send(peer, Mail::Left);
        }
    }

    /// Whether requests are left unread, since no answer could come before the goodbye.
    pub(super) fn is_settling(&self) -> bool {
        matches!(self.drain, Some(Drain::Settling { .. }))
    }

    /// When the next step on the way out is due at the latest.
    pub(super) fn drain_due(&self) -> Option<Time> {
        match self.drain? {
            Drain::Asked(_) => None,
            Drain::Settling { until, .. } => Some(until),
            Drain::Until(end) => Some(end),
        }
    }

    /// When the time for leaving ends, once nobody is left and no other shard may want anything, or it has come.
    pub(super) fn is_over(&self) -> Option<Time> {
        let Some(Drain::Until(end)) = self.drain else { return None };
        let unneeded = self.net.table.len() == 0 && self.peers.staying.is_empty();
        (unneeded || self.now >= end).then_some(end)
    }
}
