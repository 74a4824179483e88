//! A function's process, while it runs.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

use longshore_contract::Secret;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::control::{self, Along, Loopback, Packet};
use super::ended::Ended;
use super::engine::Container;
use super::error::StartError;
use super::log::Output;
use super::memory::{self, Look};
use super::port::{self, Lease, Port};
use super::quote::quote;
use super::roots::Held;
use super::spawn::{self, Begun};
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
    /// It used more memory than it may, which is so many bytes, and was killed.
    Memory(u64),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signal = match self {
            Self::Status(status) => return write!(f, "exited with status {status}"),
            Self::Memory(limit) => {
                return write!(f, "used more than {} MiB of memory and was killed", limit >> 20);
            }
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

impl From<WaitStatus> for Exit {
    fn from(status: WaitStatus) -> Self {
        match status.terminating_signal() {
            Some(signal) => Self::Signal(signal),
            None => Self::Status(status.exit_status().unwrap_or(-1)),
        }
    }
}

/// A function's process. Dropping it kills the process and everything that it started.
#[derive(Debug)]
pub struct Instance {
    port: u16,
    reach: Reach,
    output: Output,
    secrets: Vec<Secret>,
    running: Running,
}

/// Where a function's port is, and which of loopback's addresses it listens on, once that was found out.
#[derive(Debug)]
pub(super) enum Reach {
    /// On the host's network.
    Host { address: OnceLock<SocketAddr>, wanted: Port },
    /// In a network of its own, whose way out goes with it.
    Inside { loopback: OnceLock<Loopback>, _proxy: tokio_util::task::AbortOnDropHandle<()> },
}

impl Instance {
    pub(super) fn new(launch: &Launch, port: u16, reach: Reach, output: Output, running: Running) -> Self {
        Self { port, reach, output, secrets: launch.secrets.clone(), running }
    }

    /// Opens a connection to the port that the function was told, whatever network it is in.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        match &self.reach {
            Reach::Host { address, .. } => match address.get() {
                Some(address) => TcpStream::connect(address).await,
                None => {
                    let (stream, found) = ready::connect(self.port).await?;
                    let _ = address.set(found);
                    Ok(stream)
                }
            },
            Reach::Inside { loopback, .. } => match loopback.get() {
                Some(loopback) => self.running.connect(*loopback).await,
                None => {
                    let (stream, found) = match self.running.connect(Loopback::Four).await {
                        Ok(stream) => (stream, Loopback::Four),
                        Err(refused) => match self.running.connect(Loopback::Six).await {
                            Ok(stream) => (stream, Loopback::Six),
                            Err(_) => return Err(refused),
                        },
                    };
                    let _ = loopback.set(found);
                    Ok(stream)
                }
            },
        }
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

    /// Its process on this machine: the init of its process namespace, or where it has none, the function itself. Nothing of
    /// it outlives this one.
    pub fn pid(&self) -> u32 {
        self.running.pid
    }

    /// The last lines that it wrote, oldest first, bounded and without the values of its environment.
    pub fn tail(&self) -> Vec<String> {
        quote(&self.output.tail(), &self.secrets)
    }

    /// Waits until everything that it wrote so far is in its log, for a moment at most.
    pub async fn settled(&self) {
        self.output.settled().await;
    }

    /// Waits until it has ended: all of its processes are gone and its port is free. What it wrote last is in
    /// [`Instance::tail`] then. Any number may wait, and it may have ended long ago.
    pub async fn exited(&self) -> Exit {
        let exit = self.running.exited().await;
        let _ = tokio::time::timeout(LAST_WORDS, self.output.ended()).await;
        exit
    }

    /// Whether it may have ended because another program took its port between the choice of it and its start; to spawn
    /// again helps then. To be asked once it has ended.
    pub fn lost_its_port(&self) -> bool {
        let free = matches!(&self.reach, Reach::Host { wanted: Port::Free, .. });
        free && port::is_listened_on(self.port)
    }

    /// Asks it to end (SIGTERM to its process group), kills it and all it started when it has not after `grace`, and waits
    /// as [`Instance::exited`] does.
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
    /// Closed, they mean that it ends at once.
    orders: mpsc::UnboundedSender<Order>,
    exit: watch::Receiver<Option<Exit>>,
}

/// What a process, or its init, is to do.
#[derive(Debug)]
enum Order {
    /// End, within this time.
    Stop(Duration),
    /// Connect to the function's port.
    Connect(Loopback, oneshot::Sender<Result<OwnedFd, Errno>>),
}

/// What an instance holds until it has ended.
#[derive(Debug)]
pub(super) struct Belongings {
    pub(super) _lease: Option<Lease>,
    /// The image's files; where an engine has them, nothing.
    pub(super) _root: Option<Held>,
}

impl Running {
    /// Watches over what has `begun`, which may use `memory` bytes, and lets go of `belongings` when it has ended.
    pub(super) fn watch(begun: Begun, memory: Option<u64>, belongings: Belongings) -> Self {
        let Begun { process, ended, control, .. } = begun;
        let pid = process.pid().as_raw_nonzero().get().unsigned_abs();
        // A process without namespaces has nobody above it whose children could be counted.
        let memory = memory.filter(|_| control.is_some());
        let life = Life { process, ended, control, memory, asked: VecDeque::new(), said: None };
        let (orders, received) = mpsc::unbounded_channel();
        let (sender, exit) = watch::channel(None);
        tokio::spawn(async move {
            let exit = life.live(received).await;
            drop(belongings);
            let _ = sender.send(Some(exit));
        });
        Self { pid, orders, exit }
    }

    /// Watches over `container`, and lets go of `belongings` when it has ended and is removed.
    pub(super) fn contain(container: Container, memory: Option<u64>, belongings: Belongings) -> Self {
        let pid = container.pid;
        let (orders, received) = mpsc::unbounded_channel();
        let (sender, exit) = watch::channel(None);
        tokio::spawn(async move {
            let exit = live_in(&container, memory, received).await;
            container.remove().await;
            drop(belongings);
            let _ = sender.send(Some(exit));
        });
        Self { pid, orders, exit }
    }

    pub(super) async fn exited(&self) -> Exit {
        match self.exit.clone().wait_for(Option::is_some).await.map(|exit| *exit) {
            Ok(Some(exit)) => exit,
            // The task that watches went with its runtime, and killed the process on its way.
            _ => Exit::Signal(Signal::KILL.as_raw()),
        }
    }

    async fn stop(&self, grace: Duration) -> Exit {
        // Nobody receives: it has ended.
        let _ = self.orders.send(Order::Stop(grace));
        self.exited().await
    }

    /// A connection to the function's port, made by its init.
    async fn connect(&self, loopback: Loopback) -> io::Result<TcpStream> {
        let ended = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::Connect(loopback, answer)).map_err(|_| ended())?;
        let socket = answered.await.map_err(|_| ended())??;
        let stream = TcpStream::from_std(std::net::TcpStream::from(socket))?;
        stream.writable().await?;
        match stream.take_error()? {
            Some(error) => Err(error),
            None => Ok(stream),
        }
    }
}

/// A process that is not reaped yet, so that its number cannot mean another one. Dropping it kills and reaps it.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    reaped: bool,
}

impl Process {
    /// Takes charge of `pid`, a child of this process.
    pub(super) fn new(pid: Pid) -> Self {
        Self { pid, reaped: false }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Signals its process group, or it alone where it leads none yet.
    fn signal(&self, signal: Signal) {
        if rustix::process::kill_process_group(self.pid, signal).is_err() {
            // It may have ended a moment ago; its number is still its own.
            let _ = rustix::process::kill_process(self.pid, signal);
        }
    }

    /// Ends it, where it has not ended, with what is left of its group, and collects its status.
    fn end(&mut self) -> Option<WaitStatus> {
        self.signal(Signal::KILL);
        self.reaped = true;
        loop {
            match rustix::process::waitpid(Some(self.pid), WaitOptions::empty()) {
                Ok(ended) => return ended.map(|(_, status)| status),
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.end();
        }
    }
}

/// One process from its start to its end.
struct Life {
    process: Process,
    ended: Ended,
    /// The conversation with its init, for as long as that talks.
    control: Option<AsyncFd<OwnedFd>>,
    memory: Option<u64>,
    /// Who waits for connections, in the order in which they come.
    asked: VecDeque<oneshot::Sender<Result<OwnedFd, Errno>>>,
    /// How the function ended, as its init says.
    said: Option<Exit>,
}

impl Life {
    /// Lives until the process has ended, by itself or as it was told to.
    async fn live(mut self, mut orders: mpsc::UnboundedReceiver<Order>) -> Exit {
        let mut last: Option<Instant> = None;
        let mut look = Instant::now();
        loop {
            let overdue = async {
                match last {
                    Some(last) => tokio::time::sleep_until(last).await,
                    None => std::future::pending().await,
                }
            };
            let heard = async {
                match &self.control {
                    Some(control) => spawn::receive(control).await,
                    None => std::future::pending().await,
                }
            };
            let weighed = async {
                match self.memory {
                    Some(limit) => {
                        tokio::time::sleep_until(look).await;
                        limit
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.ended.wait() => return self.end(),
                () = overdue => {
                    self.process.signal(Signal::KILL);
                    last = None;
                }
                packet = heard => match packet {
                    Ok(Some((packet, along))) => self.hear(packet, along),
                    Ok(None) | Err(_) => self.control = None,
                },
                limit = weighed => match memory::look(self.process.pid(), limit) {
                    Look::Within(pause) => look = Instant::now() + pause,
                    Look::Beyond => {
                        self.said = Some(Exit::Memory(limit));
                        self.memory = None;
                        self.process.signal(Signal::KILL);
                    }
                },
                order = orders.recv() => match order {
                    Some(Order::Stop(grace)) => {
                        self.ask_to_end();
                        let grace = Instant::now() + grace;
                        last = Some(last.map_or(grace, |last| last.min(grace)));
                    }
                    Some(Order::Connect(loopback, answer)) => self.ask_for_connection(loopback, answer),
                    None => {
                        self.process.signal(Signal::KILL);
                        self.ended.wait().await;
                        return self.end();
                    }
                },
            }
        }
    }

    fn ask_to_end(&self) {
        match &self.control {
            Some(control) => {
                // Where nobody hears it, the end has come or will be made.
                let _ = control::send(control, Packet::Signal(Signal::TERM.as_raw()), &[]);
            }
            None => self.process.signal(Signal::TERM),
        }
    }

    fn ask_for_connection(&mut self, loopback: Loopback, answer: oneshot::Sender<Result<OwnedFd, Errno>>) {
        let asked = match &self.control {
            Some(control) => control::send(control, Packet::Connect(loopback), &[]),
            None => Err(Errno::CONNREFUSED),
        };
        match asked {
            Ok(()) => self.asked.push_back(answer),
            Err(error) => {
                let _ = answer.send(Err(error));
            }
        }
    }

    fn hear(&mut self, packet: Packet, along: Along) {
        let [socket, _] = along;
        let answer = match (packet, socket) {
            (Packet::Connected, Some(socket)) => Ok(socket),
            (Packet::Refused(error), _) => Err(error),
            (Packet::Exited(status), _) => {
                // What was killed for its memory ended for that, whatever its status says.
                self.said.get_or_insert(exit_of(status));
                return;
            }
            _ => return,
        };
        if let Some(asked) = self.asked.pop_front() {
            let _ = asked.send(answer);
        }
    }

    fn end(mut self) -> Exit {
        // The last words may not have been heard yet.
        if let Some(control) = self.control.take() {
            while let Ok(Some((packet, along))) = control::receive(control.get_ref(), RecvFlags::DONTWAIT) {
                self.hear(packet, along);
            }
        }
        let status = self.process.end().map_or(Exit::Status(-1), Exit::from);
        self.said.unwrap_or(status)
    }
}

/// Lives until `container` has ended, by itself or as it was told to.
async fn live_in(
    container: &Container,
    memory: Option<u64>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) -> Exit {
    let ended = container.ended();
    tokio::pin!(ended);
    let mut last: Option<Instant> = None;
    let exit = loop {
        let overdue = async {
            match last {
                Some(last) => tokio::time::sleep_until(last).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            exit = &mut ended => break exit,
            () = overdue => {
                container.signal("KILL").await;
                last = None;
            }
            order = orders.recv() => match order {
                Some(Order::Stop(grace)) => {
                    container.signal("TERM").await;
                    let grace = Instant::now() + grace;
                    last = Some(last.map_or(grace, |last| last.min(grace)));
                }
                Some(Order::Connect(_, answer)) => {
                    let _ = answer.send(Err(Errno::CONNREFUSED));
                }
                None => {
                    container.signal("KILL").await;
                    break ended.await;
                }
            },
        }
    };
    match memory {
        Some(limit) if container.ran_out_of_memory().await => Exit::Memory(limit),
        _ => exit,
    }
}

/// How a process ended, from its status as the kernel writes it.
fn exit_of(status: i32) -> Exit {
    match (status & 0x7f, status >> 8 & 0xff) {
        (0, status) => Exit::Status(status),
        (signal, _) => Exit::Signal(signal),
    }
}
