//! A registry under test, and how a case is run against each of them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

use crate::differences::DIFFERENCES;
use crate::support::http::{Answer, call};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Makes a test of each case for each registry, and lists the cases' names.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),*];

        mod ours {
            $(#[test] fn $name() { crate::peer::ours(super::$name) })*
        }

        mod docker_registry {
            $(#[test] fn $name() { crate::peer::docker_registry(stringify!($name), super::$name) })*
        }
    };
}
pub(crate) use cases;

/// A registry, and two repositories in it that no other case uses.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) name: String,
    pub(crate) other: String,
}

/// Runs a case against our registry, one that is new and only for it.
pub(crate) fn ours(case: fn(&Peer)) {
    let served = Served::start();
    case(&Peer { address: served.address, name: "conformance/one".into(), other: "two".into() });
}

/// Runs a case against Debian's registry; where that is known to differ, it must.
pub(crate) fn docker_registry(name: &str, case: fn(&Peer)) {
    static RUNNING: OnceLock<Option<DockerRegistry>> = OnceLock::new();
    let Some(running) = RUNNING.get_or_init(DockerRegistry::start) else { return };
    let peer = Peer { address: running.address, name: format!("{name}/one"), other: format!("{name}/two") };
    match DIFFERENCES.iter().find(|(differs, _)| *differs == name) {
        None => case(&peer),
        Some((_, why)) => {
            let passed = catch_unwind(AssertUnwindSafe(|| case(&peer))).is_ok();
            assert!(!passed, "docker-registry passes, and is listed as differing: {why}");
        }
    }
}

/// Our registry, served in this process until it is dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) registry: longshore_local::registry::Registry,
    _directory: tempfile::TempDir,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    server: Option<std::thread::JoinHandle<()>>,
}

impl Served {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let registry = longshore_local::registry::Registry::open(directory.path()).expect("it opens");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("an option");
        let address = listener.local_addr().expect("an address");
        let (end, ended) = tokio::sync::oneshot::channel();
        let routes = registry.routes();
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let server = async { axum::serve(listener, routes).await };
                tokio::select! {
                    _ = server => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, registry, _directory: directory, end: Some(end), server: Some(server) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.end.take().map(|end| end.send(()));
        let _ = self.server.take().map(std::thread::JoinHandle::join);
    }
}

/// Debian's registry, for as long as this process lives: a shell ends it when its own standard input ends.
pub(crate) struct DockerRegistry {
    pub(crate) address: SocketAddr,
    _shell: Child,
}

impl DockerRegistry {
    /// Starts one; `None` when it is not installed, which continuous integration must not be.
    pub(crate) fn start() -> Option<Self> {
        if !have("docker-registry") {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder").keep();
        let config = folder.join("config.yml");
        let data = folder.join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nhttp: {{addr: 127.0.0.1:0}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n",
            data.display()
        );
        std::fs::write(&config, text).expect("it can be written");
        let script = r#"docker-registry serve "$0" 2>&1 & read -r _; kill $!; wait; rm -rf "$1""#;
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .args([&config, &folder])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut log = BufReader::new(shell.stdout.take().expect("a pipe"));
        let address = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).expect("text") > 0, "docker-registry ended");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split([' ', ',', '"']).next().expect("a word").parse().expect("an address");
            }
        };
        // It must be able to go on writing its log.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Some(Self { address, _shell: shell })
    }
}

/// Whether `program` is there. In CI a missing one is a failure: the suite would otherwise pass without its peer.
pub(crate) fn have(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    assert!(found || std::env::var_os("CI").is_none(), "CI is set and {program} is not installed");
    if !found {
        let _ = writeln!(std::io::stderr(), "skipped: {program} is not installed");
    }
    found
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

pub(crate) fn sha512(bytes: &[u8]) -> String {
    format!("sha512:{}", hex::encode(Sha512::digest(bytes)))
}

/// A digest that nobody pushed anything for.
pub(crate) fn absent() -> String {
    digest(b"nobody ever pushed this")
}

/// `length` bytes that are not all the same.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// `location` with one more parameter.
pub(crate) fn with(location: &str, parameter: &str) -> String {
    let separator = if location.contains('?') { '&' } else { '?' };
    format!("{location}{separator}{parameter}")
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

/// The path in a `Location`, which may be absolute.
pub(crate) fn path(answer: &Answer) -> String {
    let location = answer.header("location").expect("a Location");
    let rest = location.strip_prefix("http://").or_else(|| location.strip_prefix("https://"));
    match rest {
        Some(rest) => rest[rest.find('/').expect("a path")..].to_owned(),
        None => location.to_owned(),
    }
}

/// The first error's code, after a look at the document around it.
pub(crate) fn code(answer: &Answer) -> String {
    let document: Value = serde_json::from_slice(&answer.body).expect("the error is a JSON document");
    let code = document["errors"][0]["code"].as_str().expect("a code").to_owned();
    assert!(code.chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{code}");
    code
}

impl Peer {
    /// A request to a path below this case's repository.
    pub(crate) fn at(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send(method, &format!("/v2/{}/{path}", self.name), headers, body)
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        call(self.address, method, path, headers, body)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.at("GET", path, &[], &[])
    }

    pub(crate) fn head(&self, path: &str) -> Answer {
        self.at("HEAD", path, &[], &[])
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.at("DELETE", path, &[], &[])
    }

    /// Begins an upload; answers with where it goes on.
    pub(crate) fn begin(&self) -> String {
        let begun = self.at("POST", "blobs/uploads/", &[("content-type", "application/octet-stream")], &[]);
        assert_eq!(begun.status, 202, "{}", begun.text());
        path(&begun)
    }

    pub(crate) fn patch(&self, location: &str, range: &str, chunk: &[u8]) -> Answer {
        let headers = [("content-type", "application/octet-stream"), ("content-range", range)];
        self.send("PATCH", location, &headers, chunk)
    }

    /// Ends an upload.
    pub(crate) fn close(&self, location: &str, digest: &str, last: &[u8]) -> Answer {
        let headers = [("content-type", "application/octet-stream")];
        self.send("PUT", &with(location, &format!("digest={digest}")), &headers, last)
    }

    /// Pushes a blob; answers with its digest.
    pub(crate) fn blob(&self, content: &[u8]) -> String {
        let digest = digest(content);
        let closed = self.close(&self.begin(), &digest, content);
        assert_eq!(closed.status, 201, "{}", closed.text());
        digest
    }

    pub(crate) fn put(&self, reference: &str, media_type: &str, manifest: &[u8]) -> Answer {
        self.at("PUT", &format!("manifests/{reference}"), &[("content-type", media_type)], manifest)
    }

    /// Pushes a manifest that must be taken; answers with its digest.
    pub(crate) fn manifest(&self, reference: &str, media_type: &str, manifest: &Value) -> String {
        let bytes = manifest.to_string();
        let put = self.put(reference, media_type, bytes.as_bytes());
        assert_eq!(put.status, 201, "{}", put.text());
        digest(bytes.as_bytes())
    }

    /// Gets a manifest as clients do that know every kind.
    pub(crate) fn get_manifest(&self, reference: &str) -> Answer {
        let kinds = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST].join(", ");
        self.at("GET", &format!("manifests/{reference}"), &[("accept", &kinds)], &[])
    }

    /// An image whose parts are pushed; its layer and configuration say `text`.
    pub(crate) fn image(&self, text: &str) -> Value {
        let (config, layer) = (format!(r#"{{"config of":"{text}"}}"#), format!("layer of {text}"));
        self.blob(config.as_bytes());
        self.blob(layer.as_bytes());
        json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config.as_bytes()),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer.as_bytes())],
        })
    }

    /// Pushes an image that says `text`; answers with its digest.
    pub(crate) fn push(&self, tag: &str, text: &str) -> String {
        self.manifest(tag, MANIFEST, &self.image(text))
    }
}
