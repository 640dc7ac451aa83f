//! Modules that the first pod needs and containerd does not: bridge and ends of the pods' network. They
//! are loaded when containerd answers, so that it does not wait for them.

use std::io;
use std::process::{Command, Stdio};

use crate::masquerade;
use crate::root::Root;

/// The recipe's `modules-for-pods`, one name a line, if it has any.
const LIST: &str = "/usr/lib/orlop/modules-for-pods";
/// Of the list, in bytes.
const LIMIT: u64 = 64 << 10;
/// PID 1's, which the kernel runs when it lacks a module.
const MODPROBE: &str = "/usr/lib/orlop/applets/modprobe";
/// What pods send each other on one node passes netfilter: it is there with `br_netfilter`.
const BRIDGE_PASSES_NETFILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// Loads them, and what could not be loaded.
pub(super) fn load(root: &Root) -> Vec<String> {
    let mut troubles = Vec::new();
    let list = root.read(LIST, LIMIT).unwrap_or_else(|error| {
        troubles.push(format!("cannot read {LIST}: {error}"));
        None
    });
    let list = String::from_utf8(list.unwrap_or_default()).unwrap_or_default();
    let names = wanted(&list, masquerade::is_wanted(root));
    if !names.is_empty()
        && let Err(error) = modprobe(&names)
    {
        troubles.push(format!("cannot load the modules for pods: {error}"));
    }
    let path = root.path(BRIDGE_PASSES_NETFILTER);
    if path.exists()
        && let Err(error) = std::fs::write(path, "1")
    {
        troubles.push(format!("cannot set {BRIDGE_PASSES_NETFILTER}: {error}"));
    }
    troubles
}

/// The names in the list and, for a config with a bridge, those of its rule.
fn wanted(list: &str, masquerades: bool) -> Vec<&str> {
    let rule = masquerades.then_some(masquerade::MODULES).into_iter().flatten();
    list.lines().chain(rule).collect()
}

/// One program for all. That an image lacks a module is told by whoever uses it, and by nothing here:
/// the builder has seen to those of the list.
fn modprobe(names: &[&str]) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the unit's deadline is its limit")]
    let mut command = Command::new(MODPROBE);
    let ended = command.arg("-a").args(names).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    if ended.status.success() || said.trim().is_empty() {
        return Ok(());
    }
    Err(io::Error::other(said.trim().replace('\n', "; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_a_bridge_brings_its_modules() {
        assert_eq!(wanted("", false), [""; 0]);
        assert_eq!(wanted("bridge\nveth\n", false), ["bridge", "veth"]);
        assert_eq!(wanted("veth\n", true), ["veth", "nft_chain_nat", "nft_masq"]);
    }
}
