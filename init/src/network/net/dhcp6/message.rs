//! DHCPv6 messages: RFC 8415, with options of RFC 3646 (name servers, domains), RFC 4704 (our name)
//! and RFC 5908 (time servers).
//!
//! What arrives is anybody's: every length is checked, nothing panics. Of an option that must not
//! come twice the last one counts; what we do not know is passed over.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::net::dhcp::message::search;

/// The ports of server and client.
pub(crate) const SERVER_PORT: u16 = 547;
pub(crate) const CLIENT_PORT: u16 = 546;
/// `All_DHCP_Relay_Agents_and_Servers`.
pub(crate) const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// Status codes that make a difference (RFC 8415, section 21.13).
pub(crate) const SUCCESS: u16 = 0;
pub(crate) const NO_BINDING: u16 = 3;
pub(crate) const NOT_ON_LINK: u16 = 4;

const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
/// An association of one of our links with its addresses, the only one that we ask for.
const IA_NA: u16 = 3;
const IA_ADDRESS: u16 = 5;
const WANTED: u16 = 6;
const PREFERENCE: u16 = 7;
const ELAPSED: u16 = 8;
const STATUS: u16 = 13;
const RAPID_COMMIT: u16 = 14;
const NAME_SERVERS: u16 = 23;
const DOMAINS: u16 = 24;
const REFRESH: u16 = 32;
const OWN_NAME: u16 = 39;
const TIME_SERVERS: u16 = 56;
const SOLICIT_LIMIT: u16 = 82;
const INFORM_LIMIT: u16 = 83;

/// "For ever" in seconds.
pub(crate) const FOREVER: u32 = u32::MAX;
/// Who offers more servers of a kind than this is not believed further.
pub(crate) const MOST_SERVERS: usize = 8;
/// A DUID is at most this long (RFC 8415, section 11.1).
const LONGEST_DUID: usize = 130;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Solicit = 1,
    Advertise = 2,
    Request = 3,
    Confirm = 4,
    Renew = 5,
    Rebind = 6,
    Reply = 7,
    Decline = 9,
    Inform = 11,
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) kind: Kind,
    /// Three bytes of it are sent.
    pub(crate) transaction: u32,
    pub(crate) mac: [u8; 6],
    /// Since the first message of the exchange.
    pub(crate) waited: Duration,
    /// The DUID of the server that is meant; without one all are.
    pub(crate) server: Option<Vec<u8>>,
    /// The addresses that it is about.
    pub(crate) addresses: Vec<Ipv6Addr>,
}

/// What a server answers to us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// An offer, and not yet the server's word.
    pub(crate) is_advertise: bool,
    pub(crate) transaction: u32,
    /// Its DUID.
    pub(crate) server: Vec<u8>,
    pub(crate) preference: u8,
    /// It gives at once what others would have to be asked for.
    pub(crate) rapid: bool,
    /// Of the message or of our association, whichever is bad.
    pub(crate) status: u16,
    /// T1 and T2 in seconds; 0 leaves them to us.
    pub(crate) renewal: u32,
    pub(crate) rebinding: u32,
    pub(crate) addresses: Vec<Address>,
    /// How seldom it wants to be asked, in seconds, by who asks in vain.
    pub(crate) solicit_limit: Option<u32>,
    pub(crate) inform_limit: Option<u32>,
    /// When who has no address from it shall ask again.
    pub(crate) refresh: Option<u32>,
    pub(crate) offered: Offered,
}

/// An address with the seconds for which new connections may have it, and for which it is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) address: Ipv6Addr,
    pub(crate) preferred: u32,
    /// 0 takes it back.
    pub(crate) valid: u32,
}

/// What a server tells beside addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) dns: Vec<Ipv6Addr>,
    pub(crate) search: Vec<String>,
    pub(crate) ntp: Vec<Ipv6Addr>,
}

/// Who we are to a server: a DUID-LL of Ethernet. It is the same at every boot and after a new
/// installation, it is known before the node first runs, and no copy of a disk has it, all of which a
/// number that is kept on STATE is not. Each link is a client of its own, for which card is found
/// first is not sure.
fn duid(mac: [u8; 6]) -> [u8; 10] {
    let [a, b, c, d, e, f] = mac;
    [0, 3, 0, 1, a, b, c, d, e, f]
}

/// The number of a link's association: links are counted anew at each boot, their addresses stay.
fn association_id(mac: [u8; 6]) -> [u8; 4] {
    let [_, _, id @ ..] = mac;
    id
}

impl Question {
    /// `hostname` is what we are called, for the server's list and its DNS.
    pub(crate) fn encode(&self, hostname: Option<&str>) -> Vec<u8> {
        let mut bytes = self.transaction.to_be_bytes().to_vec();
        bytes[0] = self.kind as u8;
        option(&mut bytes, CLIENT_ID, &duid(self.mac));
        if let Some(server) = &self.server {
            option(&mut bytes, SERVER_ID, server);
        }
        if self.kind != Kind::Inform {
            // The server says the times.
            let mut association = association_id(self.mac).to_vec();
            association.extend([0; 8]);
            for address in &self.addresses {
                let mut value = address.octets().to_vec();
                value.extend([0; 8]);
                option(&mut association, IA_ADDRESS, &value);
            }
            option(&mut bytes, IA_NA, &association);
        }
        let hundredths = u16::try_from(self.waited.as_millis() / 10).unwrap_or(u16::MAX);
        option(&mut bytes, ELAPSED, &hundredths.to_be_bytes());
        if self.kind == Kind::Solicit {
            option(&mut bytes, RAPID_COMMIT, &[]);
        }
        if !matches!(self.kind, Kind::Confirm | Kind::Decline) {
            let wanted = [
                NAME_SERVERS,
                DOMAINS,
                OWN_NAME,
                TIME_SERVERS,
                SOLICIT_LIMIT,
                INFORM_LIMIT,
                REFRESH,
            ];
            let refresh = usize::from(self.kind != Kind::Inform);
            let wanted = &wanted[..wanted.len() - refresh];
            let wanted: Vec<u8> = wanted.iter().flat_map(|code| code.to_be_bytes()).collect();
            option(&mut bytes, WANTED, &wanted);
            if let Some(label) = hostname.and_then(|name| name.split('.').next())
                && self.kind != Kind::Inform
            {
                // The server writes the name into DNS. One that is not whole has no empty label.
                let mut value = vec![1, u8::try_from(label.len()).unwrap_or(u8::MAX)];
                value.extend(label.as_bytes());
                option(&mut bytes, OWN_NAME, &value);
            }
        }
        bytes
    }
}

fn option(bytes: &mut Vec<u8>, code: u16, value: &[u8]) {
    bytes.extend(code.to_be_bytes());
    bytes.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend(value);
}

impl Answer {
    /// Reads a message; `None` if it is not a server's, or not to the link with this address.
    pub(crate) fn parse(message: &[u8], mac: [u8; 6]) -> Option<Self> {
        let [kind, transaction @ ..] = *message.first_chunk::<4>()?;
        let is_advertise = kind == Kind::Advertise as u8;
        if !is_advertise && kind != Kind::Reply as u8 {
            return None;
        }
        let [a, b, c] = transaction;
        let transaction = u32::from_be_bytes([0, a, b, c]);
        let mut answer = Self { is_advertise, transaction, ..Self::default() };
        let mut ours = false;
        each(&message[4..], &mut |code, value| match code {
            CLIENT_ID => ours = value == duid(mac),
            SERVER_ID if value.len() <= LONGEST_DUID => answer.server = value.to_vec(),
            IA_NA if value.starts_with(&association_id(mac)) => answer.take_association(value),
            PREFERENCE => answer.preference = value.first().copied().unwrap_or(0),
            STATUS => answer.take_status(value),
            RAPID_COMMIT => answer.rapid = true,
            NAME_SERVERS => answer.offered.dns = addresses(value),
            DOMAINS => answer.offered.search = search(Some(value), None),
            REFRESH => answer.refresh = u32_at(value, 0),
            // One each. A group of servers (2) and one by its name (3) are not used.
            TIME_SERVERS => {
                let ntp = &mut answer.offered.ntp;
                let _ = each(value, &mut |code, value| {
                    if code == 1 && ntp.len() < MOST_SERVERS {
                        ntp.extend(addresses(value).first());
                    }
                });
            }
            SOLICIT_LIMIT => answer.solicit_limit = u32_at(value, 0),
            INFORM_LIMIT => answer.inform_limit = u32_at(value, 0),
            _ => {}
        })?;
        (ours && !answer.server.is_empty()).then_some(answer)
    }

    /// One that is cut off, or whose times contradict each other, is as if it were not there.
    fn take_association(&mut self, value: &[u8]) {
        let (Some(renewal), Some(rebinding), Some(options)) =
            (u32_at(value, 4), u32_at(value, 8), value.get(12..))
        else {
            return;
        };
        if rebinding != 0 && renewal > rebinding {
            return;
        }
        (self.renewal, self.rebinding) = (renewal, rebinding);
        let _ = each(options, &mut |code, value| match code {
            IA_ADDRESS => self.addresses.extend(Address::parse(value)),
            STATUS => self.take_status(value),
            _ => {}
        });
    }

    fn take_status(&mut self, value: &[u8]) {
        if let Some(code) = u16_at(value, 0).filter(|code| *code != SUCCESS) {
            self.status = code;
        }
    }
}

impl Address {
    /// `None` for one that a host cannot have, or that outlives its own end.
    fn parse(value: &[u8]) -> Option<Self> {
        let address = Ipv6Addr::from(*value.first_chunk::<16>()?);
        let (preferred, valid) = (u32_at(value, 16)?, u32_at(value, 20)?);
        let special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
        let good = !special && !address.is_unicast_link_local() && preferred <= valid;
        good.then_some(Self { address, preferred, valid })
    }
}

/// Calls `take` with each option in order; `None` when one is cut off.
fn each(mut bytes: &[u8], take: &mut dyn FnMut(u16, &[u8])) -> Option<()> {
    while !bytes.is_empty() {
        let end = 4 + usize::from(u16_at(bytes, 2)?);
        take(u16_at(bytes, 0)?, bytes.get(4..end)?);
        bytes = &bytes[end..];
    }
    Some(())
}

/// The addresses of servers.
fn addresses(bytes: &[u8]) -> Vec<Ipv6Addr> {
    let sixteen = bytes.chunks_exact(16).filter_map(|bytes| <[u8; 16]>::try_from(bytes).ok());
    let servers = sixteen.map(Ipv6Addr::from).filter(|server| is_host(*server));
    servers.take(MOST_SERVERS).collect()
}

/// Whether a server may be there.
pub(crate) fn is_host(address: Ipv6Addr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const OWN: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77);

    fn question(kind: Kind) -> Question {
        Question {
            kind,
            transaction: 0xff01_0203,
            mac: MAC,
            waited: Duration::from_millis(2550),
            server: None,
            addresses: Vec::new(),
        }
    }

    fn one(code: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        option(&mut bytes, code, value);
        bytes
    }

    /// Whether a message has this option, and what is in it.
    fn found(message: &[u8], wanted: u16) -> Option<Vec<u8>> {
        let mut found = None;
        each(&message[4..], &mut |code, value| {
            if code == wanted {
                found = Some(value.to_vec());
            }
        })
        .expect("whole");
        found
    }

    /// A server's message to us with these options.
    fn message(kind: Kind, options: &[Vec<u8>]) -> Vec<u8> {
        let ids = [one(CLIENT_ID, &duid(MAC)), one(SERVER_ID, b"server")].concat();
        [&[kind as u8, 1, 2, 3][..], &ids, &options.concat()].concat()
    }

    fn parse(kind: Kind, options: &[Vec<u8>]) -> Option<Answer> {
        Answer::parse(&message(kind, options), MAC)
    }

    fn address(address: Ipv6Addr, preferred: u32, valid: u32) -> Vec<u8> {
        let times = [preferred, valid].map(u32::to_be_bytes);
        one(IA_ADDRESS, &[&address.octets()[..], times.as_flattened()].concat())
    }

    fn association(times: [u32; 2], options: &[Vec<u8>]) -> Vec<u8> {
        let times = times.map(u32::to_be_bytes);
        let value = [&association_id(MAC)[..], times.as_flattened(), &options.concat()].concat();
        one(IA_NA, &value)
    }

    #[test]
    fn a_solicit_has_what_servers_look_at() {
        let bytes = question(Kind::Solicit).encode(Some("n1.example"));
        let want = [
            &[1, 1, 2, 3, 0, 1, 0, 10, 0, 3, 0, 1][..],
            &MAC,
            &[0, 3, 0, 12, 0, 0x12, 0x34, 0x56, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 8, 0, 2, 0, 255, 0, 14, 0, 0],
            &[0, 6, 0, 12, 0, 23, 0, 24, 0, 39, 0, 56, 0, 82, 0, 83],
            &[0, 39, 0, 4, 1, 2, b'n', b'1'],
        ];
        assert_eq!(bytes, want.concat());
    }

    #[test]
    fn a_question_about_an_address_names_it_and_its_server() {
        let (server, addresses) = (Some(b"server".to_vec()), vec![OWN, Ipv6Addr::LOCALHOST]);
        let renewal = Question { server, addresses, ..question(Kind::Renew) }.encode(None);
        assert_eq!(found(&renewal, SERVER_ID), Some(b"server".to_vec()));
        let association = found(&renewal, IA_NA).unwrap();
        assert_eq!(association[12..16], [0, 5, 0, 24]);
        assert_eq!(association[16..40], [&OWN.octets()[..], &[0; 8]].concat());
        assert_eq!(association[40..44], [0, 5, 0, 24]);
        assert_eq!(association[44..60], Ipv6Addr::LOCALHOST.octets());
        assert_eq!((found(&renewal, RAPID_COMMIT), found(&renewal, OWN_NAME)), (None, None));

        let question = Question { waited: Duration::from_secs(9000), ..question(Kind::Decline) };
        let decline = question.encode(Some("n1"));
        assert_eq!((found(&decline, WANTED), found(&decline, OWN_NAME)), (None, None));
        assert_eq!(found(&decline, ELAPSED), Some(vec![255, 255]));
    }

    #[test]
    fn who_asks_for_no_address_asks_when_to_come_again() {
        let bytes = question(Kind::Inform).encode(Some("n1"));
        assert_eq!((found(&bytes, IA_NA), found(&bytes, OWN_NAME)), (None, None));
        assert!(found(&bytes, WANTED).unwrap().ends_with(&[0, 83, 0, 32]));
    }

    #[test]
    fn an_answer_is_read_with_all_that_we_use() {
        let time = Ipv6Addr::LOCALHOST.octets();
        let options = [
            association([900, 1440], &[address(OWN, 1800, 3600), one(STATUS, &[0, 0])]),
            one(PREFERENCE, &[7]),
            one(RAPID_COMMIT, &[]),
            one(NAME_SERVERS, &[OWN.octets(), OWN.octets()].concat()),
            one(DOMAINS, b"\x03lan\0\x01x\x03lan\0"),
            one(TIME_SERVERS, &[one(2, &time), one(1, &time), one(3, b"\x01t\0")].concat()),
            one(REFRESH, &[0, 0, 4, 0]),
            one(SOLICIT_LIMIT, &[0, 0, 0, 60]),
            one(INFORM_LIMIT, &[0, 0, 0, 61]),
            one(9999, b"?"),
        ];
        let want = Answer {
            is_advertise: false,
            transaction: 0x0001_0203,
            server: b"server".to_vec(),
            preference: 7,
            rapid: true,
            status: SUCCESS,
            renewal: 900,
            rebinding: 1440,
            addresses: vec![Address { address: OWN, preferred: 1800, valid: 3600 }],
            solicit_limit: Some(60),
            inform_limit: Some(61),
            refresh: Some(1024),
            offered: Offered {
                dns: vec![OWN, OWN],
                search: vec!["lan".to_owned(), "x.lan".to_owned()],
                ntp: vec![Ipv6Addr::LOCALHOST],
            },
        };
        assert_eq!(parse(Kind::Reply, &options), Some(want.clone()));
        let offer = Answer { is_advertise: true, ..want };
        assert_eq!(parse(Kind::Advertise, &options), Some(offer));
    }

    #[test]
    fn a_bad_status_is_heard_wherever_it_stands() {
        let none = association([0, 0], &[one(STATUS, &[0, 3, b'n', b'o'])]);
        assert_eq!(parse(Kind::Reply, std::slice::from_ref(&none)).unwrap().status, NO_BINDING);
        let fine = one(STATUS, &[0, 0]);
        assert_eq!(parse(Kind::Reply, &[none, fine]).unwrap().status, NO_BINDING);
        let top = one(STATUS, &[0, 4]);
        assert_eq!(parse(Kind::Reply, &[top]).unwrap().status, NOT_ON_LINK);
    }

    #[test]
    fn addresses_that_no_host_can_have_and_associations_of_others_are_passed_over() {
        let own = address(OWN, 60, 60);
        let one_own = std::slice::from_ref(&own);
        let addresses = |options: &[Vec<u8>]| parse(Kind::Reply, options).unwrap().addresses.len();
        let within = |options: &[Vec<u8>]| addresses(&[association([0, 0], options)]);
        assert_eq!(within(&[own.clone(), own.clone()]), 2);
        for bad in ["::", "::1", "ff02::1", "fe80::1"] {
            assert_eq!(within(&[address(bad.parse().unwrap(), 60, 60)]), 0, "{bad}");
        }
        assert_eq!(within(&[address(OWN, 61, 60)]), 0, "preferred beyond its end");
        assert_eq!(within(&[one(IA_ADDRESS, &own[4..20]), own.clone()]), 1, "without times");
        assert_eq!(addresses(&[association([61, 60], one_own)]), 0, "T1 after T2");
        assert_eq!(addresses(&[association([61, 0], one_own)]), 1, "T2 is ours to choose");
        assert_eq!(addresses(&[one(IA_NA, &association_id(MAC))]), 0, "cut off");
        let mut other = association([0, 0], one_own);
        other[4] ^= 1;
        assert_eq!(addresses(&[other]), 0, "another link's");
    }

    #[test]
    fn servers_that_nobody_can_ask_and_too_many_of_them_are_passed_over() {
        let bad = ["::", "ff02::1"].map(|text| text.parse::<Ipv6Addr>().unwrap().octets());
        let many = [&bad[..], &[OWN.octets(); 20]].concat();
        let options = [
            one(NAME_SERVERS, many.as_flattened()),
            one(TIME_SERVERS, &many.iter().flat_map(|server| one(1, server)).collect::<Vec<_>>()),
        ];
        let offered = parse(Kind::Reply, &options).unwrap().offered;
        assert_eq!((offered.dns, offered.ntp), (vec![OWN; MOST_SERVERS], vec![OWN; MOST_SERVERS]));
    }

    #[test]
    fn what_is_not_for_us_or_not_whole_is_ignored() {
        let good = message(Kind::Reply, &[one(PREFERENCE, &[1])]);
        assert!(Answer::parse(&good, MAC).is_some());
        assert_eq!(Answer::parse(&good, [2; 6]), None, "to another");
        for length in 0..good.len() {
            let cut = Answer::parse(&good[..length], MAC);
            assert_eq!(cut.is_some(), length == good.len() - 5, "{length}");
        }
        for kind in [Kind::Solicit, Kind::Request, Kind::Inform] {
            assert_eq!(parse(kind, &[]), None, "a client's");
        }
        let [client, server] = [one(CLIENT_ID, &duid(MAC)), one(SERVER_ID, &[7; 131])];
        let from = |options: &[u8]| Answer::parse(&[&[7, 1, 2, 3][..], options].concat(), MAC);
        assert_eq!(from(&client), None, "from nobody");
        assert_eq!(from(&[client, server].concat()), None, "a name that is too long");
        assert_eq!(from(&one(SERVER_ID, b"server")), None, "to nobody");
        let twice = parse(Kind::Reply, &[one(PREFERENCE, &[1]), one(PREFERENCE, &[2])]);
        assert_eq!(twice.map(|answer| answer.preference), Some(2));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Answer::parse(&bytes, MAC);
            let _ = parse(Kind::Reply, std::slice::from_ref(&bytes));
            for code in [IA_NA, PREFERENCE, STATUS, NAME_SERVERS, DOMAINS, REFRESH, TIME_SERVERS] {
                let _ = parse(Kind::Reply, &[one(code, &bytes)]);
            }
            let _ = parse(Kind::Reply, &[association([0, 0], std::slice::from_ref(&bytes))]);
            for code in [IA_ADDRESS, STATUS] {
                let _ = parse(Kind::Reply, &[association([0, 0], &[one(code, &bytes)])]);
            }
        }
    }
}
