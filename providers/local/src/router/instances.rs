//! The processes that serve: started when they are needed, started again when they die, stopped when nobody needs them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use jiff::Timestamp;
use longshore_contract::{FunctionName, State};
use longshore_model::{Content, Service, VersionRecord};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::api::named;
use crate::control::store::Store;
use crate::control::wire::{Settings, TrafficView};
use crate::registry::Registry;
use crate::router::environment::{self, Identity};
use crate::router::error::RouterError;
use crate::router::meter::Counts;
use crate::router::process::{Process, Way};
use crate::router::room::Room;
use crate::router::slot::{Lease, Routed, Slot, Starting};
use crate::router::start::{self, Expected, millis_since};
use crate::runner::{Launch, Port, Runner};
use crate::state::StateDirectory;

/// How long a process has to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// How long the requests of an update that was never published may take until the next one takes its place.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a process is kept without a request.
pub(crate) const IDLE: Duration = Duration::from_secs(60);

/// How many versions are started side by side when a daemon starts.
const WAKING: usize = 4;

/// All processes of a cloud.
pub(crate) struct Instances {
    directory: StateDirectory,
    store: Arc<Store>,
    registry: Registry,
    runner: Runner,
    slots: Mutex<HashMap<(FunctionName, u64), Arc<Slot>>>,
    /// Starts under way.
    starts: TaskTracker,
    stopping: TaskTracker,
    /// Nothing is started any more.
    ended: CancellationToken,
}

impl Instances {
    /// No processes yet.
    pub(crate) fn new(
        directory: StateDirectory,
        store: Arc<Store>,
        registry: Registry,
        runner: Runner,
    ) -> Self {
        let (starts, stopping) = (TaskTracker::new(), TaskTracker::new());
        let (slots, ended) = (Mutex::default(), CancellationToken::new());
        Self { directory, store, registry, runner, slots, starts, stopping, ended }
    }

    /// Starts version `number` anew with `content` and waits until it serves. A process that ran under that number is
    /// stopped first, when its requests are through: it was an update that was never published.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        function: &FunctionName,
        number: u64,
        content: &Content,
    ) -> Result<(), String> {
        let slot = self.slot(function, number);
        let (starting, served) = slot.renew().await;
        for old in served {
            let _ = tokio::time::timeout(DRAIN, old.drained()).await;
            old.instance.stop(GRACE).await;
        }
        forget_log(&slot.log);
        let started = self.start(starting, content).await;
        started.map_err(|why| format!("{why} (its log is {})", slot.log.display()))
    }

    /// Starts what aliases send requests to, a few at a time, so that the first request after a daemon's start finds it
    /// running. What does not start is told in the log, and to the first request.
    pub(crate) async fn wake(self: &Arc<Self>) {
        let service = self.store.service();
        let mut routed = Vec::new();
        for (name, function) in service.functions() {
            let serve = |(number, version): &(&u64, &VersionRecord)| {
                version.state == State::Active && function.is_routed(**number)
            };
            let numbers = function.versions.iter().filter(serve).map(|(number, _)| *number);
            routed.extend(numbers.map(|number| self.slot(name, number)));
        }
        let waking = futures::stream::iter(routed).for_each_concurrent(WAKING, async |slot| {
            drop(self.lease(&slot).await);
        });
        waking.await;
    }

    /// Whether version `number` has a process.
    pub(crate) fn runs(&self, function: &FunctionName, number: u64) -> bool {
        self.slot(function, number).serving() > 0
    }

    /// A process of the version with room for a request, started if need be.
    pub(crate) async fn lease(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<Lease, RouterError> {
        slot.lease(|starting| {
            // In a task of its own: a client that goes away must not break off a start that others wait for.
            let instances = Arc::clone(self);
            tokio::spawn(async move {
                let (service, slot) = (instances.store.service(), starting.slot());
                match content(&service, &slot.function, slot.number) {
                    Some(content) => drop(instances.start(starting, content).await),
                    None => {
                        let why = format!("there is no version {} of {}", slot.number, slot.function);
                        starting.came(Err(why));
                    }
                }
            });
        })
        .await
    }

    /// How the version gets its requests. Where nobody knows yet, a process is started to see.
    pub(crate) async fn way(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<Way, RouterError> {
        match slot.way() {
            Some(way) => Ok(way),
            None => Ok(self.lease(slot).await?.process.way()),
        }
    }

    /// Starts a process where `starting` has it counted.
    async fn start(self: &Arc<Self>, starting: Starting, content: &Content) -> Result<(), String> {
        let _under_way = self.starts.token();
        let (begun, slot) = (Instant::now(), Arc::clone(starting.slot()));
        let launched = tokio::select! {
            biased;
            () = self.ended.cancelled() => Err("the cloud is being ended".to_owned()),
            launched = self.launch(&slot, content) => launched,
        };
        match launched {
            Ok((process, room)) => {
                let process = Arc::new(process);
                let (pid, way) = (process.instance.pid(), process.way());
                tracing::info!(
                    function = %slot.function, number = slot.number, pid, ?way, ms = millis_since(begun), "started"
                );
                starting.came(Ok((Arc::clone(&process), room)));
                tokio::spawn(watch(slot, process));
                Ok(())
            }
            Err(why) => {
                let why = one_line(&why);
                tracing::warn!(function = %slot.function, number = slot.number, "does not start: {why}");
                starting.came(Err(why.clone()));
                Err(why)
            }
        }
    }

    async fn launch(&self, slot: &Slot, content: &Content) -> Result<(Process, Room), String> {
        let settings = Settings::kept(&content.configuration)
            .map_err(|error| format!("its settings cannot be understood: {error}"))?;
        let Content { image, .. } = content;
        let image =
            self.registry.image(&image.location, &image.digest).await.map_err(|error| error.to_string())?;
        let version = named(slot.number);
        let identity = Identity { function: slot.function.as_str(), version: version.as_str() };
        let environment = environment::environment(&settings, &identity, &image.environment);
        let secrets = environment::secrets(&settings, &image.environment);
        let port = settings.port.or_else(|| settings.kind?.port());
        let launch = Launch {
            image,
            label: format!("{}/{}", slot.function, slot.number),
            command: settings.command,
            environment,
            secrets,
            port: port.map_or(Port::Free, Port::Fixed),
            memory: settings.memory,
            runtime: settings.runtime.unwrap_or_default(),
            log: slot.log.clone(),
            patience: Runner::PATIENCE,
        };
        let expected = Expected { kind: settings.kind, health: settings.health };
        let process = start::start(&self.runner, &launch, &expected).await?;
        Ok((process, Room::of(settings.instances, settings.concurrency)))
    }

    /// Stops processes that nobody has used for `patience` and that no alias may send the next request to. Returns at once.
    pub(crate) fn stop_idle(&self, patience: Duration) {
        let service = self.store.service();
        for slot in self.all() {
            let function = service.function(&slot.function);
            let routed = match function.is_ok_and(|function| function.is_routed(slot.number)) {
                true => Routed::Yes,
                false => Routed::No,
            };
            for process in slot.idle(routed, patience) {
                tracing::info!(function = %slot.function, number = slot.number, "stopped: nobody uses it");
                self.stop(process);
            }
        }
    }

    /// Stops a process that was taken out of its slot. Returns at once.
    fn stop(&self, process: Arc<Process>) {
        self.stopping.spawn(async move { process.instance.stop(GRACE).await });
    }

    /// Kills a process that did not come to its end in its time; the next request gets another. Returns at once.
    pub(crate) fn kill(&self, lease: &Lease) {
        lease.slot.retire(&lease.process);
        let process = Arc::clone(&lease.process);
        self.stopping.spawn(async move { process.instance.stop(Duration::ZERO).await });
    }

    /// Stops every process and waits until all are gone. None is started any more, and starts under way are broken off.
    pub(crate) async fn stop_all(&self) {
        self.ended.cancel();
        self.starts.close();
        self.starts.wait().await;
        for slot in self.all() {
            slot.all().into_iter().for_each(|process| self.stop(process));
        }
        self.stopping.close();
        self.stopping.wait().await;
        self.runner.end().await;
    }

    /// What was counted, a row per version that was called or runs, in the order of names and numbers.
    pub(crate) fn traffic(&self) -> Vec<TrafficView> {
        let mut slots = self.all();
        slots.sort_by(|a, b| (&a.function, a.number).cmp(&(&b.function, b.number)));
        slots
            .iter()
            .map(|slot| {
                let total = slot.meter.total();
                TrafficView {
                    function: slot.function.clone(),
                    version: named(slot.number),
                    instances: u32::try_from(slot.serving()).unwrap_or(u32::MAX),
                    invocations: total.invocations,
                    errors: total.errors,
                    throttles: total.throttles,
                    p50_ms: total.latencies.quantile_ms(50),
                    p95_ms: total.latencies.quantile_ms(95),
                }
            })
            .filter(|row| row.instances > 0 || row.invocations > 0 || row.throttles > 0)
            .collect()
    }

    /// What version `number` did between the two; `None` where it was never asked for.
    pub(crate) fn measured(
        &self,
        function: &FunctionName,
        number: u64,
        from: Timestamp,
        until: Timestamp,
    ) -> Option<Counts> {
        let key = (function.clone(), number);
        let slot = self.slots.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()?;
        Some(slot.meter.window(from, until))
    }

    fn all(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The place of version `number`.
    pub(crate) fn slot(&self, function: &FunctionName, number: u64) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry((function.clone(), number)).or_insert_with(|| {
            let log = self.directory.version_log(function, &named(number));
            Arc::new(Slot::new(function.clone(), number, log))
        });
        Arc::clone(slot)
    }
}

/// Empties the log of an update that was never published: nothing in it belongs to the one that comes now. The file
/// stays, because somebody may still hold it open to write to it.
fn forget_log(log: &Path) {
    let emptied = std::fs::OpenOptions::new().write(true).truncate(true).open(log);
    match emptied {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!("{} still has the lines of an earlier update: {error}", log.display());
        }
        _ => {}
    }
}

/// The reason for a failed start, in which the last lines of a log may stand on lines of their own, on one line.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" | ")
}

/// What version `number` runs; for the number that the head would get, the head.
pub(crate) fn content<'a>(service: &'a Service, name: &FunctionName, number: u64) -> Option<&'a Content> {
    let function = service.function(name).ok()?;
    match function.versions.get(&number) {
        Some(version) => Some(&version.content),
        None => (function.head_number() == number).then(|| function.head.settled())?,
    }
}

/// Waits for a process to end and takes it out of its slot.
async fn watch(slot: Arc<Slot>, process: Arc<Process>) {
    let ended = process.instance.exited().await;
    slot.lost(&process, &ended.to_string());
}

#[cfg(test)]
mod tests {
    use longshore_contract::{PublishDedup, Routing};
    use longshore_model::{Configuration, Create, Guard, Image, Outcome, Publish, PutAlias};

    use super::*;
    use crate::control::store::Done;
    use crate::testing::{self, Served, eventually};

    struct Ground {
        store: Arc<Store>,
        instances: Arc<Instances>,
        served: Served,
    }

    impl Ground {
        async fn new() -> Self {
            let served = Served::new().await;
            let directory = StateDirectory::new(served.directory.path().join("cloud"));
            directory.make().unwrap();
            let registry = served.registry.clone();
            let runner = Runner::open(&directory.roots(), registry.clone()).await.unwrap();
            let store = Arc::new(Store::open(&directory).unwrap());
            let instances = Arc::new(Instances::new(directory, Arc::clone(&store), registry, runner));
            Self { store, instances, served }
        }

        /// The function `shop` with two versions of the sample, the first of them under an alias.
        async fn shop(&self) {
            let digest = self.served.push("shop", &testing::Image::function(&["serve"])).await;
            let image = Image { location: "shop".to_owned(), digest };
            let made = self.store.write(move |service, at| {
                let configuration = Configuration::default();
                service.create(Create { function: shop(), image, configuration, intent: None }, at)?;
                let revision = service.function(&shop())?.head.revision;
                service.settle_update(&shop(), revision, &Outcome::Ok)?;
                for number in [1, 2] {
                    let publish = Publish {
                        function: shop(),
                        description: number.to_string(),
                        intent: Some(longshore_contract::Intent {
                            run: longshore_contract::RunId::generate(),
                            step: number,
                        }),
                        dedup: PublishDedup::ByIntent,
                        revision: None,
                    };
                    let number = service.publish(publish, at)?.number();
                    service.settle_version(&shop(), number, &Outcome::Ok)?;
                }
                let (alias, routing) = ("live".parse().unwrap(), Routing::All(named(1)));
                let (description, guard) = (String::new(), Guard::Absent);
                service.put_alias(PutAlias { function: shop(), alias, routing, description, guard }, at)?;
                Ok(Done { answer: (), write: None })
            });
            made.await.unwrap().durably().unwrap();
        }

        fn running(&self) -> [usize; 2] {
            [1, 2].map(|number| self.instances.slot(&shop(), number).serving())
        }
    }

    fn shop() -> FunctionName {
        "shop".parse().unwrap()
    }

    fn is_there(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    #[tokio::test]
    async fn a_process_that_nobody_uses_is_stopped_unless_an_alias_may_send_it_the_next_request() {
        let ground = Ground::new().await;
        ground.shop().await;
        ground.instances.wake().await;
        assert_eq!(ground.running(), [1, 0], "what an alias names is started, and nothing else");
        let second = ground.instances.slot(&shop(), 2);
        let lease = ground.instances.lease(&second).await.unwrap();
        let pid = lease.process.instance.pid();
        ground.instances.stop_idle(Duration::ZERO);
        assert_eq!(ground.running(), [1, 1], "a request is under way in it");
        drop(lease);
        ground.instances.stop_idle(IDLE);
        assert_eq!(ground.running(), [1, 1], "it was used just now");
        ground.instances.stop_idle(Duration::ZERO);
        assert_eq!(ground.running(), [1, 0]);
        eventually("the end of the process", || !is_there(pid)).await;
        let again = ground.instances.lease(&second).await.unwrap();
        assert_ne!(again.process.instance.pid(), pid, "the next request gets another");
    }

    #[tokio::test]
    async fn nothing_is_started_once_everything_is_stopped() {
        let ground = Ground::new().await;
        ground.shop().await;
        ground.instances.wake().await;
        let first = ground.instances.slot(&shop(), 1);
        let pid = ground.instances.lease(&first).await.unwrap().process.instance.pid();
        let waking = ground.instances.lease(&ground.instances.slot(&shop(), 2)).await.map(drop);
        assert!(waking.is_ok());
        ground.instances.stop_all().await;
        assert!(!is_there(pid), "when this returns, it is gone");
        assert_eq!(ground.running(), [0, 0]);
        let refused = ground.instances.lease(&first).await.err().unwrap();
        assert!(refused.message.contains("is being ended"), "{}", refused.message);
    }
}
