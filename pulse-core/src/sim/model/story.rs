//! What a client's log says: its requests with their answers, what it received, and when it was in which channel.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::str;

use crate::Dialect;
use crate::wire::{Member, Payload, PresenceAction};

/// One publication, by its publisher's number and its number among what that one published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) client: u32,
    pub(crate) count: u32,
}

impl Mark {
    /// A payload of about `len` bytes that says the mark; also one JSON text.
    pub(crate) fn payload(self, len: usize) -> String {
        let mut text = format!("\"{}.{} ", self.client, self.count);
        let padding = len.saturating_sub(text.len() + 1);
        text.extend(core::iter::repeat_n('x', padding));
        text.push('"');
        text
    }

    pub(super) fn read(payload: Payload<'_>) -> Option<(Self, usize)> {
        let mut bytes = Vec::new();
        payload.append_to(&mut bytes);
        let (mark, rest) = str::from_utf8(&bytes).ok()?.strip_prefix('"')?.split_once(' ')?;
        let (client, count) = mark.split_once('.')?;
        let right = rest.strip_suffix('"')?.bytes().all(|b| b == b'x');
        let mark = Self { client: client.parse().ok()?, count: count.parse().ok()? };
        right.then_some((mark, bytes.len()))
    }
}

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Subscribe,
    Unsubscribe,
    /// Whether the same is sent more than once, by whomever.
    Publish {
        len: usize,
        repeats: bool,
    },
    Presence(PresenceAction),
    History,
    Unavailable,
}

/// One request with an id.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) id: u64,
    pub(super) wish: Wish,
    pub(super) channel: String,
    /// Where in the log, and when.
    pub(super) sent: (usize, u64),
    /// What it shows of itself.
    pub(super) data: Option<Vec<u8>>,
    /// Whether it asks for the list from its beginning.
    pub(super) from_start: bool,
    pub(super) answer: Option<Answer>,
    /// Of a subscription or a question: the position behind which it wants everything.
    pub(super) since: Option<(String, u64)>,
    /// Of a subscription: how many of the newest it wants.
    pub(super) latest: u64,
    /// The position that its ack says.
    pub(super) acked_at: Option<Position>,
    /// Whether it got what it missed, as its ack says.
    pub(super) recovered: Option<bool>,
}

/// Where a publication is in its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) epoch: String,
    pub(super) offset: u64,
}

/// A page of a channel's history.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) channel: String,
    /// When it was asked for.
    pub(super) asked_at: u64,
    pub(super) epoch: String,
    /// The number of the channel's newest publication.
    pub(super) top: u64,
    pub(super) publications: Vec<(u64, Mark)>,
}

/// What a request was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) got: (usize, u64),
    /// The code, if it was refused.
    pub(super) code: Option<u16>,
}

impl Asked {
    /// Whether it may be over before anybody has decided about it: then it is acknowledged all the same.
    pub(super) fn may_have_ended(&self) -> bool {
        self.wish == Wish::Subscribe && self.since.as_ref().is_none_or(|_| self.recovered == Some(false))
    }

    pub(super) fn is_acked(&self) -> bool {
        self.answer.is_some_and(|answer| answer.code.is_none())
    }
}

/// A publication as its publisher knows it.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) mark: Mark,
    pub(super) channel: String,
    pub(super) at: u64,
    pub(super) len: usize,
    pub(super) id: Option<u64>,
}

/// Something that a client was told about who is present.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    pub(super) place: usize,
    pub(super) at: u64,
    pub(super) channel: String,
    pub(super) what: Seen,
    pub(super) clients: u64,
    pub(super) users: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// A page of the list; `whole` if it is all of it.
    Page {
        members: Vec<SeenMember>,
        whole: bool,
    },
    Count,
    Changes(Vec<(PresenceAction, SeenMember)>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SeenMember {
    pub(super) client: String,
    pub(super) user: Option<String>,
    pub(super) data: Option<Vec<u8>>,
}

impl SeenMember {
    pub(super) fn new(member: &Member<'_>) -> Self {
        Self {
            client: member.client.into(),
            user: member.user.map(ToString::to_string),
            data: member.data.map(|data| data.as_bytes().into()),
        }
    }
}

/// One time that a client was in a channel, from the ack to the end.
#[derive(Clone, Debug)]
pub(super) struct Stay {
    pub(super) channel: String,
    /// Where in the log it asked, and when.
    pub(super) asked: (usize, u64),
    /// Where in the log its ack is, and when it came.
    pub(super) acked: (usize, u64),
    /// Where in the log it asked to leave, or the connection ended, and when; never, where it stayed.
    pub(super) left: Option<(usize, u64)>,
    /// When it heard that it has left, or the connection ended: what was published until then may still have been its.
    pub(super) over: Option<u64>,
    /// What it received, with the place in the log.
    pub(super) received: Vec<(usize, Mark)>,
    pub(super) gaps: Vec<Told>,
    /// Where history is kept: what it received and was told to miss, in order, each with the place in the log.
    pub(super) steps: Vec<(usize, Step)>,
}

impl Stay {
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.steps.iter().filter_map(|(_, step)| match step {
            Step::Got { offset, .. } => Some(*offset),
            Step::Gap { .. } => None,
        })
    }
}

/// What happened to a subscriber of a channel that keeps history.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Got { offset: u64, mark: Mark },
    Gap { count: Option<u64>, from: Option<u64> },
}

/// A gap that a client was told of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// Where in the log.
    pub(super) place: usize,
    pub(super) count: Option<u64>,
    /// Whether it was lost between routers that had too much to carry.
    pub(super) overloaded: bool,
    /// Whether history has dropped it before it was sent.
    pub(super) trimmed: bool,
}

#[derive(Debug)]
pub(super) struct Story {
    pub(super) no: usize,
    /// The process that it was connected to, by the order in which they began.
    pub(super) life: usize,
    /// When each entry of the log was written.
    pub(super) times: Vec<u64>,
    pub(super) dialect: Dialect,
    /// In the order in which they were sent.
    pub(super) requests: Vec<Asked>,
    pub(super) published: Vec<Sent>,
    pub(super) stays: Vec<Stay>,
    pub(super) sights: Vec<Sight>,
    pub(super) pages: Vec<Page>,
    /// Its name and its user, as it was told.
    pub(super) name: Option<(String, Option<String>)>,
    /// The token that it sent.
    pub(super) token: Option<String>,
    /// Errors that answer no request: the place, the code.
    pub(super) complaints: Vec<u16>,
    /// Codes with which the server ended a subscription.
    pub(super) put_out: Vec<u16>,
    pub(super) stopped: bool,
    /// It sent something that deserves a complaint.
    pub(super) rude: bool,
    pub(super) garbage: bool,
    /// It said `connect` first.
    pub(super) connected: bool,
    /// It has a token that lets nobody in.
    pub(super) denied: bool,
    /// Where in the log and when it ended, and with which code: `None` in it where nobody gave one.
    pub(super) end: Option<((usize, u64), Option<u16>)>,
    pub(super) hung_up: bool,
    pub(super) broken: bool,
}

impl Story {
    /// Whether it is there to the end of the run.
    pub(super) fn lives(&self) -> bool {
        self.end.is_none() && !self.broken
    }

    /// Whether something that was sent later than this was answered, so that this was taken too.
    pub(super) fn was_taken(&self, sent_at: u64) -> bool {
        self.requests.iter().any(|asked| asked.answer.is_some() && asked.sent.1 > sent_at)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn a_payload_says_its_mark_and_a_changed_one_does_not() {
        let mark = Mark { client: 12, count: 3 };
        for len in [0, 10, 500] {
            let payload = mark.payload(len);
            assert_eq!(Mark::read(payload.as_bytes().into()), Some((mark, payload.len())));
        }
        assert_eq!(Mark::read((&b"\"1.2 xxyxx\""[..]).into()), None);
        assert_eq!(Mark::read((&b"\"1.2 xxxx"[..]).into()), None);
    }
}
