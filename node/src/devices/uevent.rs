//! The kernel's news about devices (netlink(7), `NETLINK_KOBJECT_UEVENT`).

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrAny, SocketFlags, SocketType, bind, recvfrom, socket_with,
    sockopt,
};

/// The multicast group in which the kernel itself speaks; group 2 is udev's.
const KERNEL: u32 = 1;
/// A uevent has at most 2048 bytes of variables (`UEVENT_BUFFER_SIZE`) and the path before them.
const LONGEST: usize = 16 * 1024;
/// A machine with many disks says a lot at once.
const QUEUE: usize = 4 << 20;

/// What became of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// It came or changed, or a driver was bound to it or left it.
    Present,
    /// It went.
    Gone,
}

/// One piece of news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Uevent {
    pub(super) action: Action,
    /// Such as `block`.
    pub(super) subsystem: String,
    /// The last part of its path in sysfs: `vda1`, `cciss!c0d0`.
    pub(super) name: String,
    /// Its node below `/dev`, if it has one.
    pub(super) node: Option<String>,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    One(Uevent),
    /// More came than could be kept: only a look at everything helps.
    Lost,
}

/// An open subscription. Open it before looking at what is there.
#[derive(Debug)]
pub(super) struct Uevents(OwnedFd);

impl Uevents {
    /// Subscribes.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub(super) fn open() -> io::Result<Self> {
        let protocol = Some(KOBJECT_UEVENT);
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, protocol)?;
        sockopt::set_socket_recv_buffer_size(&socket, QUEUE)?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
        Ok(Self(socket))
    }

    /// Waits for the next news of the kernel.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn next(&self) -> io::Result<News> {
        let mut buffer = vec![0; LONGEST];
        loop {
            match recvfrom(&self.0, buffer.as_mut_slice(), RecvFlags::empty()) {
                // Whoever administers the network can speak in this group too.
                Ok((length, _, Some(sender))) if is_kernel(&sender) => {
                    if let Some(event) = buffer.get(..length).and_then(parse) {
                        return Ok(News::One(event));
                    }
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => return Ok(News::Lost),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// See [`super::outside`].
pub(super) fn outside(message: &[u8]) {
    let _ = parse(message);
}

fn is_kernel(sender: &SocketAddrAny) -> bool {
    SocketAddrNetlink::try_from(sender.clone()).is_ok_and(|from| from.pid() == 0)
}

/// `ACTION@PATH`, then `KEY=VALUE`, each ended by a NUL.
fn parse(message: &[u8]) -> Option<Uevent> {
    let mut lines = message.split(|byte| *byte == 0).filter_map(|line| str::from_utf8(line).ok());
    lines.next()?.split_once('@')?;
    let (mut action, mut subsystem, mut path, mut node) = (None, None, None, None);
    for (key, value) in lines.filter_map(|line| line.split_once('=')) {
        match key {
            "ACTION" if value == "remove" => action = Some(Action::Gone),
            "ACTION" => action = Some(Action::Present),
            "SUBSYSTEM" => subsystem = Some(value),
            "DEVPATH" => path = Some(value),
            "DEVNAME" => node = Some(value),
            _ => {}
        }
    }
    Some(Uevent {
        action: action?,
        subsystem: subsystem?.to_owned(),
        name: path?.rsplit('/').next()?.to_owned(),
        node: node.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn news_says_what_became_of_which_device() {
        let message = b"add@/devices/pci0000:00/0000:00:04.0/virtio1/block/vdb\0ACTION=add\0\
            DEVPATH=/devices/pci0000:00/0000:00:04.0/virtio1/block/vdb\0SUBSYSTEM=block\0MAJOR=254\0\
            MINOR=16\0DEVNAME=vdb\0DEVTYPE=disk\0DISKSEQ=3\0SEQNUM=1200\0";
        let event = Uevent {
            action: Action::Present,
            subsystem: "block".to_owned(),
            name: "vdb".to_owned(),
            node: Some("vdb".to_owned()),
        };
        assert_eq!(parse(message), Some(event));
        let message = b"remove@/module/x\0ACTION=remove\0DEVPATH=/module/x\0SUBSYSTEM=module\0";
        let event = Uevent {
            action: Action::Gone,
            subsystem: "module".to_owned(),
            name: "x".to_owned(),
            node: None,
        };
        assert_eq!(parse(message), Some(event));
    }

    #[test]
    fn what_is_no_news_is_none() {
        for message in [&b""[..], b"libudev\0\xfe\xed\xca\xfe", b"add@/x\0ACTION=add\0", b"\xff@\0"]
        {
            assert_eq!(parse(message), None);
        }
    }

    #[test]
    fn a_subscription_can_be_opened() {
        Uevents::open().unwrap();
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(message in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&message);
            let _ = parse(&[b"add@/x\0", &message[..]].concat());
        }
    }
}
