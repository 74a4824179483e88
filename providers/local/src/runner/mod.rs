//! Runs images out of the registry: one process per instance, on a port of loopback.

mod elf;
mod ended;
mod enter;
mod error;
mod instance;
mod launch;
mod log;
mod port;
mod program;
mod quote;
mod ready;
mod roots;
mod sandbox;
mod spawn;
#[cfg(test)]
mod tests;
mod unpack;
mod user;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longshore_contract::Secret;
use tokio::net::TcpListener;

use crate::registry::{Registry, StoredImage};

pub use error::StartError;
pub use instance::{Exit, Instance};
pub use port::Port;
pub use sandbox::Isolation;
pub use unpack::UnpackError;

use instance::{NotReady, Running};
use log::Logs;
use port::Ports;
use roots::Roots;
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
    /// Where it is to listen.
    pub port: Port,
    /// How many bytes of memory it may use; no limit where this is `None`.
    pub memory: Option<u64>,
    /// The file its output is appended to.
    pub log: PathBuf,
    /// How long it may take from its start until it listens.
    pub patience: Duration,
}

impl Launch {
    /// What must not be shown of what the function writes: every value of its environment.
    fn secrets(&self) -> Vec<Secret> {
        let image = self.image.environment.iter().map(|(_, value)| Secret::new(value.clone()));
        self.environment.values().cloned().chain(image).collect()
    }
}

/// Starts instances. Clones are the same runner.
#[derive(Debug, Clone)]
pub struct Runner {
    roots: Arc<Roots>,
    isolation: Isolation,
    ports: Ports,
    logs: Logs,
}

impl Runner {
    /// How long an instance may take until it listens, where nobody says otherwise.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// Opens the runner whose unpacked images are in `directory`, made where there is none, and tries what isolation the
    /// kernel grants. What an earlier process left half unpacked is removed. Only one process may have a directory open
    /// at a time; the caller sees to that.
    pub async fn open(directory: &Path, registry: Registry) -> io::Result<Self> {
        let runner = Self::with(Isolation::Own, directory, registry).await?;
        Ok(Self { isolation: probe(directory).await, ..runner })
    }

    async fn with(isolation: Isolation, directory: &Path, registry: Registry) -> io::Result<Self> {
        let path = directory.to_owned();
        let opened = tokio::task::spawn_blocking(move || Roots::open(&path, registry)).await;
        let roots = Arc::new(opened.map_err(io::Error::other)??);
        Ok(Self { roots, isolation, ports: Ports::default(), logs: Logs::default() })
    }

    /// What isolation instances get.
    pub fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// Starts a process of the image and does not wait until it listens. Its image is unpacked first where that was not
    /// done yet. When it fails, or is dropped half way, nothing runs.
    pub async fn spawn(&self, launch: &Launch) -> Result<Spawned, StartError> {
        let root = self.roots.root(&launch.image).await?;
        let log = self.logs.open(&launch.log).map_err(StartError::disk(&launch.log))?;
        let lease = self.ports.lease(launch.port, &launch.label)?;
        let port = lease.port;
        let api = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(StartError::NoPort)?;
        let api_address = api.local_addr().map_err(StartError::NoPort)?;
        let prepared = launch::prepare(launch, &root, &self.isolation, port, api_address)?;
        if let Isolation::None { why } = &self.isolation {
            let note = format!("longshore: started without namespaces, as an ordinary process ({why})\n");
            log.write(note.as_bytes());
        }
        let (output, child) = prepared.spawn(log).await?;
        let running = Running::watch(child, lease)
            .map_err(|source| StartError::Spawn { step: "watching the function".to_owned(), source })?;
        Ok(Spawned { instance: Instance::new(launch, port, output, running), api })
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

/// What isolation the kernel grants, tried with `directory` as the image.
async fn probe(directory: &Path) -> Isolation {
    let anybody = User { user: 0, group: 0, home: None };
    let planned = Root::open(directory)
        .map_err(StartError::disk(directory))
        .and_then(|root| sandbox::plan(&root, &anybody));
    match planned {
        Ok(sandbox) => spawn::probe(sandbox).await,
        Err(error) => Isolation::None { why: error.to_string() },
    }
}
