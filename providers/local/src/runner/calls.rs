//! The system calls that have no safe face, each behind one that says what must hold.
//!
//! All but [`pointers`] are called between fork and exec: they neither allocate nor lock nor panic.

use std::ffi::{CStr, CString, c_char, c_int, c_long};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

/// The lowest number that a descriptor must have so that [`arrange_descriptors`] does not write over it.
pub(super) const ABOVE: i32 = 16;

/// What the last call of this thread failed with.
fn last() -> Errno {
    errno(std::io::Error::last_os_error().raw_os_error().unwrap_or_default())
}

/// The error with this number; rustix panics at one that is none.
pub(super) fn errno(number: i32) -> Errno {
    if (1..4096).contains(&number) { Errno::from_raw_os_error(number) } else { Errno::IO }
}

/// Makes a copy of this process, with one thread and in the new namespaces that `flags` name (`CLONE_NEW…`). The copy runs
/// `work`, with all signals blocked, and ends with its result as status.
///
/// # Safety
/// The copy has this thread alone: whatever another thread held, the allocator's lock among it, is held for ever. `work`
/// must not allocate, lock or panic, nor use what belongs to other threads.
#[expect(unsafe_code, reason = "there is no safe way to copy a process")]
pub(super) unsafe fn copy_process(flags: c_int, work: impl FnOnce() -> c_int) -> Result<Pid, Errno> {
    let mut blocked = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets live through the calls, and the first is initialised by `sigfillset`. `clone` without a stack and
    // without shared memory is a fork: the copy goes on with its own copy of this stack. It leaves by `_exit`, so that
    // nothing of this process is run down twice.
    let made = unsafe {
        libc::sigfillset(blocked.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, blocked.as_ptr(), before.as_mut_ptr());
        let none: c_long = 0;
        let made =
            libc::syscall(libc::SYS_clone, c_long::from(flags | libc::SIGCHLD), none, none, none, none);
        if made == 0 {
            libc::_exit(work());
        }
        let made = if made < 0 { Err(last()) } else { Ok(made) };
        libc::sigprocmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut());
        made
    };
    i32::try_from(made?).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)
}

/// Makes the descriptors 0, 1 and 2 of this process `input` and twice `output`, 3 `control` (not for programs), and closes
/// all others. The three must have numbers of [`ABOVE`] and more; nothing else of this process may use a descriptor again.
#[expect(unsafe_code, reason = "descriptors that somebody else owns are closed by number")]
pub(super) fn arrange_descriptors(
    input: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
    control: BorrowedFd<'_>,
) -> Result<OwnedFd, Errno> {
    let places = [(input, 0, 0), (output, 1, 0), (output, 2, 0), (control, 3, libc::O_CLOEXEC)];
    for (from, to, flags) in places {
        // SAFETY: this process is a copy with one thread, and the numbers up to `ABOVE` are nobody's in it.
        if unsafe { libc::dup3(from.as_raw_fd(), to, flags) } < 0 {
            return Err(last());
        }
    }
    // SAFETY: as above: whoever owns one of these in the original does not exist in the copy.
    if unsafe { libc::syscall(libc::SYS_close_range, 4, u32::MAX, 0) } != 0 {
        return Err(last());
    }
    // SAFETY: 3 was made a moment ago and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(3) })
}

/// Closes 0, 1 and 2, which belong to the program that this process has started.
#[expect(unsafe_code, reason = "the standard descriptors have no owner in the type system")]
pub(super) fn close_standard() {
    for number in 0..3 {
        // SAFETY: this process neither reads nor prints.
        unsafe { libc::close(number) };
    }
}

/// A descriptor that is readable when a signal has come. Signals must be blocked, as they are in a copied process.
#[expect(unsafe_code, reason = "rustix has no signalfd")]
pub(super) fn signals() -> Result<OwnedFd, Errno> {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is initialised by `sigfillset`; a descriptor that is made is ours alone.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        match libc::signalfd(-1, all.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            made if made < 0 => Err(last()),
            made => Ok(OwnedFd::from_raw_fd(made)),
        }
    }
}

/// How many bytes [`signals`] yields per signal; the first four are its number.
pub(super) const SIGNAL_BYTES: usize = size_of::<libc::signalfd_siginfo>();

/// Sends `signal`, by number, to the process group `group`.
#[expect(unsafe_code, reason = "rustix takes no real-time signals")]
pub(super) fn signal_group(group: Pid, signal: c_int) {
    // SAFETY: `kill` touches no memory.
    unsafe { libc::kill(-group.as_raw_nonzero().get(), signal) };
}

/// Gives every signal its default effect and lets all through, as a program expects it.
#[expect(unsafe_code, reason = "signal handlers are process-wide state")]
pub(super) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: a default action runs no code of ours. Numbers that mean nothing, or may not be changed, are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is initialised by `sigemptyset` and lives through the call.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// The list that the kernel takes: a pointer per text, and a null pointer. Good for as long as `texts` is.
pub(super) fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Becomes the program at `path`. Comes back only when that fails.
///
/// # Safety
/// Both lists are of [`pointers`], and their texts are alive.
#[expect(unsafe_code, reason = "the kernel follows the pointers")]
pub(super) unsafe fn execute(
    path: &CStr,
    arguments: &[*const c_char],
    environment: &[*const c_char],
) -> Errno {
    // SAFETY: as the caller promises: both lists end with a null pointer and lead to live texts.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    last()
}

/// Switches on the loopback interface of this process's network namespace.
#[expect(unsafe_code, reason = "the request is a union")]
pub(super) fn raise_loopback() -> Result<(), Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: a request of zeroes is a valid one, and the kernel reads the name and the flags, which are set.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        (request.ifr_name[0], request.ifr_name[1]) = (b'l' as c_char, b'o' as c_char);
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        match libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) {
            0 => Ok(()),
            _ => Err(last()),
        }
    }
}
