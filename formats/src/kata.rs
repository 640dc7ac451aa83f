//! What a node is told of Kata by its image, and what it tells the cluster: [`Facts`] in the root, and the
//! labels of the Node object.
//!
//! The builder writes the file and `orlop-node check-kata` reads it; both are of the same image, so it has
//! no schema number.

use serde::{Deserialize, Serialize};

/// Where the facts lie in an image whose recipe has `[kata]`.
pub const PATH: &str = "/usr/lib/orlop/kata.json";

/// The label of a node that can run pods in virtual machines, with the value `true`.
pub const LABEL: &str = "orlop.dev/kata";

/// The same by the name that upstream's installer has for it: what others have written selects nodes by that.
pub const UPSTREAM_LABEL: &str = "katacontainers.io/kata-runtime";

/// The label of a node that can keep the memory of virtual machines from itself. Its value is a
/// [`Tee::name`].
pub const TEE_LABEL: &str = "orlop.dev/tee";

/// Where a node's own check leaves [`Found`], in each boot.
pub const FOUND: &str = "/run/orlop/kata.json";

/// What a node has found that it can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Found {
    /// It can run pods in virtual machines.
    pub runs: bool,
    /// It can keep their memory from itself, by this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tee: Option<Tee>,
}

/// What runs in virtual machines on this node, and what that takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Facts {
    /// What runs them, as recipes call it.
    pub hypervisor: String,
    /// By which names containerd knows how to start them.
    pub handlers: Vec<String>,
    /// Whether their memory lies in `/dev/shm`, from where another process serves their files.
    pub memory_in_shm: bool,
    /// For which kinds of confidential guests there is a handler; empty if guests are of the usual kind.
    #[serde(default)]
    pub tees: Vec<Tee>,
}

/// What keeps a guest's memory from its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tee {
    /// AMD SEV-SNP.
    Snp,
    /// Intel TDX.
    Tdx,
}

impl Tee {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Snp, Self::Tdx];

    /// As the label has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snp => "snp",
            Self::Tdx => "tdx",
        }
    }

    /// As people know it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Snp => "AMD SEV-SNP",
            Self::Tdx => "Intel TDX",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_survive_json() {
        let facts = Facts {
            hypervisor: "qemu".to_owned(),
            handlers: vec!["kata".to_owned()],
            memory_in_shm: false,
            tees: vec![Tee::Snp, Tee::Tdx],
        };
        let text = serde_json::to_string(&facts).unwrap();
        assert_eq!(
            text,
            r#"{"hypervisor":"qemu","handlers":["kata"],"memory-in-shm":false,"tees":["snp","tdx"]}"#
        );
        assert_eq!(serde_json::from_str::<Facts>(&text).unwrap(), facts);
        let found = Found { runs: true, tee: Some(Tee::Tdx) };
        let text = serde_json::to_string(&found).unwrap();
        assert_eq!(text, r#"{"runs":true,"tee":"tdx"}"#);
        assert_eq!(serde_json::from_str::<Found>(r#"{"runs":false}"#).unwrap(), Found::default());
    }
}
