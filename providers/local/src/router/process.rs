//! One process of a version, and how requests are handed to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::Notify;

use crate::router::upstream::Connections;
use crate::runner::Instance;
use crate::runtime_api::{Desk, Serving};

/// A process that serves.
pub(crate) struct Process {
    pub(crate) instance: Instance,
    pub(crate) started: Instant,
    pub(crate) speaks: Speaks,
    /// Requests under way.
    busy: AtomicUsize,
    left: Notify,
    /// Answers for as long as the process is there.
    _serving: Serving,
}

/// How a process gets its requests.
pub(crate) enum Speaks {
    /// It answers HTTP.
    Http(Connections),
    /// It asks for events.
    Events(Arc<Desk>),
}

/// The two ways to get requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// HTTP, many at once.
    Http,
    /// Events, one at a time.
    Events,
}

impl Process {
    pub(crate) fn new(instance: Instance, speaks: Speaks, serving: Serving) -> Self {
        let (started, busy, left) = (Instant::now(), AtomicUsize::new(0), Notify::new());
        Self { instance, started, speaks, busy, left, _serving: serving }
    }

    pub(crate) fn way(&self) -> Way {
        match self.speaks {
            Speaks::Http(_) => Way::Http,
            Speaks::Events(_) => Way::Events,
        }
    }

    /// Requests under way.
    pub(crate) fn busy(&self) -> usize {
        self.busy.load(Ordering::SeqCst)
    }

    pub(super) fn enter(&self) {
        self.busy.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn leave(&self) {
        if self.busy.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.left.notify_waiters();
        }
    }

    /// Waits until no request is under way. Whoever waits sees to it that no further one comes.
    pub(crate) async fn drained(&self) {
        loop {
            let left = self.left.notified();
            if self.busy() == 0 {
                return;
            }
            left.await;
        }
    }
}
