//! The daemon: one per state directory, started detached and ended whole.

mod detach;
mod down;
mod housekeeping;
mod lock;
mod logs;
mod report;
mod serve;
mod tally;
mod up;

use std::path::Path;

use async_trait::async_trait;
use longshore_contract::{
    Embedded, EmbeddedStatus, Error, ErrorKind, Follow, LogsOf, Result, Settings, Started,
};

use crate::control::wire::{PREFIX, StatusView};
use crate::daemon::lock::Lock;
use crate::provider::client::Client;
use crate::provider::locate;
use crate::reactor::off_the_reactor;
use crate::state::{Running, StateDirectory};

/// The local cloud as something that can be started and ended.
#[derive(Debug)]
pub(crate) struct Daemon;

#[async_trait]
impl Embedded for Daemon {
    async fn up(&self, settings: &Settings) -> Result<EmbeddedStatus> {
        let directory = locate(settings)?;
        let (running, started) = up::up(&directory).await?;
        Ok(EmbeddedStatus {
            directory: directory.path().to_owned(),
            pid: running.pid,
            started,
            registry: running.registry,
            functions: running.functions,
            traffic: Vec::new(),
        })
    }

    async fn wake(&self, settings: &Settings) -> Result<Option<EmbeddedStatus>> {
        let directory = locate(settings)?;
        let subject = directory.path().display().to_string();
        let identity =
            directory.identity().map_err(|error| error.into_error("look for the cloud in", &subject))?;
        match identity {
            Some(_) => self.up(settings).await.map(Some),
            None => Ok(None),
        }
    }

    async fn down(&self, settings: &Settings) -> Result<()> {
        down::down(&locate(settings)?).await
    }

    async fn status(&self, settings: &Settings) -> Result<Option<EmbeddedStatus>> {
        let directory = locate(settings)?;
        if running(&directory).await?.is_none() {
            return Ok(None);
        }
        let client = Client::new(directory.clone(), None, longshore_contract::Calls::default());
        let status: StatusView =
            client.get(&format!("{PREFIX}/status"), "status", directory.path().display()).await?;
        Ok(Some(EmbeddedStatus {
            directory: directory.path().to_owned(),
            pid: status.pid,
            started: Started::Before,
            registry: status.registry,
            functions: status.functions,
            traffic: status.traffic.into_iter().map(Into::into).collect(),
        }))
    }

    async fn logs(
        &self,
        settings: &Settings,
        of: &LogsOf,
        follow: Follow,
        out: &mut (dyn std::io::Write + Send),
    ) -> Result<()> {
        logs::copy(&locate(settings)?, of, follow, out).await
    }

    fn serve(&self, directory: &Path) -> Result<()> {
        let directory = std::path::absolute(directory)
            .map_err(|error| Error::new(ErrorKind::Invalid, "serve", directory.display(), error))?;
        serve::serve(&StateDirectory::new(directory))
    }
}

/// The daemon that runs on `directory`, known without asking it: it holds the lock and has said where it listens.
async fn running(directory: &StateDirectory) -> Result<Option<Running>> {
    let directory = directory.clone();
    off_the_reactor(move || {
        let subject = directory.path().display().to_string();
        let kept = Lock::is_kept(&directory.lock())
            .map_err(|error| Error::new(ErrorKind::Unexpected, "look for the daemon of", &subject, error))?;
        if !kept {
            return Ok(None);
        }
        directory.running().map_err(|error| error.into_error("look for the daemon of", &subject))
    })
    .await
}
