//! rtnetlink messages: the few requests that a node's links need, and reading what the kernel says
//! about links. Formats: include/uapi/linux/{netlink,rtnetlink,if_link,if_addr}.h; numbers are in
//! the machine's own order, addresses in the network's.

use std::net::Ipv4Addr;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const REPLACE: u16 = 0x100;
const CREATE: u16 = 0x400;

const AF_INET: u8 = 2;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_DHCP: u8 = 16;
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
/// The gateway is on the link although no prefix says so: clouds give /32 addresses.
const RTNH_F_ONLINK: u32 = 4;

const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;
const IFF_LOWER_UP: u32 = 0x1_0000;
const ARPHRD_ETHER: u16 = 1;

const HEADER: usize = 16;

/// A question to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    /// Tell of all links.
    Links,
    /// Switch the link on.
    SetUp { link: u32 },
    /// Set the longest packet.
    SetMtu { link: u32, mtu: u32 },
    /// Give or take an address.
    Address { link: u32, address: Ipv4Addr, prefix: u8, change: Change },
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
    pub(super) destination: Ipv4Addr,
    pub(super) prefix: u8,
    /// `None` when the destination is on the link itself.
    pub(super) gateway: Option<Ipv4Addr>,
    /// The address that packets on this route come from.
    pub(super) source: Ipv4Addr,
    /// Of several routes to one destination the lowest wins.
    pub(super) metric: u32,
}

/// What the kernel says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// There is this link, or it has changed.
    Link(Link),
    /// The link with this index has gone.
    LinkGone(u32),
    /// The answer to the request with this number: 0, or an errno.
    Answer { sequence: u32, errno: i32 },
    /// The end of a list.
    Done { sequence: u32 },
}

/// A link as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// `None` if it is not Ethernet.
    pub(super) mac: Option<[u8; 6]>,
    /// The bridge, bond or fail-over device that owns it.
    pub(super) master: Option<u32>,
    flags: u32,
}

impl Link {
    /// Switched on.
    pub(super) fn is_up(&self) -> bool {
        self.flags & IFF_UP != 0
    }

    /// Switched on, and the cable is in.
    pub(super) fn has_carrier(&self) -> bool {
        self.is_up() && self.flags & IFF_LOWER_UP != 0
    }

    /// Ethernet, and nobody's part.
    pub(super) fn is_free_ethernet(&self) -> bool {
        self.mac.is_some() && self.master.is_none() && self.flags & IFF_LOOPBACK == 0
    }
}

impl Query {
    /// The message, with the number that its answer will carry.
    pub(super) fn encode(&self, sequence: u32) -> Vec<u8> {
        match *self {
            Self::Links => {
                let mut message = Message::new(RTM_GETLINK, REQUEST | DUMP, sequence);
                message.link_header(0, 0, 0);
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
                message.bytes.extend([AF_INET, prefix, 0, RT_SCOPE_UNIVERSE]);
                message.bytes.extend(link.to_ne_bytes());
                message.attribute(IFA_LOCAL, &address.octets());
                message.attribute(IFA_ADDRESS, &address.octets());
                if prefix < 31 {
                    let hosts = !super::dhcp::message::mask_of(prefix);
                    let broadcast = Ipv4Addr::from_bits(address.to_bits() | hosts);
                    message.attribute(IFA_BROADCAST, &broadcast.octets());
                }
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

/// All that is in one datagram. What we do not know, or what is cut off, is passed over.
pub(super) fn parse(mut bytes: &[u8]) -> Vec<News> {
    let mut news = Vec::new();
    while let Some(length) = u32_at(bytes, 0).and_then(|length| usize::try_from(length).ok()) {
        let Some(message) = bytes.get(..length).filter(|message| message.len() >= HEADER) else {
            break;
        };
        news.extend(parse_one(message));
        let next = length.saturating_add(3) & !3;
        bytes = bytes.get(next..).unwrap_or_default();
    }
    news
}

fn parse_one(message: &[u8]) -> Option<News> {
    let sequence = u32_at(message, 8)?;
    let payload = message.get(HEADER..)?;
    match u16_at(message, 4)? {
        NLMSG_ERROR => {
            let errno = i32::from_ne_bytes(array_at(payload, 0)?).checked_neg()?;
            Some(News::Answer { sequence, errno })
        }
        NLMSG_DONE => Some(News::Done { sequence }),
        RTM_NEWLINK => parse_link(payload).map(News::Link),
        // A bridge tells of a port that leaves it by a message of its own family (AF_BRIDGE).
        RTM_DELLINK if payload.first() == Some(&0) => u32_at(payload, 4).map(News::LinkGone),
        _ => None,
    }
}

fn parse_link(payload: &[u8]) -> Option<Link> {
    if *payload.first()? != 0 {
        return None;
    }
    let mut link = Link {
        index: u32_at(payload, 4)?,
        name: String::new(),
        mac: None,
        master: None,
        flags: u32_at(payload, 8)?,
    };
    let is_ethernet = u16_at(payload, 2)? == ARPHRD_ETHER;
    for (kind, value) in attributes(payload.get(16..)?) {
        match kind {
            IFLA_ADDRESS if is_ethernet => link.mac = value.try_into().ok(),
            IFLA_IFNAME => {
                let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
                link.name = String::from_utf8_lossy(name).into_owned();
            }
            IFLA_MASTER => link.master = u32_at(value, 0).filter(|master| *master != 0),
            _ => {}
        }
    }
    Some(link)
}

/// The attributes in order; ends at the first that is cut off.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)?;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
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
        self.bytes.extend([AF_INET, route.prefix, 0, 0]);
        self.bytes.extend([RT_TABLE_MAIN, RTPROT_DHCP, scope, RTN_UNICAST]);
        self.bytes.extend(flags.to_ne_bytes());
        self.attribute(RTA_DST, &route.destination.octets());
        self.attribute(RTA_OIF, &route.link.to_ne_bytes());
        if let Some(gateway) = route.gateway {
            self.attribute(RTA_GATEWAY, &gateway.octets());
        }
        self.attribute(RTA_PREFSRC, &route.source.octets());
        self.attribute(RTA_PRIORITY, &route.metric.to_ne_bytes());
    }

    /// `value` has four bytes in all that we send: no padding is needed.
    fn attribute(&mut self, kind: u16, value: &[u8; 4]) {
        self.bytes.extend(8_u16.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    /// A link message as the kernel would send it.
    fn link_message(kind: u16, flags: u32, hardware: u16, name: &str, master: u32) -> Vec<u8> {
        let mut message = Message::new(kind, 0, 0);
        message.bytes.extend([0, 0]);
        message.bytes.extend(hardware.to_ne_bytes());
        for word in [2, flags, 0] {
            message.bytes.extend(word.to_ne_bytes());
        }
        for (kind, value) in [(IFLA_IFNAME, format!("{name}\0").as_bytes()), (IFLA_ADDRESS, &MAC)] {
            message.bytes.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
            message.bytes.extend(kind.to_ne_bytes());
            message.bytes.extend(value);
            message.bytes.resize(message.bytes.len().next_multiple_of(4), 0);
        }
        message.attribute(IFLA_MASTER, &master.to_ne_bytes());
        message.finish()
    }

    fn link(flags: u32, hardware: u16, master: u32) -> Link {
        let news = parse(&link_message(RTM_NEWLINK, flags, hardware, "eth0", master));
        let [News::Link(link)] = news.as_slice() else { panic!("{news:?}") };
        link.clone()
    }

    #[test]
    fn a_link_is_read_with_its_name_address_and_state() {
        let up = link(IFF_UP | IFF_LOWER_UP, ARPHRD_ETHER, 0);
        assert_eq!((up.index, up.name.as_str(), up.mac, up.master), (2, "eth0", Some(MAC), None));
        assert!(up.is_up() && up.has_carrier() && up.is_free_ethernet());
        assert!(!link(IFF_UP, ARPHRD_ETHER, 0).has_carrier(), "the cable is out");
        assert!(!link(IFF_LOWER_UP, ARPHRD_ETHER, 0).has_carrier(), "switched off");
        assert!(!link(IFF_UP, ARPHRD_ETHER, 9).is_free_ethernet(), "a bridge's port");
        assert!(!link(IFF_UP | IFF_LOOPBACK, 772, 0).is_free_ethernet(), "lo");
        assert!(!link(IFF_UP, 512, 0).is_free_ethernet(), "ppp");
    }

    #[test]
    fn a_datagram_may_hold_several_messages() {
        let mut bytes = link_message(RTM_NEWLINK, 0, ARPHRD_ETHER, "eth10", 0);
        bytes.extend(link_message(RTM_DELLINK, 0, ARPHRD_ETHER, "eth1", 0));
        bytes.extend(Message::new(NLMSG_DONE, 0, 7).finish());
        let mut refused = Message::new(NLMSG_ERROR, 0, 8);
        refused.bytes.extend((-17_i32).to_ne_bytes());
        bytes.extend(refused.finish());
        let news = parse(&bytes);
        assert!(matches!(&news[0], News::Link(link) if link.name == "eth10"));
        assert_eq!(
            news[1..],
            [
                News::LinkGone(2),
                News::Done { sequence: 7 },
                News::Answer { sequence: 8, errno: 17 }
            ]
        );
    }

    #[test]
    fn a_bridges_own_news_of_its_port_is_not_the_links_end() {
        let mut bytes = link_message(RTM_DELLINK, 0, ARPHRD_ETHER, "eth0", 0);
        bytes[HEADER] = 7; // AF_BRIDGE
        assert_eq!(parse(&bytes), []);
    }

    #[test]
    fn an_address_is_encoded_with_its_broadcast_address() {
        let address = Ipv4Addr::new(10, 0, 2, 15);
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
    fn a_gateway_is_reached_even_if_no_prefix_covers_it() {
        let route = Route {
            link: 2,
            destination: Ipv4Addr::UNSPECIFIED,
            prefix: 0,
            gateway: Some(Ipv4Addr::new(10, 128, 0, 1)),
            source: Ipv4Addr::new(10, 128, 0, 7),
            metric: 102,
        };
        let flags = |route| {
            let bytes = Query::Route { route, change: Change::Add }.encode(1);
            (bytes[22], u32_at(&bytes, 24).unwrap())
        };
        assert_eq!(flags(route), (RT_SCOPE_UNIVERSE, RTNH_F_ONLINK));
        assert_eq!(flags(Route { gateway: None, ..route }), (RT_SCOPE_LINK, 0));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0_u16..32,
        ) {
            parse(&bytes);
            if bytes.len() >= HEADER {
                let length = u32::try_from(bytes.len()).unwrap();
                bytes[..4].copy_from_slice(&length.to_ne_bytes());
                bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
                bytes[16..].iter_mut().take(1).for_each(|family| *family = 0);
                parse(&bytes);
            }
        }

        #[test]
        fn wild_attributes_do_not_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut message = Message::new(RTM_NEWLINK, 0, 0);
            message.link_header(2, 0, 0);
            message.bytes.extend(bytes);
            parse(&message.finish());
        }
    }
}
