//! Requests that come again under the same `Idempotency-Key`: what was answered the first time is answered again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::StatusCode;

/// For this long an answer is kept.
const KEPT: Duration = Duration::from_secs(300);

/// Answers kept at a time; the oldest give way.
const MAX_ANSWERS: usize = 10_000;

/// Bytes of answers kept at a time; the oldest give way.
const MAX_BYTES: usize = 16 << 20;

/// The digest of a request.
pub(super) type Digest = [u8; 20];

/// An answer that can be given again: the body is of the format of the request, which is part of its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// What a key is to its request.
#[derive(Debug)]
pub(super) enum Seen<'a> {
    /// Nothing yet: give the answer to this.
    First(First<'a>),
    /// The same request was answered already.
    Again(Answer),
    /// The same request is being answered.
    UnderWay,
    /// Another request has this key.
    Other,
}

/// Requests by their keys, bounded in number, bytes and time.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Box<str>, Entry>,
    /// Answered ones, in the order in which they were.
    answered: VecDeque<(Instant, Box<str>)>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    digest: Digest,
    answer: Option<Answer>,
}

/// A request that is the first of its key. Dropped without an answer, it was never seen.
#[derive(Debug)]
pub(super) struct First<'a> {
    repeats: &'a Repeats,
    key: Box<str>,
}

impl Repeats {
    /// Looks a key up, and notes it if it is new.
    pub(super) fn see(&self, key: &str, digest: Digest, now: Instant) -> Seen<'_> {
        let mut table = self.table();
        table.forget(now);
        match table.entries.get(key) {
            None => {
                table.entries.insert(key.into(), Entry { digest, answer: None });
                Seen::First(First { repeats: self, key: key.into() })
            }
            Some(entry) if entry.digest != digest => Seen::Other,
            Some(Entry { answer: Some(answer), .. }) => Seen::Again(answer.clone()),
            Some(_) => Seen::UnderWay,
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No code that can panic runs under the lock.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl First<'_> {
    /// Keeps the answer.
    pub(super) fn answer(self, answer: &Answer, now: Instant) {
        let mut table = self.repeats.table();
        if let Some(entry) = table.entries.get_mut(&self.key) {
            entry.answer = Some(answer.clone());
            table.bytes += answer.body.len();
            table.answered.push_back((now, self.key.clone()));
            table.forget(now);
        }
    }
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        let mut table = self.repeats.table();
        if table.entries.get(&self.key).is_some_and(|entry| entry.answer.is_none()) {
            table.entries.remove(&self.key);
        }
    }
}

impl Table {
    /// Drops what is too old or too much.
    fn forget(&mut self, now: Instant) {
        while let Some((since, _)) = self.answered.front() {
            let expired = now.saturating_duration_since(*since) >= KEPT;
            if !expired && self.answered.len() <= MAX_ANSWERS && self.bytes <= MAX_BYTES {
                return;
            }
            let Some((_, key)) = self.answered.pop_front() else { return };
            let entry = self.entries.remove(&key);
            self.bytes -= entry.and_then(|entry| entry.answer).map_or(0, |answer| answer.body.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        Answer { status: StatusCode::OK, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    #[track_caller]
    fn first<'a>(repeats: &'a Repeats, key: &str, now: Instant) -> First<'a> {
        match repeats.see(key, [1; 20], now) {
            Seen::First(first) => first,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_is_given_again_for_five_minutes() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let one = first(&repeats, "k", now);
        assert!(matches!(repeats.see("k", [1; 20], now), Seen::UnderWay));
        one.answer(&answer("a"), now);
        assert!(matches!(repeats.see("k", [1; 20], now), Seen::Again(again) if again == answer("a")));
        assert!(matches!(repeats.see("k", [2; 20], now), Seen::Other));
        drop(first(&repeats, "k", now + KEPT));
    }

    #[test]
    fn a_request_that_was_not_answered_was_never_seen() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        drop(first(&repeats, "k", now));
        drop(first(&repeats, "k", now));
    }

    #[test]
    fn the_oldest_answers_give_way() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        for n in 0..=MAX_ANSWERS {
            first(&repeats, &n.to_string(), now).answer(&answer("a"), now);
        }
        drop(first(&repeats, "0", now));
        let large = Answer { status: StatusCode::OK, body: vec![0; MAX_BYTES].into() };
        first(&repeats, "large", now).answer(&large, now);
        assert!(matches!(repeats.see("large", [1; 20], now), Seen::Again(_)));
        let table = repeats.table();
        assert_eq!((table.entries.len(), table.bytes), (1, MAX_BYTES));
    }
}
