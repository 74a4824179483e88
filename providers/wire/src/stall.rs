//! Telling a slow connection from one that stands still.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

/// What a request waits for, and since when.
#[derive(Clone)]
pub(crate) struct Watch(Arc<Mutex<State>>);

#[derive(Clone, Copy)]
struct State {
    since: Instant,
    waiting: Waiting,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The next piece of the body to go out.
    Sending,
    /// The answer; everything is sent.
    Answer,
}

impl Watch {
    pub(crate) fn begin(waiting: Waiting) -> Self {
        Self(Arc::new(Mutex::new(State { since: Instant::now(), waiting })))
    }

    /// Something moved; from here on `waiting` is waited for.
    pub(crate) fn moved(&self, waiting: Waiting) {
        *self.0.lock().expect("nothing panics while it holds this") =
            State { since: Instant::now(), waiting };
    }

    fn state(&self) -> State {
        *self.0.lock().expect("nothing panics while it holds this")
    }

    /// Runs `work` to its end, or says what was waited for too long: `stall` for the next piece, `answer` for the answer.
    pub(crate) async fn over<T>(
        &self,
        work: impl Future<Output = T>,
        stall: Duration,
        answer: Duration,
    ) -> Result<T, Waiting> {
        let mut work = pin!(work);
        loop {
            let State { since, waiting } = self.state();
            let limit = match waiting {
                Waiting::Sending => stall,
                Waiting::Answer => answer,
            };
            tokio::select! {
                done = &mut work => return Ok(done),
                () = tokio::time::sleep_until(since + limit) => {
                    // Something may have moved while we slept: then there is more time.
                    if self.state().since == since {
                        return Err(waiting);
                    }
                }
            }
        }
    }
}
