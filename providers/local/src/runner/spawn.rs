//! The thread that starts processes.
//!
//! A process that dies with its parent dies, as the kernel sees it, with the *thread* that started it. So one thread,
//! which never ends, starts them all.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError, mpsc};

use tokio::sync::oneshot;

use super::enter::{Entrance, Stage, arrange};
use super::error::StartError;
use super::sandbox::{Isolation, Sandbox};

struct Job {
    command: Command,
    answer: oneshot::Sender<io::Result<Child>>,
}

static THREAD: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);

fn hand_over(job: Job) -> io::Result<()> {
    let mut thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    if thread.is_none() {
        let (sender, jobs) = mpsc::channel::<Job>();
        let work = move || {
            // Ends never: the sender is kept for the life of the process.
            while let Ok(Job { mut command, answer }) = jobs.recv() {
                let spawned = command.spawn();
                // Our ends of the process's pipes go with it, before anybody reads the others.
                drop(command);
                if let Err(Ok(mut unwanted)) = answer.send(spawned) {
                    let _ = unwanted.kill();
                    let _ = unwanted.wait();
                }
            }
        };
        std::thread::Builder::new().name("function start".to_owned()).spawn(work)?;
        *thread = Some(sender);
    }
    let gone = || io::Error::other("the thread that starts functions is gone");
    thread.as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())
}

/// A process that did not become its program.
#[derive(Debug)]
pub(super) struct Unstarted {
    /// Where it came to; `None` when it came to the program itself, or was never made.
    stage: Option<Stage>,
    source: io::Error,
}

impl Unstarted {
    /// The same in words, when `program` was to be started.
    pub(super) fn of(self, program: &str) -> StartError {
        let step = self.stage.map_or_else(|| format!("starting {program}"), |stage| stage.words().to_owned());
        StartError::Spawn { step, source: self.source }
    }
}

impl From<io::Error> for Unstarted {
    fn from(source: io::Error) -> Self {
        Self { stage: None, source }
    }
}

/// Starts `command` through an entrance into `sandbox`, in `directory`.
pub(super) async fn spawn(
    mut command: Command,
    sandbox: Option<Sandbox>,
    directory: CString,
) -> Result<Child, Unstarted> {
    let (report, writer) = io::pipe()?;
    let parent = rustix::process::getpid();
    arrange(&mut command, Entrance { parent, sandbox, directory, report: OwnedFd::from(writer) });
    let (answer, spawned) = oneshot::channel();
    hand_over(Job { command, answer })?;
    let spawned = spawned.await.map_err(io::Error::other)?;
    spawned.map_err(|source| {
        let mut byte = [0];
        let read = File::from(OwnedFd::from(report)).read(&mut byte).unwrap_or(0);
        Unstarted { stage: (read == 1).then(|| Stage::from_byte(byte[0])).flatten(), source }
    })
}

/// Tries whether the kernel gives this process namespaces: goes the whole way into `sandbox`, and starts nothing there.
pub(super) async fn probe(sandbox: Sandbox) -> Isolation {
    // A directory is no program: to be refused it at the end of the way is to have come through.
    match spawn(Command::new("/"), Some(sandbox), c"/".to_owned()).await {
        Err(Unstarted { stage: None, source }) if source.kind() == io::ErrorKind::PermissionDenied => {
            Isolation::Own
        }
        Err(unstarted) => Isolation::None { why: unstarted.of("/").to_string() },
        Ok(mut child) => {
            let _ = child.wait();
            Isolation::None { why: "a directory was executed".to_owned() }
        }
    }
}
