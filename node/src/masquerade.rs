//! Lets the pods of the node's own bridge reach the world: what they send leaves with the node's
//! address.
//!
//! CNI's bridge plugin would do so by running `iptables` or `nft`, for which a node would need
//! those programs and the eight Debian packages they are in. It is one rule, so it is given to the kernel here:
//! `table ip orlop { chain masquerade { type nat hook postrouting priority srcnat;
//! ip saddr SUBNET oifname != "cni0" masquerade } }`, or the same of `ip6`. `nft list ruleset` of
//! a debugging pod shows it so. The kernel must have `nf_tables`, `nft_chain_nat` and `nft_masq`.

use std::io;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use formats::node_config::Subnet;

use crate::assemble::cni::BRIDGE;
use crate::nftables::{Batch, Family, Hook, Rule, lacks};

/// The name of the table, which nobody else uses.
const TABLE: &str = "orlop";
/// The name of its chain.
const CHAIN: &str = "masquerade";

/// What the rule needs, with what that depends on.
const MODULES: [&str; 2] = ["nft_chain_nat", "nft_masq"];
/// PID 1's, which the kernel runs when it lacks a module.
const MODPROBE: &str = "/usr/lib/orlop/applets/modprobe";

/// Makes the rule for `subnet` in place of the one there was; without a subnet there is none.
///
/// # Errors
/// What the kernel says; [`io::ErrorKind::Unsupported`] if it has no nftables or lacks a part of it.
pub fn set(subnet: Option<Subnet>) -> io::Result<()> {
    let wanted = subnet.map(family);
    if wanted.is_some() {
        load_modules();
    }
    for family in [Family::Ip, Family::Ip6] {
        if wanted != Some(family) {
            remove(family)?;
        }
    }
    match subnet.map_or(Ok(()), |subnet| rule(subnet).send()) {
        // The rule asks for nothing else that could be absent.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(lacks("`nft_chain_nat` or `nft_masq`"))
        }
        other => other,
    }
}

/// All at once: the kernel would run the same program for each part of the request that it cannot
/// do yet, seven times, and begin anew after each. What fails here it asks for all the same.
fn load_modules() {
    let null = Stdio::null;
    #[expect(clippy::disallowed_methods, reason = "what it says and how it ends changes nothing")]
    let mut command = Command::new(MODPROBE);
    command.arg("-a").args(MODULES).stdin(null()).stdout(null()).stderr(null());
    drop(command.status());
}

fn family(subnet: Subnet) -> Family {
    match subnet.first() {
        IpAddr::V4(_) => Family::Ip,
        IpAddr::V6(_) => Family::Ip6,
    }
}

/// In one transaction with the removal of an earlier one, so that no packet meets a node without
/// the rule.
fn rule(subnet: Subnet) -> Batch {
    let mut batch = Batch::new(family(subnet));
    batch.fresh_table(TABLE);
    batch.add_chain(TABLE, CHAIN, Hook::Source);
    let rule = Rule::default().source_in(subnet.first(), subnet.prefix());
    batch.add_rule(TABLE, CHAIN, &rule.not_to_link(BRIDGE).masquerade());
    batch
}

fn remove(family: Family) -> io::Result<()> {
    let mut batch = Batch::new(family);
    batch.delete_table(TABLE);
    match batch.send() {
        // There is none, or the kernel cannot have one.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_is_that_of_the_subnet() {
        for (subnet, want) in [("10.88.0.0/16", Family::Ip), ("fd00:88::/64", Family::Ip6)] {
            assert_eq!(family(subnet.parse().unwrap()), want);
        }
    }
}
