//! What a client makes of each frame that a server sends, in each state.

use crate::wire::{
    self, Ack, CloseCode, Connected, DecodeError, Disconnect, ErrorCode, ErrorFrame, Frame, Gap, Publish,
    Split, Unsubscribed,
};
use crate::{Kind, Time};

use super::deadline::{Deadline, Due};
use super::event::{Event, Failure, Missing, Subject};
use super::liveness::Liveness;
use super::subscription::{Arrival, Position, State as Sub, SubId, Subscription};
use super::write::Op;
use super::{Client, End, Ping, State};

/// The protocol version that this crate speaks.
pub(super) const VERSION: u64 = 1;

/// The longest time that a server can send a client away for.
const MAX_RETRY_MS: u64 = 3_600_000;

/// Whether the rest of a message is still to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    On,
    /// The connection is over.
    End,
}

impl Client {
    /// One whole transport message. What makes no sense is never an error of the host's: the client hangs up and comes
    /// back. Without a transport it changes nothing.
    pub fn receive(&mut self, kind: Kind, message: &[u8]) {
        if !self.is_live() {
            return;
        }
        if kind != Kind::Binary || message.is_empty() {
            return self.mistake();
        }
        let mut bytes = message;
        while !bytes.is_empty() {
            // A frame is part of its message, so only the message's own length limits it.
            let Split::Frame { map, rest } = wire::split(bytes, bytes.len()) else { return self.mistake() };
            self.stats.frames_in += 1;
            self.stats.bytes_in += (bytes.len() - rest.len()) as u64;
            if self.frame(map) == Flow::End {
                return;
            }
            bytes = rest;
        }
        if let State::Open { liveness, .. } = &mut self.state {
            liveness.heard(self.now.mono);
        }
    }

    fn frame(&mut self, map: &[u8]) -> Flow {
        let frame = match wire::decode(map) {
            Ok(frame) => frame,
            Err(DecodeError::Malformed(_)) => {
                self.mistake();
                return Flow::End;
            }
            // A newer server may say things that this version does not know.
            Err(DecodeError::Invalid(_)) => return self.ignore(),
        };
        match (&self.state, frame) {
            (_, Frame::Disconnect(disconnect)) => return self.dismissed(map, &disconnect),
            // Any frame is an answer, so that of several only the newest needs one.
            (_, Frame::Ping { timestamp }) => self.pong = Some(timestamp),
            (_, Frame::Error(error)) => self.refused(map, &error),
            (State::Greeting { .. }, Frame::Connected(connected)) => return self.connected(map, &connected),
            (State::Open { .. }, Frame::Publish(publication)) => return self.publication(map, &publication),
            (State::Open { .. }, Frame::Ack(ack)) => return self.acked(map, &ack),
            (State::Open { .. }, Frame::Pong { timestamp }) => return self.ponged(timestamp),
            (State::Open { .. }, Frame::Gap(gap)) => return self.gap(map, &gap),
            (State::Open { .. }, Frame::Presence(news)) if news.id == 0 => {
                return self.about(map, news.channel);
            }
            (State::Open { .. }, Frame::Presence(answer)) => return self.request_answered(map, &answer),
            (State::Open { .. }, Frame::Unsubscribed(over)) => return self.unsubscribed(map, &over),
            _ => return self.ignore(),
        }
        Flow::On
    }

    fn connected(&mut self, map: &[u8], connected: &Connected<'_>) -> Flow {
        if connected.version != VERSION {
            self.mistake();
            return Flow::End;
        }
        let (now, config) = (self.now.mono, &self.config);
        let liveness = Liveness::new(now, connected.heartbeat, config.heartbeat_ms, config.grace_ms);
        // What was asked together with `connect` is answered from now on.
        let answer = Deadline::after_ms(now, u64::from(config.request_ms));
        for sub in self.subs.iter_mut() {
            if let Sub::Asked(deadline) = &mut sub.state {
                *deadline = answer;
            }
        }
        self.subs.wake_at(answer.at());
        self.state = State::Open { since: now, liveness };
        self.stats.connections += 1;
        self.events.push_frame(map, Subject::None);
        Flow::On
    }

    /// The server ends the connection and says what is to be done.
    fn dismissed(&mut self, map: &[u8], disconnect: &Disconnect<'_>) -> Flow {
        self.hang_up();
        let code = CloseCode(disconnect.code);
        if code.comes_back() {
            self.lose(End::Lost {
                code: Some(code),
                retry_ms: disconnect.retry_ms.map(|ms| ms.min(MAX_RETRY_MS)),
            });
        } else {
            self.lose(End::Final);
            self.events.push_frame(map, Subject::None);
        }
        Flow::End
    }

    fn publication(&mut self, map: &[u8], publication: &Publish<'_>) -> Flow {
        let found = self.subs.find(publication.channel).and_then(|id| self.subs.get_mut(id.get()));
        // Until the ack comes, what arrives was meant for an earlier subscription to the same channel.
        let Some(sub) = found.filter(|sub| matches!(sub.state, Sub::Active)) else { return self.ignore() };
        let id = sub.id;
        match sub.arrive(publication.offset) {
            Arrival::New => self.events.push_frame(map, Subject::Subscription(id)),
            Arrival::Repeated => self.stats.repeated += 1,
            Arrival::Hole => self.resume(id),
        }
        Flow::On
    }

    /// Something is missing: it is asked for again, unless it was dropped on purpose or nothing is kept.
    fn gap(&mut self, map: &[u8], gap: &Gap<'_>) -> Flow {
        let Some(id) = self.subs.find_active(gap.channel) else { return self.ignore() };
        let sub = self.subs.get_mut(id.get()).expect("it was found just now");
        let dropped = matches!(gap.reason, "slow_consumer" | "trimmed") || gap.count == Some(0);
        if dropped || sub.position.is_none() {
            sub.miss(gap.count);
            self.events.push_frame(map, Subject::Subscription(id));
        } else {
            self.resume(id);
        }
        Flow::On
    }

    /// Subscribes anew behind what the application has. What arrives until the ack comes is of the old subscription; the
    /// ack says whether everything follows, and if it does not the application is told of the gap.
    fn resume(&mut self, id: SubId) {
        let Some(sub) = self.subs.get_mut(id.get()) else { return };
        sub.state = Sub::Due;
        let channel = sub.channel.clone();
        self.stats.resumed += 1;
        self.ops.push_back(Op::Unsubscribe(channel));
        self.ops.push_back(Op::Subscribe(id));
    }

    fn acked(&mut self, map: &[u8], ack: &Ack<'_>) -> Flow {
        if let Some(sub) = self.subs.get_mut(ack.id) {
            if !sub.asked || matches!(sub.state, Sub::Active) {
                return self.ignore();
            }
            let id = sub.id;
            let missed = settle(sub, ack);
            self.events.push(Event::Subscribed { sub: id, recovered: ack.recovered });
            if let Some(missing) = missed {
                self.events.push_unrecovered(map, id, missing);
            }
            self.renew_membership(id);
        } else if let Some(id) = self.outbox.settle(ack.id) {
            self.events.push_frame(map, Subject::Publication(id));
        } else {
            // Or it answers `unsubscribe`, or what has timed out.
            self.request_acked(ack);
        }
        Flow::On
    }

    fn refused(&mut self, map: &[u8], error: &ErrorFrame<'_>) {
        if let Some(sub) = self.subs.get_mut(error.id) {
            // An active one asked twice, since the first answer came late: it is what it wanted to be.
            if !sub.asked || matches!(sub.state, Sub::Active) {
                return self.stats.ignored += 1;
            }
            let id = sub.id;
            if ErrorCode(error.code) == ErrorCode::ALREADY_SUBSCRIBED {
                sub.activate();
                self.events.push(Event::Subscribed { sub: id, recovered: None });
                self.renew_membership(id);
                return;
            }
            if is_temporary(error) {
                self.put_off(id);
            } else {
                let gone = self.subs.remove(id);
                self.end_membership(gone);
            }
            self.events.push_frame(map, Subject::Subscription(id));
        } else if let Some(id) = self.outbox.settle(error.id) {
            self.events.push_frame(map, Subject::Publication(id));
        } else if error.id == 0 {
            self.events.push_frame(map, Subject::None);
        } else {
            self.request_refused(map, error);
        }
    }

    /// A subscription was refused for now: it asks again later.
    fn put_off(&mut self, id: SubId) {
        let now = self.now.mono;
        let Some(sub) = self.subs.get_mut(id.get()) else { return };
        let until = now.after_ms(self.config.backoff.delay_ms(sub.attempt, &mut self.random));
        sub.attempt = sub.attempt.saturating_add(1);
        sub.state = Sub::Refused { until };
        self.subs.wake_at(until);
    }

    fn ponged(&mut self, timestamp: Option<u64>) -> Flow {
        if let Ping::Sent { timestamp: sent, at } = self.ping
            && timestamp == Some(sent)
        {
            self.ping = Ping::None;
            self.events.push(Event::Pong { after_ms: self.now.mono.ms_since(at) });
        }
        Flow::On
    }

    /// A frame that is told about the subscription to its channel.
    fn about(&mut self, map: &[u8], channel: &str) -> Flow {
        match self.subs.find_active(channel) {
            Some(sub) => {
                self.events.push_frame(map, Subject::Subscription(sub));
                Flow::On
            }
            None => self.ignore(),
        }
    }

    fn unsubscribed(&mut self, map: &[u8], over: &Unsubscribed<'_>) -> Flow {
        match self.subs.find_active(over.channel) {
            Some(sub) => {
                let gone = self.subs.remove(sub);
                self.end_membership(gone);
                self.events.push_frame(map, Subject::Subscription(sub));
                Flow::On
            }
            None => self.ignore(),
        }
    }

    pub(super) fn ignore(&mut self) -> Flow {
        self.stats.ignored += 1;
        Flow::On
    }

    /// The server sent what no server sends: the client leaves it and tries again later.
    fn mistake(&mut self) {
        self.stats.malformed += 1;
        self.hang_up();
        self.lose(End::Lost { code: None, retry_ms: None });
    }

    /// Looks after subscriptions whose time has come.
    pub(super) fn attend_subscriptions(&mut self, now: Time) {
        let Self { subs, ops, events, config, random, .. } = self;
        subs.due(now, |sub| match &mut sub.state {
            Sub::Due | Sub::Active => None,
            Sub::Asked(deadline) => {
                if deadline.check(now) != Due::Passed {
                    return Some(deadline.at());
                }
                events.push(Event::Failed {
                    subject: Subject::Subscription(sub.id),
                    failure: Failure::Timeout,
                });
                let until = now.after_ms(config.backoff.delay_ms(sub.attempt, random));
                sub.attempt = sub.attempt.saturating_add(1);
                sub.state = Sub::Refused { until };
                Some(until)
            }
            Sub::Refused { until } if *until > now => Some(*until),
            Sub::Refused { .. } => {
                sub.state = Sub::Due;
                ops.push_back(Op::Subscribe(sub.id));
                None
            }
        });
    }
}

/// Makes a subscription active, at the position that the server says. Returns what it misses for good, if anything.
fn settle(sub: &mut Subscription, ack: &Ack<'_>) -> Option<Missing> {
    let latest = sub.request().latest.unwrap_or(0);
    sub.activate();
    let had = sub.position.take();
    let at = ack.epoch.zip(ack.offset).map(|(epoch, offset)| Position { epoch: epoch.into(), offset });
    if ack.recovered == Some(true) {
        // What was missed follows and rises from where the application stands.
        sub.position = match (had, at) {
            (Some(had), Some(at)) if had.epoch != at.epoch => Some(Position { offset: 0, ..at }),
            (Some(had), _) => Some(had),
            (None, at) => at,
        };
        return None;
    }
    let same =
        had.as_ref().zip(at.as_ref()).filter(|(had, at)| had.epoch == at.epoch && had.offset < at.offset);
    let missing = match same {
        Some((had, at)) => Missing { from: Some(had.offset.saturating_add(1)), to: Some(at.offset) },
        None => Missing::default(),
    };
    sub.begin(at, latest);
    (ack.recovered == Some(false)).then_some(missing)
}

/// The server's word, or else the table's.
pub(super) fn is_temporary(error: &ErrorFrame<'_>) -> bool {
    let by_table = || ErrorCode(error.code).row().is_some_and(|row| row.temporary);
    error.temporary.unwrap_or_else(by_table)
}
