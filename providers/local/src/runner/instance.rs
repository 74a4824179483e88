//! A function's process, while it runs.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::ended::Ended;
use super::port::Lease;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signal = match self {
            Self::Status(status) => return write!(f, "exited with status {status}"),
            Self::Signal(signal) => *signal,
        };
        let name = match signal {
            4 => " (SIGILL)",
            6 => " (SIGABRT)",
            7 => " (SIGBUS)",
            8 => " (SIGFPE)",
            9 => " (SIGKILL)",
            11 => " (SIGSEGV)",
            15 => " (SIGTERM)",
            31 => " (SIGSYS)",
            _ => "",
        };
        write!(f, "was killed by signal {signal}{name}")
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match status.signal() {
            Some(signal) => Self::Signal(signal),
            None => Self::Status(status.code().unwrap_or(-1)),
        }
    }
}

/// A running function that accepts connections. Dropping it kills the process and everything in its process group.
#[derive(Debug)]
pub struct Instance {
    address: SocketAddr,
    running: Running,
}

impl Instance {
    pub(super) fn new(address: SocketAddr, running: Running) -> Self {
        Self { address, running }
    }

    /// Where it accepts connections, on loopback.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process, which is also its session and its process group.
    pub fn pid(&self) -> u32 {
        self.running.pid
    }

    /// Waits until it has ended: it was reaped, its process group is gone and its port is free. Any number may wait, and
    /// it may have ended long ago.
    pub async fn exited(&self) -> Exit {
        self.running.exited().await
    }

    /// Asks it to end (SIGTERM to its process group), kills the group when it has not after `grace`, and waits as
    /// [`Instance::exited`] does.
    pub async fn stop(&self, grace: Duration) -> Exit {
        self.running.stop(grace).await
    }
}

/// A process that somebody watches over.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) pid: u32,
    /// How long it gets to end. Closed, it gets no time at all.
    orders: mpsc::UnboundedSender<Duration>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Running {
    /// Watches over `child`, which leads a process group, and returns `lease` when it has ended.
    pub(super) fn watch(child: Child, lease: Lease) -> io::Result<Self> {
        let pid = child.id();
        let process = Process::new(child)?;
        let (orders, received) = mpsc::unbounded_channel();
        let (sender, exit) = watch::channel(None);
        tokio::spawn(async move {
            let exit = process.live(received).await;
            drop(lease);
            let _ = sender.send(Some(exit));
        });
        Ok(Self { pid, orders, exit })
    }

    pub(super) async fn exited(&self) -> Exit {
        match self.exit.clone().wait_for(Option::is_some).await.map(|exit| *exit) {
            Ok(Some(exit)) => exit,
            // The task that watches went with its runtime, and killed the process on its way.
            _ => Exit::Signal(Signal::KILL.as_raw()),
        }
    }

    pub(super) async fn stop(&self, grace: Duration) -> Exit {
        // Nobody receives: it has ended.
        let _ = self.orders.send(grace);
        self.exited().await
    }
}

/// A process that is not reaped yet, so that its number cannot mean another one.
struct Process {
    child: Child,
    group: Pid,
    ended: Ended,
}

impl Process {
    fn new(mut child: Child) -> io::Result<Self> {
        let watched = (|| {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let group = group.ok_or_else(|| io::Error::other("a process without a number"))?;
            Ok((group, Ended::of(group)?))
        })();
        match watched {
            Ok((group, ended)) => Ok(Self { child, group, ended }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Lives until the process has ended, by itself or as it was told to.
    async fn live(self, mut orders: mpsc::UnboundedReceiver<Duration>) -> Exit {
        let mut last = None;
        loop {
            let overdue = async {
                match last {
                    Some(last) => tokio::time::sleep_until(last).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.ended.wait() => return self.reap(),
                () = overdue => {
                    self.signal(Signal::KILL);
                    last = None;
                }
                order = orders.recv() => match order {
                    Some(grace) => {
                        self.signal(Signal::TERM);
                        let grace = Instant::now() + grace;
                        last = Some(last.map_or(grace, |last: Instant| last.min(grace)));
                    }
                    None => {
                        self.signal(Signal::KILL);
                        self.ended.wait().await;
                        return self.reap();
                    }
                },
            }
        }
    }

    fn signal(&self, signal: Signal) {
        // It may have ended a moment ago; its number is still its own.
        let _ = rustix::process::kill_process_group(self.group, signal);
    }

    /// Takes what is left of the group along and collects the status.
    fn reap(mut self) -> Exit {
        self.end()
    }

    fn end(&mut self) -> Exit {
        self.signal(Signal::KILL);
        self.child.wait().map_or(Exit::Status(-1), Exit::from)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Reaped already, unless the runtime went away under it: then nobody else will.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.end();
        }
    }
}
