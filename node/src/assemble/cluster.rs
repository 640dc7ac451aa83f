//! Which cluster the credentials on STATE are for.
//!
//! kubelet keeps what it got by the bootstrap token (`/var/lib/kubelet/kubeconfig` and its client
//! certificates) and goes on with it whatever the bootstrap kubeconfig says by then. So what it was
//! got for is noted beside it, and removed when the config names something else.

use std::collections::BTreeSet;

use formats::digest::Sha256;
use formats::node_config::{Certificates, Url};
use serde::{Deserialize, Serialize};

/// Where it is noted.
pub(super) const PATH: &str = "/var/lib/orlop/cluster.json";

/// A cluster, as far as it can be told from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cluster {
    /// The address of its API server.
    server: String,
    /// SHA-256 of each certificate by which the API server is known, as DER.
    ca: BTreeSet<String>,
}

/// How much of what kubelet keeps is still good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credentials {
    /// All.
    Good,
    /// The client certificate; the kubeconfig names another server, and kubelet makes a new one.
    OtherServer,
    /// Nothing: the node is to join anew.
    OtherCluster,
}

impl Cluster {
    pub(super) fn new(server: &Url, ca: &Certificates) -> Self {
        let ca = ca.ders().map(|der| Sha256::of(der).to_string()).collect();
        Self { server: server.to_string(), ca }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(super) fn text(&self) -> String {
        let mut text = serde_json::json!(self).to_string();
        text.push('\n');
        text
    }

    /// What of the credentials that were got in `joined` is good for this cluster. With one
    /// certificate in common it is the same one: that is how a cluster changes its CA.
    pub(super) fn credentials_of(&self, joined: Option<&Self>) -> Credentials {
        match joined {
            Some(joined) if self.ca.is_disjoint(&joined.ca) => Credentials::OtherCluster,
            Some(joined) if self.server != joined.server => Credentials::OtherServer,
            Some(_) => Credentials::Good,
            None => Credentials::OtherCluster,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(server: &str, ca: &[&str]) -> Cluster {
        let ca = ca.iter().map(|&digest| digest.to_owned()).collect();
        Cluster { server: server.to_owned(), ca }
    }

    #[test]
    fn credentials_are_good_for_the_cluster_that_gave_them() {
        use Credentials::{Good, OtherCluster, OtherServer};
        let joined = cluster("https://a:6443", &["old"]);
        for (wanted, want) in [
            (cluster("https://a:6443", &["old"]), Good),
            (cluster("https://a:6443", &["old", "new"]), Good),
            (cluster("https://b:6443", &["old"]), OtherServer),
            (cluster("https://b:6443", &["new", "old"]), OtherServer),
            (cluster("https://a:6443", &["new"]), OtherCluster),
            (cluster("https://b:6443", &["new"]), OtherCluster),
        ] {
            assert_eq!(wanted.credentials_of(Some(&joined)), want, "{wanted:?}");
        }
        assert_eq!(joined.credentials_of(None), OtherCluster, "of unknown origin");
    }

    #[test]
    fn the_note_is_read_back() {
        let noted = cluster("https://a:6443", &["one", "two"]);
        assert_eq!(noted.text(), "{\"ca\":[\"one\",\"two\"],\"server\":\"https://a:6443\"}\n");
        assert_eq!(Cluster::parse(&noted.text()), Some(noted));
    }
}
