//! What a recipe says of Kata Containers.

use std::fmt;

use formats::near::near;
use formats::tree::TreePath;
use serde::{Deserialize, Serialize};

use super::values::{ImagePath, Name};

/// Where Kata's releases have their files, and where the paths lead that their programs have built in.
pub const UPSTREAM: &str = "/opt/kata";

/// Pods in virtual machines: what of a release of Kata the image takes, and how containerd calls it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Kata {
    /// What runs the virtual machines.
    pub hypervisor: Hypervisor,
    /// What is in them.
    #[serde(default)]
    pub guest: Guest,
    /// The component of `url` that is the release.
    #[serde(default = "payload")]
    pub payload: Name,
    /// Where its files go.
    #[serde(default = "upstream")]
    pub at: ImagePath,
    /// The snapshotter of containerd for these pods, if it is not that of all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshotter: Option<Name>,
}

fn payload() -> Name {
    Name::known("kata")
}

fn upstream() -> ImagePath {
    // What is no path is the root, at which a check stops.
    ImagePath(TreePath::new(UPSTREAM).unwrap_or(TreePath::ROOT))
}

/// What runs virtual machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Hypervisor {
    /// QEMU.
    Qemu,
    /// Cloud Hypervisor.
    CloudHypervisor,
    /// Dragonball, a part of the shim.
    Dragonball,
    /// Firecracker, which shares no files with its guests.
    Firecracker,
}

impl Hypervisor {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Qemu, Self::CloudHypervisor, Self::Dragonball, Self::Firecracker];

    /// What recipes call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::CloudHypervisor => "cloud-hypervisor",
            Self::Dragonball => "dragonball",
            Self::Firecracker => "firecracker",
        }
    }
}

impl fmt::Display for Hypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl TryFrom<String> for Hypervisor {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::ALL.into_iter().find(|one| one.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            match near(&text, names) {
                Some(meant) => {
                    format!("`{text}` is no hypervisor of Kata: did you mean `{meant}`?")
                }
                None => {
                    format!("`{text}` is no hypervisor of Kata: there are `{}`", names.join("`, `"))
                }
            }
        })
    }
}

impl From<Hypervisor> for String {
    fn from(hypervisor: Hypervisor) -> Self {
        hypervisor.name().to_owned()
    }
}

/// What is in a virtual machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guest {
    /// The usual guest.
    #[default]
    Standard,
    /// One whose memory the host cannot read: AMD SEV-SNP or Intel TDX.
    Confidential,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hypervisor_that_does_not_exist_is_compared_with_those_that_do() {
        for hypervisor in Hypervisor::ALL {
            assert_eq!(Hypervisor::try_from(String::from(hypervisor)), Ok(hypervisor));
        }
        for (text, end) in [
            ("firecraker", "did you mean `firecracker`?"),
            ("xen", "there are `qemu`, `cloud-hypervisor`, `dragonball`, `firecracker`"),
        ] {
            let error = Hypervisor::try_from(text.to_owned()).unwrap_err();
            assert_eq!(error, format!("`{text}` is no hypervisor of Kata: {end}"));
        }
    }

    #[test]
    fn the_default_place_is_upstreams() {
        assert_eq!(upstream().0.to_string(), UPSTREAM);
    }
}
