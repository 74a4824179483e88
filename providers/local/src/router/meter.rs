//! Counting one version's requests: since the daemon started, and for any window of the last hour.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::router::histogram::Histogram;

/// How many seconds are counted together.
const SECONDS: i64 = 5;

/// How many such parts are kept: an hour, and the part that has begun. A part without requests is not kept at all.
const PARTS: i64 = 3600 / SECONDS + 1;

/// The counters of one version.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    total: Counts,
    /// Parts of the last hour by their numbers, in order.
    parts: VecDeque<(i64, Counts)>,
}

/// What was counted in a window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Requests that a process got, or should have got.
    pub(crate) invocations: u64,
    /// Those among them that ended badly.
    pub(crate) errors: u64,
    /// Requests that were turned away because every instance was busy. They are no invocations.
    pub(crate) throttles: u64,
    /// How long the answers of the invocations took.
    pub(crate) latencies: Histogram,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The function answered, with a status below 500 where it answers HTTP.
    Good,
    /// It answered with 500 or more, failed, or did not answer.
    Bad,
}

impl Meter {
    /// Counts a request that ends now, and how long its answer took.
    pub(crate) fn count(&self, end: End, took: Duration) {
        self.at(Timestamp::now(), |counts| {
            counts.invocations += 1;
            counts.errors += u64::from(end == End::Bad);
            counts.latencies.add(took);
        });
    }

    /// Makes an error of a request that was counted as good: its answer broke off.
    pub(crate) fn spoil(&self) {
        self.at(Timestamp::now(), |counts| counts.errors += 1);
    }

    /// Counts a request that was turned away.
    pub(crate) fn throttle(&self) {
        self.at(Timestamp::now(), |counts| counts.throttles += 1);
    }

    /// Everything since the daemon started.
    pub(crate) fn total(&self) -> Counts {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).total.clone()
    }

    /// What was counted from `from` to before `until`, to the five seconds: a part that the window touches is in it. What
    /// is more than an hour ago is forgotten.
    pub(crate) fn window(&self, from: Timestamp, until: Timestamp) -> Counts {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, last) = (part_of(from), part_of(until - Duration::from_nanos(1)));
        let mut counts = Counts::default();
        for (_, part) in kept.parts.iter().filter(|(part, _)| (first..=last).contains(part)) {
            counts.invocations += part.invocations;
            counts.errors += part.errors;
            counts.throttles += part.throttles;
            counts.latencies.merge(&part.latencies);
        }
        counts
    }

    fn at(&self, now: Timestamp, count: impl Fn(&mut Counts)) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        count(&mut kept.total);
        // A clock that was put back does not take the order away.
        let newest = kept.parts.back().map(|(part, _)| *part);
        let part = newest.map_or(part_of(now), |newest| newest.max(part_of(now)));
        if newest != Some(part) {
            kept.parts.push_back((part, Counts::default()));
            while kept.parts.front().is_some_and(|(oldest, _)| *oldest <= part - PARTS) {
                kept.parts.pop_front();
            }
        }
        if let Some((_, counts)) = kept.parts.back_mut() {
            count(counts);
        }
    }
}

fn part_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn count(meter: &Meter, at: i64) {
        meter.at(second(at), |counts| {
            counts.invocations += 1;
            counts.latencies.add(Duration::from_millis(1));
        });
    }

    #[test]
    fn a_window_has_what_was_counted_in_it() {
        let meter = Meter::default();
        for at in [1000, 1004, 1005, 1300, 1301] {
            count(&meter, at);
        }
        meter.at(second(1300), |counts| counts.throttles += 1);
        let window = |from, until| meter.window(second(from), second(until));
        assert_eq!(window(1000, 1005).invocations, 2);
        assert_eq!(window(1000, 1006).invocations, 3);
        assert_eq!(window(1005, 1300).invocations, 1);
        let late = window(1300, 1305);
        assert_eq!((late.invocations, late.throttles), (2, 1));
        assert!(late.latencies.quantile_ms(50).is_some());
        assert_eq!(window(2000, 3000), Counts::default());
        assert_eq!(meter.total().invocations, 5);
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let meter = Meter::default();
        for at in (0..3 * 3600).step_by(5) {
            count(&meter, at);
        }
        let end = 3 * 3600;
        assert_eq!(meter.window(second(end - 3600), second(end)).invocations, 720);
        assert_eq!(meter.window(second(0), second(end)).invocations, 721);
        assert_eq!(meter.kept.lock().unwrap().parts.len(), 721);
        assert_eq!(meter.total().invocations, 3 * 720);
    }

    #[test]
    fn a_clock_that_is_put_back_loses_nothing() {
        let meter = Meter::default();
        count(&meter, 1000);
        count(&meter, 400);
        assert_eq!(meter.window(second(1000), second(1005)).invocations, 2);
    }

    #[test]
    fn errors_and_throttles_are_told_apart() {
        let meter = Meter::default();
        meter.count(End::Good, Duration::from_millis(1));
        meter.count(End::Bad, Duration::from_millis(1));
        meter.spoil();
        meter.throttle();
        let total = meter.total();
        assert_eq!((total.invocations, total.errors, total.throttles), (2, 2, 1));
    }
}
