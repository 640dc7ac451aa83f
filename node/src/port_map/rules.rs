//! The rules for one pod: a table of its own, so that one message makes them and one removes them.
//!
//! ```text
//! table inet hostport/NETWORK/CONTAINER/eth0 {
//!     chain incoming { type nat hook prerouting priority dstnat;
//!         meta nfproto ipv4 fib daddr type local tcp dport 8080 dnat ip to 10.88.0.5:80 }
//!     chain own { type nat hook output priority -100; the same }
//!     chain back { type nat hook postrouting priority srcnat;
//!         ip saddr 10.88.0.5 ip daddr 10.88.0.5 masquerade
//!         ip saddr 127.0.0.0/8 ip daddr 10.88.0.5 masquerade }
//! }
//! table inet hostport { chain loopback { type filter hook prerouting priority raw;
//!     iifname != "lo" ip daddr 127.0.0.0/8 drop } }
//! ```

use std::net::{IpAddr, Ipv4Addr};

use super::mapping::Mapping;
use super::{Code, Error};
use crate::nftables::{Batch, Family, Hook, Rule};

/// What is for all pods, and the beginning of the names of their tables.
const SHARED: &str = "hostport";
/// The node's loopback addresses: the first, and the length of the prefix.
const LOOPBACK: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);
/// `NFT_NAME_MAXLEN`, without the zero at its end.
const LONGEST: usize = 255;

/// The name of the table of one link of one container.
pub(super) fn table(network: &str, container: &str, link: &str) -> Result<String, Error> {
    let name = format!("{SHARED}/{network}/{container}/{link}");
    if name.len() > LONGEST {
        let message =
            format!("the table `{name}` would have more than {LONGEST} bytes in its name");
        return Err(Error::new(Code::Config, message));
    }
    Ok(name)
}

/// Of the tables there are, those of this network that are of none of its attachments.
pub(super) fn stale(
    network: &str,
    attachments: &[(String, String)],
    tables: &[String],
) -> Vec<String> {
    let prefix = format!("{SHARED}/{network}/");
    let of_an_attachment = |rest: &str| {
        attachments.iter().any(|(container, link)| rest == format!("{container}/{link}"))
    };
    let ours = tables
        .iter()
        .filter(|table| table.strip_prefix(&prefix).is_some_and(|rest| !of_an_attachment(rest)));
    ours.cloned().collect()
}

/// Makes the table, in place of one that is there.
pub(super) fn batch(table: &str, mappings: &[Mapping], masquerade: bool) -> Batch {
    let mut batch = Batch::new(Family::Both);
    batch.fresh_table(table);
    for (chain, hook) in [("incoming", Hook::Destination), ("own", Hook::OwnDestination)] {
        batch.add_chain(table, chain, hook);
        // An address of its own goes before all addresses.
        let (one, all): (Vec<_>, Vec<_>) = mappings.iter().partition(|m| m.on.is_some());
        for mapping in one.into_iter().chain(all) {
            batch.add_rule(table, chain, &redirection(mapping));
        }
    }
    if masquerade {
        batch.add_chain(table, "back", Hook::Source);
        for pod in pods(mappings) {
            let to_the_pod = || Rule::default().family_of(pod);
            // The pod asks itself by the node's address: its answer would not leave it.
            batch.add_rule(table, "back", &to_the_pod().source(pod).destination(pod).masquerade());
            // The node asks by its loopback address: nobody else can answer to that.
            if pod.is_ipv4() {
                let own = to_the_pod().source_in(LOOPBACK.0, LOOPBACK.1).destination(pod);
                batch.add_rule(table, "back", &own.masquerade());
            }
        }
    }
    if from_loopback(mappings).next().is_some() {
        guard(&mut batch);
    }
    batch
}

/// The pod's addresses that the node may ask from its loopback address, which the kernel must be told
/// to let leave; it never lets IPv6's, which is one address, leave.
pub(super) fn from_loopback(mappings: &[Mapping]) -> impl Iterator<Item = Ipv4Addr> {
    let mut addresses: Vec<_> = mappings
        .iter()
        .filter(|mapping| mapping.is_on_loopback())
        .filter_map(|mapping| match mapping.pod {
            IpAddr::V4(pod) => Some(pod),
            IpAddr::V6(_) => None,
        })
        .collect();
    addresses.dedup();
    addresses.into_iter()
}

/// Where packets from the loopback address may leave, such to it may come in, and would find what
/// listens for the node alone.
fn guard(batch: &mut Batch) {
    batch.fresh_table(SHARED);
    batch.add_chain(SHARED, "loopback", Hook::Entry);
    let rule = Rule::default().not_from_link("lo").family_of(LOOPBACK.0);
    let rule = rule.destination_in(LOOPBACK.0, LOOPBACK.1);
    batch.add_rule(SHARED, "loopback", &rule.discard());
}

fn redirection(mapping: &Mapping) -> Rule {
    let rule = Rule::default().family_of(mapping.pod);
    let rule = match mapping.on {
        Some(address) => rule.destination(address),
        None => rule.destination_is_local(),
    };
    rule.destination_port(mapping.protocol, mapping.port).redirect(mapping.pod, mapping.pod_port)
}

fn pods(mappings: &[Mapping]) -> Vec<IpAddr> {
    let mut pods: Vec<_> = mappings.iter().map(|mapping| mapping.pod).collect();
    pods.sort_unstable();
    pods.dedup();
    pods
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_pods_that_are_gone_are_stale_and_those_of_other_networks_are_not() {
        let tables = [
            "hostport",
            "hostport/a/c1/eth0",
            "hostport/a/c2/eth0",
            "hostport/ab/c3/eth0",
            "orlop",
        ]
        .map(str::to_owned);
        let attachments = [("c1".to_owned(), "eth0".to_owned())];
        assert_eq!(stale("a", &attachments, &tables), ["hostport/a/c2/eth0"]);
        assert_eq!(stale("none", &[], &tables), [""; 0]);
    }

    #[test]
    fn a_name_that_the_kernel_would_refuse_is_refused_with_its_length() {
        assert_eq!(table("n", "c", "eth0").unwrap(), "hostport/n/c/eth0");
        let error = table(&"n".repeat(200), &"c".repeat(64), "eth0").unwrap_err();
        assert_eq!(error.code, Code::Config);
        assert!(error.message.ends_with("would have more than 255 bytes in its name"));
    }
}
