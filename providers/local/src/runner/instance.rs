//! A function's process, while it runs.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use longshore_contract::Secret;
use rustix::process::{Pid, Signal};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::ended::Ended;
use super::error::StartError;
use super::log::Output;
use super::port::{self, Lease, Port};
use super::quote::quote;
use super::{Launch, ready};

/// How long the last lines of a process that has ended are waited for. Whoever it left behind may keep its output open.
const LAST_WORDS: Duration = Duration::from_millis(500);

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

/// A function's process. Dropping it kills the process and everything in its process group.
#[derive(Debug)]
pub struct Instance {
    port: u16,
    stated: Port,
    /// Which of loopback's addresses it listens on, once that was found out.
    address: OnceLock<SocketAddr>,
    output: Output,
    secrets: Vec<Secret>,
    running: Running,
}

impl Instance {
    pub(super) fn new(launch: &Launch, port: u16, output: Output, running: Running) -> Self {
        let (stated, secrets) = (launch.port, launch.secrets());
        Self { port, stated, address: OnceLock::new(), output, secrets, running }
    }

    /// Opens a connection to the port that the function was told.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        if let Some(address) = self.address.get() {
            return TcpStream::connect(address).await;
        }
        let (stream, address) = ready::connect(self.port).await?;
        let _ = self.address.set(address);
        Ok(stream)
    }

    /// Waits until its port accepts a connection: for ever, where it never does.
    pub async fn listens(&self) {
        let mut pause = Duration::from_millis(1);
        while self.connect().await.is_err() {
            // There is nothing to wait on until somebody listens; the pause grows so that a slow start costs little.
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_millis(50));
        }
    }

    /// The port that the function was told in `PORT`.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process, which is also its session and its process group.
    pub fn pid(&self) -> u32 {
        self.running.pid
    }

    /// The last lines that it wrote, oldest first, bounded and without the values of its environment.
    pub fn tail(&self) -> Vec<String> {
        quote(&self.output.tail(), &self.secrets)
    }

    /// Waits until it has ended: it was reaped, its process group is gone and its port is free. What it wrote last is in
    /// [`Instance::tail`] then. Any number may wait, and it may have ended long ago.
    pub async fn exited(&self) -> Exit {
        let exit = self.running.exited().await;
        let _ = tokio::time::timeout(LAST_WORDS, self.output.ended()).await;
        exit
    }

    /// Whether it may have ended because another program took its port between the choice of it and its start; to spawn
    /// again helps then. To be asked once it has ended.
    pub fn lost_its_port(&self) -> bool {
        self.stated == Port::Free && port::is_listened_on(self.port)
    }

    /// Asks it to end (SIGTERM to its process group), kills the group when it has not after `grace`, and waits as
    /// [`Instance::exited`] does.
    pub async fn stop(&self, grace: Duration) -> Exit {
        self.running.stop(grace).await;
        self.exited().await
    }

    /// Waits until it listens, ends, or `patience` is over. It is stopped where this fails.
    pub(super) async fn ready(self, patience: Duration) -> Result<Self, NotReady> {
        tokio::select! {
            biased;
            exit = self.exited() => {
                if self.lost_its_port() {
                    return Err(NotReady::Raced);
                }
                Err(StartError::Exited { exit, port: self.port, tail: self.tail() }.into())
            }
            () = self.listens() => Ok(()),
            () = tokio::time::sleep(patience) => {
                self.stop(Duration::ZERO).await;
                Err(StartError::Silent { port: self.port, patience, tail: self.tail() }.into())
            }
        }
        .map(|()| self)
    }
}

/// Why an instance did not come to listen.
pub(super) enum NotReady {
    /// Somebody else listened on its port first.
    Raced,
    Failed(StartError),
}

impl From<StartError> for NotReady {
    fn from(error: StartError) -> Self {
        Self::Failed(error)
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
