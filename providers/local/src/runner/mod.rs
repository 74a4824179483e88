//! Runs images out of the registry: one process per instance, on a port of loopback.

mod calls;
mod control;
mod elf;
mod ended;
mod engine;
mod enter;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod init;
mod instance;
mod launch;
mod log;
mod memory;
mod port;
mod program;
mod proxy;
mod quote;
mod ready;
mod roots;
mod sandbox;
mod spawn;
#[cfg(test)]
mod tests;
mod unpack;
mod user;

use std::collections::{BTreeMap, HashSet};
use std::fs::Permissions;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use longshore_contract::{Digest, Secret};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::registry::{Registry, StoredImage};

pub use engine::Runtime;
pub use error::StartError;
pub use instance::{Exit, Instance};
pub use port::Port;
pub use sandbox::{Isolation, Networks, Users};
pub use unpack::UnpackError;

use engine::Engines;
use instance::{Belongings, NotReady, Reach, Running};
use launch::Told;
use log::{Log, Logs, Output};
use port::Ports;
use roots::{Held, Roots};
use sandbox::Network;
use unpack::Root;
use user::User;

/// How often a port that somebody else took first is replaced by another.
const PORT_RACES: u32 = 4;

/// An order to start an instance.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What to run.
    pub image: StoredImage,
    /// Who it is, as `FUNCTION/VERSION`, for messages.
    pub label: String,
    /// What is started in place of the image's entrypoint and command.
    pub command: Option<Vec<String>>,
    /// The environment on top of the image's own. `PORT` and `AWS_LAMBDA_RUNTIME_API` are added to it.
    pub environment: BTreeMap<String, Secret>,
    /// What must not be shown of what the function writes.
    pub secrets: Vec<Secret>,
    /// Where it is to listen.
    pub port: Port,
    /// How many bytes of memory it may use; no limit where this is `None`.
    pub memory: Option<u64>,
    /// What runs it.
    pub runtime: Runtime,
    /// The file its output is appended to.
    pub log: PathBuf,
    /// How long it may take from its start until it listens.
    pub patience: Duration,
}

/// Starts instances. Clones are the same runner.
#[derive(Debug, Clone)]
pub struct Runner {
    roots: Arc<Roots>,
    isolation: Isolation,
    ports: Ports,
    logs: Logs,
    engines: Arc<Engines>,
}

impl Runner {
    /// How long an instance may take until it listens, where nobody says otherwise.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// Opens the runner whose unpacked images are in `directory`, made where there is none, and tries what isolation the
    /// kernel grants. What an earlier process left half unpacked is removed. Only one process may have a directory open
    /// at a time; the caller sees to that.
    pub async fn open(directory: &Path, registry: Registry) -> io::Result<Self> {
        let isolation = probe(directory).await?;
        Self::with(isolation, directory, registry).await
    }

    async fn with(isolation: Isolation, directory: &Path, registry: Registry) -> io::Result<Self> {
        let (path, images) = (directory.to_owned(), registry.clone());
        let users = match &isolation {
            Isolation::Own { users, .. } => *users,
            Isolation::None { .. } => Users::One,
        };
        let opened = tokio::task::spawn_blocking(move || Roots::open(&path, images, users)).await;
        let roots = Arc::new(opened.map_err(io::Error::other)??);
        let engines = Arc::new(Engines::new(directory, registry));
        let orphaned = Arc::clone(&engines);
        // An engine that does not answer must not keep the others from starting.
        tokio::spawn(async move { orphaned.remove_orphans().await });
        Ok(Self { roots, isolation, ports: Ports::default(), logs: Logs::default(), engines })
    }

    /// Removes the unpacked images that are not among `images` and that nothing runs on, and the layers that no other is
    /// made of. Waits until images that are being unpacked are.
    pub async fn retain(&self, images: HashSet<Digest>) -> io::Result<()> {
        self.roots.retain(images).await
    }

    /// Ends what would outlive this process: containers of starts that are still under way. Nothing starts in an engine
    /// after this.
    pub async fn end(&self) {
        self.engines.end().await;
    }

    /// What isolation instances get.
    pub fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// Starts a process of the image and does not wait until it listens. Its image is unpacked first where that was not
    /// done yet. When it fails, or is dropped half way, nothing runs.
    pub async fn spawn(&self, launch: &Launch) -> Result<Spawned, StartError> {
        let log = self.logs.open(&launch.log).map_err(StartError::disk(&launch.log))?;
        if launch.runtime != Runtime::Own {
            return self.spawn_in_engine(launch, log).await;
        }
        let held = self.roots.root(&launch.image).await?;
        if let Isolation::None { why } = &self.isolation {
            let note = format!("longshore: started without namespaces, as an ordinary process ({why})\n");
            log.write(note.as_bytes());
        }
        match (launch.port, &self.isolation) {
            (Port::Fixed(port), Isolation::Own { network: Networks::Own, .. }) => {
                self.spawn_inside(launch, held, log, Network::around(port)).await
            }
            _ => self.spawn_on_host(launch, held, log).await,
        }
    }

    /// In a container: on the host's network, or where the port is fixed, on the engine's.
    async fn spawn_in_engine(&self, launch: &Launch, log: Arc<Log>) -> Result<Spawned, StartError> {
        let lease = self.ports.lease(Port::Free, &launch.label)?;
        let (port, network) = match launch.port {
            Port::Free => (lease.port, engine::Network::Host),
            Port::Fixed(port) => (port, engine::Network::Bridge { port, published: lease.port }),
        };
        let api = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(StartError::NoPort)?;
        let told = Told { port, api: api.local_addr().map_err(StartError::NoPort)?, network: None };
        let failed = |source| StartError::Spawn { step: "opening the function's output".to_owned(), source };
        let (reader, writer) = io::pipe().map_err(failed)?;
        let output = Output::copy(reader, log).map_err(failed)?;
        let container = self.engines.start(launch.runtime, launch, &told, &network, writer.into()).await?;
        let address = container.address.map(OnceLock::from).unwrap_or_default();
        let reach = Reach::Host { address, wanted: launch.port };
        let belongings = Belongings { _lease: Some(lease), _root: None };
        let running = Running::contain(container, launch.memory, belongings);
        Ok(Spawned { instance: Instance::new(launch, port, reach, output, running), api })
    }

    /// On the host's network, on a port that nobody else has.
    async fn spawn_on_host(&self, launch: &Launch, held: Held, log: Arc<Log>) -> Result<Spawned, StartError> {
        let lease = self.ports.lease(launch.port, &launch.label)?;
        let port = lease.port;
        let api = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(StartError::NoPort)?;
        let told = Told { port, api: api.local_addr().map_err(StartError::NoPort)?, network: None };
        let prepared = launch::prepare(launch, held.path(), &self.isolation, &told)?;
        let (output, begun) = prepared.spawn(log).await?;
        let belongings = Belongings { _lease: Some(lease), _root: Some(held) };
        let running = Running::watch(begun, launch.memory, belongings);
        let reach = Reach::Host { address: OnceLock::new(), wanted: launch.port };
        Ok(Spawned { instance: Instance::new(launch, port, reach, output, running), api })
    }

    /// In a network of its own.
    async fn spawn_inside(
        &self,
        launch: &Launch,
        held: Held,
        log: Arc<Log>,
        network: Network,
    ) -> Result<Spawned, StartError> {
        let failed = |source| StartError::Spawn { step: "making a network namespace".to_owned(), source };
        let api = SocketAddr::from((Ipv4Addr::LOCALHOST, network.api));
        let told = Told { port: network.port, api, network: Some(network) };
        let prepared = launch::prepare(launch, held.path(), &self.isolation, &told)?;
        let (output, mut begun) = prepared.spawn(log).await?;
        let none = || failed(io::Error::other("its listeners did not come out of it"));
        let [api, proxy] = begun.listeners.take().ok_or_else(none)?;
        let listener = |descriptor| TcpListener::from_std(std::net::TcpListener::from(descriptor));
        let (api, proxy) = (listener(api).map_err(failed)?, listener(proxy).map_err(failed)?);
        let running = Running::watch(begun, launch.memory, Belongings { _lease: None, _root: Some(held) });
        let reach = Reach::Inside {
            loopback: OnceLock::new(),
            _proxy: AbortOnDropHandle::new(tokio::spawn(proxy::serve(proxy))),
        };
        Ok(Spawned { instance: Instance::new(launch, network.port, reach, output, running), api })
    }

    /// Starts an instance and waits until its port accepts a connection, for as long as `launch.patience`. When it fails,
    /// or is dropped half way, nothing runs.
    pub async fn start(&self, launch: &Launch) -> Result<Instance, StartError> {
        for _ in 0..PORT_RACES {
            match self.spawn(launch).await?.instance.ready(launch.patience).await {
                Err(NotReady::Raced) => {}
                Err(NotReady::Failed(error)) => return Err(error),
                Ok(instance) => return Ok(instance),
            }
        }
        let error = io::Error::new(io::ErrorKind::AddrInUse, "other processes take them all");
        Err(StartError::NoPort(error))
    }
}

/// An instance that was started just now.
#[derive(Debug)]
pub struct Spawned {
    /// The process.
    pub instance: Instance,
    /// Where the process finds its runtime API, as `AWS_LAMBDA_RUNTIME_API` in its environment says: whoever started it
    /// accepts here.
    pub api: TcpListener,
}

/// The best isolation that the kernel grants, tried in `directory`.
async fn probe(directory: &Path) -> io::Result<Isolation> {
    let image = directory.join(roots::PROBE);
    // Whoever the probe becomes must be let into it, which the directory around it is not open for.
    for place in ["proc", "tmp", "dev"] {
        std::fs::create_dir_all(image.join(place))?;
    }
    std::fs::set_permissions(&image, Permissions::from_mode(0o755))?;
    let root = Root::open(&image)?;
    let anybody = User { user: 0, group: 0, groups: Vec::new(), home: None };
    let mut kinds = vec![(Users::One, Networks::Own), (Users::One, Networks::Host)];
    if rustix::process::geteuid().is_root() {
        kinds.insert(0, (Users::Many, Networks::Own));
    }
    let mut refused = String::new();
    for (users, network) in kinds {
        let inside = (network == Networks::Own).then(|| Network::around(8080));
        let tried = match sandbox::plan(&root, &anybody, users, inside) {
            Ok(sandbox) => spawn::probe(sandbox).await,
            Err(error) => Err(error.to_string()),
        };
        match tried {
            Ok(()) => return Ok(Isolation::Own { users, network }),
            Err(why) => refused = why,
        }
    }
    Ok(Isolation::None { why: refused })
}
