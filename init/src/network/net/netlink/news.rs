//! What the kernel says by rtnetlink: links, their IPv6 addresses, and the name servers that
//! routers announce (RFC 8106, passed on by the kernel as it read them).

use std::net::Ipv6Addr;

use super::HEADER;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWPREFIX: u16 = 52;
const RTM_NEWNDUSEROPT: u16 = 68;

const AF_INET6: u8 = 10;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_INET6_FLAGS: u16 = 1;
/// Of a kernel's header that programs do not get, `include/net/if_inet6.h`: the flags of RFC 4861,
/// section 4.2.
const IF_RA_MANAGED: u32 = 0x40;
const IF_RA_OTHERCONF: u32 = 0x80;
const IFA_ADDRESS: u16 = 1;
const IFA_FLAGS: u16 = 8;
const RT_SCOPE_LINK: u8 = 253;

const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;
const IFF_LOWER_UP: u32 = 0x1_0000;
const ARPHRD_ETHER: u16 = 1;
/// `NLA_F_NESTED`, a mark at a kind.
const NESTED: u16 = 0x8000;

/// An address that changes by itself (RFC 8981): nobody should know a node by it.
const IFA_F_TEMPORARY: u32 = 0x01;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_DEPRECATED: u32 = 0x20;
const IFA_F_TENTATIVE: u32 = 0x40;
const UNUSABLE: u32 = IFA_F_TEMPORARY | IFA_F_DADFAILED | IFA_F_DEPRECATED | IFA_F_TENTATIVE;

const ND_ROUTER_ADVERT: u8 = 134;
/// RFC 8106: recursive DNS servers.
const ND_RDNSS: u8 = 25;

/// What the kernel says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// There is this link, or it has changed.
    Link(Link),
    /// The link with this index has gone.
    LinkGone(u32),
    /// A link has this IPv6 address, or it has changed.
    Address(Address),
    /// A router announces name servers.
    NameServers(NameServers),
    /// What routers leave to DHCPv6: addresses, and who knows names. Comes when that changes.
    Router { link: u32, managed: bool, other: bool },
    /// A router on this link has announced a prefix.
    Prefix(u32),
    /// The answer to the request with this number: 0, or an errno.
    Answer { sequence: u32, errno: i32 },
    /// The end of a list.
    Done { sequence: u32 },
}

/// A link as the kernel describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// `None` if it is not Ethernet.
    pub(crate) mac: Option<[u8; 6]>,
    /// The bridge, bond or fail-over device that owns it.
    pub(crate) master: Option<u32>,
    flags: u32,
}

/// An IPv6 address that is good beyond its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) link: u32,
    pub(crate) address: Ipv6Addr,
    pub(crate) prefix: u8,
    /// Not while the kernel still looks for another that has it, nor when it is to be given up.
    pub(crate) usable: bool,
    /// Another node on the link has it.
    pub(crate) taken: bool,
    /// The link has it no more.
    pub(crate) gone: bool,
}

/// What a router says of name servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameServers {
    pub(crate) link: u32,
    /// In seconds; 0 takes them back.
    pub(crate) lifetime: u32,
    pub(crate) servers: Vec<Ipv6Addr>,
}

impl Link {
    /// Switched on.
    pub(crate) fn is_up(&self) -> bool {
        self.flags & IFF_UP != 0
    }

    /// Switched on, and the cable is in.
    pub(crate) fn has_carrier(&self) -> bool {
        self.is_up() && self.flags & IFF_LOWER_UP != 0
    }

    /// Ethernet, and nobody's part.
    pub(crate) fn is_free_ethernet(&self) -> bool {
        self.mac.is_some() && self.master.is_none() && self.flags & IFF_LOOPBACK == 0
    }
}

/// All that is in one datagram. What we do not know, or what is cut off, is passed over.
pub(crate) fn parse(mut bytes: &[u8]) -> Vec<News> {
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
        RTM_NEWLINK if payload.first() == Some(&AF_INET6) => parse_router(payload),
        RTM_NEWLINK => parse_link(payload).map(News::Link),
        // A bridge tells of a port that leaves it by a message of its own family (AF_BRIDGE).
        RTM_DELLINK if payload.first() == Some(&0) => u32_at(payload, 4).map(News::LinkGone),
        RTM_NEWADDR => parse_address(payload).map(News::Address),
        RTM_DELADDR => {
            let address = parse_address(payload)?;
            Some(News::Address(Address { usable: false, gone: true, ..address }))
        }
        // `struct prefixmsg`
        RTM_NEWPREFIX => u32_at(payload, 4).map(News::Prefix),
        RTM_NEWNDUSEROPT => parse_name_servers(payload).map(News::NameServers),
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

/// What the kernel has of routers, in a message of a link's IPv6.
fn parse_router(payload: &[u8]) -> Option<News> {
    let of = |bytes, wanted| attributes(bytes).find(|(kind, _)| *kind & !NESTED == wanted);
    let (_, ipv6) = of(payload.get(16..)?, IFLA_PROTINFO)?;
    let flags = u32_at(of(ipv6, IFLA_INET6_FLAGS)?.1, 0)?;
    let (managed, other) = (flags & IF_RA_MANAGED != 0, flags & IF_RA_OTHERCONF != 0);
    Some(News::Router { link: u32_at(payload, 4)?, managed, other })
}

/// `struct ifaddrmsg`; `None` for IPv4 and for what counts only on the link or the host.
fn parse_address(payload: &[u8]) -> Option<Address> {
    let [family, prefix, flags, scope] = array_at(payload, 0)?;
    if family != AF_INET6 || scope >= RT_SCOPE_LINK {
        return None;
    }
    let mut flags = u32::from(flags);
    let mut address = None;
    for (kind, value) in attributes(payload.get(8..)?) {
        match kind {
            IFA_ADDRESS => address = array_at::<16>(value, 0).map(Ipv6Addr::from),
            IFA_FLAGS => flags = u32_at(value, 0)?,
            _ => {}
        }
    }
    let (usable, taken) = (flags & UNUSABLE == 0, flags & IFA_F_DADFAILED != 0);
    let (link, address) = (u32_at(payload, 4)?, address?);
    Some(Address { link, address, prefix, usable, taken, gone: false })
}

/// `struct nduseroptmsg`, then the options as they were on the wire: type, length in units of
/// eight bytes, for RDNSS two reserved bytes, the lifetime, addresses.
fn parse_name_servers(payload: &[u8]) -> Option<NameServers> {
    if *payload.first()? != AF_INET6 || *payload.get(8)? != ND_ROUTER_ADVERT {
        return None;
    }
    let link = u32_at(payload, 4)?;
    let length = usize::from(u16_at(payload, 2)?);
    let mut options = payload.get(16..)?.get(..length)?;
    while let [kind, units, ..] = options {
        let length = usize::from(*units) * 8;
        let option = options.get(..length).filter(|option| option.len() >= 8)?;
        if *kind == ND_RDNSS {
            let addresses = option[8..].chunks_exact(16);
            let addresses = addresses.filter_map(|bytes| <[u8; 16]>::try_from(bytes).ok());
            return Some(NameServers {
                link,
                lifetime: u32::from_be_bytes(array_at(option, 4)?),
                servers: addresses.map(Ipv6Addr::from).collect(),
            });
        }
        options = &options[length..];
    }
    None
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
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::super::Message;
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
    fn a_routers_prefix_is_news_of_its_link() {
        let mut message = Message::new(RTM_NEWPREFIX, 0, 0);
        message.bytes.extend([AF_INET6, 0, 0, 0, 4, 0, 0, 0, 3, 64, 0, 0]);
        assert_eq!(parse(&message.finish()), [News::Prefix(4)]);
    }

    #[test]
    fn a_bridges_own_news_of_its_port_is_not_the_links_end() {
        let mut bytes = link_message(RTM_DELLINK, 0, ARPHRD_ETHER, "eth0", 0);
        bytes[HEADER] = 7; // AF_BRIDGE
        assert_eq!(parse(&bytes), []);
    }

    #[test]
    fn what_routers_leave_to_dhcpv6_is_read() {
        for (flags, managed, other) in
            [(0, false, false), (0x40, true, false), (0x80 | 0x20, false, true)]
        {
            let mut message = Message::new(RTM_NEWLINK, 0, 0);
            message.bytes.extend([AF_INET6, 0, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            message.attribute(IFLA_MASTER, &[0; 4]);
            message.attribute(
                IFLA_PROTINFO | NESTED,
                &[&8_u16.to_ne_bytes()[..], &1_u16.to_ne_bytes(), &u32::to_ne_bytes(flags)]
                    .concat(),
            );
            assert_eq!(parse(&message.finish()), [News::Router { link: 4, managed, other }]);
        }
    }

    /// `struct ifaddrmsg` with an address, as the kernel would send it.
    fn address_message(kind: u16, scope: u8, flags: u32) -> Vec<u8> {
        let mut message = Message::new(kind, 0, 0);
        message.bytes.extend([AF_INET6, 64, 0, scope]);
        message.bytes.extend(2_u32.to_ne_bytes());
        message.address(IFA_ADDRESS, IpAddr::V6("2001:db8::5".parse().unwrap()));
        message.attribute(IFA_FLAGS, &flags.to_ne_bytes());
        message.finish()
    }

    #[test]
    fn an_ipv6_address_counts_when_it_is_checked_and_good_beyond_the_link() {
        let usable = |kind, scope, flags| match parse(&address_message(kind, scope, flags))[..] {
            [News::Address(address)] => {
                assert_eq!((address.link, address.prefix), (2, 64));
                assert_eq!(address.address.to_string(), "2001:db8::5");
                assert_eq!(address.gone, kind == RTM_DELADDR);
                Some(address.usable)
            }
            _ => None,
        };
        for (kind, scope, flags, want) in [
            (RTM_NEWADDR, 0, 0x80, Some(true)),
            (RTM_NEWADDR, 200, 0, Some(true)),
            (RTM_NEWADDR, 0, IFA_F_TENTATIVE, Some(false)),
            (RTM_NEWADDR, 0, IFA_F_TEMPORARY, Some(false)),
            (RTM_DELADDR, 0, 0, Some(false)),
            (RTM_NEWADDR, RT_SCOPE_LINK, 0, None),
        ] {
            assert_eq!(usable(kind, scope, flags), want, "{kind} {scope} {flags}");
        }
    }

    /// What the kernel passes on of a router's announcement.
    fn router_message(options: &[u8]) -> Vec<u8> {
        let mut message = Message::new(RTM_NEWNDUSEROPT, 0, 0);
        message.bytes.extend([AF_INET6, 0]);
        message.bytes.extend(u16::try_from(options.len()).unwrap().to_ne_bytes());
        message.bytes.extend(3_u32.to_ne_bytes());
        message.bytes.extend([ND_ROUTER_ADVERT, 0, 0, 0, 0, 0, 0, 0]);
        message.bytes.extend(options);
        message.finish()
    }

    #[test]
    fn name_servers_of_a_router_are_read_with_their_lifetime() {
        let server: Ipv6Addr = "2001:db8::53".parse().unwrap();
        let mut options = vec![31, 1, 0, 0, 0, 0, 0, 0];
        options.extend([ND_RDNSS, 3, 0, 0, 0, 0, 2, 88]);
        options.extend(server.octets());
        let want = NameServers { link: 3, lifetime: 600, servers: vec![server] };
        assert_eq!(parse(&router_message(&options)), [News::NameServers(want)]);
        assert_eq!(parse(&router_message(&options[..30])), []);
        assert_eq!(parse(&router_message(&[ND_RDNSS, 0, 0, 0])), [], "a length of nothing");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0_u16..72,
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
        fn wild_addresses_and_options_do_not_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut message = Message::new(RTM_NEWADDR, 0, 0);
            message.bytes.extend([AF_INET6, 64, 0, 0, 2, 0, 0, 0]);
            message.bytes.extend(&bytes);
            parse(&message.finish());
            parse(&router_message(&bytes));
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
