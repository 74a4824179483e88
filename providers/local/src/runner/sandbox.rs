//! What a function sees of this machine, decided before anything is started.
//!
//! In user, mount and process namespaces of its own a function has its image as `/`, read-only; a writable `/tmp` and
//! `/dev/shm`; the harmless devices; a `/proc` with its own processes, read-only; and, where the image has none, the
//! host's `resolv.conf` and `hosts`. It has no capabilities and can gain none, as on the clouds this one stands in for. One
//! that listens on a fixed port has a network namespace too, with loopback alone in it; the others share the host's network.
//!
//! Where we may map a range of users, which takes root, every user of the image is one of its own that is nobody on this
//! machine, and files belong to whom the image says. Where we may not, one user and one group exist: the ones the image wants
//! to be, which are the ones that this process is; and all files are theirs.
//!
//! This keeps functions apart from the machine's files and processes. It is no prison for a hostile program: the kernel is
//! shared, and mostly the network.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, StatVfsMountFlags};
use rustix::mount::MountFlags;
use rustix::thread::Gid;

use super::error::StartError;
use super::unpack::Root;
use super::user::User;

/// How much a function may keep in `/tmp` and in `/dev/shm`; the clouds' own default.
const SCRATCH: &str = "mode=1777,size=512m";

/// How many processes and threads a function may have, as on the strictest cloud.
const PROCESSES: u64 = 1024;

/// Whether functions get namespaces of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// A user, a mount and a process namespace each.
    Own {
        /// Who exists in them.
        users: Users,
        /// Whether a function that listens on a fixed port gets a network namespace as well.
        network: Networks,
    },
    /// None: the kernel refuses them. Static programs run without.
    None {
        /// What the kernel said.
        why: String,
    },
}

/// Who exists in a function's user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// The image's users, each on its own.
    Many,
    /// The one that the function runs as.
    One,
}

/// Which network functions have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Networks {
    /// One of its own for a function that listens on a fixed port, the host's for others.
    Own,
    /// The host's.
    Host,
}

/// How many users and groups are mapped where many are: those below.
const MANY: u32 = 65_536;
/// Who they are on this machine: numbers that neither distributions nor container managers give away.
const FIRST: u32 = 0x7000_0000;
/// Whose a file is whose owner is not mapped.
const NOBODY: u32 = 65_534;

impl Users {
    /// Who on this machine is the image's user or group `number`; `None` where that is who runs us.
    pub(super) fn on_host(self, number: u32) -> Option<u32> {
        match self {
            Self::One => None,
            Self::Many if number < MANY => Some(FIRST + number),
            Self::Many => Some(FIRST + NOBODY),
        }
    }

    /// A map for the kernel in which `number` exists; `ours` is who we are.
    fn map(self, number: u32, ours: u32) -> CString {
        let map = match self {
            Self::One => format!("{number} {ours} 1\n"),
            Self::Many if number < MANY => format!("0 {FIRST} {MANY}\n"),
            Self::Many => format!("0 {FIRST} {MANY}\n{number} {} 1\n", FIRST + MANY),
        };
        text(Path::new(&map))
    }
}

/// One thing to do in the namespace, in order. All that it needs is in it: nothing is looked up or allocated later.
#[derive(Debug)]
pub(super) enum Step {
    /// Shows the directory tree or file `source` at `target` as well.
    Bind { source: CString, target: CString },
    /// An empty file system in memory.
    Scratch { target: CString, options: CString },
    /// The processes of this namespace; where the kernel does not show them, `instead`, each as far as it goes.
    Processes { target: CString, instead: Vec<Step> },
    /// Makes what is mounted at `target` read-only, with `also`.
    ReadOnly { target: CString, also: MountFlags },
    /// An empty file, to mount on.
    File { path: CString },
    /// An empty directory.
    Directory { path: CString },
    /// A symbolic link.
    Link { to: CString, path: CString },
}

/// Whether a function can do without a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Must,
    May,
}

/// Who a function is in its namespace.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) groups: Vec<Gid>,
}

/// A network namespace with a listener each for the runtime API and for the way out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Network {
    /// Where the function listens.
    pub(super) port: u16,
    pub(super) api: u16,
    pub(super) proxy: u16,
}

impl Network {
    /// A namespace for a function that listens on `port`. The others are out of its way.
    pub(super) fn around(port: u16) -> Self {
        let [api, proxy] = match port {
            9001 => [9002, 9003],
            9002 => [9001, 9003],
            _ => [9001, 9002],
        };
        Self { port, api, proxy }
    }
}

/// All that is done in namespaces before the program starts.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) user_map: CString,
    pub(super) group_map: CString,
    /// Whom the program becomes; nobody else where it is the only user there is.
    pub(super) identity: Option<Identity>,
    pub(super) network: Option<Network>,
    /// How many processes it may have.
    pub(super) processes: Option<u64>,
    /// Where the image's files are.
    pub(super) root: CString,
    /// What is done there; paths begin at the root.
    pub(super) steps: Vec<(Need, Step)>,
}

impl Sandbox {
    /// The namespaces it is made of, as the kernel counts them.
    pub(super) fn namespaces(&self) -> i32 {
        let network = if self.network.is_some() { libc::CLONE_NEWNET } else { 0 };
        libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWPID | network
    }
}

/// Plans the namespaces of a process that runs as `user` in `root`.
pub(super) fn plan(
    root: &Root,
    user: &User,
    users: Users,
    network: Option<Network>,
) -> Result<Sandbox, StartError> {
    let path = root.path();
    let flags = rustix::fs::statvfs(path).map_err(|error| StartError::disk(path)(error.into()))?.f_flag;
    if flags.contains(StatVfsMountFlags::NOEXEC) {
        return Err(StartError::Disk {
            path: path.to_owned(),
            source: std::io::Error::other(
                "its file system is mounted noexec, so that nothing can be run from it",
            ),
        });
    }
    let strict = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mut steps = Vec::new();
    if root.is_plain(Path::new("tmp"), FileType::Directory) {
        steps.push((Need::Must, scratch("tmp", SCRATCH)));
    }
    if root.is_plain(Path::new("dev"), FileType::Directory) {
        steps.extend(devices());
    }
    if root.is_plain(Path::new("proc"), FileType::Directory) {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut instead = vec![bind("/proc", "proc")];
        // A read-only mount says nothing about what is mounted below it: each is made read-only by itself.
        instead.extend(mounts_below(&table, "/proc").into_iter().map(|mount| {
            let target = text(Path::new(mount.trim_start_matches('/')));
            Step::ReadOnly { target, also: strict }
        }));
        steps.push((Need::May, Step::Processes { target: text(Path::new("proc")), instead }));
    }
    for name in ["etc/resolv.conf", "etc/hosts"] {
        let host = Path::new("/").join(name);
        let ours = fs::metadata(path.join(name)).map_or(1, |metadata| metadata.len());
        if ours == 0 && root.is_plain(Path::new(name), FileType::RegularFile) && host.is_file() {
            steps.push((Need::May, bind(host.as_os_str(), name)));
            steps.push((Need::May, Step::ReadOnly { target: text(Path::new(name)), also: strict }));
        }
    }
    // Flags of the file system that the root is on are locked in a namespace, and must be said again.
    let also = MountFlags::NOSUID | MountFlags::NODEV;
    steps.push((Need::Must, Step::ReadOnly { target: c".".to_owned(), also }));
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let identity = (users == Users::Many).then(|| Identity {
        user: user.user,
        group: user.group,
        groups: user
            .groups
            .iter()
            .filter(|group| **group < MANY)
            .map(|group| Gid::from_raw(*group))
            .collect(),
    });
    Ok(Sandbox {
        user_map: users.map(user.user, uid),
        group_map: users.map(user.group, gid),
        identity,
        network,
        processes: counts_processes_by_namespace().then_some(PROCESSES),
        root: text(path),
        steps,
    })
}

/// Whether the kernel counts a user's processes in each user namespace by itself, as it has since 5.14. Before, the limit
/// would be about everything that this user runs on the machine.
fn counts_processes_by_namespace() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(14))
}

fn bind(source: impl AsRef<Path>, name: &str) -> Step {
    Step::Bind { source: text(source.as_ref()), target: text(Path::new(name)) }
}

fn scratch(name: &str, options: &str) -> Step {
    Step::Scratch { target: text(Path::new(name)), options: text(Path::new(options)) }
}

fn devices() -> Vec<(Need, Step)> {
    let mut steps = vec![(Need::Must, scratch("dev", "mode=755,size=64k"))];
    for name in ["null", "zero", "full", "random", "urandom"] {
        let (host, name) = (PathBuf::from("/dev").join(name), format!("dev/{name}"));
        if host.exists() {
            steps.push((Need::Must, Step::File { path: text(Path::new(&name)) }));
            steps.push((Need::Must, bind(host, &name)));
        }
    }
    for (name, to) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        let to = text(Path::new(&format!("/proc/self/fd{to}")));
        steps.push((Need::May, Step::Link { to, path: text(Path::new(&format!("dev/{name}"))) }));
    }
    steps.push((Need::May, Step::Directory { path: text(Path::new("dev/shm")) }));
    steps.push((Need::May, scratch("dev/shm", SCRATCH)));
    steps
}

/// A path for the kernel. What comes here was opened before, or is ours: it has no zero byte, and one that had would name
/// nothing.
fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// The mount points at or below `top`, lowest first, in a `mountinfo` table.
fn mounts_below<'a>(table: &'a str, top: &str) -> Vec<&'a str> {
    let mut mounts: Vec<&str> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| point.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        .collect();
    mounts.sort_unstable();
    mounts.dedup();
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mount_below_proc_is_found() {
        let table = "1 2 0:1 / / rw - ext4 x rw\n22 1 0:4 / /proc rw,relatime - proc proc rw\n\
                     30 22 0:5 / /proc/sys/fs/binfmt_misc rw - binfmt_misc x rw\n9 1 0:4 / /process rw - proc x rw\n";
        assert_eq!(mounts_below(table, "/proc"), ["/proc", "/proc/sys/fs/binfmt_misc"]);
    }
}
