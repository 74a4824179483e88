//! What a daemon survives, and what it leaves: kills under writes, ends under requests, a full disk, and no process of its
//! functions behind it.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use longshore_contract::{Config, ErrorKind, Provider, Reference, Routing, Secret, Settings, Version};
use serde_json::{Value, json};

use support::http::{Attempt, Connection, call, get};
use support::{Cloud, Function, PROGRAM, image, order};

/// Looks until something is so; fails when it is not after a long time.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn function<'a>(provider: &'a dyn Provider, name: &str) -> Function<'a> {
    Function { provider, name: name.parse().expect("a name") }
}

/// A function's environment that tells its processes from all others.
fn marked(mark: &str) -> Config {
    let environment = [("LONGSHORE_TEST_MARK".to_owned(), Secret::new(mark))].into();
    Config { environment: Some(environment), ..Config::default() }
}

fn mark() -> String {
    format!("mark-{}-{}", std::process::id(), longshore_contract::RunId::generate())
}

/// The processes on this machine that have `mark` in their environment, whoever their parents are by now.
fn with(mark: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("proc");
    let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let has_mark = |pid: &u32| {
        // One that is gone by now, or belongs to somebody else, has not.
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environment| environment.windows(mark.len()).any(|part| part == mark.as_bytes()))
    };
    numbers.filter(has_mark).collect()
}

#[tokio::test]
async fn nothing_is_left_running_after_an_end_or_a_kill() {
    let mut cloud = Cloud::start();
    let (provider, mark) = (cloud.provider(), mark());
    for name in ["shop", "mail"] {
        let function = function(&*provider, name);
        let version = function.version(&image::answering(cloud.registry(), name), marked(&mark)).await;
        function.route(Routing::All(version)).await;
        assert_eq!(get(cloud.functions(), &format!("/{name}/live")).text(), name);
    }
    assert!(with(&mark).len() >= 2, "a process for each function: {:?}", with(&mark));
    cloud.kill();
    until("the end of the functions of a killed daemon", || with(&mark).is_empty());

    cloud.start_again();
    until("the functions of the next one", || with(&mark).len() >= 2);
    let down = Command::new(PROGRAM).arg("down").arg(&cloud.directory).output().expect("it runs");
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    assert_eq!(with(&mark), [0_u32; 0], "when down returns, nothing runs any more");
}

#[tokio::test]
async fn what_was_serving_serves_again_before_anybody_asks() {
    let mut cloud = Cloud::start();
    let (provider, mark) = (cloud.provider(), mark());
    let shop = function(&*provider, "shop");
    let mut versions = Vec::new();
    for answer in ["one", "two", "three"] {
        versions.push(shop.version(&image::answering(cloud.registry(), answer), marked(&mark)).await);
    }
    let share = "25%".parse().expect("a share");
    shop.route(Routing::split(versions[1].clone(), versions[2].clone(), share)).await;
    cloud.kill();
    until("the end of the functions", || with(&mark).is_empty());
    cloud.start_again();
    let embedded = longshore_local::registration().embedded.expect("it is embedded");
    let begun = Instant::now();
    loop {
        let status = embedded.status(&cloud.settings()).await.expect("it runs").expect("it runs");
        let running: BTreeMap<&str, u32> =
            status.traffic.iter().map(|row| (row.version.as_str(), row.instances)).collect();
        assert!(!running.contains_key("1"), "no alias sends anything to version 1: {running:?}");
        if running == [("2", 1), ("3", 1)].into() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{running:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The status and the `connection` header of an answer.
fn told(attempt: Attempt) -> (u16, Option<String>) {
    match attempt {
        Attempt::Answered(answer) => (answer.status, answer.header("connection").map(str::to_owned)),
        Attempt::NoAnswer => panic!("a request that was read has no answer"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_read_is_answered_before_the_daemon_ends() {
    let cloud = Cloud::start();
    let provider = cloud.provider();
    let shop = function(&*provider, "shop");
    let version = shop.version(&image::answering(cloud.registry(), "one"), Config::default()).await;
    shop.route(Routing::All(version)).await;
    let address = cloud.functions();
    // The function holds this one until it hears under /seen that its first piece was seen.
    let mut streaming = Connection::open(address);
    streaming.send(b"GET /shop/live/stream HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(streaming.head().0, 200);
    assert_eq!(streaming.piece().as_deref(), Some(&b"one"[..]));
    // And this one, before it answers at all.
    let held = std::thread::spawn(move || told(Connection::open(address).attempt("GET", "/shop/live/held")));
    let log = || std::fs::read_to_string(cloud.directory.join("logs/shop/1.log")).expect("a log");
    until("both requests at the function", || log().contains("one is held"));

    let directory = cloud.directory.clone();
    let down = std::thread::spawn(move || Command::new(PROGRAM).arg("down").arg(directory).output());
    until("the end of listening", || std::net::TcpStream::connect(address).is_err());
    assert!(!down.is_finished(), "a request is under way");
    // Nobody is let in any more, so the function is told directly.
    let log = log();
    let port = log.lines().find_map(|line| line.split("listening on ").nth(1)).expect("it says so");
    // It may be ended before it has answered.
    let mut direct = Connection::open(format!("127.0.0.1:{port}").parse().expect("an address"));
    direct.send(b"GET /seen HTTP/1.1\r\nhost: test\r\n\r\n");
    let (status, connection) = held.join().expect("a client");
    assert_eq!((status, connection.as_deref()), (200, Some("close")), "no further request is taken");
    assert_eq!(streaming.piece().as_deref(), Some(&b"two"[..]));
    assert_eq!(streaming.piece(), None);
    let down = down.join().expect("it ran").expect("it ran");
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_gets_an_error_and_holds_the_end_up_for_a_bounded_time() {
    let cloud = Cloud::start();
    let provider = cloud.provider();
    let shop = function(&*provider, "shop");
    let version = shop.version(&image::answering(cloud.registry(), "one"), Config::default()).await;
    shop.route(Routing::All(version)).await;
    let address = cloud.functions();
    let mut never = Connection::open(address);
    never.send(b"GET /shop/live/never HTTP/1.1\r\nhost: test\r\n\r\n");
    let begun = Instant::now();
    let down = Command::new(PROGRAM).arg("down").arg(&cloud.directory).output().expect("it runs");
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let answer = never.answer("GET");
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(answer.text().contains("hung up before it answered"), "{}", answer.text());
}

/// A small generator of numbers that look random (xorshift): the same ones for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What a writer was told, and what it had asked for when the daemon was killed.
#[derive(Default)]
struct Written {
    versions: Vec<Version>,
    /// Where the alias was acknowledged to be.
    live: Option<Version>,
    /// Where it was asked to be, without an answer.
    asked: Option<Version>,
}

/// Publishes versions and moves the alias until the daemon is gone. Every answer is remembered.
async fn write_on(shop: &Function<'_>, images: &[Reference; 2], written: &mut Written) {
    let functions = shop.provider.functions();
    for image in images.iter().cycle() {
        let Ok(published) = functions.release(&order(&shop.name, image, Config::default())).await else {
            return;
        };
        written.versions.push(published.version.clone());
        let Ok(alias) = functions.alias(&shop.live()).await else { return };
        let expect = alias.map_or(longshore_contract::Expect::Absent, |alias| {
            longshore_contract::Expect::Revision(alias.revision)
        });
        let routing = Routing::All(published.version.clone());
        let write = longshore_contract::AliasWrite { routing, expect, note: Default::default() };
        written.asked = Some(published.version.clone());
        if functions.route(&shop.live(), &write).await.is_err() {
            return;
        }
        (written.live, written.asked) = (Some(published.version), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kills_at_any_moment() {
    const ROUNDS: u64 = 12;
    let seed = std::env::var("LONGSHORE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 20 | 0x5eed);
    // Shown where the test fails.
    let _ = writeln!(std::io::stderr(), "LONGSHORE_SEED={seed}");
    let (mut random, mut cloud) = (Random(seed), Cloud::start());
    let images = ["one", "two"].map(|answer| image::answering(cloud.registry(), answer));
    let mut written = Written::default();
    for _ in 0..ROUNDS {
        let pause = Duration::from_millis(random.below(250));
        let provider = cloud.provider();
        let shop = function(&*provider, "shop");
        let pid = cloud.daemon.id();
        let killer = std::thread::spawn(move || {
            // The moment is what is random here: nothing is waited for.
            std::thread::sleep(pause);
            Command::new("kill").args(["-9", &pid.to_string()]).status()
        });
        write_on(&shop, &images, &mut written).await;
        assert!(killer.join().expect("it ran").expect("it ran").success());
        cloud.kill_and_start_again();
        check(&cloud, &written).await;
        // Whatever became of the move that was not answered is what is so from here on.
        let provider = cloud.provider();
        let alias = provider.functions().alias(&function(&*provider, "shop").live()).await.expect("no error");
        (written.live, written.asked) = (alias.map(|alias| alias.routing.stable().clone()), None);
    }
    assert!(written.versions.len() >= 3, "{} versions: nothing was tried", written.versions.len());
}

/// Checks a daemon that was killed and started again against what its clients were told.
async fn check(cloud: &Cloud, written: &Written) {
    let journal =
        std::fs::read_to_string(cloud.directory.join("functions/journal.jsonl")).expect("a journal");
    let numbers: Vec<u64> = journal
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("a whole line")["number"].as_u64().expect("a number")
        })
        .collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "no line is missing");
    let state = std::fs::read(cloud.directory.join("functions/state.json"));
    if let Ok(state) = state {
        let state: Value = serde_json::from_slice(&state).expect("it is whole");
        assert_eq!(state["writes"], numbers.len(), "the state is the one that the journal tells of");
    }
    let journal = cloud.journal();
    let provider = cloud.provider();
    let shop = function(&*provider, "shop");
    for version in &written.versions {
        let at = longshore_contract::Qualifier::Version(version.clone());
        let found = provider.functions().describe(&shop.name, &at).await.expect("no error");
        assert!(found.is_some(), "version {version} was acknowledged");
        let line = ("publish".to_owned(), format!("shop@{version}"));
        assert_eq!(
            journal.iter().filter(|found| **found == line).count(),
            1,
            "version {version} was made once"
        );
    }
    let alias = provider.functions().alias(&shop.live()).await.expect("no error");
    let live = alias.as_ref().map(|alias| alias.routing.stable());
    let allowed = [written.live.as_ref(), written.asked.as_ref()];
    assert!(
        live == allowed[0] || (live.is_some() && live == allowed[1]),
        "the alias is at {live:?}, and was acknowledged or asked to be at {allowed:?}"
    );
    if let Some(live) = live {
        let answer = get(cloud.functions(), "/shop/live");
        assert_eq!((answer.status, answer.header("x-longshore-version")), (200, Some(live.as_str())));
    }
}

/// A cloud on a file system of 16 MiB of its own.
struct Small {
    daemon: Child,
    inside: PathBuf,
    _folder: tempfile::TempDir,
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// `None` where this kernel grants no user namespaces, which continuous integration's must.
fn small() -> Option<Small> {
    let folder = tempfile::tempdir().expect("a folder");
    let script = r#"mount -t tmpfs -o size=16m none "$1" && exec "$0" local serve --state "$1/cloud""#;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, PROGRAM]).arg(folder.path());
    let daemon = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut daemon = daemon.expect("unshare is part of every Linux");
    let mut line = String::new();
    let stdout = daemon.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("it can be read");
    if !line.contains("ready") {
        assert!(std::env::var_os("CI").is_none(), "no user namespaces in CI: {line}");
        let _ = writeln!(std::io::stderr(), "skipped: this kernel grants no user namespaces");
        let _ = daemon.wait();
        return None;
    }
    let inside = PathBuf::from(format!("/proc/{}/root{}", daemon.id(), folder.path().display()));
    Some(Small { daemon, inside, _folder: folder })
}

impl Small {
    fn provider(&self) -> std::sync::Arc<dyn Provider> {
        let values = [("state".to_owned(), json!(self.inside.join("cloud")))].into();
        let settings = Settings { values, directory: Path::new("/").into(), ..Settings::default() };
        (longshore_local::registration().connect)(&settings).expect("it can be connected to")
    }

    fn address(&self, key: &str) -> SocketAddr {
        let identity = std::fs::read(self.inside.join("cloud/cloud.json")).expect("the cloud has a name");
        let identity: Value = serde_json::from_slice(&identity).expect("JSON");
        ([127, 0, 0, 1], u16::try_from(identity[key].as_u64().expect("a port")).expect("a port")).into()
    }
}

#[tokio::test]
async fn a_full_disk_stops_deploys_and_not_what_serves() {
    let Some(small) = small() else { return };
    let (registry, functions) = (small.address("registry_port"), small.address("functions_port"));
    let provider = small.provider();
    let shop = function(&*provider, "shop");
    let one = shop.version(&image::answering(registry, "one"), Config::default()).await;
    shop.route(Routing::All(one)).await;
    let next = image::answering(registry, "two");

    let filler = small.inside.join("filler");
    let mut file = std::fs::File::create(&filler).expect("there is room");
    while file.write_all(&[0; 4096]).is_ok() {}
    let release = order(&shop.name, &next, Config::default());
    let error = provider.functions().release(&release).await.expect_err("there is no room");
    assert_eq!(error.kind, ErrorKind::Quota, "{error}");
    assert!(error.message.contains("No space left on device"), "{error}");
    assert!(error.message.contains("functions/"), "the error names the place: {error}");
    let pushed = call(registry, "POST", "/v2/sample/blobs/uploads/", &[], b"");
    assert!(matches!(pushed.status, 202 | 507), "{}", pushed.text());
    for _ in 0..20 {
        // It has no room for its log either, and that is none of the requests' business.
        let answer = get(functions, "/shop/live");
        assert_eq!((answer.status, answer.text().as_str()), (200, "one"));
    }

    drop(file);
    std::fs::remove_file(&filler).expect("it is ours");
    let two = provider.functions().release(&release).await.expect("there is room again").version;
    shop.route(Routing::All(two)).await;
    assert_eq!(get(functions, "/shop/live").text(), "two");
}
