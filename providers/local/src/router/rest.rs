//! How long a version that keeps dying is left alone.

use std::time::{Duration, Instant};

/// A process that lived this long was no failed start.
const SETTLED: Duration = Duration::from_secs(10);

/// The longest rest between two starts of a version that keeps dying.
const LONGEST: Duration = Duration::from_secs(30);

/// How one version fared lately.
#[derive(Debug, Default)]
pub(crate) struct Fortune {
    /// How often in a row it failed to start, or died soon after.
    failures: u32,
    /// When and why it failed last.
    failed: Option<(Instant, String)>,
}

impl Fortune {
    /// It failed to start.
    pub(crate) fn fail(&mut self, why: String) {
        self.failures = self.failures.saturating_add(1);
        self.failed = Some((Instant::now(), why));
    }

    /// A process of it ended by itself, which had lived for `lived`.
    pub(crate) fn ended(&mut self, lived: Duration, why: String) {
        if lived < SETTLED {
            self.fail(why);
        } else {
            *self = Self::default();
        }
    }

    /// How long it is still left alone, and why; `None` when it may be started.
    pub(crate) fn rest(&self, now: Instant) -> Option<(Duration, &str)> {
        let (at, why) = self.failed.as_ref()?;
        let left = rest_after(self.failures).checked_sub(now.duration_since(*at))?;
        (!left.is_zero()).then_some((left, why.as_str()))
    }
}

/// How long a version is left alone after failing `failures` times in a row. The first time it is started again at once.
fn rest_after(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        _ => (Duration::from_millis(200) * 2_u32.saturating_pow((failures - 2).min(16))).min(LONGEST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_keeps_dying_is_left_alone_for_longer_and_longer() {
        let rests: Vec<u64> =
            (0..12).map(|failures| rest_after(failures).as_millis().try_into().unwrap()).collect();
        assert_eq!(rests, [0, 0, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(rest_after(u32::MAX), LONGEST);
    }

    #[test]
    fn a_rest_comes_to_its_end() {
        let mut fortune = Fortune::default();
        assert!(fortune.rest(Instant::now()).is_none());
        fortune.fail("exited with 1".to_owned());
        assert!(fortune.rest(Instant::now()).is_none(), "once is no habit");
        fortune.ended(SETTLED - Duration::from_millis(1), "exited with 2".to_owned());
        let (left, why) = fortune.rest(Instant::now()).unwrap();
        assert!(left <= Duration::from_millis(200) && why == "exited with 2");
        assert!(fortune.rest(Instant::now() + Duration::from_millis(201)).is_none());
    }

    #[test]
    fn a_process_that_served_for_a_while_was_no_failed_start() {
        let mut fortune = Fortune::default();
        fortune.fail("exited with 1".to_owned());
        fortune.ended(SETTLED, "exited with 1".to_owned());
        fortune.fail("exited with 1".to_owned());
        assert!(fortune.rest(Instant::now()).is_none(), "it begins anew");
    }
}
