//! How the daemon starts, ends, and comes back.

mod support;

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use longshore_contract::{
    Calls, Config, ErrorKind, Expect, Follow, LogsOf, Qualifier, Routing, Service, Severity, State,
};
use serde_json::json;

use support::http::{call, get};
use support::{Cloud, Function, PROGRAM, image, order, serve};

/// Looks until something is so; fails when it is not after a long time.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(pid: &str) -> bool {
    // A process that nobody has collected yet is a zombie and serves nobody.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

/// Runs the program and waits for its end *and* for the end of its output, which a daemon must not hold open.
fn run(verb: &str, directory: &Path) -> Output {
    // Whatever starts us may have handed descriptors on that it waits for: 3 stands for them.
    let script = r#"exec 3>&1; exec "$0" "$1" "$2""#;
    let child = Command::new("sh")
        .args(["-c", script, PROGRAM, verb])
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output = receiver.recv_timeout(Duration::from_secs(60)).expect("its output comes to an end");
    output.expect("it can be waited for")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// A cloud that `up` started; `down` ends it, whatever the test comes to.
struct Detached(tempfile::TempDir);

impl Detached {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        let _ = Command::new(PROGRAM).arg("down").arg(self.0.path()).output();
    }
}

#[test]
fn up_returns_when_the_cloud_answers_and_holds_nothing_open() {
    let cloud = Detached::new();
    let up = run("up", cloud.0.path());
    assert!(up.status.success(), "{}", text(&up.stderr));
    let pid = text(&up.stdout);
    assert_eq!(text(&run("status", cloud.0.path()).stdout), pid);
    assert_eq!(text(&run("up", cloud.0.path()).stdout), pid, "a second up starts nothing");
    for fd in std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs") {
        let target = std::fs::read_link(fd.expect("an entry").path()).unwrap_or_default();
        assert!(!target.to_string_lossy().starts_with("pipe:"), "the daemon holds {} open", target.display());
    }
    let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).expect("it runs");
    assert!(!environment.contains("CARGO"), "the daemon kept our environment");
    let session = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let session =
        session.rsplit(") ").next().expect("fields").split(' ').nth(3).expect("a session").to_owned();
    assert_eq!(session, pid, "the daemon has a session of its own");
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).expect("it runs"), Path::new("/"));
    let down = run("down", cloud.0.path());
    assert!(down.status.success(), "{}", text(&down.stderr));
    assert!(!is_alive(&pid));
    assert_eq!(text(&run("status", cloud.0.path()).stdout), "");
    assert!(run("down", cloud.0.path()).status.success(), "what does not run can be ended");
}

#[test]
fn of_two_who_start_a_cloud_at_once_both_get_the_same() {
    let cloud = Detached::new();
    let outputs: Vec<Output> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..4).map(|_| scope.spawn(|| run("up", cloud.0.path()))).collect();
        starting.into_iter().map(|thread| thread.join().expect("it ran")).collect()
    });
    for output in &outputs {
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), text(&outputs[0].stdout));
    }
}

#[test]
fn a_daemon_that_hangs_is_ended_all_the_same() {
    let cloud = Detached::new();
    let pid = text(&run("up", cloud.0.path()).stdout);
    assert!(Command::new("kill").args(["-STOP", &pid]).status().expect("kill runs").success());
    let down = run("down", cloud.0.path());
    assert!(down.status.success(), "{}", text(&down.stderr));
    assert!(!is_alive(&pid));
}

#[test]
fn up_after_a_kill_starts_a_new_daemon() {
    let cloud = Detached::new();
    let first = text(&run("up", cloud.0.path()).stdout);
    assert!(Command::new("kill").args(["-9", &first]).status().expect("kill runs").success());
    until("the end of the daemon", || !is_alive(&first));
    let second = run("up", cloud.0.path());
    assert!(second.status.success(), "{}", text(&second.stderr));
    assert_ne!(text(&second.stdout), first);
    assert!(is_alive(&text(&second.stdout)));
}

#[test]
fn a_second_daemon_on_one_directory_is_refused() {
    let cloud = Cloud::start();
    let (mut second, said) = serve(&cloud.directory);
    assert_eq!(said["failed"]["code"], "RunsAlready", "{said}");
    assert!(!second.wait().expect("it ends").success());
    assert_eq!(get(cloud.registry(), "/v2/").status, 200, "the first still serves");
}

#[test]
fn a_kept_port_that_is_taken_is_named_with_what_to_do() {
    let mut cloud = Cloud::start();
    let port = cloud.registry().port();
    cloud.kill();
    let _taken = TcpListener::bind(("127.0.0.1", port)).expect("it is free now");
    let up = run("up", &cloud.directory);
    let told = text(&up.stderr);
    assert!(!up.status.success());
    assert!(told.contains(&format!("port {port} ")) && told.contains("cloud.json"), "{told}");
    assert!(told.contains("code: PortTaken"), "{told}");
}

#[test]
fn a_directory_of_a_newer_program_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("format"), "2\n").expect("it can be written");
    let up = run("up", folder.path());
    assert!(!up.status.success());
    assert!(text(&up.stderr).contains("has format 2"), "{}", text(&up.stderr));
}

#[tokio::test]
async fn a_killed_daemon_comes_back_with_everything_and_its_functions_went_with_it() {
    let mut cloud = Cloud::start();
    let name = "shop".parse().expect("a name");
    let (address, provider) = (cloud.functions(), cloud.provider());
    let shop = Function { provider: &*provider, name };
    let image = image::answering(cloud.registry(), "one");
    let version = shop.version(&image, Config::default()).await;
    shop.route(Routing::All(version.clone())).await;
    let alias = provider.functions().alias(&shop.live()).await.expect("no error");
    let pid = get(address, "/shop/live/pid").text();
    let outside = outside_pid(cloud.daemon.id());
    assert!(!outside.is_empty(), "the function {pid} runs");
    cloud.kill();
    until("the end of the function", || outside.iter().all(|pid| !is_alive(pid)));

    let error = provider.functions().alias(&shop.live()).await.expect_err("nobody is there");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    cloud.start_again();
    assert_eq!(cloud.functions(), address, "the ports are kept");
    assert_eq!(provider.functions().alias(&shop.live()).await.expect("no error"), alias);
    let writes = cloud.journal();
    let expected = [("create_function", "shop"), ("publish", "shop@1"), ("create_alias", "shop:live")];
    assert_eq!(writes, expected.map(|(action, subject)| (action.to_owned(), subject.to_owned())));
    // Many come at once to a version that does not run: one process is started.
    let pids: Vec<String> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(|| get(address, "/shop/live/pid"))).collect();
        asking.into_iter().map(|thread| thread.join().expect("it answers").text()).collect()
    });
    assert_eq!(outside_pid(cloud.daemon.id()).len(), 1, "{pids:?}");
    assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
}

/// The processes whose parent is `daemon`.
fn outside_pid(daemon: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("proc") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{name}/stat")) else { continue };
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).map(str::to_owned);
        if name.parse::<u32>().is_ok() && parent == Some(daemon.to_string()) && is_alive(&name) {
            found.push(name);
        }
    }
    found
}

#[tokio::test]
async fn an_update_that_a_kill_interrupted_is_taken_up() {
    let mut cloud = Cloud::start();
    let late = image::push(cloud.registry(), &["/function", "late"], &[]);
    let provider = cloud.provider();
    let name: longshore_contract::FunctionName = "shop".parse().expect("a name");
    let mut release = order(&name, &late, Config::default());
    release.patience = Duration::from_millis(1);
    let error = provider.functions().release(&release).await.expect_err("it takes longer than a millisecond");
    assert_eq!(error.kind, ErrorKind::Busy, "{error}");
    cloud.kill_and_start_again();
    let head = provider.functions().describe(&name, &Qualifier::Latest).await.expect("no error");
    assert_eq!(head.expect("it was accepted").state, State::Pending);
    release.patience = Duration::from_secs(60);
    let published = provider.functions().release(&release).await.expect("it comes to its end");
    assert_eq!(published.version.as_str(), "1");
    let actions: Vec<String> = cloud.journal().into_iter().map(|(action, _)| action).collect();
    assert_eq!(actions, ["create_function", "publish"], "the repeated intent is no second write");
}

/// The control API as a client meets it that keeps no manners.
struct Control {
    address: std::net::SocketAddr,
    bearer: String,
}

impl Control {
    fn of(cloud: &Cloud) -> Self {
        let text = std::fs::read(cloud.directory.join("daemon.json")).expect("it runs");
        let daemon: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        let bearer = format!("Bearer {}", daemon["token"].as_str().expect("a token"));
        Self { address: cloud.functions(), bearer }
    }

    fn call(&self, method: &str, path: &str, body: &[u8]) -> support::http::Answer {
        let path = format!("/_longshore/1/functions/{path}");
        call(self.address, method, &path, &[("authorization", &self.bearer)], body)
    }

    fn json(&self, method: &str, path: &str, body: &[u8]) -> serde_json::Value {
        let answer = self.call(method, path, body);
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// Sends a whole request and hangs up without waiting for its answer.
    fn send_and_hang_up(&self, method: &str, path: &str, body: &[u8]) {
        let head = format!(
            "{method} /_longshore/1/functions/{path} HTTP/1.1\r\nhost: test\r\nauthorization: {}\r\n\
             content-length: {}\r\n\r\n",
            self.bearer,
            body.len()
        );
        let mut stream = std::net::TcpStream::connect(self.address).expect("it listens");
        stream.write_all(&[head.as_bytes(), body].concat()).expect("it can be sent");
    }

    fn state(&self, path: &str) -> String {
        self.json("GET", path, b"")["state"].as_str().unwrap_or("failed").to_owned()
    }
}

#[tokio::test]
async fn what_a_client_that_hung_up_has_asked_for_comes_to_its_end() {
    const MANY: usize = 12;
    let mut cloud = Cloud::start();
    let image = image::answering(cloud.registry(), "one");
    let names: Vec<String> = (0..MANY).map(|number| format!("shop-{number}")).collect();
    let run = longshore_contract::RunId::generate();
    let intent = |step: usize| longshore_contract::Intent { run, step: step.try_into().expect("few") };
    let update = |step: usize| {
        let body = json!({
            "repository": "sample", "digest": image.digest, "platform": longshore_contract::Platform::host(),
            "settings": {}, "intent": intent(step),
        });
        body.to_string().into_bytes()
    };
    let control = Control::of(&cloud);
    for (step, name) in names.iter().enumerate() {
        control.send_and_hang_up("PUT", name, &update(step));
    }
    for (step, name) in names.iter().enumerate() {
        // As a client does that did not hear what came of it.
        control.json("PUT", name, &update(step));
        until("the end of the update", || control.state(&format!("{name}/head")) == "active");
    }
    let created = names.iter().map(|name| ("create_function".to_owned(), name.clone()));
    let (mut found, mut expected) = (cloud.journal(), created.collect::<Vec<_>>());
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "one write for each");

    // No process runs after this, so that a version has to be started before it serves.
    cloud.kill_and_start_again();
    let control = Control::of(&cloud);
    for (step, name) in names.iter().enumerate() {
        let revision = control.json("GET", &format!("{name}/head"), b"")["revision"].clone();
        let body = json!({ "intent": intent(step), "revision": revision }).to_string().into_bytes();
        control.send_and_hang_up("POST", &format!("{name}/versions"), &body);
        let version = control.json("POST", &format!("{name}/versions"), &body);
        assert_eq!(version["version"], "1", "the repeated intent made no second version");
        until("the end of the publish", || control.state(&format!("{name}/versions/1")) == "active");
    }
    for name in &names {
        let path = format!("{name}/aliases/live");
        let body = json!({ "routing": { "all": "1" }, "description": "", "guard": "absent" });
        control.send_and_hang_up("PUT", &path, body.to_string().as_bytes());
        let again = control.call("PUT", &path, body.to_string().as_bytes());
        assert!(matches!(again.status, 200 | 409), "{}", again.text());
        assert_eq!(control.json("GET", &path, b"")["routing"], json!({ "all": "1" }));
        assert_eq!(get(control.address, &format!("/{name}/live")).text(), "one");
    }
}

#[tokio::test]
async fn moving_back_is_two_calls_and_a_release_few() {
    let cloud = Cloud::start();
    let name = "shop".parse().expect("a name");
    let connected = cloud.provider();
    let count = |calls: &Calls| calls.to(Service::Functions);
    let calls = Calls::default();
    let provider = connected.metered(calls.clone());
    let shop = Function { provider: &*provider, name };
    let image = image::answering(cloud.registry(), "one");
    let one = shop.version(&image, Config::default()).await;
    assert!((2..12).contains(&count(&calls)), "a release took {} calls", count(&calls));
    shop.route(Routing::All(one.clone())).await;
    let calls = Calls::default();
    let provider = connected.metered(calls.clone());
    Function { provider: &*provider, name: shop.name.clone() }.route(Routing::All(one)).await;
    assert_eq!(count(&calls), 2, "one read, one guarded write");
    assert_eq!(connected.preflight(&shop.name).await.expect("no error"), []);
}

#[tokio::test]
async fn the_control_api_is_for_whoever_has_the_token_and_for_no_web_page() {
    let cloud = Cloud::start();
    let daemon: serde_json::Value =
        serde_json::from_slice(&std::fs::read(cloud.directory.join("daemon.json")).expect("it runs"))
            .expect("JSON");
    let bearer = format!("Bearer {}", daemon["token"].as_str().expect("a token"));
    let status =
        |headers: &[(&str, &str)]| call(cloud.functions(), "GET", "/_longshore/1/status", headers, b"");
    assert_eq!(status(&[("authorization", &bearer)]).status, 200);
    for headers in [
        vec![],
        vec![("authorization", "Bearer guess")],
        vec![("authorization", bearer.as_str()), ("origin", "http://example.com")],
    ] {
        let refused = status(&headers);
        let body: serde_json::Value = serde_json::from_slice(&refused.body).expect("JSON");
        assert_eq!((refused.status, &body["code"]), (403, &json!("Denied")), "{body}");
        assert!(body["request_id"].is_string(), "{body}");
    }
    let shutdown = call(cloud.functions(), "POST", "/_longshore/1/shutdown", &[], b"");
    assert_eq!(shutdown.status, 403);
    let large = vec![b' '; 2 << 20];
    let put = |body: &[u8]| {
        let headers = [("authorization", bearer.as_str())];
        call(cloud.functions(), "PUT", "/_longshore/1/functions/shop", &headers, body)
    };
    assert_eq!(put(&large).status, 400);
    let odd = put(br#"{"settings": {"environment": {"TOKEN": ["hunter2"]}}}"#);
    assert!(odd.status == 400 && !odd.text().contains("hunter2"), "{}", odd.text());
    assert_eq!(
        call(cloud.functions(), "GET", "/_longshore/9/x", &[("authorization", &bearer)], b"").status,
        404
    );
}

#[tokio::test]
async fn a_cloud_that_does_not_run_says_how_to_start_it() {
    let mut cloud = Cloud::start();
    let provider = cloud.provider();
    let name = "shop".parse().expect("a name");
    let region = provider.place().region.clone();
    cloud.kill();
    let error = provider.functions().describe(&name, &Qualifier::Latest).await.expect_err("nobody is there");
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("longshore local up"), "{error}");
    let found = provider.preflight(&name).await.expect("that is a finding");
    assert_eq!(found.iter().map(|finding| finding.severity).collect::<Vec<_>>(), [Severity::Notice]);
    assert_eq!(cloud.provider().place().region, region, "who a cloud is does not depend on its daemon");
}

#[tokio::test]
async fn a_function_s_log_is_kept_by_version() {
    let cloud = Cloud::start();
    let provider = cloud.provider();
    let shop = Function { provider: &*provider, name: "shop".parse().expect("a name") };
    let broken = order(&shop.name, &image::ending(cloud.registry()), Config::default());
    let error = provider.functions().release(&broken).await.expect_err("it does not start");
    assert!(error.message.contains("exited with status 3"), "{error}");
    assert!(error.message.contains("cannot find the configuration"), "{error}");
    let version = shop.version(&image::answering(cloud.registry(), "one"), Config::default()).await;
    let embedded = longshore_local::registration().embedded.expect("it is embedded");
    let mut out = Vec::new();
    let of = LogsOf::Version(shop.name.clone(), version);
    embedded.logs(&cloud.settings(), &of, Follow::ToEnd, &mut out).await.expect("there is a log");
    let log = text(&out);
    assert!(log.contains("listening on"), "{log}");
    assert!(!log.contains("cannot find"), "a failed update left its lines in a version's log: {log}");
}

#[tokio::test]
async fn a_failed_start_is_told_without_the_environment_s_values() {
    let cloud = Cloud::start();
    let provider = cloud.provider();
    let name = "shop".parse().expect("a name");
    let token = longshore_contract::Secret::new("hunter2-hunter2");
    let config = Config { environment: Some([("TOKEN".to_owned(), token)].into()), ..Config::default() };
    let broken = order(&name, &image::ending(cloud.registry()), config);
    let error = provider.functions().release(&broken).await.expect_err("it does not start");
    assert_eq!(error.kind, ErrorKind::Failed);
    assert!(error.message.contains("the token is [hidden] | cannot find the configuration"), "{error}");
    let log = std::fs::read_to_string(cloud.directory.join("logs/shop/1.log")).expect("there is a log");
    assert!(log.contains("hunter2"), "the function's own log is the function's: {log}");
}

/// Needs a small file system of its own, which needs a kernel that grants user namespaces.
#[tokio::test]
async fn a_full_disk_refuses_a_write_and_leaves_what_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = r#"mount -t tmpfs -o size=16m none "$1" && exec "$0" local serve --state "$1/cloud""#;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, PROGRAM]).arg(folder.path());
    let daemon = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut daemon = daemon.expect("unshare is part of every Linux");
    let mut line = String::new();
    let stdout = daemon.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("it can be read");
    if !line.contains("ready") {
        assert!(std::env::var_os("CI").is_none(), "no user namespaces in CI: {line}");
        let _ = writeln!(std::io::stderr(), "skipped: this kernel grants no user namespaces");
        let _ = daemon.wait();
        return;
    }
    let inside = format!("/proc/{}/root{}", daemon.id(), folder.path().display());
    let settings = longshore_contract::Settings {
        values: [("state".to_owned(), json!(format!("{inside}/cloud")))].into(),
        directory: "/".into(),
        ..longshore_contract::Settings::default()
    };
    let provider = (longshore_local::registration().connect)(&settings).expect("it can be connected to");
    let registry =
        provider.registry().repository("sample").expect("a name").host().parse().expect("an address");
    let shop = Function { provider: &*provider, name: "shop".parse().expect("a name") };
    let version = shop.version(&image::answering(registry, "one"), Config::default()).await;
    shop.route(Routing::All(version.clone())).await;
    let before = provider.functions().alias(&shop.live()).await.expect("no error").expect("it is there");

    let filler = format!("{inside}/filler");
    let mut file = std::fs::File::create(&filler).expect("there is room");
    let piece = vec![0; 4096];
    while file.write_all(&piece).is_ok() {}
    let write = longshore_contract::AliasWrite {
        routing: Routing::All(version),
        expect: Expect::Revision(before.revision.clone()),
        note: longshore_contract::Note { text: "moved".to_owned(), breadcrumb: None },
    };
    let error = provider.functions().route(&shop.live(), &write).await.expect_err("there is no room");
    assert_eq!(error.kind, ErrorKind::Quota, "{error}");
    assert!(error.message.contains("No space left"), "{error}");
    assert_eq!(provider.functions().alias(&shop.live()).await.expect("no error"), Some(before));
    drop(file);
    std::fs::remove_file(&filler).expect("it is ours");
    provider.functions().route(&shop.live(), &write).await.expect("there is room again");
    let _ = daemon.kill();
    let _ = daemon.wait();
}
