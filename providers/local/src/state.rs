//! The state directory: what lies where, and how it is read and written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use longshore_contract::{Error, ErrorKind, FunctionName, Secret, Version};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The format of the directory that this program writes, and the newest it reads.
const FORMAT: u32 = 1;

/// The most that is read of one of the small files.
const SMALL: u64 = 64 * 1024;

/// A directory that holds a cloud, or will.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateDirectory(PathBuf);

/// Who the cloud is, kept for as long as its directory is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// A short random name: the cloud's region.
    pub(crate) id: String,
    /// Where its registry listens on loopback.
    pub(crate) registry_port: u16,
    /// Where its functions answer on loopback.
    pub(crate) functions_port: u16,
}

impl Identity {
    /// The registry's address.
    pub(crate) fn registry(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.registry_port).into()
    }

    /// The functions' address.
    pub(crate) fn functions(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.functions_port).into()
    }
}

/// A daemon that runs, as it says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    /// Its process.
    pub(crate) pid: u32,
    /// Where its registry listens.
    pub(crate) registry: SocketAddr,
    /// Where its functions and its control API answer.
    pub(crate) functions: SocketAddr,
    /// What to show to its control API.
    pub(crate) token: Secret,
}

/// [`Running`] as it is written.
#[derive(Serialize, Deserialize)]
struct RunningFile {
    pid: u32,
    registry: SocketAddr,
    functions: SocketAddr,
    token: String,
}

/// A state directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// A newer program wrote it.
    #[error("{} has format {found}; this program knows formats up to {FORMAT}: use the newer program that wrote it", path.display())]
    TooNew { path: PathBuf, found: u32 },
    /// A file in it is not what it should be.
    #[error("{} cannot be understood: {why}", path.display())]
    Damaged { path: PathBuf, why: String },
    /// The system refused.
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl StateError {
    /// The same as a provider's error. A full disk is a limit that is reached; a directory that cannot be used is no
    /// request that could ever be accepted.
    pub(crate) fn into_error(self, operation: &'static str, subject: impl ToString) -> Error {
        let kind = match &self {
            Self::TooNew { .. } | Self::Damaged { .. } => ErrorKind::Invalid,
            Self::Io { source, .. } if is_full(source) => ErrorKind::Quota,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            Self::Io { .. } => ErrorKind::Unexpected,
        };
        Error::new(kind, operation, subject, self)
    }
}

/// Whether there was no room to write.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

type Result<T> = std::result::Result<T, StateError>;

impl StateDirectory {
    /// The directory at `path`, which must be absolute.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the folders that are missing. A directory that a newer program wrote is refused and left as it is.
    pub(crate) fn make(&self) -> Result<()> {
        self.check_format()?;
        for path in [self.0.clone(), self.functions(), self.logs()] {
            let mut builder = fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o755)
                .create(&path)
                .map_err(io_error("make the directory", &path))?;
        }
        Ok(())
    }

    /// Says which format the directory has, where that is not said yet. For the daemon, which has it to itself.
    pub(crate) fn keep_format(&self) -> Result<()> {
        match self.check_format()? {
            Some(_) => Ok(()),
            None => write_whole(&self.format(), format!("{FORMAT}\n").as_bytes(), 0o644)?.durably(),
        }
    }

    /// Who the cloud is; `None` where none was ever started.
    pub(crate) fn identity(&self) -> Result<Option<Identity>> {
        if self.check_format()?.is_none() {
            return Ok(None);
        }
        read_json(&self.cloud())
    }

    /// Keeps who the cloud is.
    pub(crate) fn keep_identity(&self, identity: &Identity) -> Result<()> {
        write_json(&self.cloud(), identity, 0o644)
    }

    /// The daemon that runs, or ran until it was killed; `None` where there is none.
    pub(crate) fn running(&self) -> Result<Option<Running>> {
        let file: Option<RunningFile> = read_json(&self.daemon())?;
        Ok(file.map(|file| Running {
            pid: file.pid,
            registry: file.registry,
            functions: file.functions,
            token: Secret::new(file.token),
        }))
    }

    /// Says that a daemon runs, readable by its owner only.
    pub(crate) fn announce(&self, running: &Running) -> Result<()> {
        let file = RunningFile {
            pid: running.pid,
            registry: running.registry,
            functions: running.functions,
            token: running.token.expose().to_owned(),
        };
        write_json(&self.daemon(), &file, 0o600)
    }

    /// Says that none runs any more.
    pub(crate) fn retract(&self) -> Result<()> {
        match fs::remove_file(self.daemon()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &self.daemon())(error))
            }
            _ => Ok(()),
        }
    }

    fn check_format(&self) -> Result<Option<u32>> {
        let path = self.format();
        let Some(bytes) = read_small(&path)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes);
        let found: u32 = text.trim().parse().map_err(|_| damaged(&path, "it is not a format's number"))?;
        if found > FORMAT { Err(StateError::TooNew { path, found }) } else { Ok(Some(found)) }
    }

    fn format(&self) -> PathBuf {
        self.0.join("format")
    }

    fn cloud(&self) -> PathBuf {
        self.0.join("cloud.json")
    }

    fn daemon(&self) -> PathBuf {
        self.0.join("daemon.json")
    }

    /// Held with a lock for as long as a daemon lives.
    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("daemon.lock")
    }

    /// Held with a lock by whoever starts a daemon.
    pub(crate) fn start_lock(&self) -> PathBuf {
        self.0.join("start.lock")
    }

    /// The daemon's own log.
    pub(crate) fn daemon_log(&self) -> PathBuf {
        self.0.join("daemon.log")
    }

    /// The registry's blobs.
    pub(crate) fn registry(&self) -> PathBuf {
        self.0.join("registry")
    }

    /// The functions' state and journal.
    pub(crate) fn functions(&self) -> PathBuf {
        self.0.join("functions")
    }

    /// Unpacked images.
    pub(crate) fn roots(&self) -> PathBuf {
        self.0.join("roots")
    }

    fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// The logs of a function's versions.
    pub(crate) fn function_logs(&self, function: &FunctionName) -> PathBuf {
        self.logs().join(function.as_str())
    }

    /// The log of one version.
    pub(crate) fn version_log(&self, function: &FunctionName, version: &Version) -> PathBuf {
        self.function_logs(function).join(format!("{version}.log"))
    }
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError + use<> {
    let path = path.to_owned();
    move |source| StateError::Io { action, path, source }
}

pub(crate) fn damaged(path: &Path, why: impl ToString) -> StateError {
    StateError::Damaged { path: path.to_owned(), why: why.to_string() }
}

fn read_small(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(io_error("read", path))?,
    };
    let mut bytes = Vec::new();
    file.take(SMALL + 1).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    if bytes.len() as u64 > SMALL {
        return Err(damaged(path, format_args!("it is larger than {SMALL} bytes")));
    }
    Ok(Some(bytes))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(bytes) = read_small(path)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| damaged(path, error))
}

fn write_json(path: &Path, value: &impl Serialize, mode: u32) -> Result<()> {
    let bytes = serde_json::to_vec(value).map_err(|error| damaged(path, error))?;
    write_whole(path, &bytes, mode)?.durably()
}

/// A file that has new bytes, and whether they are there to stay.
#[derive(Debug)]
#[must_use]
pub(crate) enum Replaced {
    /// They survive a kill and a power cut.
    Durably,
    /// They survive a kill. After a power cut the file may be what it was.
    Unsurely(StateError),
}

impl Replaced {
    /// The same for whom nothing but the first will do.
    pub(crate) fn durably(self) -> Result<()> {
        match self {
            Self::Durably => Ok(()),
            Self::Unsurely(why) => Err(why),
        }
    }
}

/// Replaces the file at `path`. After a failure, or a kill at any moment, the file is what it was. One writer at a time,
/// which the daemon's lock sees to.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<Replaced> {
    write_whole_with(path, bytes, mode, sync_parent)
}

/// [`write_whole`] with `sync` for the step that makes a rename durable.
pub(crate) fn write_whole_with(path: &Path, bytes: &[u8], mode: u32, sync: FolderSync) -> Result<Replaced> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let replaced = write_temporary(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = replaced {
        let _ = fs::remove_file(&temporary);
        return Err(io_error("write", path)(error));
    }
    // From here on the new bytes are what anybody reads: this cannot be a write that was refused any more.
    Ok(match sync(path) {
        Ok(()) => Replaced::Durably,
        Err(error) => Replaced::Unsurely(io_error("sync the folder of", path)(error)),
    })
}

fn write_temporary(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the newest rename to a path durable.
pub(crate) type FolderSync = fn(&Path) -> io::Result<()>;

/// Makes a rename to `path` survive a power cut.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn directory() -> (tempfile::TempDir, StateDirectory) {
        let folder = tempfile::tempdir().unwrap();
        let directory = StateDirectory::new(folder.path().join("a/b"));
        (folder, directory)
    }

    #[test]
    fn a_cloud_that_was_never_started_is_nobody() {
        let (_folder, directory) = directory();
        assert_eq!(directory.identity().unwrap(), None);
        directory.make().unwrap();
        directory.keep_format().unwrap();
        assert_eq!(directory.identity().unwrap(), None);
        assert!(directory.running().unwrap().is_none());
    }

    #[test]
    fn a_newer_directory_is_refused_and_left_as_it_is() {
        let (_folder, directory) = directory();
        fs::create_dir_all(directory.path()).unwrap();
        fs::write(directory.format(), "2\n").unwrap();
        for result in [directory.make(), directory.keep_format(), directory.identity().map(drop)] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains("has format 2") && error.contains("newer program"), "{error}");
        }
        assert_eq!(fs::read_to_string(directory.format()).unwrap(), "2\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_token_is_for_its_owner_only() {
        let (_folder, directory) = directory();
        directory.make().unwrap();
        let running = Running {
            pid: 7,
            registry: "127.0.0.1:1".parse().unwrap(),
            functions: "127.0.0.1:2".parse().unwrap(),
            token: Secret::new("open sesame"),
        };
        directory.announce(&running).unwrap();
        assert_eq!(fs::metadata(directory.daemon()).unwrap().permissions().mode() & 0o777, 0o600);
        let read = directory.running().unwrap().unwrap();
        assert_eq!(read.token.expose(), "open sesame");
        assert!(!format!("{read:?}").contains("sesame"));
        directory.retract().unwrap();
        directory.retract().unwrap();
        assert!(directory.running().unwrap().is_none());
    }

    #[test]
    fn a_damaged_file_is_named() {
        let (_folder, directory) = directory();
        directory.make().unwrap();
        directory.keep_format().unwrap();
        fs::write(directory.cloud(), "{").unwrap();
        let error = directory.identity().unwrap_err().to_string();
        assert!(error.contains("cloud.json cannot be understood"), "{error}");
        fs::write(directory.cloud(), vec![b' '; 70_000]).unwrap();
        let error = directory.identity().unwrap_err().to_string();
        assert!(error.contains("larger than"), "{error}");
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write_whole(&path, b"old", 0o600).unwrap().durably().unwrap();
        fs::create_dir(folder.path().join("state.json.new")).unwrap();
        assert!(write_whole(&path, b"new", 0o600).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn a_write_whose_rename_may_not_last_is_no_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let fails: FolderSync = |_| Err(io::Error::other("the disk is loose"));
        let replaced = write_whole_with(&path, b"new", 0o600, fails).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let error = replaced.durably().unwrap_err().to_string();
        assert!(error.contains("sync the folder of") && error.contains("the disk is loose"), "{error}");
    }
}
