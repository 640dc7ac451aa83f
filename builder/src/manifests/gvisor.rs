//! The RuntimeClass by which pods are put into gVisor's sandbox.

use std::str::FromStr;

use serde_json::{Value, json};

use super::Manifests;

const ABOUT: &str = "\
Pods with `runtimeClassName: gvisor` are in gVisor's sandbox, on nodes whose image was built with
`-p gvisor`. What a sandbox needs beside its containers is counted with each pod (docs/gvisor.md).";

/// A label that nodes have: `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLabel {
    name: String,
    value: String,
}

impl FromStr for NodeLabel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a label of nodes, such as `example.com/sandbox=gvisor`");
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        let good = |text: &str, more: &str| {
            text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if name.is_empty() || !good(name, "-._/") || !good(value, "-._") {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// The RuntimeClass; with a label, its pods go to nodes that have it.
pub fn gvisor(on: Option<&NodeLabel>) -> Manifests {
    let mut class = json!({
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": { "name": "gvisor" },
        "handler": "runsc",
        "overhead": { "podFixed": { "cpu": "50m", "memory": "64Mi" } },
    });
    if let Some(NodeLabel { name, value }) = on {
        let mut selector = serde_json::Map::new();
        selector.insert(name.clone(), Value::from(value.as_str()));
        class["scheduling"] = json!({ "nodeSelector": selector });
    }
    Manifests { about: ABOUT, objects: vec![class] }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_class_names_the_handler_and_the_nodes_if_they_have_a_label() {
        let label = "example.com/sandbox=gvisor".parse().unwrap();
        expect![[r##"
            # Pods with `runtimeClassName: gvisor` are in gVisor's sandbox, on nodes whose image was built with
            # `-p gvisor`. What a sandbox needs beside its containers is counted with each pod (docs/gvisor.md).
            ---
            apiVersion: node.k8s.io/v1
            handler: runsc
            kind: RuntimeClass
            metadata:
              name: gvisor
            overhead:
              podFixed:
                cpu: "50m"
                memory: "64Mi"
            scheduling:
              nodeSelector:
                example.com/sandbox: gvisor
        "##]]
        .assert_eq(&gvisor(Some(&label)).yaml());
        assert!(!gvisor(None).yaml().contains("scheduling"));
    }

    #[test]
    fn what_is_no_label_is_refused() {
        for text in ["", "a", "=b", "a=b=c", "a b=c", "a=b\nc"] {
            let error = text.parse::<NodeLabel>().unwrap_err();
            assert!(error.contains("is not a label of nodes"), "{text}");
        }
    }
}
