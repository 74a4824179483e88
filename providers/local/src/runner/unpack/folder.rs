//! Directories below a root that cannot be left.
//!
//! Paths are resolved by the kernel as if the root were `/` (`openat2` with `RESOLVE_IN_ROOT`): a link in an image
//! leads to where it would lead inside the running image, and never out of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;

use super::Refused;
use crate::runner::sandbox::Users;

/// The deepest that a directory may lie.
const DEEPEST: usize = 256;

/// Whether directories that are not there are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    Leave,
}

/// A directory that stands for `/`.
#[derive(Debug)]
pub(in crate::runner) struct Root {
    directory: OwnedFd,
    path: PathBuf,
    users: Users,
}

/// A directory below a root, held open.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) directory: OwnedFd,
    /// Where it really is, from the root.
    pub(super) path: PathBuf,
}

impl Root {
    /// Opens the root at `path`, to look at it, or to make files in it that are whose we are.
    pub(in crate::runner) fn open(path: &Path) -> io::Result<Self> {
        Self::open_for(path, Users::One)
    }

    /// Opens the root at `path`. What is made in it belongs to root among `users`, if nobody else is said.
    pub(in crate::runner) fn open_for(path: &Path, users: Users) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self { directory, path, users })
    }

    /// Where the root is on this machine, without links.
    pub(in crate::runner) fn path(&self) -> &Path {
        &self.path
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        loop {
            match rustix::fs::openat2(&self.directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
            {
                // The kernel asks to try again when something was renamed just now, anywhere.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// Opens what `path` means inside the root, for reading; links are followed inside the root. It does not wait for
    /// the other end of a pipe.
    pub(in crate::runner) fn file(&self, path: &Path) -> io::Result<File> {
        Ok(File::from(self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK)?))
    }

    /// Where `path` leads inside the root, from the root and without links.
    pub(in crate::runner) fn real(&self, path: &Path) -> io::Result<PathBuf> {
        let found = self.resolve(path, OFlags::PATH)?;
        self.place_of(&found).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whether `path` itself, with no link anywhere in it, is a file or directory as `wanted` says.
    pub(in crate::runner) fn is_plain(&self, path: &Path, wanted: rustix::fs::FileType) -> bool {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let found = rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), resolve);
        let stat = found.and_then(rustix::fs::fstat);
        stat.is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == wanted)
    }

    /// Makes the directory at `path`, and those above it, where they are not there.
    pub(in crate::runner) fn make_folder(&self, path: &str) -> Result<(), Refused> {
        self.folder(&parts(path.as_bytes(), path.len())?, Missing::Make).map(|_| ())
    }

    /// Makes an empty file `name` in the directory at `path`, unless something is called that already.
    pub(in crate::runner) fn make_file(&self, path: &str, name: &str) -> Result<(), Refused> {
        let Some(folder) = self.folder(&parts(path.as_bytes(), path.len())?, Missing::Make)? else {
            return Ok(());
        };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&folder.directory, name, flags, Mode::from_raw_mode(0o644)) {
            Ok(_) => self.give(&folder.directory, name.as_ref(), 0, 0),
            Err(error) => Err(error),
        }
        .or_else(|error| match error {
            Errno::EXIST => Ok(()),
            error => Err(Refused::disk(&folder.path.join(name), error)),
        })
    }

    /// Gives what is called `name` in `directory` to the image's `user` and `group`, where those are others than we are.
    pub(super) fn give(
        &self,
        directory: impl AsFd,
        name: &OsStr,
        user: u32,
        group: u32,
    ) -> Result<(), Errno> {
        match (self.users.on_host(user), self.users.on_host(group)) {
            (Some(user), Some(group)) => {
                let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
                rustix::fs::chownat(directory, name, user, group, AtFlags::SYMLINK_NOFOLLOW)
            }
            _ => Ok(()),
        }
    }

    /// Opens the directory that `parts` lead to.
    pub(super) fn folder(&self, parts: &[OsString], missing: Missing) -> Result<Option<Folder>, Refused> {
        let whole: PathBuf = parts.iter().collect();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = match self.resolve(&whole, flags) {
            Ok(directory) => directory,
            Err(Errno::NOENT) if missing == Missing::Leave => return Ok(None),
            Err(Errno::NOENT) => {
                let mut path = PathBuf::new();
                let mut directory =
                    self.resolve(&path, flags).map_err(|error| Refused::disk(&path, error))?;
                for part in parts {
                    path.push(part);
                    directory = match self.resolve(&path, flags) {
                        Err(Errno::NOENT) => {
                            let mode = Mode::from_raw_mode(0o755);
                            match rustix::fs::mkdirat(&directory, part, mode) {
                                Ok(()) => self
                                    .give(&directory, part, 0, 0)
                                    .map_err(|error| Refused::disk(&path, error))?,
                                Err(Errno::EXIST) => {
                                    let why = format!("{} is a link that leads nowhere", path.display());
                                    return Err(Refused::new(why));
                                }
                                Err(error) => return Err(Refused::disk(&path, error)),
                            }
                            self.resolve(&path, flags).map_err(|error| Refused::disk(&path, error))?
                        }
                        Err(error) => return Err(not_a_directory(&path, error)),
                        Ok(directory) => directory,
                    };
                }
                directory
            }
            Err(error) => return Err(not_a_directory(&whole, error)),
        };
        let Some(path) = self.place_of(&directory) else {
            return Err(Refused::new(format!("{} leads out of the image", whole.display())));
        };
        // Links to links could otherwise build a tree deeper than any path, that nobody could delete again.
        if path.components().count() > DEEPEST {
            return Err(Refused::new(format!("{} lies deeper than {DEEPEST} directories", whole.display())));
        }
        Ok(Some(Folder { directory, path }))
    }

    /// Where something below the root really is, from the root. `None` where that is outside: the kernel sees to it that
    /// it is not, and this is how we would notice.
    fn place_of(&self, found: &impl AsFd) -> Option<PathBuf> {
        let link = format!("/proc/self/fd/{}", found.as_fd().as_raw_fd());
        let real = std::fs::read_link(link).ok()?;
        real.strip_prefix(&self.path).ok().map(Path::to_owned)
    }
}

fn not_a_directory(path: &Path, error: Errno) -> Refused {
    match error {
        Errno::NOTDIR => Refused::new(format!("{} is not a directory", path.display())),
        Errno::LOOP => Refused::new(format!("{} leads through too many links", path.display())),
        Errno::XDEV => Refused::new(format!("{} leads out of the image", path.display())),
        error => Refused::disk(path, error),
    }
}

/// The parts of a member's path, read from the root: a leading `/` means the same as none, and `..` is refused.
pub(super) fn parts(path: &[u8], longest: usize) -> Result<Vec<OsString>, Refused> {
    let shown = || String::from_utf8_lossy(&path[..path.len().min(200)]).into_owned();
    if path.len() > longest {
        return Err(Refused::new(format!("a path of {} bytes, beginning {:?}", path.len(), shown())));
    }
    if path.contains(&0) {
        return Err(Refused::new(format!("a zero byte in the path {:?}", shown())));
    }
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let parts: Vec<OsString> = parts.map(|part| OsStr::from_bytes(part).to_owned()).collect();
    if parts.iter().any(|part| part == "..") {
        return Err(Refused::new(format!("the path {:?} leads upwards", shown())));
    }
    if parts.len() > DEEPEST {
        return Err(Refused::new(format!("{:?} lies deeper than {DEEPEST} directories", shown())));
    }
    Ok(parts)
}
