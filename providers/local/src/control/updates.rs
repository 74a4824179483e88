//! How updates and versions come to their end: the image is started, and serves or does not.

use std::sync::Arc;
use std::time::Duration;

use longshore_contract::{FunctionName, State};
use longshore_model::{Content, Outcome, Service};

use crate::control::store::{Done, Store, WriteError};
use crate::router::instances::Instances;

/// How long a disk that takes no writes is left alone before the end of an update is written again.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// Starts what was accepted and says in the state how it went.
#[derive(Clone)]
pub(crate) struct Updates {
    store: Arc<Store>,
    instances: Arc<Instances>,
}

impl Updates {
    /// Over one state and the processes that go with it.
    pub(crate) fn new(store: Arc<Store>, instances: Arc<Instances>) -> Self {
        Self { store, instances }
    }

    /// Takes up what an earlier daemon accepted and did not bring to its end.
    pub(crate) fn take_up(&self) {
        for (name, function) in self.store.service().functions() {
            if function.head.state == State::Pending {
                self.begin_update(name.clone());
            }
            for (number, version) in &function.versions {
                if version.state == State::Pending {
                    self.begin_version(name.clone(), *number);
                }
            }
        }
    }

    /// Starts the head of `name`, whose update is pending, and settles the update. Returns at once.
    pub(crate) fn begin_update(&self, name: FunctionName) {
        let updates = self.clone();
        tokio::spawn(async move {
            let service = updates.store.service();
            let Ok(function) = service.function(&name) else { return };
            let (number, revision) = (function.head_number(), function.head.revision);
            let outcome = updates.start(&name, number, &function.head.content).await;
            tracing::info!(function = %name, number, "update: {}", told(&outcome));
            let settle = move |service: &mut Service| service.settle_update(&name, revision, &outcome);
            updates.settle(settle).await;
        });
    }

    /// Starts version `number` of `name`, which is pending, and settles it. Returns at once.
    pub(crate) fn begin_version(&self, name: FunctionName, number: u64) {
        let updates = self.clone();
        tokio::spawn(async move {
            let service = updates.store.service();
            let Ok(version) = service.version(&name, number) else { return };
            let outcome = updates.start(&name, number, &version.content).await;
            tracing::info!(function = %name, number, "version: {}", told(&outcome));
            let settle = move |service: &mut Service| service.settle_version(&name, number, &outcome);
            updates.settle(settle).await;
        });
    }

    async fn start(&self, name: &FunctionName, number: u64, content: &Content) -> Outcome {
        match self.instances.begin(name, number, content).await {
            Ok(()) => Outcome::Ok,
            Err(why) => Outcome::Failed(why),
        }
    }

    async fn settle(
        &self,
        settle: impl Fn(&mut Service) -> Result<(), longshore_model::Refusal> + Clone + Send + 'static,
    ) {
        loop {
            let settle = settle.clone();
            let settled = self.store.write(move |service, _| {
                settle(service)?;
                Ok(Done { answer: (), write: None })
            });
            match settled.await {
                // Somebody else settled it, or deleted the function meanwhile: there is nothing left to say.
                Ok(()) | Err(WriteError::Refused(_)) => return,
                // Left pending it would be in the way of every further update.
                Err(error @ WriteError::Unkept(_)) => tracing::error!("{error}; trying again"),
            }
            tokio::time::sleep(SETTLE_AGAIN).await;
        }
    }
}

fn told(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Ok => "serves",
        Outcome::Failed(why) => why,
    }
}
