//! Who is subscribed to what: subscribing, leaving, and the leaf's side of becoming part of a channel that is at home elsewhere.

use alloc::vec::Vec;

use crate::channel::Subscriber;
use crate::grant::is_channel_name;
use crate::peer::{Asked, PeerMessage};
use crate::wire::{Ack, ErrorCode, Frame, Subscribe, Unsubscribe, Unsubscribed};
use crate::{Answer, Request};

use super::recovery::Wanted;
use super::requests::{Flow, judge};
use super::session::{CATCHING_UP, Subscription};
use super::{Router, Slot};

/// A leaf that waits to become part of its channel.
#[derive(Debug, Default)]
pub(super) struct Joining {
    /// Of the `Subscribe`; 0 while the home is lost.
    pub(super) ticket: u64,
    /// Subscriptions whose ack waits for the home's word.
    pub(super) acks: Vec<PendingAck>,
    /// Epoch and offset as of the loss of the home, where it was lost.
    pub(super) since: Option<(u32, u64)>,
}

/// A subscription that the client was not told of.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingAck {
    pub(super) slot: Slot,
    pub(super) id: u64,
    /// Why nothing is recovered, if that was asked.
    pub(super) refusal: Option<&'static str>,
    /// The host has made it, so that no request waits for an answer.
    pub(super) silent: bool,
}

impl PendingAck {
    /// Of a subscription that the client has not asked for.
    pub(super) fn silent(slot: Slot) -> Self {
        Self { slot, id: 0, refusal: None, silent: true }
    }
}

impl Router {
    pub(super) fn subscribe(&mut self, slot: Slot, request: &Subscribe<'_>, answer: Option<&Answer>) -> Flow {
        let &Subscribe { id, channel: name, token, .. } = request;
        if !is_channel_name(name) {
            self.refuse_name(slot, id);
            return Flow::On;
        }
        let hash = self.channels.hash(name);
        let known = self.channels.find(hash, name);
        let conn = &self.conns[slot as usize];
        let limits = &self.config.limits;
        let refusal = if known.is_some_and(|channel| conn.subscription(channel).is_some()) {
            Some((ErrorCode::ALREADY_SUBSCRIBED, "this connection is subscribed to it already"))
        } else if conn.subscriptions.len() >= limits.max_subscriptions_per_connection as usize {
            Some((ErrorCode::LIMIT_EXCEEDED, "limits.max_subscriptions_per_connection is reached"))
        } else {
            None
        };
        if let Some((code, message)) = refusal {
            self.refuse(slot, id, code, message);
            return Flow::On;
        }
        let rules = self.rulebook.rules(name);
        match judge(rules.subscribe, answer) {
            Some(true) => {}
            Some(false) => {
                self.refuse(slot, id, ErrorCode::FORBIDDEN, "subscribing is not allowed in this namespace");
                return Flow::On;
            }
            None => {
                let request = Request::Subscribe { channel: name.into(), token: token.map(Into::into) };
                return self.ask(slot, request);
            }
        }
        let dialect = self.conns[slot as usize].link.dialect;
        let (wanted, refusal) = Wanted::new(request, &rules, dialect);
        let home = self.channels.home(hash);
        if home != self.config.shards.index {
            let outbox = &self.outboxes[usize::from(home)];
            if !outbox.connected {
                self.refuse_lost(slot, id);
                return Flow::On;
            }
            if (known.is_none() || !wanted.is_nothing()) && outbox.is_full() {
                return self.wait_for_peer(slot, home);
            }
        } else if known.is_none() && !self.make_room_for_channel() {
            self.refuse(slot, id, ErrorCode::LIMIT_EXCEEDED, "limits.max_channels is reached");
            return Flow::On;
        }
        let channel = known.unwrap_or_else(|| self.create_channel(hash, name));
        let ack = PendingAck { slot, id, refusal, silent: false };
        if let Some(ack) = self.catch_up(channel, ack, wanted) {
            self.admit(channel, ack);
        }
        Flow::On
    }

    /// Makes a connection a subscriber of a channel, which it is not, and confirms that as soon as the home has.
    pub(super) fn admit(&mut self, channel: u32, ack: PendingAck) {
        self.enter(ack.slot, channel);
        self.stats.subscribed += 1;
        if self.channels.get(channel).joining {
            self.joining.get_mut(&channel).expect("a joining channel is noted").acks.push(ack);
        } else {
            self.confirm(channel, ack);
        }
    }

    /// Makes a connection a subscriber of a channel, which it is not.
    pub(super) fn enter(&mut self, slot: Slot, channel: u32) {
        let subscriptions = &mut self.conns[slot as usize].subscriptions;
        let place = self.channels.join(channel, Subscriber { slot, at: subscriptions.len() as u32 });
        subscriptions.push(Subscription { channel, place });
        self.stats.subscriptions += 1;
    }

    /// Whether this home may have one more channel: its share of the limit that all routers have together. One that lives on
    /// for its history alone gives way, the longest unused first.
    pub(super) fn make_room_for_channel(&mut self) -> bool {
        let share = self.config.limits.max_channels.div_ceil(self.config.shards.count.into());
        while self.channels.num_home() >= share as usize {
            let Some(channel) = self.histories.take_vacant() else { return false };
            if self.is_vacant(channel) {
                self.forget(channel);
            }
        }
        true
    }

    /// Makes a channel. One that is at home elsewhere asks there to become part of it.
    pub(super) fn create_channel(&mut self, hash: crate::channel::Hash, name: &str) -> u32 {
        let channel = self.make_channel(hash, name);
        self.store_beginning(channel);
        channel
    }

    /// Makes a channel of which the store is not told: it may know it.
    pub(super) fn make_channel(&mut self, hash: crate::channel::Hash, name: &str) -> u32 {
        let channel = self.channels.create(hash, name);
        let rules = self.rulebook.rules(name);
        let bounds = rules.history();
        self.channels.get_mut(channel).kept = bounds.is_some();
        if self.channels.is_home(channel) {
            let epoch = self.random.next() as u32;
            self.channels.get_mut(channel).epoch = epoch;
            if let Some(bounds) = bounds {
                self.histories.create(channel, bounds, rules.stores());
            }
        } else {
            self.joining.insert(channel, Joining::default());
            self.ask_to_join(channel);
        }
        channel
    }

    /// Asks a channel's home to take this router as a leaf. One that is lost is asked when it comes back.
    pub(super) fn ask_to_join(&mut self, channel: u32) {
        let entry = self.channels.get_mut(channel);
        entry.joining = true;
        let home = entry.home();
        if !self.outboxes[usize::from(home)].connected {
            return;
        }
        let ticket = self.outboxes[usize::from(home)].ask(Asked::Channel { channel });
        self.joining.get_mut(&channel).expect("the caller has noted that it joins").ticket = ticket;
        let name = &self.channels.get(channel).name;
        Self::send(&mut self.outboxes, &mut self.unsent, home, |out| {
            PeerMessage::Subscribe { ticket, channel: name }.encode(out);
        });
    }

    /// Tells a client that it is subscribed, and from where on it gets what is published.
    pub(super) fn confirm(&mut self, channel: u32, ack: PendingAck) {
        let PendingAck { slot, id, refusal, silent } = ack;
        if silent {
            return;
        }
        // A client that asks must not be left to guess.
        let ack = Ack { id, recovered: refusal.map(|_| false), reason: refusal, ..Ack::default() };
        let entry = self.channels.get(channel);
        let position = (entry.kept && !entry.joining).then(|| entry.position());
        let sparse = if position.is_some() { self.is_sparse(channel) } else { None };
        let ack = Ack { sparse, ..ack };
        self.tell_ack(slot, ack, position);
    }

    pub(super) fn unsubscribe(&mut self, slot: Slot, request: Unsubscribe<'_>) {
        let known = self.channels.find(self.channels.hash(request.channel), request.channel);
        let at = known.and_then(|channel| self.conns[slot as usize].subscription(channel));
        let (Some(channel), Some(at)) = (known, at) else {
            if is_channel_name(request.channel) {
                self.refuse_not_subscribed(slot, request.id);
            } else {
                self.refuse_name(slot, request.id);
            }
            return;
        };
        // It was subscribed for as long as that lasted: each request has its answer.
        if let Some(ack) = self.pending_ack(slot, channel) {
            self.confirm(channel, ack);
        }
        self.leave(slot, at, false);
        self.tell(slot, &Frame::Ack(Ack { id: request.id, ..Ack::default() }));
    }

    /// Ends a subscription from the server's side, and says why.
    pub(super) fn expel(&mut self, slot: Slot, channel: u32, code: ErrorCode) {
        let at = self.conns[slot as usize].subscription(channel).expect("a subscriber has the subscription");
        match self.pending_ack(slot, channel) {
            Some(ack) if !ack.silent => self.refuse(slot, ack.id, code, code.text()),
            _ if self.conns[slot as usize].link.dialect != crate::Dialect::Legacy => {
                let name = self.channels.get(channel).name.clone();
                let frame = Unsubscribed { channel: &name, code: code.0, reason: code.text() };
                self.tell(slot, &Frame::Unsubscribed(frame));
            }
            _ => {}
        }
        self.leave(slot, at, false);
    }

    /// Takes back the ack that a subscription waits for, if it does.
    pub(super) fn pending_ack(&mut self, slot: Slot, channel: u32) -> Option<PendingAck> {
        if let Some(ack) = self.replays.take_ack(slot, channel) {
            return Some(ack);
        }
        if !self.channels.get(channel).joining {
            return None;
        }
        let acks = &mut self.joining.get_mut(&channel).expect("a joining channel is noted").acks;
        acks.iter().position(|ack| ack.slot == slot).map(|at| acks.remove(at))
    }

    /// Ends one subscription, by its place in the connection's list; `gone` if it is because the connection ends.
    pub(super) fn leave(&mut self, slot: Slot, at: usize, gone: bool) {
        self.leave_presence(slot, self.conns[slot as usize].subscriptions[at].channel, gone);
        let subscriptions = &mut self.conns[slot as usize].subscriptions;
        let left = subscriptions.swap_remove(at);
        self.fanout.leave(slot, left.channel, &self.channels.get(left.channel).name);
        if let Some(moved) = subscriptions.get(at).filter(|moved| moved.place != CATCHING_UP) {
            self.channels.moved(moved.channel, moved.place, at as u32);
        }
        if left.place == CATCHING_UP {
            self.replays.remove(slot, left.channel);
        } else if let Some(moved) = self.channels.leave(left.channel, left.place) {
            self.conns[moved.slot as usize].subscriptions[moved.at as usize].place = left.place;
        }
        self.stats.subscriptions -= 1;
        self.pending_ack(slot, left.channel);
        self.vacate(left.channel);
    }

    /// The connection ends, and all its subscriptions with it.
    pub(super) fn leave_all(&mut self, slot: Slot) {
        while let Some(last) = self.conns[slot as usize].subscriptions.len().checked_sub(1) {
            self.leave(slot, last, true);
        }
        self.conns[slot as usize].subscriptions = Vec::new();
    }

    /// Forgets a channel that nobody needs here any more, and tells its home.
    pub(super) fn vacate(&mut self, channel: u32) {
        if !self.is_vacant(channel) {
            return;
        }
        let entry = self.channels.get(channel);
        if self.channels.is_home(channel) {
            if entry.kept {
                let is_empty = entry.offset == 0;
                return self.histories.vacate(channel, self.now.mono, is_empty);
            }
        } else {
            let told = !entry.joining || self.joining[&channel].ticket != 0;
            if told {
                Self::send(&mut self.outboxes, &mut self.unsent, entry.home(), |out| {
                    PeerMessage::Unsubscribe { channel: &entry.name }.encode(out);
                });
            }
            self.joining.remove(&channel);
        }
        self.channels.remove(channel);
    }

    /// Whether nobody needs a channel here. At home it may live on for its history.
    pub(super) fn is_vacant(&self, channel: u32) -> bool {
        let entry = self.channels.get(channel);
        entry.is_vacant() && !(entry.kept && (self.replays.reads(channel) || self.storing.holds(channel)))
    }

    /// At home: forgets a channel with its history, so that its next life has another epoch.
    pub(super) fn forget(&mut self, channel: u32) {
        self.store_end(channel);
        self.histories.remove(channel);
        self.channels.remove(channel);
    }
}
