//! What the tests of a running cloud share: the cloud as a process, images for it, and a client that knows nothing.

#![allow(dead_code, reason = "every test program uses its own part of this")]
#![allow(
    clippy::allow_attributes,
    reason = "an expectation would be unfulfilled in the program that uses all of it"
)]

pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod proxy;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use longshore_contract::{
    AliasRef, AliasWrite, Config, Expect, FunctionName, FunctionSpec, Intent, Note, Platform, Provider,
    Reference, Release, Routing, RunId, Settings, Version,
};
use serde_json::{Value, json};

/// The program that is a cloud.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_local-cloud");

/// A cloud that runs, in a directory of its own. It is killed at the end.
pub(crate) struct Cloud {
    pub(crate) directory: PathBuf,
    pub(crate) daemon: Child,
    /// What the daemon said when it was ready.
    pub(crate) said: Value,
    folder: Option<tempfile::TempDir>,
}

impl Cloud {
    /// Starts a new one.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut cloud = Self::start_in(folder.path());
        cloud.folder = Some(folder);
        cloud
    }

    /// Starts the one in `directory`.
    pub(crate) fn start_in(directory: &Path) -> Self {
        let (daemon, said) = serve(directory);
        assert!(said["ready"]["pid"].is_u64(), "the daemon said {said}");
        Self { directory: directory.to_owned(), daemon, said, folder: None }
    }

    /// Kills the daemon as nothing else could.
    pub(crate) fn kill(&mut self) {
        self.daemon.kill().expect("the daemon can be killed");
        self.daemon.wait().expect("the daemon is ours");
    }

    /// Kills the daemon and starts it again on the same directory.
    pub(crate) fn kill_and_start_again(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Starts a daemon on the directory of one that was killed.
    pub(crate) fn start_again(&mut self) {
        (self.daemon, self.said) = serve(&self.directory);
        assert!(self.said["ready"]["pid"].is_u64(), "the daemon said {}", self.said);
    }

    fn identity(&self) -> Value {
        let text = std::fs::read(self.directory.join("cloud.json")).expect("the cloud has a name");
        serde_json::from_slice(&text).expect("it can be read")
    }

    /// Where the functions answer.
    pub(crate) fn functions(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.identity()["functions_port"].as_u64().unwrap() as u16).into()
    }

    /// Where the registry listens.
    pub(crate) fn registry(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.identity()["registry_port"].as_u64().unwrap() as u16).into()
    }

    /// The settings that name this cloud.
    pub(crate) fn settings(&self) -> Settings {
        let values = [("state".to_owned(), json!(self.directory))].into();
        Settings { target: "here".to_owned(), values, directory: "/".into(), ..Settings::default() }
    }

    /// The provider for this cloud.
    pub(crate) fn provider(&self) -> Arc<dyn Provider> {
        (longshore_local::registration().connect)(&self.settings()).expect("it can be connected to")
    }

    /// The list of accepted writes, as `(action, subject)`.
    pub(crate) fn journal(&self) -> Vec<(String, String)> {
        let text =
            std::fs::read_to_string(self.directory.join("functions/journal.jsonl")).expect("a journal");
        let text_of = |line: &Value, key: &str| line[key].as_str().expect(key).to_owned();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"))
            .map(|line| (text_of(&line, "action"), text_of(&line, "subject")))
            .collect()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Starts a daemon and returns it with its first line.
pub(crate) fn serve(directory: &Path) -> (Child, Value) {
    let mut daemon = Command::new(PROGRAM)
        .args(["local", "serve", "--state"])
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program can be started");
    let mut line = String::new();
    BufReader::new(daemon.stdout.take().expect("a pipe"))
        .read_line(&mut line)
        .expect("the daemon says a line");
    (daemon, serde_json::from_str(&line).expect("the line is JSON"))
}

/// A function of a cloud, for tests that deploy.
pub(crate) struct Function<'a> {
    pub(crate) provider: &'a dyn Provider,
    pub(crate) name: FunctionName,
}

impl Function<'_> {
    /// Makes a version out of `image`.
    pub(crate) async fn version(&self, image: &Reference, config: Config) -> Version {
        let release = order(&self.name, image, config);
        self.provider.functions().release(&release).await.expect("it can be released").version
    }

    /// The alias `live`.
    pub(crate) fn live(&self) -> AliasRef {
        AliasRef { function: self.name.clone(), alias: "live".parse().expect("a name") }
    }

    /// Moves the alias `live`, whatever it is.
    pub(crate) async fn route(&self, routing: Routing) {
        let functions = self.provider.functions();
        let expect = match functions.alias(&self.live()).await.expect("it can be read") {
            Some(alias) => Expect::Revision(alias.revision),
            None => Expect::Absent,
        };
        let write = AliasWrite { routing, expect, note: Note::default() };
        functions.route(&self.live(), &write).await.expect("it can be moved");
    }
}

/// An order for a version of `image`.
pub(crate) fn order(name: &FunctionName, image: &Reference, config: Config) -> Release {
    let (image, platform) = (image.clone(), Platform::host());
    Release {
        spec: FunctionSpec { name: name.clone(), image, platform, config },
        intent: Intent { run: RunId::generate(), step: 0 },
        patience: Duration::from_secs(60),
    }
}
