//! What is known beforehand of the release that nodes are asked for, where a channel was named.

use formats::digest::Sha256;
use formats::release::{Listed, Release, is_reached};

/// What the channel says of it.
#[derive(Debug, Clone)]
pub struct Known {
    /// What it says of itself.
    pub release: Release,
    /// kubelet's version, by its SBOM.
    pub kubelet: Option<String>,
    /// Bytes of root image, UKI and their hash trees, as they travel.
    pub whole: u64,
    /// Bytes of the UKI and its hash tree alone.
    pub uki: u64,
    /// All releases of the channel, the oldest first.
    pub listed: Vec<Listed>,
}

/// What a node will fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    /// A delta of the root image, and a delta of the UKI.
    Delta(u64),
    /// A delta of the root image, and of the UKI what the node does not have.
    DeltaAnd(u64),
    /// What the node does not have of the whole.
    AtMost(u64),
}

impl Bytes {
    /// So many at most.
    pub fn most(self) -> u64 {
        match self {
            Self::Delta(bytes) | Self::DeltaAnd(bytes) | Self::AtMost(bytes) => bytes,
        }
    }
}

impl Known {
    /// What a node with this image will fetch.
    pub fn bytes(&self, root_hash: Option<Sha256>) -> Bytes {
        let runs = root_hash.map(|hash| hash.to_string());
        let mut deltas = self.release.deltas.iter();
        match deltas.find(|delta| Some(&delta.hash) == runs.as_ref()) {
            Some(delta) => match &delta.uki {
                Some(uki) => Bytes::Delta(delta.size + uki.size),
                None => Bytes::DeltaAnd(delta.size + self.uki),
            },
            None => Bytes::AtMost(self.whole),
        }
    }

    /// What stands against a node of this version and architecture.
    pub fn objection(&self, version: Option<&str>, architecture: &str) -> Option<String> {
        let Release { architecture: ours, min_from, version: to, .. } = &self.release;
        if !architecture.is_empty() && architecture != ours {
            return Some(format!("its processors are {architecture}, and {to} is for {ours}"));
        }
        let (from, least) = (version?, min_from.as_deref()?);
        (!is_reached(&self.listed, Some(least), from))
            .then(|| format!("it runs {from}, and {to} is reached from {least} on"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    fn listed(versions: &[&str]) -> Vec<Listed> {
        let each = versions.iter().zip(1..).map(|(version, number)| Listed {
            number,
            version: (*version).to_owned(),
            published: None,
            epoch: 0,
        });
        each.collect()
    }

    /// A release 1.2 with a delta from 1.1 whose root hash is `11...`, and one from 1.0 of `10...`.
    pub(crate) fn known() -> Known {
        let hash = |digits: &str| digits.repeat(32);
        let release = json!({
            "schema": 1, "image": "node", "version": "1.2", "architecture": "amd64", "kernel": "6.12",
            "root": { "hash": hash("12"), "salt": "00".repeat(16), "data-size": 4096, "size": 8192 },
            "uki": { "hash": hash("22"), "salt": "00".repeat(16), "size": 4096 },
            "min-from": "1.1",
            "deltas": [
                { "from": "1.1", "hash": hash("11"), "size": 100, "uki": { "hash": hash("21"), "size": 10 } },
                { "from": "1.0", "hash": hash("10"), "size": 200 },
            ],
        });
        Known {
            release: serde_json::from_value(release).unwrap(),
            kubelet: Some("v1.36.3".to_owned()),
            whole: 5000,
            uki: 1000,
            listed: listed(&["1.0", "1.1", "1.2"]),
        }
    }

    #[test]
    fn a_node_fetches_the_delta_from_what_it_runs_or_at_most_the_whole() {
        for (hash, want) in [
            (Some("11"), Bytes::Delta(110)),
            (Some("10"), Bytes::DeltaAnd(1200)),
            (Some("99"), Bytes::AtMost(5000)),
            (None, Bytes::AtMost(5000)),
        ] {
            let hash = hash.map(|digits| digits.repeat(32).parse().unwrap());
            assert_eq!(known().bytes(hash), want);
        }
    }

    #[test]
    fn what_the_node_would_refuse_is_said_before() {
        for (version, architecture, fits) in [
            (Some("1.1"), "amd64", true),
            (Some("1.0"), "amd64", false),
            // It is gone, so it came before all that there is.
            (Some("0.9"), "amd64", false),
            (None, "amd64", true),
            (Some("1.1"), "", true),
            (Some("1.1"), "arm64", false),
        ] {
            let objection = known().objection(version, architecture);
            assert_eq!(objection.is_none(), fits, "{version:?} {architecture}");
        }
    }
}
