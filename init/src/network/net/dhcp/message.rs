//! DHCP messages in UDP in IPv4: RFC 2131, options of RFC 2132, classless routes of RFC 3442.
//!
//! A link without an address cannot use the kernel's UDP, so the IP and UDP headers are made and
//! read here too. What arrives is anybody's: every length is checked, nothing panics.

use std::net::Ipv4Addr;

use crate::net::dns;

/// The ports of server and client.
pub(crate) const SERVER_PORT: u16 = 67;
pub(crate) const CLIENT_PORT: u16 = 68;

const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Fixed fields before the cookie.
const FIXED: usize = 236;
/// Some old servers drop what is shorter than a BOOTP message.
const SHORTEST: usize = 300;
/// "Answer to everyone": we have no address that an answer could be sent to.
const BROADCAST_FLAG: u16 = 0x8000;
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;
/// What glibc once took, and more than a node needs.
const MOST_DOMAINS: usize = 6;

/// Option 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Discover,
    Offer,
    Request,
    Ack,
    Nak,
    Release,
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) kind: Kind,
    pub(crate) transaction: u32,
    pub(crate) mac: [u8; 6],
    /// Since the client began, for servers that prefer who waits long.
    pub(crate) seconds: u16,
    /// Our own address, when it is in use (renewal).
    pub(crate) own: Ipv4Addr,
    /// Option 50: the address that we would like.
    pub(crate) wanted: Option<Ipv4Addr>,
    /// Option 54: the server that we have chosen.
    pub(crate) server: Option<Ipv4Addr>,
}

/// What a server answers. Options which are absent or malformed are `None` or empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) kind: Kind,
    pub(crate) transaction: u32,
    pub(crate) mac: [u8; 6],
    /// The address that is ours now.
    pub(crate) address: Ipv4Addr,
    pub(crate) server: Option<Ipv4Addr>,
    pub(crate) mask: Option<Ipv4Addr>,
    pub(crate) routers: Vec<Ipv4Addr>,
    pub(crate) dns: Vec<Ipv4Addr>,
    pub(crate) hostname: Option<String>,
    /// Options 119 and 15: where names without a domain are looked for.
    pub(crate) search: Vec<String>,
    /// Option 42: who knows the time.
    pub(crate) ntp: Vec<Ipv4Addr>,
    pub(crate) mtu: Option<u16>,
    pub(crate) lease: Option<u32>,
    pub(crate) renewal: Option<u32>,
    pub(crate) rebinding: Option<u32>,
    /// Option 121; when a server sends it, its `routers` do not count.
    pub(crate) routes: Vec<Route>,
}

/// A way to `destination`/`prefix`; a gateway of 0.0.0.0 means that it is on the link itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) destination: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) gateway: Ipv4Addr,
}

impl Kind {
    const ALL: [(u8, Self); 6] = [
        (1, Self::Discover),
        (2, Self::Offer),
        (3, Self::Request),
        (5, Self::Ack),
        (6, Self::Nak),
        (7, Self::Release),
    ];

    fn code(self) -> u8 {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or(0, |(code, _)| *code)
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == code).map(|(_, kind)| *kind)
    }
}

impl Question {
    /// The message alone, for a UDP socket. `hostname` is what we are called, for the server's list
    /// and its DNS (option 12).
    pub(crate) fn encode(&self, hostname: Option<&str>) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        bytes[0] = REQUEST;
        bytes[1] = 1; // Ethernet
        bytes[2] = 6; // bytes of its addresses
        bytes[4..8].copy_from_slice(&self.transaction.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.seconds.to_be_bytes());
        if self.own.is_unspecified() {
            bytes[10..12].copy_from_slice(&BROADCAST_FLAG.to_be_bytes());
        }
        bytes[12..16].copy_from_slice(&self.own.octets());
        bytes[28..34].copy_from_slice(&self.mac);
        bytes.extend(COOKIE);

        let mut option = |code: u8, value: &[u8]| {
            bytes.push(code);
            bytes.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
            bytes.extend(value);
        };
        option(53, &[self.kind.code()]);
        let mut client = vec![1]; // Ethernet
        client.extend(self.mac);
        option(61, &client);
        if let Some(wanted) = self.wanted {
            option(50, &wanted.octets());
        }
        if let Some(server) = self.server {
            option(54, &server.octets());
        }
        if matches!(self.kind, Kind::Discover | Kind::Request) {
            // Mask, classless routes (before routers, RFC 3442), routers, DNS, host name, MTU,
            // lease, renewal, rebinding, domain, domains, NTP servers.
            option(55, &[1, 121, 3, 6, 12, 26, 51, 58, 59, 15, 119, 42]);
            option(57, &1500_u16.to_be_bytes());
            // Servers disagree about dots in it, and about their own domain behind it.
            if let Some(label) = hostname.and_then(|name| name.split('.').next()) {
                option(12, label.as_bytes());
            }
        }
        bytes.push(255);
        bytes.resize(bytes.len().max(SHORTEST), 0);
        bytes
    }

    /// The message in an IPv4 packet to everyone.
    pub(crate) fn encode_packet(&self, hostname: Option<&str>) -> Vec<u8> {
        let message = self.encode(hostname);
        let total = u16::try_from(IP_HEADER + UDP_HEADER + message.len()).unwrap_or(u16::MAX);
        let udp_length = u16::try_from(UDP_HEADER + message.len()).unwrap_or(u16::MAX);
        let (from, to) = (self.own, Ipv4Addr::BROADCAST);

        let mut udp = Vec::with_capacity(UDP_HEADER + message.len());
        udp.extend(CLIENT_PORT.to_be_bytes());
        udp.extend(SERVER_PORT.to_be_bytes());
        udp.extend(udp_length.to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(message);
        let mut pseudo = Vec::from(from.octets());
        pseudo.extend(to.octets());
        pseudo.extend([0, UDP]);
        pseudo.extend(udp_length.to_be_bytes());
        pseudo.extend(&udp);
        // A sum of 0 would say "no checksum" (RFC 768).
        let sum = match checksum(&pseudo) {
            0 => u16::MAX,
            sum => sum,
        };
        udp[6..8].copy_from_slice(&sum.to_be_bytes());

        // Version 4, five words, low-delay service, no fragment, 64 hops.
        let mut ip = vec![0x45, 0x10];
        ip.extend(total.to_be_bytes());
        ip.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
        ip.extend(from.octets());
        ip.extend(to.octets());
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        ip.extend(udp);
        ip
    }
}

impl Answer {
    /// Reads an IPv4 packet; `None` if it is not a server's DHCP message to a client.
    ///
    /// UDP's checksum is not looked at: a virtual machine's neighbour leaves it to a network card
    /// that is not there, and the packet reaches us without.
    pub(crate) fn parse_packet(packet: &[u8]) -> Option<Self> {
        let first = *packet.first()?;
        let header = usize::from(first & 0xf) * 4;
        let total = usize::from(u16_at(packet, 2)?);
        let fragment = u16_at(packet, 6)? & 0x3fff;
        let is_udp = first >> 4 == 4 && header >= IP_HEADER && *packet.get(9)? == UDP;
        if !is_udp || fragment != 0 || checksum(packet.get(..header)?) != 0 {
            return None;
        }
        // Ethernet pads short packets: what counts is the length in the header.
        let udp = packet.get(header..total)?;
        let length = usize::from(u16_at(udp, 4)?);
        if u16_at(udp, 0)? != SERVER_PORT || u16_at(udp, 2)? != CLIENT_PORT {
            return None;
        }
        Self::parse(udp.get(UDP_HEADER..length)?)
    }

    /// Reads a message; `None` if it is not a server's DHCP message.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        if message.get(..3)? != [REPLY, 1, 6] || message.get(FIXED..FIXED + 4)? != COOKIE {
            return None;
        }
        let options = Options::collect(message)?;
        let kind = match options.get(53) {
            Some([code]) => Kind::from_code(*code)?,
            _ => return None,
        };
        if !matches!(kind, Kind::Offer | Kind::Ack | Kind::Nak) {
            return None;
        }
        let seconds = |code| options.array(code).map(u32::from_be_bytes);
        Some(Self {
            kind,
            transaction: u32::from_be_bytes(array_at(message, 4)?),
            mac: array_at(message, 28)?,
            address: address_at(message, 16)?,
            server: options.array(54).map(Ipv4Addr::from),
            mask: options.array(1).map(Ipv4Addr::from),
            routers: options.addresses(3),
            dns: options.addresses(6),
            hostname: options.get(12).and_then(host_name),
            search: search(options.get(119), options.get(15)),
            ntp: options.addresses(42),
            mtu: options.array(26).map(u16::from_be_bytes),
            lease: seconds(51),
            renewal: seconds(58),
            rebinding: seconds(59),
            routes: options.get(121).and_then(classless_routes).unwrap_or_default(),
        })
    }
}

/// The options by their codes. Pieces of a long option are joined (RFC 3396).
struct Options(Vec<(u8, Vec<u8>)>);

impl Options {
    /// `None` if an option is cut off.
    fn collect(message: &[u8]) -> Option<Self> {
        let mut options = Self(Vec::new());
        options.take(message.get(FIXED + 4..)?)?;
        // Option 52: the fields for a boot file and a server's name hold more options.
        let overload = options.get(52).and_then(|value| value.first().copied()).unwrap_or(0);
        if overload & 1 == 1 {
            options.take(message.get(108..236)?)?;
        }
        if overload & 2 == 2 {
            options.take(message.get(44..108)?)?;
        }
        Some(options)
    }

    fn take(&mut self, mut bytes: &[u8]) -> Option<()> {
        loop {
            match bytes {
                [] | [255, ..] => return Some(()),
                [0, rest @ ..] => bytes = rest,
                [code, length, rest @ ..] => {
                    let value = rest.get(..usize::from(*length))?;
                    match self.0.iter_mut().find(|(known, _)| known == code) {
                        Some((_, known)) => known.extend(value),
                        None => self.0.push((*code, value.to_vec())),
                    }
                    bytes = &rest[value.len()..];
                }
                [_] => return None,
            }
        }
    }

    fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| *known == code).map(|(_, value)| value.as_slice())
    }

    fn array<const N: usize>(&self, code: u8) -> Option<[u8; N]> {
        self.get(code)?.get(..N)?.try_into().ok()
    }

    fn addresses(&self, code: u8) -> Vec<Ipv4Addr> {
        let bytes = self.get(code).unwrap_or_default();
        let four = bytes.chunks_exact(4).filter_map(|four| <[u8; 4]>::try_from(four).ok());
        four.map(Ipv4Addr::from).collect()
    }
}

/// The first label of a name, if it is one that a host can have: it becomes the node's name and
/// stands in `/etc/hosts`.
fn host_name(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end_matches('\0');
    let label = text.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let fits = (1..=63).contains(&label.len());
    let known = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let good = fits && known && !label.starts_with('-') && !label.ends_with('-');
    // Some servers know no better; it would name the loopback's address.
    (good && label != "localhost").then_some(label)
}

/// The list of option 119 (RFC 3397: names as in DNS, which may point back into the option), else
/// the one domain of option 15.
pub(crate) fn search(list: Option<&[u8]>, domain: Option<&[u8]>) -> Vec<String> {
    let mut domains = Vec::new();
    let list = list.unwrap_or_default();
    let mut at = 0;
    while at < list.len() && domains.len() < MOST_DOMAINS {
        let Some((name, next)) = dns::name_at(list, at) else { break };
        domains.extend(dns::is_host_name(&name).then_some(name));
        at = next;
    }
    if domains.is_empty()
        && let Some(text) = domain.and_then(|domain| std::str::from_utf8(domain).ok())
    {
        let text = text.trim_end_matches(['\0', '.']).to_ascii_lowercase();
        domains.extend(dns::is_host_name(&text).then_some(text));
    }
    domains
}

/// RFC 3442: the prefix, only the bytes of the destination that it covers, the gateway.
fn classless_routes(mut bytes: &[u8]) -> Option<Vec<Route>> {
    let mut routes = Vec::new();
    while let [prefix, rest @ ..] = bytes {
        let covered = usize::from(prefix.div_ceil(8));
        let mut destination = [0; 4];
        destination.get_mut(..covered)?.copy_from_slice(rest.get(..covered)?);
        let gateway = address_at(rest, covered)?;
        routes.push(Route {
            destination: Ipv4Addr::from_bits(u32::from_be_bytes(destination) & mask_of(*prefix)),
            prefix: *prefix,
            gateway,
        });
        bytes = &rest[covered + 4..];
    }
    Some(routes)
}

/// The network mask with this many ones; more than 32 are 32.
pub(crate) fn mask_of(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

/// The Internet checksum (RFC 1071); 0 over bytes that hold their own.
fn checksum(bytes: &[u8]) -> u16 {
    let pairs = bytes.chunks(2);
    let words = pairs.map(|pair| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    let mut sum = words.fold(0_u64, |sum, word| sum + u64::from(word));
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_be_bytes)
}

fn address_at(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    array_at::<4>(bytes, at).map(Ipv4Addr::from)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn discover() -> Question {
        Question {
            kind: Kind::Discover,
            transaction: 0x0102_0304,
            mac: MAC,
            seconds: 3,
            own: Ipv4Addr::UNSPECIFIED,
            wanted: None,
            server: None,
        }
    }

    /// A server's message with these options, the end marker included by the caller.
    fn reply(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED];
        bytes[..3].copy_from_slice(&[REPLY, 1, 6]);
        bytes[4..8].copy_from_slice(&0x0102_0304_u32.to_be_bytes());
        bytes[16..20].copy_from_slice(&[10, 0, 2, 15]);
        bytes[28..34].copy_from_slice(&MAC);
        bytes.extend(COOKIE);
        bytes.extend(options);
        bytes
    }

    fn packet(message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x45, 0];
        bytes.extend(u16::try_from(28 + message.len()).unwrap().to_be_bytes());
        bytes.extend([0, 0, 0, 0, 64, UDP, 0, 0, 10, 0, 2, 2, 255, 255, 255, 255]);
        let sum = checksum(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(SERVER_PORT.to_be_bytes());
        bytes.extend(CLIENT_PORT.to_be_bytes());
        bytes.extend(u16::try_from(8 + message.len()).unwrap().to_be_bytes());
        bytes.extend([0xde, 0xad]);
        bytes.extend(message);
        bytes
    }

    #[test]
    fn a_discover_has_the_fields_that_servers_look_at() {
        let bytes = discover().encode(None);
        assert_eq!(bytes.len(), SHORTEST);
        assert_eq!(bytes[..12], [1, 1, 6, 0, 1, 2, 3, 4, 0, 3, 0x80, 0]);
        assert_eq!(bytes[28..34], MAC);
        assert_eq!(bytes[236..240], COOKIE);
        assert_eq!(bytes[240..243], [53, 1, 1]);
        assert_eq!(bytes[243..252], [61, 7, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    }

    #[test]
    fn the_server_is_told_the_first_label_of_the_name() {
        let bytes = discover().encode(Some("worker-1.example.internal"));
        let option = [&[12, 8][..], b"worker-1"].concat();
        assert!(bytes.windows(option.len()).any(|part| part == option), "{bytes:?}");
        assert!(!discover().encode(None)[240..].windows(2).any(|part| part == [12, 8]));
    }

    #[test]
    fn a_renewal_is_not_answered_to_everyone() {
        let own = Ipv4Addr::new(10, 0, 2, 15);
        let bytes = Question { kind: Kind::Request, own, ..discover() }.encode(None);
        assert_eq!(bytes[10..16], [0, 0, 10, 0, 2, 15]);
    }

    #[test]
    fn the_packet_has_right_checksums() {
        let bytes = discover().encode_packet(None);
        assert_eq!(checksum(&bytes[..20]), 0);
        let length = u16::try_from(bytes.len() - 20).unwrap();
        let mut pseudo = bytes[12..20].to_vec();
        pseudo.extend([0, UDP]);
        pseudo.extend(length.to_be_bytes());
        pseudo.extend(&bytes[20..]);
        assert_eq!(checksum(&pseudo), 0);
    }

    #[test]
    fn an_offer_is_read_with_all_that_we_use() {
        let options = [
            &[53, 1, 2, 54, 4, 10, 0, 2, 2, 1, 4, 255, 255, 255, 0][..],
            &[3, 8, 10, 0, 2, 2, 10, 0, 2, 9, 6, 4, 10, 0, 2, 3],
            &[12, 12, b'W', b'o', b'r', b'k', b'e', b'r', b'-', b'1', b'.', b'l', b'a', b'n'],
            &[26, 2, 0x05, 0xb4, 51, 4, 0, 1, 0x51, 0x80, 58, 4, 0, 0, 0xa8, 0xc0],
            &[42, 4, 10, 0, 2, 4, 119, 9, 3, b'l', b'a', b'n', 0, 1, b'x', 0xc0, 0],
            &[121, 14, 0, 10, 0, 2, 1, 32, 169, 254, 169, 254, 10, 0, 2, 7, 255],
        ]
        .concat();
        let want = Answer {
            kind: Kind::Offer,
            transaction: 0x0102_0304,
            mac: MAC,
            address: Ipv4Addr::new(10, 0, 2, 15),
            server: Some(Ipv4Addr::new(10, 0, 2, 2)),
            mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            routers: vec![Ipv4Addr::new(10, 0, 2, 2), Ipv4Addr::new(10, 0, 2, 9)],
            dns: vec![Ipv4Addr::new(10, 0, 2, 3)],
            hostname: Some("worker-1".to_owned()),
            search: vec!["lan".to_owned(), "x.lan".to_owned()],
            ntp: vec![Ipv4Addr::new(10, 0, 2, 4)],
            mtu: Some(1460),
            lease: Some(86_400),
            renewal: Some(43_200),
            rebinding: None,
            routes: vec![
                Route {
                    destination: Ipv4Addr::UNSPECIFIED,
                    prefix: 0,
                    gateway: Ipv4Addr::new(10, 0, 2, 1),
                },
                Route {
                    destination: Ipv4Addr::new(169, 254, 169, 254),
                    prefix: 32,
                    gateway: Ipv4Addr::new(10, 0, 2, 7),
                },
            ],
        };
        assert_eq!(Answer::parse(&reply(&options)).as_ref(), Some(&want));
        let mut padded = packet(&reply(&options));
        padded.extend([0; 40]);
        assert_eq!(Answer::parse_packet(&padded), Some(want));
    }

    #[test]
    fn options_may_be_in_pieces_and_in_the_unused_fields() {
        let mut message = reply(&[53, 1, 5, 6, 2, 10, 0, 0, 6, 2, 2, 3, 52, 1, 1, 255]);
        message[108..115].copy_from_slice(&[51, 4, 0, 0, 0, 60, 255]);
        let answer = Answer::parse(&message).unwrap();
        assert_eq!(answer.dns, [Ipv4Addr::new(10, 0, 2, 3)]);
        assert_eq!(answer.lease, Some(60));
    }

    #[test]
    fn what_is_no_answer_is_ignored() {
        let ack = reply(&[53, 1, 5, 255]);
        assert!(Answer::parse(&ack).is_some());
        let changed = |at: usize, value: u8| {
            let mut message = ack.clone();
            message[at] = value;
            Answer::parse(&message)
        };
        assert_eq!(changed(0, REQUEST), None, "a question");
        assert_eq!(changed(236, 0), None, "BOOTP without DHCP");
        assert_eq!(changed(242, 1), None, "a discover from a server");
        assert_eq!(changed(241, 200), None, "an option that is cut off");

        let good = packet(&ack);
        assert!(Answer::parse_packet(&good).is_some());
        for (at, value) in [(0, 0x65), (6, 0x20), (9, 6), (15, 9), (20, 1), (23, 67)] {
            let mut bytes = good.clone();
            bytes[at] = value;
            assert_eq!(Answer::parse_packet(&bytes), None, "byte {at}");
        }
    }

    #[test]
    fn a_host_name_is_one_label_of_plain_characters() {
        for (bytes, want) in [
            (&b"node"[..], Some("node")),
            (b"NODE-7.example.com\0", Some("node-7")),
            (b"", None),
            (b".lan", None),
            (b"-a", None),
            (b"localhost.localdomain", None),
            (b"a-", None),
            (b"a b", None),
            (b"a\nb", None),
            (b"\xff", None),
        ] {
            assert_eq!(host_name(bytes).as_deref(), want);
        }
    }

    #[test]
    fn the_list_of_domains_goes_before_the_one_domain() {
        let list = [4, b't', b'e', b's', b't', 0, 1, b'a', 0xc0, 0];
        assert_eq!(search(Some(&list), Some(b"lan")), ["test", "a.test"]);
        assert_eq!(search(None, Some(b"Example.LAN.\0")), ["example.lan"]);
        assert_eq!(search(Some(&[9, 9]), Some(b"lan")), ["lan"], "a list that is cut off");
        for bad in [&b"a b"[..], b"a\nnameserver 192.0.2.1", b"", b"\xff"] {
            assert_eq!(search(None, Some(bad)), [""; 0]);
        }
    }

    #[test]
    fn masks_are_made_from_prefixes() {
        for (prefix, mask) in
            [(0, 0), (8, 0xff00_0000), (31, 0xffff_fffe), (32, u32::MAX), (40, u32::MAX)]
        {
            assert_eq!(mask_of(prefix), mask);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Answer::parse_packet(&bytes);
            let _ = Answer::parse(&bytes);
            let _ = Answer::parse(&reply(&bytes));
            let _ = Answer::parse_packet(&packet(&reply(&bytes)));
            let _ = classless_routes(&bytes);
            let _ = search(Some(&bytes), Some(&bytes));
        }
    }
}
