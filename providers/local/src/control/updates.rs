//! How updates and versions come to their end: the image is started, and serves or does not.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use longshore_contract::{FunctionName, State};
use longshore_model::{Content, Outcome, Refusal, Service};

use crate::control::store::{Done, Store, WriteError, Written};
use crate::router::instances::Instances;

/// How long a disk that takes no writes is left alone before the end of an update is written again.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// What an accepted write leaves to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Nothing: the write is all there is to it.
    Nothing,
    /// The head of this function, whose update is pending.
    Update(FunctionName),
    /// This version, which is pending.
    Version(FunctionName, u64),
}

/// Carries writes out, starts what was accepted and says in the state how it went.
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

    /// Carries `operation` out as [`Store::write`] does, and begins what the write leaves to be started. Once this was
    /// polled, both happen or neither does, whether or not anybody waits for the answer, and also where it is
    /// [`WriteError::Unsure`].
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut Service, Timestamp) -> Result<Done<(T, Begin)>, Refusal> + Send + 'static,
    ) -> Result<T, WriteError> {
        let updates = self.clone();
        // In a task of its own: the request of a client that hangs up is dropped wherever it waits, and a write that
        // nobody begins would stay pending, in the way of every further update.
        let task = tokio::spawn(async move {
            let Written { answer: (answer, begin), durable } = updates.store.write(operation).await?;
            updates.begin(begin);
            Written { answer, durable }.durably()
        });
        match task.await {
            Ok(result) => result,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    fn begin(&self, begin: Begin) {
        match begin {
            Begin::Nothing => {}
            Begin::Update(name) => self.begin_update(name),
            Begin::Version(name, number) => self.begin_version(name, number),
        }
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
    fn begin_update(&self, name: FunctionName) {
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
    fn begin_version(&self, name: FunctionName, number: u64) {
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

    async fn settle(&self, settle: impl Fn(&mut Service) -> Result<(), Refusal> + Clone + Send + 'static) {
        loop {
            let settle = settle.clone();
            let settled = self.store.write(move |service, _| {
                settle(service)?;
                Ok(Done { answer: (), write: None })
            });
            match settled.await.and_then(Written::durably) {
                // Somebody else settled it, or deleted the function meanwhile: there is nothing left to say.
                Ok(()) | Err(WriteError::Refused(_)) => return,
                // After a power cut it is pending again, and taken up.
                Err(error @ WriteError::Unsure(_)) => {
                    tracing::warn!("{error}");
                    return;
                }
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

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use longshore_model::{Configuration, Create, Image, Publish};

    use super::*;
    use crate::registry::Registry;
    use crate::runner::Runner;
    use crate::state::StateDirectory;
    use crate::testing::eventually;

    struct Ground {
        store: Arc<Store>,
        updates: Updates,
        _folder: tempfile::TempDir,
    }

    impl Ground {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let directory = StateDirectory::new(folder.path().to_owned());
            directory.make().unwrap();
            let registry = Registry::open(&directory.registry()).unwrap();
            let runner = Runner::open(&directory.roots(), registry.clone()).await.unwrap();
            let store = Arc::new(Store::open(&directory).unwrap());
            let instances = Arc::new(Instances::new(directory, Arc::clone(&store), registry, runner));
            let updates = Updates::new(Arc::clone(&store), instances);
            Self { store, updates, _folder: folder }
        }
    }

    fn shop() -> FunctionName {
        "shop".parse().unwrap()
    }

    /// A function of an image that nobody pushed: its update begins and fails.
    fn create(service: &mut Service, at: Timestamp) -> Result<Done<((), Begin)>, Refusal> {
        let digest = format!("sha256:{}", "1".repeat(64)).parse().unwrap();
        let image = Image { location: "shop".to_owned(), digest };
        let configuration = Configuration::default();
        service.create(Create { function: shop(), image, configuration, intent: None }, at)?;
        Ok(Done { answer: ((), Begin::Update(shop())), write: None })
    }

    #[tokio::test]
    async fn an_update_that_nobody_waits_for_comes_to_its_end() {
        let ground = Ground::new().await;
        // Polled once and dropped, as the server does when the client hangs up.
        assert!(ground.updates.write(create).now_or_never().is_none());
        let settled = || {
            let service = ground.store.service();
            service.function(&shop()).is_ok_and(|shop| matches!(shop.head.state, State::Failed { .. }))
        };
        eventually("the update is settled", settled).await;
    }

    #[tokio::test]
    async fn a_version_that_nobody_waits_for_comes_to_its_end() {
        let ground = Ground::new().await;
        let made = ground.store.write(|service, at| {
            create(service, at)?;
            let revision = service.function(&shop())?.head.revision;
            service.settle_update(&shop(), revision, &Outcome::Ok)?;
            Ok(Done { answer: (), write: None })
        });
        made.await.unwrap().durably().unwrap();
        let publish = |service: &mut Service, at| {
            let publish = Publish {
                function: shop(),
                description: String::new(),
                intent: None,
                dedup: longshore_contract::PublishDedup::ByIntent,
                revision: None,
            };
            let number = service.publish(publish, at)?.number();
            Ok(Done { answer: ((), Begin::Version(shop(), number)), write: None })
        };
        assert!(ground.updates.write(publish).now_or_never().is_none());
        let settled = || {
            let service = ground.store.service();
            service.version(&shop(), 1).is_ok_and(|version| matches!(version.state, State::Failed { .. }))
        };
        eventually("the version is settled", settled).await;
    }
}
