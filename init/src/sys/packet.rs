//! Packet sockets bound to one link: how a link without an address speaks DHCP (packet(7)). What is
//! not for us the kernel drops, by a program of classic BPF at the socket
//! (Documentation/networking/filter.rst).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, bind, sendto, socket_with};

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

/// An instruction of classic BPF, `struct sock_filter`.
pub(crate) type Instruction = libc::sock_filter;

/// A non-blocking socket which gets what arrives at the link with this index as whole UDP packets of
/// IPv4 to this port, each from its IP header on. Keep it open only while an answer is expected: it
/// wakes us for each.
///
/// # Errors
/// Without `CAP_NET_RAW`, or when there is no such link.
pub fn open(link: u32, port: u16) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Without a protocol nothing arrives before the socket is bound.
    let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
    attach(&socket, &mut to_port(port))?;
    bind(&socket, &LinkAddress::new(link, [0; 6])?)?;
    Ok(socket)
}

/// Takes whole UDP packets of IPv4 to this port and drops all else. The packet begins with its IP
/// header; who reads behind its end drops it.
#[expect(clippy::cast_possible_truncation, reason = "the codes of linux/filter.h fit in 16 bits")]
pub(crate) fn to_port(port: u16) -> [Instruction; 12] {
    use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_JSET};
    use libc::{BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET};
    let step = |code: u32, k: u32| Instruction { code: code as u16, jt: 0, jf: 0, k };
    let test = |code: u32, k: u32, jt: u8, jf: u8| Instruction { code: code as u16, jt, jf, k };
    let (load_byte, load_half) = (BPF_LD | BPF_B | BPF_ABS, BPF_LD | BPF_H | BPF_ABS);
    let (equal, any_bit) = (BPF_JMP | BPF_JEQ | BPF_K, BPF_JMP | BPF_JSET | BPF_K);
    [
        // Version 4.
        step(load_byte, 0),
        step(BPF_ALU | BPF_AND | BPF_K, 0xf0),
        test(equal, 0x40, 0, 8),
        // UDP.
        step(load_byte, 9),
        test(equal, 17, 0, 6),
        // No more fragments, and not one behind others.
        step(load_half, 6),
        test(any_bit, 0x3fff, 4, 0),
        // The destination, behind the IP header and the source.
        step(BPF_LDX | BPF_B | BPF_MSH, 0),
        step(BPF_LD | BPF_H | BPF_IND, 2),
        test(equal, port.into(), 0, 1),
        step(BPF_RET | BPF_K, u32::from(u16::MAX)),
        step(BPF_RET | BPF_K, 0),
    ]
}

fn attach(socket: &OwnedFd, program: &mut [Instruction]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    let size = libc::socklen_t::try_from(size_of_val(&program)).map_err(io::Error::other)?;
    // SAFETY: needed because rustix has no such option. Sound because the pointer is to a whole
    // `sock_fprog` whose own pointer and length are those of a slice, and both outlive the call, in
    // which the kernel copies the program and checks it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size,
        )
    };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
    use proptest::prelude::*;

    use super::*;

    /// Runs a program as the kernel does; `None` if it reads behind the packet's end.
    fn run(program: &[Instruction], packet: &[u8]) -> Option<u32> {
        let load = |at: usize, bytes: usize| {
            let value = packet.get(at..at + bytes)?;
            Some(value.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
        };
        let (mut a, mut x, mut at) = (0, 0, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let k_at = usize::try_from(k).unwrap();
            let mut jump = |is_so: bool| at += usize::from(if is_so { jt } else { jf });
            match code {
                0x30 => a = load(k_at, 1)?,
                0x28 => a = load(k_at, 2)?,
                0x48 => a = load(x + k_at, 2)?,
                0xb1 => x = 4 * usize::try_from(load(k_at, 1)? & 0xf).unwrap(),
                0x54 => a &= k,
                0x15 => jump(a == k),
                0x45 => jump(a & k != 0),
                0x06 => return Some(k),
                code => panic!("{code:#x}"),
            }
        }
    }

    fn takes(packet: &[u8]) -> bool {
        run(&to_port(68), packet).is_some_and(|bytes| bytes > 0)
    }

    /// An IPv4 header with so many words of options, and a UDP header.
    fn datagram(options: u8, port: u16) -> Vec<u8> {
        let mut packet = vec![0; 20 + usize::from(options) * 4 + 8];
        (packet[0], packet[9]) = (0x45 + options, 17);
        let at = packet.len() - 6;
        packet[at..at + 2].copy_from_slice(&port.to_be_bytes());
        packet
    }

    #[test]
    fn the_filter_takes_whole_datagrams_to_the_port_and_nothing_else() {
        for options in [0, 1, 10] {
            assert!(takes(&datagram(options, 68)), "{options}");
            assert!(!takes(&datagram(options, 67)), "{options}");
        }
        for (at, value, what) in [
            (0, 0x65, "version 6"),
            (9, 6, "TCP"),
            (6, 0x20, "the first fragment"),
            (7, 1, "a later fragment"),
        ] {
            let mut packet = datagram(0, 68);
            packet[at] = value;
            assert!(!takes(&packet), "{what}");
        }
        let mut whole = datagram(0, 68);
        whole[6] = 0x40;
        assert!(takes(&whole), "one that must not be made fragments of");
        (0..24).for_each(|length| assert!(!takes(&whole[..length]), "cut after {length}"));
    }

    proptest! {
        /// What a server says reaches us, and whatever else there is, the program comes to an end.
        #[test]
        fn the_filter_drops_nothing_that_is_an_answer(
            mut packet in prop::collection::vec(any::<u8>(), 0..90),
            is_near in any::<bool>(),
        ) {
            if is_near && packet.len() > 9 {
                (packet[0], packet[6], packet[7], packet[9]) = (packet[0] & 0xf | 0x40, 0, 0, 17);
            }
            let header = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
            let is_udp = packet.len() > 9 && packet[0] >> 4 == 4 && packet[9] == 17;
            let is_whole = is_udp && packet[6] & 0x3f == 0 && packet[7] == 0;
            let port = packet.get(header + 2..header + 4);
            prop_assert_eq!(takes(&packet), is_whole && port == Some(&[0, 68][..]));
            if is_near && packet.len() >= header + 4 && packet.len() > 9 {
                packet[header + 2..header + 4].copy_from_slice(&[0, 68]);
                prop_assert!(header < 20 || takes(&packet));
            }
        }
    }

    #[test]
    fn the_address_has_the_layout_of_packet_7() {
        assert_eq!(size_of::<LinkAddress>(), LENGTH as usize);
        assert_eq!(std::mem::offset_of!(LinkAddress, index), 4);
        assert_eq!(std::mem::offset_of!(LinkAddress, address), 12);
    }
}
