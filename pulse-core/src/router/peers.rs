//! The other routers that hold channels with this one: what they say, what they are told, and what happens when one is lost.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::limits::TURN_BYTES;
use crate::peer::{Asked, Busy, Outbox, PeerMessage};
use crate::wire::{Ack, ErrorCode, Frame};
use crate::{BadParcel, ConnId, Effect, PeerId};

use super::history::publication;
use super::publications::{Source, bits, first};
use super::session::State;
use super::{Router, Slot};

/// Which outboxes have something for the host to carry.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    peers: VecDeque<u16>,
    /// Bytes in outboxes that the host takes parcels of.
    bytes: usize,
    /// Peers that the host takes no parcels for.
    num_blocked: usize,
    /// Whether a connection may wait for a peer.
    pub(super) any_paused: bool,
    /// Whether something may have become crowded, or not be so any more.
    pub(super) changed: bool,
    /// What the peers were told last.
    busy: Busy,
}

impl Unsent {
    /// Whether this turn holds as much for peers as a turn should.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= TURN_BYTES
    }

    /// Notes that there is something to carry to a peer, if there is.
    fn list(&mut self, peer: u16, outbox: &mut Outbox) {
        if !outbox.listed && outbox.len() > 0 {
            outbox.listed = true;
            self.peers.push_back(peer);
        }
    }
}

impl Router {
    /// Takes what another router has said ([`Effect::Send`]).
    ///
    /// # Errors
    /// [`BadParcel`] if the bytes are no messages of this version. What came before the bad one is done; the host ends the
    /// session with [`peer_lost`](Self::peer_lost).
    pub fn peer(&mut self, from: PeerId, parcel: &[u8]) -> Result<(), BadParcel> {
        let Some(outbox) = self.outbox(from) else { return Err(BadParcel) };
        let mut bytes = if outbox.connected { parcel } else { &[] };
        while !bytes.is_empty() {
            let (message, rest) = PeerMessage::decode(bytes)?;
            self.hear(from.0, message)?;
            bytes = rest;
        }
        self.close_overflowed();
        Ok(())
    }

    /// `false` when enough waits for a peer: no more parcels are handed out for it, publications that it misses are noted,
    /// and connections that publish through it are paused, all within bounds. `true` once there is room again.
    pub fn set_peer_writable(&mut self, peer: PeerId, writable: bool) {
        let Some(outbox) = self.outbox(peer) else { return };
        if core::mem::replace(&mut outbox.writable, writable) == writable {
            return;
        }
        let len = outbox.len();
        let missed = if writable { core::mem::take(&mut outbox.missed) } else { BTreeMap::new() };
        self.unsent.changed = true;
        if !writable {
            self.unsent.bytes -= len;
            self.unsent.num_blocked += 1;
            return;
        }
        self.unsent.num_blocked -= 1;
        self.unsent.bytes += len;
        for (channel, changes) in missed {
            let entry = self.channels.get(channel);
            Self::send(&mut self.outboxes, &mut self.unsent, peer.0, |out| {
                PeerMessage::Missed { channel: &entry.name, offset: entry.offset, changes }.encode(out);
            });
        }
        self.unsent.list(peer.0, &mut self.outboxes[usize::from(peer.0)]);
        self.close_overflowed();
    }

    /// The session with a peer is over: what was said and not heard yet is lost. All peers are joined at first.
    pub fn peer_lost(&mut self, peer: PeerId) {
        let Some(outbox) = self.outbox(peer).filter(|outbox| outbox.connected) else { return };
        let (len, writable) = (outbox.len(), core::mem::replace(&mut outbox.writable, true));
        if writable {
            self.unsent.bytes -= len;
        } else {
            self.unsent.num_blocked -= 1;
        }
        self.unsent.changed = true;
        self.storing.forget_peer(peer.0);
        for asked in self.outboxes[usize::from(peer.0)].end() {
            if let Asked::Replay { page: true, .. } = asked {
                self.replays.arrived();
            }
            let (Asked::Client { conn, id } | Asked::Join { conn, id, .. }) = asked else { continue };
            let Some(slot) = self.open_slot(conn) else { continue };
            if let Asked::Join { channel, .. } = asked {
                self.forget_join(slot, channel, peer.0);
            }
            self.refuse_lost(slot, id);
        }
        for channel in self.channels.which(|channel| channel.home() == peer.0) {
            self.lose_home(channel);
        }
        self.lose_members(peer.0);
        let bit = 1 << peer.0;
        for channel in self.channels.which(|channel| channel.leaves & bit != 0) {
            self.channels.get_mut(channel).leaves &= !bit;
            self.vacate(channel);
        }
        self.close_overflowed();
    }

    /// A session with a peer begins, with nothing of an earlier one in it. Both sides begin together.
    pub fn peer_joined(&mut self, peer: PeerId) {
        let Some(outbox) = self.outbox(peer).filter(|outbox| !outbox.connected) else { return };
        outbox.connected = true;
        if self.unsent.busy != Busy::default() {
            let Busy { peers, store } = self.unsent.busy;
            self.say(peer.0, PeerMessage::Busy { peers, store });
        }
        for channel in self.channels.which(|channel| channel.home() == peer.0) {
            self.ask_to_join(channel);
            self.join_again(channel);
        }
    }

    /// The next parcel for a peer.
    pub(super) fn poll_parcel(&mut self) -> Option<Effect> {
        if core::mem::take(&mut self.unsent.changed) {
            self.tell_if_busy();
        }
        while let Some(peer) = self.unsent.peers.pop_front() {
            let outbox = &mut self.outboxes[usize::from(peer)];
            outbox.listed = false;
            if !outbox.writable {
                continue;
            }
            if let Some(parcel) = outbox.take() {
                self.unsent.bytes -= parcel.len();
                self.unsent.list(peer, outbox);
                return Some(Effect::Send { to: PeerId(peer), parcel });
            }
        }
        None
    }

    /// Appends a message to what a peer has to be told. Not a method, so that the message may borrow from the router.
    #[inline]
    pub(super) fn send(
        outboxes: &mut [Outbox],
        unsent: &mut Unsent,
        peer: u16,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        let outbox = &mut outboxes[usize::from(peer)];
        if !outbox.connected {
            return;
        }
        let before = outbox.len();
        outbox.append(encode);
        if outbox.writable {
            unsent.bytes += outbox.len() - before;
            unsent.list(peer, outbox);
        } else {
            unsent.changed = true;
        }
    }

    /// At home: tells some leaves of a channel, but those that take too little: it is noted that they miss this, `changes` of
    /// presence or a publication. Returns how many do.
    pub(super) fn pass_on(
        outboxes: &mut [Outbox],
        unsent: &mut Unsent,
        leaves: u64,
        channel: u32,
        message: &PeerMessage<'_>,
    ) -> u64 {
        let changes = matches!(message, PeerMessage::Notice { .. });
        let mut missed = 0;
        for leaf in bits(leaves) {
            let outbox = &mut outboxes[usize::from(leaf)];
            if outbox.leaves_out() {
                outbox.miss(channel, changes);
                missed += 1;
            } else {
                Self::send(outboxes, unsent, leaf, |out| message.encode(out));
            }
        }
        missed
    }

    /// Asks the others to hold their publishers back while a peer or the store has more to take than it does, and tells them when that is
    /// over. What is said already still comes; only where it is too much for the bound of an outbox, something is left out.
    fn tell_if_busy(&mut self) {
        let (peers, store) = (self.outboxes.iter().any(Outbox::is_crowded), self.storing.is_crowded());
        let busy = Busy { peers, store };
        if core::mem::replace(&mut self.unsent.busy, busy) != busy {
            for peer in 0..self.outboxes.len() as u16 {
                if peer != self.config.shards.index {
                    self.say(peer, PeerMessage::Busy { peers, store });
                }
            }
        }
    }

    /// A leaf of this channel that has more to take than it does.
    pub(super) fn crowded_leaf(&self, channel: u32) -> Option<u16> {
        if self.unsent.num_blocked == 0 {
            return None;
        }
        bits(self.channels.get(channel).leaves).find(|leaf| self.outboxes[usize::from(*leaf)].is_crowded())
    }

    pub(super) fn say(&mut self, peer: u16, message: PeerMessage<'_>) {
        Self::send(&mut self.outboxes, &mut self.unsent, peer, |out| message.encode(out));
    }

    /// A peer's outbox; `None` for a number that no peer has, this router's own included.
    fn outbox(&mut self, peer: PeerId) -> Option<&mut Outbox> {
        if peer.0 == self.config.shards.index { None } else { self.outboxes.get_mut(usize::from(peer.0)) }
    }

    /// A connection that still takes answers.
    pub(super) fn open_slot(&self, conn: ConnId) -> Option<Slot> {
        self.live(conn).filter(|slot| self.conns[*slot as usize].state == State::Open)
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.channels.find(self.channels.hash(name), name)
    }

    /// One message of a peer.
    fn hear(&mut self, from: u16, message: PeerMessage<'_>) -> Result<(), BadParcel> {
        if let Some((ticket, channel)) = message.asked_of_home()
            && (channel.is_empty() || self.home(channel).0 != self.config.shards.index)
        {
            self.refuse_misplaced(from, ticket, &message);
            return Ok(());
        }
        match message {
            PeerMessage::Subscribe { ticket, channel } => self.on_subscribe(from, ticket, channel),
            PeerMessage::Unsubscribe { channel } => self.on_unsubscribe(from, channel),
            PeerMessage::Publish { ticket, channel, name, frame } => {
                return self.on_publish(from, ticket, channel, name, frame);
            }
            PeerMessage::Presence { ticket, request } => self.on_presence(from, ticket, &request),
            PeerMessage::History { ticket, query } => self.on_history(from, ticket, &query),
            PeerMessage::Recall { ticket, recall } => self.on_recall(from, ticket, &recall),
            PeerMessage::Recalled { ticket, recalled } => return self.on_recalled(from, ticket, &recalled),
            PeerMessage::Subscribed { ticket, epoch, offset, .. } => {
                if let Some(Asked::Channel { channel }) = self.answered(from, ticket) {
                    self.on_subscribed(from, channel, ticket, epoch, offset);
                }
            }
            PeerMessage::Accepted { ticket, position, stale } => {
                if let Some(Asked::Client { conn, id } | Asked::Join { conn, id, .. }) =
                    self.answered(from, ticket)
                    && let Some(slot) = self.open_slot(conn)
                {
                    self.tell_ack(slot, Ack { id, stale: stale.then_some(true), ..Ack::default() }, position);
                }
            }
            PeerMessage::Refused { ticket, code } => {
                let code = Some(ErrorCode(code)).filter(|code| code.row().is_some());
                self.on_refused(from, ticket, code.unwrap_or(ErrorCode::SERVER_ERROR));
            }
            PeerMessage::Reply { ticket, frame } => {
                if let Some(Asked::Client { conn, .. }) = self.answered(from, ticket)
                    && let Some(slot) = self.open_slot(conn)
                {
                    let frame = first(frame)?;
                    self.tell(slot, &frame);
                }
            }
            PeerMessage::Publication { channel, offset, frame } => {
                return self.on_publication(channel, offset, frame);
            }
            PeerMessage::Notice { channel, frame } => return self.on_notice(channel, frame),
            PeerMessage::Busy { peers, store } => {
                self.outboxes[usize::from(from)].busy = Busy { peers, store };
            }
            PeerMessage::Missed { channel, offset, changes } => {
                if let Some(channel) = self.settled_leaf(channel) {
                    self.on_missed(channel, offset, changes);
                }
            }
        }
        Ok(())
    }

    // ---- as home

    /// A peer takes this router for the home of a channel that it is not, so the two are not set up alike. That is a mistake, but
    /// none that must end both.
    fn refuse_misplaced(&mut self, from: u16, ticket: u64, message: &PeerMessage<'_>) {
        if ticket != 0 {
            self.say(from, PeerMessage::Refused { ticket, code: ErrorCode::SERVER_ERROR.0 });
        } else if matches!(message, PeerMessage::Publish { .. }) {
            // Who wants no answer is not told, but it is counted.
            self.stats.dropped_between += 1;
        }
    }

    /// Tells a leaf that its client's publication is taken, if it wants to know.
    pub(super) fn accept(&mut self, from: u16, ticket: u64, position: Option<(u32, u64)>, stale: bool) {
        if ticket != 0 && !PeerMessage::wants_only_refusal(ticket) {
            self.say(from, PeerMessage::Accepted { ticket, position, stale });
        }
    }

    fn on_subscribe(&mut self, from: u16, ticket: u64, name: &str) {
        let hash = self.channels.hash(name);
        let channel = match self.channels.find(hash, name) {
            Some(channel) => channel,
            None if self.make_room_for_channel() => self.create_channel(hash, name),
            None => {
                return self.say(from, PeerMessage::Refused { ticket, code: ErrorCode::LIMIT_EXCEEDED.0 });
            }
        };
        let entry = self.channels.get_mut(channel);
        entry.leaves |= 1 << from;
        let (epoch, offset) = (entry.epoch, entry.offset);
        self.outboxes[usize::from(from)].missed.remove(&channel);
        self.say(from, PeerMessage::Subscribed { ticket, channel: name, epoch, offset });
    }

    fn on_unsubscribe(&mut self, from: u16, name: &str) {
        let Some(channel) = self.find(name) else { return };
        self.channels.get_mut(channel).leaves &= !(1 << from);
        self.outboxes[usize::from(from)].missed.remove(&channel);
        self.vacate(channel);
    }

    fn on_publish(
        &mut self,
        from: u16,
        ticket: u64,
        channel: &str,
        name: &[u8],
        frame: &[u8],
    ) -> Result<(), BadParcel> {
        if self.rulebook.rules(channel).history().is_some() {
            let publication = Some(publication(frame)?).filter(|publication| publication.channel == channel);
            self.on_publish_to_keep(from, ticket, name, &publication.ok_or(BadParcel)?);
            return Ok(());
        }
        self.accept(from, ticket, None, false);
        if let Some(channel) = self.find(channel) {
            let policy = self.policy(channel);
            let decoded = self.decode(policy, frame)?;
            let source = Source::Encoded(frame, decoded.as_ref());
            self.deliver(channel, source, self.meta(channel, policy, key(decoded.as_ref())));
        }
        Ok(())
    }

    // ---- as leaf

    /// Takes the request that an answer is for.
    pub(super) fn answered(&mut self, from: u16, ticket: u64) -> Option<Asked> {
        self.outboxes[usize::from(from)].answered(ticket)
    }

    /// A channel of this name that takes part and is at home elsewhere.
    pub(super) fn settled_leaf(&self, name: &str) -> Option<u32> {
        self.find(name).filter(|at| !self.channels.get(*at).joining && !self.channels.is_home(*at))
    }

    /// Whether a channel waits for this answer of this peer. It may have gone meanwhile, and its index may be another's.
    fn awaits(&self, channel: u32, from: u16, ticket: u64) -> bool {
        self.joining.get(&channel).is_some_and(|joining| joining.ticket == ticket)
            && self.channels.get(channel).home() == from
    }

    fn on_subscribed(&mut self, from: u16, channel: u32, ticket: u64, epoch: u32, offset: u64) {
        if !self.awaits(channel, from, ticket) {
            return;
        }
        if let Some((old_epoch, old_offset)) = self.joining[&channel].since {
            // Even if no publication was: changes of presence have no number.
            let missed = offset.checked_sub(old_offset).filter(|_| epoch == old_epoch);
            self.tell_gap(channel, "peer_lost", missed);
        }
        let entry = self.channels.get_mut(channel);
        (entry.epoch, entry.offset, entry.joining) = (epoch, offset, false);
        let joining = self.joining.remove(&channel).expect("it was found above");
        joining.acks.into_iter().for_each(|ack| self.confirm(channel, ack));
        self.go_on_catching_up(channel);
    }

    fn on_refused(&mut self, from: u16, ticket: u64, code: ErrorCode) {
        if PeerMessage::wants_only_refusal(ticket) {
            if let Some(slot) = self.open_slot_of(ticket) {
                self.refuse(slot, 0, code, code.text());
            }
            return;
        }
        match self.answered(from, ticket) {
            Some(asked @ (Asked::Client { conn, id } | Asked::Join { conn, id, .. })) => {
                let Some(slot) = self.open_slot(conn) else { return };
                if let Asked::Join { channel, .. } = asked {
                    self.forget_join(slot, channel, from);
                }
                self.refuse(slot, id, code, code.text());
            }
            Some(Asked::Channel { channel }) if self.awaits(channel, from, ticket) => {
                // The home does not count this router among its leaves: nothing to be told when the last one leaves.
                self.joining.get_mut(&channel).expect("it awaits an answer").ticket = 0;
                self.expel_all(channel, code);
            }
            // The leaf was refused before, and its subscriptions have ended with that.
            Some(Asked::Replay { page: true, .. }) => self.replays.arrived(),
            Some(Asked::Channel { .. } | Asked::Replay { .. }) | None => {}
        }
    }

    /// Ends all subscriptions of a channel, and with them the channel.
    fn expel_all(&mut self, channel: u32, code: ErrorCode) {
        let inside = self.channels.get(channel).subscribers.iter().map(|subscriber| subscriber.slot);
        let slots: Vec<Slot> = inside.chain(self.replays.slots(channel)).collect();
        slots.into_iter().for_each(|slot| self.expel(slot, channel, code));
    }

    /// The connection that a ticket of [`PeerMessage::only_refusal`] is of, if it still takes answers.
    fn open_slot_of(&self, ticket: u64) -> Option<Slot> {
        let slot = ticket as Slot;
        let conn = self.conns.get(slot as usize).filter(|conn| conn.state == State::Open)?;
        let is_it = PeerMessage::only_refusal(ConnId::new(slot, conn.generation)) == ticket;
        is_it.then_some(slot)
    }

    fn on_publication(&mut self, name: &str, offset: u64, frame: &[u8]) -> Result<(), BadParcel> {
        let Some(channel) = self.settled_leaf(name) else { return Ok(()) };
        self.on_missed(channel, offset.saturating_sub(1), false);
        self.channels.get_mut(channel).offset = offset;
        let policy = self.policy(channel);
        let decoded = self.decode(policy, frame)?;
        let meta = self.meta(channel, policy, key(decoded.as_ref()));
        self.spread(channel, Source::Encoded(frame, decoded.as_ref()), meta);
        Ok(())
    }

    /// Publications up to this number exist. Those that did not come were left out by the home, and so were changes of
    /// presence if it says so.
    pub(super) fn on_missed(&mut self, channel: u32, offset: u64, changes: bool) {
        let entry = self.channels.get_mut(channel);
        let count = offset.saturating_sub(entry.offset);
        if count > 0 || changes {
            entry.offset += count;
            self.tell_gap(channel, "overloaded", Some(count));
        }
    }

    /// The home of a channel is lost: subscriptions that it has not confirmed fail, the others wait for it to come back.
    fn lose_home(&mut self, channel: u32) {
        let entry = self.channels.get_mut(channel);
        if !entry.joining {
            entry.joining = true;
            let since = Some((entry.epoch, entry.offset));
            self.joining.insert(channel, super::Joining { since, ..super::Joining::default() });
        }
        let joining = self.joining.get_mut(&channel).expect("a joining channel is noted");
        joining.ticket = 0;
        let unaware: Vec<Slot> = joining.acks.iter().map(|ack| ack.slot).collect();
        for slot in unaware {
            self.expel(slot, channel, ErrorCode::SERVER_ERROR);
        }
        self.stop_catching_up(channel);
    }

    /// Lets the next connection go on that waited for the store, or for a peer which has room again or is gone; false if there
    /// is none.
    pub(super) fn resume_next(&mut self) -> bool {
        while let Some(conn) = self.storing.unpause() {
            if self.resume_held(conn) {
                return true;
            }
        }
        if !self.unsent.any_paused {
            return false;
        }
        self.unsent.any_paused = false;
        for peer in 0..self.outboxes.len() {
            let outbox = &self.outboxes[peer];
            self.unsent.any_paused |= !outbox.paused.is_empty() || !outbox.paused_for_store.is_empty();
            let (may_go_on, may_store) = match outbox.connected {
                true => (!outbox.is_full(), !outbox.is_store_full()),
                false => (true, true),
            };
            while let Some(conn) = self.unpause(peer, may_go_on, may_store) {
                if self.resume_held(conn) {
                    return true;
                }
            }
        }
        false
    }

    /// The next connection that waits for a peer and need not any more.
    fn unpause(&mut self, peer: usize, may_go_on: bool, may_store: bool) -> Option<ConnId> {
        let Outbox { paused, paused_for_store, .. } = &mut self.outboxes[peer];
        let next = if may_go_on { paused.pop_front() } else { None };
        next.or_else(|| if may_store { paused_for_store.pop_front() } else { None })
    }

    /// Lets a connection go on that was held back; false if it is gone.
    fn resume_held(&mut self, conn: ConnId) -> bool {
        let waits = |slot: &Slot| {
            let waiting = self.conns[*slot as usize].waiting.as_ref();
            waiting.is_some_and(|waiting| waiting.ticket.is_none())
        };
        let Some(slot) = self.live(conn).filter(waits) else { return false };
        self.resume(slot, None);
        self.close_overflowed();
        true
    }
}

/// The key of a publication.
fn key<'a>(frame: Option<&Frame<'a>>) -> Option<&'a str> {
    match frame {
        Some(Frame::Publish(publication)) => publication.key,
        _ => None,
    }
}
