//! Deadlines of the shard's own: handshakes and closings.
//!
//! Each kind has one constant length, so a queue in order of arrival is in order of time: no timer per connection.
//! An entry whose connection has moved on is passed over when its time comes.

use std::collections::VecDeque;

use pulse_core::Time;

use super::conn::{Key, Phase, Table};

/// How long a peer may take to end its side of the stream after our close frame, and a slow one to take what is left.
const CLOSING_MS: u64 = 5_000;

#[derive(Debug)]
pub(super) struct Deadlines {
    handshake_ms: u64,
    handshakes: VecDeque<(Time, Key)>,
    closings: VecDeque<(Time, Key)>,
}

impl Deadlines {
    pub(super) fn new(handshake_ms: u64) -> Self {
        Self { handshake_ms, handshakes: VecDeque::new(), closings: VecDeque::new() }
    }

    pub(super) fn handshake(&mut self, key: Key, now: Time) {
        self.handshakes.push_back((now.after_ms(self.handshake_ms), key));
    }

    pub(super) fn closing(&mut self, key: Key, now: Time) {
        self.closings.push_back((now.after_ms(CLOSING_MS), key));
    }

    /// The next connection that has overstayed its phase.
    pub(super) fn expired(&mut self, table: &Table, now: Time) -> Option<Key> {
        pop(&mut self.handshakes, Phase::Handshake, table, now)
            .or_else(|| pop(&mut self.closings, Phase::Closing, table, now))
    }

    /// When to ask [`expired`](Self::expired) again.
    pub(super) fn next(&mut self, table: &Table) -> Option<Time> {
        let handshake = front(&mut self.handshakes, Phase::Handshake, table);
        let closing = front(&mut self.closings, Phase::Closing, table);
        handshake.into_iter().chain(closing).min()
    }
}

fn front(queue: &mut VecDeque<(Time, Key)>, phase: Phase, table: &Table) -> Option<Time> {
    while let Some(&(due, key)) = queue.front() {
        if table.get(key).is_some_and(|conn| conn.phase == phase) {
            return Some(due);
        }
        queue.pop_front();
    }
    None
}

fn pop(queue: &mut VecDeque<(Time, Key)>, phase: Phase, table: &Table, now: Time) -> Option<Key> {
    if front(queue, phase, table)? > now {
        return None;
    }
    queue.pop_front().map(|(_, key)| key)
}
