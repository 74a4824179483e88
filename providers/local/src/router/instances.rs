//! The processes that serve, one per version: started when they are needed, started again when they die, stopped when
//! nobody needs them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use longshore_contract::{FunctionName, Secret};
use longshore_model::{Content, Service};
use tokio_util::task::TaskTracker;

use crate::control::api::named;
use crate::control::store::Store;
use crate::control::wire::{Settings, TrafficView};
use crate::registry::Registry;
use crate::router::error::{Failure, RouterError};
use crate::router::meter::Meter;
use crate::router::upstream::Upstream;
use crate::runner::{Launch, Port, Runner, StartError};
use crate::state::StateDirectory;

/// How long a process has to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// How long a process that takes no connections has to be seen ending.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long the process of a version that no alias names is kept without a request.
const IDLE: Duration = Duration::from_secs(60);

/// A process that lived this long was no failed start.
const SETTLED: Duration = Duration::from_secs(10);

/// The longest rest between two starts of a version that keeps dying.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// All processes of a cloud.
pub(crate) struct Instances {
    directory: StateDirectory,
    store: Arc<Store>,
    registry: Registry,
    runner: Runner,
    slots: Mutex<HashMap<(FunctionName, u64), Arc<Slot>>>,
    stopping: TaskTracker,
}

/// One version's place: its process, if it has one, and what was counted.
pub(crate) struct Slot {
    pub(crate) function: FunctionName,
    pub(crate) number: u64,
    pub(crate) log: PathBuf,
    pub(crate) meter: Meter,
    current: Mutex<Current>,
    /// Held while the process is being started, so that everybody waits for one start.
    starting: tokio::sync::Mutex<()>,
    /// Requests under way.
    busy: AtomicUsize,
}

struct Current {
    upstream: Option<Arc<Upstream>>,
    /// When the last request came or went.
    used: Instant,
    /// How often in a row it failed to start, or died soon after.
    failures: u32,
    /// Why and when it failed last.
    failed: Option<(Instant, String)>,
}

/// A process that is not stopped while this is held.
pub(crate) struct Lease {
    pub(crate) slot: Arc<Slot>,
    pub(crate) upstream: Arc<Upstream>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut current = self.slot.current();
        current.used = Instant::now();
        self.slot.busy.fetch_sub(1, Ordering::Relaxed);
    }
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

    /// Starts version `number` anew with `content` and waits until it accepts connections. A process that ran under that
    /// number is stopped first: it was an update that was never published.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        function: &FunctionName,
        number: u64,
        content: &Content,
    ) -> Result<(), String> {
        let slot = self.slot(function, number);
        let _starting = slot.starting.lock().await;
        let old = {
            let mut current = slot.current();
            (current.failures, current.failed) = (0, None);
            current.upstream.take()
        };
        if let Some(old) = old {
            old.instance.stop(GRACE).await;
        }
        forget_log(&slot.log);
        self.start(&slot, content).await
    }

    /// Whether version `number` has a process.
    pub(crate) fn runs(&self, function: &FunctionName, number: u64) -> bool {
        self.slot(function, number).current().upstream.is_some()
    }

    /// A process of version `number`, started if there is none.
    pub(crate) async fn lease(
        self: &Arc<Self>,
        function: &FunctionName,
        number: u64,
    ) -> Result<Lease, RouterError> {
        let slot = self.slot(function, number);
        if let Some(lease) = slot.lease() {
            return Ok(lease);
        }
        // In a task of its own: a client that goes away must not break off a start that others wait for.
        let (instances, started) = (Arc::clone(self), Arc::clone(&slot));
        let task = tokio::spawn(async move { instances.ensure(&started).await });
        match task.await {
            Ok(result) => result,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    async fn ensure(self: &Arc<Self>, slot: &Arc<Slot>) -> Result<Lease, RouterError> {
        let _starting = slot.starting.lock().await;
        if let Some(lease) = slot.lease() {
            return Ok(lease);
        }
        if let Some((rest, why)) = slot.current().rest(Instant::now()) {
            let message = format!("version {} of {} keeps ending: {why}", slot.number, slot.function);
            return Err(slot.error(Failure::Resting(rest), message));
        }
        let service = self.store.service();
        let content = content(&service, &slot.function, slot.number).ok_or_else(|| {
            RouterError::not_found(format_args!("there is no version {} of {}", slot.number, slot.function))
        })?;
        let started = self.start(slot, content).await;
        started.map_err(|why| slot.error(Failure::DoesNotStart, why))?;
        slot.lease()
            .ok_or_else(|| slot.error(Failure::NoAnswer, "it ended as soon as it had started".to_owned()))
    }

    /// Starts a process for `slot`. The caller holds `slot.starting`.
    async fn start(self: &Arc<Self>, slot: &Arc<Slot>, content: &Content) -> Result<(), String> {
        match self.launch(slot, content).await {
            Ok(upstream) => {
                let upstream = Arc::new(upstream);
                {
                    let mut current = slot.current();
                    current.upstream = Some(Arc::clone(&upstream));
                    current.used = Instant::now();
                }
                tracing::info!(function = %slot.function, number = slot.number, pid = upstream.instance.pid(), "started");
                tokio::spawn(watch(Arc::clone(slot), upstream));
                Ok(())
            }
            Err(why) => {
                slot.current().fail(why.clone());
                tracing::warn!(function = %slot.function, number = slot.number, "does not start: {why}");
                Err(why)
            }
        }
    }

    async fn launch(&self, slot: &Slot, content: &Content) -> Result<Upstream, String> {
        let settings = Settings::kept(&content.configuration)
            .map_err(|error| format!("its settings cannot be understood: {error}"))?;
        let Content { image, .. } = content;
        let image =
            self.registry.image(&image.location, &image.digest).await.map_err(|error| error.to_string())?;
        let environment = settings.environment.unwrap_or_default();
        let launch = Launch {
            image,
            label: format!("{}/{}", slot.function, slot.number),
            command: settings.command,
            environment: environment.into_iter().map(|(key, value)| (key, Secret::new(value))).collect(),
            port: settings.port.map_or(Port::Free, Port::Fixed),
            memory: settings.memory,
            runtime: settings.runtime.unwrap_or_default(),
            log: slot.log.clone(),
            patience: Runner::PATIENCE,
        };
        match self.runner.start(&launch).await {
            // Another version listens there, as it does whenever a function is updated. Most images that state a port
            // listen on whatever PORT says all the same.
            Err(taken @ StartError::PortTaken { .. }) => {
                let elsewhere = Launch { port: Port::Free, ..launch };
                self.runner
                    .start(&elsewhere)
                    .await
                    .map_err(|error| format!("{taken}; on another port: {error}"))
            }
            started => started.map_err(|error| error.to_string()),
        }
        .map(Upstream::new)
        .map_err(|why| one_line(&why))
    }

    /// Stops processes that nobody has used for a while and that no alias may send the next request to.
    pub(crate) fn stop_idle(&self) {
        let service = self.store.service();
        let slots: Vec<Arc<Slot>> = self.all();
        for slot in slots {
            let routed =
                service.function(&slot.function).is_ok_and(|function| function.is_routed(slot.number));
            let mut current = slot.current();
            let busy = slot.busy.load(Ordering::Relaxed);
            if !routed
                && is_idle(busy, current.used.elapsed())
                && let Some(upstream) = current.upstream.take()
            {
                tracing::info!(function = %slot.function, number = slot.number, "stopped: nobody uses it");
                self.stopping.spawn(async move { upstream.instance.stop(GRACE).await });
            }
        }
    }

    /// Stops every process and waits until all are gone.
    pub(crate) async fn stop_all(&self) {
        for slot in self.all() {
            if let Some(upstream) = slot.current().upstream.take() {
                self.stopping.spawn(async move { upstream.instance.stop(GRACE).await });
            }
        }
        self.stopping.close();
        self.stopping.wait().await;
    }

    /// What was counted, a row per version that was called or runs, in the order of names and numbers.
    pub(crate) fn traffic(&self) -> Vec<TrafficView> {
        let mut slots = self.all();
        slots.sort_by(|a, b| (&a.function, a.number).cmp(&(&b.function, b.number)));
        slots
            .iter()
            .map(|slot| TrafficView {
                function: slot.function.clone(),
                version: named(slot.number),
                instances: u32::from(slot.current().upstream.is_some()),
                invocations: slot.meter.invocations(),
                errors: slot.meter.errors(),
                p50_ms: slot.meter.quantile_ms(50),
                p95_ms: slot.meter.quantile_ms(95),
            })
            .filter(|row| row.instances > 0 || row.invocations > 0)
            .collect()
    }

    fn all(&self) -> Vec<Arc<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn slot(&self, function: &FunctionName, number: u64) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry((function.clone(), number)).or_insert_with(|| {
            let log = self.directory.version_log(function, &named(number));
            Arc::new(Slot {
                function: function.clone(),
                number,
                log,
                meter: Meter::default(),
                current: Mutex::new(Current {
                    upstream: None,
                    used: Instant::now(),
                    failures: 0,
                    failed: None,
                }),
                starting: tokio::sync::Mutex::default(),
                busy: AtomicUsize::new(0),
            })
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
fn content<'a>(service: &'a Service, name: &FunctionName, number: u64) -> Option<&'a Content> {
    let function = service.function(name).ok()?;
    match function.versions.get(&number) {
        Some(version) => Some(&version.content),
        None => (function.head_number() == number).then(|| function.head.settled())?,
    }
}

/// Waits for a process to end and takes it out of its slot.
async fn watch(slot: Arc<Slot>, upstream: Arc<Upstream>) {
    let ended = upstream.instance.exited().await;
    slot.take_out(&upstream, &ended.to_string());
}

impl Slot {
    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lease(self: &Arc<Self>) -> Option<Lease> {
        let mut current = self.current();
        let upstream = Arc::clone(current.upstream.as_ref()?);
        current.used = Instant::now();
        self.busy.fetch_add(1, Ordering::Relaxed);
        Some(Lease { slot: Arc::clone(self), upstream })
    }

    /// Takes a process out that turned out to accept no connections. Mostly it is ending, and how it ends says more.
    pub(crate) async fn forget(&self, gone: &Arc<Upstream>) {
        match tokio::time::timeout(LAST_WORDS, gone.instance.exited()).await {
            Ok(exit) => self.take_out(gone, &exit.to_string()),
            Err(_) => self.take_out(gone, "it accepts no connections any more"),
        }
    }

    /// Takes a process out that serves no more, once: whoever comes later, or after it was stopped, changes nothing.
    fn take_out(&self, gone: &Arc<Upstream>, why: &str) {
        let mut current = self.current();
        if !current.upstream.as_ref().is_some_and(|now| Arc::ptr_eq(now, gone)) {
            return;
        }
        current.upstream = None;
        if gone.started.elapsed() < SETTLED {
            current.fail(why.to_owned());
        } else {
            (current.failures, current.failed) = (0, None);
        }
        tracing::warn!(function = %self.function, number = self.number, "ended by itself: {why}");
    }

    /// A failure of this version.
    pub(crate) fn error(&self, failure: Failure, message: String) -> RouterError {
        RouterError { failure, message, version: Some(named(self.number)), log: Some(self.log.clone()) }
    }
}

impl Current {
    fn fail(&mut self, why: String) {
        self.failures = self.failures.saturating_add(1);
        self.failed = Some((Instant::now(), why));
    }

    /// How long it is still left alone, and why; `None` when it may be started.
    fn rest(&self, now: Instant) -> Option<(Duration, &str)> {
        let (at, why) = self.failed.as_ref()?;
        let left = rest_after(self.failures).checked_sub(now.duration_since(*at))?;
        (!left.is_zero()).then_some((left, why.as_str()))
    }
}

/// Whether a process that no alias names may be stopped.
fn is_idle(busy: usize, unused: Duration) -> bool {
    busy == 0 && unused >= IDLE
}

/// How long a version is left alone after failing `failures` times in a row. The first time it is started again at once.
fn rest_after(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        _ => (Duration::from_millis(200) * 2_u32.saturating_pow((failures - 2).min(16))).min(LONGEST_REST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_keeps_dying_is_left_alone_for_longer_and_longer() {
        let rests: Vec<u64> =
            (0..12).map(|failures| rest_after(failures).as_millis().try_into().unwrap()).collect();
        assert_eq!(rests, [0, 0, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(rest_after(u32::MAX), LONGEST_REST);
    }

    #[test]
    fn nobody_is_stopped_under_a_request_or_soon_after_one() {
        assert!(is_idle(0, IDLE));
        assert!(!is_idle(1, IDLE * 10));
        assert!(!is_idle(0, IDLE - Duration::from_millis(1)));
    }

    #[test]
    fn a_rest_comes_to_its_end() {
        let now = Instant::now();
        let mut current = Current { upstream: None, used: now, failures: 0, failed: None };
        assert!(current.rest(now).is_none());
        current.fail("exited with 1".to_owned());
        assert!(current.rest(Instant::now()).is_none(), "once is no habit");
        current.fail("exited with 1".to_owned());
        let (left, why) = current.rest(Instant::now()).unwrap();
        assert!(left <= Duration::from_millis(200) && why == "exited with 1");
        assert!(current.rest(Instant::now() + Duration::from_millis(201)).is_none());
    }
}
