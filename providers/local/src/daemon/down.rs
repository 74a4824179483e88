//! Ending a daemon and everything it runs.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_contract::{Calls, Error, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::control::wire::PREFIX;
use crate::daemon::lock::Lock;
use crate::provider::client::{Client, Effect};
use crate::reactor::off_the_reactor;
use crate::state::StateDirectory;

/// How long a daemon has to end by itself: as long as requests may take to drain, its functions' grace and then some.
const GRACE: Duration = Duration::from_secs(25);

/// How long it may take to say that it will.
const ANSWER: Duration = Duration::from_secs(3);

/// How long the system may take to end a killed process.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// Ends the daemon on `directory` and waits until it is gone. Its functions end before it does, or with it.
pub(crate) async fn down(directory: &StateDirectory) -> Result<()> {
    let subject = directory.path().display().to_string();
    let failed = |error: &dyn std::fmt::Display| Error::new(ErrorKind::Unexpected, "stop", &subject, error);
    let Some(daemon) = process(directory).await.map_err(|error| failed(&error))? else { return Ok(()) };
    if ask(directory, &subject).await && has_ended(&daemon, GRACE).await.map_err(|error| failed(&error))? {
        return Ok(());
    }
    tracing::warn!("the daemon does not end by itself: killing it");
    match pidfd_send_signal(&*daemon, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => return Err(failed(&error)),
    }
    match has_ended(&daemon, LAST_GRACE).await.map_err(|error| failed(&error))? {
        true => Ok(()),
        false => Err(failed(&"the daemon was killed and is still there")),
    }
}

/// The daemon that holds the lock, as a process that cannot be mistaken for another; `None` where none does.
async fn process(directory: &StateDirectory) -> io::Result<Option<Arc<OwnedFd>>> {
    let lock = directory.lock();
    loop {
        let path = lock.clone();
        let Some(pid) = off_the_reactor(move || Lock::holder(&path)).await? else { return Ok(None) };
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the lock names no process"))?;
        let opened = pidfd_open(pid, PidfdFlags::empty());
        // A number could be anybody's by now: it is the daemon's only if the daemon held the lock after it was opened.
        let path = lock.clone();
        let still = off_the_reactor(move || Lock::holder(&path)).await?;
        match opened {
            Ok(process) if still == Some(pid.as_raw_nonzero().get().unsigned_abs()) => {
                return Ok(Some(Arc::new(process)));
            }
            Ok(_) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits for a process to end; whether it did in time.
async fn has_ended(process: &Arc<OwnedFd>, patience: Duration) -> io::Result<bool> {
    let (process, ends) = (Arc::clone(process), Instant::now() + patience);
    off_the_reactor(move || {
        let ready = rustix::io::retry_on_intr(|| {
            let left = Timespec::try_from(ends.saturating_duration_since(Instant::now()));
            // Readable is what the descriptor of a process becomes when it ends.
            poll(&mut [PollFd::new(&*process, PollFlags::IN)], left.ok().as_ref())
        });
        Ok(ready? > 0)
    })
    .await
}

/// Whether the daemon has been told to end: by us, or, where it has taken back where it listens, by somebody before.
async fn ask(directory: &StateDirectory, subject: &str) -> bool {
    let said = directory.clone();
    let Ok(Some(_)) = off_the_reactor(move || said.running()).await else { return true };
    let client = Client::new(directory.clone(), None, Calls::default());
    let path = format!("{PREFIX}/shutdown");
    let asked = client.send(Effect::Write, "POST", &path, None, "stop", subject);
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(Ok(_)) => return true,
        Ok(Err(error)) => tracing::warn!("the daemon does not take the request to end: {error}"),
        Err(_) => tracing::warn!("the daemon does not answer"),
    }
    false
}
