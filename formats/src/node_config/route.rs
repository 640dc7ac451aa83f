//! `[[network.links.NAME.routes]]`: ways to networks that are neither on a link nor behind its
//! gateway.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::address::{is_host, masked, split};
use super::network::Link;
use super::section::{Placed, Section};

/// A way to another network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub to: Destination,
    /// Who knows the way, reached on the link itself; without, the network is on the link.
    pub via: Option<IpAddr>,
    /// Of several ways to one network the lowest wins. Without, that of the link's gateways.
    pub metric: Option<u32>,
}

/// A range of addresses, of which there may be one or all: `10.96.0.0/12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    // Invariant: the bits behind the prefix are 0.
    first: IpAddr,
    // Invariant: at most 32 or 128, by the address' family.
    prefix: u8,
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is not a range of addresses, such as `10.96.0.0/12`");
        let (address, prefix) = match text.parse::<IpAddr>() {
            Ok(address) => (address, if address.is_ipv4() { 32 } else { 128 }),
            Err(_) => split(text).ok_or_else(refused)?,
        };
        let first = masked(address, prefix, false);
        if first != address {
            return Err(format!(
                "`{text}` does not begin where its network does: write `{first}/{prefix}`"
            ));
        }
        if prefix > 0 && (first.is_loopback() || first.is_multicast()) {
            return Err(format!("`{text}` is not a range of addresses of other hosts"));
        }
        Ok(Self { first, prefix })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// The address of a neighbour.
struct Via(IpAddr);

impl FromStr for Via {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.parse::<IpAddr>().ok().filter(|address| is_host(*address));
        address.map(Self).ok_or_else(|| format!("`{text}` is not the IP address of a neighbour"))
    }
}

/// Reads the routes of `link`, of which everything else is known.
pub(super) fn read(link: &Link, section: &mut Section<'_, '_>) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    section.tables("routes", |section| {
        let to = section.parsed::<Destination>("to");
        let via = section.parsed::<Via>("via");
        let metric = section.number("metric", 1..u32::MAX);
        section.require("to");
        let Some(to) = to else { return };
        let complaint = complaint(link, &routes, to.value, via.as_ref(), metric);
        if let Some(message) = complaint {
            section.notes.note(to.span, message);
        }
        routes.push(Route { to: to.value, via: via.map(|via| via.value.0), metric });
    });
    routes
}

/// What is wrong with a route beside the others of its link.
fn complaint(
    link: &Link,
    before: &[Route],
    to: Destination,
    via: Option<&Placed<Via>>,
    metric: Option<u32>,
) -> Option<String> {
    let is_of_family = |address: &IpAddr| address.is_ipv4() == to.first.is_ipv4();
    let via = via.map(|via| via.value.0);
    if let Some(via) = via.filter(|via| !is_of_family(via)) {
        return Some(format!("`{to}` cannot be reached by `{via}`, which is of another family"));
    }
    if let Some(via) = via
        && link.addresses.iter().any(|cidr| cidr.address() == via)
    {
        return Some(format!("`{to}` cannot be reached by `{via}`, the node's own address"));
    }
    if !link.may_have_address_beside(via.unwrap_or(to.first)) {
        return Some(format!("`{to}` is of a family of which the link has no address"));
    }
    if before.iter().any(|other| other.to == to && other.metric == metric) {
        return Some(format!("there is a route to `{to}` already; give one of them a `metric`"));
    }
    if to.prefix == 0 && metric.is_none() && link.gateways.iter().any(is_of_family) {
        return Some(format!("`gateways` has a route to `{to}` already; give this one a `metric`"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_one_host_a_network_or_everything() {
        for (text, want) in [
            ("10.96.0.0/12", "10.96.0.0/12"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("169.254.169.254/32", "169.254.169.254/32"),
        ] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), want);
        }
        let error = "10.96.0.1/12".parse::<Destination>().unwrap_err();
        assert!(error.ends_with("write `10.96.0.0/12`"), "{error}");
        for bad in ["", "default", "10.0.0.0/33", "10.0.0.0/", "127.0.0.0/8", "224.0.0.0/4", "::1"]
        {
            assert!(bad.parse::<Destination>().is_err(), "{bad}");
        }
    }
}
