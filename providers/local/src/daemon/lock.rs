//! The lock that makes a daemon the only one on its directory. The system gives it back when the daemon dies, however it
//! dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long whoever takes the lock may need to write down who it is: two system calls.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// The lock, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock and writes into it who has it; `None` where another daemon has it.
    pub(crate) fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = open(path)?;
        loop {
            match file.try_lock() {
                Ok(()) => {
                    file.set_len(0)?;
                    (&file).write_all(std::process::id().to_string().as_bytes())?;
                    return Ok(Some(Self(file)));
                }
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) => {}
            }
            // Whoever only looks holds the lock shared, for a moment: then it can be had shared, and soon whole.
            match file.try_lock_shared() {
                Ok(()) => file.unlock()?,
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) => return Ok(None),
            }
            std::thread::yield_now();
        }
    }

    /// Takes the lock as soon as nobody has it. Blocks until then.
    pub(crate) fn wait(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        file.lock()?;
        Ok(Self(file))
    }

    /// Whether a daemon has the lock.
    pub(crate) fn is_held(path: &Path) -> io::Result<bool> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            result => result?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Whether a daemon has the lock that goes on having it: the lock of a killed one is not free before the last of its
    /// threads is gone, which takes its time on a busy machine.
    pub(crate) fn is_kept(path: &Path) -> io::Result<bool> {
        Ok(Self::is_held(path)? && !named(path)?.is_some_and(is_dying))
    }

    /// The process of the daemon that has the lock; `None` where none has it. One that has just taken it, and has not
    /// said yet who it is, is waited for. Blocks until then.
    pub(crate) fn holder(path: &Path) -> io::Result<Option<u32>> {
        Self::holder_within(path, PATIENCE)
    }

    fn holder_within(path: &Path, patience: Duration) -> io::Result<Option<u32>> {
        let begun = Instant::now();
        while Self::is_held(path)? {
            // Until the new holder has written, the file is empty or names the one before.
            if let Some(pid) = named(path)?
                && has_open(pid, path)?
            {
                return Ok(Some(pid));
            }
            if begun.elapsed() > patience {
                let message = format!("a process holds {} and does not say which it is", path.display());
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            std::thread::sleep(LOOK);
        }
        Ok(None)
    }

    /// Whether the file that was locked is still the one at `path`: it is not when somebody deleted the directory.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        match (self.0.metadata(), std::fs::metadata(path)) {
            (Ok(ours), Ok(theirs)) => identity(&ours) == identity(&theirs),
            (_, Err(error)) => error.kind() != io::ErrorKind::NotFound,
            (Err(_), _) => true,
        }
    }
}

/// The process that the file at `path` names, if it names one.
fn named(path: &Path) -> io::Result<Option<u32>> {
    let mut text = String::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?.take(20).read_to_string(&mut text)?,
    };
    Ok(text.parse().ok())
}

/// Whether process `pid` is on its way out. One that cannot be looked at is not: it may have another number here.
fn is_dying(pid: u32) -> bool {
    // A line of at most some hundred bytes, which the kernel writes.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| tells_of_the_end(&stat))
}

/// Whether a line of `/proc/PID/stat` is that of a process that was killed, has begun to end, or has ended.
fn tells_of_the_end(stat: &str) -> bool {
    const EXITING: u64 = 0x4;
    const KILL: u64 = 1 << (9 - 1);
    // The name, in brackets, may contain anything.
    let Some((_, rest)) = stat.rsplit_once(") ") else { return false };
    let fields: Vec<&str> = rest.split(' ').collect();
    // Numbered from 1 in proc(5), where the state, the first behind the name, is the third.
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
    let bits = |number: usize| field(number).parse().unwrap_or(0_u64);
    matches!(field(3), "Z" | "X") || bits(9) & EXITING != 0 || bits(31) & KILL != 0
}

/// Whether process `pid` has the file at `path` open, as the holder of its lock does and one that ended does not.
fn has_open(pid: u32, path: &Path) -> io::Result<bool> {
    let lock = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        metadata => identity(&metadata?),
    };
    // What cannot be looked at is nobody's daemon that we could end: it ended, or it is another user's.
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Ok(false) };
    Ok(open.flatten().any(|fd| std::fs::metadata(fd.path()).is_ok_and(|file| identity(&file) == lock)))
}

fn identity(file: &std::fs::Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_and_everybody_can_see_that() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.lock");
        assert!(!Lock::is_held(&path).unwrap());
        let lock = Lock::take(&path).unwrap().unwrap();
        assert!(Lock::is_held(&path).unwrap());
        assert_eq!(Lock::holder(&path).unwrap(), Some(std::process::id()));
        assert!(Lock::take(&path).unwrap().is_none());
        assert!(lock.is_at(&path));
        drop(lock);
        assert_eq!(Lock::holder(&path).unwrap(), None);
        let lock = Lock::take(&path).unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!lock.is_at(&path));
    }

    #[test]
    fn a_daemon_that_is_dying_does_not_keep_the_lock() {
        let stat = |state: &str, flags: u64, pending: u64| {
            let between = "0 ".repeat(21);
            format!("7 (a) b) {state} 1 7 7 0 -1 {flags} {between}{pending} 0 0 0\n")
        };
        assert!(!tells_of_the_end(&stat("S", 0x0040_0100, 0)));
        for ending in [stat("Z", 0x0040_010c, 0), stat("R", 0x0040_0104, 0), stat("R", 0x0040_0100, 256)] {
            assert!(tells_of_the_end(&ending), "{ending}");
        }
        let mut killed = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!is_dying(killed.id()));
        killed.kill().unwrap();
        while !is_dying(killed.id()) {
            std::thread::yield_now();
        }
        killed.wait().unwrap();
        assert!(!is_dying(killed.id()), "nobody has that number now");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.lock");
        assert!(!Lock::is_kept(&path).unwrap());
        let _lock = Lock::take(&path).unwrap().unwrap();
        assert!(Lock::is_kept(&path).unwrap());
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        while !is_dying(ended.id()) {
            std::thread::yield_now();
        }
        std::fs::write(&path, ended.id().to_string()).unwrap();
        assert!(Lock::is_held(&path).unwrap() && !Lock::is_kept(&path).unwrap());
        ended.wait().unwrap();
    }

    #[test]
    fn a_holder_that_has_not_said_who_it_is_is_not_taken_for_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.lock");
        let held = open(&path).unwrap();
        held.lock().unwrap();
        let error = Lock::holder_within(&path, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("does not say which it is"), "{error}");
    }

    #[test]
    fn a_process_that_had_the_lock_before_is_not_taken_for_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.lock");
        let held = open(&path).unwrap();
        held.lock().unwrap();
        // Its number may be anybody's by now: here it is that of a process that has nothing to do with the lock.
        let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        std::fs::write(&path, other.id().to_string()).unwrap();
        let error = Lock::holder_within(&path, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let found = std::thread::scope(|scope| {
            let looking = scope.spawn(|| Lock::holder(&path));
            std::fs::write(&path, std::process::id().to_string()).unwrap();
            looking.join().unwrap()
        });
        assert_eq!(found.unwrap(), Some(std::process::id()));
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn looking_does_not_keep_a_daemon_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.lock");
        drop(Lock::take(&path).unwrap());
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let looking = {
            let path = path.clone();
            std::thread::spawn(move || {
                while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                    Lock::is_held(&path).unwrap();
                }
            })
        };
        for _ in 0..2000 {
            assert!(Lock::take(&path).unwrap().is_some());
        }
        drop(stop);
        looking.join().unwrap();
    }
}
