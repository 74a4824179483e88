//! Functions in the containers of an engine, docker or podman, through its socket.
//!
//! Every container carries the label of this cloud, and goes with its instance. What a daemon that was killed left behind is
//! removed when the next one opens the same directory, which remembers the engines it has used.

mod archive;
mod client;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::RwLock;

use super::Launch;
use super::error::StartError;
use super::instance::Exit;
use super::launch;
use crate::registry::{Registry, StoredImage};
use client::Client;

/// The labels of a container: which cloud it belongs to, and which daemon of that cloud's made it.
const LABEL: &str = "longshore.cloud";
const MAKER: &str = "longshore.daemon";
/// In the runner's directory: the sockets of the engines that were used, a line each.
const USED: &str = "engines";
/// How long an engine may take for one of the small things asked of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What runs a function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// This program itself.
    #[default]
    Own,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
}

impl Runtime {
    /// The words by which a manifest names them, the default first.
    pub const WORDS: &'static [&'static str] = &["own", "docker", "podman"];

    /// The runtime that a manifest names by `word`.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "own" => Some(Self::Own),
            "docker" => Some(Self::Docker),
            "podman" => Some(Self::Podman),
            _ => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// Where its engine may listen, likeliest first.
    fn sockets(self) -> Vec<PathBuf> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let stated = |name: &str| variable(name)?.strip_prefix("unix://").map(PathBuf::from);
        let below = |name: &str, rest: &str| variable(name).map(|folder| Path::new(&folder).join(rest));
        let places = match self {
            Self::Own => Vec::new(),
            Self::Docker => vec![
                stated("DOCKER_HOST"),
                Some("/var/run/docker.sock".into()),
                below("XDG_RUNTIME_DIR", "docker.sock"),
                below("HOME", ".docker/run/docker.sock"),
            ],
            Self::Podman => vec![
                stated("CONTAINER_HOST"),
                below("XDG_RUNTIME_DIR", "podman/podman.sock"),
                Some("/run/podman/podman.sock".into()),
            ],
        };
        places.into_iter().flatten().collect()
    }
}

/// The engines, as one runner uses them.
#[derive(Debug)]
pub(super) struct Engines {
    directory: PathBuf,
    registry: Registry,
    /// Tells our containers from those of earlier daemons.
    maker: String,
    /// Shared by all who make containers; whoever ends this waits for them.
    making: RwLock<Life>,
}

/// Whether containers may still be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    Ended,
}

/// Whose containers are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// Those of earlier daemons.
    Earlier,
    /// All.
    ByAny,
}

/// A container that runs.
#[derive(Debug)]
pub(super) struct Container {
    client: Client,
    id: String,
    pub(super) pid: u32,
    /// Where the function's port is reached.
    pub(super) address: Option<SocketAddr>,
}

/// How a container is reached.
pub(super) enum Network {
    /// It is on the host's network and listens there.
    Host,
    /// On the engine's bridge, where it listens on the port; reached there, or where the engine's user is not the machine's
    /// root, through a port of loopback.
    Bridge { port: u16, published: u16 },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Waited {
    status_code: i64,
}

impl Engines {
    pub(super) fn new(directory: &Path, registry: Registry) -> Self {
        let maker = format!("{} {}", std::process::id(), jiff::Timestamp::now());
        Self { directory: directory.to_owned(), registry, maker, making: RwLock::new(Life::Open) }
    }

    /// Makes no container any more, and removes those that are left: of starts that nobody waits for now.
    pub(super) async fn end(&self) {
        match tokio::time::timeout(PATIENCE, self.making.write()).await {
            Ok(mut life) => *life = Life::Ended,
            Err(_) => tracing::warn!("an engine does not come to make a container: it may be left behind"),
        }
        self.remove(Made::ByAny).await;
    }

    /// Removes the containers that earlier daemons of this directory left behind. Ours may be starting meanwhile.
    pub(super) async fn remove_orphans(&self) {
        self.remove(Made::Earlier).await;
    }

    fn label(&self) -> String {
        format!("{LABEL}={}", self.directory.display())
    }

    async fn remove(&self, made: Made) {
        let used = std::fs::read_to_string(self.directory.join(USED)).unwrap_or_default();
        for socket in used.lines() {
            let client = Client::new(socket.into());
            match tokio::time::timeout(PATIENCE, self.remove_from(&client, made)).await {
                Ok(Ok(0)) => {}
                Ok(Ok(count)) => {
                    tracing::info!("{socket}: {count} containers that were left behind are removed")
                }
                Ok(Err(error)) => {
                    tracing::warn!("{socket}: containers may be left behind: {error}")
                }
                Err(_) => tracing::warn!("{socket}: containers may be left behind: no answer"),
            }
        }
    }

    async fn containers(&self, client: &Client) -> io::Result<Vec<Listed>> {
        let filters = percent(&json!({ "label": [self.label()] }).to_string());
        client.fetch(Method::GET, &format!("/containers/json?all=1&filters={filters}")).await
    }

    async fn remove_from(&self, client: &Client, made: Made) -> io::Result<usize> {
        let mut containers = self.containers(client).await?;
        if made == Made::Earlier {
            containers.retain(|container| container.labels.get(MAKER) != Some(&self.maker));
        }
        for container in &containers {
            remove(client, &container.id).await?;
        }
        Ok(containers.len())
    }

    /// Connects to the engine of `runtime`, and remembers that it was used.
    async fn connect(&self, runtime: Runtime) -> Result<Client, StartError> {
        let sockets = runtime.sockets();
        let mut refused = io::Error::from(io::ErrorKind::NotFound);
        for socket in &sockets {
            let client = Client::new(socket.clone());
            match tokio::time::timeout(PATIENCE, client.order(Method::GET, "/_ping")).await {
                Ok(Ok(())) => {
                    self.remember(client.socket()).map_err(StartError::disk(&self.directory))?;
                    return Ok(client);
                }
                // The first that is there says more than the last that is not.
                Ok(Err(error)) if refused.kind() == io::ErrorKind::NotFound => refused = error,
                Ok(Err(_)) => {}
                Err(_) => refused = io::ErrorKind::TimedOut.into(),
            }
        }
        let sockets: Vec<String> = sockets.iter().map(|socket| socket.display().to_string()).collect();
        let step = format!("looking for {} at {}", runtime.word(), sockets.join(", "));
        Err(StartError::Engine { step, source: refused })
    }

    fn remember(&self, socket: &Path) -> io::Result<()> {
        let path = self.directory.join(USED);
        let used = std::fs::read_to_string(&path).unwrap_or_default();
        let line = socket.display().to_string();
        if used.lines().any(|known| known == line) {
            return Ok(());
        }
        std::fs::write(path, format!("{used}{line}\n"))
    }

    /// Starts a container of `launch`, with `told` in its environment and its output going to `output`. When it fails, or is
    /// dropped half way, the end of this runner, or its next start, removes what is left.
    pub(super) async fn start(
        &self,
        runtime: Runtime,
        launch: &Launch,
        told: &launch::Told,
        network: &Network,
        output: OwnedFd,
    ) -> Result<Container, StartError> {
        let client = self.connect(runtime).await?;
        let failed = |step: &str| {
            let step = format!("{}: {step}", runtime.word());
            move |source| StartError::Engine { step, source }
        };
        let name = self.load(&client, &launch.image).await.map_err(failed("loading the image"))?;
        let document = self.document(launch, told, network, &name)?;
        let making = self.making.read().await;
        if *making == Life::Ended {
            return Err(failed("making a container")(io::Error::other("this cloud is ending")));
        }
        let created: Created =
            client.post("/containers/create", &document).await.map_err(failed("making a container"))?;
        let mut container = Container { client, id: created.id, pid: 0, address: None };
        let begun = container.begin(network, output).await;
        if let Err(error) = begun {
            if let Err(left) = remove(&container.client, &container.id).await {
                tracing::warn!("{} is left behind: {left}", container.id);
            }
            return Err(failed("starting the container")(error));
        }
        Ok(container)
    }

    /// Sees to it that the engine has `image`; answers with its name there.
    async fn load(&self, client: &Client, image: &StoredImage) -> io::Result<String> {
        let name = format!("longshore.local/image:{}", image.digest.hex());
        let known = format!("/images/{name}/json");
        match client.order(Method::GET, &known).await {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let body = archive::stream(self.registry.clone(), image.clone(), name.clone());
        let answer = client.send(Method::POST, "/images/load?quiet=1", "application/x-tar", body).await?;
        // What went wrong while it was loaded stands in an answer that began well.
        let said = client::read(answer).await?;
        client.order(Method::GET, &known).await.map_err(|error| {
            io::Error::new(error.kind(), format!("{error}; it said {:?}", String::from_utf8_lossy(&said)))
        })?;
        Ok(name)
    }

    fn document(
        &self,
        launch: &Launch,
        told: &launch::Told,
        network: &Network,
        name: &str,
    ) -> Result<Value, StartError> {
        let environment = launch::overlay(launch, told)?;
        let environment: Vec<String> =
            environment.iter().map(|(key, value)| format!("{key}={}", value.expose())).collect();
        let (mode, exposed, bound) = match network {
            Network::Host => ("host", json!({}), json!({})),
            Network::Bridge { port, published } => {
                let key = format!("{port}/tcp");
                let host = json!([{ "HostIp": "127.0.0.1", "HostPort": published.to_string() }]);
                ("bridge", json!({ key.clone(): {} }), json!({ key: host }))
            }
        };
        let label = self.directory.display().to_string();
        let mut document = json!({
            "Image": name,
            "Env": environment,
            "Labels": { LABEL: label, MAKER: self.maker, "longshore.function": launch.label },
            "ExposedPorts": exposed,
            "HostConfig": {
                "NetworkMode": mode,
                "PortBindings": bound,
                "ReadonlyRootfs": true,
                "Tmpfs": { "/tmp": "rw,size=512m,mode=1777" },
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "Memory": launch.memory.unwrap_or(0),
                "Ulimits": [
                    { "Name": "nofile", "Soft": 1024, "Hard": 1024 },
                    { "Name": "nproc", "Soft": 1024, "Hard": 1024 },
                ],
            },
        });
        if let Some(command) = &launch.command {
            document["Entrypoint"] = json!(command);
            document["Cmd"] = json!([]);
        }
        Ok(document)
    }
}

impl Container {
    async fn begin(&mut self, network: &Network, output: OwnedFd) -> io::Result<()> {
        self.client.order(Method::POST, &format!("/containers/{}/start", self.id)).await?;
        let seen: Value = self.client.fetch(Method::GET, &format!("/containers/{}/json", self.id)).await?;
        self.pid = seen["State"]["Pid"].as_u64().and_then(|pid| pid.try_into().ok()).unwrap_or(0);
        if let Network::Bridge { port, published } = network {
            let info: Value = self.client.fetch(Method::GET, "/info").await?;
            let rootless = info["SecurityOptions"].to_string().contains("rootless");
            let inside = seen["NetworkSettings"]["IPAddress"].as_str().and_then(|ip| ip.parse().ok());
            self.address = Some(match inside.filter(|_| !rootless) {
                Some(ip) => SocketAddr::new(ip, *port),
                None => SocketAddr::from(([127, 0, 0, 1], *published)),
            });
        }
        let path = format!("/containers/{}/logs?follow=1&stdout=1&stderr=1", self.id);
        rustix::io::ioctl_fionbio(&output, true)?;
        let output = tokio::net::unix::pipe::Sender::from_owned_fd(output)?;
        let client = self.client.clone();
        // Not waited for: podman's answer does not even begin before the container has written its first line.
        tokio::spawn(async move {
            match client.send(Method::GET, &path, "application/json", client::empty()).await {
                // Where the log takes no more, there is nobody to tell.
                Ok(logs) => _ = copy_output(logs.into_body(), output).await,
                Err(error) => tracing::warn!("{path}: {error}"),
            }
        });
        Ok(())
    }

    /// Waits until it has ended.
    pub(super) async fn ended(&self) -> Exit {
        let path = format!("/containers/{}/wait", self.id);
        let Ok(Waited { status_code }) = self.client.fetch(Method::POST, &path).await else {
            // The engine is gone, or somebody removed the container.
            return Exit::Signal(9);
        };
        // Engines tell a signal as a shell does.
        match i32::try_from(status_code).unwrap_or(-1) {
            signal @ 129..=192 => Exit::Signal(signal - 128),
            status => Exit::Status(status),
        }
    }

    /// Whether the kernel ended it for its memory.
    pub(super) async fn ran_out_of_memory(&self) -> bool {
        let seen = self.client.fetch::<Value>(Method::GET, &format!("/containers/{}/json", self.id)).await;
        seen.is_ok_and(|seen| seen["State"]["OOMKilled"] == Value::Bool(true))
    }

    /// Sends it a signal, by name.
    pub(super) async fn signal(&self, name: &str) {
        let path = format!("/containers/{}/kill?signal={name}", self.id);
        if let Err(error) = self.client.order(Method::POST, &path).await {
            tracing::debug!("{}: {error}", self.id);
        }
    }

    /// Removes it, whether or not it runs.
    pub(super) async fn remove(&self) {
        if let Err(error) = remove(&self.client, &self.id).await {
            tracing::warn!("{} is left behind: {error}", self.id);
        }
    }
}

async fn remove(client: &Client, id: &str) -> io::Result<()> {
    match client.order(Method::DELETE, &format!("/containers/{id}?force=1&v=1")).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Copies what a container writes, which comes in frames: a stream's number, three zeroes, a length, the bytes.
async fn copy_output(
    mut body: hyper::body::Incoming,
    mut output: tokio::net::unix::pipe::Sender,
) -> io::Result<()> {
    let (mut head, mut left) = (Vec::with_capacity(8), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue };
        let mut rest = &data[..];
        while !rest.is_empty() {
            if left == 0 {
                let taken = rest.len().min(8 - head.len());
                head.extend_from_slice(&rest[..taken]);
                rest = &rest[taken..];
                if let [_, _, _, _, a, b, c, d] = head[..] {
                    left = u32::from_be_bytes([a, b, c, d]) as usize;
                    head.clear();
                }
                continue;
            }
            let taken = rest.len().min(left);
            output.write_all(&rest[..taken]).await?;
            (rest, left) = (&rest[taken..], left - taken);
        }
    }
    Ok(())
}

/// `text` as a value in a query.
fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut query, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                query.push(char::from(byte))
            }
            _ => query.push_str(&format!("%{byte:02X}")),
        }
        query
    })
}
