//! What a link shall have, out of the node config: pure, so that the choice of the entry and the
//! defaults are tested as a table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use formats::system;

use super::dhcp::Lease;
use super::dhcp::message::{Route as DhcpRoute, mask_of};
use super::netlink::{Change, Query, Route};

/// Routes of a link have the metric 100 + its index: with several links the first one wins.
/// Routes that the kernel makes of router advertisements have 1024.
const METRIC: u32 = 100;

/// What one link shall have.
///
/// By default nothing, as for a link that is not ours any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// Ask for an IPv4 address.
    pub(super) dhcp: bool,
    /// Let the kernel take what routers announce.
    pub(super) slaac: bool,
    /// Each with the length of its network's prefix.
    pub(super) addresses: Vec<(IpAddr, u8)>,
    /// Of default routes.
    pub(super) gateways: Vec<IpAddr>,
    /// To other networks.
    pub(super) routes: Vec<StaticRoute>,
    /// Wins over what DHCP says.
    pub(super) mtu: Option<u32>,
}

/// A way to another network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StaticRoute {
    destination: IpAddr,
    prefix: u8,
    gateway: Option<IpAddr>,
    /// That of the link's gateways without.
    metric: Option<u32>,
}

impl Settings {
    /// The settings of the link with this name and hardware address: of the entry that says the
    /// address, else of the one with the name, else DHCP and SLAAC.
    pub(super) fn of(config: &system::Network, name: &str, mac: [u8; 6]) -> Self {
        let by_mac = config.links.values().find(|link| is_mac(link, mac));
        let by_name = config.links.get(name).filter(|link| link.mac.is_none());
        by_mac.or(by_name).map_or_else(|| Self::new(&system::Link::default()), Self::new)
    }

    fn new(link: &system::Link) -> Self {
        Self {
            dhcp: link.dhcp,
            slaac: link.slaac,
            addresses: link.addresses.iter().filter_map(|text| with_prefix(text)).collect(),
            gateways: link.gateways.clone(),
            routes: link.routes.iter().filter_map(static_route).collect(),
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
        let everywhere = self.gateways.iter().map(|gateway| StaticRoute {
            destination: match gateway {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            },
            prefix: 0,
            gateway: Some(*gateway),
            metric: None,
        });
        let leased = lease.map(|lease| lease.address);
        let own: Vec<StaticRoute> = everywhere.chain(self.routes.iter().cloned()).collect();
        for &StaticRoute { destination, prefix, gateway, metric: own } in &own {
            let source = self.source_for(gateway.unwrap_or(destination), leased);
            let metric = own.unwrap_or(metric);
            let route = Route { link, destination, prefix, gateway, source, metric };
            queries.push(Query::Route { route, change });
        }
        let is_ours = |route: &DhcpRoute| {
            let same = |own: &StaticRoute| {
                own.destination == IpAddr::V4(route.destination)
                    && own.prefix == route.prefix
                    && own.metric.is_none_or(|own| own == metric)
            };
            own.iter().any(same)
        };
        for route in lease.iter().flat_map(|lease| lease.routes.iter().map(move |r| (lease, r))) {
            let (lease, route) = route;
            // What stands in the config wins.
            if is_ours(route) {
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
    /// else any, else the one of the lease.
    fn source_for(&self, gateway: IpAddr, leased: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let IpAddr::V4(gateway) = gateway else { return None };
        let own = || {
            self.addresses.iter().filter_map(|(address, prefix)| match address {
                IpAddr::V4(address) => Some((*address, mask_of(*prefix))),
                IpAddr::V6(_) => None,
            })
        };
        let near = own().find(|(own, mask)| (own.to_bits() ^ gateway.to_bits()) & mask == 0);
        near.or_else(|| own().next()).map(|(own, _)| own).or(leased)
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

/// One whose network is no network is left out, `orlop-node` has said so.
fn static_route(route: &system::Route) -> Option<StaticRoute> {
    let (destination, prefix) = with_prefix(&route.to)?;
    Some(StaticRoute { destination, prefix, gateway: route.via, metric: route.metric })
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
                let metric = match route.metric {
                    102 => String::new(),
                    metric => format!(" metric {metric}"),
                };
                format!("{}/{}{gateway}{source}{metric}", route.destination, route.prefix)
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

    #[test]
    fn routes_of_the_config_win_over_those_of_a_lease_and_leave_from_its_address() {
        let mut lease = Lease::for_test([10, 0, 2, 15].into(), [10, 0, 2, 2].into());
        lease.routes.push(DhcpRoute {
            destination: [10, 96, 0, 0].into(),
            prefix: 12,
            gateway: [10, 0, 2, 3].into(),
        });
        let routes = "[[network.links.eth0.routes]]\nto = \"10.96.0.0/12\"\nvia = \"10.0.2.9\"\n\
            [[network.links.eth0.routes]]\nto = \"198.51.100.0/24\"\n\
            [[network.links.eth0.routes]]\nto = \"2001:db8:9::/48\"\nvia = \"fe80::9\"\nmetric = 7\n";
        assert_eq!(
            words(&settings(routes), Some(&lease)),
            [
                "mtu 1460",
                "10.0.2.15/24",
                "10.96.0.0/12 via 10.0.2.9 from 10.0.2.15",
                "198.51.100.0/24 from 10.0.2.15",
                "2001:db8:9::/48 via fe80::9 metric 7",
                "0.0.0.0/0 via 10.0.2.2 from 10.0.2.15",
            ]
        );
    }
}
