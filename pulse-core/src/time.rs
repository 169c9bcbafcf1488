//! Time as the core knows it: an argument of every turn, never read from a clock.

/// Microseconds on a clock that the host owns; it never runs backwards and starts anywhere.
///
/// ```
/// use pulse_core::Time;
/// assert_eq!(Time(1_500_000).after_ms(500), Time(2_000_000));
/// assert_eq!(Time(2_000_000).ms_since(Time(1_500_000)), 500);
/// assert_eq!(Time(1).ms_since(Time(2_000_000)), 0, "a time that has not come yet is no age");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// This time plus `ms` milliseconds; stays at the end of the range instead of wrapping.
    #[must_use]
    pub fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1000)))
    }

    /// Whole milliseconds from `earlier` to this time, 0 if `earlier` is later.
    #[must_use]
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1000
    }
}

/// The clocks of one turn: `mono` drives timers, `unix_ms` stamps messages and judges expiry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub mono: Time,
    /// Milliseconds since 1970-01-01 UTC; may jump.
    pub unix_ms: u64,
}
