//! Starting a process that has nothing to do with ours any more.

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Makes `command` start in a session of its own and with none of our descriptors but its standard ones: a pipe that
/// somebody waits on for its end must not be held open by a daemon.
#[expect(unsafe_code, reason = "what happens between fork and exec cannot be said otherwise")]
pub(crate) fn detach(command: &mut Command) -> io::Result<()> {
    let inherited = inheritable()?;
    // SAFETY: between fork and exec only system calls are made, on numbers that were found before; nothing allocates,
    // locks or panics. A number borrowed here is used for one call only, and a wrong one makes that call fail.
    unsafe {
        command.pre_exec(move || {
            rustix::process::setsid()?;
            for fd in &inherited {
                let _ = fcntl_setfd(BorrowedFd::borrow_raw(*fd), FdFlags::CLOEXEC);
            }
            Ok(())
        });
    }
    Ok(())
}

/// The descriptors from 3 up that an exec would hand on: what we inherited ourselves. What this program opens is closed
/// on exec anyway.
#[expect(unsafe_code, reason = "a descriptor that is only known by its number is asked for its flags")]
fn inheritable() -> io::Result<Vec<RawFd>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else {
            continue;
        };
        // SAFETY: it is borrowed for one call, which fails if it has been closed meanwhile.
        let flags = fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) });
        if fd >= 3 && flags.is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC)) {
            found.push(fd);
        }
    }
    Ok(found)
}
