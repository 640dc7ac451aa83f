//! Releases that a node must leave, each a real image, and how one sees which it is.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::variant::{Base, Variant};
use crate::workspace;

/// What is wrong with a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// The kernel panics before it starts a process: it may use too little memory.
    KernelPanics,
    /// PID 1 ends.
    InitEnds,
    /// PID 1 hangs: it is frozen as soon as its units run.
    InitHangs,
    /// A root image that was damaged behind its signature, on the disk.
    RootDamaged,
    /// The network card has no driver, and the image has a check that wants the network.
    NoNetworkDriver,
    /// containerd cannot read its configuration.
    ContainerdEnds,
    /// kubelet does not know one of its options.
    KubeletEnds,
    /// The node is registered and never Ready. It is left only where the node config wants that
    /// (`update.node-ready`).
    NeverReady,
    /// The disk is too slow for the deadline; the image itself is good.
    DiskSlow,
}

impl Bad {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::KernelPanics,
        Self::InitEnds,
        Self::InitHangs,
        Self::RootDamaged,
        Self::NoNetworkDriver,
        Self::ContainerdEnds,
        Self::KubeletEnds,
        Self::NeverReady,
        Self::DiskSlow,
    ];

    /// The recipe that is extended: the smaller one, wherever nothing of Kubernetes is needed.
    pub fn base(self) -> Base {
        match self {
            Self::KubeletEnds | Self::NeverReady => Base::Node,
            _ => Base::Base,
        }
    }

    /// The image. `there` is an address, as the guest sees it, where somebody accepts connections.
    ///
    /// # Errors
    /// What it changes in the image under test is not there any more.
    pub fn variant(self, version: &str, there: &str) -> Result<Variant> {
        const CONTAINERD: &str = "/etc/containerd/config.toml";
        const KUBELET: &str = "/usr/lib/orlop/units/kubelet.toml";
        let variant = Variant::new(self.base(), version);
        Ok(match self {
            Self::KernelPanics => variant.word("mem=48M"),
            Self::InitEnds => variant.leaves(),
            Self::InitHangs => variant.at_start("write /sys/fs/cgroup/init/cgroup.freeze 1"),
            Self::RootDamaged | Self::DiskSlow => variant,
            Self::NoNetworkDriver => variant.without_module("virtio_net").file(
                "/usr/lib/orlop/health.d/network.toml",
                &format!("ask = {{ tcp = \"{there}\" }}\ndeadline = \"1m\"\n"),
            ),
            Self::ContainerdEnds => variant.replace(CONTAINERD, "version = [\n"),
            Self::KubeletEnds => {
                let text =
                    changed("node", KUBELET, "\"/usr/bin/kubelet\"", "&, \"--no-such-option\"")?;
                variant.replace(KUBELET, &text)
            }
            Self::NeverReady => {
                let text =
                    changed("base", CONTAINERD, "\"/etc/cni/net.d\"", "\"/etc/cni/nowhere\"")?;
                variant.replace(CONTAINERD, &text)
            }
        })
    }
}

/// A file of an overlay with something else in the place of `from`, which is `&` there.
fn changed(overlay: &str, path: &str, from: &str, to: &str) -> Result<String> {
    let file = format!("rootfs-overlays/{overlay}{path}");
    let text = fs::read_to_string(workspace().join(&file)).context(file.clone())?;
    ensure!(text.matches(from).count() == 1, "{file} has `{from}` not once");
    Ok(text.replace(from, &to.replace('&', from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_release_is_a_change_of_what_the_image_has() {
        for bad in Bad::ALL {
            bad.variant("9.9", "10.0.2.2:1").unwrap();
        }
        assert!(changed("node", "/usr/lib/orlop/units/kubelet.toml", "no such", "&").is_err());
    }
}
