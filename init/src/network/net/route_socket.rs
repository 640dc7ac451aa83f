//! The two rtnetlink sockets: one tells what changes, the other asks and waits for the answer. With
//! one for both, an answer could be lost among the news.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

use super::netlink::{News, Query, parse};

/// `RTMGRP_LINK`, `RTMGRP_IPV6_IFADDR`, `RTMGRP_IPV6_IFINFO`, `RTMGRP_IPV6_PREFIX`, and the bit of
/// `RTNLGRP_ND_USEROPT`: links, IPv6 addresses, what routers leave to DHCPv6, that they speak, and
/// what they say beside addresses.
const GROUPS: u32 = 0x1 | 0x100 | 0x800 | 0x20000 | 1 << 19;
/// The kernel sends up to 32 KiB in one datagram.
const DATAGRAM: usize = 32 * 1024;
/// So many datagrams of news are read in one turn, as on other sockets: routers make the kernel
/// speak.
const TURN: usize = 64;
/// The kernel answers within the call; this bounds what a bug could cost.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the kernel, one question at a time.
#[derive(Debug)]
pub(super) struct Requests {
    socket: OwnedFd,
    sequence: u32,
}

/// Tells of changes of links.
#[derive(Debug)]
pub(super) struct Notifications(OwnedFd);

impl Requests {
    pub(super) fn open() -> io::Result<Self> {
        let socket = open(SocketFlags::CLOEXEC, 0)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks for a change and waits until it is made.
    pub(super) fn request(&mut self, query: &Query) -> io::Result<()> {
        self.send(query)?;
        let mut result = Ok(());
        self.answers(|news, sequence| match news {
            News::Answer { sequence: of, errno } if of == sequence => {
                if errno != 0 {
                    result = Err(io::Error::from_raw_os_error(errno));
                }
                true
            }
            _ => false,
        })?;
        result
    }

    /// All that there is of what the query asks for.
    pub(super) fn list(&mut self, query: &Query) -> io::Result<Vec<News>> {
        self.send(query)?;
        let mut all = Vec::new();
        self.answers(|news, sequence| {
            let is_last = ends(&news, sequence);
            all.push(news);
            is_last
        })?;
        Ok(all)
    }

    fn send(&mut self, query: &Query) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let message = query.encode(self.sequence);
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.socket, &message, SendFlags::empty(), &kernel)?;
        Ok(())
    }

    /// Gives each answer to `take`, with the number of the question, until it says that it was
    /// the last.
    fn answers(&self, mut take: impl FnMut(News, u32) -> bool) -> io::Result<()> {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let length = match recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for news in parse(&buffer[..length]) {
                if take(news, self.sequence) {
                    return Ok(());
                }
            }
        }
    }
}

/// Whether this is the last of what was asked for under this number.
fn ends(news: &News, sequence: u32) -> bool {
    matches!(news, News::Done { sequence: of } | News::Answer { sequence: of, .. } if *of == sequence)
}

impl Notifications {
    pub(super) fn open() -> io::Result<Self> {
        open(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, GROUPS).map(Self)
    }

    /// What waits, within bounds; `None` if some of it was lost and the links must be listed again.
    pub(super) fn drain(&self) -> io::Result<Option<Vec<News>>> {
        let mut buffer = vec![0; DATAGRAM];
        let mut news = Some(Vec::new());
        for _ in 0..TURN {
            match recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((length, _)) => {
                    if let Some(news) = &mut news {
                        news.extend(parse(&buffer[..length]));
                    }
                }
                Err(Errno::NOBUFS) => news = None,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(news)
    }
}

impl AsFd for Notifications {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn open(flags: SocketFlags, groups: u32) -> io::Result<OwnedFd> {
    // Protocol 0 is NETLINK_ROUTE, which rustix has no name for.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_lists_the_loopback_link() {
        let links = Requests::open().unwrap().list(&Query::Links).unwrap();
        let mut links = links.iter().filter_map(|news| match news {
            News::Link(link) => Some(link),
            _ => None,
        });
        let lo = links.find(|link| link.name == "lo").unwrap();
        assert!(lo.index > 0 && !lo.is_free_ethernet());
    }

    #[test]
    fn a_refusal_is_the_kernels_errno() {
        let mut requests = Requests::open().unwrap();
        let error = requests.request(&Query::SetUp { link: 0x7fff_0000 }).unwrap_err();
        let errno = Errno::from_io_error(&error).unwrap();
        assert!(matches!(errno, Errno::NODEV | Errno::PERM), "{error}");
        assert!(!requests.list(&Query::Links).unwrap().is_empty(), "the socket is still good");
    }
}
