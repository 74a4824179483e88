//! The engine on a real directory: writers that race, a disk that is full, a writer that is killed.

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier, Mutex};

use async_trait::async_trait;
use longshore::ledger::{
    Audit, DirectoryLedger, Ending, Entry, Event, History, Journal, JournalError, Ledger, LedgerError,
    LedgerKey, Opened, Silent, Verb,
};
use longshore::shift::{
    Around, NotTaken, Order, Rollout, ShiftSpec, Stopped, Strategy, SystemClock, drive, plan, take_over,
};
use longshore_contract::{
    Alias, AliasRef, AliasWrite, AliasWrites, Capabilities, Error, ErrorKind, Expect, Function, FunctionName,
    Functions, Invocation, Note, Payload, Place, PublishDedup, Published, Qualifier, Release, Result,
    Revision, Routing, RunId, Split, VersionSummary,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A cloud that has one alias and keeps what was written to it.
struct OneAlias(Mutex<(Alias, Vec<Routing>)>);

impl OneAlias {
    fn new() -> Self {
        let routing = Routing::All("41".parse().unwrap());
        let alias = Alias { routing, revision: Revision::from_provider("0"), note: Note::default() };
        Self(Mutex::new((alias, Vec::new())))
    }

    fn writes(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }

    fn live(&self) -> Alias {
        self.0.lock().unwrap().0.clone()
    }
}

#[async_trait]
impl Functions for OneAlias {
    fn url(&self, _at: &AliasRef) -> Option<String> {
        None
    }

    async fn alias(&self, _: &AliasRef) -> Result<Option<Alias>> {
        Ok(Some(self.live()))
    }
    async fn route(&self, at: &AliasRef, write: &AliasWrite) -> Result<Alias> {
        let mut state = self.0.lock().unwrap();
        if write.expect != Expect::Revision(state.0.revision.clone()) {
            return Err(Error::new(ErrorKind::Conflict, "move alias", at, "stale"));
        }
        state.1.push(write.routing.clone());
        let revision = Revision::from_provider(state.1.len().to_string());
        state.0 = Alias { routing: write.routing.clone(), revision, note: write.note.clone() };
        Ok(state.0.clone())
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

fn key() -> LedgerKey {
    LedgerKey {
        place: Place { provider: "toy".to_owned(), region: "here".to_owned() },
        alias: AliasRef { function: "ns/shop".parse().unwrap(), alias: "live".parse().unwrap() },
    }
}

fn audit(by: &str) -> Audit {
    Audit { by: by.to_owned(), host: None, commit: None, ci_url: None, message: None }
}

/// Opens a run in the name of `by`, as a process that has found none open.
async fn open(ledger: &Arc<dyn Ledger>, by: &str) -> std::result::Result<Journal, JournalError> {
    let entries = ledger.read(&key()).await.map_err(JournalError::Ledger)?;
    open_behind(ledger, &entries, by).await
}

async fn open_behind(
    ledger: &Arc<dyn Ledger>,
    entries: &[Entry],
    by: &str,
) -> std::result::Result<Journal, JournalError> {
    let mut journal = Journal::new(ledger.clone(), key(), RunId::generate(), entries, Arc::new(Silent));
    let opened = Opened {
        verb: Verb::Deploy,
        audit: audit(by),
        from: None,
        image: None,
        steps: Vec::new(),
        plan: None,
        config: None,
        undoes: None,
        tool: "test".to_owned(),
    };
    journal.append(jiff::Timestamp::now(), Event::Opened(Box::new(opened))).await?;
    Ok(journal)
}

fn planned(run: RunId, live: &Alias) -> longshore::ledger::Plan {
    let spec = ShiftSpec {
        run,
        alias: key().alias,
        to: "42".parse().unwrap(),
        digest: format!("sha256:{}", "42".repeat(32)).parse().unwrap(),
        strategy: Strategy::AllAtOnce,
    };
    let can = Capabilities {
        alias_writes: AliasWrites::Atomic,
        split: Split::None,
        publish: PublishDedup::ByContent,
        platforms: Vec::new(),
        description_limit: 256,
    };
    plan(&spec, &can, Some(live)).unwrap()
}

async fn drive_to_end(
    cloud: &OneAlias,
    journal: &mut Journal,
    rollout: Rollout,
) -> std::result::Result<Ending, Stopped> {
    let (clock, interrupt) = (SystemClock::start(), CancellationToken::new());
    let around = Around { functions: cloud, clock: &clock, interrupt: &interrupt };
    drive(around, journal, rollout).await.map(|driven| driven.ending)
}

/// Deploys in the name of `by`, as far as the ledger lets it.
async fn deploy(
    ledger: &Arc<dyn Ledger>,
    cloud: &OneAlias,
    by: &str,
) -> std::result::Result<Ending, Stopped> {
    let mut journal = open(ledger, by).await?;
    let plan = planned(journal.run(), &cloud.live());
    journal.append(jiff::Timestamp::now(), Event::Planned { plan: Box::new(plan.clone()) }).await?;
    drive_to_end(cloud, &mut journal, Rollout::begin(plan)).await
}

/// Runs `what` on two threads with a runtime each, from the same moment on.
fn race<T: Send>(what: impl Fn(&'static str) -> T + Sync) -> [T; 2] {
    let start = Barrier::new(2);
    std::thread::scope(|scope| {
        let racers = ["ann", "bob"].map(|name| {
            let (start, what) = (&start, &what);
            scope.spawn(move || {
                start.wait();
                what(name)
            })
        });
        racers.map(|racer| racer.join().unwrap())
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn of_two_who_deploy_at_once_one_wins_and_the_other_learns_its_name() {
    for _ in 0..20 {
        let directory = TempDir::new().unwrap();
        let cloud = OneAlias::new();
        // Both have found no open run; what follows is decided by the ledger alone.
        let found = Barrier::new(2);
        let results = race(|name| {
            block_on(async {
                let ledger: Arc<dyn Ledger> = Arc::new(DirectoryLedger::new(directory.path()));
                let entries = ledger.read(&key()).await.unwrap();
                found.wait();
                let mut journal = open_behind(&ledger, &entries, name).await?;
                let plan = planned(journal.run(), &cloud.live());
                let event = Event::Planned { plan: Box::new(plan.clone()) };
                journal.append(jiff::Timestamp::now(), event).await?;
                drive_to_end(&cloud, &mut journal, Rollout::begin(plan)).await.map(|_| name)
            })
        });
        let (winner, loser) = match results {
            [Ok(winner), Err(loser)] | [Err(loser), Ok(winner)] => (winner, loser),
            other => panic!("{other:?}"),
        };
        let Stopped::TakenOver(by) = loser else { panic!("{loser}") };
        assert_eq!((by.who.as_deref(), by.event), (Some(winner), "opened"));
        assert_eq!(cloud.writes(), 1);
        let entries = block_on(DirectoryLedger::new(directory.path()).read(&key())).unwrap();
        let history = History::of(&entries);
        assert_eq!(history.runs().len(), 1);
        assert_eq!(history.runs()[0].by, winner);
    }
}

#[test]
fn of_two_who_resume_one_run_at_once_one_drives_it() {
    for _ in 0..20 {
        let directory = TempDir::new().unwrap();
        let cloud = OneAlias::new();
        block_on(async {
            let ledger: Arc<dyn Ledger> = Arc::new(DirectoryLedger::new(directory.path()));
            let mut journal = open(&ledger, "cid").await.unwrap();
            let plan = Box::new(planned(journal.run(), &cloud.live()));
            journal.append(jiff::Timestamp::now(), Event::Planned { plan }).await.unwrap();
        });
        let results = race(|name| {
            block_on(async {
                let ledger: Arc<dyn Ledger> = Arc::new(DirectoryLedger::new(directory.path()));
                let clock = SystemClock::start();
                let entries = ledger.read(&key()).await.map_err(NotTaken::Ledger)?;
                let who = &audit(name);
                let taken =
                    take_over(ledger, &key(), &entries, Order::Resume, who, &clock, Arc::new(Silent)).await?;
                let (mut journal, rollout) = (taken.journal, taken.rollout.unwrap());
                Ok::<_, NotTaken>(drive_to_end(&cloud, &mut journal, rollout).await)
            })
        });
        // Whoever comes second may be refused at once, be taken over later, or find the run over.
        let arrived = results.iter().filter(|result| matches!(result, Ok(Ok(Ending::Arrived)))).count();
        assert_eq!(arrived, 1, "{:?}", results.map(|result| result.map_err(|error| error.to_string())));
        assert_eq!(cloud.writes(), 1);
    }
}

/// Where this process finds the ledger when a test has started it to do something to it.
const CHILD: &str = "LONGSHORE_TEST_LEDGER";

fn child_ledger() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// This program again, to run only the test `name`, with `ledger` told to it, behind the shell words `before`.
fn again(name: &str, ledger: &Path, before: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{before} exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, ledger);
    command
}

/// Runs `command` to its end. Its output comes through pipes: what limits its files does not limit those.
fn passes(mut command: Command) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

fn nothing_can_be_stored(directory: &Path) {
    block_on(async {
        let ledger: Arc<dyn Ledger> = Arc::new(DirectoryLedger::new(directory));
        let cloud = OneAlias::new();
        let entries = ledger.read(&key()).await.unwrap();
        match deploy(&ledger, &cloud, "ann").await {
            Err(Stopped::Ledger(LedgerError::Unwritable { at, cause })) => {
                assert!(at.starts_with(directory.to_str().unwrap()), "{at}");
                assert_eq!(cause.kind(), std::io::ErrorKind::FileTooLarge);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(cloud.writes(), 0);
        assert_eq!(ledger.read(&key()).await.unwrap(), entries);
    });
}

#[test]
fn where_no_byte_can_be_written_nothing_is_sent() {
    if let Some(directory) = child_ledger() {
        return nothing_can_be_stored(&directory);
    }
    let directory = TempDir::new().unwrap();
    let ledger: Arc<dyn Ledger> = Arc::new(DirectoryLedger::new(directory.path()));
    block_on(deploy(&ledger, &OneAlias::new(), "cid")).unwrap();
    passes(again(
        "where_no_byte_can_be_written_nothing_is_sent",
        directory.path(),
        "ulimit -f 0; trap '' XFSZ;",
    ));
    assert_eq!(block_on(deploy(&ledger, &OneAlias::new(), "ann")).unwrap(), Ending::Arrived);
}

#[test]
fn on_a_full_disk_nothing_is_sent() {
    if let Some(directory) = child_ledger() {
        // One page is enough for the first entry or two, and never for a whole run.
        return nothing_can_be_stored_twice(&directory);
    }
    if !support::can_mount() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let script = format!(
        "exec unshare --user --map-root-user --mount sh -c 'mount -t tmpfs -o size=4k none {} && exec \"$0\" \"$@\"' \"$0\" \"$@\";",
        directory.path().display()
    );
    passes(again("on_a_full_disk_nothing_is_sent", directory.path(), &script));
}

fn nothing_can_be_stored_twice(directory: &Path) {
    block_on(async {
        let ledger: Arc<dyn Ledger> = Arc::new(DirectoryLedger::new(directory));
        let cloud = OneAlias::new();
        for _ in 0..2 {
            match deploy(&ledger, &cloud, "ann").await {
                Err(Stopped::Ledger(LedgerError::Unwritable { cause, .. })) => {
                    assert_eq!(cause.kind(), std::io::ErrorKind::StorageFull);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(cloud.writes(), 0);
        ledger.read(&key()).await.expect("what is there is whole");
    });
}

#[test]
fn what_a_killed_writer_said_was_stored_is_there_and_whole() {
    if let Some(directory) = child_ledger() {
        return block_on(async {
            let ledger: Arc<dyn Ledger> = Arc::new(DirectoryLedger::new(directory));
            let mut journal = open(&ledger, "ann").await.unwrap();
            loop {
                let event = Event::Refused { why: "x".repeat(10_000) };
                let stored = journal.append(jiff::Timestamp::now(), event).await.unwrap();
                writeln!(std::io::stderr(), "stored {}", stored.seq).unwrap();
            }
        });
    }
    let directory = TempDir::new().unwrap();
    let ledger: Arc<dyn Ledger> = Arc::new(DirectoryLedger::new(directory.path()));
    let mut said = 0;
    for _ in 0..5 {
        let mut child =
            again("what_a_killed_writer_said_was_stored_is_there_and_whole", directory.path(), "")
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(|line| line.unwrap());
        let mut stored = lines.filter_map(|line| line.strip_prefix("stored ")?.parse::<u64>().ok());
        said = stored.nth(20).expect("the writer writes until it is killed");
        child.kill().unwrap();
        child.wait().unwrap();
        said = stored.last().unwrap_or(said);
        let entries = block_on(ledger.read(&key())).unwrap();
        // The entry under way when the kill came may be there too.
        assert!((said..=said + 1).contains(&(entries.len() as u64)), "{said} said, {} there", entries.len());
    }
    block_on(open(&ledger, "bob")).unwrap();
    assert!(said > 100);
}
