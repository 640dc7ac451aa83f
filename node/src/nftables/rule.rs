//! What a rule looks at and does: the expressions of nf_tables.
//!
//! Format: `include/uapi/linux/netfilter/nf_tables.h` of Linux, `enum nft_*_attributes`. The comment
//! at each method is what `nft list ruleset` shows for it.

use std::net::IpAddr;

use super::message::Attributes;

/// `NFT_REG_VERDICT`, and registers of 16 bytes.
const VERDICT: u32 = 0;
const REGISTER: u32 = 1;
const SECOND_REGISTER: u32 = 2;
/// `IFNAMSIZ`: the kernel compares names of links with the zeros behind them.
const NAME_LENGTH: usize = 16;

/// `enum nft_payload_bases`.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

/// `enum nft_meta_keys`.
#[derive(Debug, Clone, Copy)]
enum Meta {
    InLink = 6,
    OutLink = 7,
    Family = 15,
    Protocol = 16,
}

/// `enum nft_cmp_ops`.
#[derive(Debug, Clone, Copy)]
enum Comparison {
    Equal = 0,
    Different = 1,
}

/// What has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp = 6,
    Udp = 17,
    Sctp = 132,
}

/// One rule: conditions, then what is done if all hold.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Rule(Attributes);

impl Rule {
    /// `meta nfproto ipv4` or `ipv6`, for a table that has both.
    pub(crate) fn family_of(self, address: IpAddr) -> Self {
        self.meta(Meta::Family, Comparison::Equal, &[family(address)])
    }

    /// `ip saddr FIRST/PREFIX`.
    pub(crate) fn source_in(self, first: IpAddr, prefix: u8) -> Self {
        let (source, _) = offsets(first);
        self.address_in(source, first, prefix)
    }

    /// `ip daddr FIRST/PREFIX`.
    pub(crate) fn destination_in(self, first: IpAddr, prefix: u8) -> Self {
        let (_, destination) = offsets(first);
        self.address_in(destination, first, prefix)
    }

    /// `ip saddr ADDRESS`.
    pub(crate) fn source(self, address: IpAddr) -> Self {
        let (source, _) = offsets(address);
        self.address(source, address)
    }

    /// `ip daddr ADDRESS`.
    pub(crate) fn destination(self, address: IpAddr) -> Self {
        let (_, destination) = offsets(address);
        self.address(destination, address)
    }

    /// `fib daddr type local`: an address of the node.
    pub(crate) fn destination_is_local(self) -> Self {
        /// `NFT_FIB_RESULT_ADDRTYPE`, `NFTA_FIB_F_DADDR`, `RTN_LOCAL`.
        const ADDRESS_TYPE: u32 = 3;
        const DESTINATION: u32 = 2;
        const LOCAL: u32 = 2;
        let fib = Attributes::default().number(1, REGISTER).number(2, ADDRESS_TYPE);
        self.expression("fib", fib.number(3, DESTINATION))
            .compare(Comparison::Equal, &LOCAL.to_ne_bytes())
    }

    /// `tcp dport PORT`.
    pub(crate) fn destination_port(self, protocol: Protocol, port: u16) -> Self {
        self.meta(Meta::Protocol, Comparison::Equal, &[protocol as u8])
            .payload(TRANSPORT_HEADER, 2, 2)
            .compare(Comparison::Equal, &port.to_be_bytes())
    }

    /// `iifname != NAME`.
    pub(crate) fn not_from_link(self, name: &str) -> Self {
        self.meta(Meta::InLink, Comparison::Different, &link(name))
    }

    /// `oifname != NAME`.
    pub(crate) fn not_to_link(self, name: &str) -> Self {
        self.meta(Meta::OutLink, Comparison::Different, &link(name))
    }

    /// `masquerade`.
    pub(crate) fn masquerade(self) -> Self {
        self.expression("masq", Attributes::default())
    }

    /// `dnat to ADDRESS:PORT`.
    pub(crate) fn redirect(self, to: IpAddr, port: u16) -> Self {
        /// `NFT_NAT_DNAT`.
        const DESTINATION: u32 = 1;
        let nat = Attributes::default()
            .number(1, DESTINATION)
            .number(2, u32::from(family(to)))
            .number(3, REGISTER)
            .number(5, SECOND_REGISTER);
        self.immediate(REGISTER, &octets(to))
            .immediate(SECOND_REGISTER, &port.to_be_bytes())
            .expression("nat", nat)
    }

    /// `drop`.
    pub(crate) fn discard(self) -> Self {
        /// `NF_DROP`.
        const DROP: u32 = 0;
        let verdict = Attributes::default().number(1, DROP);
        let verdict = Attributes::default().nested(2, &verdict);
        self.expression("immediate", Attributes::default().number(1, VERDICT).nested(2, &verdict))
    }

    pub(super) fn expressions(&self) -> &Attributes {
        &self.0
    }

    fn address(self, offset: u32, address: IpAddr) -> Self {
        let octets = octets(address);
        let length = if address.is_ipv4() { 4 } else { 16 };
        self.payload(NETWORK_HEADER, offset, length).compare(Comparison::Equal, &octets)
    }

    fn address_in(self, offset: u32, first: IpAddr, prefix: u8) -> Self {
        let prefix = u32::from(prefix);
        let (mask, length) = match first {
            IpAddr::V4(_) => ((u32::MAX << (32 - prefix.clamp(1, 32))).to_be_bytes().to_vec(), 4),
            IpAddr::V6(_) => {
                ((u128::MAX << (128 - prefix.clamp(1, 128))).to_be_bytes().to_vec(), 16)
            }
        };
        let first = octets(first);
        let bitwise = Attributes::default()
            .number(1, REGISTER)
            .number(2, REGISTER)
            .number(3, length)
            .value(4, &mask)
            .value(5, &vec![0; first.len()]);
        self.payload(NETWORK_HEADER, offset, length)
            .expression("bitwise", bitwise)
            .compare(Comparison::Equal, &first)
    }

    fn payload(self, base: u32, offset: u32, length: u32) -> Self {
        let payload = Attributes::default().number(1, REGISTER).number(2, base);
        self.expression("payload", payload.number(3, offset).number(4, length))
    }

    fn meta(self, key: Meta, comparison: Comparison, with: &[u8]) -> Self {
        let meta = Attributes::default().number(1, REGISTER).number(2, key as u32);
        self.expression("meta", meta).compare(comparison, with)
    }

    fn compare(self, comparison: Comparison, with: &[u8]) -> Self {
        let cmp = Attributes::default().number(1, REGISTER).number(2, comparison as u32);
        self.expression("cmp", cmp.value(3, with))
    }

    fn immediate(self, register: u32, bytes: &[u8]) -> Self {
        self.expression("immediate", Attributes::default().number(1, register).value(2, bytes))
    }

    /// `NFTA_LIST_ELEM` with an expression's name and attributes.
    fn expression(self, name: &str, attributes: Attributes) -> Self {
        Self(self.0.nested(1, &Attributes::default().text(1, name).nested(2, &attributes)))
    }
}

/// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { 2 } else { 10 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Where source and destination stand in the header.
fn offsets(address: IpAddr) -> (u32, u32) {
    if address.is_ipv4() { (12, 16) } else { (8, 24) }
}

fn link(name: &str) -> Vec<u8> {
    let mut name = name.as_bytes().to_vec();
    name.resize(NAME_LENGTH, 0);
    name
}
