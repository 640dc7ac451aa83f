//! What the node is called: its name, `/etc/hosts`, `/etc/resolv.conf`. `/etc` has an upper layer in
//! memory, so all of it is written again at each boot.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use formats::system::NameServer;

use crate::net::LinkStatus;
use crate::sys::replace;

/// When there is no link that a name could be made of.
pub const DEFAULT_HOSTNAME: &str = "orlop";

/// glibc and Go read no more than three (resolv.conf(5)).
const NAMESERVERS: usize = 3;

/// The name of a node that nobody has named, of its first wired link: `orlop-525400123456`.
pub fn hostname_of(mac: [u8; 6]) -> String {
    mac.iter().fold(format!("{DEFAULT_HOSTNAME}-"), |name, byte| name + &format!("{byte:02x}"))
}

/// `/etc/hosts`. The node's own name must always be in it: kubelet looks itself up, and asks the
/// network for ten seconds if the file does not answer.
pub fn hosts(hostname: &str, addresses: &[IpAddr]) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
    if addresses.is_empty() {
        text.push_str(&format!("127.0.1.1 {hostname}\n"));
    }
    for address in addresses {
        text.push_str(&format!("{address} {hostname}\n"));
    }
    text
}

/// All addresses of the node, first those that packets beyond its networks come from: of a link
/// with a gateway, in the gateway's network if there is one. kubelet registers the node by the
/// first one of its name in `/etc/hosts`.
pub fn addresses(links: &[LinkStatus]) -> Vec<IpAddr> {
    let rank = |link: &LinkStatus, (address, prefix): (IpAddr, u8)| {
        let mut gateways =
            link.gateways.iter().filter(|gateway| gateway.is_ipv4() == address.is_ipv4());
        match gateways.clone().any(|gateway| bits(*gateway, prefix) == bits(address, prefix)) {
            true => 0,
            false => 2 - u8::from(gateways.next().is_some()),
        }
    };
    let all = links.iter().flat_map(|link| link.addresses.iter().map(move |own| (link, *own)));
    let ranked: Vec<_> = all.map(|(link, own)| (rank(link, own), own.0)).collect();
    let of_rank = |wanted| ranked.iter().filter(move |(rank, _)| *rank == wanted);
    (0..=2).flat_map(of_rank).map(|(_, address)| *address).collect()
}

/// The first `prefix` bits.
fn bits(address: IpAddr, prefix: u8) -> u128 {
    let (bits, length) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    bits.checked_shr(length - u32::from(prefix).min(length)).unwrap_or(0)
}

/// `/etc/resolv.conf`, each name server and domain once, in their order.
pub fn resolv_conf(servers: &[NameServer], search: &[String]) -> String {
    let mut text = String::new();
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    for server in first_nameservers(servers) {
        text.push_str(&format!("nameserver {server}\n"));
    }
    text
}

/// The name servers that count, each once.
pub fn first_nameservers(servers: &[NameServer]) -> Vec<NameServer> {
    let mut first: Vec<NameServer> = Vec::new();
    for server in servers {
        if !first.contains(server) && first.len() < NAMESERVERS {
            first.push(server.clone());
        }
    }
    first
}

/// Writes the texts of `hosts` and `resolv.conf` into `etc`.
///
/// # Errors
/// What the file system says.
pub fn write_network_files(etc: &Path, hosts: &str, resolv_conf: &str) -> io::Result<()> {
    replace(&etc.join("hosts"), hosts.as_bytes())?;
    replace(&etc.join("resolv.conf"), resolv_conf.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn the_own_name_is_in_hosts_with_and_without_a_network() {
        let local = "127.0.0.1 localhost\n::1 localhost\n";
        assert_eq!(hosts("n1", &[]), format!("{local}127.0.1.1 n1\n"));
        assert_eq!(
            hosts("n1", &addresses(&["10.0.2.15", "2001:db8::5"])),
            format!("{local}10.0.2.15 n1\n2001:db8::5 n1\n")
        );
    }

    #[test]
    fn the_address_of_the_default_route_comes_first() {
        let link = |own: &[(&str, u8)], gateways: &[&str]| LinkStatus {
            index: 2,
            name: String::new(),
            mac: [0; 6],
            carrier: true,
            dhcp: false,
            asking_since: None,
            addresses: own.iter().map(|(own, prefix)| (own.parse().unwrap(), *prefix)).collect(),
            gateways: addresses(gateways),
            dhcpv6: None,
            dns: Vec::new(),
            search: Vec::new(),
            ntp: Vec::new(),
            hostname: None,
        };
        let order = |links: &[LinkStatus]| -> Vec<String> {
            super::addresses(links).iter().map(ToString::to_string).collect()
        };
        let storage = || link(&[("192.168.77.10", 24)], &[]);
        let uplink = || link(&[("10.0.3.15", 24), ("2001:db8::5", 64)], &["10.0.3.2"]);
        assert_eq!(order(&[storage(), uplink()]), ["10.0.3.15", "192.168.77.10", "2001:db8::5"]);
        assert_eq!(order(&[uplink(), storage()]), ["10.0.3.15", "2001:db8::5", "192.168.77.10"]);
        // Of several addresses the one in the gateway's network; with several gateways the first.
        let two = link(&[("198.51.100.7", 24), ("192.0.2.10", 24)], &["192.0.2.1"]);
        assert_eq!(order(&[two, uplink()])[..2], ["192.0.2.10", "10.0.3.15"]);
        // A gateway on the link, outside its networks.
        let narrow = link(&[("203.0.113.9", 32)], &["10.1.1.1"]);
        assert_eq!(order(&[storage(), narrow]), ["203.0.113.9", "192.168.77.10"]);
        assert_eq!(order(&[storage()]), ["192.168.77.10"]);
        let all = link(&[("10.0.0.1", 0)], &["192.0.2.1"]);
        assert_eq!(order(&[all]), ["10.0.0.1"]);
    }

    #[test]
    fn name_servers_are_listed_once_and_three_at_most() {
        let servers = ["10.0.2.3", "fe80::1%eth0", "10.0.2.3", "2001:db8::53", "10.0.3.4"]
            .map(|server| server.parse().expect("a name server"));
        let search = ["a.example".to_owned(), "b.example".to_owned()];
        assert_eq!(
            resolv_conf(&servers, &search),
            "search a.example b.example\n\
             nameserver 10.0.2.3\nnameserver fe80::1%eth0\nnameserver 2001:db8::53\n"
        );
        assert_eq!(resolv_conf(&[], &[]), "");
    }

    #[test]
    fn a_node_that_nobody_named_has_a_name_of_its_own() {
        assert_eq!(hostname_of([0x52, 0x54, 0, 0x12, 0x34, 0x56]), "orlop-525400123456");
    }
}
