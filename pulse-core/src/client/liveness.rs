//! Whether the server is still there, judged by the frames that come and by nothing else.
//!
//! The server asks a silent client once per heartbeat. The client waits a little longer than that before it asks
//! itself, so that on a sound connection only one of the two does.

use crate::Time;

use super::deadline::{Deadline, Due};

/// What has to be done about the silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    Fine,
    /// Send a `ping`.
    Ask,
    /// Nothing came although the server was asked.
    Dead,
}

/// The silence of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Liveness {
    heard: Time,
    /// Milliseconds of silence before the server is asked.
    ask_ms: u64,
    /// Milliseconds that it then has.
    answer_ms: u64,
    asked: Option<Deadline>,
}

/// Milliseconds between which a server's heartbeat is believed.
const HEARTBEAT_MS: (u64, u64) = (1_000, 3_600_000);

impl Liveness {
    /// `heartbeat_ms` is the server's interval, 0 when it has none; then `fallback_ms` counts.
    pub(super) fn new(now: Time, heartbeat_ms: u64, fallback_ms: u32, grace_ms: u32) -> Self {
        let interval = if heartbeat_ms == 0 { u64::from(fallback_ms) } else { heartbeat_ms };
        let interval = interval.clamp(HEARTBEAT_MS.0, HEARTBEAT_MS.1);
        let grace = u64::from(grace_ms);
        Self { heard: now, ask_ms: interval + grace / 5, answer_ms: grace - grace / 5, asked: None }
    }

    pub(super) fn heard(&mut self, now: Time) {
        self.heard = now;
        self.asked = None;
    }

    /// An answer is overdue: the server is asked now rather than later. Returns whether it has to be.
    pub(super) fn suspect(&mut self, now: Time) -> bool {
        let unasked = self.asked.is_none();
        if unasked {
            self.asked = Some(Deadline::after_ms(now, self.answer_ms));
        }
        unasked
    }

    pub(super) fn next(&self) -> Time {
        self.asked.map_or_else(|| self.heard.after_ms(self.ask_ms), |deadline| deadline.at())
    }

    pub(super) fn check(&mut self, now: Time) -> Silence {
        match &mut self.asked {
            None if now < self.heard.after_ms(self.ask_ms) => Silence::Fine,
            None => {
                self.asked = Some(Deadline::after_ms(now, self.answer_ms));
                Silence::Ask
            }
            Some(deadline) => match deadline.check(now) {
                Due::NotYet => Silence::Fine,
                Due::Spared => Silence::Ask,
                Due::Passed => Silence::Dead,
            },
        }
    }
}
