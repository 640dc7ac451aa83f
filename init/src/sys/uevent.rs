//! The kernel's news about devices: the kobject uevent socket (netlink(7)). It wakes who waits for
//! a disk as soon as the disk is there, so nobody has to look again and again.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};

use super::timespec;
use crate::clock::monotonic;

/// The multicast group in which the kernel itself speaks; group 2 is udev's.
const KERNEL: u32 = 1;

/// An open subscription. Open it before you look for the device, or its arrival may be missed.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

impl Uevents {
    /// Subscribes.
    ///
    /// # Errors
    /// When the kernel refuses the socket.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Some(KOBJECT_UEVENT);
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol)?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
        Ok(Self(socket))
    }

    /// Calls `find` now and after each news of a block device, until it has found something or
    /// `deadline` ([`monotonic`]) has passed.
    ///
    /// # Errors
    /// Those of `find`, and of the socket.
    pub fn wait_for<T>(
        &self,
        deadline: Duration,
        mut find: impl FnMut() -> io::Result<Option<T>>,
    ) -> io::Result<Option<T>> {
        loop {
            if let Some(found) = find()? {
                return Ok(Some(found));
            }
            if !self.wait_for_news(deadline)? {
                return Ok(None);
            }
        }
    }

    /// Whether a block device came, went or changed before the deadline.
    fn wait_for_news(&self, deadline: Duration) -> io::Result<bool> {
        loop {
            let Some(left) = deadline.checked_sub(monotonic()) else { return Ok(false) };
            let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut fds, Some(&timespec(left))) {
                Ok(0) | Err(Errno::INTR) => continue,
                other => other?,
            };
            if self.drain()? {
                return Ok(true);
            }
        }
    }

    /// Reads all that waits, and says whether any of it was about a block device.
    fn drain(&self) -> io::Result<bool> {
        let mut buffer = vec![0; 8192];
        let mut about_block = false;
        loop {
            match recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((length, _)) => about_block |= is_about_block(&buffer[..length]),
                Err(Errno::AGAIN) => return Ok(about_block),
                // Messages were lost: look again to be sure.
                Err(Errno::NOBUFS) => about_block = true,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A uevent is `ACTION@PATH` and then `KEY=VALUE`, each ended by a NUL.
fn is_about_block(message: &[u8]) -> bool {
    message.split(|byte| *byte == 0).any(|line| line == b"SUBSYSTEM=block")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_news_of_block_devices_wakes_the_search() {
        for (message, want) in [
            (&b"add@/devices/x/vda3\0ACTION=add\0SUBSYSTEM=block\0DEVNAME=vda3\0"[..], true),
            (b"add@/devices/x/eth0\0ACTION=add\0SUBSYSTEM=net\0", false),
            (b"add@/devices/block\0XSUBSYSTEM=block\0", false),
            (b"", false),
        ] {
            assert_eq!(is_about_block(message), want);
        }
    }

    #[test]
    fn what_is_already_there_is_found_without_waiting() {
        let uevents = Uevents::open().unwrap();
        let found = uevents.wait_for(Duration::MAX, || Ok(Some("vda3"))).unwrap();
        assert_eq!(found, Some("vda3"));
    }

    #[test]
    fn a_deadline_that_has_passed_ends_the_wait() {
        let uevents = Uevents::open().unwrap();
        let found: Option<()> = uevents.wait_for(Duration::ZERO, || Ok(None)).unwrap();
        assert_eq!(found, None);
    }
}
