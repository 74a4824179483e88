//! The processes that serve: started when they are needed, started again when they die, stopped when nobody needs them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use longshore_contract::FunctionName;
use longshore_model::{Content, Service};
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
use crate::router::slot::{Lease, Routed, Slot};
use crate::router::start::{self, Expected, millis_since};
use crate::runner::{Launch, Port, Runner};
use crate::state::StateDirectory;

/// How long a process has to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// How long the requests of an update that was never published may take until the next one takes its place.
const DRAIN: Duration = Duration::from_secs(5);

/// All processes of a cloud.
pub(crate) struct Instances {
    directory: StateDirectory,
    store: Arc<Store>,
    registry: Registry,
    runner: Runner,
    slots: Mutex<HashMap<(FunctionName, u64), Arc<Slot>>>,
    stopping: TaskTracker,
}

impl Instances {
    /// No processes yet.
    pub(crate) fn new(
        directory: StateDirectory,
        store: Arc<Store>,
        registry: Registry,
        runner: Runner,
    ) -> Self {
        Self { directory, store, registry, runner, slots: Mutex::default(), stopping: TaskTracker::new() }
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
        for old in slot.renew().await {
            let _ = tokio::time::timeout(DRAIN, old.drained()).await;
            old.instance.stop(GRACE).await;
        }
        forget_log(&slot.log);
        self.start(&slot, content).await
    }

    /// Whether version `number` has a process.
    pub(crate) fn runs(&self, function: &FunctionName, number: u64) -> bool {
        self.slot(function, number).serving() > 0
    }

    /// A process of the version with room for a request, started if need be.
    pub(crate) async fn lease(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<Lease, RouterError> {
        slot.lease(|| {
            // In a task of its own: a client that goes away must not break off a start that others wait for.
            let (instances, slot) = (Arc::clone(self), Arc::clone(slot));
            tokio::spawn(async move {
                let service = instances.store.service();
                match content(&service, &slot.function, slot.number) {
                    Some(content) => drop(instances.start(&slot, content).await),
                    None => {
                        let why = format!("there is no version {} of {}", slot.number, slot.function);
                        slot.started(Err(why));
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

    /// Starts a process for `slot`, where it was counted as being started.
    async fn start(self: &Arc<Self>, slot: &Arc<Slot>, content: &Content) -> Result<(), String> {
        let begun = Instant::now();
        match self.launch(slot, content).await {
            Ok((process, room)) => {
                let process = Arc::new(process);
                let (pid, way) = (process.instance.pid(), process.way());
                tracing::info!(
                    function = %slot.function, number = slot.number, pid, ?way, ms = millis_since(begun), "started"
                );
                slot.started(Ok((Arc::clone(&process), room)));
                tokio::spawn(watch(Arc::clone(slot), process));
                Ok(())
            }
            Err(why) => {
                let why = one_line(&why);
                tracing::warn!(function = %slot.function, number = slot.number, "does not start: {why}");
                slot.started(Err(why.clone()));
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
        let port = settings.port.or_else(|| settings.kind?.port());
        let launch = Launch {
            image,
            label: format!("{}/{}", slot.function, slot.number),
            command: settings.command,
            environment,
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

    /// Stops processes that nobody has used for a while and that no alias may send the next request to.
    pub(crate) fn stop_idle(&self) {
        let service = self.store.service();
        for slot in self.all() {
            let function = service.function(&slot.function);
            let routed = match function.is_ok_and(|function| function.is_routed(slot.number)) {
                true => Routed::Yes,
                false => Routed::No,
            };
            for process in slot.idle(routed) {
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

    /// Stops every process and waits until all are gone.
    pub(crate) async fn stop_all(&self) {
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
