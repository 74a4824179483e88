//! What a function sees of this machine, decided before anything is started.
//!
//! In a user and mount namespace of its own a function has its image as `/`, read-only; a writable `/tmp` and
//! `/dev/shm`; the harmless devices; `/proc`, read-only; the host's network and, where the image has none, its
//! `resolv.conf` and `hosts`. It has no capabilities and can gain none, as on the clouds this one stands in for.
//!
//! One user and one group exist in that namespace: the ones the image wants to be, which are the ones that this process
//! is. So a function is who its image says without any privilege of ours, and all of its files are its own.
//!
//! This keeps functions apart from the machine's files. It is no prison for a hostile program: network, process list and
//! kernel are shared.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, StatVfsMountFlags};
use rustix::mount::MountFlags;

use super::error::StartError;
use super::unpack::Root;
use super::user::User;

/// How much a function may keep in `/tmp` and in `/dev/shm`; the clouds' own default.
const SCRATCH: &str = "mode=1777,size=512m";

/// Whether functions get namespaces of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// A user and a mount namespace each.
    Own,
    /// None: the kernel refuses them. Static programs run without.
    None {
        /// What the kernel said.
        why: String,
    },
}

/// One thing to do in the namespace, in order. All that it needs is in it: nothing is looked up or allocated later.
#[derive(Debug)]
pub(super) enum Step {
    /// Shows the directory tree or file `source` at `target` as well.
    Bind { source: CString, target: CString },
    /// An empty file system in memory.
    Scratch { target: CString, options: CString },
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

/// All that is done in a namespace before the program starts.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) user_map: CString,
    pub(super) group_map: CString,
    pub(super) steps: Vec<(Need, Step)>,
    pub(super) root: CString,
}

/// Plans the namespace of a process that runs as `user` in `root`.
pub(super) fn plan(root: &Root, user: &User) -> Result<Sandbox, StartError> {
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
    let plan = Plan { root: path };
    let strict = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mut steps = vec![(Need::Must, Step::Bind { source: text(path), target: text(path) })];
    if root.is_plain(Path::new("tmp"), FileType::Directory) {
        steps.push((Need::Must, plan.scratch("tmp", SCRATCH)));
    }
    if root.is_plain(Path::new("dev"), FileType::Directory) {
        steps.extend(plan.devices());
    }
    if root.is_plain(Path::new("proc"), FileType::Directory) {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        steps.push((Need::May, plan.bind("/proc", "proc")));
        // A read-only mount says nothing about what is mounted below it: each is made read-only by itself.
        for mount in mounts_below(&table, "/proc") {
            let target = text(&path.join(mount.trim_start_matches('/')));
            steps.push((Need::May, Step::ReadOnly { target, also: strict }));
        }
    }
    for name in ["etc/resolv.conf", "etc/hosts"] {
        let host = Path::new("/").join(name);
        let ours = fs::metadata(path.join(name)).map_or(1, |metadata| metadata.len());
        if ours == 0 && root.is_plain(Path::new(name), FileType::RegularFile) && host.is_file() {
            steps.push((Need::May, plan.bind(host.as_os_str(), name)));
            steps.push((Need::May, Step::ReadOnly { target: plan.at(name), also: strict }));
        }
    }
    // Flags of the file system that the root is on are locked in a namespace, and must be said again.
    steps.push((
        Need::Must,
        Step::ReadOnly { target: text(path), also: MountFlags::NOSUID | MountFlags::NODEV },
    ));
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Ok(Sandbox {
        user_map: text(Path::new(&format!("{} {uid} 1", user.user))),
        group_map: text(Path::new(&format!("{} {gid} 1", user.group))),
        steps,
        root: text(path),
    })
}

struct Plan<'a> {
    root: &'a Path,
}

impl Plan<'_> {
    fn at(&self, name: &str) -> CString {
        text(&self.root.join(name))
    }

    fn bind(&self, source: impl AsRef<Path>, name: &str) -> Step {
        Step::Bind { source: text(source.as_ref()), target: self.at(name) }
    }

    fn scratch(&self, name: &str, options: &str) -> Step {
        Step::Scratch { target: self.at(name), options: text(Path::new(options)) }
    }

    fn devices(&self) -> Vec<(Need, Step)> {
        let mut steps = vec![(Need::Must, self.scratch("dev", "mode=755,size=64k"))];
        for name in ["null", "zero", "full", "random", "urandom"] {
            let (host, name) = (PathBuf::from("/dev").join(name), format!("dev/{name}"));
            if host.exists() {
                steps.push((Need::Must, Step::File { path: self.at(&name) }));
                steps.push((Need::Must, self.bind(host, &name)));
            }
        }
        for (name, to) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
            let to = text(Path::new(&format!("/proc/self/fd{to}")));
            steps.push((Need::May, Step::Link { to, path: self.at(&format!("dev/{name}")) }));
        }
        steps.push((Need::May, Step::Directory { path: self.at("dev/shm") }));
        steps.push((Need::May, self.scratch("dev/shm", SCRATCH)));
        steps
    }
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
