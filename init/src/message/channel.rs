//! The socket pair itself (`SOCK_SEQPACKET`, unix(7)), on which nobody waits.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
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

/// Sends a packet; whether there was room for it.
///
/// # Errors
/// When there is nobody at the other end.
pub fn send(socket: impl AsFd, packet: &[u8]) -> io::Result<bool> {
    sent(socket, packet, &mut SendAncillaryBuffer::default())
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
    sent(socket, packet, &mut control)
}

fn sent(
    socket: impl AsFd,
    packet: &[u8],
    control: &mut SendAncillaryBuffer<'_, '_, '_>,
) -> io::Result<bool> {
    // Who reads no more must not end us by a signal.
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match sendmsg(&socket, &[IoSlice::new(packet)], control, flags) {
            Ok(_) => return Ok(true),
            Err(Errno::AGAIN | Errno::NOBUFS) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What [`receive`] has found.
#[derive(Debug)]
pub enum Received {
    /// A packet, and the descriptor that came with it.
    Packet(Vec<u8>, Option<OwnedFd>),
    /// There is none now.
    Nothing,
    /// There is nobody at the other end.
    Ended,
}

/// Takes a packet, without waiting.
pub fn receive(socket: impl AsFd) -> Received {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    loop {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let got = recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags);
        match got {
            // Nobody sends an empty packet.
            Ok(got) if got.bytes == 0 => return Received::Ended,
            Ok(got) => {
                let with = control.drain().find_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                    _ => None,
                });
                bytes.truncate(got.bytes);
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
        drop(reader);
        let Received::Packet(bytes, Some(reader)) = receive(&theirs) else { panic!("no pipe") };
        assert_eq!(bytes, b"pipe");
        rustix::io::write(&writer, b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut [0; 2]), Ok(1));
        assert!(matches!(receive(&theirs), Received::Packet(bytes, None) if bytes == b"alone"));
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
