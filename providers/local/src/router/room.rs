//! Whether a request that finds every instance busy waits, has one more started, or is turned away.

/// What a version may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Instances at a time.
    pub(crate) instances: usize,
    /// Requests in one instance at a time.
    pub(crate) concurrency: usize,
}

/// How many instances a version may have where its settings do not say.
const INSTANCES: usize = 10;

/// How many requests an instance that answers HTTP takes at once where the settings do not say.
const CONCURRENCY: usize = 1000;

/// How many requests may wait for an instance to come free.
const QUEUE: usize = 100;

impl Room {
    /// The room that settings state.
    pub(crate) fn of(instances: Option<u32>, concurrency: Option<u32>) -> Self {
        let stated = |number: Option<u32>, otherwise| {
            number.and_then(|number| usize::try_from(number).ok()).unwrap_or(otherwise)
        };
        Self { instances: stated(instances, INSTANCES), concurrency: stated(concurrency, CONCURRENCY) }
    }
}

/// A version at the moment of a request that no instance has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowd {
    /// Instances that serve.
    pub(crate) serving: usize,
    /// Instances that are being started.
    pub(crate) starting: usize,
    /// Requests that wait, this one among them.
    pub(crate) waiting: usize,
    /// How many requests an instance takes; `None` until the first has shown what it is.
    pub(crate) each: Option<usize>,
}

/// What becomes of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// An instance is started.
    Start,
    /// It waits for an instance that is being started already.
    Wait,
    /// It waits, for a short while, until an instance comes free.
    Queue,
    /// It is turned away: too many wait.
    TurnAway,
}

/// Decides. Nobody pays for a start that is under way for others and has room for them too.
pub(crate) fn next(room: Room, crowd: Crowd) -> Next {
    let coming = crowd.each.map_or(usize::MAX, |each| each.saturating_mul(crowd.starting));
    if crowd.starting > 0 && coming >= crowd.waiting {
        return Next::Wait;
    }
    if crowd.serving + crowd.starting < room.instances {
        return Next::Start;
    }
    if crowd.waiting > QUEUE + coming.min(QUEUE) {
        return Next::TurnAway;
    }
    if crowd.starting > 0 { Next::Wait } else { Next::Queue }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { instances: 3, concurrency: 2 };

    fn of(serving: usize, starting: usize, waiting: usize, each: Option<usize>) -> Next {
        next(ROOM, Crowd { serving, starting, waiting, each })
    }

    #[test]
    fn a_start_under_way_is_waited_for_as_long_as_it_has_room() {
        assert_eq!(of(0, 0, 1, None), Next::Start);
        for waiting in [1, 2, 50] {
            assert_eq!(of(0, 1, waiting, None), Next::Wait, "nobody knows yet how many it takes");
        }
        assert_eq!(of(0, 1, 1, Some(1)), Next::Wait);
        assert_eq!(of(0, 1, 2, Some(1)), Next::Start);
        assert_eq!(of(0, 1, 2, Some(2)), Next::Wait);
        assert_eq!(of(0, 1, 3, Some(2)), Next::Start);
    }

    #[test]
    fn there_are_never_more_instances_than_the_limit() {
        assert_eq!(of(2, 0, 1, Some(1)), Next::Start);
        assert_eq!(of(2, 1, 5, Some(1)), Next::Wait);
        assert_eq!(of(3, 0, 1, Some(1)), Next::Queue);
    }

    #[test]
    fn a_long_queue_takes_nobody_any_more() {
        assert_eq!(of(3, 0, QUEUE, Some(1)), Next::Queue);
        assert_eq!(of(3, 0, QUEUE + 1, Some(1)), Next::TurnAway);
        assert_eq!(of(2, 1, QUEUE + 1, Some(1)), Next::Wait);
        assert_eq!(of(2, 1, QUEUE + 2, Some(1)), Next::TurnAway);
    }

    #[test]
    fn what_is_not_stated_has_a_limit_all_the_same() {
        assert_eq!(Room::of(None, None), Room { instances: INSTANCES, concurrency: CONCURRENCY });
        assert_eq!(Room::of(Some(2), Some(5)), Room { instances: 2, concurrency: 5 });
    }
}
