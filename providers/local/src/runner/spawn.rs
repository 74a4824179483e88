//! The thread that starts processes.
//!
//! A process that dies with its parent dies, as the kernel sees it, with the *thread* that started it. So one thread,
//! which never ends, starts them all.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError, mpsc};

use rustix::process::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::control::{self, Along, Packet};
use super::ended::Ended;
use super::enter::{self, Entrance, Environment, Stage};
use super::error::StartError;
use super::instance::Process;
use super::sandbox::Sandbox;

struct Job {
    entrance: Entrance,
    /// Our end of the conversation.
    control: OwnedFd,
    answer: oneshot::Sender<io::Result<(Process, OwnedFd)>>,
}

static THREAD: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);

fn hand_over(job: Job) -> io::Result<()> {
    let mut thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    if thread.is_none() {
        let (sender, jobs) = mpsc::channel::<Job>();
        let work = move || {
            // Ends never: the sender is kept for the life of the process.
            while let Ok(Job { entrance, control, answer }) = jobs.recv() {
                let started = start(&entrance, &control).map(|process| (process, control));
                // Our ends of the process's pipes go with it, before anybody reads the others.
                drop(entrance);
                // Where nobody waits any more, the process goes with the answer.
                let _ = answer.send(started);
            }
        };
        std::thread::Builder::new().name("function start".to_owned()).spawn(work)?;
        *thread = Some(sender);
    }
    let gone = || io::Error::other("the thread that starts functions is gone");
    thread.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())
}

fn start(entrance: &Entrance, control: &OwnedFd) -> io::Result<Process> {
    let process = Process::new(entrance.start()?);
    if let Some(sandbox) = &entrance.sandbox {
        map_users(process.pid(), sandbox)?;
        control::send(control, Packet::Go, &[])?;
    }
    Ok(process)
}

/// Says who exists in the new user namespace of `process`. Only from outside may that be more than one user.
fn map_users(process: Pid, sandbox: &Sandbox) -> io::Result<()> {
    let write = |name: &str, text: &CStr| {
        let path = format!("/proc/{}/{name}", process.as_raw_nonzero());
        let named = CString::new(path).map_err(io::Error::other)?;
        enter::write(&named, text).map_err(io::Error::from)
    };
    if sandbox.identity.is_none() {
        // Without this an unprivileged process may not name its group.
        write("setgroups", c"deny")?;
    }
    write("uid_map", &sandbox.user_map)?;
    write("gid_map", &sandbox.group_map)
}

/// A process that did not become its program.
#[derive(Debug)]
pub(super) struct Unstarted {
    /// Where it came to; `None` when it was never made.
    stage: Option<Stage>,
    source: io::Error,
}

impl Unstarted {
    /// The same in words, when `program` was to be started.
    pub(super) fn of(self, program: &str) -> StartError {
        let words = self.stage.map_or(Some("giving the function namespaces"), Stage::words);
        let step = words.map_or_else(|| format!("starting {program}"), str::to_owned);
        StartError::Spawn { step, source: self.source }
    }
}

impl From<io::Error> for Unstarted {
    fn from(source: io::Error) -> Self {
        Self { stage: None, source }
    }
}

/// A process that has become its program.
pub(super) struct Begun {
    pub(super) process: Process,
    pub(super) ended: Ended,
    /// The conversation with its init; `None` where it has none.
    pub(super) control: Option<AsyncFd<OwnedFd>>,
    /// The listeners of its network namespace, for the runtime API and for the way out.
    pub(super) listeners: Option<[OwnedFd; 2]>,
}

/// What is to be started, and with what; see [`Entrance`].
pub(super) struct Order {
    pub(super) sandbox: Option<Sandbox>,
    pub(super) directory: CString,
    pub(super) program: CString,
    pub(super) arguments: Vec<CString>,
    pub(super) environment: Environment,
    pub(super) output: OwnedFd,
}

/// Starts the process of `order`, and waits until it is its program. When it fails, or is dropped half way, nothing runs.
pub(super) async fn spawn(order: Order) -> Result<Begun, Unstarted> {
    let (ours, theirs) = control::pair().map_err(io::Error::from)?;
    let Order { sandbox, directory, program, arguments, environment, output } = order;
    let has_init = sandbox.is_some();
    let input = std::fs::File::open("/dev/null")?;
    let entrance = Entrance {
        sandbox,
        directory,
        program,
        arguments,
        environment,
        input: enter::above(input.as_fd())?,
        output: enter::above(output.as_fd())?,
        control: enter::above(theirs.as_fd())?,
    };
    drop((output, theirs));
    let (answer, started) = oneshot::channel();
    hand_over(Job { entrance, control: ours, answer })?;
    let (process, control) = started.await.map_err(io::Error::other)??;
    let ended = Ended::of(process.pid())?;
    #[expect(
        unsafe_code,
        reason = "the safe constructor is deprecated, for types that are not like this one"
    )]
    // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives, and it lives in the `AsyncFd`.
    let control = unsafe { AsyncFd::register_with_interest(control, Interest::READABLE) };
    let control = control.map_err(io::Error::from)?;
    let mut listeners = None;
    loop {
        let (packet, along) = match receive(&control).await? {
            Some(received) => received,
            // The program has no use for its end.
            None if !has_init => break,
            None => return Err(io::Error::other("the function's init ended without a word").into()),
        };
        match packet {
            Packet::Failed(stage, error) => {
                return Err(Unstarted { stage: Some(stage), source: error.into() });
            }
            Packet::Listening => {
                if let [Some(api), Some(proxy)] = along {
                    listeners = Some([api, proxy]);
                }
            }
            Packet::Started => break,
            _ => {}
        }
    }
    Ok(Begun { process, ended, control: has_init.then_some(control), listeners })
}

/// The next packet; `None` where the other end is gone.
pub(super) async fn receive(control: &AsyncFd<OwnedFd>) -> io::Result<Option<(Packet, Along)>> {
    loop {
        let mut ready = control.readable().await?;
        let flags = rustix::net::RecvFlags::DONTWAIT;
        match ready.try_io(|control| control::receive(control.get_ref(), flags).map_err(io::Error::from)) {
            Ok(received) => return received,
            Err(_would_block) => {}
        }
    }
}

/// Tries whether the kernel gives this process what `sandbox` asks for: goes the whole way into it, and starts nothing
/// there.
pub(super) async fn probe(sandbox: Sandbox) -> Result<(), String> {
    let (_reader, writer) = io::pipe().map_err(|error| error.to_string())?;
    let order = Order {
        sandbox: Some(sandbox),
        directory: c"/".to_owned(),
        program: c"/".to_owned(),
        arguments: vec![c"/".to_owned()],
        environment: Environment(Vec::new()),
        output: writer.into(),
    };
    // A directory is no program: to be refused it at the end of the way is to have come through.
    match spawn(order).await {
        Err(Unstarted { stage: Some(Stage::Program), .. }) => Ok(()),
        Err(unstarted) => Err(unstarted.of("/").to_string()),
        Ok(_) => Err("a directory was executed".to_owned()),
    }
}
