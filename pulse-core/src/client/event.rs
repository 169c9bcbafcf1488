//! What a client tells its application, and the queue in which that waits to be taken.
//!
//! Frames that make an event are kept as bytes, one after another in one buffer, and decoded once more when their
//! turn comes: so a publication costs one copy and no allocation.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use crate::Time;
use crate::limits::TURN_BYTES;
use crate::wire::{self, CloseCode, Connected, ErrorCode, Frame, History, Point, Presence, Publish};

use super::{PublishId, RequestId, SubId};

/// One thing that happened, in the order in which it happened. Borrows from the client.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The transport is being dialled.
    Connecting,
    /// The session is open, with what the server said about it.
    Connected(Connected<'a>),
    /// There is no connection; the next attempt is at `retry_at`.
    Waiting {
        /// When the client dials again.
        retry_at: Time,
        /// Why the connection ended, where the server or the transport said so.
        code: Option<CloseCode>,
    },
    /// The end: the client does nothing more until [`connect`](super::Client::connect) is called again.
    Closed {
        /// Why, unless the application closed it.
        code: Option<CloseCode>,
        /// For people.
        reason: &'a str,
    },
    /// The channel is subscribed to; once more after each reconnect.
    Subscribed {
        /// Which.
        sub: SubId,
        /// Whether everything missed follows; `None` when nothing was to be recovered or the channel keeps no
        /// positions. `false` is followed by [`Gap`](Self::Gap).
        recovered: Option<bool>,
    },
    /// The subscription is over; nothing more is told of it.
    Unsubscribed {
        /// Which.
        sub: SubId,
        /// The server's code; `None` when the application ended it.
        code: Option<u16>,
        /// For people.
        reason: &'a str,
    },
    /// A message.
    Publication {
        /// Where it came in.
        sub: SubId,
        /// The message with all its keys.
        publication: Publish<'a>,
    },
    /// A publication was accepted.
    Acked {
        /// Which.
        id: PublishId,
        /// Where it stands, in channels that number their publications.
        position: Option<Point<'a>>,
        /// It was dropped, since the channel keeps as new a [`version`](super::PublishOptions::version) of its key.
        stale: bool,
    },
    /// A request failed. A subscription or a join whose failure is [temporary](Failure::is_temporary) goes on trying; any
    /// other is over, and nothing more is told of it.
    Failed {
        /// Which.
        subject: Subject,
        /// Why.
        failure: Failure<'a>,
    },
    /// Publications that were not delivered and will not be.
    Gap {
        /// Where they are missing.
        sub: SubId,
        /// For people.
        reason: &'a str,
        /// First missing offset, where it is known.
        from: Option<u64>,
        /// Last missing offset, where it is known.
        to: Option<u64>,
        /// How many are missing, where it is known.
        count: Option<u64>,
    },
    /// News of who is in a channel, as they came.
    Presence {
        /// Where.
        sub: SubId,
        /// The frame.
        presence: Presence<'a>,
    },
    /// A request about presence was carried out, with the answer if it was a question.
    Answered {
        /// Which.
        id: RequestId,
        /// The frame.
        presence: Option<Presence<'a>>,
    },
    /// A page of a channel's history.
    History {
        /// The request for it.
        id: RequestId,
        /// The frame.
        page: History<'a>,
    },
    /// The answer to [`ping`](super::Client::ping).
    Pong {
        /// Milliseconds that it took.
        after_ms: u64,
    },
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A subscription.
    Subscription(SubId),
    /// A publication.
    Publication(PublishId),
    /// A request about presence or history.
    Request(RequestId),
    /// The server answered no request in particular; a silent publication may have been meant.
    None,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure<'a> {
    /// The server said no.
    Refused {
        /// From the code table.
        code: ErrorCode,
        /// For people.
        message: &'a str,
        /// Whether the same request may succeed later.
        temporary: bool,
    },
    /// The server did not answer in time. A publication may or may not have been delivered.
    Timeout,
    /// The connection was lost before the answer came. The publication may or may not have been delivered.
    Lost,
    /// The client was closed before the publication was answered; one that was never sent was not delivered.
    Closed {
        /// Whether it was sent, so that it may have been delivered.
        sent: bool,
    },
    /// The application has asked for something else since: to join with other data, to leave, or to end the subscription.
    Superseded,
}

impl Failure<'_> {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Refused { temporary, .. } => *temporary,
            Self::Timeout | Self::Lost => true,
            Self::Closed { .. } | Self::Superseded => false,
        }
    }
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { code, message, .. } => {
                write!(f, "the server refused with error {}: {message}", code.0)
            }
            Self::Timeout => f.write_str("the server did not answer in time: unknown whether it was done"),
            Self::Lost => f.write_str(
                "the connection was lost before the answer came: unknown whether it was delivered",
            ),
            Self::Closed { sent: true } => {
                f.write_str("the client was closed before the answer came: unknown whether it was delivered")
            }
            Self::Closed { sent: false } => f.write_str("the client was closed before it was sent"),
            Self::Superseded => f.write_str("the application has asked for something else since"),
        }
    }
}

/// Events that wait for the application.
#[derive(Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<Queued>,
    /// Maps of frames, in the order of `queue`.
    frames: Vec<u8>,
    /// Bytes at the front of `frames` whose events were taken.
    taken: usize,
}

#[derive(Debug)]
enum Queued {
    Plain(Event<'static>),
    /// The next `len` bytes of `frames` are a frame.
    Frame {
        len: usize,
        subject: Subject,
    },
    /// So they are, and it is an ack which says that what is missing stays so.
    Unrecovered {
        len: usize,
        sub: SubId,
        missing: Missing,
    },
}

/// The offsets that a subscriber did not get, where both ends are of one epoch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Missing {
    pub(super) from: Option<u64>,
    pub(super) to: Option<u64>,
}

/// Events that a turn should hold at most.
const TURN_EVENTS: usize = 4_096;

impl Events {
    pub(super) fn push(&mut self, event: Event<'static>) {
        self.queue.push_back(Queued::Plain(event));
    }

    /// Queues a frame that is an event. `map` was decoded once.
    pub(super) fn push_frame(&mut self, map: &[u8], subject: Subject) {
        self.frames.extend_from_slice(map);
        self.queue.push_back(Queued::Frame { len: map.len(), subject });
    }

    pub(super) fn push_unrecovered(&mut self, map: &[u8], sub: SubId, missing: Missing) {
        self.frames.extend_from_slice(map);
        self.queue.push_back(Queued::Unrecovered { len: map.len(), sub, missing });
    }

    pub(super) fn is_full(&self) -> bool {
        self.frames.len() - self.taken >= TURN_BYTES || self.queue.len() >= TURN_EVENTS
    }

    pub(super) fn poll(&mut self) -> Option<Event<'_>> {
        self.compact();
        match self.queue.pop_front()? {
            Queued::Plain(event) => Some(event),
            Queued::Frame { len, subject } => Some(event(&self.take(len), subject)),
            Queued::Unrecovered { len, sub, missing } => {
                let Frame::Ack(ack) = self.take(len) else { unreachable!("an ack was queued") };
                let Missing { from, to } = missing;
                Some(Event::Gap { sub, reason: ack.reason.unwrap_or_default(), from, to, count: None })
            }
        }
    }

    fn take(&mut self, len: usize) -> Frame<'_> {
        let start = self.taken;
        self.taken += len;
        wire::decode(&self.frames[start..start + len]).expect("a frame was decoded before it was queued")
    }

    /// Gives back what taken events held. Moving the rest down only when it is the smaller half keeps this linear in
    /// what passes through.
    fn compact(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > TURN_EVENTS {
            self.queue = VecDeque::new();
        }
        if self.taken * 2 < self.frames.len() {
            return;
        }
        self.frames.drain(..self.taken);
        self.taken = 0;
        if self.frames.is_empty() && self.frames.capacity() > TURN_BYTES {
            self.frames = Vec::new();
        }
    }
}

/// The event that a frame is.
fn event<'a>(frame: &Frame<'a>, subject: Subject) -> Event<'a> {
    match (*frame, subject) {
        (Frame::Publish(publication), Subject::Subscription(sub)) => Event::Publication { sub, publication },
        (Frame::Ack(ack), Subject::Publication(id)) => {
            let position = ack.epoch.zip(ack.offset).map(|(epoch, offset)| Point { epoch, offset });
            Event::Acked { id, position, stale: ack.stale == Some(true) }
        }
        (Frame::Error(error), subject) => {
            let (code, temporary) = (ErrorCode(error.code), super::receive::is_temporary(&error));
            Event::Failed { subject, failure: Failure::Refused { code, message: error.message, temporary } }
        }
        (Frame::Presence(presence), Subject::Subscription(sub)) => Event::Presence { sub, presence },
        (Frame::Presence(presence), Subject::Request(id)) => Event::Answered { id, presence: Some(presence) },
        (Frame::History(page), Subject::Request(id)) => Event::History { id, page },
        (Frame::Gap(gap), Subject::Subscription(sub)) => {
            let wire::Gap { reason, from, to, count, .. } = gap;
            Event::Gap { sub, reason, from, to, count }
        }
        (Frame::Unsubscribed(over), Subject::Subscription(sub)) => {
            Event::Unsubscribed { sub, code: Some(over.code), reason: over.reason }
        }
        (Frame::Connected(connected), _) => Event::Connected(connected),
        (Frame::Disconnect(end), _) => Event::Closed { code: Some(CloseCode(end.code)), reason: end.reason },
        (other, subject) => unreachable!("{other:?} about {subject:?} is no event and was not queued as one"),
    }
}
