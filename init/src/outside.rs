//! The doors for fuzz targets to parsers of what others wrote, where those are private to PID 1.
//! Nothing here is called by it.

use crate::initrd::verity;
use crate::message::{FromUnit, ToUnit};
use crate::net::{dhcp, dhcp6, dns, netlink};
use formats::superblock::ext4 as superblock;

/// A datagram of a DHCP server, and the message that may be in it.
pub fn dhcp(bytes: &[u8]) {
    let _ = dhcp::message::Answer::parse_packet(bytes);
    let _ = dhcp::message::Answer::parse(bytes);
}

/// A datagram of a DHCPv6 server, to the link with this address.
pub fn dhcp6(bytes: &[u8], mac: [u8; 6]) {
    let _ = dhcp6::message::Answer::parse(bytes, mac);
}

/// A datagram of a name server, which first has the question that it answers.
pub fn dns(bytes: &[u8]) {
    let (length, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let (question, message) = rest.split_at(usize::from(*length).min(rest.len()));
    let _ = dns::answer(message, question);
    let _ = dns::name_at(rest, usize::from(*length));
}

/// A packet between PID 1 and a unit that is built into it, and the lease in a line of one.
pub fn message(bytes: &[u8]) {
    let _ = ToUnit::parse(bytes);
    let _ = FromUnit::parse(bytes);
    if let Ok(line) = std::str::from_utf8(bytes) {
        let _ = dhcp::Lease::from_line(line);
    }
}

/// A datagram of the kernel about links, addresses, routes, and routers on the network.
pub fn netlink(bytes: &[u8]) {
    let _ = netlink::news::parse(bytes);
}

/// The first block of a root partition, and what is planned from it.
pub fn root(bytes: &[u8]) {
    let mut block = vec![0; verity::BLOCK];
    let length = bytes.len().min(block.len());
    block[..length].copy_from_slice(&bytes[..length]);
    let _ = verity::Image::parse(&block);
    let _ = verity::Image::parse(bytes);
}

/// The superblock of STATE.
pub fn state(bytes: &[u8]) {
    let mut block = [0; superblock::SIZE];
    let length = bytes.len().min(block.len());
    block[..length].copy_from_slice(&bytes[..length]);
    if let Ok(superblock) = superblock::Superblock::parse(&block) {
        let _ = (superblock.size(), superblock.block_size(), superblock.needs_recovery());
    }
}
