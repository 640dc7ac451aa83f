//! `[network]` and `[time]`: addresses, name servers and clocks.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::address::{Cidr, Mac, is_host};
use super::name::{DomainName, Host};
use super::route::{self, Route};
use super::section::{Placed, Section};
use crate::system::NameServer;

/// How the node is reached and how it resolves names. Default: DHCP and router advertisements on
/// every wired link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// Name servers, instead of what DHCP and routers say: at most 3 (`MAXNS` of resolv.conf(5)). An
    /// empty list says that there are none.
    pub dns: Option<Vec<NameServer>>,
    /// Domains in which short names are looked up, instead of what DHCP says. An empty list says
    /// that there are none.
    pub search: Option<Vec<DomainName>>,
    /// The links that are not left to the default. The key is the kernel's name of the link, or
    /// any name if the link is known by its hardware address.
    pub links: BTreeMap<String, Link>,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The hardware address that it is known by, instead of its name.
    pub mac: Option<Mac>,
    /// Whether DHCP is asked for an IPv4 address. Default: if there are no `addresses`.
    pub dhcp: bool,
    /// Addresses of its own.
    pub addresses: Vec<Cidr>,
    /// Where what is for other networks goes: at most one for each family.
    pub gateways: Vec<IpAddr>,
    /// Ways to other networks.
    pub routes: Vec<Route>,
    /// Whether router advertisements give IPv6 addresses, their own and those of DHCPv6 where they
    /// leave addresses to it. Default: yes.
    pub slaac: bool,
    /// The largest packet, in bytes; the driver's or the network's own if none.
    pub mtu: Option<u32>,
}

/// Where the time comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Time {
    /// Servers that speak NTP, instead of those of DHCP's option 42. If neither names any, the
    /// clock is left alone.
    pub servers: Vec<TimeServer>,
}

/// `HOST` or `HOST:PORT`; an IPv6 address before a port stands in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeServer {
    /// Where it is.
    pub host: Host,
    /// Where it listens, if not on NTP's own port 123.
    pub port: Option<u16>,
}

impl FromStr for TimeServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let without_port = match text.parse() {
            Ok(host) => return Ok(Self { host, port: None }),
            Err(error) => error,
        };
        let Some((host, port)) = text.rsplit_once(':') else { return Err(without_port) };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().ok().filter(|&port| port != 0);
        match (host.parse(), port) {
            (Ok(host), Some(port)) => Ok(Self { host, port: Some(port) }),
            _ => Err(without_port),
        }
    }
}

impl fmt::Display for TimeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.port) {
            (host, None) => host.fmt(f),
            (Host::Address(address), Some(port)) => SocketAddr::new(*address, port).fmt(f),
            (Host::Name(name), Some(port)) => write!(f, "{name}:{port}"),
        }
    }
}

impl Time {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let servers = section.list::<TimeServer>("servers");
        Self { servers: servers.into_iter().map(|server| server.value).collect() }
    }
}

impl Network {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let written = ["dns", "search"].map(|key| section.place(key).is_some());
        let dns = section.list::<Server>("dns");
        if let Some(fourth) = dns.get(3) {
            let message = "`network.dns` has more than the 3 servers that are ever asked";
            section.notes.note(fourth.span.clone(), message);
        }
        let search = section.list::<SearchDomain>("search");
        let mut links = BTreeMap::new();
        let mut macs: Vec<Mac> = Vec::new();
        section.sections("links", |name, section| {
            let link = Link::read(&name, section, &mut macs);
            links.insert(name.value.to_owned(), link);
        });
        Self {
            dns: written[0].then(|| dns.into_iter().map(|server| server.value.0).collect()),
            search: written[1].then(|| search.into_iter().map(|domain| domain.value.0).collect()),
            links,
        }
    }
}

impl Link {
    /// Reads the link `name`; `macs` are the hardware addresses of those before it.
    fn read(name: &Placed<&str>, section: &mut Section<'_, '_>, macs: &mut Vec<Mac>) -> Self {
        let mac = section.parsed::<Mac>("mac");
        match &mac {
            Some(mac) if macs.contains(&mac.value) => {
                let message = format!("another link has the hardware address `{}`", mac.value);
                section.notes.note(mac.span.clone(), message);
            }
            Some(mac) => macs.push(mac.value),
            None => {}
        }
        let by_name = section.place("mac").is_none();
        let good = if by_name { is_link_name(name.value) } else { is_nickname(name.value) };
        if name.value == "lo" || !good {
            let message = format!("`{}` cannot be the name of a wired link", printable(name.value));
            section.notes.note(name.span.clone(), message).hint =
                Some("write the kernel's name, such as `eth0`, or say which by `mac`".to_owned());
        }
        let before = section.notes.problems.len();
        let addresses = section.list::<Cidr>("addresses");
        let understood = section.notes.problems.len() == before;
        let gateways = section.list::<Gateway>("gateways");
        let written = section.place("addresses").is_some();
        let mut link = Self {
            mac: mac.map(|mac| mac.value),
            dhcp: section.boolean("dhcp").unwrap_or(!written),
            addresses: addresses.iter().map(|address| address.value).collect(),
            gateways: gateways.iter().map(|gateway| gateway.value.0).collect(),
            routes: Vec::new(),
            slaac: section.boolean("slaac").unwrap_or(true),
            // From ETH_MIN_MTU to ETH_MAX_MTU of linux/if_ether.h.
            mtu: section.number("mtu", 68..65_536),
        };
        link.check_addresses(&addresses, section);
        // Of addresses that were not understood, gateways without one would only follow.
        if understood {
            link.check_gateways(&gateways, section);
        }
        link.routes = route::read(&link, section);
        let six = link.addresses.iter().any(|cidr| cidr.address().is_ipv6());
        // RFC 8200 section 5; Linux turns IPv6 off on a link that cannot carry it.
        if six && link.mtu.is_some_and(|mtu| mtu < 1280) {
            let span = section.place("mtu").unwrap_or(section.span());
            section.notes.note(span, "IPv6 needs an `mtu` of 1280 at least");
        }
        link
    }

    fn check_addresses(&self, addresses: &[Placed<Cidr>], section: &mut Section<'_, '_>) {
        for (index, cidr) in addresses.iter().enumerate() {
            let address = cidr.value.address();
            if addresses[..index].iter().any(|earlier| earlier.value.address() == address) {
                let message = format!("`{address}` stands twice, with two prefix lengths");
                section.notes.note(cidr.span.clone(), message);
            }
        }
    }

    fn check_gateways(&self, gateways: &[Placed<Gateway>], section: &mut Section<'_, '_>) {
        for (index, Placed { value: Gateway(gateway), span }) in gateways.iter().enumerate() {
            let same = |other: &Placed<Gateway>| other.value.0.is_ipv4() == gateway.is_ipv4();
            let message = if gateways[..index].iter().any(same) {
                format!("`{gateway}` is a second gateway of its family")
            } else if self.addresses.iter().any(|cidr| cidr.address() == *gateway) {
                format!("the gateway `{gateway}` is the node's own address")
            } else if !self.may_have_address_beside(*gateway) {
                format!("the gateway `{gateway}` is of a family of which the link has no address")
            } else {
                continue;
            };
            section.notes.note(span.clone(), message);
        }
    }
}

impl Link {
    /// Whether the link has or gets an address of the gateway's family. It need not be of one
    /// network with the gateway, which is reached on the link in any case: hosters give addresses
    /// with a /32 and a gateway outside.
    pub(super) fn may_have_address_beside(&self, gateway: IpAddr) -> bool {
        let written =
            self.addresses.iter().any(|cidr| cidr.address().is_ipv4() == gateway.is_ipv4());
        let given = match gateway {
            IpAddr::V4(_) => self.dhcp,
            // A link-local gateway goes with the link-local address that each link has.
            IpAddr::V6(gateway) => self.slaac || gateway.is_unicast_link_local(),
        };
        written || given
    }
}

/// What the kernel takes as a name (`dev_valid_name` in `net/core/dev.c`), in visible ASCII.
fn is_link_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':')
}

/// A name that only the configuration uses, for a link known by its hardware address.
fn is_nickname(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && !name.chars().any(char::is_control)
}

fn printable(name: &str) -> String {
    name.chars().take(40).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A name server: the node itself may be one.
#[derive(Debug, PartialEq)]
struct Server(NameServer);

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let server = text.parse::<NameServer>().ok();
        let good = |server: &NameServer| is_host(server.address) || server.address.is_loopback();
        let server = server
            .filter(good)
            .ok_or_else(|| format!("`{text}` is not the IP address of a name server"))?;
        let near = matches!(server.address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        match &server.link {
            None if near => Err(format!(
                "`{text}` is found on one link only: write which, such as `{text}%eth0`"
            )),
            Some(_) if !near => {
                Err(format!("`{text}` is the same on all links: leave out what follows `%`"))
            }
            Some(link) if !is_link_name(link) => {
                Err(format!("`{text}` does not end in the kernel's name of a link, such as `eth0`"))
            }
            _ => Ok(Self(server)),
        }
    }
}

/// A domain for short names.
#[derive(Debug, PartialEq)]
struct SearchDomain(DomainName);

impl FromStr for SearchDomain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "." {
            return Err("`.` is no domain: `search = []` says that there is none".to_owned());
        }
        text.parse().map(Self)
    }
}

/// The address of a gateway.
#[derive(Debug, PartialEq)]
struct Gateway(IpAddr);

impl FromStr for Gateway {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.parse::<IpAddr>().ok().filter(|address| is_host(*address));
        address.map(Self).ok_or_else(|| format!("`{text}` is not the IP address of a gateway"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_server_may_have_a_port() {
        for text in [
            "192.0.2.1",
            "192.0.2.1:1123",
            "time.example:1123",
            "2001:db8::1",
            "[2001:db8::1]:1123",
        ] {
            let server: TimeServer = text.parse().expect(text);
            assert_eq!(server.to_string(), text);
            assert_eq!(server.port.is_some(), text.ends_with(":1123"), "{text}");
        }
        for text in ["192.0.2.1:0", "192.0.2.1:99999", "192.0.2.999:123", "a b:1", ":1", "x:"] {
            assert!(text.parse::<TimeServer>().is_err(), "{text}");
        }
    }
}
