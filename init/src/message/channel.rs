//! The socket pair itself (`SOCK_SEQPACKET`, unix(7)), on which nobody waits.
//!
//! Descriptors go one way, from PID 1 to `log`. A unit cannot send any, for its filter has no
//! `sendmsg`: one that PID 1 did not take would still be closed by PID 1 (`scm_destroy` of
//! net/core/scm.c, by `fput`, whose work is done before the call returns), and there are files whose
//! closing waits.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
};

use super::LONGEST;

/// Packets that wait to be sent at most.
const WAITING: usize = 512;

/// Two ends of a new channel.
///
/// # Errors
/// When there are no descriptors.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Sends a packet; whether there was room for it. Not by `sendmsg`, which units may not call.
///
/// # Errors
/// When there is nobody at the other end.
pub fn send(socket: impl AsFd, packet: &[u8]) -> io::Result<bool> {
    sent(|flags| rustix::net::send(&socket, packet, flags))
}

/// Sends a packet, and with it a duplicate of a descriptor.
///
/// # Errors
/// When there is nobody at the other end.
pub fn send_with(socket: impl AsFd, packet: &[u8], with: BorrowedFd<'_>) -> io::Result<bool> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let with = [with];
    control.push(SendAncillaryMessage::ScmRights(&with));
    sent(|flags| sendmsg(&socket, &[IoSlice::new(packet)], &mut control, flags))
}

fn sent(mut send: impl FnMut(SendFlags) -> Result<usize, Errno>) -> io::Result<bool> {
    // Who reads no more must not end us by a signal.
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match send(flags) {
            Ok(_) => return Ok(true),
            Err(Errno::AGAIN | Errno::NOBUFS) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What [`receive`] or [`receive_with`] has found.
#[derive(Debug)]
pub enum Received {
    /// A packet, and the descriptor that came with it, if one was asked for.
    Packet(Vec<u8>, Option<OwnedFd>),
    /// There is none now.
    Nothing,
    /// There is nobody at the other end.
    Ended,
}

/// Takes a packet, without waiting and without descriptors.
pub fn receive(socket: impl AsFd) -> Received {
    received(|bytes| {
        let (length, _) = recv(&socket, bytes, RecvFlags::DONTWAIT)?;
        Ok((length, None))
    })
}

/// Takes a packet and the descriptor that came with it, without waiting.
pub fn receive_with(socket: impl AsFd) -> Received {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    received(|bytes| {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let got = recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut control, flags)?;
        let with = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Ok((got.bytes, with))
    })
}

fn received(
    mut take: impl FnMut(&mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno>,
) -> Received {
    let mut bytes = vec![0; LONGEST];
    loop {
        match take(&mut bytes) {
            // Nobody sends an empty packet.
            Ok((0, _)) => return Received::Ended,
            Ok((length, with)) => {
                bytes.truncate(length);
                return Received::Packet(bytes, with);
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Received::Nothing,
            Err(_) => return Received::Ended,
        }
    }
}

/// A unit's end of its channel, with what did not find room yet.
#[derive(Debug)]
pub struct Ending {
    socket: OwnedFd,
    waiting: VecDeque<Vec<u8>>,
}

impl Ending {
    /// Standard input, as PID 1 has opened it.
    ///
    /// # Errors
    /// When there are no descriptors.
    pub fn of_standard_input() -> io::Result<Self> {
        let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self { socket, waiting: VecDeque::new() })
    }

    /// Sends a message as soon as there is room. Only if PID 1 reads nothing for a long time the
    /// oldest one is lost.
    pub fn send(&mut self, message: &super::FromUnit) {
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(message.encode());
        self.flush();
    }

    /// Sends what waits, as far as there is room.
    pub fn flush(&mut self) {
        while let Some(packet) = self.waiting.front() {
            match send(&self.socket, packet) {
                Ok(false) => return,
                // Without PID 1 nobody wants to know.
                Ok(true) | Err(_) => drop(self.waiting.pop_front()),
            }
        }
    }

    /// Whether something waits for room.
    pub fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes a packet of PID 1.
    pub fn receive(&self) -> Received {
        receive(&self.socket)
    }

    /// Takes a packet of PID 1, and the descriptor that came with it.
    pub fn receive_with(&self) -> Received {
        receive_with(&self.socket)
    }
}

impl AsFd for Ending {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_goes_with_its_packet_and_nobody_waits() {
        let (ours, theirs) = pair().unwrap();
        assert!(matches!(receive(&theirs), Received::Nothing));
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        assert!(send_with(&ours, b"pipe", reader.as_fd()).unwrap());
        assert!(send(&ours, b"alone").unwrap());
        assert!(send_with(&ours, b"pipe", reader.as_fd()).unwrap());
        drop(reader);
        let Received::Packet(bytes, Some(reader)) = receive_with(&theirs) else {
            panic!("no pipe")
        };
        assert_eq!(bytes, b"pipe");
        rustix::io::write(&writer, b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut [0; 2]), Ok(1));
        assert!(
            matches!(receive_with(&theirs), Received::Packet(bytes, None) if bytes == b"alone")
        );
        // Who asks for none has none: the pipe has no reader any more.
        assert!(matches!(receive(&theirs), Received::Packet(bytes, None) if bytes == b"pipe"));
        drop(reader);
        assert_eq!(rustix::io::write(&writer, b"x"), Err(Errno::PIPE));
        let mut sent = 0;
        while send(&ours, &[b'x'; 1000]).unwrap() {
            sent += 1;
        }
        assert!(sent > 10);
        drop(theirs);
        assert!(send(&ours, b"x").is_err());
        assert!(matches!(receive(&ours), Received::Ended));
    }

    #[test]
    fn what_finds_no_room_is_sent_later_in_its_order() {
        let (ours, theirs) = pair().unwrap();
        let mut ending = Ending { socket: theirs, waiting: VecDeque::new() };
        let mut last = 0;
        while !ending.waits() {
            last += 1;
            ending.send(&super::super::FromUnit::Closed(last));
        }
        let mut got = Vec::new();
        while got.len() < usize::try_from(last).unwrap() {
            match receive(&ours) {
                Received::Packet(bytes, None) => got.push(super::super::FromUnit::parse(&bytes)),
                _ => ending.flush(),
            }
        }
        let want = (1..=last).map(|id| Some(super::super::FromUnit::Closed(id)));
        assert_eq!(got, want.collect::<Vec<_>>());
    }
}
