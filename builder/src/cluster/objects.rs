//! The objects that a new cluster needs before nodes can join: as `kubeadm` makes them
//! (<https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/>).

use formats::moment::Moment;
use serde_json::{Value, json};

use crate::cluster::Token;
use crate::cluster::pki::KUBELET_CLIENT;

/// A service account that pods have unless they name another; the controller manager makes it.
pub const DEFAULT_SERVICE_ACCOUNT: &str = "/api/v1/namespaces/default/serviceaccounts/default";

/// Each object with the path of the collection it belongs to. The token is good until `expires`,
/// in seconds since 1970.
pub fn objects(token: &Token, expires: u64) -> Vec<(&'static str, Value)> {
    const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
    const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "bootstrap.kubernetes.io/token",
        "metadata": {
            "name": format!("bootstrap-token-{}", token.id()),
            "namespace": "kube-system",
        },
        "stringData": {
            "token-id": token.id(),
            "token-secret": token.secret(),
            "expiration": Moment::since_1970(expires).rfc3339(),
            "description": "for the nodes of orlop cluster",
            "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true",
            "auth-extra-groups": "system:bootstrappers:orlop",
        },
    });
    let approve = "system:certificates.k8s.io:certificatesigningrequests";
    vec![
        (SECRETS, secret),
        // Whoever shows a token may ask for a certificate ...
        (BINDINGS, binding("node-bootstrapper", "system:node-bootstrapper", BOOTSTRAPPERS)),
        // ... and gets it without a person's approval, the first one and those that renew it.
        (BINDINGS, binding("approve-first", &format!("{approve}:nodeclient"), BOOTSTRAPPERS)),
        (BINDINGS, binding("approve-renewal", &format!("{approve}:selfnodeclient"), NODES)),
        // Logs, exec and port-forward: the API server asks kubelets, which ask it whether it may.
        (BINDINGS, binding("kubelet-client", "system:kubelet-api-admin", API_SERVER)),
    ]
}

type Subject = (&'static str, &'static str);
const BOOTSTRAPPERS: Subject = ("Group", "system:bootstrappers");
const NODES: Subject = ("Group", "system:nodes");
const API_SERVER: Subject = ("User", KUBELET_CLIENT);

fn binding(name: &str, role: &str, (kind, subject): Subject) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": format!("orlop:{name}") },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": subject }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_named_after_the_token_and_ends_with_it() {
        let token = Token::draw(&mut &[0; 22][..]).unwrap();
        let objects = objects(&token, 0);
        let (path, secret) = &objects[0];
        assert_eq!(*path, "/api/v1/namespaces/kube-system/secrets");
        assert_eq!(secret["metadata"]["name"], "bootstrap-token-aaaaaa");
        assert_eq!(secret["stringData"]["token-secret"], "aaaaaaaaaaaaaaaa");
        assert_eq!(secret["stringData"]["expiration"], "1970-01-01T00:00:00Z");
    }

    #[test]
    fn every_binding_has_its_own_name() {
        let token = Token::draw(&mut &[0; 22][..]).unwrap();
        let objects = objects(&token, 0);
        let names: std::collections::BTreeSet<_> =
            objects.iter().map(|(_, object)| object["metadata"]["name"].to_string()).collect();
        assert_eq!(names.len(), objects.len());
    }
}
