//! rtnetlink messages: the few requests that a node's links need. Reading what the kernel says is
//! [`news`]'s. Formats: include/uapi/linux/{netlink,rtnetlink,if_link,if_addr}.h; numbers are in
//! the machine's own order, addresses in the network's.

pub(crate) mod news;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) use news::{Address, Link, NameServers, News, parse};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const REPLACE: u16 = 0x100;
const CREATE: u16 = 0x400;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
/// The gateway is on the link although no prefix says so: clouds give /32 addresses.
const RTNH_F_ONLINK: u32 = 4;
const IFF_UP: u32 = 0x1;

const HEADER: usize = 16;

/// A question to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    /// Tell of all links.
    Links,
    /// Tell what all links' routers leave to DHCPv6.
    Routers,
    /// Tell of all IPv6 addresses; those of IPv4 are ours alone to give.
    Addresses,
    /// Switch the link on.
    SetUp { link: u32 },
    /// Set the longest packet.
    SetMtu { link: u32, mtu: u32 },
    /// Give or take an address.
    Address { link: u32, address: IpAddr, prefix: u8, change: Change },
    /// Give an address for so many seconds, or for longer if it is there. What else is on the link
    /// it does not say.
    Leased { link: u32, address: Ipv6Addr, preferred: u32, valid: u32 },
    /// Give or take a route.
    Route { route: Route, change: Change },
}

/// Give or take away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Add,
    Remove,
}

/// A route through a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) link: u32,
    pub(super) destination: IpAddr,
    pub(super) prefix: u8,
    /// `None` when the destination is on the link itself.
    pub(super) gateway: Option<IpAddr>,
    /// The address that packets on this route come from; `None` leaves it to the kernel, which
    /// for IPv6 refuses one that it still checks for duplicates.
    pub(super) source: Option<Ipv4Addr>,
    /// Of several routes to one destination the lowest wins.
    pub(super) metric: u32,
}

impl Query {
    /// The message, with the number that its answer will carry.
    pub(super) fn encode(&self, sequence: u32) -> Vec<u8> {
        match *self {
            Self::Links | Self::Routers => {
                let mut message = Message::new(RTM_GETLINK, REQUEST | DUMP, sequence);
                message.link_header(0, 0, 0);
                if *self == Self::Routers {
                    message.bytes[HEADER] = AF_INET6;
                }
                message.finish()
            }
            Self::Addresses => {
                let mut message = Message::new(RTM_GETADDR, REQUEST | DUMP, sequence);
                message.bytes.extend([AF_INET6, 0, 0, 0, 0, 0, 0, 0]);
                message.finish()
            }
            Self::SetUp { link } => {
                let mut message = Message::new(RTM_NEWLINK, REQUEST | ACK, sequence);
                message.link_header(link, IFF_UP, IFF_UP);
                message.finish()
            }
            Self::SetMtu { link, mtu } => {
                let mut message = Message::new(RTM_NEWLINK, REQUEST | ACK, sequence);
                message.link_header(link, 0, 0);
                message.attribute(IFLA_MTU, &mtu.to_ne_bytes());
                message.finish()
            }
            Self::Address { link, address, prefix, change } => {
                let (kind, flags) = match change {
                    Change::Add => (RTM_NEWADDR, REQUEST | ACK | CREATE | REPLACE),
                    Change::Remove => (RTM_DELADDR, REQUEST | ACK),
                };
                let mut message = Message::new(kind, flags, sequence);
                message.bytes.extend([family(address), prefix, 0, RT_SCOPE_UNIVERSE]);
                message.bytes.extend(link.to_ne_bytes());
                message.address(IFA_LOCAL, address);
                message.address(IFA_ADDRESS, address);
                if let IpAddr::V4(address) = address
                    && prefix < 31
                {
                    let hosts = !super::dhcp::message::mask_of(prefix);
                    let broadcast = Ipv4Addr::from_bits(address.to_bits() | hosts);
                    message.address(IFA_BROADCAST, broadcast.into());
                }
                message.finish()
            }
            Self::Leased { link, address, preferred, valid } => {
                let flags = REQUEST | ACK | CREATE | REPLACE;
                let mut message = Message::new(RTM_NEWADDR, flags, sequence);
                message.bytes.extend([AF_INET6, 128, 0, RT_SCOPE_UNIVERSE]);
                message.bytes.extend(link.to_ne_bytes());
                message.address(IFA_LOCAL, address.into());
                message.attribute(IFA_FLAGS, &IFA_F_NOPREFIXROUTE.to_ne_bytes());
                // `struct ifa_cacheinfo`; the kernel knows when that was.
                let life = [preferred, valid, 0, 0].map(u32::to_ne_bytes);
                message.attribute(IFA_CACHEINFO, life.as_flattened());
                message.finish()
            }
            Self::Route { route, change } => {
                let (kind, flags) = match change {
                    Change::Add => (RTM_NEWROUTE, REQUEST | ACK | CREATE | REPLACE),
                    Change::Remove => (RTM_DELROUTE, REQUEST | ACK),
                };
                let mut message = Message::new(kind, flags, sequence);
                message.route(&route);
                message.finish()
            }
        }
    }
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn new(kind: u16, flags: u16, sequence: u32) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        Self { bytes }
    }

    fn link_header(&mut self, link: u32, flags: u32, mask: u32) {
        self.bytes.extend([0; 4]);
        for word in [link, flags, mask] {
            self.bytes.extend(word.to_ne_bytes());
        }
    }

    fn route(&mut self, route: &Route) {
        let scope = if route.gateway.is_some() { RT_SCOPE_UNIVERSE } else { RT_SCOPE_LINK };
        let flags = if route.gateway.is_some() { RTNH_F_ONLINK } else { 0 };
        self.bytes.extend([family(route.destination), route.prefix, 0, 0]);
        self.bytes.extend([RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST]);
        self.bytes.extend(flags.to_ne_bytes());
        self.address(RTA_DST, route.destination);
        self.attribute(RTA_OIF, &route.link.to_ne_bytes());
        if let Some(gateway) = route.gateway {
            self.address(RTA_GATEWAY, gateway);
        }
        if let Some(source) = route.source {
            self.address(RTA_PREFSRC, source.into());
        }
        self.attribute(RTA_PRIORITY, &route.metric.to_ne_bytes());
    }

    fn address(&mut self, kind: u16, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.attribute(kind, &address.octets()),
            IpAddr::V6(address) => self.attribute(kind, &address.octets()),
        }
    }

    /// `value` has four or sixteen bytes in all that we send: no padding is needed.
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend(u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn an_address_is_encoded_with_its_broadcast_address() {
        let address = Ipv4Addr::new(10, 0, 2, 15).into();
        let query = Query::Address { link: 2, address, prefix: 24, change: Change::Add };
        let bytes = query.encode(5);
        assert_eq!(bytes[..4], 48_u32.to_ne_bytes());
        assert_eq!(bytes[4..6], RTM_NEWADDR.to_ne_bytes());
        assert_eq!(bytes[16..20], [2, 24, 0, 0]);
        assert_eq!(bytes[bytes.len() - 4..], [10, 0, 2, 255]);
        let host = Query::Address { link: 2, address, prefix: 32, change: Change::Remove };
        assert_eq!(host.encode(5).len(), 40);
    }

    #[test]
    fn an_ipv6_address_has_sixteen_bytes_and_no_broadcast_address() {
        let address = "2001:db8::10".parse().unwrap();
        let bytes = Query::Address { link: 2, address, prefix: 64, change: Change::Add }.encode(1);
        assert_eq!(bytes.len(), 16 + 8 + 20 + 20);
        assert_eq!(bytes[16..20], [AF_INET6, 64, 0, 0]);
        assert_eq!(bytes[24..28], [20, 0, 2, 0]);
        assert_eq!(bytes[28..32], [0x20, 0x01, 0x0d, 0xb8]);
    }

    #[test]
    fn a_gateway_is_reached_even_if_no_prefix_covers_it() {
        let route = Route {
            link: 2,
            destination: Ipv4Addr::UNSPECIFIED.into(),
            prefix: 0,
            gateway: Some(Ipv4Addr::new(10, 128, 0, 1).into()),
            source: Some(Ipv4Addr::new(10, 128, 0, 7)),
            metric: 102,
        };
        let flags = |route| {
            let bytes = Query::Route { route, change: Change::Add }.encode(1);
            (bytes[22], u32_at(&bytes, 24))
        };
        assert_eq!(flags(route), (RT_SCOPE_UNIVERSE, RTNH_F_ONLINK));
        assert_eq!(flags(Route { gateway: None, ..route }), (RT_SCOPE_LINK, 0));
    }
}
