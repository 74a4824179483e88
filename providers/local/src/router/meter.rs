//! Counting one version's requests in bounded memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets per doubling: a quantile is right to about 9 %.
const STEPS: u64 = 8;

/// From 1 µs to more than a day.
const BUCKETS: usize = 38 * STEPS as usize;

/// Counters of one version.
pub(crate) struct Meter {
    invocations: AtomicU64,
    errors: AtomicU64,
    latencies: [AtomicU64; BUCKETS],
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            invocations: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            latencies: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The function answered with a status below 500.
    Good,
    /// It answered with 500 or more, or not at all.
    Bad,
}

impl Meter {
    /// Counts a request and how long its answer took to begin.
    pub(crate) fn count(&self, end: End, took: Duration) {
        self.invocations.fetch_add(1, Ordering::Relaxed);
        self.latencies[bucket(took)].fetch_add(1, Ordering::Relaxed);
        if end == End::Bad {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes an error of a request that was counted as good: its answer broke off.
    pub(crate) fn spoil(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests counted.
    pub(crate) fn invocations(&self) -> u64 {
        self.invocations.load(Ordering::Relaxed)
    }

    /// Errors among them.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// The latency that `percent` of the requests stayed within, in milliseconds; `None` without requests.
    pub(crate) fn quantile_ms(&self, percent: u64) -> Option<f64> {
        let counts: Vec<u64> = self.latencies.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let rank = (total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(middle_micros(found) / 1000.0)
    }
}

fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let doublings = u64::from(micros.ilog2());
    // The bits behind the leading one say which step of the doubling it is.
    let step = ((u128::from(micros) * u128::from(STEPS)) >> doublings) as u64 - STEPS;
    usize::try_from(doublings * STEPS + step).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The middle of a bucket in microseconds.
fn middle_micros(bucket: usize) -> f64 {
    let (doublings, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    let low = (1_u64 << doublings) as f64;
    low * (1.0 + (step as f64 + 0.5) / STEPS as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_falls_into_the_bucket_around_it() {
        for micros in [1, 2, 3, 7, 999, 1000, 1001, 65_535, 65_536, 30_000_000, 900_000_000] {
            let middle = middle_micros(bucket(Duration::from_micros(micros)));
            let off = (middle - micros as f64).abs() / micros as f64;
            assert!(
                off <= 0.5_f64.max(1.0 / micros as f64) && (micros < 8 || off < 0.13),
                "{micros}: {middle}"
            );
        }
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_come_out_of_what_was_counted() {
        let meter = Meter::default();
        assert_eq!(meter.quantile_ms(50), None);
        for millis in 1..=100 {
            meter.count(if millis > 98 { End::Bad } else { End::Good }, Duration::from_millis(millis));
        }
        let (median, high) = (meter.quantile_ms(50).unwrap(), meter.quantile_ms(95).unwrap());
        assert!((45.0..56.0).contains(&median), "{median}");
        assert!((85.0..107.0).contains(&high), "{high}");
        assert_eq!((meter.invocations(), meter.errors()), (100, 2));
    }
}
