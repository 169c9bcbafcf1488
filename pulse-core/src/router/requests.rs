//! What clients ask and what they are answered: each frame type that a client may send, in each state.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::num::NonZeroU64;

use crate::channel::Subscriber;
use crate::grant::{Rule, SlowConsumer, is_channel_name};
use crate::queue::Meta;
use crate::wire::{
    self, Ack, CloseCode, Connect, Connected, DecodeError, ERRORS, ErrorCode, ErrorFrame, Frame, Publish,
    Split, Subscribe, Unsubscribe,
};
use crate::{Answer, Dialect, Effect, Request, Ticket};

use super::session::{State, Subscription, Waiting};
use super::{Router, Shared, Slot};

/// The protocol version that this crate speaks.
const VERSION: u64 = 1;

/// Whether the connection takes the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    On,
    /// This frame waits for a decision, and all behind it.
    Wait,
    /// The connection is closing.
    End,
}

impl Router {
    /// Takes the frames of one transport message.
    pub(super) fn frames(&mut self, slot: Slot, message: &[u8]) {
        if self.conns[slot as usize].waiting.is_some() {
            return self.wait(slot, message);
        }
        if message.is_empty() {
            return self.end(slot, CloseCode::MALFORMED, None);
        }
        let mut bytes = message;
        while !bytes.is_empty() {
            // A frame is part of its message, so only the message's own length limits it.
            let Split::Frame { map, rest } = wire::split(bytes, bytes.len()) else {
                return self.end(slot, CloseCode::MALFORMED, None);
            };
            self.stats.frames_in += 1;
            self.stats.bytes_in += (bytes.len() - rest.len()) as u64;
            match self.frame(slot, map, None) {
                Flow::On => bytes = rest,
                Flow::Wait => return self.wait(slot, bytes),
                Flow::End => return,
            }
        }
    }

    /// Takes the lines of one text message, each as the frame that it says.
    pub(super) fn lines(&mut self, slot: Slot, message: &[u8]) {
        let (mut map, mut frame) = core::mem::take(&mut self.scratch);
        let mut any = false;
        for line in wire::json::lines(message) {
            any = true;
            if wire::json::to_map(line, &mut map).is_err() {
                self.end(slot, CloseCode::MALFORMED, None);
                break;
            }
            frame.clear();
            let len = u32::try_from(map.len()).expect("a line is bounded by its message, a map by its line");
            frame.extend_from_slice(&len.to_be_bytes());
            frame.extend_from_slice(&map);
            self.frames(slot, &frame);
            if matches!(self.conns[slot as usize].state, State::Closing { .. }) {
                break;
            }
        }
        if !any {
            self.end(slot, CloseCode::MALFORMED, None);
        }
        self.scratch = (map, frame);
    }

    /// Takes one frame; `answer` is there when the host has decided about it.
    fn frame(&mut self, slot: Slot, map: &[u8], answer: Option<&Answer>) -> Flow {
        // Looked at where it was decoded to: it is 200 bytes, more than all else that this function touches.
        let decoded = wire::decode(map);
        let frame = match &decoded {
            Ok(frame) => frame,
            Err(DecodeError::Malformed(_)) => {
                self.end(slot, CloseCode::MALFORMED, None);
                return Flow::End;
            }
            Err(DecodeError::Invalid(invalid)) => {
                if self.conns[slot as usize].state == State::Greeting {
                    self.end(slot, CloseCode::CONNECT_EXPECTED, None);
                    return Flow::End;
                }
                self.refuse(slot, invalid.id, ErrorCode::INVALID_FRAME, &invalid.what.to_string());
                return Flow::On;
            }
        };
        match (self.conns[slot as usize].state, frame) {
            (State::Free | State::Closing { .. }, _) => Flow::End,
            (_, Frame::Connect(connect)) => self.connect(slot, connect, answer),
            (State::Greeting, _) => {
                self.end(slot, CloseCode::CONNECT_EXPECTED, None);
                Flow::End
            }
            (State::Open, frame) => self.request(slot, frame, answer),
        }
    }

    fn connect(&mut self, slot: Slot, connect: &Connect<'_>, answer: Option<&Answer>) -> Flow {
        if connect.version != VERSION {
            self.refuse(slot, 0, ErrorCode::PROTOCOL_MISMATCH, "this server speaks protocol version 1");
            self.end(slot, CloseCode::VERSION, None);
            return Flow::End;
        }
        let conn = &self.conns[slot as usize];
        if conn.state == State::Open && conn.link.dialect != Dialect::Legacy {
            self.refuse(slot, 0, ErrorCode::INVALID_FRAME, "connect was sent already; it comes once");
            return Flow::On;
        }
        match judge(self.config.connect, answer) {
            Some(true) => {}
            Some(false) => {
                self.end(slot, CloseCode::UNAUTHORIZED, None);
                return Flow::End;
            }
            None => return self.ask(slot, Request::Connect { token: connect.token.map(Into::into) }),
        }
        if let Some(Answer::AllowAs(user)) = answer {
            self.users.insert(slot, user.clone());
        }
        self.greet(slot);
        Flow::On
    }

    /// Opens the session and says so.
    pub(super) fn greet(&mut self, slot: Slot) {
        self.conns[slot as usize].state = State::Open;
        self.deadlines.set_first_heartbeat(slot);
        let name = self.name(self.id(slot));
        let connected = Connected {
            connection_id: core::str::from_utf8(&name).expect("a name is hexadecimal digits"),
            version: VERSION,
            heartbeat: u64::from(self.config.heartbeat.interval_ms),
            user: self.users.get(&slot).map(|user| &**user),
            ..Connected::default()
        };
        let encoding = self.conns[slot as usize].link.dialect.encoding();
        let message =
            self.fanout.message(Meta::CONTROL, |out| encoding.encode(&Frame::Connected(connected), out));
        self.fanout.push(slot, message);
    }

    fn request(&mut self, slot: Slot, frame: &Frame<'_>, answer: Option<&Answer>) -> Flow {
        match frame {
            Frame::Publish(publish) => return self.publish(slot, publish, answer),
            Frame::Subscribe(subscribe) => return self.subscribe(slot, subscribe, answer),
            Frame::Unsubscribe(unsubscribe) => self.unsubscribe(slot, *unsubscribe),
            Frame::Ping { timestamp } => self.tell(slot, &Frame::Pong { timestamp: *timestamp }),
            // Any frame is a sign of life, and this one is no more than that.
            Frame::Pong { .. } => {}
            Frame::History(history) => self.unavailable(slot, history.id, "history"),
            Frame::Presence(presence) => self.unavailable(slot, presence.id, "presence"),
            Frame::Refresh(refresh) => self.unavailable(slot, refresh.id, "refresh of tokens"),
            _ => self.refuse(slot, 0, ErrorCode::INVALID_FRAME, "only servers send frames of this type"),
        }
        Flow::On
    }

    fn subscribe(&mut self, slot: Slot, request: &Subscribe<'_>, answer: Option<&Answer>) -> Flow {
        let &Subscribe { id, channel: name, token, recover, .. } = request;
        if !is_channel_name(name) {
            self.refuse_name(slot, id);
            return Flow::On;
        }
        let known = self.channels.find(name);
        let conn = &self.conns[slot as usize];
        if known.is_some_and(|channel| conn.subscription(channel).is_some()) {
            self.refuse(
                slot,
                id,
                ErrorCode::ALREADY_SUBSCRIBED,
                "this connection is subscribed to it already",
            );
            return Flow::On;
        }
        let limits = &self.config.limits;
        if conn.subscriptions.len() >= limits.max_subscriptions_per_connection as usize {
            self.refuse(
                slot,
                id,
                ErrorCode::LIMIT_EXCEEDED,
                "limits.max_subscriptions_per_connection is reached",
            );
            return Flow::On;
        }
        if known.is_none() && self.channels.len() >= limits.max_channels as usize {
            self.refuse(slot, id, ErrorCode::LIMIT_EXCEEDED, "limits.max_channels is reached");
            return Flow::On;
        }
        match judge(self.rulebook.rules(name).subscribe, answer) {
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
        let channel = known.unwrap_or_else(|| self.channels.create(name));
        let subscriptions = &mut self.conns[slot as usize].subscriptions;
        let place = self.channels.join(channel, Subscriber { slot, at: subscriptions.len() as u32 });
        subscriptions.push(Subscription { channel, place });
        self.stats.subscribed += 1;
        self.stats.subscriptions += 1;
        // There is no history to recover from, and a client that asks must not be left to guess.
        let lost = recover.map(|_| "this channel keeps no history");
        self.tell(
            slot,
            &Frame::Ack(Ack { id, recovered: lost.map(|_| false), reason: lost, ..Ack::default() }),
        );
        Flow::On
    }

    fn unsubscribe(&mut self, slot: Slot, request: Unsubscribe<'_>) {
        let known = self.channels.find(request.channel);
        let at = known.and_then(|channel| self.conns[slot as usize].subscription(channel));
        let Some(at) = at else {
            if is_channel_name(request.channel) {
                self.refuse(
                    slot,
                    request.id,
                    ErrorCode::NOT_SUBSCRIBED,
                    "this connection is not subscribed to it",
                );
            } else {
                self.refuse_name(slot, request.id);
            }
            return;
        };
        self.leave(slot, at);
        self.tell(slot, &Frame::Ack(Ack { id: request.id, ..Ack::default() }));
    }

    fn publish(&mut self, slot: Slot, request: &Publish<'_>, answer: Option<&Answer>) -> Flow {
        let id = request.id.unwrap_or(0);
        let known = self.channels.find(request.channel);
        if known.is_none() && !is_channel_name(request.channel) {
            self.refuse_name(slot, id);
            return Flow::On;
        }
        if request.payload.len() > self.config.limits.max_message_size as usize {
            self.refuse(
                slot,
                id,
                ErrorCode::PAYLOAD_TOO_LARGE,
                "the payload is over limits.max_message_size",
            );
            return Flow::On;
        }
        let rules = self.rulebook.rules(request.channel);
        match judge(rules.publish, answer) {
            Some(true) => {}
            Some(false) => {
                self.refuse(slot, id, ErrorCode::FORBIDDEN, "publishing is not allowed in this namespace");
                return Flow::On;
            }
            None => return self.ask(slot, Request::Publish { channel: request.channel.into() }),
        }
        self.stats.publications += 1;
        if let Some(id) = request.id {
            self.tell(slot, &Frame::Ack(Ack { id, ..Ack::default() }));
        }
        if let Some(channel) = known {
            self.channels.number(channel);
            let publication = Publish {
                channel: request.channel,
                payload: request.payload,
                event: request.event,
                format: request.format,
                key: request.key,
                tags: request.tags,
                ..Publish::default()
            };
            let key = match request.key {
                Some(key) if rules.slow_consumer == SlowConsumer::LatestPerKey => self.channels.key(key),
                _ => 0,
            };
            let meta = Meta::publication(channel, key, rules.slow_consumer);
            let subscribers = &self.channels.get(channel).subscribers;
            if self.num_json == 0 {
                let message = self.fanout.message(meta, |out| publication.encode(out));
                self.fanout.push_all(subscribers.iter().map(|subscriber| subscriber.slot), message);
            } else {
                let (frame, mut shared) = (Frame::Publish(publication), Shared::default());
                for subscriber in subscribers {
                    let encoding = self.conns[subscriber.slot as usize].link.dialect.encoding();
                    let message = shared.message(encoding, meta, &frame, &mut self.fanout);
                    self.fanout.push(subscriber.slot, message);
                }
            }
        }
        Flow::On
    }

    // ---- decisions

    /// Asks the host; the frame in hand and all behind it wait.
    fn ask(&mut self, slot: Slot, request: Request) -> Flow {
        self.last_ticket += 1;
        let ticket = Ticket(NonZeroU64::new(self.last_ticket).expect("tickets are counted from 1"));
        let conn = self.id(slot);
        self.tickets.insert(ticket, conn);
        self.conns[slot as usize].waiting = Some(Box::new(Waiting { ticket, frames: Vec::new() }));
        self.effects.push_back(Effect::Authorize { ticket, conn, request: Box::new(request) });
        self.effects.push_back(Effect::Pause { conn, paused: true });
        Flow::Wait
    }

    /// Keeps frames behind the one that is being decided, as far as the bound allows.
    fn wait(&mut self, slot: Slot, frames: &[u8]) {
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

    /// Goes on with what waited, the first frame by the host's answer.
    pub(super) fn resume(&mut self, slot: Slot, answer: Answer) {
        let waiting =
            self.conns[slot as usize].waiting.take().expect("a ticket belongs to a waiting connection");
        let Split::Frame { map, rest } = wire::split(&waiting.frames, waiting.frames.len()) else {
            unreachable!("the frame that waits was split off once before");
        };
        if self.frame(slot, map, Some(&answer)) == Flow::On && !rest.is_empty() {
            self.frames(slot, rest);
        }
        let conn = &self.conns[slot as usize];
        if conn.waiting.is_none() && conn.state == State::Open {
            self.effects.push_back(Effect::Pause { conn: self.id(slot), paused: false });
        }
    }

    pub(super) fn forget_waiting(&mut self, slot: Slot) {
        if let Some(waiting) = self.conns[slot as usize].waiting.take() {
            self.tickets.remove(&waiting.ticket);
        }
    }

    // ---- subscriptions

    /// Ends one subscription, by its place in the connection's list.
    fn leave(&mut self, slot: Slot, at: usize) {
        let subscriptions = &mut self.conns[slot as usize].subscriptions;
        let left = subscriptions.swap_remove(at);
        self.fanout.leave(slot, left.channel);
        if let Some(moved) = subscriptions.get(at) {
            self.channels.moved(moved.channel, moved.place, at as u32);
        }
        if let Some(moved) = self.channels.leave(left.channel, left.place) {
            self.conns[moved.slot as usize].subscriptions[moved.at as usize].place = left.place;
        }
        self.stats.subscriptions -= 1;
    }

    pub(super) fn leave_all(&mut self, slot: Slot) {
        while let Some(last) = self.conns[slot as usize].subscriptions.len().checked_sub(1) {
            self.leave(slot, last);
        }
        self.conns[slot as usize].subscriptions = Vec::new();
    }

    // ---- answers

    /// Queues one frame for one connection.
    pub(super) fn tell(&mut self, slot: Slot, frame: &Frame<'_>) {
        let encoding = self.conns[slot as usize].link.dialect.encoding();
        let message = self.fanout.message(Meta::CONTROL, |out| encoding.encode(frame, out));
        self.fanout.push(slot, message);
    }

    fn refuse(&mut self, slot: Slot, id: u64, code: ErrorCode, message: &str) {
        let at = ERRORS.iter().position(|row| row.code == code.0).expect("only codes of the table are sent");
        self.stats.errors[at] += 1;
        let temporary = ERRORS[at].temporary.then_some(true);
        self.tell(slot, &Frame::Error(ErrorFrame { id, code: code.0, message, temporary }));
    }

    fn refuse_name(&mut self, slot: Slot, id: u64) {
        let message = ErrorCode::INVALID_CHANNEL.row().expect("the code is in the table").text;
        self.refuse(slot, id, ErrorCode::INVALID_CHANNEL, message);
    }

    fn unavailable(&mut self, slot: Slot, id: u64, what: &str) {
        self.refuse(slot, id, ErrorCode::NOT_AVAILABLE, &alloc::format!("this server does not offer {what}"));
    }
}

/// Whether a rule allows it; `None` when the host has to be asked.
fn judge(rule: Rule, answer: Option<&Answer>) -> Option<bool> {
    match rule {
        Rule::Anyone => Some(true),
        Rule::Nobody => Some(false),
        Rule::Ask => answer.map(|answer| *answer != Answer::Deny),
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
