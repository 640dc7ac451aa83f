//! The kernel's packet filter, spoken to by netlink: a node has no `nft` and no `iptables`.
//!
//! A [`Batch`] is a transaction of tables, chains and [`Rule`]s, which the kernel does as a whole or
//! not at all.

mod batch;
mod conntrack;
mod message;
mod rule;

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

pub(crate) use self::batch::{Batch, Family, Hook, Tables};
pub(crate) use self::conntrack::forget;
use self::message::{Answer, LAST, answers};
pub(crate) use self::rule::{Protocol, Rule};

/// The kernel answers within the call; this bounds what a bug could cost.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than the answers to one request; each quotes the message it is about.
const ANSWERS: usize = 64 * 1024;

/// Has the kernel do all of a request, or nothing of it, and shows every message of the answer to
/// `see`.
fn request(bytes: &[u8], mut see: impl FnMut(&[u8])) -> io::Result<()> {
    let socket = open().map_err(unsupported)?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, bytes, SendFlags::empty(), &kernel)?;
    let mut buffer = vec![0; ANSWERS];
    loop {
        let length = match recv(&socket, buffer.as_mut_slice(), RecvFlags::empty()) {
            Ok((length, _)) => length,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for answer in answers(&buffer[..length]) {
            match answer {
                Answer::Error { errno, .. } if errno != 0 => {
                    return Err(unsupported(Errno::from_raw_os_error(errno)));
                }
                Answer::Error { sequence: LAST, .. } | Answer::Done => return Ok(()),
                Answer::Error { .. } => {}
                Answer::Other(message) => see(message),
            }
        }
    }
}

fn open() -> rustix::io::Result<OwnedFd> {
    let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
    let socket = socket_with(AddressFamily::NETLINK, kind, flags, Some(NETFILTER))?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    Ok(socket)
}

/// One kind of error for all the ways in which a kernel says that it lacks a part.
fn unsupported(error: Errno) -> io::Error {
    match error {
        Errno::PROTONOSUPPORT | Errno::OPNOTSUPP | Errno::AFNOSUPPORT => lacks("nftables"),
        other => other.into(),
    }
}

/// The error for a kernel without a part.
pub(crate) fn lacks(part: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("the kernel has no {part}"))
}

/// For [`crate::outside`].
pub(crate) fn outside(bytes: &[u8]) {
    for answer in answers(bytes) {
        if let Answer::Other(attributes) = answer {
            let _ = message::text(attributes, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_nftables_is_told_from_one_that_refuses() {
        for errno in [Errno::PROTONOSUPPORT, Errno::OPNOTSUPP, Errno::AFNOSUPPORT] {
            assert_eq!(unsupported(errno).kind(), io::ErrorKind::Unsupported);
        }
        assert_eq!(unsupported(Errno::PERM).kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(unsupported(Errno::NOENT).kind(), io::ErrorKind::NotFound);
    }
}
