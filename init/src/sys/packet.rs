//! Packet sockets bound to one link: how a link without an address speaks DHCP (packet(7)).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, bind, eth, sendto, socket_with,
};

/// `ETH_P_IP`.
const IPV4: u16 = 0x0800;
/// `sizeof(struct sockaddr_ll)`.
const LENGTH: SocketAddrLen = 20;
const BROADCAST: [u8; 6] = [0xff; 6];

/// `struct sockaddr_ll`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct LinkAddress {
    family: u16,
    /// In network order.
    protocol: u16,
    index: i32,
    hardware_type: u16,
    packet_type: u8,
    address_length: u8,
    address: [u8; 8],
}

impl LinkAddress {
    fn new(link: u32, mac: [u8; 6]) -> io::Result<Self> {
        let mut address = [0; 8];
        address[..6].copy_from_slice(&mac);
        Ok(Self {
            family: AddressFamily::PACKET.as_raw(),
            protocol: IPV4.to_be(),
            index: i32::try_from(link).map_err(io::Error::other)?,
            hardware_type: 0,
            packet_type: 0,
            address_length: 6,
            address,
        })
    }
}

// SAFETY: needed because rustix opens packet sockets but has no address type for them. Sound
// because the pointer passed on is to a whole `sockaddr_ll` (packet(7); a test pins its size),
// borrowed for the length of the call.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(
        &self,
        f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R,
    ) -> R {
        f((&raw const *self).cast(), LENGTH)
    }
}

/// A non-blocking socket which gets every IPv4 packet, from its IP header on, that arrives at the
/// link with this index. Keep it open only while an answer is expected: it wakes us for each.
///
/// # Errors
/// Without `CAP_NET_RAW`, or when there is no such link.
pub fn open(link: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, Some(eth::IP))?;
    bind(&socket, &LinkAddress::new(link, [0; 6])?)?;
    Ok(socket)
}

/// Sends one IPv4 packet to everyone on the link.
///
/// # Errors
/// When the link is down.
pub fn broadcast(socket: impl AsFd, link: u32, packet: &[u8]) -> io::Result<()> {
    sendto(socket, packet, SendFlags::empty(), &LinkAddress::new(link, BROADCAST)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_has_the_layout_of_packet_7() {
        assert_eq!(size_of::<LinkAddress>(), LENGTH as usize);
        assert_eq!(std::mem::offset_of!(LinkAddress, index), 4);
        assert_eq!(std::mem::offset_of!(LinkAddress, address), 12);
    }
}
