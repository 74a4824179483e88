//! The lock that makes a daemon the only one on its directory. The system gives it back when the daemon dies, however it
//! dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

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

    /// The process of the daemon that has the lock; `None` where none has it.
    pub(crate) fn holder(path: &Path) -> io::Result<Option<u32>> {
        if !Self::is_held(path)? {
            return Ok(None);
        }
        let mut text = String::new();
        File::open(path)?.take(20).read_to_string(&mut text)?;
        Ok(text.parse().ok())
    }

    /// Whether the file that was locked is still the one at `path`: it is not when somebody deleted the directory.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        match (self.0.metadata(), std::fs::metadata(path)) {
            (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
            (_, Err(error)) => error.kind() != io::ErrorKind::NotFound,
            (Err(_), _) => true,
        }
    }
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
