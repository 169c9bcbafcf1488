//! Latencies in buckets of equal relative width: small, exact to about one per cent, and enough for percentiles.

/// Counts of microseconds from 1 to about 10^7, in steps of 1 %.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_us: u64,
}

/// `ln(1.01)`.
const STEP: f64 = 0.009_950_330_853_168_083;

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; 1800], total: 0, max_us: 0 }
    }
}

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, us: u64) {
        let bucket = ((us.max(1) as f64).ln() / STEP) as usize;
        let last = self.counts.len() - 1;
        self.counts[bucket.min(last)] += 1;
        self.total += 1;
        self.max_us = self.max_us.max(us);
    }

    /// How many were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The largest that was counted, in microseconds.
    #[must_use]
    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// Microseconds that `share` (0 to 1) of all latencies do not exceed; 0 if there are none.
    ///
    /// ```
    /// let mut histogram = pulse_bench::Histogram::default();
    /// (1..=1000).for_each(|us| histogram.record(us));
    /// let median = histogram.percentile(0.5);
    /// assert!((490..=510).contains(&median), "{median}");
    /// ```
    #[must_use]
    pub fn percentile(&self, share: f64) -> u64 {
        let mut left = (self.total as f64 * share).ceil() as u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            if left <= *count && left > 0 {
                return ((bucket + 1) as f64 * STEP).exp() as u64;
            }
            left = left.saturating_sub(*count);
        }
        0
    }
}
