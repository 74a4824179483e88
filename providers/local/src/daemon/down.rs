//! Ending a daemon and everything it runs.

use std::time::Duration;

use longshore_contract::{Calls, Error, ErrorKind, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::control::wire::PREFIX;
use crate::daemon::lock::Lock;
use crate::daemon::{off_the_reactor, running};
use crate::provider::client::{Client, Effect};
use crate::state::StateDirectory;

/// How long a daemon has to end by itself: its functions' grace and then some.
const GRACE: Duration = Duration::from_secs(20);

/// How long the system may take to end a killed process.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// Ends the daemon on `directory` and waits until it is gone. Its functions end before it does, or with it.
pub(crate) async fn down(directory: &StateDirectory) -> Result<()> {
    let subject = directory.path().display().to_string();
    if !is_held(directory).await? {
        return Ok(());
    }
    let free = off_the_reactor_until_free(directory);
    tokio::pin!(free);
    if let Some(running) = running(directory).await? {
        let client = Client::new(directory.clone(), None, Calls::default());
        let asked =
            client.send(Effect::Write, "POST", &format!("{PREFIX}/shutdown"), None, "stop", &subject).await;
        if let Err(error) = asked {
            tracing::warn!("the daemon does not take the request to end: {error}");
        } else if let Ok(freed) = tokio::time::timeout(GRACE, &mut free).await {
            return freed;
        }
        // Only now, and only while somebody holds the lock: a number alone could be anybody's by now.
        if is_held(directory).await? {
            kill(running.pid, &subject)?;
        }
    }
    tokio::time::timeout(LAST_GRACE, free).await.unwrap_or_else(|_| {
        let message = format!("a process still holds {}", directory.lock().display());
        Err(Error::new(ErrorKind::Unexpected, "stop", &subject, message))
    })
}

fn kill(pid: u32, subject: &str) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let killed = pid.map(|pid| kill_process(pid, Signal::KILL));
    match killed {
        Some(Ok(()) | Err(rustix::io::Errno::SRCH)) => Ok(()),
        Some(Err(error)) => Err(Error::new(ErrorKind::Denied, "stop", subject, error)),
        None => Err(Error::new(ErrorKind::Unexpected, "stop", subject, "daemon.json names no process")),
    }
}

async fn is_held(directory: &StateDirectory) -> Result<bool> {
    let lock = directory.lock();
    let subject = lock.display().to_string();
    off_the_reactor(move || Lock::is_held(&lock))
        .await
        .map_err(|error| Error::new(ErrorKind::Unexpected, "look at", subject, error))
}

async fn off_the_reactor_until_free(directory: &StateDirectory) -> Result<()> {
    let lock = directory.lock();
    let subject = lock.display().to_string();
    off_the_reactor(move || Lock::wait_until_free(&lock))
        .await
        .map_err(|error| Error::new(ErrorKind::Unexpected, "wait for", subject, error))
}
