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

use formats::node_config::Subnet;

use crate::arguments::{Arguments, Failure};
use crate::assemble::cni::BRIDGE;
use crate::nftables::{Batch, Family, Hook, Rule, lacks};
use crate::problems;
use crate::root::{Keep, PUBLIC, Root};

/// What is left for the unit `masquerade`: the subnet, or nothing. Who takes in a config may not give
/// rules to the kernel.
const WANTED: &str = "/run/orlop/masquerade";
/// The unit that calls [`command`].
const UNIT: &str = "masquerade";

/// The name of the table, which nobody else uses.
const TABLE: &str = "orlop";
/// The name of its chain.
const CHAIN: &str = "masquerade";

/// What the rule needs, with what that depends on. All at once they are loaded in a fraction of the
/// time: the kernel would run a program for each part of the request that it cannot do yet, seven
/// times, and begin anew after each.
pub(crate) const MODULES: [&str; 2] = ["nft_chain_nat", "nft_masq"];

/// Has the unit make the rule for `subnet`. Without one it need not run, unless it was told of one in
/// this boot: that rule is to go.
///
/// # Errors
/// What the file system says.
pub(crate) fn leave(root: &Root, subnet: Option<Subnet>) -> io::Result<()> {
    if subnet.is_none() && !root.path(WANTED).exists() {
        return Ok(());
    }
    let text = subnet.map_or(String::new(), |subnet| subnet.to_string());
    root.write(WANTED, text.as_bytes(), PUBLIC, Keep::ThisBoot)
}

/// Whether a rule is to be made in this boot, as far as is known yet.
pub(crate) fn is_wanted(root: &Root) -> bool {
    matches!(wanted(root), Ok(Some(_)))
}

/// `masquerade`: does what [`leave`] was told.
///
/// # Errors
/// [`Failure::Usage`]; [`Failure::Failed`] if that cannot be read. That the kernel refuses the rule
/// is told on the screen, for pods run without it.
pub(crate) fn command(arguments: &mut Arguments) -> Result<(), Failure> {
    arguments.finish()?;
    let root = Root::new("/");
    let subnet = wanted(&root).map_err(|error| Failure::Failed(format!("{WANTED}: {error}")))?;
    let troubles: Vec<_> = set(subnet).err().iter().map(told).collect();
    troubles.iter().for_each(|trouble| eprintln!("{trouble}"));
    problems::leave(&root, UNIT, &[], &troubles)
        .map_err(|error| Failure::Failed(format!("cannot tell PID 1: {error}")))
}

fn wanted(root: &Root) -> io::Result<Option<Subnet>> {
    let bytes = root.read(WANTED, 100)?.unwrap_or_default();
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    (!text.is_empty()).then(|| text.parse().map_err(io::Error::other)).transpose()
}

/// For the screen.
pub(crate) fn told(error: &io::Error) -> String {
    format!("pods reach nothing beyond the node: {error}")
}

/// Makes the rule for `subnet` in place of the one there was; without a subnet there is none.
///
/// # Errors
/// What the kernel says; [`io::ErrorKind::Unsupported`] if it has no nftables or lacks a part of it.
pub fn set(subnet: Option<Subnet>) -> io::Result<()> {
    let wanted = subnet.map(family);
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

    #[test]
    fn what_is_left_for_the_unit_is_what_it_reads() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        for subnet in [Some("10.88.0.0/16"), Some("fd00:88::/64"), None] {
            let subnet = subnet.map(|subnet| subnet.parse::<Subnet>().unwrap());
            leave(&root, subnet).unwrap();
            assert_eq!(wanted(&root).unwrap(), subnet);
        }
        root.write(WANTED, b"10.88.0.0", PUBLIC, Keep::ThisBoot).unwrap();
        assert!(wanted(&root).is_err());
    }
}
