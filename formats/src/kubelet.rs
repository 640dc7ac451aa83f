//! kubelet's client certificate and key, which it keeps in one file of PEM blocks (`cert-dir` of
//! kubelet). It is the node's identity in its cluster, so its name is the node's. `orlop-node` looks after
//! the file, the updater speaks with the API server by it.

use crate::node_config::{Certificates, HostName};

/// Leads to the pair in use; kubelet has it lead to another one when it was given a new certificate.
pub const CURRENT: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";

/// The kubeconfig of JSON that `orlop-node` makes for joining: it names the server and the file with the
/// certificates by which it is known.
pub const BOOTSTRAP: &str = "/run/orlop/kubelet/bootstrap-kubeconfig";

/// What the subject's common name begins with (Node authorization, Kubernetes).
const SUBJECT: &[u8] = b"system:node:";
const CERTIFICATE: &str = "-----END CERTIFICATE-----";

/// A whole pair of certificate and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The node that it is for, if that could be the name of one.
    pub node: Option<HostName>,
}

impl Credential {
    /// Reads the file's text: the node's certificate, those between it and the authority, its key.
    /// Nothing if one of them is damaged; whether they are good is found by who uses them.
    pub fn parse(text: &str) -> Option<Self> {
        let (certificates, key) = text.split_at(text.rfind(CERTIFICATE)? + CERTIFICATE.len());
        let certificates: Certificates = certificates.parse().ok()?;
        is_key(key).then_some(())?;
        Some(Self { node: certificates.ders().next().and_then(node) })
    }
}

/// A whole block of PEM of a private key. What is in it is kubelet's affair: it writes keys of
/// elliptic curves in a form of their own (RFC 5915).
fn is_key(text: &str) -> bool {
    let mut lines = text.trim().lines();
    let label = lines.next().and_then(|line| line.strip_prefix("-----BEGIN "));
    let end = lines.next_back().and_then(|line| line.strip_prefix("-----END "));
    let base64 = |line: &str| {
        line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
    };
    label.is_some_and(|label| label.ends_with("PRIVATE KEY-----"))
        && label == end
        && lines.clone().next().is_some()
        && lines.all(base64)
}

/// Its name stands in the certificate as a string of its own, behind a byte that has the length
/// (X.690 section 8.1.3).
fn node(der: &[u8]) -> Option<HostName> {
    let at = der.windows(SUBJECT.len()).position(|bytes| bytes == SUBJECT)?;
    let length = usize::from(*der.get(at.checked_sub(1)?)?);
    let name = der.get(at + SUBJECT.len()..at.checked_add(length)?)?;
    str::from_utf8(name).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

    use super::*;

    /// As kubelet writes it, with the name that it gives to the block of the key.
    fn credential_of(node: &str) -> String {
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        parameters.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        parameters.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        certificate.pem() + &key.serialize_pem().replace(" PRIVATE KEY", " EC PRIVATE KEY")
    }

    #[test]
    fn the_name_is_read_out_of_the_certificate() {
        for name in ["alpha", "worker-1.example.internal", &"a".repeat(63)] {
            let credential = Credential::parse(&credential_of(name)).expect("whole");
            assert_eq!(credential.node.expect("a name").as_str(), name);
        }
        // Whole, and of something that no node can be called.
        let odd = Credential::parse(&credential_of("No Name")).expect("whole");
        assert_eq!(odd.node, None);
    }

    #[test]
    fn what_a_power_cut_left_of_one_is_none() {
        let whole = credential_of("alpha");
        for end in [0, 1, 100, whole.len() / 2, whole.len() - 40] {
            assert_eq!(Credential::parse(&whole[..end]), None, "{end}");
        }
        assert_eq!(Credential::parse(&whole.replace('M', "\0")), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), at in 0_usize..60) {
            let mut der = bytes;
            let at = at.min(der.len());
            der.splice(at..at, SUBJECT.iter().copied());
            let _ = node(&der);
        }
    }
}
