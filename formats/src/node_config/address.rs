//! Addresses with a prefix length (RFC 4632, RFC 4291), and those of links.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address and how many of its bits name the network: `192.0.2.10/24`.
///
/// The address is one that a host can have: not that of the network or of a broadcast, of a
/// group, of the host itself or of nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    // Invariant: at most 32 or 128, by the address' family; not 0.
    prefix: u8,
}

/// A range of addresses with room for a bridge and a pod at least: `10.88.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    // Invariant: the bits behind the prefix are 0.
    first: IpAddr,
    // Invariant: from 1 to 30 or 126, by the address' family.
    prefix: u8,
}

/// The hardware address of a network card: `52:54:00:12:34:56`, neither a group's nor all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac([u8; 6]);

impl Cidr {
    /// The host's address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// The length of the network's part, in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether `address` is in this network.
    pub fn contains(self, address: IpAddr) -> bool {
        shares(self.address, address, self.prefix)
    }
}

impl Subnet {
    /// The first address, that of the network.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// The length of the network's part, in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Whether `address` is in it.
    pub fn contains(self, address: IpAddr) -> bool {
        shares(self.first, address, self.prefix)
    }
}

impl Mac {
    /// The bytes, in the order in which they are written.
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = split(text).ok_or_else(|| {
            format!("`{text}` is not an address with its prefix length, such as `192.0.2.10/24`")
        })?;
        let (first, last) = (masked(address, prefix, false), masked(address, prefix, true));
        let edge = match address {
            IpAddr::V4(_) => prefix < 31 && (address == first || address == last),
            IpAddr::V6(_) => prefix < 127 && address == first,
        };
        if prefix == 0 || edge || !is_host(address) {
            return Err(format!("`{text}` is not the address of one host"));
        }
        Ok(Self { address, prefix })
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = split(text).ok_or_else(|| {
            format!("`{text}` is not a range of addresses, such as `10.88.0.0/16`")
        })?;
        let first = masked(address, prefix, false);
        if first != address {
            return Err(format!(
                "`{text}` does not begin where its network does: write `{first}/{prefix}`"
            ));
        }
        let longest = if address.is_ipv4() { 30 } else { 126 };
        if prefix == 0 || prefix > longest || !is_host(first) {
            return Err(format!("`{text}` is not a range of addresses that pods can have"));
        }
        Ok(Self { first, prefix })
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!("`{text}` is not the hardware address of one card, such as `52:54:00:12:34:56`")
        };
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0; 6];
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(refused)?;
            if !part.chars().all(|c| c.is_ascii_hexdigit()) {
                return Err(refused());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| refused())?;
        }
        // The lowest bit of the first byte marks a group (IEEE 802, section 8.2).
        let group = octets[0] & 1 == 1;
        if parts.next().is_some() || group || octets == [0; 6] {
            return Err(refused());
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// With colons, in lower case.
impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Whether one host can have this address, apart from its network.
pub(super) fn is_host(address: IpAddr) -> bool {
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    // 0.0.0.0/8 is "this network" (RFC 6890).
    let this = matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0);
    !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && !broadcast
        && !this
}

/// An address and a prefix length that its family has.
pub(super) fn split(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    if !prefix.bytes().all(|byte| byte.is_ascii_digit()) || prefix.starts_with('0') && prefix != "0"
    {
        return None;
    }
    let prefix: u8 = prefix.parse().ok()?;
    (prefix <= longest).then_some((address, prefix))
}

/// The address with all bits behind the prefix 0, or 1.
pub(super) fn masked(address: IpAddr, prefix: u8, ones: bool) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            let bits = address.to_bits();
            Ipv4Addr::from_bits(if ones { bits | host } else { bits & !host }).into()
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            let bits = address.to_bits();
            Ipv6Addr::from_bits(if ones { bits | host } else { bits & !host }).into()
        }
    }
}

/// Whether two addresses are of one network with this prefix.
pub(super) fn shares(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    a.is_ipv4() == b.is_ipv4() && masked(a, prefix, false) == masked(b, prefix, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_prefix_is_that_of_one_host() {
        for good in
            ["192.0.2.10/24", "192.0.2.0/31", "192.0.2.1/32", "2001:db8::10/64", "2001:db8::/128"]
        {
            assert_eq!(good.parse::<Cidr>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "192.0.2.10",
            "192.0.2.10/",
            "192.0.2.10/33",
            "192.0.2.10/+4",
            "192.0.2.10/024",
            "192.0.2.0/24",
            "192.0.2.255/24",
            "192.0.2.10/0",
            "0.0.0.0/8",
            "127.0.0.1/8",
            "224.0.0.1/24",
            "255.255.255.255/32",
            "2001:db8::/64",
            "2001:db8::1/129",
            "ff02::1/64",
            "::1/128",
            "::/0",
            "192.0.2.10/24/24",
            "a/24",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_subnet_begins_at_its_network() {
        for good in ["10.88.0.0/16", "192.0.2.4/30", "fd00:88::/64"] {
            assert_eq!(good.parse::<Subnet>().unwrap().to_string(), good);
        }
        let error = "10.88.0.1/16".parse::<Subnet>().unwrap_err();
        assert!(error.ends_with("write `10.88.0.0/16`"), "{error}");
        for bad in ["10.88.0.0", "10.88.0.0/31", "10.88.0.0/0", "0.0.0.0/0", "127.0.0.0/8"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_contains_its_own_addresses_only() {
        let cidr: Cidr = "192.0.2.10/24".parse().unwrap();
        for (address, want) in
            [("192.0.2.1", true), ("192.0.3.1", false), ("::ffff:192.0.2.1", false)]
        {
            assert_eq!(cidr.contains(address.parse().unwrap()), want, "{address}");
        }
        let cidr: Cidr = "2001:db8::10/64".parse().unwrap();
        assert!(cidr.contains("2001:db8::1".parse().unwrap()));
        assert!(!cidr.contains("2001:db8:1::1".parse().unwrap()));
    }

    #[test]
    fn a_hardware_address_is_that_of_one_card() {
        for (text, want) in
            [("52:54:00:12:34:56", "52:54:00:12:34:56"), ("52-54-00-AB-CD-EF", "52:54:00:ab:cd:ef")]
        {
            assert_eq!(text.parse::<Mac>().unwrap().to_string(), want);
        }
        for bad in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "52:54:00:12:34:5",
            "52:54:00:12:34:5g",
            "52:54:00:12:34:+5",
            "52-54:00:12:34:56",
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }
}
