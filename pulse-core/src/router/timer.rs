//! When a connection is looked at next, in coarse ticks: one number a connection and one pass over all of them when
//! something is due. A hundred thousand deadlines are 400 KB that one pass reads in tens of microseconds.

use alloc::vec::Vec;

use crate::{Time, limits};

const NEVER: u32 = u32::MAX;

/// The next deadline of each connection.
#[derive(Debug)]
pub(crate) struct Deadlines {
    tick_us: u64,
    interval: u32,
    timeout: u32,
    /// The time of the first turn: tick 0 begins here.
    start: Option<Time>,
    tick: u32,
    /// By slot: the tick in which it is due.
    due: Vec<u32>,
    /// No deadline is earlier than this.
    earliest: u32,
}

/// What a connection's silence calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heartbeat {
    /// It was heard lately.
    Fine,
    /// Ask it for a sign of life.
    Ask,
    /// Give it up.
    Silent,
}

impl Deadlines {
    pub(crate) fn new(heartbeat: &limits::Heartbeat) -> Self {
        let limits::Heartbeat { interval_ms, timeout_ms, connect_ms } = *heartbeat;
        let shortest = [interval_ms, timeout_ms.saturating_sub(interval_ms), connect_ms];
        let shortest = shortest.into_iter().filter(|&ms| ms > 0).min().unwrap_or(0);
        // An eighth of the shortest time is exact enough, more often than 100 times a second is never needed.
        let tick_us = u64::from((shortest / 8).clamp(10, 1000)) * 1000;
        let mut deadlines =
            Self { tick_us, interval: 0, timeout: 0, start: None, tick: 0, due: Vec::new(), earliest: NEVER };
        deadlines.interval = deadlines.ticks(interval_ms);
        deadlines.timeout = deadlines.ticks(timeout_ms.max(interval_ms.saturating_add(1)));
        deadlines
    }

    /// The current tick.
    pub(crate) fn tick(&self) -> u32 {
        self.tick
    }

    /// Sets the clock. `true` when a deadline may have come: then ask [`next_due`](Self::next_due) from slot 0 on.
    pub(crate) fn advance(&mut self, now: Time) -> bool {
        let start = *self.start.get_or_insert(now);
        let tick = now.0.saturating_sub(start.0) / self.tick_us;
        self.tick = self.tick.max(u32::try_from(tick).unwrap_or(NEVER - 1));
        let due = self.earliest <= self.tick;
        if due {
            self.earliest = NEVER;
        }
        due
    }

    /// The first slot from `from` on whose deadline has come; it has none any more then.
    pub(crate) fn next_due(&mut self, from: u32) -> Option<u32> {
        for (slot, due) in self.due.iter_mut().enumerate().skip(from as usize) {
            if *due <= self.tick {
                *due = NEVER;
                return Some(slot as u32);
            }
            self.earliest = self.earliest.min(*due);
        }
        None
    }

    /// Looks at a connection again when at least `ms` milliseconds have passed. Replaces its earlier deadline.
    pub(crate) fn set(&mut self, slot: u32, ms: u32) {
        // One more: part of the current tick has passed already.
        self.set_tick(slot, self.tick.saturating_add(self.ticks(ms)).saturating_add(1));
    }

    /// The deadline of a connection that has just begun: a heartbeat's interval, less up to a quarter, by its slot,
    /// so that connections of one moment are not all asked in one moment.
    pub(crate) fn set_first_heartbeat(&mut self, slot: u32) {
        if self.interval > 0 {
            let early = u64::from(self.interval) * u64::from(slot % 64) / 256;
            self.set_tick(slot, self.tick + self.interval - early as u32);
        } else {
            self.clear(slot);
        }
    }

    /// Judges a connection that was last heard in tick `heard`, and sets its next deadline unless it is given up.
    pub(crate) fn heartbeat(&mut self, slot: u32, heard: u32) -> Heartbeat {
        let silent = self.tick.saturating_sub(heard);
        if silent >= self.timeout {
            return Heartbeat::Silent;
        }
        // Asked a quarter early at the most, as the first deadline is.
        if silent >= self.interval - self.interval / 4 {
            self.set_tick(slot, self.tick + self.interval.min(self.timeout - silent));
            return Heartbeat::Ask;
        }
        self.set_tick(slot, heard.saturating_add(self.interval));
        Heartbeat::Fine
    }

    pub(crate) fn clear(&mut self, slot: u32) {
        if let Some(due) = self.due.get_mut(slot as usize) {
            *due = NEVER;
        }
    }

    /// When the earliest deadline may come.
    pub(crate) fn next(&self) -> Option<Time> {
        let start = self.start.unwrap_or_default();
        (self.earliest != NEVER).then(|| Time(start.0 + u64::from(self.earliest) * self.tick_us))
    }

    fn set_tick(&mut self, slot: u32, tick: u32) {
        if slot as usize >= self.due.len() {
            self.due.resize(slot as usize + 1, NEVER);
        }
        self.due[slot as usize] = tick;
        self.earliest = self.earliest.min(tick);
    }

    fn ticks(&self, ms: u32) -> u32 {
        u32::try_from((u64::from(ms) * 1000).div_ceil(self.tick_us))
            .expect("a u32 of milliseconds is fewer ticks")
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn deadlines() -> Deadlines {
        // Ticks of one second.
        let mut deadlines = Deadlines::new(&limits::Heartbeat::default());
        deadlines.advance(at(0));
        deadlines
    }

    fn at(seconds: u64) -> Time {
        Time(7_000_000 + seconds * 1_000_000)
    }

    #[test]
    fn a_deadline_comes_once_and_never_early() {
        let mut d = deadlines();
        d.set(3, 5_000);
        assert_eq!(d.next(), Some(at(6)));
        assert!(!d.advance(at(5)));
        assert!(d.advance(at(6)));
        assert_eq!((d.next_due(0), d.next_due(4)), (Some(3), None));
        assert_eq!(d.next(), None);
        assert!(!d.advance(at(600)));
    }

    #[test]
    fn the_earliest_deadline_that_is_left_comes_next() {
        let mut d = deadlines();
        d.set(0, 1_000);
        d.set(1, 9_000);
        assert!(d.advance(at(2)));
        assert_eq!((d.next_due(0), d.next_due(1)), (Some(0), None));
        assert_eq!(d.next(), Some(at(10)));
    }

    #[test]
    fn a_silent_connection_is_asked_and_then_given_up() {
        let mut d = deadlines();
        d.set_first_heartbeat(0);
        d.advance(at(30));
        assert_eq!(d.next_due(0), Some(0));
        assert_eq!(d.heartbeat(0, 0), Heartbeat::Ask);
        d.advance(at(60));
        assert_eq!(d.next_due(0), Some(0));
        assert_eq!(d.heartbeat(0, 0), Heartbeat::Silent);
    }

    #[test]
    fn a_connection_that_spoke_is_left_alone() {
        let mut d = deadlines();
        d.set_first_heartbeat(0);
        d.advance(at(30));
        assert_eq!(d.next_due(0), Some(0));
        assert_eq!(d.heartbeat(0, 20), Heartbeat::Fine);
        assert_eq!(d.next_due(1), None);
        assert_eq!(d.next(), Some(at(50)));
    }

    #[test]
    fn without_an_interval_nothing_is_ever_due() {
        let mut d = Deadlines::new(&limits::Heartbeat { interval_ms: 0, ..limits::Heartbeat::default() });
        d.set_first_heartbeat(0);
        assert_eq!(d.next(), None);
    }
}
