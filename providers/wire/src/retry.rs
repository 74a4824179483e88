//! How often and after which pauses a request is sent again: a value, and a pure function of it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// How patiently something is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// How often it is tried altogether.
    pub attempts: u32,
    /// The pause behind the first try; it doubles from try to try.
    pub first: Duration,
    /// The longest pause that is made of our own accord.
    pub longest: Duration,
    /// How long all of it may take from the first try to the beginning of the last.
    pub budget: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_millis(250),
            longest: Duration::from_secs(10),
            budget: Duration::from_secs(120),
        }
    }
}

impl Backoff {
    /// The pause before the next try, when `tries` have been made in `elapsed` and the peer asked for `asked`. `None` when
    /// it is enough: the tries are used up, or the next would begin behind the budget. Without a wish of the peer the
    /// pause is between half and all of its step, so that many clients do not come back at once.
    pub fn pause(&self, tries: u32, elapsed: Duration, asked: Option<Duration>) -> Option<Duration> {
        self.pause_at(tries, elapsed, asked, roll())
    }

    fn pause_at(
        &self,
        tries: u32,
        elapsed: Duration,
        asked: Option<Duration>,
        roll: u32,
    ) -> Option<Duration> {
        if tries >= self.attempts {
            return None;
        }
        let doubled = self.first.saturating_mul(1 << (tries.saturating_sub(1)).min(20)).min(self.longest);
        let jittered = doubled / 2 + (doubled / 2).mul_f64(f64::from(roll) / f64::from(u32::MAX));
        let pause = asked.map_or(jittered, |asked| asked.max(jittered));
        (elapsed.saturating_add(pause) <= self.budget).then_some(pause)
    }
}

/// A number nobody can guess; good enough to spread retries.
fn roll() -> u32 {
    (RandomState::new().build_hasher().finish() >> 32) as u32
}

/// Reads `Retry-After`: seconds, or a date.
pub(crate) fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Backoff = Backoff {
        attempts: 4,
        first: Duration::from_millis(100),
        longest: Duration::from_millis(300),
        budget: Duration::from_secs(10),
    };

    fn millis(pause: Option<Duration>) -> Option<u128> {
        pause.map(|pause| pause.as_millis())
    }

    #[test]
    fn a_pause_doubles_up_to_the_longest_and_ends_with_the_last_try() {
        let pauses =
            |roll| (1..=4).map(move |tries| millis(PATIENCE.pause_at(tries, Duration::ZERO, None, roll)));
        assert!(pauses(u32::MAX).eq([Some(100), Some(200), Some(300), None]));
        assert!(pauses(0).eq([Some(50), Some(100), Some(150), None]));
    }

    #[test]
    fn the_peers_wish_is_obeyed_and_one_behind_the_budget_ends_it() {
        let pause = |asked, elapsed| {
            millis(PATIENCE.pause_at(1, Duration::from_secs(elapsed), Some(Duration::from_secs(asked)), 0))
        };
        assert_eq!(pause(7, 0), Some(7_000));
        assert_eq!(pause(7, 4), None);
        assert_eq!(pause(0, 0), Some(50));
        assert_eq!(pause(u64::MAX, 0), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: jiff::Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(37)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:48:37 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }
}
