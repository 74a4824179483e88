//! A cloud with one alias, a ledger, a clock and a fuse that ends the process at any point.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use longshore_contract::{
    Alias, AliasRef, AliasWrite, AliasWrites, Capabilities, Digest, Error, ErrorKind, Expect, Function,
    FunctionName, Functions, Invocation, Note, Payload, PublishDedup, Published, Qualifier, Release, Result,
    Revision, Routing, RunId, Share, Split, Version, VersionSummary,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::super::drive::Driver;
use super::super::policy::Policy;
use super::super::{Around, Clock, Order, Rollout, ShiftSpec, Stopped, Strategy, Taken, plan, take_over};
use crate::ledger::memory::{MemoryLedger, key};
use crate::ledger::{
    Audit, Ending, Entry, Event, History, Journal, Ledger, LedgerError, LedgerKey, Opened, Silent, Step, Verb,
};
use crate::rollback;

/// Burns a little at every point of the program, and ends it where it is burnt down.
pub(super) struct Fuse {
    left: AtomicUsize,
    blown: Notify,
}

impl Fuse {
    pub(super) fn set(&self, points: usize) {
        self.left.store(points, Ordering::SeqCst);
    }

    async fn point(&self) {
        let burn = |left: usize| left.checked_sub(1);
        let before = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, burn);
        if before == Ok(1) || before.is_err() {
            self.blown.notify_one();
            pending::<()>().await;
        }
    }
}

/// What happens to one write of the alias.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    None,
    /// It is done, and nobody says so.
    LoseAnswer,
    /// It is not done, and nobody says so.
    LoseRequest,
    /// It is not done, for this reason.
    Say(ErrorKind),
    /// It is done, and at once somebody else moves the alias.
    Meddle(Routing),
    /// The same, and the answer shows what they made of it.
    MeddleShowing(Routing),
    /// The same, and the answer to it is lost.
    MeddleLosing(Routing),
    /// Somebody else moves the alias just before it comes.
    MeddleFirst(Routing),
}

/// Whether the service compares what a write expects with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    Revisions,
    Nothing,
}

struct Cloud {
    guard: Guard,
    alias: Option<Alias>,
    count: u64,
    writes: Vec<(Routing, Note)>,
    faults: VecDeque<Fault>,
    unread: u32,
}

impl Cloud {
    fn put(&mut self, routing: Routing, note: Note) -> Alias {
        self.count += 1;
        let revision = match self.guard {
            Guard::Revisions => format!("r{}", self.count),
            // Where the service has no revisions an adapter fingerprints what it reads.
            Guard::Nothing => format!("{routing} {}", note.render(256)),
        };
        let alias = Alias { routing, revision: Revision::from_provider(revision), note };
        self.alias = Some(alias.clone());
        alias
    }
}

/// Something that happens at a time.
type Happening = Box<dyn FnOnce(&World) + Send>;

pub(super) struct World {
    pub(super) fuse: Fuse,
    cloud: Mutex<Cloud>,
    pub(super) routes: AtomicUsize,
    pub(super) looks: AtomicUsize,
    now: Mutex<Timestamp>,
    happenings: Mutex<Vec<(Timestamp, Happening)>>,
    ledger: MemoryLedger,
    /// How many entries fit; `Unwritable` behind that.
    pub(super) room: AtomicUsize,
    interrupt: Mutex<CancellationToken>,
    /// Where the last run that was driven saw the alias send its traffic.
    pub(super) seen: Mutex<Option<Routing>>,
    /// The time from which on every deployment is interrupted.
    pub(super) interrupt_at: Mutex<Option<Timestamp>>,
}

pub(super) fn version(text: &str) -> Version {
    text.parse().unwrap()
}

pub(super) fn all(text: &str) -> Routing {
    Routing::All(version(text))
}

pub(super) fn split(points: u16) -> Routing {
    Routing::split(version("41"), version("42"), Share::basis_points(points).unwrap())
}

pub(super) fn digest() -> Digest {
    format!("sha256:{}", "42".repeat(32)).parse().unwrap()
}

pub(super) fn seconds(count: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + count).unwrap()
}

pub(super) fn audit(by: &str) -> Audit {
    Audit { by: by.to_owned(), host: None, commit: None, ci_url: None, message: None }
}

pub(super) fn run(number: u8) -> RunId {
    format!("01J8Z0B4Q5W6X7Y8Z9A0B1C2{number:02}").parse().unwrap()
}

/// 5 % for a minute, 25 % for two, then everything.
pub(super) fn canary() -> Strategy {
    let step =
        |points, soak| Step { share: Share::basis_points(points).unwrap(), soak: Duration::from_secs(soak) };
    Strategy::Steps(vec![step(500, 60), step(2_500, 120)])
}

impl World {
    pub(super) fn new(guard: Guard, live: Option<&str>) -> Arc<Self> {
        let mut cloud =
            Cloud { guard, alias: None, count: 0, writes: Vec::new(), faults: VecDeque::new(), unread: 0 };
        if let Some(live) = live {
            cloud.put(all(live), Note { text: "owned by ann".to_owned(), breadcrumb: None });
        }
        Arc::new(Self {
            fuse: Fuse { left: AtomicUsize::new(usize::MAX), blown: Notify::new() },
            cloud: Mutex::new(cloud),
            routes: AtomicUsize::new(0),
            looks: AtomicUsize::new(0),
            now: Mutex::new(seconds(0)),
            happenings: Mutex::default(),
            ledger: MemoryLedger::default(),
            room: AtomicUsize::new(usize::MAX),
            interrupt: Mutex::default(),
            seen: Mutex::new(None),
            interrupt_at: Mutex::new(None),
        })
    }

    pub(super) fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.cloud.lock().unwrap().faults = faults.into_iter().collect();
    }

    /// The next `count` looks are not answered.
    pub(super) fn unread(&self, count: u32) {
        self.cloud.lock().unwrap().unread = count;
    }

    pub(super) fn meddle(&self, routing: Routing) {
        let mut cloud = self.cloud.lock().unwrap();
        let note = cloud.alias.take().map(|alias| alias.note).unwrap_or_default();
        cloud.put(routing, note);
    }

    /// Somebody edits the description and nothing else.
    pub(super) fn describe(&self, text: &str) {
        let mut cloud = self.cloud.lock().unwrap();
        let alias = cloud.alias.take().unwrap();
        cloud.put(alias.routing, Note { text: text.to_owned(), ..alias.note });
    }

    pub(super) fn at(&self, second: i64, what: impl FnOnce(&Self) + Send + 'static) {
        self.happenings.lock().unwrap().push((seconds(second), Box::new(what)));
    }

    pub(super) fn now_is_before(&self, second: i64) -> bool {
        *self.now.lock().unwrap() < seconds(second)
    }

    pub(super) fn live(&self) -> Option<Alias> {
        self.cloud.lock().unwrap().alias.clone()
    }

    pub(super) fn routing(&self) -> Option<Routing> {
        self.live().map(|alias| alias.routing)
    }

    pub(super) fn writes(&self) -> Vec<(Routing, Note)> {
        self.cloud.lock().unwrap().writes.clone()
    }

    pub(super) fn written(&self) -> Vec<Routing> {
        self.writes().into_iter().map(|(routing, _)| routing).collect()
    }

    pub(super) async fn entries(&self) -> Vec<Entry> {
        self.ledger.read(&key()).await.unwrap()
    }

    pub(super) async fn words(&self) -> Vec<&'static str> {
        self.entries().await.iter().map(|entry| entry.event.word()).collect()
    }

    pub(super) async fn history(&self) -> History {
        History::of(&self.entries().await)
    }

    pub(super) fn interrupt(&self) {
        self.interrupt.lock().unwrap().cancel();
    }

    fn fresh_interrupt(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *self.interrupt.lock().unwrap() = token.clone();
        token
    }
}

#[async_trait]
impl Clock for World {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    async fn sleep_until(&self, until: Timestamp) {
        tokio::task::yield_now().await;
        let due: Vec<(Timestamp, Happening)> = {
            let mut happenings = self.happenings.lock().unwrap();
            happenings.sort_by_key(|(at, _)| *at);
            let count = happenings.iter().take_while(|(at, _)| *at <= until).count();
            happenings.drain(..count).collect()
        };
        for (at, what) in due {
            let mut now = self.now.lock().unwrap();
            *now = (*now).max(at);
            drop(now);
            what(self);
        }
        let mut now = self.now.lock().unwrap();
        *now = (*now).max(until);
        drop(now);
        if self.interrupt_at.lock().unwrap().is_some_and(|at| at <= until) {
            self.interrupt();
        }
    }
}

#[async_trait]
impl Functions for World {
    fn url(&self, _at: &AliasRef) -> Option<String> {
        None
    }

    async fn alias(&self, _at: &AliasRef) -> Result<Option<Alias>> {
        self.fuse.point().await;
        self.looks.fetch_add(1, Ordering::SeqCst);
        let mut cloud = self.cloud.lock().unwrap();
        if let Some(left) = cloud.unread.checked_sub(1) {
            cloud.unread = left;
            return Err(Error::new(ErrorKind::Indeterminate, "read alias", "shop:live", "timeout"));
        }
        Ok(cloud.alias.clone())
    }

    async fn route(&self, at: &AliasRef, write: &AliasWrite) -> Result<Alias> {
        self.fuse.point().await;
        self.routes.fetch_add(1, Ordering::SeqCst);
        let answer = {
            let mut cloud = self.cloud.lock().unwrap();
            let no = |kind: ErrorKind| Error::new(kind, "move alias", at, "no");
            let fault = cloud.faults.pop_front().unwrap_or(Fault::None);
            if let Fault::MeddleFirst(routing) = &fault {
                let note = cloud.alias.take().map(|alias| alias.note).unwrap_or_default();
                cloud.put(routing.clone(), note);
            }
            let there =
                cloud.alias.as_ref().map_or(Expect::Absent, |alias| Expect::Revision(alias.revision.clone()));
            match fault {
                Fault::LoseRequest => Err(no(ErrorKind::Indeterminate)),
                Fault::Say(kind) => Err(no(kind)),
                _ if cloud.guard == Guard::Revisions && write.expect != there => Err(no(ErrorKind::Conflict)),
                fault => {
                    cloud.writes.push((write.routing.clone(), write.note.clone()));
                    let alias = cloud.put(write.routing.clone(), write.note.clone());
                    match fault {
                        Fault::LoseAnswer => Err(no(ErrorKind::Indeterminate)),
                        Fault::Meddle(routing) => {
                            cloud.put(routing, write.note.clone());
                            Ok(alias)
                        }
                        Fault::MeddleShowing(routing) => Ok(cloud.put(routing, write.note.clone())),
                        Fault::MeddleLosing(routing) => {
                            cloud.put(routing, write.note.clone());
                            Err(no(ErrorKind::Indeterminate))
                        }
                        _ => Ok(alias),
                    }
                }
            }
        };
        self.fuse.point().await;
        answer
    }

    async fn describe(&self, _: &FunctionName, _: &Qualifier) -> Result<Option<Function>> {
        unreachable!("the engine reads no function")
    }

    async fn release(&self, _: &Release) -> Result<Published> {
        unreachable!("the engine publishes nothing")
    }

    async fn versions(&self, _: &FunctionName, _: usize) -> Result<Vec<VersionSummary>> {
        unreachable!("the engine lists nothing")
    }

    async fn invoke(&self, _: &FunctionName, _: &Qualifier, _: &Payload) -> Result<Invocation> {
        unreachable!("the engine calls nothing")
    }
}

#[async_trait]
impl Ledger for World {
    async fn append(&self, key: &LedgerKey, entry: &Entry) -> std::result::Result<(), LedgerError> {
        self.fuse.point().await;
        if entry.seq > self.room.load(Ordering::SeqCst) as u64 {
            let cause = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(LedgerError::Unwritable { at: "ledger".to_owned(), cause });
        }
        let stored = self.ledger.append(key, entry).await;
        self.fuse.point().await;
        stored
    }

    async fn read(&self, key: &LedgerKey) -> std::result::Result<Vec<Entry>, LedgerError> {
        self.ledger.read(key).await
    }

    async fn read_from(&self, key: &LedgerKey, first: u64) -> std::result::Result<Vec<Entry>, LedgerError> {
        self.ledger.read_from(key, first).await
    }

    async fn keys(&self) -> std::result::Result<Vec<LedgerKey>, LedgerError> {
        self.ledger.keys().await
    }
}

/// What somebody types.
#[derive(Debug, Clone)]
pub(super) enum Command {
    Deploy(Strategy),
    Abort,
    Promote,
    Rollback,
}

impl World {
    /// Carries out `command` in a process of its own; `None` where the fuse ended it. Typed again, a command goes on
    /// with what it left, and does nothing where it had come to its end.
    pub(super) async fn life(
        self: &Arc<Self>,
        command: &Command,
        policy: Policy,
    ) -> Option<std::result::Result<Ending, Stopped>> {
        let life = async {
            match command {
                Command::Deploy(strategy) => self.deploy(strategy, policy).await,
                Command::Abort => self.order(Order::Abort, policy).await,
                Command::Promote => self.order(Order::Promote, policy).await,
                Command::Rollback => self.rollback(policy).await,
            }
        };
        tokio::select! {
            biased;
            result = tokio::time::timeout(Duration::from_secs(60), life) => Some(result.expect("no life hangs")),
            () = self.fuse.blown.notified() => None,
        }
    }

    /// Carries out `command` without an end to the fuse.
    pub(super) async fn lives(self: &Arc<Self>, command: &Command) -> std::result::Result<Ending, Stopped> {
        self.fuse.set(usize::MAX);
        self.life(command, Policy::Sound).await.expect("without an end to the fuse")
    }

    pub(super) async fn take(
        self: &Arc<Self>,
        order: Order,
        by: &str,
    ) -> std::result::Result<Taken, crate::shift::NotTaken> {
        take_over(self.clone(), &key(), &self.entries().await, order, &audit(by), &**self, Arc::new(Silent))
            .await
    }

    async fn deploy(
        self: &Arc<Self>,
        strategy: &Strategy,
        policy: Policy,
    ) -> std::result::Result<Ending, Stopped> {
        let interrupt = self.fresh_interrupt();
        if self.interrupt_at.lock().unwrap().is_some_and(|at| at <= self.now()) {
            interrupt.cancel();
        }
        let history = self.history().await;
        if let Some(ending) = self.ended(&history, Verb::Deploy).await {
            return Ok(ending);
        }
        let (mut journal, rollout) = match history.open() {
            Some(_) => {
                let taken = self.take(Order::Resume, "ann").await.expect("the run can be resumed");
                (taken.journal, taken.rollout)
            }
            None => (self.open(run(1), Verb::Deploy).await?, None),
        };
        let rollout = match rollout {
            Some(rollout) => rollout,
            None => {
                let spec = ShiftSpec {
                    run: journal.run(),
                    alias: key().alias,
                    to: version("42"),
                    digest: digest(),
                    strategy: strategy.clone(),
                };
                let plan = plan(&spec, &capabilities(), self.live().as_ref()).expect("there is a plan");
                journal.append(self.now(), Event::Planned { plan: Box::new(plan.clone()) }).await?;
                Rollout::begin(plan)
            }
        };
        self.drive(&mut journal, rollout, policy, &interrupt).await
    }

    async fn rollback(self: &Arc<Self>, policy: Policy) -> std::result::Result<Ending, Stopped> {
        let history = self.history().await;
        if let Some(ending) = self.ended(&history, Verb::Rollback).await {
            return Ok(ending);
        }
        let (mut journal, rollout) = match history.open() {
            Some(_) => {
                let taken = self.take(Order::Rollback, "ann").await.expect("the run can be taken");
                (taken.journal, taken.rollout)
            }
            None => (self.open(run(2), Verb::Rollback).await?, None),
        };
        let rollout = match rollout {
            Some(rollout) => rollout,
            None => {
                let live = self.alias(&key().alias).await.unwrap().expect("something is live");
                let target = rollback::target(&history, &live, None).expect("something lies behind");
                let plan = rollback::plan(journal.run(), key().alias, &live, &target);
                journal.append(self.now(), Event::Planned { plan: Box::new(plan.clone()) }).await?;
                Rollout::begin(plan)
            }
        };
        self.drive(&mut journal, rollout, policy, &self.fresh_interrupt()).await
    }

    async fn order(self: &Arc<Self>, order: Order, policy: Policy) -> std::result::Result<Ending, Stopped> {
        let history = self.history().await;
        if let (None, Some(ending)) = (history.open(), self.ended(&history, Verb::Deploy).await) {
            return Ok(ending);
        }
        let mut taken = self.take(order, "bob").await.expect("the run takes the order");
        let rollout = taken.rollout.expect("the run has a plan");
        self.drive(&mut taken.journal, rollout, policy, &self.fresh_interrupt()).await
    }

    /// How the newest run came out, where it is over and was started by `verb`.
    async fn ended(&self, history: &History, verb: Verb) -> Option<Ending> {
        let newest = history.runs().first().filter(|run| run.verb == verb && run.ended.is_some())?;
        crate::ledger::Recalled::of(newest.run, &self.entries().await)?.ending
    }

    pub(super) async fn open(
        self: &Arc<Self>,
        run: RunId,
        verb: Verb,
    ) -> std::result::Result<Journal, Stopped> {
        let mut journal = Journal::new(self.clone(), key(), run, &self.entries().await, Arc::new(Silent));
        let opened = Opened {
            verb,
            audit: audit("ann"),
            from: self.routing(),
            image: None,
            steps: Vec::new(),
            plan: None,
            config: None,
            undoes: None,
            tool: "0.1.0".to_owned(),
        };
        journal.append(self.now(), Event::Opened(Box::new(opened))).await?;
        Ok(journal)
    }

    pub(super) async fn drive(
        &self,
        journal: &mut Journal,
        rollout: Rollout,
        policy: Policy,
        interrupt: &CancellationToken,
    ) -> std::result::Result<Ending, Stopped> {
        let around = Around { functions: self, clock: self, interrupt };
        let driven = Driver::with(policy, around, journal, rollout).run().await?;
        *self.seen.lock().unwrap() = driven.routing;
        Ok(driven.ending)
    }
}

fn capabilities() -> Capabilities {
    Capabilities {
        alias_writes: AliasWrites::Atomic,
        split: Split::TwoWay { granularity: Share::basis_points(100).unwrap() },
        publish: PublishDedup::ByContent,
        platforms: Vec::new(),
        description_limit: 256,
    }
}
