//! What a link shall have, out of the node config: pure, so that the choice of the entry and the
//! defaults are tested as a table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use formats::system;

use super::dhcp::Lease;
use super::dhcp::message::mask_of;
use super::netlink::{Change, Query, Route};

/// Routes of a link have the metric 100 + its index: with several links the first one wins.
/// Routes that the kernel makes of router advertisements have 1024.
const METRIC: u32 = 100;

/// What one link shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// Ask for an IPv4 address.
    pub(super) dhcp: bool,
    /// Let the kernel take what routers announce.
    pub(super) slaac: bool,
    /// Each with the length of its network's prefix.
    pub(super) addresses: Vec<(IpAddr, u8)>,
    /// Of default routes.
    pub(super) gateways: Vec<IpAddr>,
    /// Wins over what DHCP says.
    pub(super) mtu: Option<u32>,
}

impl Settings {
    /// The settings of the link with this name and hardware address: of the entry that says the
    /// address, else of the one with the name, else DHCP and SLAAC.
    pub(super) fn of(config: &system::Network, name: &str, mac: [u8; 6]) -> Self {
        let by_mac = config.links.values().find(|link| is_mac(link, mac));
        let by_name = config.links.get(name).filter(|link| link.mac.is_none());
        by_mac.or(by_name).map_or_else(|| Self::new(&system::Link::default()), Self::new)
    }

    /// For a link that is not ours any more.
    pub(super) fn nothing() -> Self {
        Self { dhcp: false, slaac: false, addresses: Vec::new(), gateways: Vec::new(), mtu: None }
    }

    fn new(link: &system::Link) -> Self {
        Self {
            dhcp: link.dhcp,
            slaac: link.slaac,
            addresses: link.addresses.iter().filter_map(|text| with_prefix(text)).collect(),
            gateways: link.gateways.clone(),
            mtu: link.mtu,
        }
    }

    /// What the kernel must be told for the static part and a lease, in order: a route needs the
    /// address that it names as its source.
    pub(super) fn queries(&self, link: u32, lease: Option<&Lease>) -> Vec<Query> {
        let change = Change::Add;
        let mtu = self.mtu.or(lease.and_then(|lease| lease.mtu).map(u32::from));
        let mut queries: Vec<Query> =
            mtu.into_iter().map(|mtu| Query::SetMtu { link, mtu }).collect();
        let address =
            |&(address, prefix): &(IpAddr, u8)| Query::Address { link, address, prefix, change };
        queries.extend(self.addresses.iter().map(address));
        let leased = lease.map(|lease| (lease.address.into(), lease.prefix));
        // The same one twice would be taken away twice.
        queries.extend(leased.iter().filter(|own| !self.addresses.contains(own)).map(address));

        let metric = METRIC.saturating_add(link);
        for gateway in &self.gateways {
            queries.push(Query::Route {
                route: Route {
                    link,
                    destination: match gateway {
                        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                    },
                    prefix: 0,
                    gateway: Some(*gateway),
                    source: self.source_for(*gateway),
                    metric,
                },
                change,
            });
        }
        let has_default = self.gateways.iter().any(IpAddr::is_ipv4);
        for route in lease.iter().flat_map(|lease| lease.routes.iter().map(move |r| (lease, r))) {
            let (lease, route) = route;
            if route.prefix == 0 && has_default {
                continue;
            }
            queries.push(Query::Route {
                route: Route {
                    link,
                    destination: route.destination.into(),
                    prefix: route.prefix,
                    gateway: (!route.gateway.is_unspecified()).then(|| route.gateway.into()),
                    source: Some(lease.address),
                    metric,
                },
                change,
            });
        }
        queries
    }

    /// The own address beside a gateway, so that packets to it come from there: of its network,
    /// else any.
    fn source_for(&self, gateway: IpAddr) -> Option<Ipv4Addr> {
        let IpAddr::V4(gateway) = gateway else { return None };
        let own = || {
            self.addresses.iter().filter_map(|(address, prefix)| match address {
                IpAddr::V4(address) => Some((*address, mask_of(*prefix))),
                IpAddr::V6(_) => None,
            })
        };
        let near = own().find(|(own, mask)| (own.to_bits() ^ gateway.to_bits()) & mask == 0);
        near.or_else(|| own().next()).map(|(own, _)| own)
    }
}

/// `52:54:00:12:34:56`, in either case.
pub(super) fn mac_text(mac: [u8; 6]) -> String {
    let bytes: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

/// Whether an entry is about the link with this hardware address.
pub(super) fn is_mac(link: &system::Link, mac: [u8; 6]) -> bool {
    link.mac.as_ref().is_some_and(|text| text.eq_ignore_ascii_case(&mac_text(mac)))
}

/// `192.0.2.10/24`; one that is not is left out, `orlop-node` has said so.
fn with_prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let (address, prefix): (IpAddr, u8) = (address.parse().ok()?, prefix.parse().ok()?);
    (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x5a];

    fn settings(text: &str) -> Settings {
        let system = system::System::parse(text).unwrap();
        Settings::of(&system.network, "eth0", MAC)
    }

    /// In short what would be asked of the kernel.
    fn words(settings: &Settings, lease: Option<&Lease>) -> Vec<String> {
        let word = |query: &Query| match query {
            Query::SetMtu { mtu, .. } => format!("mtu {mtu}"),
            Query::Address { address, prefix, .. } => format!("{address}/{prefix}"),
            Query::Route { route, .. } => {
                let source = route.source.map(|source| format!(" from {source}"));
                let gateway = route.gateway.map(|gateway| format!(" via {gateway}"));
                let (source, gateway) = (source.unwrap_or_default(), gateway.unwrap_or_default());
                format!("{}/{}{gateway}{source}", route.destination, route.prefix)
            }
            other => format!("{other:?}"),
        };
        settings.queries(2, lease).iter().map(word).collect()
    }

    #[test]
    fn an_entry_is_chosen_by_its_address_then_by_its_name() {
        let mtu = |text: &str| settings(text).mtu;
        let by_mac = "[network.links.uplink]\nmac = \"52:54:00:12:34:5A\"\nmtu = 1400\n";
        let by_name = "[network.links.eth0]\nmtu = 1300\n";
        let other = "[network.links.eth0]\nmac = \"52:54:00:00:00:01\"\nmtu = 1200\n";
        assert_eq!(mtu(by_mac), Some(1400));
        assert_eq!(mtu(&format!("{by_name}{by_mac}")), Some(1400));
        assert_eq!(mtu(by_name), Some(1300));
        assert_eq!(mtu(other), None, "the entry says another card's address");
        let none = settings("");
        assert!(none.dhcp && none.slaac && none.addresses.is_empty());
    }

    #[test]
    fn static_addresses_come_with_their_default_routes() {
        let settings = settings(
            "[network.links.eth0]\ndhcp = false\nmtu = 1400\n\
             addresses = [\"198.51.100.7/24\", \"192.0.2.10/24\", \"2001:db8::10/64\", \"x/1\"]\n\
             gateways = [\"192.0.2.1\", \"2001:db8::1\"]\n",
        );
        assert_eq!(
            words(&settings, None),
            [
                "mtu 1400",
                "198.51.100.7/24",
                "192.0.2.10/24",
                "2001:db8::10/64",
                "0.0.0.0/0 via 192.0.2.1 from 192.0.2.10",
                "::/0 via 2001:db8::1",
            ]
        );
    }

    #[test]
    fn a_lease_adds_to_what_is_static_and_a_static_gateway_wins() {
        let lease = Lease::for_test([10, 0, 2, 15].into(), [10, 0, 2, 2].into());
        let none = settings("");
        assert_eq!(
            words(&none, Some(&lease)),
            ["mtu 1460", "10.0.2.15/24", "0.0.0.0/0 via 10.0.2.2 from 10.0.2.15"]
        );
        let both = settings(
            "[network.links.eth0]\nmtu = 1400\naddresses = [\"192.0.2.10/24\"]\n\
             gateways = [\"192.0.2.1\"]\n",
        );
        assert_eq!(
            words(&both, Some(&lease)),
            [
                "mtu 1400",
                "192.0.2.10/24",
                "10.0.2.15/24",
                "0.0.0.0/0 via 192.0.2.1 from 192.0.2.10"
            ]
        );
    }
}
