//! Requests that wait, because the host decides about one of them or too much waits for a peer. All later frames of the
//! connection wait behind it, bounded, and the host is asked to stop reading.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use crate::wire::{self, DecodeError, ErrorCode, Frame, Split};
use crate::{Answer, ConnId, Effect, Request, Ticket};

use super::requests::Flow;
use super::session::{State, Waiting};
use super::{Router, Slot};

impl Router {
    /// Asks the host; the frame in hand and all behind it wait.
    pub(super) fn ask(&mut self, slot: Slot, request: Request) -> Flow {
        let ticket = self.next_ticket();
        let conn = self.id(slot);
        self.tickets.insert(ticket, conn);
        self.hold(slot, Some(ticket));
        self.effects.push_back(Effect::Authorize { ticket, conn, request: Box::new(request) });
        self.effects.push_back(Effect::Pause { conn, paused: true });
        Flow::Wait
    }

    /// What becomes of the request in hand where its channel's home is lost or takes no more; `None` if it can be asked.
    pub(super) fn out_of_reach(&mut self, slot: Slot, id: u64, home: u16) -> Option<Flow> {
        let outbox = &self.outboxes[usize::from(home)];
        if !outbox.connected {
            self.refuse_lost(slot, id);
            return Some(Flow::On);
        }
        outbox.is_full().then(|| self.wait_for_peer(slot, home))
    }

    /// The frame in hand and all behind it wait until a peer has taken more.
    pub(super) fn wait_for_peer(&mut self, slot: Slot, peer: u16) -> Flow {
        self.wait_among(slot, |router| &mut router.outboxes[usize::from(peer)].paused)
    }

    /// The frame in hand and all behind it wait until the store of a peer has taken more.
    pub(super) fn wait_for_store_of(&mut self, slot: Slot, peer: u16) -> Flow {
        self.wait_among(slot, |router| &mut router.outboxes[usize::from(peer)].paused_for_store)
    }

    fn wait_among(&mut self, slot: Slot, paused: impl Fn(&mut Self) -> &mut VecDeque<ConnId>) -> Flow {
        let conn = self.id(slot);
        self.hold(slot, None);
        if paused(self).len() >= 2 * self.conns.len() {
            // Ids of connections that are gone add up while the peer takes nothing.
            let mut there = core::mem::take(paused(self));
            there.retain(|id| self.conns[id.slot() as usize].generation == id.generation());
            *paused(self) = there;
        }
        paused(self).push_back(conn);
        self.unsent.any_paused = true;
        self.effects.push_back(Effect::Pause { conn, paused: true });
        Flow::Wait
    }

    /// The frame in hand and all behind it wait until the store has taken more.
    pub(super) fn wait_for_store(&mut self, slot: Slot) -> Flow {
        let conn = self.id(slot);
        self.hold(slot, None);
        let conns = &self.conns;
        self.storing
            .pause(conn, 2 * conns.len(), |id| conns[id.slot() as usize].generation == id.generation());
        self.effects.push_back(Effect::Pause { conn, paused: true });
        Flow::Wait
    }

    /// Of a question to the host.
    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(NonZeroU64::new(self.last_ticket).expect("tickets are counted from 1"))
    }

    fn hold(&mut self, slot: Slot, ticket: Option<Ticket>) {
        self.conns[slot as usize].waiting =
            Some(Box::new(Waiting { ticket, answer: None, frames: Vec::new() }));
    }

    /// Keeps frames behind the one that waits, as far as the bound allows.
    pub(super) fn wait(&mut self, slot: Slot, frames: &[u8]) {
        let bound = self.config.limits.waiting_bytes();
        let waiting = self.conns[slot as usize].waiting.as_mut().expect("the caller has seen that it waits");
        if waiting.frames.len() + frames.len() <= bound {
            waiting.frames.extend_from_slice(frames);
            return;
        }
        // A host that was asked to pause has sent on what it had read already; beyond that nothing is kept.
        let mut bytes = frames;
        while let Split::Frame { map, rest } = wire::split(bytes, bytes.len()) {
            self.refuse(
                slot,
                request_id(map),
                ErrorCode::LIMIT_EXCEEDED,
                "too many requests wait for an earlier one",
            );
            bytes = rest;
        }
    }

    /// Goes on with what waited, the first frame by the host's answer if it was asked.
    pub(super) fn resume(&mut self, slot: Slot, answer: Option<&Answer>) {
        let waiting =
            self.conns[slot as usize].waiting.take().expect("the caller has seen that the connection waits");
        let Split::Frame { map, rest } = wire::split(&waiting.frames, waiting.frames.len()) else {
            unreachable!("the frame that waits was split off once before");
        };
        let answer = answer.or(waiting.answer.as_ref());
        match self.frame(slot, map, answer) {
            Flow::On if rest.is_empty() => {}
            Flow::On => self.frames(slot, rest),
            Flow::Wait => {
                self.wait(slot, &waiting.frames);
                // What it waits for now is another thing: the host has decided.
                self.conns[slot as usize].waiting.as_mut().expect("it waits again").answer = answer.cloned();
            }
            Flow::End => {}
        }
        let conn = &mut self.conns[slot as usize];
        if conn.waiting.is_none() && conn.state == State::Open {
            // What it said meanwhile is read only now.
            conn.heard = self.deadlines.tick();
            self.effects.push_back(Effect::Pause { conn: self.id(slot), paused: false });
        }
    }

    pub(super) fn forget_waiting(&mut self, slot: Slot) {
        if let Some(ticket) = self.conns[slot as usize].waiting.take().and_then(|waiting| waiting.ticket) {
            self.tickets.remove(&ticket);
        }
    }
}

/// The id that a request asks to be answered under, 0 for none.
fn request_id(map: &[u8]) -> u64 {
    match wire::decode(map) {
        Ok(Frame::Subscribe(request)) => request.id,
        Ok(Frame::Unsubscribe(request)) => request.id,
        Ok(Frame::Publish(request)) => request.id.unwrap_or(0),
        Ok(Frame::History(request)) => request.id,
        Ok(Frame::Presence(request)) => request.id,
        Ok(Frame::Refresh(request)) => request.id,
        Ok(_) | Err(DecodeError::Malformed(_)) => 0,
        Err(DecodeError::Invalid(invalid)) => invalid.id,
    }
}
