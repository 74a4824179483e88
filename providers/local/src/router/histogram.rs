//! Latencies in bounded memory.

use std::time::Duration;

/// Steps per doubling: a quantile is right to about 9 %.
const STEPS: u64 = 8;

/// From 1 µs to more than a day.
const BUCKETS: usize = 38 * STEPS as usize;

/// How many latencies fell where. Only what was hit takes room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    /// Bucket and count, by bucket.
    hit: Vec<(u16, u32)>,
}

impl Histogram {
    /// Counts one.
    pub(crate) fn add(&mut self, took: Duration) {
        self.put(bucket(took), 1);
    }

    /// Counts all of the other's.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.hit {
            self.put(*bucket, *count);
        }
    }

    fn put(&mut self, bucket: u16, count: u32) {
        match self.hit.binary_search_by_key(&bucket, |(at, _)| *at) {
            Ok(index) => self.hit[index].1 = self.hit[index].1.saturating_add(count),
            Err(index) => self.hit.insert(index, (bucket, count)),
        }
    }

    /// The latency that `percent` of those counted stayed within, in milliseconds; `None` where none was counted.
    pub(crate) fn quantile_ms(&self, percent: u64) -> Option<f64> {
        let total: u64 = self.hit.iter().map(|(_, count)| u64::from(*count)).sum();
        let rank = (total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let (bucket, _) = self.hit.iter().find(|(_, count)| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        Some(middle_micros(*bucket) / 1000.0)
    }
}

fn bucket(took: Duration) -> u16 {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let doublings = u64::from(micros.ilog2());
    // The bits behind the leading one say which step of the doubling it is.
    let step = ((u128::from(micros) * u128::from(STEPS)) >> doublings) as u64 - STEPS;
    let bucket = usize::try_from(doublings * STEPS + step).unwrap_or(usize::MAX).min(BUCKETS - 1);
    u16::try_from(bucket).unwrap_or(u16::MAX)
}

/// The middle of a bucket in microseconds.
fn middle_micros(bucket: u16) -> f64 {
    let (doublings, step) = (u64::from(bucket) / STEPS, u64::from(bucket) % STEPS);
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
        assert_eq!(usize::from(bucket(Duration::MAX)), BUCKETS - 1);
    }

    #[test]
    fn quantiles_come_out_of_what_was_counted() {
        let mut all = Histogram::default();
        assert_eq!(all.quantile_ms(50), None);
        for half in [1..=50, 51..=100] {
            let mut histogram = Histogram::default();
            half.for_each(|millis| histogram.add(Duration::from_millis(millis)));
            all.merge(&histogram);
        }
        let (median, high) = (all.quantile_ms(50).unwrap(), all.quantile_ms(95).unwrap());
        assert!((45.0..56.0).contains(&median), "{median}");
        assert!((85.0..107.0).contains(&high), "{high}");
    }
}
