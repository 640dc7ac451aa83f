//! Who the node is in its cluster, and where its API server is: what `orlop-node` has made for kubelet, and
//! the certificate that kubelet was given and renews.

use std::path::Path;

use formats::kubelet::{BOOTSTRAP, CURRENT, Credential};
use formats::node_config::Url;
use serde::Deserialize;

use crate::files::{below, read};

/// Bytes of each file that is read.
const LARGEST: u64 = 1 << 20;

/// What it takes to speak for the node.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The address of the API server, without `/` at its end.
    pub server: String,
    /// The certificates by which it is known, PEM.
    pub authorities: String,
    /// The name of the Node object.
    pub node: String,
    /// The client certificate and its key, PEM.
    pub pair: String,
    /// Variables of the environment that name proxies, a line each.
    pub proxies: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { server, node, .. } = self;
        f.debug_struct("Credentials").field("server", server).field("node", node).finish()
    }
}

/// Why nobody can speak for the node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unjoined {
    /// Its config names no API server.
    #[error("the node is in no cluster")]
    NoCluster,
    /// kubelet has no certificate.
    #[error("the node has not joined its cluster yet")]
    NotYet,
    /// A file is not what it should be.
    #[error("{0}")]
    Damaged(String),
}

/// The form of [`BOOTSTRAP`], as far as it is read.
#[derive(Deserialize)]
struct Kubeconfig {
    clusters: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: String,
}

impl Credentials {
    /// Looks at the node whose file system begins at `root`. It is looked at again for each exchange: a
    /// renewed certificate counts at once.
    ///
    /// # Errors
    /// See [`Unjoined`].
    pub fn find(root: &Path) -> Result<Self, Unjoined> {
        let text = |path: &str| {
            let damaged = |error| Unjoined::Damaged(format!("cannot read `{path}`: {error}"));
            read(&below(root, path), LARGEST).map_err(damaged)
        };
        let config = text(BOOTSTRAP)?.ok_or(Unjoined::NoCluster)?;
        let damaged = |what: &str| Unjoined::Damaged(format!("`{BOOTSTRAP}` {what}"));
        let config: Kubeconfig = serde_json::from_str(&config)
            .map_err(|error| damaged(&format!("is no kubeconfig of JSON: {error}")))?;
        let Some(Named { cluster }) = config.clusters.into_iter().next() else {
            return Err(damaged("names no cluster"));
        };
        let server: Url = cluster.server.parse().map_err(|error: String| damaged(&error))?;
        let authorities = text(&cluster.certificate_authority)?.ok_or_else(|| {
            damaged(&format!("names `{}`, which is not there", cluster.certificate_authority))
        })?;
        let pair = text(CURRENT)?.ok_or(Unjoined::NotYet)?;
        let damaged = |what: &str| Unjoined::Damaged(format!("`{CURRENT}` {what}"));
        let credential = Credential::parse(&pair).ok_or_else(|| damaged("is damaged"))?;
        let node = credential.node.ok_or_else(|| damaged("names no node"))?;
        Ok(Self {
            server: server.to_string().trim_end_matches('/').to_owned(),
            authorities,
            node: node.to_string(),
            pair,
            proxies: text(web::proxy::PATH)?.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

    use super::*;

    /// The pair of a node, as kubelet keeps it; no API server has signed it.
    pub(crate) fn pair_of(node: &str) -> String {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        certificate.pem() + &key.serialize_pem()
    }

    pub(crate) fn write(root: &Path, path: &str, text: &str) {
        let path = below(root, path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A node of this name that has joined the cluster of this API server.
    pub(crate) fn joined(server: &str, node: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), BOOTSTRAP, &bootstrap(server));
        write(root.path(), "/run/orlop/kubelet/ca.crt", "");
        write(root.path(), CURRENT, &pair_of(node));
        root
    }

    fn bootstrap(server: &str) -> String {
        let cluster = serde_json::json!({
            "server": server,
            "certificate-authority": "/run/orlop/kubelet/ca.crt",
        });
        serde_json::json!({
            "apiVersion": "v1",
            "clusters": [{ "name": "cluster", "cluster": cluster }],
            "users": [{ "name": "bootstrap", "user": { "token": "abcdef.0123456789abcdef" } }],
        })
        .to_string()
    }

    #[test]
    fn a_node_speaks_by_the_name_in_kubelets_certificate() {
        let root = joined("https://10.0.2.2:6443", "worker-1");
        let found = Credentials::find(root.path()).unwrap();
        assert_eq!(
            (found.server.as_str(), found.node.as_str()),
            ("https://10.0.2.2:6443", "worker-1")
        );
        // The key is in no message.
        assert!(!format!("{found:?}").contains("BEGIN"));
        write(root.path(), CURRENT, &pair_of("worker-2"));
        assert_eq!(Credentials::find(root.path()).unwrap().node, "worker-2");
    }

    #[test]
    fn what_is_missing_or_damaged_is_told() {
        let root = tempfile::tempdir().unwrap();
        let find = || Credentials::find(root.path());
        assert_eq!(find(), Err(Unjoined::NoCluster));
        write(root.path(), BOOTSTRAP, &bootstrap("https://a.example:6443/"));
        assert!(find().unwrap_err().to_string().ends_with("ca.crt`, which is not there"));
        write(root.path(), "/run/orlop/kubelet/ca.crt", "");
        assert_eq!(find(), Err(Unjoined::NotYet));
        for (path, text, words) in [
            (CURRENT, "cut", "current.pem` is damaged"),
            (CURRENT, &pair_of("No Name"), "current.pem` names no node"),
            (BOOTSTRAP, "{", "is no kubeconfig of JSON"),
            (BOOTSTRAP, "{\"clusters\": []}", "names no cluster"),
            (BOOTSTRAP, &bootstrap("ftp://x"), "bootstrap-kubeconfig` "),
        ] {
            write(root.path(), path, text);
            let error = find().unwrap_err();
            assert!(matches!(&error, Unjoined::Damaged(why) if why.contains(words)), "{error}");
        }
    }
}
