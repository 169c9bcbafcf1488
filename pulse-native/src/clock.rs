//! The clocks of a shard, as the core wants them.

use std::time::{Duration, Instant, SystemTime};

use pulse_core::{Now, Time};

/// What it shows at first: more than all of history is kept for, so that what was published before has a time, too.
const START: Duration = Duration::from_secs(30 * 24 * 60 * 60);

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

    /// An instant as the core counts time; no earlier than the clock was made.
    pub(crate) fn time(&self, instant: Instant) -> Time {
        Time((START + instant.saturating_duration_since(self.start)).as_micros() as u64)
    }

    pub(crate) fn instant(&self, time: Time) -> Instant {
        // A timer that is centuries away need not be exact.
        self.start + Duration::from_micros(time.0.min(u64::from(u32::MAX) * 1_000_000)).saturating_sub(START)
    }
}
