//! A place of its own for a test of the real binary: a folder, a manifest, a local cloud that ends with it.
#![allow(dead_code, reason = "each test binary uses the part it needs")]

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary under test.
pub(crate) const LONGSHORE: &str = env!("CARGO_BIN_EXE_longshore");

/// The quickstart's function built as `version`, static; built once per test run and version.
pub(crate) fn function(version: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("function-{}-{version}", std::process::id()));
    let guard = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let program = folder.join("build/function");
    if !program.exists() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart");
        std::fs::create_dir_all(&folder).expect("a folder");
        for file in ["build.sh", "function.rs"] {
            std::fs::copy(example.join(file), folder.join(file)).expect("the example's file");
        }
        let built = Command::new("./build.sh").arg(version).current_dir(&folder).status().expect("sh runs");
        assert!(built.success(), "build.sh {version}");
    }
    drop(guard);
    program
}

/// A folder with a manifest and a local cloud of its own; the cloud ends and the folder goes with it.
pub(crate) struct Scratch {
    folder: tempfile::TempDir,
}

/// The manifest that [`Scratch::new`] writes: one function, assembled from a program and a page.
pub(crate) const MANIFEST: &str = "\
version: 1
name: shop
vars: { version: v1 }
targets:
  here: { provider: local }
functions:
  hello:
    image:
      assemble:
        base: scratch
        add:
          - { source: 'function-${vars.version}', destination: /app/function, mode: '0755' }
          - { source: page.html, destination: /app/page.html }
        entrypoint: [/app/function]
        workdir: /app
    tag: ${vars.version}
    config: { environment: { GREETING: hello } }
environments:
  canary: { functions: { hello: { shift: { strategy: canary, steps: [25%], soak: 600s } } } }
  quick: { functions: { hello: { shift: { strategy: canary, steps: [5%, 25%], soak: 300ms } } } }
";

impl Scratch {
    /// A folder with [`MANIFEST`] and the function as v1, v2 and v3.
    pub(crate) fn new() -> Self {
        let scratch = Self::empty();
        for version in ["v1", "v2", "v3"] {
            std::fs::copy(function(version), scratch.path().join(format!("function-{version}")))
                .expect("the function");
        }
        scratch.write("page.html", "<h1>{version}</h1>\n");
        scratch.write("deploy.yaml", MANIFEST);
        scratch
    }

    /// A folder with nothing in it.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Reads a file out of it.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The binary, ready to be run in this folder with an environment that holds nothing of the person's.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(LONGSHORE);
        command.args(words).current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("LONGSHORE_")
                || text.starts_with("GIT_")
                || ["CI", "NO_COLOR", "DOCKER_CONFIG"].contains(&text.as_ref())
            {
                command.env_remove(&name);
            }
        }
        command.env("HOME", self.path());
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        Ran::of(&mut self.command(words))
    }

    /// Runs the binary with `--output json`, checks the exit code, and returns the document.
    pub(crate) fn json(&self, code: i32, words: &[&str]) -> Value {
        let mut all = words.to_vec();
        all.extend(["--output", "json"]);
        let ran = self.run(&all);
        let document = ran.document();
        assert_eq!(ran.code, code, "{words:?}: {}\n{}", ran.stdout, ran.stderr);
        assert_eq!(document["exit_code"], code, "{words:?}: {}", ran.stdout);
        document
    }

    /// Deploys `version` all at once and returns the function's row.
    pub(crate) fn deploy(&self, version: &str) -> Value {
        let document = self.json(0, &["deploy", "--set", &format!("vars.version={version}")]);
        document["functions"][0].clone()
    }

    /// The lines of the local cloud's journal: every write it accepted.
    pub(crate) fn writes(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path().join(".longshore/local/functions/journal.jsonl"))
            .unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let state = self.path().join(".longshore/local");
        if state.exists() {
            let _ = self.command(&["local", "down", "--state"]).arg(&state).output();
        }
    }
}

/// What came of running the binary.
pub(crate) struct Ran {
    /// Its exit code; -1 where a signal ended it.
    pub(crate) code: i32,
    /// What it wrote to stdout.
    pub(crate) stdout: String,
    /// What it wrote to stderr.
    pub(crate) stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("the binary runs");
        Self {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8(stdout).expect("UTF-8 on stdout"),
            stderr: String::from_utf8(stderr).expect("UTF-8 on stderr"),
        }
    }

    /// The one JSON document on stdout.
    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("stdout is no JSON document: {error}\n{}\n{}", self.stdout, self.stderr)
        })
    }
}

/// An answer to [`http`].
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The headers' lines, in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: String,
}

impl Answer {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// One HTTP request over a connection of its own, as a client that knows nothing of us would make it.
pub(crate) fn http(method: &str, url: &str, body: &str) -> std::io::Result<Answer> {
    let rest = url.strip_prefix("http://").expect("an http URL");
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| std::io::Error::other(line.clone()))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut body = String::new();
    reader.read_to_string(&mut body)?;
    Ok(Answer { status, headers, body })
}

/// Waits until `done` answers something, looking every few milliseconds, at most half a minute.
pub(crate) fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "waited for {what} for half a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether this kernel lets us mount a file system of our own, in namespaces of our own. In CI it must.
#[expect(clippy::print_stderr, reason = "a test that is passed over says so")]
pub(crate) fn can_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);
    let can = command.output().is_ok_and(|output| output.status.success());
    assert!(
        can || std::env::var_os("CI").is_none(),
        "CI is set and nothing can be mounted in a user namespace"
    );
    if !can {
        eprintln!("skipped: nothing can be mounted in a user namespace here");
    }
    can
}

/// Whether `program` is there. In CI a missing one is a failure: the suite would otherwise pass without its peer.
#[expect(clippy::print_stderr, reason = "a test that is passed over says so")]
pub(crate) fn have(program: impl AsRef<OsStr>) -> bool {
    let name = program.as_ref().to_string_lossy().into_owned();
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(&name).is_file()));
    assert!(found || std::env::var_os("CI").is_none(), "CI is set and {name} is not installed");
    if !found {
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// A verb that is running.
pub(crate) struct Running {
    child: std::process::Child,
}

impl Running {
    /// Sends SIGINT, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is running");
    }

    /// Waits for its end and returns its document; `None` where it was ended before it had set itself up.
    pub(crate) fn finish_any(self) -> Option<Value> {
        let output = self.child.wait_with_output().expect("it ends");
        let document: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        let code = document.as_ref().and_then(|document| document["exit_code"].as_i64());
        assert_eq!(code, output.status.code().map(i64::from), "{}", String::from_utf8_lossy(&output.stderr));
        document
    }

    /// Waits for its end and returns its document.
    pub(crate) fn finish(self) -> Value {
        let output = self.child.wait_with_output().expect("it ends");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let document: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}\n{}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(document["exit_code"].as_i64(), output.status.code().map(i64::from), "{text}");
        document
    }
}

impl Scratch {
    /// Starts the binary with `--output json`.
    pub(crate) fn start(&self, words: &[&str]) -> Running {
        let mut command = self.command(words);
        command.args(["--output", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running { child: command.spawn().expect("the binary starts") }
    }

    /// Starts a canary deploy of `version` that soaks for ten minutes, and returns when a quarter of the traffic is there.
    pub(crate) fn start_canary(&self, version: &str) -> Running {
        let running = self.start(&["deploy", "--env", "canary", "--set", &format!("vars.version={version}")]);
        self.until_split();
        running
    }

    /// Waits until a run soaks: its share is live and the ledger knows.
    pub(crate) fn until_split(&self) {
        until("a split alias", || {
            let document = self.json(0, &["status"]);
            (document["functions"][0]["routing"]["share"] == 0.25 && self.last_event() == "settled")
                .then_some(())
        });
    }

    /// A canary deploy of `version` that is interrupted while it soaks; its document.
    pub(crate) fn hold_canary(&self, version: &str) -> Value {
        let running = self.start_canary(version);
        running.interrupt();
        running.finish()
    }

    /// Runs a verb that soaks, interrupts it there, and returns its document.
    pub(crate) fn interrupted(&self, words: &[&str]) -> Value {
        let entries = self.ledger().len();
        let running = self.start(words);
        until("the run to be taken", || (self.ledger().len() > entries).then_some(()));
        running.interrupt();
        running.finish()
    }

    /// Every file of the ledger with its text, in order.
    pub(crate) fn ledger(&self) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        let mut folders = vec![self.path().join(".longshore/ledger")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(text) = std::fs::read_to_string(&path) {
                    found.push((path, text));
                }
            }
        }
        found.sort();
        found
    }

    /// The newest entry's event.
    pub(crate) fn last_event(&self) -> String {
        let text = self.ledger().last().map(|(_, text)| text.clone()).unwrap_or_default();
        let entry: Value = serde_json::from_str(&text).unwrap_or_default();
        entry["event"].as_str().unwrap_or_default().to_owned()
    }

    /// Copies the image `digest` of the local registry's repository `hello` into an OCI layout, over plain HTTP.
    pub(crate) fn layout_of(&self, digest: &str, folder: &str) {
        let registry =
            self.json(0, &["local", "status"])["endpoints"]["registry"].as_str().expect("it runs").to_owned();
        let blobs = self.path().join(folder).join("blobs/sha256");
        std::fs::create_dir_all(&blobs).expect("a folder");
        let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
        let bytes = |kind: &str, digest: &str| {
            let url = format!("{registry}/v2/hello/{kind}/{digest}");
            let answer = http_bytes(&url);
            std::fs::write(blobs.join(hex(digest)), &answer).expect("a blob");
            answer
        };
        let manifest = bytes("manifests", digest);
        let parsed: Value = serde_json::from_slice(&manifest).expect("a manifest");
        for blob in parsed["layers"].as_array().into_iter().flatten().chain([&parsed["config"]]) {
            bytes("blobs", blob["digest"].as_str().expect("a digest"));
        }
        self.write(&format!("{folder}/oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}");
        let index = serde_json::json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": parsed["mediaType"], "digest": digest, "size": manifest.len(),
                "annotations": { "org.opencontainers.image.ref.name": "v1" },
            }],
        });
        self.write(&format!("{folder}/index.json"), &index.to_string());
    }
}

/// The body of a GET, as bytes.
fn http_bytes(url: &str) -> Vec<u8> {
    let rest = url.strip_prefix("http://").expect("an http URL");
    let (host, path) = rest.split_at(rest.find('/').expect("a path"));
    let mut stream = TcpStream::connect(host).expect("the registry listens");
    let accept = "accept: application/vnd.oci.image.manifest.v1+json";
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\n{accept}\r\nconnection: close\r\n\r\n")
        .expect("it is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{url}: {}", String::from_utf8_lossy(&answer[..end]));
    answer.split_off(end + 4)
}
