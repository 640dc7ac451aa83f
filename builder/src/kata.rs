//! Kata Containers: pods in virtual machines. What an image takes of a release, by which handlers containerd
//! calls it, and what a cluster is told of them. All of it follows from `[kata]` of the recipe and from the
//! configuration files of the release; nothing here reads or writes.

pub mod containerd;
pub mod release;

use formats::kata::{Facts, LABEL, TEE_LABEL, Tee};
use formats::tree::TreePath;

use crate::recipe::model::{Guest, Hypervisor, Kata};

/// The shim, below the place of the release: the one in Rust.
pub const SHIM: &str = "runtime-rs/bin/containerd-shim-kata-v2";
/// The directory of its configurations.
pub const CONFIGURATIONS: &str = "share/defaults/kata-containers/runtime-rs";

/// A way to start a pod that containerd knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handler {
    /// What containerd and RuntimeClasses call it.
    pub name: &'static str,
    /// The names that its configuration has had in releases, the newest one first.
    pub configurations: &'static [&'static str],
    /// What keeps its guests' memory from the host.
    pub tee: Option<Tee>,
}

/// The handlers that an image has.
pub fn handlers(kata: &Kata) -> Vec<Handler> {
    let standard = |configurations| vec![Handler { name: "kata", configurations, tee: None }];
    match (kata.guest, kata.hypervisor) {
        (Guest::Confidential, _) => vec![
            Handler {
                name: "kata-snp",
                configurations: &["configuration-qemu-snp-runtime-rs.toml"],
                tee: Some(Tee::Snp),
            },
            Handler {
                name: "kata-tdx",
                configurations: &["configuration-qemu-tdx-runtime-rs.toml"],
                tee: Some(Tee::Tdx),
            },
        ],
        (Guest::Standard, Hypervisor::Qemu) => standard(&["configuration-qemu-runtime-rs.toml"]),
        (Guest::Standard, Hypervisor::CloudHypervisor) => {
            standard(&["configuration-clh-runtime-rs.toml", "configuration-cloud-hypervisor.toml"])
        }
        (Guest::Standard, Hypervisor::Dragonball) => standard(&["configuration-dragonball.toml"]),
        (Guest::Standard, Hypervisor::Firecracker) => {
            standard(&["configuration-rs-fc.toml", "configuration-fc-rs.toml"])
        }
    }
}

impl Handler {
    /// What a pod takes of its node beside its containers: cpu and memory. Upstream's figures, of the
    /// chart `kata-deploy`; for confidential guests what the guest has before its containers ask.
    pub fn overhead(&self, hypervisor: Hypervisor) -> (&'static str, &'static str) {
        match (self.tee, hypervisor) {
            (Some(_), _) => ("1000m", "2048Mi"),
            (None, Hypervisor::Qemu) => ("250m", "320Mi"),
            (None, _) => ("250m", "130Mi"),
        }
    }

    /// The labels that a node has which can start such pods.
    pub fn labels(&self) -> Vec<(&'static str, &'static str)> {
        let tee = self.tee.map(|tee| (TEE_LABEL, tee.name()));
        std::iter::once((LABEL, "true")).chain(tee).collect()
    }
}

/// What the node is told.
pub fn facts(kata: &Kata) -> Facts {
    Facts {
        hypervisor: kata.hypervisor.name().to_owned(),
        handlers: handlers(kata).iter().map(|handler| handler.name.to_owned()).collect(),
        memory_in_shm: (kata.hypervisor, kata.guest) == (Hypervisor::Qemu, Guest::Standard),
        tees: handlers(kata).iter().filter_map(|handler| handler.tee).collect(),
    }
}

/// A path below the place of the release in the image.
pub fn placed(kata: &Kata, inner: &str) -> String {
    format!("{}/{inner}", kata.at.0)
}

/// What the builder makes for Kata whatever the release holds, beside what lies at `kata.at`.
pub fn made() -> [&'static str; 2] {
    [containerd::PATH, formats::kata::PATH]
}

/// A path of the image that our own code names.
pub(crate) fn known(path: &str) -> TreePath {
    TreePath::new(path).unwrap_or(TreePath::ROOT)
}
