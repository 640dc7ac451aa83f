//! From a node config to the files that kubelet, containerd, CNI and PID 1 read.
//!
//! First a [`Plan`] is made of the config and of what was found on the node ([`Facts`]), without
//! touching anything; then it is carried out. docs/node-files.md says which key ends where.

mod cluster;
pub mod cni;
mod facts;
mod file;
mod kubelet;
mod plan;
pub(crate) mod proxy;
mod registries;
mod serving;
mod system;
#[cfg(test)]
mod testing;

use std::borrow::Cow;
use std::io;

use formats::node_config::NodeConfig;
use formats::system::System;

pub use self::facts::Facts;
pub(crate) use self::facts::memory;
pub use self::file::File;
pub use self::plan::Plan;
pub use self::system::system;
use crate::kernel::lockdown;
use crate::root::Root;
use crate::sysctl;

/// Why a node's files could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of an earlier configuration is there and cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The path on the node.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file or directory cannot be made.
    #[error("cannot write {path}")]
    Write {
        /// The path on the node.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// What an earlier configuration left cannot be removed.
    #[error("cannot remove {path}")]
    Remove {
        /// The path on the node.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// kubelet's serving certificate cannot be made.
    #[error("cannot make kubelet's serving certificate")]
    Certificate(#[from] rcgen::Error),
}

/// What `/home`, `/mnt` and `/srv` of the image lead to, for volumes of the kind `hostPath`.
const PLACES: [&str; 3] = ["/var/home", "/var/mnt", "/var/srv"];

/// Makes all files of `config`, removes those of an earlier one, and gives what PID 1 needs to
/// know; the source of the config and its problems are the caller's to add.
///
/// `now` is what the clock says and `floor` what it cannot be before, such as when the image was
/// made: a node's clock may say 1970. Both are seconds since 1970 (UTC).
///
/// # Errors
/// The first thing that could not be done. What is in place then is whole, file by file, and
/// kubelet's arguments, without which it does not start, come last.
pub fn assemble(config: &NodeConfig, root: &Root, now: u64, floor: u64) -> Result<System, Error> {
    let facts = Facts::read(root, now.max(floor))?;
    let config = &named(config, &facts);
    let plan = plan(config, &facts);
    plan.write(root)?;
    let mut problems = plan.told;
    problems.extend(lockdown::told(root, config.security, config.weakened()));
    Ok(System { problems, ..system(config) })
}

/// A node that nobody has named keeps the name by which its cluster knows it: the one that DHCP or
/// its cards would give it may be another at each boot, and its certificate is for this one.
fn named<'c>(config: &'c NodeConfig, facts: &Facts) -> Cow<'c, NodeConfig> {
    match &facts.registered {
        Some(name) if config.hostname.is_none() => {
            Cow::Owned(NodeConfig { hostname: Some(name.clone()), ..config.clone() })
        }
        _ => Cow::Borrowed(config),
    }
}

/// Plans the files of `config` on a node of which `facts` are known. Equal arguments make an equal
/// plan.
pub fn plan(config: &NodeConfig, facts: &Facts) -> Plan {
    let config = &named(config, facts);
    let mut plan = Plan::default();
    PLACES.iter().for_each(|place| plan.directory(place));
    registries::plan(&config.containerd, &mut plan);
    cni::plan(config.cni.as_ref(), &mut plan);
    proxy::plan(config, &mut plan);
    match sysctl::text(&config.sysctl) {
        Some(text) => plan.write_file(File::public(sysctl::PATH, text)),
        None => plan.remove(sysctl::PATH),
    }
    match lockdown::left_open(config.security) {
        Some(text) => plan.write_file(File::public(lockdown::LEFT_OPEN, text)),
        None => plan.remove(lockdown::LEFT_OPEN),
    }
    kubelet::plan(config, facts, &mut plan);
    plan.remove_unwritten(&facts.ours);
    plan
}

#[cfg(test)]
mod tests;
