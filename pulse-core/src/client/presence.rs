//! Who is in a channel: what a client asks about it, and what it shows of itself there. A membership outlives
//! connections, as its subscription does.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::num::NonZeroU64;

use crate::Time;
use crate::grant::is_channel_name;
use crate::wire::{Ack, ErrorCode, ErrorFrame, Frame, Presence, PresenceAction, Value};

use super::deadline::{Deadline, Due};
use super::event::{Event, Failure, Subject};
use super::history::Query;
use super::receive::{Flow, is_temporary};
use super::subscription::{State as Sub, SubId, Subscription, Subscriptions};
use super::write::Op;
use super::{Client, State};

/// One request of a client about presence or history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(super) NonZeroU64);

impl RequestId {
    /// The id as a number from 1 to 2^53 - 1.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// `None` for the id of frames that answer no request.
    fn new(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }
}

/// Why a request about presence or history was not taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// The client is closed.
    Closed,
    /// Not 1 to 256 bytes of printable ASCII, or it starts with `$`.
    InvalidChannel,
    /// There is no such subscription, or it is over.
    NotSubscribed,
    /// As many requests wait as may.
    TooMany {
        /// From [`ClientConfig::max_requests`](super::ClientConfig::max_requests).
        max: u32,
    },
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the client is closed: connect it before asking"),
            Self::InvalidChannel => f.write_str(super::INVALID_CHANNEL),
            Self::NotSubscribed => f.write_str("there is no such subscription: subscribe before joining"),
            Self::TooMany { max } => write!(f, "{max} requests wait: wait until some are answered"),
        }
    }
}

impl Error for AskError {}

/// What a subscription shows of its client to the others.
#[derive(Debug)]
pub(super) struct Membership {
    /// The request for it; the same on every connection.
    id: RequestId,
    /// One MessagePack value, or nothing.
    data: Box<[u8]>,
    /// Whether the application knows how the request went.
    told: bool,
    /// How often in a row it was refused for now.
    attempt: u32,
}

#[derive(Debug)]
struct Request {
    what: Ask,
    state: Stand,
}

#[derive(Debug)]
enum Ask {
    /// What to show is kept by the subscription.
    Join(SubId),
    Leave(Box<str>),
    Question {
        channel: Box<str>,
        action: PresenceAction,
        after: Option<Box<str>>,
        limit: Option<u64>,
    },
    History(Query),
}

/// Where a request stands with the server of the current connection.
#[derive(Debug)]
enum Stand {
    /// To be sent with one of the next messages; a join not before its subscription is active.
    Due,
    Sent(Deadline),
    /// Refused for now.
    Later(Time),
}

/// The requests about presence and history that are not answered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// By id, so in the order in which they were made.
    open: BTreeMap<RequestId, Request>,
    /// No later than the first deadline of any of them; a little too early costs one look.
    next: Option<Time>,
}

impl Requests {
    /// When [`Client::attend_requests`] is to be called.
    pub(super) fn next(&self) -> Option<Time> {
        self.next
    }

    /// Those that leave with a new connection, in their order. A join waits for its subscription.
    pub(super) fn questions(&self) -> impl Iterator<Item = RequestId> {
        self.open.iter().filter(|(_, request)| !matches!(request.what, Ask::Join(_))).map(|(id, _)| *id)
    }

    /// The frame of a request; `None` for one that is not to be sent any more.
    pub(super) fn frame<'a>(&'a self, subs: &'a Subscriptions, id: RequestId) -> Option<Frame<'a>> {
        let request = self.open.get(&id).filter(|request| matches!(request.state, Stand::Due))?;
        let presence = Presence { id: id.get(), ..Presence::default() };
        Some(Frame::Presence(match &request.what {
            Ask::Join(sub) => {
                let sub = subs.get(*sub).filter(|sub| matches!(sub.state, Sub::Active))?;
                let data = sub.member.as_ref().and_then(|member| Value::new(&member.data));
                Presence { channel: &sub.channel, action: PresenceAction::Join, data, ..presence }
            }
            Ask::Leave(channel) => Presence { channel, action: PresenceAction::Leave, ..presence },
            Ask::Question { channel, action, after, limit } => {
                Presence { channel, action: *action, after: after.as_deref(), limit: *limit, ..presence }
            }
            Ask::History(query) => return Some(Frame::History(query.frame(id))),
        }))
    }

    /// The frame of [`frame`](Self::frame) is sent, and to be answered by then.
    pub(super) fn mark_sent(&mut self, id: RequestId, answer: Deadline) {
        if let Some(request) = self.open.get_mut(&id) {
            request.state = Stand::Sent(answer);
            self.wake_at(answer.at());
        }
    }

    fn wake_at(&mut self, at: Time) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

impl Client {
    // ---- in: what the application wants

    /// Shows this client among the members of a channel that it is subscribed to, with `data` if there is any, on this
    /// connection and on all that follow while the subscription lasts. Joining again changes the data. Told by
    /// [`Event::Answered`] once; a [temporary](Failure::is_temporary) failure goes on trying. A refusal on a later
    /// connection is told as well, and is the end of the membership.
    ///
    /// # Errors
    /// See [`AskError`]; then nothing has changed.
    pub fn join(&mut self, sub: SubId, data: Option<Value<'_>>) -> Result<RequestId, AskError> {
        let active = match (&self.state, self.subs.get(sub)) {
            (State::Closed, _) => return Err(AskError::Closed),
            (_, None) => return Err(AskError::NotSubscribed),
            (_, Some(sub)) => matches!(sub.state, Sub::Active),
        };
        let id = self.request(Ask::Join(sub), active)?;
        let data = data.map_or(&[][..], |data| data.as_bytes()).into();
        let sub = self.subs.get_mut(sub.get()).expect("it was looked up just now");
        let earlier = sub.member.replace(Membership { id, data, told: false, attempt: 0 });
        self.supersede(earlier);
        Ok(id)
    }

    /// Takes this client out of the members of a channel. Told by [`Event::Answered`], also when it was not among them, and
    /// when the connection ends meanwhile: then the server takes it out after a time of grace.
    ///
    /// # Errors
    /// See [`AskError`]; then nothing has changed.
    pub fn leave(&mut self, sub: SubId) -> Result<RequestId, AskError> {
        let channel = match (&self.state, self.subs.get(sub)) {
            (State::Closed, _) => return Err(AskError::Closed),
            (_, None) => return Err(AskError::NotSubscribed),
            (_, Some(sub)) => sub.channel.clone(),
        };
        let known = self.subs.get(sub).is_some_and(|sub| matches!(sub.state, Sub::Active));
        let id = self.request(Ask::Leave(channel), known)?;
        let earlier = self.subs.get_mut(sub.get()).and_then(|sub| sub.member.take());
        self.supersede(earlier);
        if !known {
            // This connection has shown nothing yet, and will not.
            self.requests.open.remove(&id);
            self.events.push(Event::Answered { id, presence: None });
        }
        Ok(id)
    }

    /// Asks for a page of a channel's members, by name of their connections: those behind `after`, which is the `next` of an
    /// earlier page, and at most `limit` of them (1 to 1,000). Told by [`Event::Answered`] or [`Event::Failed`], exactly
    /// once; a connection that is lost meanwhile makes it ask again. Needs no subscription.
    ///
    /// # Errors
    /// See [`AskError`]; then nothing has changed.
    pub fn members(
        &mut self,
        channel: &str,
        after: Option<&str>,
        limit: Option<u64>,
    ) -> Result<RequestId, AskError> {
        self.question(channel, PresenceAction::Sync, after, limit)
    }

    /// Asks how many members a channel has. Otherwise as [`members`](Self::members).
    ///
    /// # Errors
    /// See [`AskError`]; then nothing has changed.
    pub fn count_members(&mut self, channel: &str) -> Result<RequestId, AskError> {
        self.question(channel, PresenceAction::Count, None, None)
    }

    fn question(
        &mut self,
        channel: &str,
        action: PresenceAction,
        after: Option<&str>,
        limit: Option<u64>,
    ) -> Result<RequestId, AskError> {
        if let State::Closed = self.state {
            return Err(AskError::Closed);
        }
        if !is_channel_name(channel) {
            return Err(AskError::InvalidChannel);
        }
        let what = Ask::Question { channel: channel.into(), action, after: after.map(Into::into), limit };
        self.request(what, self.is_live())
    }

    /// Asks for a page of a channel's history.
    pub(super) fn query(&mut self, query: Query) -> Result<RequestId, AskError> {
        if let State::Closed = self.state {
            return Err(AskError::Closed);
        }
        self.request(Ask::History(query), self.is_live())
    }

    /// Notes a request, which is written now if `now` says so, else when its time comes.
    fn request(&mut self, what: Ask, now: bool) -> Result<RequestId, AskError> {
        let max = self.config.max_requests;
        if self.requests.open.len() >= max as usize {
            return Err(AskError::TooMany { max });
        }
        let id = RequestId(self.next_id());
        self.requests.open.insert(id, Request { what, state: Stand::Due });
        if now {
            self.ops.push_back(Op::Ask(id));
        }
        Ok(id)
    }

    // ---- the life of a request

    /// Tells the end of a membership whose place another wish has taken.
    fn supersede(&mut self, membership: Option<Membership>) {
        let Some(Membership { id, told, .. }) = membership else { return };
        if self.requests.open.remove(&id).is_some() && !told {
            self.fail_request(id, Failure::Superseded);
        }
    }

    /// A subscription is over, and its membership with it.
    pub(super) fn end_membership(&mut self, gone: Option<Subscription>) {
        self.supersede(gone.and_then(|gone| gone.member));
    }

    /// A subscription is active: its membership is asked for on this connection.
    pub(super) fn renew_membership(&mut self, sub: SubId) {
        let Some(Subscription { member: Some(member), .. }) = self.subs.get(sub) else { return };
        let id = member.id;
        self.requests.open.insert(id, Request { what: Ask::Join(sub), state: Stand::Due });
        self.ops.push_back(Op::Ask(id));
    }

    /// An ack under this id came.
    pub(super) fn request_acked(&mut self, ack: &Ack<'_>) {
        let Some(id) = RequestId::new(ack.id) else { return };
        let Some(Request { what, .. }) = self.requests.open.remove(&id) else { return };
        if let Ask::Join(sub) = what {
            let member = self.subs.get_mut(sub.get()).and_then(|sub| sub.member.as_mut());
            let Some(member) = member.filter(|member| member.id == id) else { return };
            member.attempt = 0;
            if core::mem::replace(&mut member.told, true) {
                return;
            }
        }
        self.events.push(Event::Answered { id, presence: None });
    }

    /// The answer to a question came, of one kind or the other.
    pub(super) fn request_answered(&mut self, map: &[u8], id: u64, is_history: bool) -> Flow {
        let Some(id) = RequestId::new(id) else { return self.ignore() };
        match (self.requests.open.get(&id).map(|request| &request.what), is_history) {
            (Some(Ask::Question { .. }), false) | (Some(Ask::History(_)), true) => {}
            _ => return self.ignore(),
        }
        self.requests.open.remove(&id);
        self.events.push_frame(map, Subject::Request(id));
        Flow::On
    }

    /// An error under this id came.
    pub(super) fn request_refused(&mut self, map: &[u8], error: &ErrorFrame<'_>) {
        let Some(id) = RequestId::new(error.id) else { return };
        let Some(Request { what, .. }) = self.requests.open.get(&id) else { return };
        let code = ErrorCode(error.code);
        match what {
            Ask::Join(sub) => {
                let sub = *sub;
                if is_temporary(error) {
                    self.put_off_join(id, sub);
                } else {
                    self.requests.open.remove(&id);
                    if let Some(sub) = self.subs.get_mut(sub.get()) {
                        sub.member = None;
                    }
                }
                self.events.push_frame(map, Subject::Request(id));
            }
            Ask::Leave(_) if code == ErrorCode::NOT_PRESENT || code == ErrorCode::NOT_SUBSCRIBED => {
                self.requests.open.remove(&id);
                self.events.push(Event::Answered { id, presence: None });
            }
            Ask::Leave(_) | Ask::Question { .. } | Ask::History(_) => {
                self.requests.open.remove(&id);
                self.events.push_frame(map, Subject::Request(id));
            }
        }
    }

    /// A join was refused for now, or not answered: it is asked again later.
    fn put_off_join(&mut self, id: RequestId, sub: SubId) {
        let member = self.subs.get_mut(sub.get()).and_then(|sub| sub.member.as_mut());
        let (Some(request), Some(member)) = (self.requests.open.get_mut(&id), member) else { return };
        let until = self.now.mono.after_ms(self.config.backoff.delay_ms(member.attempt, &mut self.random));
        member.attempt = member.attempt.saturating_add(1);
        request.state = Stand::Later(until);
        self.requests.wake_at(until);
    }

    /// Looks after requests whose time has come. Returns whether an answer was overdue.
    pub(super) fn attend_requests(&mut self, now: Time) -> bool {
        if self.requests.next.is_none_or(|next| now < next) {
            return false;
        }
        self.requests.next = None;
        let (mut overdue, mut again) = (Vec::new(), Vec::new());
        let Requests { open, next } = &mut self.requests;
        for (id, request) in open {
            let at = match &mut request.state {
                Stand::Due => continue,
                Stand::Sent(deadline) => {
                    if deadline.check(now) == Due::Passed {
                        overdue.push(*id);
                        continue;
                    }
                    deadline.at()
                }
                Stand::Later(until) if *until > now => *until,
                state @ Stand::Later(_) => {
                    *state = Stand::Due;
                    again.push(*id);
                    continue;
                }
            };
            *next = Some(next.map_or(at, |next| next.min(at)));
        }
        self.ops.extend(again.into_iter().map(Op::Ask));
        for &id in &overdue {
            match self.requests.open[&id].what {
                Ask::Join(sub) => self.put_off_join(id, sub),
                _ => drop(self.requests.open.remove(&id)),
            }
            self.fail_request(id, Failure::Timeout);
        }
        !overdue.is_empty()
    }

    /// The connection is lost: questions are asked again on the next one, joins with their subscriptions, and who wanted to
    /// leave has.
    pub(super) fn lose_requests(&mut self) {
        self.requests.next = None;
        let mut left = Vec::new();
        let Self { requests, subs, .. } = self;
        requests.open.retain(|id, request| {
            request.state = Stand::Due;
            match &request.what {
                Ask::Join(sub) => {
                    subs.get(*sub).and_then(|sub| sub.member.as_ref()).is_some_and(|member| !member.told)
                }
                Ask::Leave(_) => {
                    left.push(*id);
                    false
                }
                Ask::Question { .. } | Ask::History(_) => true,
            }
        });
        for id in left {
            self.events.push(Event::Answered { id, presence: None });
        }
    }

    /// The client is closed: what is not answered fails.
    pub(super) fn close_requests(&mut self) {
        self.requests.next = None;
        for (id, Request { what, state }) in core::mem::take(&mut self.requests.open) {
            let sub = if let Ask::Join(sub) = what { self.subs.get_mut(sub.get()) } else { None };
            // What was told to be so comes back with its subscription, should the client connect again.
            let untold = sub.is_none_or(|sub| sub.member.take_if(|member| !member.told).is_some());
            if untold {
                self.fail_request(id, Failure::Closed { sent: matches!(state, Stand::Sent(_)) });
            }
        }
    }

    fn fail_request(&mut self, id: RequestId, failure: Failure<'static>) {
        self.events.push(Event::Failed { subject: Subject::Request(id), failure });
    }
}
