//! How long to wait before asking again, and when to stop asking. Pure.

use std::time::Duration;

/// The first pause after an answer that allows another try; every further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// How much pausing one write or one look may cost before the run is held.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long was waited for one thing so far.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    next: Option<Duration>,
    spent: Duration,
}

impl Pauses {
    /// Whether there was a pause already.
    pub(super) fn begun(&self) -> bool {
        self.next.is_some()
    }

    /// The next pause, at least `asked` long where the service asks for one; `None` when patience is at its end.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let own = self.next.unwrap_or(FIRST_PAUSE);
        self.next = Some((own * 2).min(LONGEST_PAUSE));
        let pause = own.max(asked.unwrap_or_default());
        self.spent = self.spent.saturating_add(pause);
        (self.spent <= PATIENCE).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_come_to_an_end() {
        let mut pauses = Pauses::default();
        let taken: Vec<Duration> = std::iter::from_fn(|| pauses.next(None)).collect();
        assert_eq!(taken[..3], [500, 1_000, 2_000].map(Duration::from_millis));
        assert_eq!(taken.iter().max(), Some(&LONGEST_PAUSE));
        assert!(taken.iter().sum::<Duration>() <= PATIENCE);
        assert_eq!(pauses.next(None), None);
    }

    #[test]
    fn a_service_may_ask_for_longer_and_not_for_ever() {
        let mut pauses = Pauses::default();
        assert_eq!(pauses.next(Some(Duration::from_secs(60))), Some(Duration::from_secs(60)));
        assert_eq!(pauses.next(Some(Duration::from_secs(u64::MAX))), None);
    }
}
