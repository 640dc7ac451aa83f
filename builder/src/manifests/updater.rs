//! Who may upgrade nodes by their Node objects. A node itself needs nothing: the Node authorizer and
//! NodeRestriction let it read and patch its own Node object and create Events, and no more.

use std::str::FromStr;

use serde_json::{Value, json};

use super::Manifests;

const ROLE: &str = "orlop:upgrade";
const GROUP: &str = "rbac.authorization.k8s.io";

const ABOUT: &str = "\
For who runs `orlop upgrade`, or annotates Node objects by other means. Whoever may patch Nodes may have
them restart with another release of their channel.

The nodes need nothing that is not there: kubelet's credentials may read and patch their own Node object
(Node authorizer, admission plugin NodeRestriction) and create Events.";

/// Who is granted something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A user, by the name that the API server knows.
    User(String),
    /// A group.
    Group(String),
    /// A ServiceAccount.
    ServiceAccount {
        /// Where it is.
        namespace: String,
        /// What it is called.
        name: String,
    },
}

impl Subject {
    fn object(&self) -> Value {
        match self {
            Self::User(name) => json!({ "apiGroup": GROUP, "kind": "User", "name": name }),
            Self::Group(name) => json!({ "apiGroup": GROUP, "kind": "Group", "name": name }),
            Self::ServiceAccount { namespace, name } => {
                json!({ "kind": "ServiceAccount", "namespace": namespace, "name": name })
            }
        }
    }
}

impl FromStr for Subject {
    type Err = String;

    /// `user:NAME`, `group:NAME` or `serviceaccount:NAMESPACE/NAME`; names have colons themselves.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is not `user:NAME`, `group:NAME` or `serviceaccount:NAMESPACE/NAME`")
        };
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(wrong());
        }
        match kind {
            "user" => Ok(Self::User(name.to_owned())),
            "group" => Ok(Self::Group(name.to_owned())),
            "serviceaccount" => {
                let (namespace, name) = name.split_once('/').ok_or_else(wrong)?;
                let is_name = |name: &str| {
                    let fits =
                        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
                    !name.is_empty() && name.chars().all(fits)
                };
                if !is_name(namespace) || !is_name(name) {
                    return Err(wrong());
                }
                Ok(Self::ServiceAccount { namespace: namespace.into(), name: name.into() })
            }
            _ => Err(wrong()),
        }
    }
}

/// The role of who upgrades nodes, and its binding to these.
pub fn updater(subjects: &[Subject]) -> Manifests {
    let rule = |group: &str, resource: &str, verbs: &[&str]| json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs });
    let role = json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": "ClusterRole",
        "metadata": { "name": ROLE },
        "rules": [
            rule("", "nodes", &["get", "list", "watch", "patch"]),
            rule("", "pods", &["list", "watch"]),
            rule("", "pods/eviction", &["create"]),
            rule("policy", "poddisruptionbudgets", &["get", "list"]),
            rule("", "events", &["list", "watch"]),
        ],
    });
    let binding = json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": "ClusterRoleBinding",
        "metadata": { "name": ROLE },
        "roleRef": { "apiGroup": GROUP, "kind": "ClusterRole", "name": ROLE },
        "subjects": subjects.iter().map(Subject::object).collect::<Vec<_>>(),
    });
    let mut objects = vec![role];
    if !subjects.is_empty() {
        objects.push(binding);
    }
    Manifests { about: ABOUT, objects }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_role_is_printed_and_bound_to_who_is_named() {
        let plain = updater(&[]).yaml();
        let subjects = ["group:sre", "user:oidc:me@example", "serviceaccount:ops/upgrades"];
        let bound = updater(&subjects.map(|text| text.parse().unwrap())).yaml();
        assert!(bound.starts_with(&plain));
        expect![[r#"
            # For who runs `orlop upgrade`, or annotates Node objects by other means. Whoever may patch Nodes may have
            # them restart with another release of their channel.
            #
            # The nodes need nothing that is not there: kubelet's credentials may read and patch their own Node object
            # (Node authorizer, admission plugin NodeRestriction) and create Events.
            ---
            apiVersion: rbac.authorization.k8s.io/v1
            kind: ClusterRole
            metadata:
              name: "orlop:upgrade"
            rules:
              - apiGroups: [""]
                resources: [nodes]
                verbs: [get, list, watch, patch]
              - apiGroups: [""]
                resources: [pods]
                verbs: [list, watch]
              - apiGroups: [""]
                resources: [pods/eviction]
                verbs: [create]
              - apiGroups: [policy]
                resources: [poddisruptionbudgets]
                verbs: [get, list]
              - apiGroups: [""]
                resources: [events]
                verbs: [list, watch]
            ---
            apiVersion: rbac.authorization.k8s.io/v1
            kind: ClusterRoleBinding
            metadata:
              name: "orlop:upgrade"
            roleRef:
              apiGroup: rbac.authorization.k8s.io
              kind: ClusterRole
              name: "orlop:upgrade"
            subjects:
              - apiGroup: rbac.authorization.k8s.io
                kind: Group
                name: sre
              - apiGroup: rbac.authorization.k8s.io
                kind: User
                name: "oidc:me@example"
              - kind: ServiceAccount
                name: upgrades
                namespace: ops
        "#]]
        .assert_eq(&bound);
    }

    #[test]
    fn what_is_nobody_is_refused() {
        for text in
            ["me", "user:", "robot:x", "serviceaccount:x", "serviceaccount:/x", "group:a\nb"]
        {
            assert!(text.parse::<Subject>().unwrap_err().contains("is not `user:NAME`"), "{text}");
        }
    }
}
