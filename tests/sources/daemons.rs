//! Container engines, each with a store of its own in a folder that goes with it.

use std::process::{Child, Command, Stdio};

use super::expected::Expected;
use super::table::{self, Row};
use crate::support::{have, until};

/// An engine that listens on a socket and holds images of tests/images.
pub(crate) struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
    rows: Vec<Row>,
}

/// Whether this user may run an engine; in CI it must.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(
        root || std::env::var_os("CI").is_none(),
        "CI is set and this is not root, who alone may run dockerd"
    );
    if !root {
        #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
        {
            eprintln!("skipped: only root may run dockerd and podman here");
        }
    }
    root
}

impl Daemon {
    /// dockerd; `None` where there is none.
    pub(crate) fn docker() -> Option<Self> {
        let images = table::made()?;
        if !is_root() || !have("dockerd") || !have("docker") {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        // What it mounts is gone with the namespace it is mounted in.
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "dockerd", "--bridge", "none", "--iptables=false", "--ip-masq=false"]);
        command.args(["--storage-driver", "vfs", "--data-root", &at("root"), "--exec-root", &at("exec")]);
        command.args(["--pidfile", &at("pid"), "--host", &format!("unix://{}", at("socket"))]);
        let log = std::fs::File::create(at("log")).expect("a file");
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("unshare runs");
        let mut daemon = Self { child, folder, rows: Vec::new() };
        until("dockerd", || daemon.docker_says(&["info"]).is_ok().then_some(()));
        let archive = images.join("docker20-several.docker.tar");
        daemon.docker_says(&["load", "--input", &archive.display().to_string()]).expect("it is loaded");
        let id = |name| match Expected::of_docker_archive(&archive, Some(name)) {
            Expected::Image(id) | Expected::Manifest(id) => id,
        };
        let short = id("other:1")["sha256:".len()..][..12].to_owned();
        for (name, source, id) in [
            ("docker-by-name", "greeting:1".to_owned(), id("greeting:1")),
            ("docker-by-path", "shop/greeting:2".to_owned(), id("shop/greeting:2")),
            ("docker-by-id", id("other:1"), id("other:1")),
            ("docker-by-short-id", short, id("other:1")),
        ] {
            daemon.row(name, &source, id);
        }
        Some(daemon)
    }

    /// podman's service, which speaks docker's words; `None` where there is none.
    pub(crate) fn podman() -> Option<Self> {
        let images = table::made()?;
        if !is_root() || !have("podman") {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(at("policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#)
            .expect("a file");
        let store = ["--root", &at("root"), "--runroot", &at("run"), "--storage-driver", "vfs"];
        let archive = images.join("podman-several.docker.tar");
        let load = Command::new("podman")
            .args(store)
            .args(["load", "--quiet", "--signature-policy", &at("policy.json"), "--input"])
            .arg(&archive)
            .output()
            .expect("podman runs");
        assert!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
        let log = std::fs::File::create(at("log")).expect("a file");
        let child = Command::new("podman")
            .args(store)
            .args(["system", "service", "--time=0", &format!("unix://{}", at("socket"))])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("podman runs");
        let mut daemon = Self { child, folder, rows: Vec::new() };
        let socket = daemon.folder.path().join("socket");
        until("podman's service", || std::os::unix::net::UnixStream::connect(&socket).ok());
        for (name, source) in
            [("podman-by-name", "localhost/greeting:1"), ("podman-arm", "localhost/greeting:arm")]
        {
            let Expected::Image(id) = Expected::of_docker_archive(&archive, Some(source)) else { continue };
            daemon.row(name, source, id);
        }
        Some(daemon)
    }

    fn row(&mut self, name: &str, source: &str, id: String) {
        self.rows.push(Row {
            name: name.to_owned(),
            source: format!("docker-daemon:{source}"),
            platform: None,
            expected: Expected::Image(id),
        });
    }

    fn docker_says(&self, words: &[&str]) -> Result<(), String> {
        let output = Command::new("docker").args(words).env("DOCKER_HOST", self.host()).output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Where it listens.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("socket").display())
    }

    /// What it holds, as sources.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
