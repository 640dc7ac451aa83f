//! What the node itself sends from its loopback address to a pod: the kernel lets it leave by a link
//! only where that is allowed.

use std::net::Ipv4Addr;

use super::{Code, Error};

/// The kernel's main table of routes.
const ROUTES: &str = "/proc/net/route";

/// Allows packets from 127.0.0.0/8 to leave by the link that leads to `pod`. What others send to such
/// addresses is dropped by [`super::rules`].
pub(super) fn allow_loopback(pod: Ipv4Addr) -> Result<(), Error> {
    let routes = std::fs::read_to_string(ROUTES)
        .map_err(|error| Error::kernel(&format!("read {ROUTES}"), &error))?;
    let link = link_to(pod, &routes)
        .ok_or_else(|| Error::new(Code::Kernel, format!("no route leads to the pod at {pod}")))?;
    let path = format!("/proc/sys/net/ipv4/conf/{link}/route_localnet");
    std::fs::write(&path, "1").map_err(|error| Error::kernel(&format!("set {path}"), &error))
}

/// The link of the longest prefix that holds the address. The table has numbers in the byte order of
/// the machine, in hexadecimal.
pub(super) fn link_to(address: Ipv4Addr, routes: &str) -> Option<&str> {
    let address = u32::from_ne_bytes(address.octets());
    let matching = routes.lines().skip(1).filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(words.get(at)?, 16).ok();
        let (destination, mask) = (number(1)?, number(7)?);
        (address & mask == destination).then_some((mask.count_ones(), *words.first()?))
    });
    matching.max_by_key(|(length, _)| *length).map(|(_, link)| link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_link_of_the_longest_prefix_leads_to_a_pod() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                      eth0\t00000000\t0202000A\t0003\t0\t0\t102\t00000000\t0\t0\t0\n\
                      cni0\t0000580A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
                      calia\t0700580A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n\
                      cut\t0000";
        for (address, want) in
            [("10.88.0.5", "cni0"), ("10.88.0.7", "calia"), ("192.0.2.1", "eth0")]
        {
            assert_eq!(link_to(address.parse().unwrap(), routes), Some(want), "{address}");
        }
        assert_eq!(link_to(Ipv4Addr::LOCALHOST, "Iface Destination\n"), None);
    }
}
