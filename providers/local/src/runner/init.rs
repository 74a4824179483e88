//! The init of a function's process namespace: it reaps, hands on signals, makes connections from inside, and ends when
//! the function or its parent has ended. With it the kernel ends everything in the namespace.
//!
//! It is a copy of a program with many threads: nothing here allocates, locks or panics.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, WaitOptions};

use super::calls;
use super::control::{self, Loopback, Packet};
use super::enter::write;
use super::sandbox::Network;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 128;

/// Makes the new network namespace usable: loopback is up, any user may listen on any port, as on the clouds, and there
/// are listeners for the runtime API and for the way out.
pub(super) fn open_network(network: &Network) -> Result<[OwnedFd; 2], Errno> {
    calls::raise_loopback()?;
    // Where this is refused, a port below 1024 is too; the function says so itself.
    let _ = write(c"/proc/sys/net/ipv4/ip_unprivileged_port_start", c"0");
    Ok([listener(network.api)?, listener(network.proxy)?])
}

fn listener(port: u16) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Attends to `function` until it ends, and ends this process then. Comes back only when it cannot attend at all.
pub(super) fn attend(control: &OwnedFd, function: Pid, port: Option<u16>) -> Errno {
    let signals = match calls::signals() {
        Ok(signals) => signals,
        Err(error) => return error,
    };
    // What ended before there was anybody to tell.
    reap(control, function);
    loop {
        let mut watched = [PollFd::new(control, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        match rustix::event::poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return error,
        }
        let (ordered, signalled) = (!watched[0].revents().is_empty(), !watched[1].revents().is_empty());
        if signalled {
            let mut signal = [0; calls::SIGNAL_BYTES];
            if rustix::io::read(&signals, &mut signal).is_ok() {
                match i32::from_ne_bytes([signal[0], signal[1], signal[2], signal[3]]) {
                    child if child == Signal::CHILD.as_raw() => reap(control, function),
                    other => calls::signal_group(function, other),
                }
            }
        }
        if ordered {
            match control::receive(control, RecvFlags::DONTWAIT) {
                Ok(Some((Packet::Signal(signal), _))) => calls::signal_group(function, signal),
                Ok(Some((Packet::Connect(loopback), _))) => match port.map(|port| connect(loopback, port)) {
                    Some(Ok(socket)) => tell(control, Packet::Connected, Some(&socket)),
                    Some(Err(error)) => tell(control, Packet::Refused(error), None),
                    None => tell(control, Packet::Refused(Errno::ADDRNOTAVAIL), None),
                },
                Ok(Some(_)) | Err(Errno::AGAIN | Errno::INTR) => {}
                // Whoever started us is gone.
                Ok(None) | Err(_) => end(),
            }
        }
    }
}

fn tell(control: &OwnedFd, packet: Packet, along: Option<&OwnedFd>) {
    let sent = match along {
        Some(descriptor) => control::send(control, packet, &[descriptor.as_fd()]),
        None => control::send(control, packet, &[]),
    };
    if sent.is_err() {
        end();
    }
}

/// Collects whoever has ended; when it was the function, this is the end of the namespace.
fn reap(control: &OwnedFd, function: Pid) {
    while let Ok(Some((child, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if child == function {
            let _ = control::send(control, Packet::Exited(status.as_raw()), &[]);
            end();
        }
    }
}

/// Begins a connection and does not wait for it: an answer may be long in coming from a function that accepts nothing.
fn connect(loopback: Loopback, port: u16) -> Result<OwnedFd, Errno> {
    let (family, address) = match loopback {
        Loopback::Four => (AddressFamily::INET, SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        Loopback::Six => (AddressFamily::INET6, SocketAddr::from((Ipv6Addr::LOCALHOST, port))),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

#[expect(unsafe_code, reason = "this process must not run down what it copied")]
fn end() -> ! {
    // SAFETY: it ends at once and runs nothing.
    unsafe { libc::_exit(0) }
}
