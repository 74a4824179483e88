//! The load proof: what a router under load loses, what it adds, and what the daemon needs for it. A minute long, so it is
//! called by name, in the profile whose figures mean something:
//!
//!     cargo test --profile load -p longshore-local --test local_load -- --ignored --nocapture
//!
//! A request counts as lost when a daemon has read it and the client has no answer to it. A client cannot see whether a
//! request was read when its connection ends without an answer, but the daemons can: each counts what it has read. The
//! clients send a request again until it is answered, and each answer names the request that it is for. So there are as
//! many answers as requests that were read exactly when none that was read was lost.

mod support;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use longshore_contract::{Config, Provider, Routing, Settings};
use serde_json::{Value, json};

use support::http::{Attempt, Connection};
use support::{Function, PROGRAM, image};

/// How many clients send requests, one behind the other each.
const CLIENTS: usize = 50;

/// How many of them ask for what takes its time, so that there is always something to drain.
const SLOW: usize = 10;

/// What happens to the cloud under load, one a turn.
const TURNS: [Turn; 12] = {
    use Turn::{Restart, Shift};
    [Shift, Shift, Shift, Restart, Shift, Shift, Shift, Shift, Restart, Shift, Shift, Shift]
};

/// How long a turn takes: sixty seconds for all of them.
const TURN: Duration = Duration::from_secs(5);

/// How long a client tries to get an answer. A restart is over long before.
const PATIENCE: Duration = Duration::from_secs(20);

/// The requests of the measurement: so many a second, in rounds of a second.
const RATE: u32 = 200;
const ROUND: Duration = Duration::from_secs(1);

/// A round counts when nothing else on the machine got in its way, which the direct connection tells. So many such rounds
/// are wanted, and so many are tried; fewer calm ones than the least say nothing about the router.
const CALM: Duration = Duration::from_micros(500);
const WANTED: usize = 20;
const LEAST: usize = 5;
const TRIED: usize = 60;

/// What the router may add at p99, and the memory that a daemon may take.
const ADDED: Duration = Duration::from_millis(1);
const MEMORY_KIB: u64 = 64 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The alias goes from one version to the other.
    Shift,
    /// `local down` and `local up`.
    Restart,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes more than a minute, and is measured with --profile load"]
async fn a_minute_of_load_across_shifts_and_restarts_loses_no_request() {
    let cloud = Detached::start();
    let provider = cloud.provider();
    let shop = Function { provider: &*provider, name: "shop".parse().expect("a name") };
    let mut versions = Vec::new();
    for answer in ["one", "two"] {
        let image = image::answering(cloud.registry(), answer);
        versions.push(shop.version(&image, Config::default()).await);
    }
    shop.route(Routing::All(versions[0].clone())).await;

    let (address, over) = (cloud.functions(), AtomicBool::new(false));
    let begun = Instant::now();
    let (told, peaks) = std::thread::scope(|scope| {
        let over = &over;
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || Client::new(address, number).run(over))).collect();
        let (cloud, versions) = (&cloud, &versions);
        let conductor = scope.spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let (mut shifts, mut peaks) = (0, Vec::new());
            for (number, turn) in TURNS.iter().enumerate() {
                let until = begun + TURN * u32::try_from(number + 1).expect("few");
                match turn {
                    Turn::Shift => {
                        shifts += 1;
                        let routing = Routing::All(versions[shifts % 2].clone());
                        runtime.block_on(async {
                            let provider = cloud.provider();
                            Function { provider: &*provider, name: "shop".parse().expect("a name") }
                                .route(routing)
                                .await;
                        });
                    }
                    Turn::Restart => {
                        peaks.push(cloud.peak_kib());
                        cloud.run("down");
                        cloud.run("up");
                    }
                }
                std::thread::sleep(until.saturating_duration_since(Instant::now()));
            }
            assert_eq!((shifts, peaks.len()), (10, 2), "the turns that the proof is about");
            peaks
        });
        let peaks = conductor.join();
        over.store(true, Ordering::SeqCst);
        let told: Vec<Told> = clients.into_iter().map(|client| client.join().expect("a client")).collect();
        (told, peaks.expect("the turns went well"))
    });
    let took = begun.elapsed();

    let added = measure(&cloud, address);
    let mut peaks = peaks;
    peaks.push(cloud.peak_kib());
    cloud.run("down");
    let counted = cloud.counted();
    let asked_again: u64 = told.iter().map(|told| told.unanswered + told.refused).sum();
    let mut by_version = BTreeMap::<String, u64>::new();
    for (version, count) in told.iter().flat_map(|told| &told.by_version) {
        *by_version.entry(version.clone()).or_default() += count;
    }
    let under_load: u64 = by_version.values().sum();
    let answers = under_load + added.requests;
    let read: u64 = counted.iter().map(|counted| counted.read).sum();
    let answered: u64 = counted.iter().map(|counted| counted.answered).sum();
    say(&format!(
        "{CLIENTS} clients, {:.0} s, 10 shifts, 2 restarts: {under_load} answers ({:.0}/s; by version {by_version:?}), \
         {asked_again} attempts that no daemon read\n\
         read by the daemons {read}, answered by them {answered}, answers at the clients {answers}: {} lost\n\
         peak memory of the daemons: {peaks:?} KiB, of {MEMORY_KIB} KiB\n{added}",
        took.as_secs_f64(),
        under_load as f64 / took.as_secs_f64(),
        read.abs_diff(answers),
    ));
    assert_eq!(counted.len(), 3, "three daemons ran, and each ended by itself");
    assert_eq!((read, answered), (answers, answers), "a request that a daemon had read was lost");
    assert_eq!(by_version.keys().map(String::as_str).collect::<Vec<_>>(), ["1", "2"]);
    assert!(peaks.iter().all(|peak| *peak < MEMORY_KIB), "{peaks:?}");
    assert!(added.at_p99().is_some_and(|added| added < ADDED), "see above");
}

/// What one client saw.
#[derive(Default)]
struct Told {
    /// Answers, by the version that gave them.
    by_version: BTreeMap<String, u64>,
    /// Connections that ended before an answer began.
    unanswered: u64,
    /// Connections that were not accepted.
    refused: u64,
}

struct Client {
    address: SocketAddr,
    number: usize,
    connection: Option<Connection>,
    told: Told,
}

impl Client {
    fn new(address: SocketAddr, number: usize) -> Self {
        Self { address, number, connection: None, told: Told::default() }
    }

    /// Sends requests until it is over, each until it is answered.
    fn run(mut self, over: &AtomicBool) -> Told {
        let kind = if self.number < SLOW { "slow" } else { "request" };
        let mut count = 0_u64;
        while !over.load(Ordering::SeqCst) {
            count += 1;
            let id = format!("{}-{count}-", self.number);
            let version = self.ask(&format!("/shop/live/{kind}?id={id}"), &id);
            *self.told.by_version.entry(version).or_default() += 1;
        }
        self.told
    }

    /// The version that answered the request at `path`, whose answer names it by `id`.
    fn ask(&mut self, path: &str, id: &str) -> String {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "{path} was not answered within {PATIENCE:?}");
            let mut connection = match self.connection.take() {
                Some(connection) => connection,
                None => match Connection::try_open(self.address) {
                    Ok(connection) => connection,
                    Err(error) => {
                        // Reset: it waited to be accepted when the daemon stopped listening. Nobody read from it.
                        let known = [io::ErrorKind::ConnectionRefused, io::ErrorKind::ConnectionReset];
                        assert!(known.contains(&error.kind()), "{error}");
                        self.told.refused += 1;
                        // Nobody listens between two daemons, and nothing tells when one does again.
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    }
                },
            };
            let answer = match connection.attempt("GET", path) {
                Attempt::Answered(answer) => answer,
                Attempt::NoAnswer => {
                    self.told.unanswered += 1;
                    continue;
                }
            };
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(
                answer.text().contains(id),
                "the answer to another request than {path}: {}",
                answer.text()
            );
            let version = answer.header("x-longshore-version").expect("a version").to_owned();
            if answer.header("connection") != Some("close") {
                self.connection = Some(connection);
            }
            return version;
        }
    }
}

/// What the router adds to a request: one through the router and one straight to the same instance, in turns, at a steady
/// rate that leaves both idle most of the time.
struct Added {
    requests: u64,
    rounds: Vec<[Percentiles; 2]>,
}

#[derive(Clone, Copy)]
struct Percentiles {
    p50: Duration,
    p99: Duration,
}

impl Percentiles {
    fn of(mut took: Vec<Duration>) -> Self {
        took.sort();
        let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
        Self { p50: at(50), p99: at(99) }
    }
}

impl Added {
    /// The rounds that count. The router has no say in which do.
    fn calm(&self) -> impl Iterator<Item = &[Percentiles; 2]> {
        self.rounds.iter().filter(|[direct, _]| direct.p99 < CALM)
    }

    /// What was added at p99: the median of the calm rounds; `None` where there were too few of them.
    fn at_p99(&self) -> Option<Duration> {
        let mut added: Vec<Duration> =
            self.calm().map(|[direct, routed]| routed.p99.saturating_sub(direct.p99)).collect();
        added.sort();
        (added.len() >= LEAST).then(|| added[added.len() / 2])
    }
}

impl std::fmt::Display for Added {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        writeln!(
            f,
            "{RATE} requests a second: {} of {} rounds of {ROUND:?} were calm (load of the machine: {})",
            self.calm().count(),
            self.rounds.len(),
            load.trim()
        )?;
        for [direct, routed] in self.calm() {
            writeln!(
                f,
                "  p50 direct {:?}, router {:?}; p99 direct {:?}, router {:?}",
                direct.p50, routed.p50, direct.p99, routed.p99
            )?;
        }
        match self.at_p99() {
            Some(added) => write!(f, "the router adds {added:?} at p99 (median; below {ADDED:?})"),
            None => {
                write!(f, "the machine is too busy to tell what the router adds: try again when it is not")
            }
        }
    }
}

fn measure(cloud: &Detached, address: SocketAddr) -> Added {
    let mut through = Connection::open(address);
    let mut requests = 0;
    let answer = through.call("GET", "/shop/live/ping", &[], &[]);
    requests += 1;
    let version = answer.header("x-longshore-version").expect("a version").to_owned();
    let mut direct = Connection::open(cloud.instance(&version));
    let mut added = Added { requests: 0, rounds: Vec::new() };
    while added.rounds.len() < TRIED && added.calm().count() < WANTED {
        let (mut took, pause) = ([Vec::new(), Vec::new()], Duration::from_secs(1) / RATE);
        let begun = Instant::now();
        let mut tick = 0;
        while begun.elapsed() < ROUND {
            std::thread::sleep((begun + pause * tick).saturating_duration_since(Instant::now()));
            // Whoever comes second finds the caches warm: it is each of them every other time.
            for turn in [tick % 2, 1 - tick % 2] {
                let sent = Instant::now();
                let answer = match turn {
                    0 => direct.call("GET", "/ping", &[], &[]),
                    _ => through.call("GET", "/shop/live/ping", &[], &[]),
                };
                took[turn as usize].push(sent.elapsed());
                assert_eq!(answer.status, 200);
                requests += u64::from(turn == 1);
            }
            tick += 1;
        }
        added.rounds.push(took.map(Percentiles::of));
    }
    added.requests = requests;
    added
}

/// A cloud that `up` started, as users' are.
struct Detached(tempfile::TempDir);

/// What a daemon said at its end.
struct Counted {
    read: u64,
    answered: u64,
}

impl Detached {
    fn start() -> Self {
        let cloud = Self(tempfile::tempdir().expect("a folder"));
        cloud.run("up");
        cloud
    }

    fn run(&self, verb: &str) {
        let output = Command::new(PROGRAM).arg(verb).arg(self.0.path()).output().expect("it runs");
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    fn daemon(&self) -> Value {
        serde_json::from_str(&self.read("daemon.json")).expect("JSON")
    }

    fn address(&self, key: &str) -> SocketAddr {
        self.daemon()[key].as_str().expect("an address").parse().expect("an address")
    }

    fn functions(&self) -> SocketAddr {
        self.address("functions")
    }

    fn registry(&self) -> SocketAddr {
        self.address("registry")
    }

    fn provider(&self) -> std::sync::Arc<dyn Provider> {
        let values = [("state".to_owned(), json!(self.0.path()))].into();
        let settings = Settings { values, directory: Path::new("/").into(), ..Settings::default() };
        (longshore_local::registration().connect)(&settings).expect("it can be connected to")
    }

    /// The most memory that the daemon that runs has had, in KiB.
    fn peak_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.daemon()["pid"])).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        peak.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Where the newest instance of a version listens, which it says when it starts.
    fn instance(&self, version: &str) -> SocketAddr {
        let log = self.read(&format!("logs/shop/{version}.log"));
        let port = log.lines().rev().find_map(|line| line.split("listening on ").nth(1)).expect("it says so");
        format!("127.0.0.1:{}", port.trim()).parse().expect("an address")
    }

    /// What the daemons so far have counted, each at its end.
    fn counted(&self) -> Vec<Counted> {
        let log = self.read("daemon.log");
        let number = |line: &str, name: &str| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            value.expect(name).parse().expect("a number")
        };
        let ends = log.lines().filter(|line| line.starts_with("ended "));
        ends.map(|line| Counted { read: number(line, "read"), answered: number(line, "answered") }).collect()
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        let _ = Command::new(PROGRAM).arg("down").arg(self.0.path()).output();
    }
}

fn say(text: &str) {
    // The harness hides what a test prints, unless it is told not to; figures are for whoever wants to see them.
    let _ = writeln!(io::stdout(), "{text}");
}
