//! Between fork and exec.
//!
//! The new process is a copy of a program with many threads, of which only one lives on: whatever another thread held,
//! the allocator's lock among it, is held for ever. So nothing here allocates, locks or panics; it makes system calls
//! with what [`Entrance`] brought along.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::{Errno, FdFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{Pid, Signal};
use rustix::thread::{CapabilitySet, UnshareFlags};

use super::sandbox::{Need, Sandbox, Step};

/// What the new process does to itself before it becomes the program.
#[derive(Debug)]
pub(super) struct Entrance {
    /// The process that it must not outlive.
    pub(super) parent: Pid,
    pub(super) sandbox: Option<Sandbox>,
    /// Where it starts; inside the image where there is a sandbox.
    pub(super) directory: std::ffi::CString,
    /// Where the number of the [`Stage`] that failed is written.
    pub(super) report: OwnedFd,
}

/// What can go wrong on the way; the byte that is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Session = 1,
    Namespace,
    Identity,
    Mount,
    Root,
    Directory,
    Privileges,
    Parent,
}

impl Stage {
    const ALL: [Self; 8] = [
        Self::Session,
        Self::Namespace,
        Self::Identity,
        Self::Mount,
        Self::Root,
        Self::Directory,
        Self::Privileges,
        Self::Parent,
    ];

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| *stage as u8 == byte)
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Session => "giving the function a session of its own",
            Self::Namespace => "making a user and mount namespace",
            Self::Identity => "becoming the image's user in a namespace",
            Self::Mount => "mounting the function's file systems",
            Self::Root => "making the image the function's root",
            Self::Directory => "going to the image's working directory",
            Self::Privileges => "giving up privileges",
            Self::Parent => "tying the function's life to ours",
        }
    }
}

/// Makes `command` go through `entrance`.
#[expect(unsafe_code, reason = "there is no safe way to run code between fork and exec")]
pub(super) fn arrange(command: &mut Command, entrance: Entrance) {
    let walk = move || {
        entrance.walk().map_err(|(stage, error)| {
            // If even this fails, the error itself still arrives.
            let _ = rustix::io::write(&entrance.report, &[stage as u8]);
            io::Error::from_raw_os_error(error.raw_os_error())
        })
    };
    // SAFETY: `walk` runs in the child of a fork. It makes system calls through rustix with prepared C strings and stack
    // buffers: no allocation, no lock, no panic, and no use of another thread's state. `io::Error` made of a number does
    // not allocate either.
    unsafe { command.pre_exec(walk) };
}

impl Entrance {
    fn walk(&self) -> Result<(), (Stage, Errno)> {
        let at = |stage: Stage| move |error: Errno| (stage, error);
        rustix::process::setsid().map_err(at(Stage::Session))?;
        close_on_exec();
        rustix::process::umask(Mode::from_raw_mode(0o022));
        if let Some(sandbox) = &self.sandbox {
            unshare().map_err(at(Stage::Namespace))?;
            become_user(sandbox).map_err(at(Stage::Identity))?;
            mount(sandbox).map_err(at(Stage::Mount))?;
            change_root(&sandbox.root).map_err(at(Stage::Root))?;
        }
        rustix::process::chdir(self.directory.as_c_str()).map_err(at(Stage::Directory))?;
        give_up(self.sandbox.is_some()).map_err(at(Stage::Privileges))?;
        // Last, because a change of credentials takes it back. The parent may have ended before it was set.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(at(Stage::Parent))?;
        match rustix::process::getppid() {
            Some(parent) if parent == self.parent => Ok(()),
            _ => Err((Stage::Parent, Errno::SRCH)),
        }
    }
}

/// Marks every descriptor but the first three as not for the program. Ours are marked already; these are what whoever
/// started us left open.
fn close_on_exec() {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = rustix::fs::open(c"/proc/self/fd", flags, Mode::empty()) else { return };
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        if let Some(number) = number(entry.file_name()).filter(|number| *number > 2) {
            mark(number);
        }
    }
}

fn number(name: &CStr) -> Option<i32> {
    let mut number = 0_i32;
    for byte in name.to_bytes() {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number = number.checked_mul(10)?.checked_add(i32::from(digit))?;
    }
    (!name.is_empty()).then_some(number)
}

#[expect(unsafe_code, reason = "a descriptor that nobody in this program owns has only a number")]
fn mark(number: i32) {
    // SAFETY: the descriptor was listed as open a moment ago, and this process has one thread. It is only marked, and the
    // borrow ends here.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let _ = rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC);
}

#[expect(unsafe_code, reason = "unshare can take a descriptor table from under other threads")]
fn unshare() -> Result<(), Errno> {
    // SAFETY: the descriptor table is not among what is unshared, and this process has one thread.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }
}

fn become_user(sandbox: &Sandbox) -> Result<(), Errno> {
    // Without this an unprivileged process may not name its group.
    write(c"/proc/self/setgroups", c"deny")?;
    write(c"/proc/self/uid_map", &sandbox.user_map)?;
    write(c"/proc/self/gid_map", &sandbox.group_map)
}

fn write(path: &CStr, text: &CStr) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.to_bytes()).map(|_| ())
}

fn mount(sandbox: &Sandbox) -> Result<(), Errno> {
    // Nothing of what follows may show outside.
    rustix::mount::mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    for (need, step) in &sandbox.steps {
        match step.take() {
            Err(error) if *need == Need::Must => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl Step {
    fn take(&self) -> Result<(), Errno> {
        match self {
            Self::Bind { source, target } => {
                rustix::mount::mount_bind_recursive(source.as_c_str(), target.as_c_str())
            }
            Self::Scratch { target, options } => {
                let flags = MountFlags::NOSUID | MountFlags::NODEV;
                rustix::mount::mount(c"tmpfs", target.as_c_str(), c"tmpfs", flags, options.as_c_str())
            }
            Self::ReadOnly { target, also } => {
                let flags = MountFlags::BIND | MountFlags::RDONLY | *also;
                rustix::mount::mount_remount(target.as_c_str(), flags, c"")
            }
            Self::File { path } => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
                rustix::fs::open(path.as_c_str(), flags, Mode::from_raw_mode(0o644)).map(|_| ())
            }
            Self::Directory { path } => rustix::fs::mkdir(path.as_c_str(), Mode::from_raw_mode(0o755)),
            Self::Link { to, path } => rustix::fs::symlink(to.as_c_str(), path.as_c_str()),
        }
    }
}

/// Makes `root`, which is a mount point, `/`, and lets go of everything else.
fn change_root(root: &CStr) -> Result<(), Errno> {
    rustix::process::chdir(root)?;
    // The old root comes to lie on the new one, and is taken off it: no place in the image is needed for it.
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// Sees to it that the program has no capabilities, and that nothing it starts can get any.
fn give_up(in_namespace: bool) -> Result<(), Errno> {
    if in_namespace {
        for bit in 0..u64::BITS {
            match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(
                1 << bit,
            )) {
                // The kernel knows no more of them.
                Err(Errno::INVAL) => break,
                removed => removed?,
            }
        }
        match rustix::thread::clear_ambient_capability_set() {
            Err(Errno::INVAL) | Ok(()) => {}
            Err(error) => return Err(error),
        }
    }
    rustix::thread::set_no_new_privs(true)
}
