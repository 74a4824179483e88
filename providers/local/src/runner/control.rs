//! What a process that we start and we say to each other, over a socket pair of packets.
//!
//! In namespaces of its own that process is the namespace's init: it makes connections to the function from inside, hands
//! on signals, and tells how the function ended. A function without namespaces says only that it failed, or nothing.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use super::calls;
use super::enter::Stage;

/// What a packet says. From us: `Go`, `Signal`, `Connect`. To us: the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packet {
    /// The users of the namespace are mapped: begin.
    Go,
    /// Send the function this signal.
    Signal(i32),
    /// Connect to the function's port on this version of loopback.
    Connect(Loopback),
    /// What went wrong, at which stage: the function was not started.
    Failed(Stage, Errno),
    /// The namespace's listeners for the runtime API and for the way out, which come along.
    Listening,
    /// The function runs.
    Started,
    /// A connection, perhaps still under way, which comes along.
    Connected,
    /// There is no connection, for this reason.
    Refused(Errno),
    /// The function has ended, with this status as the kernel writes it.
    Exited(i32),
}

/// Which of loopback's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loopback {
    Four,
    Six,
}

/// The bytes of a packet.
const LENGTH: usize = 6;
/// The most descriptors that come along with one.
const DESCRIPTORS: usize = 2;

/// What comes along with a packet.
pub(super) type Along = [Option<OwnedFd>; DESCRIPTORS];

/// The two ends of a new conversation; neither is for programs.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

impl Packet {
    fn encode(self) -> [u8; LENGTH] {
        let (kind, detail, number) = match self {
            Self::Go => (0, 0, 0),
            Self::Signal(signal) => (1, 0, signal),
            Self::Connect(Loopback::Four) => (2, 4, 0),
            Self::Connect(Loopback::Six) => (2, 6, 0),
            Self::Failed(stage, error) => (3, stage as u8, error.raw_os_error()),
            Self::Listening => (4, 0, 0),
            Self::Started => (5, 0, 0),
            Self::Connected => (6, 0, 0),
            Self::Refused(error) => (7, 0, error.raw_os_error()),
            Self::Exited(status) => (8, 0, status),
        };
        let number = number.to_le_bytes();
        [kind, detail, number[0], number[1], number[2], number[3]]
    }

    fn decode([kind, detail, a, b, c, d]: [u8; LENGTH]) -> Option<Self> {
        let number = i32::from_le_bytes([a, b, c, d]);
        Some(match kind {
            0 => Self::Go,
            1 => Self::Signal(number),
            2 => Self::Connect(if detail == 6 { Loopback::Six } else { Loopback::Four }),
            3 => Self::Failed(Stage::from_byte(detail)?, calls::errno(number)),
            4 => Self::Listening,
            5 => Self::Started,
            6 => Self::Connected,
            7 => Self::Refused(calls::errno(number)),
            8 => Self::Exited(number),
            _ => return None,
        })
    }
}

/// Sends `packet`, with `along`. Allocates nothing.
pub(super) fn send(socket: impl AsFd, packet: Packet, along: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let bytes = packet.encode();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !along.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(along));
    }
    rustix::net::sendmsg(&socket, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL).map(|_| ())
}

/// Receives a packet and what came along; `None` where the other end is gone. Allocates nothing.
pub(super) fn receive(socket: impl AsFd, flags: RecvFlags) -> Result<Option<(Packet, Along)>, Errno> {
    let mut bytes = [0; LENGTH];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags)?;
    let mut along = [const { None }; DESCRIPTORS];
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            for (place, descriptor) in along.iter_mut().zip(descriptors) {
                *place = Some(descriptor);
            }
        }
    }
    match received.bytes {
        0 => Ok(None),
        LENGTH => Packet::decode(bytes).map(|packet| Some((packet, along))).ok_or(Errno::BADMSG),
        _ => Err(Errno::BADMSG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_arrive_as_they_were_sent() {
        let (ours, theirs) = pair().unwrap();
        for packet in [
            Packet::Go,
            Packet::Signal(15),
            Packet::Connect(Loopback::Four),
            Packet::Connect(Loopback::Six),
            Packet::Failed(Stage::Mount, Errno::PERM),
            Packet::Listening,
            Packet::Started,
            Packet::Connected,
            Packet::Refused(Errno::CONNREFUSED),
            Packet::Exited(0x0f00),
        ] {
            send(&ours, packet, &[]).unwrap();
            let (received, along) = receive(&theirs, RecvFlags::empty()).unwrap().unwrap();
            assert_eq!(received, packet);
            assert!(along.iter().all(Option::is_none));
        }
        send(&ours, Packet::Connected, &[ours.as_fd(), theirs.as_fd()]).unwrap();
        let (_, along) = receive(&theirs, RecvFlags::empty()).unwrap().unwrap();
        assert!(along.iter().all(Option::is_some));
        drop((ours, along));
        assert!(receive(&theirs, RecvFlags::empty()).unwrap().is_none());
    }
}
