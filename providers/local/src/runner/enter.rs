//! From a copy of this process to the function.
//!
//! Without namespaces the copy becomes the function. With them it is their init (see [`super::init`]): it makes what the
//! function is to see, starts the function as its child, and stays until the function has ended.
//!
//! The copy has one thread of many: whatever another thread held, the allocator's lock among it, is held for ever. So
//! nothing here allocates, locks or panics; it makes system calls with what [`Entrance`] brought along.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::net::RecvFlags;
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, Gid, Uid};

use super::calls;
use super::control::{self, Packet};
use super::init;
use super::sandbox::{Identity, Need, Sandbox, Step};

/// What the new process does to itself before it becomes the program.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) sandbox: Option<Sandbox>,
    /// Where it starts; inside the image where there is a sandbox.
    pub(super) directory: CString,
    pub(super) program: CString,
    pub(super) arguments: Vec<CString>,
    /// `KEY=VALUE` each. Secrets are among them, so nobody may show this.
    pub(super) environment: Environment,
    /// What it reads, and where its output goes.
    pub(super) input: OwnedFd,
    pub(super) output: OwnedFd,
    /// The process's end of the conversation with us.
    pub(super) control: OwnedFd,
}

/// Variables for a program; `Debug` hides them.
pub(super) struct Environment(pub(super) Vec<CString>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} variables", self.0.len())
    }
}

/// What can go wrong on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Descriptors = 1,
    Session,
    Orders,
    Network,
    Mount,
    Root,
    Init,
    Directory,
    Identity,
    Limits,
    Privileges,
    Parent,
    Program,
}

impl Stage {
    const ALL: [Self; 13] = [
        Self::Descriptors,
        Self::Session,
        Self::Orders,
        Self::Network,
        Self::Mount,
        Self::Root,
        Self::Init,
        Self::Directory,
        Self::Identity,
        Self::Limits,
        Self::Privileges,
        Self::Parent,
        Self::Program,
    ];

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| *stage as u8 == byte)
    }

    /// What was being done; `None` for the program itself.
    pub(super) fn words(self) -> Option<&'static str> {
        Some(match self {
            Self::Descriptors => "giving the function its input and output",
            Self::Session => "giving the function a session of its own",
            Self::Orders => "waiting for the users of a new namespace",
            Self::Network => "making a network namespace",
            Self::Mount => "mounting the function's file systems",
            Self::Root => "making the image the function's root",
            Self::Init => "starting the function in its process namespace",
            Self::Directory => "going to the image's working directory",
            Self::Identity => "becoming the image's user",
            Self::Limits => "limiting what the function may use",
            Self::Privileges => "giving up privileges",
            Self::Parent => "tying the function's life to ours",
            Self::Program => return None,
        })
    }
}

type Walked = Result<std::convert::Infallible, (Stage, Errno)>;

fn at(stage: Stage) -> impl Fn(Errno) -> (Stage, Errno) {
    move |error| (stage, error)
}

impl Entrance {
    /// Makes the process. What becomes of it is told over the other end of `control`.
    #[expect(unsafe_code, reason = "there is no safe way to run code in a copy of this process")]
    pub(super) fn start(&self) -> io::Result<Pid> {
        let arguments = calls::pointers(&self.arguments);
        let environment = calls::pointers(&self.environment.0);
        let flags = self.sandbox.as_ref().map_or(0, Sandbox::namespaces);
        let parent = rustix::process::getpid();
        // SAFETY: `enter` makes system calls with prepared texts and buffers on its stack: no allocation, no lock, no
        // panic, and no use of another thread's state.
        let made = unsafe { calls::copy_process(flags, || self.enter(parent, &arguments, &environment)) };
        made.map_err(io::Error::from)
    }

    /// The status to end with, where the process has become no program.
    fn enter(&self, parent: Pid, arguments: &[*const c_char], environment: &[*const c_char]) -> c_int {
        let arranged =
            calls::arrange_descriptors(self.input.as_fd(), self.output.as_fd(), self.control.as_fd());
        let control = match arranged {
            Ok(control) => control,
            Err(error) => {
                let _ = control::send(&self.control, Packet::Failed(Stage::Descriptors, error), &[]);
                return 1;
            }
        };
        let walked = match &self.sandbox {
            None => self.become_program(parent, arguments, environment),
            Some(sandbox) => self.become_init(sandbox, &control, arguments, environment),
        };
        let Err((stage, error)) = walked;
        let _ = control::send(&control, Packet::Failed(stage, error), &[]);
        1
    }

    fn become_program(
        &self,
        parent: Pid,
        arguments: &[*const c_char],
        environment: &[*const c_char],
    ) -> Walked {
        rustix::process::setsid().map_err(at(Stage::Session))?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        rustix::process::chdir(self.directory.as_c_str()).map_err(at(Stage::Directory))?;
        limit(None).map_err(at(Stage::Limits))?;
        rustix::thread::set_no_new_privs(true).map_err(at(Stage::Privileges))?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(at(Stage::Parent))?;
        // The parent may have ended before that was set.
        if rustix::process::getppid() != Some(parent) {
            return Err((Stage::Parent, Errno::SRCH));
        }
        self.execute(arguments, environment)
    }

    fn become_init(
        &self,
        sandbox: &Sandbox,
        control: &OwnedFd,
        arguments: &[*const c_char],
        environment: &[*const c_char],
    ) -> Walked {
        // Whoever started us is out of sight in here. Where it ended before this, the control ends instead of an order.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(at(Stage::Parent))?;
        match control::receive(control, RecvFlags::empty()).map_err(at(Stage::Orders))? {
            Some((Packet::Go, _)) => {}
            _ => return Err((Stage::Orders, Errno::PIPE)),
        }
        rustix::process::setsid().map_err(at(Stage::Session))?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        if let Some(network) = &sandbox.network {
            let [api, proxy] = init::open_network(network).map_err(at(Stage::Network))?;
            control::send(control, Packet::Listening, &[api.as_fd(), proxy.as_fd()])
                .map_err(at(Stage::Network))?;
        }
        mount(sandbox).map_err(at(Stage::Mount))?;
        change_root().map_err(at(Stage::Root))?;
        // This process has a copy of our memory, and its user may be the function's.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at(Stage::Init))?;

        let (report, writer) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(at(Stage::Init))?;
        let function = || {
            let Err((stage, error)) = self.become_function(sandbox, arguments, environment);
            let [a, b, c, d] = error.raw_os_error().to_le_bytes();
            let _ = rustix::io::write(&writer, &[stage as u8, a, b, c, d]);
            1
        };
        #[expect(unsafe_code, reason = "there is no safe way to run code in a copy of this process")]
        // SAFETY: as in `start`; and this process has one thread already.
        let function = unsafe { calls::copy_process(0, function) }.map_err(at(Stage::Init))?;
        drop(writer);
        calls::close_standard();
        let mut failed = [0; 5];
        match rustix::io::read(&report, &mut failed) {
            // It was closed by the execution of the program.
            Ok(0) => {}
            Ok(5) => {
                let [stage, a, b, c, d] = failed;
                let error = calls::errno(i32::from_le_bytes([a, b, c, d]));
                return Err((Stage::from_byte(stage).unwrap_or(Stage::Init), error));
            }
            Ok(_) => return Err((Stage::Init, Errno::IO)),
            Err(error) => return Err((Stage::Init, error)),
        }
        drop(report);
        control::send(control, Packet::Started, &[]).map_err(at(Stage::Init))?;
        let port = sandbox.network.as_ref().map(|network| network.port);
        Err((Stage::Init, init::attend(control, function, port)))
    }

    fn become_function(
        &self,
        sandbox: &Sandbox,
        arguments: &[*const c_char],
        environment: &[*const c_char],
    ) -> Walked {
        rustix::process::setsid().map_err(at(Stage::Session))?;
        rustix::process::chdir(self.directory.as_c_str()).map_err(at(Stage::Directory))?;
        limit(sandbox.processes).map_err(at(Stage::Limits))?;
        give_up_capabilities().map_err(at(Stage::Privileges))?;
        if let Some(identity) = &sandbox.identity {
            become_user(identity).map_err(at(Stage::Identity))?;
        }
        rustix::thread::set_no_new_privs(true).map_err(at(Stage::Privileges))?;
        self.execute(arguments, environment)
    }

    #[expect(unsafe_code, reason = "the kernel follows the pointers")]
    fn execute(&self, arguments: &[*const c_char], environment: &[*const c_char]) -> Walked {
        calls::reset_signals();
        for _ in 0..BUSY_TRIES {
            // SAFETY: `start` made both lists of texts that `self` keeps.
            match unsafe { calls::execute(&self.program, arguments, environment) } {
                Errno::TXTBSY => {}
                error => return Err((Stage::Program, error)),
            }
            // Another copy of our process was made while the file was being unpacked, and has it open for writing until it
            // has closed what it does not need. The kernel tells nobody when.
            let _ = rustix::thread::nanosleep(&BUSY_PAUSE);
        }
        Err((Stage::Program, Errno::TXTBSY))
    }
}

/// How often, and after what pause, a program is executed again that somebody still has open for writing.
const BUSY_TRIES: u32 = 500;
const BUSY_PAUSE: rustix::thread::Timespec = rustix::thread::Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// How many descriptors a function may have open, as on the strictest cloud.
const DESCRIPTORS: u64 = 1024;

fn limit(processes: Option<u64>) -> Result<(), Errno> {
    let at_most = |resource, most: u64| {
        let most = rustix::process::getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most));
        rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
    };
    at_most(Resource::Nofile, DESCRIPTORS)?;
    // A crash leaves no file behind.
    at_most(Resource::Core, 0)?;
    processes.map_or(Ok(()), |processes| at_most(Resource::Nproc, processes))
}

fn become_user(identity: &Identity) -> Result<(), Errno> {
    rustix::thread::set_thread_groups(&identity.groups)?;
    let (user, group) = (Uid::from_raw(identity.user), Gid::from_raw(identity.group));
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)
}

fn mount(sandbox: &Sandbox) -> Result<(), Errno> {
    // Nothing of what follows may show outside.
    rustix::mount::mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let root = sandbox.root.as_c_str();
    rustix::mount::mount_bind_recursive(root, root)?;
    // From here on paths begin at the root: to whom we become now, the way to it may be closed.
    rustix::process::chdir(root)?;
    if sandbox.identity.is_some() {
        become_user(&Identity { user: 0, group: 0, groups: Vec::new() })?;
    }
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
            Self::Processes { target, instead } => {
                let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
                let mounted = rustix::mount::mount(c"proc", target.as_c_str(), c"proc", flags, c"");
                if mounted.is_err() {
                    for step in instead {
                        let _ = step.take();
                    }
                }
                Ok(())
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

/// Makes the working directory, which is a mount point, `/`, and lets go of everything else.
fn change_root() -> Result<(), Errno> {
    // The old root comes to lie on the new one, and is taken off it: no place in the image is needed for it.
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// Sees to it that the program has no capabilities, and that nothing it starts can get any.
fn give_up_capabilities() -> Result<(), Errno> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The kernel knows no more of them.
            Err(Errno::INVAL) => break,
            removed => removed?,
        }
    }
    match rustix::thread::clear_ambient_capability_set() {
        Err(Errno::INVAL) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes `text` to the file at `path`, which is there.
pub(super) fn write(path: &CStr, text: &CStr) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.to_bytes()).map(|_| ())
}

/// A second descriptor for the same thing, with a number that stays out of the way of the standard ones.
pub(super) fn above(descriptor: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor, calls::ABOVE)?)
}
