//! When to look at a scan again, and when to stop looking. Pure.

use std::time::Duration;

use jiff::Timestamp;

/// The shortest pause between two looks, whatever the scanner says.
const SHORTEST: Duration = Duration::from_millis(50);

/// The longest: a scan that ends early is noticed all the same.
const LONGEST: Duration = Duration::from_secs(60);

/// What to do about a scan that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Look again then.
    Look(Timestamp),
    /// It had its time.
    GiveUp,
}

/// What to do about a scan that was started at `since`, may take `deadline`, and was not over at `now`, when its scanner
/// asked for a look after `pause`. The last look is at the deadline itself, so that a long pause gives nothing away; and
/// because whoever asks has looked just now, a run that is resumed late has looked at least once.
pub fn next(since: Timestamp, deadline: Duration, now: Timestamp, pause: Duration) -> Next {
    let later = |from: Timestamp, by: Duration| from.checked_add(by).unwrap_or(Timestamp::MAX);
    let end = later(since, deadline);
    if now >= end {
        return Next::GiveUp;
    }
    Next::Look(later(now, pause.clamp(SHORTEST, LONGEST)).min(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_look_comes_after_the_pause_and_never_behind_the_deadline() {
        let (minute, second) = (Duration::from_secs(60), Duration::from_secs(1));
        assert_eq!(next(at(0), minute, at(10), second), Next::Look(at(11)));
        assert_eq!(next(at(0), minute, at(50), Duration::from_secs(3600)), Next::Look(at(60)));
        assert_eq!(next(at(0), Duration::MAX, at(0), Duration::MAX), Next::Look(at(60)));
        assert!(matches!(next(at(0), minute, at(10), Duration::ZERO), Next::Look(then) if then > at(10)));
    }

    #[test]
    fn a_scan_that_never_ends_is_given_up() {
        let (mut now, mut looks) = (at(0), 0);
        while let Next::Look(then) = next(at(0), Duration::from_secs(600), now, Duration::from_secs(7)) {
            assert!(then > now);
            (now, looks) = (then, looks + 1);
            assert!(looks < 1000);
        }
        assert_eq!(now, at(600), "the last look is at the deadline");
    }
}
