//! Publications on their way: those that wait for a connection and those that wait for their answer, in one order
//! and under one bound of bytes.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::num::NonZeroU64;

use crate::Time;
use crate::wire::Format;

use super::deadline::{Deadline, Due};

/// One publication of a client, and the `id` of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishId(pub(super) NonZeroU64);

impl PublishId {
    /// The id as a number from 1 to 2^53 - 1.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

/// How a message is published; the default asks for an answer and does not send twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishOptions<'a> {
    /// Name of the event, for the application.
    pub event: Option<&'a str>,
    /// What the payload holds.
    pub format: Format,
    /// What the message is about: a newer one with the same key replaces it.
    pub key: Option<&'a str>,
    /// How new it is among those with its `key`: one that is not newer than what the channel's history keeps of the key is
    /// dropped. Needs `key`, and a namespace with history.
    pub version: Option<u64>,
    /// Names the message itself, so that a server which sees it twice delivers it once. Implies `retry`.
    pub idempotency_key: Option<&'a str>,
    /// Small facts beside the payload.
    pub tags: &'a [(&'a str, &'a str)],
    /// Send it until it is answered, on however many connections, under an idempotency key that the client makes up
    /// where none is given. It does not time out. A server that does not act on those keys may deliver it twice.
    pub retry: bool,
    /// Ask for no answer: neither an ack nor the loss of the message is told once it is sent. Not with `retry`, which
    /// wins.
    pub silent: bool,
}

/// Why a message was not taken for publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// The client is closed.
    Closed,
    /// Not 1 to 256 bytes of printable ASCII, or it starts with `$`.
    InvalidChannel,
    /// Too much waits to be sent or answered, or the message alone is more than the queue holds.
    QueueFull {
        /// Bytes that the queue holds, from [`ClientConfig::outbox_bytes`](super::ClientConfig::outbox_bytes).
        limit_bytes: usize,
    },
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the client is closed: connect it before publishing"),
            Self::InvalidChannel => f.write_str(super::INVALID_CHANNEL),
            Self::QueueFull { limit_bytes } => {
                write!(
                    f,
                    "publications that wait exceed {limit_bytes} bytes: wait until some are acknowledged"
                )
            }
        }
    }
}

impl Error for PublishError {}

/// What becomes of a publication whose connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// Forgotten as soon as it is sent.
    Silent,
    /// Sent at most once.
    Once,
    /// Sent until it is answered.
    Retry,
}

#[derive(Debug)]
struct Entry {
    id: PublishId,
    care: Care,
    /// Whether it was ever sent, on this connection or an earlier one.
    tried: bool,
    /// Empty once it is sent and will not be sent again.
    frame: Vec<u8>,
    /// Of the answer; without meaning before it is sent.
    deadline: Deadline,
}

impl Entry {
    fn bytes(&self) -> usize {
        ENTRY_BYTES + self.frame.len()
    }
}

/// Counted for each entry beside its frame.
const ENTRY_BYTES: usize = 64;

const _: () = assert!(size_of::<Entry>() <= ENTRY_BYTES);

/// All publications that are not settled, in the order of their ids.
#[derive(Debug)]
pub(super) struct Outbox {
    entries: VecDeque<Entry>,
    /// How many, from the front, were sent on this connection.
    sent: usize,
    /// No later than the first deadline of those.
    next: Option<Time>,
    bytes: usize,
    pub(super) limit: usize,
}

impl Outbox {
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: VecDeque::new(), sent: 0, next: None, bytes: 0, limit }
    }

    pub(super) fn push(&mut self, id: PublishId, care: Care, frame: Vec<u8>) -> Result<(), PublishError> {
        let bytes = self.bytes + ENTRY_BYTES + frame.len();
        if bytes > self.limit {
            return Err(PublishError::QueueFull { limit_bytes: self.limit });
        }
        self.bytes = bytes;
        self.entries.push_back(Entry {
            id,
            care,
            tried: false,
            frame,
            deadline: Deadline::after_ms(Time(0), 0),
        });
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn unsent(&self) -> usize {
        self.entries.len() - self.sent
    }

    /// The frame to be sent next.
    pub(super) fn next_frame(&self) -> Option<&[u8]> {
        self.entries.get(self.sent).map(|entry| &*entry.frame)
    }

    /// The frame of [`next_frame`](Self::next_frame) is sent.
    pub(super) fn mark_sent(&mut self, deadline: Deadline) {
        let Some(entry) = self.entries.get_mut(self.sent) else { return };
        (entry.deadline, entry.tried) = (deadline, true);
        if entry.care != Care::Silent {
            let at = deadline.at();
            self.next = Some(self.next.map_or(at, |next| next.min(at)));
        }
        match entry.care {
            Care::Silent => drop(self.remove(self.sent)),
            Care::Once => {
                self.bytes -= core::mem::take(&mut entry.frame).len();
                self.sent += 1;
            }
            Care::Retry => self.sent += 1,
        }
    }

    /// Forgets a publication that was answered; `None` if it is none that was sent.
    pub(super) fn settle(&mut self, id: u64) -> Option<PublishId> {
        // Answers come in the order of requests, nearly always.
        let first = self.entries.front().is_some_and(|entry| entry.id.get() == id);
        let at = if first { Ok(0) } else { self.entries.binary_search_by_key(&id, |entry| entry.id.get()) };
        let at = at.ok().filter(|at| *at < self.sent)?;
        self.sent -= 1;
        self.remove(at)
    }

    /// When [`expire`](Self::expire) is to be called; a little too early costs one look.
    pub(super) fn next(&self) -> Option<Time> {
        self.next
    }

    /// Tells and forgets what was not answered in time. What is to be sent until it is answered stays, with `again` as
    /// its new deadline. Returns whether an answer was overdue at all.
    pub(super) fn expire(&mut self, now: Time, again: Deadline, mut told: impl FnMut(PublishId)) -> bool {
        if self.next.is_none_or(|next| now < next) {
            return false;
        }
        let (mut next, mut overdue) = (None::<Time>, false);
        self.retain_sent(|entry| {
            let passed = entry.deadline.check(now) == Due::Passed;
            overdue |= passed;
            if passed && entry.care == Care::Once {
                told(entry.id);
                return false;
            }
            if passed {
                entry.deadline = again;
            }
            let at = entry.deadline.at();
            next = Some(next.map_or(at, |next| next.min(at)));
            true
        });
        self.next = next;
        overdue
    }

    /// The connection is lost: tells and forgets what was sent and may not be sent again. The rest becomes unsent.
    pub(super) fn lose(&mut self, mut told: impl FnMut(PublishId)) {
        self.retain_sent(|entry| {
            let again = entry.care == Care::Retry;
            if !again {
                told(entry.id);
            }
            again
        });
        (self.sent, self.next) = (0, None);
    }

    fn retain_sent(&mut self, mut keep: impl FnMut(&mut Entry) -> bool) {
        let Self { entries, sent, bytes, .. } = self;
        let mut left = core::mem::take(sent);
        entries.retain_mut(|entry| {
            if left == 0 {
                return true;
            }
            left -= 1;
            let kept = keep(entry);
            if kept {
                *sent += 1;
            } else {
                *bytes -= entry.bytes();
            }
            kept
        });
    }

    /// Takes out the oldest, and whether it was ever sent.
    pub(super) fn pop(&mut self) -> Option<(PublishId, bool)> {
        let tried = self.entries.front()?.tried;
        self.sent = self.sent.saturating_sub(1);
        self.remove(0).map(|id| (id, tried))
    }

    fn remove(&mut self, at: usize) -> Option<PublishId> {
        let entry = self.entries.remove(at)?;
        self.bytes -= entry.bytes();
        if self.entries.is_empty() {
            (self.entries, self.next) = (VecDeque::new(), None);
        }
        Some(entry.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn id(id: u64) -> PublishId {
        PublishId(NonZeroU64::new(id).expect("ids of tests are not 0"))
    }

    fn outbox(cares: &[Care]) -> Outbox {
        let mut outbox = Outbox::new(10_000);
        for (at, care) in cares.iter().enumerate() {
            outbox.push(id(at as u64 + 1), *care, vec![at as u8; 100]).unwrap();
        }
        outbox
    }

    fn send(outbox: &mut Outbox) -> Vec<u8> {
        let mut sent = vec![];
        while let Some(frame) = outbox.next_frame() {
            sent.push(frame[0]);
            outbox.mark_sent(Deadline::after_ms(Time(0), 10_000));
        }
        sent
    }

    #[test]
    fn what_is_settled_costs_nothing_any_more() {
        let mut outbox = outbox(&[Care::Once, Care::Silent, Care::Retry, Care::Once]);
        assert_eq!(outbox.bytes(), 4 * (ENTRY_BYTES + 100));
        assert_eq!(outbox.settle(1), None, "an answer to what was not sent is none");
        assert_eq!(send(&mut outbox), [0, 1, 2, 3]);
        assert_eq!(outbox.bytes(), 3 * ENTRY_BYTES + 100);
        assert_eq!([4, 3, 1, 1].map(|n| outbox.settle(n)), [Some(id(4)), Some(id(3)), Some(id(1)), None]);
        assert_eq!((outbox.bytes(), outbox.unsent()), (0, 0));
    }

    #[test]
    fn a_loss_takes_what_may_not_be_repeated_and_keeps_the_order_of_the_rest() {
        let mut outbox = outbox(&[Care::Retry, Care::Once, Care::Retry]);
        send(&mut outbox);
        outbox.push(id(9), Care::Once, vec![9; 100]).unwrap();
        let mut lost = vec![];
        outbox.lose(|id| lost.push(id));
        assert_eq!(lost, [id(2)]);
        assert_eq!(send(&mut outbox), [0, 2, 9]);
    }

    /// What expires at `now`, and whether anything was overdue.
    fn expired(outbox: &mut Outbox, now: Time) -> (Vec<PublishId>, bool) {
        let mut expired = vec![];
        let overdue = outbox.expire(now, Deadline::after_ms(now, 10_000), |id| expired.push(id));
        (expired, overdue)
    }

    #[test]
    fn after_a_sleep_all_get_their_chance_at_once() {
        let mut outbox = outbox(&[Care::Once; 3]);
        send(&mut outbox);
        let hour = Time(3_600_000_000);
        assert_eq!(expired(&mut outbox, hour), (vec![], false));
        let later = hour.after_ms(super::super::deadline::CHANCE_MS);
        assert_eq!(outbox.next(), Some(later));
        assert_eq!(expired(&mut outbox, later), (vec![id(1), id(2), id(3)], true));
        assert_eq!((outbox.next(), outbox.bytes()), (None, 0));
    }

    #[test]
    fn what_is_to_be_sent_until_it_is_answered_does_not_expire() {
        let mut outbox = outbox(&[Care::Retry, Care::Once]);
        send(&mut outbox);
        let overdue = outbox.next().unwrap();
        assert_eq!(expired(&mut outbox, overdue), (vec![id(2)], true));
        assert_eq!(outbox.next(), Some(overdue.after_ms(10_000)));
        assert_eq!(outbox.settle(1), Some(id(1)));
    }
}
