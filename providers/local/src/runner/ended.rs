//! Waiting for the end of a process without a thread.

use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The end of one process, whether or not it came yet.
#[derive(Debug)]
pub(super) struct Ended(AsyncFd<OwnedFd>);

impl Ended {
    /// Looks at the process `pid`, a child that nobody reaped. Within a runtime.
    pub(super) fn of(pid: Pid) -> io::Result<Self> {
        let descriptor = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        #[expect(
            unsafe_code,
            reason = "the safe constructor is deprecated, for types that are not like this one"
        )]
        // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives, and it lives in the `AsyncFd`.
        let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        watched.map(Self).map_err(io::Error::from)
    }

    /// Waits until the process has ended; it is still there to be reaped.
    pub(super) async fn wait(&self) {
        // Readable is what the descriptor becomes when the process ends, and stays.
        let _ = self.0.readable().await;
    }
}
