//! Opening files that must lie beneath a directory.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// A directory as the root of everything that is opened through it.
#[derive(Debug)]
pub(super) struct Beneath(OwnedFd);

const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::DIRECTORY);

impl Beneath {
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(directory, FOLDER, Mode::empty())?))
    }

    /// Opens the regular file `name` and tells its size. A symbolic link that leads out of the directory is refused, and so
    /// is everything that is no regular file; neither is waited for.
    pub(super) fn open(&self, name: &Path) -> io::Result<(File, u64)> {
        let flags = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let opened = match rustix::fs::openat2(&self.0, name, READ, Mode::empty(), flags) {
            Err(rustix::io::Errno::XDEV) => Err(outside()),
            // An old kernel, or a sandbox that does not know the call: step by step, and no link at all.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => self.walk(name),
            other => other.map_err(Into::into),
        };
        let file = File::from(opened?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok((file, metadata.len()))
    }

    fn walk(&self, name: &Path) -> io::Result<OwnedFd> {
        let mut at = self.0.try_clone()?;
        let mut parts = name.components().peekable();
        while let Some(part) = parts.next() {
            let Component::Normal(part) = part else { return Err(outside()) };
            let flags = if parts.peek().is_some() { FOLDER } else { READ };
            at = match rustix::fs::openat(&at, part, flags | OFlags::NOFOLLOW, Mode::empty()) {
                Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => return Err(outside()),
                other => other?,
            };
        }
        Ok(at)
    }
}

fn outside() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "it leads out of the directory, or over a symbolic link")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    type Open = fn(&Beneath, &Path) -> io::Result<File>;
    const WAYS: [Open; 2] =
        [|at, name| at.open(name).map(|(file, _)| file), |at, name| at.walk(name).map(File::from)];

    #[test]
    fn nothing_is_opened_outside_the_directory() {
        let outer = tempfile::tempdir().unwrap();
        std::fs::write(outer.path().join("secret"), "s").unwrap();
        let inner = outer.path().join("inner");
        std::fs::create_dir_all(inner.join("sub")).unwrap();
        std::fs::write(inner.join("sub/file"), "f").unwrap();
        symlink("../secret", inner.join("link")).unwrap();
        symlink(outer.path().join("secret"), inner.join("absolute")).unwrap();
        symlink("..", inner.join("up")).unwrap();
        let beneath = Beneath::new(&inner).unwrap();
        for open in WAYS {
            assert!(open(&beneath, Path::new("sub/file")).is_ok());
            for name in ["link", "absolute", "up/secret", "../secret", "sub/../../secret"] {
                let error = open(&beneath, Path::new(name)).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{name}: {error}");
            }
            assert_eq!(open(&beneath, Path::new("gone")).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        let error = Beneath::new(directory.path()).unwrap().open(Path::new("pipe")).unwrap_err();
        assert_eq!(error.to_string(), "not a regular file");
    }
}
