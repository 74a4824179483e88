//! One version's place: its processes, how requests get at them, and what was counted.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_contract::FunctionName;
use tokio::sync::Notify;

use crate::control::api::named;
use crate::router::dialect::EventPath;
use crate::router::error::{Failure, RouterError};
use crate::router::meter::Meter;
use crate::router::process::{Process, Way};
use crate::router::rest::Fortune;
use crate::router::room::{self, Crowd, Next, Room};

/// How long a request waits for an instance to come free before it is turned away.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a process that takes no connections has to be seen ending.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// One version's place.
pub(crate) struct Slot {
    pub(crate) function: FunctionName,
    pub(crate) number: u64,
    pub(crate) log: PathBuf,
    pub(crate) meter: Meter,
    crew: Mutex<Crew>,
    /// Somebody left, a start came to its end, or a process went: those who wait look again.
    changed: Notify,
}

struct Crew {
    members: Vec<Member>,
    starting: usize,
    waiting: usize,
    /// What the first that started turned out to be.
    way: Option<Way>,
    /// Where events go in HTTP, once that was found out.
    event_path: Option<EventPath>,
    room: Room,
    fortune: Fortune,
    /// How many starts failed, and why the last did: whoever waited for it is told.
    failed_starts: u64,
    why: String,
}

struct Member {
    process: Arc<Process>,
    /// When the last request came or went.
    used: Instant,
}

/// A process that is not stopped while this is held.
pub(crate) struct Lease {
    pub(crate) slot: Arc<Slot>,
    pub(crate) process: Arc<Process>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let waiting = {
            let mut crew = self.slot.crew();
            self.process.leave();
            let member = crew.members.iter_mut().find(|member| Arc::ptr_eq(&member.process, &self.process));
            if let Some(member) = member {
                member.used = Instant::now();
            }
            crew.waiting > 0
        };
        if waiting {
            self.slot.changed.notify_waiters();
        }
    }
}

/// A start that its slot counts as being under way until it is told how it went. One that breaks off, however it does, is
/// told as failed, so that nobody waits for it for ever.
pub(crate) struct Starting {
    slot: Arc<Slot>,
    came: Option<Result<(Arc<Process>, Room), String>>,
}

impl Starting {
    fn new(slot: &Arc<Slot>) -> Self {
        Self { slot: Arc::clone(slot), came: None }
    }

    /// Where the process will be.
    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// The start came to its end: with a process and what it has room for, or with the reason why there is none.
    pub(crate) fn came(mut self, came: Result<(Arc<Process>, Room), String>) {
        self.came = Some(came);
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.slot.started(self.came.take().unwrap_or_else(|| Err("its start was broken off".to_owned())));
    }
}

/// A request that waits for a process. Gone, it is not counted among them any more.
struct Waiting<'a>(&'a Slot);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.crew().waiting -= 1;
    }
}

/// What a look at the crew came to.
enum Look {
    Lease(Lease),
    Start(Starting),
    Next(Next),
    /// Waiting is over, and this is why.
    Error(RouterError),
}

impl Slot {
    pub(crate) fn new(function: FunctionName, number: u64, log: PathBuf) -> Self {
        let crew = Mutex::new(Crew {
            members: Vec::new(),
            starting: 0,
            waiting: 0,
            way: None,
            event_path: None,
            room: Room::of(None, None),
            fortune: Fortune::default(),
            failed_starts: 0,
            why: String::new(),
        });
        Self { function, number, log, meter: Meter::default(), crew, changed: Notify::new() }
    }

    fn crew(&self) -> MutexGuard<'_, Crew> {
        self.crew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the version gets its requests, where that is known.
    pub(crate) fn way(&self) -> Option<Way> {
        self.crew().way
    }

    /// Where events go in HTTP, where that was found out.
    pub(crate) fn event_path(&self) -> Option<EventPath> {
        self.crew().event_path
    }

    /// Remembers where events go in HTTP.
    pub(crate) fn learn(&self, path: EventPath) {
        self.crew().event_path = Some(path);
    }

    /// How many processes serve.
    pub(crate) fn serving(&self) -> usize {
        self.crew().members.len()
    }

    /// A process with room for one more request. Calls `start`, which begins the start of one more and returns at once,
    /// where that is what is needed, and waits; for a short while only where nothing is being started.
    pub(crate) async fn lease(self: &Arc<Self>, start: impl Fn(Starting)) -> Result<Lease, RouterError> {
        let failed_starts = {
            let mut crew = self.crew();
            if let Some(lease) = self.take(&mut crew) {
                return Ok(lease);
            }
            crew.waiting += 1;
            crew.failed_starts
        };
        let _waiting = Waiting(self);
        let mut until = None;
        loop {
            let changed = self.changed.notified();
            let next = match self.look(failed_starts) {
                Look::Lease(lease) => return Ok(lease),
                Look::Error(error) => return Err(error),
                Look::Start(starting) => {
                    start(starting);
                    continue;
                }
                Look::Next(next) => next,
            };
            match next {
                Next::Start | Next::Wait => changed.await,
                Next::TurnAway => return Err(self.throttled()),
                Next::Queue => {
                    let until = *until.get_or_insert_with(|| tokio::time::Instant::now() + PATIENCE);
                    if tokio::time::timeout_at(until, changed).await.is_err() {
                        return Err(self.throttled());
                    }
                }
            }
        }
    }

    /// Looks for a process; where one is to be started, it counts as being started from here on.
    fn look(self: &Arc<Self>, failed_starts: u64) -> Look {
        let mut crew = self.crew();
        if let Some(lease) = self.take(&mut crew) {
            return Look::Lease(lease);
        }
        if crew.failed_starts != failed_starts && crew.members.is_empty() {
            return Look::Error(self.error(Failure::DoesNotStart, crew.why.clone()));
        }
        let each = crew.way.map(|way| crew.each(way));
        let crowd =
            Crowd { serving: crew.members.len(), starting: crew.starting, waiting: crew.waiting, each };
        let next = room::next(crew.room, crowd);
        if next == Next::Start {
            if let Some((rest, why)) = crew.fortune.rest(Instant::now()) {
                if !crew.members.is_empty() {
                    return Look::Next(Next::Queue);
                }
                let message = format!("version {} of {} keeps ending: {why}", self.number, self.function);
                return Look::Error(self.error(Failure::Resting(rest), message));
            }
            crew.starting += 1;
            return Look::Start(Starting::new(self));
        }
        Look::Next(next)
    }

    fn take(self: &Arc<Self>, crew: &mut Crew) -> Option<Lease> {
        // The first that has room: those behind it come to be idle, and are stopped.
        let each = crew.way.map(|way| crew.each(way))?;
        let member = crew.members.iter_mut().find(|member| member.process.busy() < each)?;
        member.used = Instant::now();
        member.process.enter();
        Some(Lease { slot: Arc::clone(self), process: Arc::clone(&member.process) })
    }

    fn throttled(&self) -> RouterError {
        self.meter.throttle();
        let room = self.crew().room;
        let message = format!(
            "every instance of version {} of {} is busy, and it may have {} (`instances` under config.raw)",
            self.number, self.function, room.instances
        );
        self.error(Failure::Throttled, message)
    }

    /// Makes room for the start of something new under this number: nothing else is started until that has come to its
    /// end, and what served is handed out, to be stopped.
    pub(crate) async fn renew(self: &Arc<Self>) -> (Starting, Vec<Arc<Process>>) {
        loop {
            let changed = self.changed.notified();
            {
                let mut crew = self.crew();
                if crew.starting == 0 {
                    (crew.starting, crew.way, crew.event_path) = (1, None, None);
                    crew.fortune = Fortune::default();
                    let served = crew.members.drain(..).map(|member| member.process).collect();
                    return (Starting::new(self), served);
                }
            }
            changed.await;
        }
    }

    /// A start came to its end.
    fn started(&self, came: Result<(Arc<Process>, Room), String>) {
        {
            let mut crew = self.crew();
            crew.starting -= 1;
            match came {
                Ok((process, room)) => {
                    (crew.way, crew.room) = (Some(process.way()), room);
                    crew.members.push(Member { process, used: Instant::now() });
                }
                Err(why) => {
                    crew.failed_starts += 1;
                    crew.fortune.fail(why.clone());
                    crew.why = why;
                }
            }
        }
        self.changed.notify_waiters();
    }

    /// Takes a process out that is to serve no more, without blame. `false` where it is out already.
    pub(crate) fn retire(&self, gone: &Arc<Process>) -> bool {
        let retired = self.crew().remove(gone);
        self.changed.notify_waiters();
        retired
    }

    /// Takes a process out that ended by itself, once: whoever comes later, or after it was stopped, changes nothing.
    pub(crate) fn lost(&self, gone: &Arc<Process>, why: &str) {
        {
            let mut crew = self.crew();
            if !crew.remove(gone) {
                return;
            }
            crew.fortune.ended(gone.started.elapsed(), why.to_owned());
        }
        tracing::warn!(function = %self.function, number = self.number, "ended by itself: {why}");
        self.changed.notify_waiters();
    }

    /// Takes a process out that turned out to accept no connections. Mostly it is ending, and how it ends says more.
    pub(crate) async fn forget(&self, gone: &Arc<Process>) {
        match tokio::time::timeout(LAST_WORDS, gone.instance.exited()).await {
            Ok(exit) => self.lost(gone, &exit.to_string()),
            Err(_) => self.lost(gone, "it accepts no connections any more"),
        }
    }

    /// Takes the processes out that nobody has used for a while: all but the one used last where an alias names the
    /// version, every one elsewhere. `patience` is how long a while is.
    pub(crate) fn idle(&self, routed: Routed, patience: Duration) -> Vec<Arc<Process>> {
        let mut crew = self.crew();
        let newest = crew.members.iter().map(|member| member.used).max();
        let mut idle = Vec::new();
        let mut kept = routed == Routed::No;
        crew.members.retain(|member| {
            let needed = !kept && Some(member.used) == newest;
            kept |= needed;
            let stays = needed || member.process.busy() > 0 || member.used.elapsed() < patience;
            if !stays {
                idle.push(Arc::clone(&member.process));
            }
            stays
        });
        idle
    }

    /// Takes every process out.
    pub(crate) fn all(&self) -> Vec<Arc<Process>> {
        self.crew().members.drain(..).map(|member| member.process).collect()
    }

    /// A failure of this version.
    pub(crate) fn error(&self, failure: Failure, message: String) -> RouterError {
        RouterError { failure, message, version: Some(named(self.number)), log: Some(self.log.clone()) }
    }
}

impl Crew {
    fn remove(&mut self, gone: &Arc<Process>) -> bool {
        let before = self.members.len();
        self.members.retain(|member| !Arc::ptr_eq(&member.process, gone));
        self.members.len() < before
    }

    /// How many requests one instance takes.
    fn each(&self, way: Way) -> usize {
        match way {
            Way::Http => self.room.concurrency,
            Way::Events => 1,
        }
    }
}

/// Whether an alias may send the next request to a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routed {
    /// It may.
    Yes,
    /// No alias names it.
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_start_that_panics_is_one_that_failed() {
        let slot = Arc::new(Slot::new("shop".parse().unwrap(), 1, PathBuf::from("log")));
        let starts = |starting: Starting| {
            tokio::spawn(async move {
                let _starting = starting;
                panic!("as a start does that has a mistake in it");
            });
        };
        for _ in 0..2 {
            let Err(error) = slot.lease(starts).await else { panic!("there is no process") };
            assert_eq!(error.failure, Failure::DoesNotStart);
            assert_eq!(error.message, "its start was broken off");
        }
        // Nobody would ever be let in here if a start were still counted.
        let (starting, served) = slot.renew().await;
        assert!(served.is_empty());
        starting.came(Err("it is not there".to_owned()));
        assert_eq!(slot.serving(), 0);
    }
}
