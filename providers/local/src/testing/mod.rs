//! What the tests of the registry and of the runner share: a registry behind a real socket, images, and a program to put
//! into them.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::body::Bytes;
use flate2::write::GzEncoder;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use longshore_contract::{Digest, Platform};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::registry::{Registry, finish};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    finish(Sha256::new_with_prefix(bytes))
}

/// A registry that is served on loopback as long as it lives.
pub(crate) struct Served {
    pub(crate) registry: Registry,
    pub(crate) address: SocketAddr,
    pub(crate) directory: tempfile::TempDir,
    client: Client<HttpConnector, Full<Bytes>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of a refusal.
    pub(crate) fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["errors"][0]["code"].as_str().unwrap().to_owned()
    }
}

/// A body that is being read.
pub(crate) struct Pull(hyper::body::Incoming);

impl Pull {
    /// Its next piece.
    pub(crate) async fn some(&mut self) -> Bytes {
        self.0.frame().await.unwrap().unwrap().into_data().unwrap()
    }

    /// All that is left of it.
    pub(crate) async fn rest(self) -> Bytes {
        self.0.collect().await.unwrap().to_bytes()
    }
}

impl Served {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::open(&directory.path().join("registry")).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = registry.routes();
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self {
            registry,
            address,
            directory,
            client: Client::builder(TokioExecutor::new()).build_http(),
            server,
        }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    /// Begins to get what is at `path`, and reads none of it yet.
    pub(crate) async fn begin_get(&self, path: &str) -> Pull {
        let request = Request::builder().uri(format!("http://{}{path}", self.address));
        let response = self.client.request(request.body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Pull(response.into_body())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub(crate) async fn push_blob(&self, name: &str, bytes: &[u8]) -> Digest {
        let digest = digest_of(bytes);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let answer = self.send(Method::POST, &path, &[], bytes.to_vec()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        digest
    }

    pub(crate) async fn push_manifest(
        &self,
        name: &str,
        tag: &str,
        media_type: &str,
        manifest: &Value,
    ) -> Answer {
        let path = format!("/v2/{name}/manifests/{tag}");
        self.send(Method::PUT, &path, &[("content-type", media_type)], manifest.to_string()).await
    }

    /// Pushes `image` and answers with its digest.
    pub(crate) async fn push(&self, name: &str, image: &Image) -> Digest {
        let mut layers = Vec::new();
        for (bytes, media_type) in &image.layers {
            let digest = self.push_blob(name, bytes).await;
            layers.push(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }));
        }
        let config = image.configuration().to_string();
        let digest = self.push_blob(name, config.as_bytes()).await;
        let config = json!({ "mediaType": CONFIG, "digest": digest, "size": config.len() });
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        let answer = self.push_manifest(name, "latest", MANIFEST, &manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        digest_of(manifest.to_string().as_bytes())
    }
}

/// An image to push.
pub(crate) struct Image {
    pub(crate) layers: Vec<(Vec<u8>, &'static str)>,
    pub(crate) diff_ids: Vec<Digest>,
    pub(crate) platform: Platform,
    pub(crate) process: Value,
}

impl Image {
    /// An image of one plain layer.
    pub(crate) fn new(tar: Vec<u8>, process: Value) -> Self {
        let diff_ids = vec![digest_of(&tar)];
        Self { layers: vec![(tar, LAYER)], diff_ids, platform: Platform::host(), process }
    }

    /// The function for tests as `/function`, which is told `mode`.
    pub(crate) fn function(mode: &[&str]) -> Self {
        let mut words = vec!["/function"];
        words.extend(mode);
        Self::new(Tar::new().program("function").done(), json!({ "Entrypoint": words }))
    }

    pub(crate) fn configuration(&self) -> Value {
        json!({
            "os": self.platform.os, "architecture": self.platform.architecture,
            "config": self.process,
            "rootfs": { "type": "layers", "diff_ids": self.diff_ids },
        })
    }
}

/// A tar archive that says whatever it is told to.
pub(crate) struct Tar(Builder<Vec<u8>>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn add(mut self, kind: EntryType, path: &str, link: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_mtime(1_000_000);
        // Written as bytes: the crate refuses to write what these tests are about.
        let fields = header.as_old_mut();
        fields.name[..path.len()].copy_from_slice(path.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        self.add(EntryType::Regular, path, "", 0o644, content.as_bytes())
    }

    pub(crate) fn file_with(self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.add(EntryType::Regular, path, "", mode, content)
    }

    /// A file that belongs to `user` and `group`.
    pub(crate) fn owned(mut self, path: &str, user: u64, group: u64, mode: u32, content: &str) -> Self {
        let mut header = Header::new_gnu();
        header.set_path(path).unwrap();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_uid(user);
        header.set_gid(group);
        header.set_cksum();
        self.0.append(&header, content.as_bytes()).unwrap();
        self
    }

    pub(crate) fn directory(self, path: &str) -> Self {
        self.add(EntryType::Directory, path, "", 0o755, b"")
    }

    pub(crate) fn symlink(self, path: &str, to: &str) -> Self {
        self.add(EntryType::Symlink, path, to, 0o777, b"")
    }

    pub(crate) fn hard_link(self, path: &str, to: &str) -> Self {
        self.add(EntryType::Link, path, to, 0o644, b"")
    }

    pub(crate) fn special(self, kind: EntryType, path: &str) -> Self {
        self.add(kind, path, "", 0o666, b"")
    }

    /// The function for tests, executable.
    pub(crate) fn program(self, path: &str) -> Self {
        self.file_with(path, 0o755, &std::fs::read(function()).unwrap())
    }

    /// A file of this machine with the libraries it is linked with, each at its own place.
    pub(crate) fn linked(mut self, program: &Path) -> Self {
        let output = std::process::Command::new("ldd").arg(program).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let libraries = text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
        for path in libraries.chain([program.to_owned()]) {
            let content = std::fs::read(&path).unwrap();
            self = self.file_with(path.to_str().unwrap().trim_start_matches('/'), 0o755, &content);
        }
        self
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The function for tests, compiled once into the folder of the tests themselves.
pub(crate) fn function() -> PathBuf {
    const SOURCE: &str = include_str!("function.rs");
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let path = folder.join(format!("function-for-tests-{}", digest_of(SOURCE.as_bytes()).short()));
    if !path.exists() {
        let work = tempfile::tempdir_in(&folder).unwrap();
        let (source, made) = (work.path().join("function.rs"), work.path().join("function"));
        std::fs::write(&source, SOURCE).unwrap();
        let compiled =
            std::process::Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
                .args([
                    "--edition",
                    "2024",
                    "-O",
                    "-C",
                    "target-feature=+crt-static",
                    "-C",
                    "strip=symbols",
                    "-o",
                ])
                .args([&made, &source])
                .output()
                .unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        std::fs::rename(made, &path).unwrap();
    }
    path
}

/// Waits until `condition` holds; fails when it does not for ten seconds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed().as_secs() < 10, "not within ten seconds: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}
