//! The clocks of a shard, as the core wants them.

use std::time::{Duration, Instant, SystemTime};

use pulse_core::{Now, Time};

/// Counts from the moment it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { mono: self.time(Instant::now()), unix_ms: unix.as_millis() as u64 }
    }

    /// An instant as the core counts time; 0 for one before the clock was made.
    pub(crate) fn time(&self, instant: Instant) -> Time {
        Time(instant.saturating_duration_since(self.start).as_micros() as u64)
    }

    pub(crate) fn instant(&self, time: Time) -> Instant {
        // A timer that is centuries away need not be exact.
        self.start + Duration::from_micros(time.0.min(u64::from(u32::MAX) * 1_000_000))
    }
}
