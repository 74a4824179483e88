//! Runs images out of the registry: one process per instance, on a port of loopback.

mod elf;
mod ended;
mod enter;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
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
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longshore_contract::Secret;

use crate::registry::{Registry, StoredImage};

pub use error::StartError;
pub use instance::{Exit, Instance};
pub use port::Port;
pub use sandbox::Isolation;
pub use unpack::UnpackError;

use instance::Running;
use log::{Log, Logs, Output};
use port::Ports;
use quote::quote;
use roots::Roots;
use unpack::Root;
use user::User;

/// How long the last lines of a process that has ended are waited for. Whoever it left behind may keep its output open.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How often a port that somebody else took first is replaced by another.
const PORT_RACES: u32 = 3;

/// An order to start an instance.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What to run.
    pub image: StoredImage,
    /// Who it is, as `FUNCTION/VERSION`, for messages.
    pub label: String,
    /// What is started in place of the image's entrypoint and command.
    pub command: Option<Vec<String>>,
    /// The environment on top of the image's own. `PORT` is added to it.
    pub environment: BTreeMap<String, Secret>,
    /// Where it is to listen.
    pub port: Port,
    /// The file its output is appended to.
    pub log: PathBuf,
    /// How long it may take from its start until it listens.
    pub patience: Duration,
}

impl Launch {
    /// The last lines of `output` as an error may have them: without the values of the environment.
    fn quote(&self, output: &Output) -> Vec<String> {
        let image: Vec<Secret> =
            self.image.environment.iter().map(|(_, value)| Secret::new(value.clone())).collect();
        quote(&output.tail(), self.environment.values().chain(&image))
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

    /// Starts an instance and waits until its port accepts a connection. Its image is unpacked first where that was not
    /// done yet, and that time is not counted against its patience. When it fails, or is dropped half way, nothing runs.
    pub async fn start(&self, launch: &Launch) -> Result<Instance, StartError> {
        let root = self.roots.root(&launch.image).await?;
        let log = self.logs.open(&launch.log).map_err(StartError::disk(&launch.log))?;
        let mut races = 0;
        loop {
            match self.try_start(launch, &root, &log).await {
                Err(Attempt::Raced) if races < PORT_RACES => races += 1,
                Err(Attempt::Raced) => {
                    let error = io::Error::new(io::ErrorKind::AddrInUse, "other processes take them all");
                    return Err(StartError::NoPort(error));
                }
                Err(Attempt::Failed(error)) => return Err(error),
                Ok(instance) => return Ok(instance),
            }
        }
    }

    async fn try_start(&self, launch: &Launch, root: &Path, log: &Arc<Log>) -> Result<Instance, Attempt> {
        let lease = self.ports.lease(launch.port, &launch.label)?;
        let port = lease.port;
        let prepared = launch::prepare(launch, root, &self.isolation, port)?;
        if let Isolation::None { why } = &self.isolation {
            let note = format!("longshore: started without namespaces, as an ordinary process ({why})\n");
            log.write(note.as_bytes());
        }
        let (output, child) = prepared.spawn(Arc::clone(log)).await?;
        let stolen = launch.port == Port::Free;
        let watched = Running::watch(child, lease);
        let running = watched
            .map_err(|source| StartError::Spawn { step: "watching the function".to_owned(), source })?;
        tokio::select! {
            biased;
            exit = running.exited() => {
                let _ = tokio::time::timeout(LAST_WORDS, output.ended()).await;
                if stolen && port::is_listened_on(port) {
                    return Err(Attempt::Raced);
                }
                Err(StartError::Exited { exit, port, tail: launch.quote(&output) }.into())
            }
            address = ready::accepts(port) => Ok(Instance::new(address, running)),
            () = tokio::time::sleep(launch.patience) => {
                running.stop(Duration::ZERO).await;
                let _ = tokio::time::timeout(LAST_WORDS, output.ended()).await;
                Err(StartError::Silent { port, patience: launch.patience, tail: launch.quote(&output) }.into())
            }
        }
    }
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

/// What came of one attempt to start.
enum Attempt {
    /// Somebody else listened on its port first.
    Raced,
    Failed(StartError),
}

impl From<StartError> for Attempt {
    fn from(error: StartError) -> Self {
        Self::Failed(error)
    }
}
