//! Deadlines that a host may sleep through. Laptops sleep and browsers slow down the timers of pages in the
//! background; what the peer sent meanwhile may still lie unread in the host, so the first look after a sleep must
//! not be the verdict.

use crate::Time;

/// How late a look has to be, in milliseconds, to count as after a sleep.
const LATE_MS: u64 = 1_000;

/// Milliseconds that the peer gets after a sleep.
pub(super) const CHANCE_MS: u64 = 5_000;

/// A moment by which the peer has to do something. It is put off once when the look at it comes late.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    at: Time,
    /// Invariant: never put off twice, so that a host which is always late still gets a verdict.
    spared: bool,
}

/// What a look at a deadline finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    NotYet,
    /// It has passed while the host slept, and was put off.
    Spared,
    Passed,
}

impl Deadline {
    pub(super) fn after_ms(now: Time, ms: u64) -> Self {
        Self { at: now.after_ms(ms), spared: false }
    }

    pub(super) fn at(&self) -> Time {
        self.at
    }

    pub(super) fn check(&mut self, now: Time) -> Due {
        if now < self.at {
            Due::NotYet
        } else if !self.spared && now >= self.at.after_ms(LATE_MS) {
            *self = Self { at: now.after_ms(CHANCE_MS), spared: true };
            Due::Spared
        } else {
            Due::Passed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn ms(ms: u64) -> Time {
        Time(ms * 1_000)
    }

    #[test]
    fn a_look_in_time_is_the_verdict() {
        let mut deadline = Deadline::after_ms(ms(0), 10_000);
        assert_eq!(deadline.check(ms(9_999)), Due::NotYet);
        assert_eq!(deadline.check(ms(10_999)), Due::Passed);
    }

    #[test]
    fn a_late_look_gives_one_chance_and_no_second_one() {
        let mut deadline = Deadline::after_ms(ms(0), 10_000);
        assert_eq!(deadline.check(ms(3_600_000)), Due::Spared);
        assert_eq!(deadline.check(ms(3_604_999)), Due::NotYet);
        assert_eq!(deadline.check(ms(7_200_000)), Due::Passed);
    }
}
