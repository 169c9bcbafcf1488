//! How long a client stays away before it tries again. The delays are drawn at random over the whole window ("full
//! jitter"), so that the clients of a server that fell over do not come back in waves.

use crate::random::Random;

/// Delays between attempts, for connections and for subscriptions that were refused for now.
///
/// Attempt number `n`, counted from 0, is drawn evenly from `floor_ms` to the smaller of `first_ms` x 2^n and
/// `ceiling_ms`. The floor keeps a client from spinning when the draw is near 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Milliseconds, at least; default 50.
    pub floor_ms: u32,
    /// Milliseconds, the window of the first attempt; default 500.
    pub first_ms: u32,
    /// Milliseconds, the widest window; default 20,000.
    pub ceiling_ms: u32,
    /// Milliseconds that a connection has to last for the count of attempts to start over; default 5,000.
    pub stable_ms: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { floor_ms: 50, first_ms: 500, ceiling_ms: 20_000, stable_ms: 5_000 }
    }
}

impl Backoff {
    pub(super) fn delay_ms(&self, attempt: u32, random: &mut Random) -> u64 {
        let window = u64::from(self.first_ms) << attempt.min(32);
        let window = window.min(u64::from(self.ceiling_ms)) as u32;
        let above_floor = window.saturating_sub(self.floor_ms);
        u64::from(self.floor_ms) + u64::from(random.below(above_floor.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The smallest and the largest of many delays.
    fn range(backoff: Backoff, attempt: u32) -> (u64, u64) {
        let mut random = Random::new(Seed(7));
        let delays = (0..20_000).map(|_| backoff.delay_ms(attempt, &mut random));
        delays.fold((u64::MAX, 0), |(low, high), delay| (low.min(delay), high.max(delay)))
    }

    #[test]
    fn delays_fill_a_window_that_doubles_up_to_the_ceiling() {
        for (attempt, window) in
            [(0, 500), (1, 1_000), (3, 4_000), (6, 20_000), (40, 20_000), (u32::MAX, 20_000)]
        {
            let (low, high) = range(Backoff::default(), attempt);
            assert!((50..=50 + window / 100).contains(&low), "attempt {attempt}: {low}");
            assert!((window - window / 100..=window).contains(&high), "attempt {attempt}: {high}");
        }
    }

    #[test]
    fn a_window_under_the_floor_is_the_floor() {
        let backoff = Backoff { floor_ms: 700, ..Backoff::default() };
        assert_eq!(range(backoff, 0), (700, 700));
    }
}
