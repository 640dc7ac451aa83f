//! The texts of a cluster's files. Nothing is written here.

use crate::cluster::Token;
use crate::cluster::pki::{Pair, Pki};
use crate::cluster::plan::EGRESS_SOCKET;

/// A kubeconfig with everything inside, so that a copy of the file is enough
/// (<https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>).
pub fn kubeconfig(server: &str, ca: &str, user: &str, pair: &Pair) -> String {
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: orlop\n\
         \x20 cluster:\n\
         \x20   server: {server}\n\
         \x20   certificate-authority-data: {}\n\
         users:\n\
         - name: {user}\n\
         \x20 user:\n\
         \x20   client-certificate-data: {}\n\
         \x20   client-key-data: {}\n\
         contexts:\n\
         - name: orlop\n\
         \x20 context:\n\
         \x20   cluster: orlop\n\
         \x20   user: {user}\n\
         current-context: orlop\n",
        base64(ca),
        base64(&pair.certificate),
        base64(&pair.key),
    )
}

/// A node config which joins the cluster (`docs/config.md`).
pub fn node_config(server: &str, ca: &str, token: &Token) -> String {
    format!(
        "# Joins a guest of `orlop run` to the cluster that `orlop cluster` runs.\n\
         schema = 1\n\
         \n\
         [kubernetes]\n\
         server = \"{server}\"\n\
         token = \"{token}\"\n\
         ca = \"\"\"\n\
         {}\n\
         \"\"\"\n",
        ca.trim_end()
    )
}

/// The API server reaches kubelets, and all else outside the control plane, through our proxy
/// (`EgressSelectorConfiguration` of `apiserver.k8s.io/v1beta1`).
pub fn egress_selector() -> String {
    let config = serde_json::json!({
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [{
            "name": "cluster",
            "connection": {
                "proxyProtocol": "HTTPConnect",
                "transport": { "uds": { "udsName": EGRESS_SOCKET } },
            },
        }],
    });
    format!("{config:#}\n")
}

/// What belongs into `pki/`: names and texts.
pub fn pki(pki: &Pki) -> Vec<(String, &str)> {
    let pairs =
        [("ca", &pki.ca), ("serving", &pki.serving), ("kubelet-client", &pki.kubelet_client)];
    let mut files = Vec::new();
    for (name, pair) in pairs {
        files.push((format!("{name}.crt"), pair.certificate.as_str()));
        files.push((format!("{name}.key"), pair.key.as_str()));
    }
    files.push(("service-account.pub".to_owned(), pki.service_account.certificate.as_str()));
    files.push(("service-account.key".to_owned(), pki.service_account.key.as_str()));
    files
}

/// RFC 4648, section 4.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let known = digit <= chunk.len();
            let index = (bits >> (18 - 6 * digit)) as usize & 63;
            encoded.push(if known { char::from(DIGITS[index]) } else { '=' });
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn pair() -> Pair {
        Pair { certificate: "certificate\n".to_owned(), key: "key\n".to_owned() }
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (text, want) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
            ("\u{7f}~>?", "f34+Pw=="),
        ] {
            assert_eq!(base64(text), want);
        }
    }

    #[test]
    fn a_kubeconfig_holds_everything_itself() {
        expect![[r#"
            apiVersion: v1
            kind: Config
            clusters:
            - name: orlop
              cluster:
                server: https://127.0.0.1:6443
                certificate-authority-data: Y2EK
            users:
            - name: admin
              user:
                client-certificate-data: Y2VydGlmaWNhdGUK
                client-key-data: a2V5Cg==
            contexts:
            - name: orlop
              context:
                cluster: orlop
                user: admin
            current-context: orlop
        "#]]
        .assert_eq(&kubeconfig("https://127.0.0.1:6443", "ca\n", "admin", &pair()));
    }

    #[test]
    fn a_node_config_names_the_server_as_a_guest_sees_it() {
        let token = Token::draw(&mut &[0; 22][..]).unwrap();
        let text = node_config("https://10.0.2.2:6443", "-----BEGIN-----\nca\n", &token);
        let value: toml::Table = text.parse().unwrap();
        let kubernetes = &value["kubernetes"];
        assert_eq!(kubernetes["server"].as_str(), Some("https://10.0.2.2:6443"));
        assert_eq!(kubernetes["token"].as_str(), Some("aaaaaa.aaaaaaaaaaaaaaaa"));
        assert_eq!(kubernetes["ca"].as_str(), Some("-----BEGIN-----\nca\n"));
        assert_eq!(value["schema"].as_integer(), Some(1));
    }
}
