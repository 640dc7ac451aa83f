//! Lets the pods of the node's own bridge reach the world: what they send leaves with the node's
//! address.
//!
//! CNI's bridge plugin would do so by running `iptables` or `nft`, for which a node would need
//! those programs and the eight Debian packages they are in. It is one rule, so it is given to the kernel here:
//! `table ip orlop { chain masquerade { type nat hook postrouting priority srcnat;
//! ip saddr SUBNET oifname != "cni0" masquerade } }`, or the same of `ip6`. `nft list ruleset` of
//! a debugging pod shows it so. The kernel must have `nf_tables`, `nft_chain_nat` and `nft_masq`.

mod batch;

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use formats::node_config::Subnet;
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

use self::batch::{Answer, Batch, Family, LAST, answers};
use crate::assemble::cni::BRIDGE;

/// The name of the table, which nobody else uses.
const TABLE: &str = "orlop";
/// The kernel answers within the call; this bounds what a bug could cost.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than the answers to one batch; each quotes the message it is about.
const ANSWERS: usize = 16 * 1024;

/// Makes the rule for `subnet` in place of the one there was; without a subnet there is none.
///
/// # Errors
/// What the kernel says; [`io::ErrorKind::Unsupported`] if it has no nftables or lacks a part of it.
pub fn set(subnet: Option<Subnet>) -> io::Result<()> {
    let wanted = subnet.map(family);
    for family in [Family::Ip, Family::Ip6] {
        if wanted != Some(family) {
            remove(family)?;
        }
    }
    match subnet.map_or(Ok(()), |subnet| send(&rule(subnet))) {
        // The rule asks for nothing else that could be absent.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(lacks("`nft_chain_nat` or `nft_masq`"))
        }
        other => other,
    }
}

fn family(subnet: Subnet) -> Family {
    match subnet.first() {
        IpAddr::V4(_) => Family::Ip,
        IpAddr::V6(_) => Family::Ip6,
    }
}

/// The table is made so that it can be removed with all that an earlier call put into it, and
/// then made again: one transaction, so that no packet meets a node without the rule.
fn rule(subnet: Subnet) -> Batch {
    let mut batch = Batch::new(family(subnet));
    batch.add_table(TABLE);
    batch.delete_table(TABLE);
    batch.add_table(TABLE);
    batch.add_postrouting_chain(TABLE, "masquerade");
    batch.add_masquerade(TABLE, "masquerade", subnet, BRIDGE);
    batch
}

fn remove(family: Family) -> io::Result<()> {
    let mut batch = Batch::new(family);
    batch.delete_table(TABLE);
    match send(&batch) {
        // There is none, or the kernel cannot have one.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Has the kernel do all of the batch, or nothing.
fn send(batch: &Batch) -> io::Result<()> {
    let socket = open().map_err(unsupported)?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &batch.finish(), SendFlags::empty(), &kernel)?;
    let mut buffer = vec![0; ANSWERS];
    loop {
        let length = match recv(&socket, buffer.as_mut_slice(), RecvFlags::empty()) {
            Ok((length, _)) => length,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for Answer { sequence, errno } in answers(&buffer[..length]) {
            if errno != 0 {
                return Err(unsupported(Errno::from_raw_os_error(errno)));
            }
            if sequence == LAST {
                return Ok(());
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

fn lacks(part: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("the kernel has no {part}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_is_that_of_the_subnet() {
        for (subnet, want) in [("10.88.0.0/16", Family::Ip), ("fd00:88::/64", Family::Ip6)] {
            assert_eq!(family(subnet.parse().unwrap()), want);
        }
    }

    #[test]
    fn a_kernel_without_nftables_is_told_from_one_that_refuses() {
        for errno in [Errno::PROTONOSUPPORT, Errno::OPNOTSUPP, Errno::AFNOSUPPORT] {
            assert_eq!(unsupported(errno).kind(), io::ErrorKind::Unsupported);
        }
        assert_eq!(unsupported(Errno::PERM).kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(unsupported(Errno::NOENT).kind(), io::ErrorKind::NotFound);
    }
}
