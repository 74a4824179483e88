//! Making sure that a daemon runs.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use longshore_contract::{Error, ErrorKind, Result, Started};

use crate::daemon::detach::detach;
use crate::daemon::lock::Lock;
use crate::daemon::report::{self, Report};
use crate::daemon::running;
use crate::reactor::off_the_reactor;
use crate::state::{Running, StateDirectory, io_error};

/// How long a daemon may take to start. It has a registry to sweep, so this is no measure of how long it should take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a daemon that begins or ends is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// The daemon's log is put aside beyond this size when a daemon starts.
const LOG_LIMIT: u64 = 4 * 1024 * 1024;

/// The most that is read of a report.
const REPORT_LIMIT: u64 = 64 * 1024;

/// What a daemon takes over from our environment. Whatever else is in there, such as a CI job's secrets, is nothing for a
/// process that outlives the job.
const ENVIRONMENT: [&str; 10] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TMPDIR",
    "LONGSHORE_LOG",
    "RUST_BACKTRACE",
    "DOCKER_HOST",
    "CONTAINER_HOST",
    "XDG_RUNTIME_DIR",
];

/// Makes sure that a daemon runs on `directory`, and says where. Without any request when it runs already.
pub(crate) async fn up(directory: &StateDirectory) -> Result<(Running, Started)> {
    if let Some(running) = running(directory).await? {
        return Ok((running, Started::Before));
    }
    let directory = directory.clone();
    off_the_reactor(move || start(&directory)).await
}

fn start(directory: &StateDirectory) -> Result<(Running, Started)> {
    let subject = directory.path().display().to_string();
    let failed = |error: crate::state::StateError| error.into_error("start", &subject);
    directory.make().map_err(failed)?;
    let at = directory.start_lock();
    // Whoever else starts one is waited for here, and finds it running, or we do.
    let _starting = Lock::wait(&at).map_err(|error| failed(io_error("lock", &at)(error)))?;
    let (lock, begun) = (directory.lock(), Instant::now());
    while Lock::is_held(&lock).map_err(|error| failed(io_error("look at", &lock)(error)))? {
        // What a killed daemon has said is still there while it dies.
        if Lock::is_kept(&lock).map_err(|error| failed(io_error("look at", &lock)(error)))?
            && let Some(running) = directory.running().map_err(failed)?
        {
            return Ok((running, Started::Before));
        }
        // It is just beginning, and will say where it listens, or ending, and will give the lock back.
        if begun.elapsed() > PATIENCE {
            let message = format!(
                "a daemon holds {} and does not say where it listens; its log is {}",
                lock.display(),
                directory.daemon_log().display()
            );
            return Err(Error::new(ErrorKind::Unavailable, "start", &subject, message));
        }
        std::thread::sleep(LOOK);
    }
    // What a daemon that was killed has left behind must not be taken for the new one's.
    directory.retract().map_err(failed)?;
    let mut child = spawn(directory).map_err(|error| {
        Error::new(
            ErrorKind::Unexpected,
            "start",
            &subject,
            format_args!("the daemon cannot be started: {error}"),
        )
    })?;
    let report = listen(&mut child);
    match report {
        Ok(Report::Ready { .. }) => {}
        Ok(Report::Failed { code, message }) => {
            let log = directory.daemon_log();
            let message = format!("{message}; the daemon's log is {}", log.display());
            return Err(report::error(&code, &subject, message));
        }
        Err(why) => {
            let log = directory.daemon_log();
            let message = format!("the daemon did not start: {why}; its log is {}", log.display());
            return Err(Error::new(ErrorKind::Unexpected, "start", &subject, message));
        }
    }
    // It was started by us and outlives us: nobody is to wait for it.
    drop(child);
    let running = directory.running().map_err(failed)?.ok_or_else(|| {
        Error::new(ErrorKind::Unexpected, "start", &subject, "the daemon ended as soon as it had started")
    })?;
    Ok((running, Started::Now))
}

/// The one place that knows how this program is told to be a daemon.
fn command(program: &Path, directory: &StateDirectory) -> Command {
    let mut command = Command::new(program);
    command.arg("local").arg("serve").arg("--state").arg(directory.path());
    command
}

fn spawn(directory: &StateDirectory) -> io::Result<Child> {
    let mut command = command(&std::env::current_exe()?, directory);
    command
        .current_dir("/")
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(open_log(&directory.daemon_log())?);
    detach(&mut command)?;
    command.spawn()
}

fn open_log(path: &Path) -> io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|log| log.len() > LOG_LIMIT) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// Waits for the child's line. A child that says nothing is ended, and so is one that fails.
fn listen(child: &mut Child) -> Result<Report, String> {
    let Some(stdout) = child.stdout.take() else { return Err("it has no standard output".to_owned()) };
    let report = first_line(stdout).and_then(|line| {
        serde_json::from_str(&line).map_err(|_| match child.try_wait() {
            Ok(Some(status)) => format!("it ended with {status}"),
            _ => "it said nothing that can be understood".to_owned(),
        })
    });
    if !matches!(report, Ok(Report::Ready { .. })) {
        let _ = child.kill();
        let _ = child.wait();
    }
    report
}

fn first_line(stdout: ChildStdout) -> Result<String, String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(stdout.take(REPORT_LIMIT)).read_line(&mut line);
        // Nobody listens any more when the child took too long.
        let _ = sender.send(read.map(|_| line));
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(line)) => Ok(line),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it is not ready after {PATIENCE:?}")),
    }
}
