//! Time, so that a test can hold it.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;

/// Tells the time and waits.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now. Never less than an earlier answer.
    fn now(&self) -> Timestamp;
    /// Returns when it is `until` or later. Dropping the future ends the wait.
    async fn sleep_until(&self, until: Timestamp);
}

/// The machine's clock, read once; from then on only time that passes counts. Somebody who sets the clock neither
/// shortens nor lengthens a wait.
#[derive(Debug)]
pub struct SystemClock {
    wall: Timestamp,
    read: Instant,
}

impl SystemClock {
    /// Reads the machine's clock.
    pub fn start() -> Self {
        Self { wall: Timestamp::now(), read: Instant::now() }
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        later(self.wall, self.read.elapsed())
    }

    async fn sleep_until(&self, until: Timestamp) {
        if let Ok(left) = Duration::try_from(until.duration_since(self.now())) {
            tokio::time::sleep(left).await;
        }
    }
}

/// `from` and `pause` together; the end of time where they go beyond it.
pub(super) fn later(from: Timestamp, pause: Duration) -> Timestamp {
    from.checked_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_time_after_the_sleep() {
        let clock = SystemClock::start();
        let until = later(clock.now(), Duration::from_millis(20));
        clock.sleep_until(until).await;
        assert!(clock.now() >= until);
        clock.sleep_until(Timestamp::MIN).await;
    }

    #[test]
    fn time_ends_where_it_ends() {
        assert_eq!(later(Timestamp::MAX, Duration::MAX), Timestamp::MAX);
    }
}
