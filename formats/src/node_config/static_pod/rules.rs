//! What must hold in a Pod beside the types of its fields: of the API's validation
//! (`pkg/apis/core/validation`) what manifests trip over, and what kubelet asks of static pods
//! (`HasAPIObjectReference` in `pkg/api/pod`).

use super::Fault;
use super::field::{self, POD};
use super::yaml::{Node, Value};
use crate::node_config::label::{LabelKey, LabelValue};
use crate::node_config::name::{is_label, is_subdomain};

/// Volumes for which kubelet needs no API server.
const VOLUMES: &[&str] = &[
    "downwardAPI",
    "emptyDir",
    "fc",
    "flexVolume",
    "gitRepo",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "rbd",
    "cephfs",
];

/// Notes all that is wrong with a Pod, and gives its namespace and name. `alone`: there is no API
/// server. `hostname`: how long the node's name is, which kubelet puts behind the pod's.
pub(super) fn check(
    root: &Node,
    alone: bool,
    hostname: usize,
    faults: &mut Vec<Fault>,
) -> Option<(String, String)> {
    let before = faults.len();
    field::check("", root, &POD, faults);
    let kind = |key: &str| root.get(key).and_then(Node::text).unwrap_or_default();
    match (kind("apiVersion"), kind("kind")) {
        ("v1", "Pod") => {}
        _ if faults.len() > before && !matches!(root.value, Value::Map(_)) => return None,
        (version, kind) => {
            let line = root.get("kind").or(root.get("apiVersion")).map_or(root.line, |n| n.line);
            let or_none =
                |text: &str| if text.is_empty() { "none".to_owned() } else { format!("`{text}`") };
            let message = format!(
                "kubelet takes `kind: Pod` of `apiVersion: v1` only; here the kind is {} and the \
                 version {}",
                or_none(kind),
                or_none(version)
            );
            faults.push(Fault { line, message });
            return None;
        }
    }
    let mut pod = Pod { faults };
    let identity = pod.metadata(root, hostname);
    match root.get("spec") {
        Some(spec) => pod.spec(spec, alone),
        None => pod.wrong(root, "`spec` is missing"),
    }
    identity
}

struct Pod<'a> {
    faults: &'a mut Vec<Fault>,
}

impl Pod<'_> {
    fn wrong(&mut self, node: &Node, message: impl Into<String>) {
        self.faults.push(Fault { line: node.line, message: message.into() });
    }

    fn metadata(&mut self, root: &Node, hostname: usize) -> Option<(String, String)> {
        let none = Node { line: root.line, value: Value::Null };
        let meta = root.get("metadata").unwrap_or(&none);
        let namespace = meta.get("namespace");
        if let Some((node, text)) = texts(namespace)
            && !is_label(text)
        {
            self.wrong(node, format!("`{text}` cannot be the name of a namespace: {LABEL}"));
        }
        for (key, node) in map(meta.get("labels")) {
            if let Err(message) = key.parse::<LabelKey>() {
                self.wrong(node, message);
            }
            if let Some(Err(message)) = node.text().map(str::parse::<LabelValue>) {
                self.wrong(node, message);
            }
        }
        let Some((node, name)) = texts(meta.get("name")) else {
            if meta.get("name").is_none() {
                self.wrong(meta, "`metadata.name` is missing");
            }
            return None;
        };
        if !is_subdomain(name) {
            let message = "use lower-case letters, digits, `-` and `.`, a letter or digit at both \
                           ends of each part";
            self.wrong(node, format!("`{name}` cannot be the name of a pod: {message}"));
        } else if name.len() + 1 + hostname > 253 {
            let message = "the name of the pod and that of the node are together longer than 252";
            self.wrong(node, message);
        }
        let namespace = texts(namespace).map_or("default", |(_, text)| text);
        Some((namespace.to_owned(), name.to_owned()))
    }

    fn spec(&mut self, spec: &Node, alone: bool) {
        let network =
            spec.get("hostNetwork").map(|node| &node.value) == Some(&Value::Boolean(true));
        for (key, words) in [
            ("restartPolicy", &["Always", "OnFailure", "Never"][..]),
            ("dnsPolicy", &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]),
        ] {
            self.one_of(spec.get(key), key, words);
        }
        if let Some((node, name)) = texts(spec.get("serviceAccountName"))
            && !name.is_empty()
        {
            self.wrong(node, "a static pod cannot have a `serviceAccountName`: kubelet refuses it");
        }
        for key in ["resourceClaims", "imagePullSecrets"] {
            if let [first, ..] = spec.items(key) {
                let message = format!("a static pod cannot have `{key}`: kubelet refuses it");
                self.wrong(first, message);
            }
        }
        if let Some(node) = spec.get("runtimeClassName")
            && alone
        {
            let message = "a node without an API server knows no `runtimeClassName`: kubelet would \
                           crash";
            self.wrong(node, message);
        }
        if spec.items("containers").is_empty() {
            self.wrong(spec.get("containers").unwrap_or(spec), "`spec.containers` has none");
        }
        let mut volumes: Vec<&str> = Vec::new();
        for volume in spec.items("volumes") {
            self.name(volume, "a volume", &mut volumes);
            self.source(volume);
        }
        let mut names = Vec::new();
        for container in spec.items("initContainers").iter().chain(spec.items("containers")) {
            self.name(container, "a container", &mut names);
            self.container(container, network, &volumes);
        }
    }

    /// Notes a name that is missing, no label or one of those before it.
    fn name<'n>(&mut self, node: &'n Node, what: &str, names: &mut Vec<&'n str>) {
        let Some((place, name)) = texts(node.get("name")) else {
            if node.get("name").is_none() && matches!(node.value, Value::Map(_)) {
                self.wrong(node, format!("{what} lacks its `name`"));
            }
            return;
        };
        if !is_label(name) {
            self.wrong(place, format!("`{name}` cannot be the name of {what}: {LABEL}"));
        } else if names.contains(&name) {
            self.wrong(place, format!("there is {what} `{name}` already"));
        }
        names.push(name);
    }

    fn container(&mut self, container: &Node, network: bool, volumes: &[&str]) {
        match texts(container.get("image")) {
            Some((node, "")) => self.wrong(node, "a container has an empty `image`"),
            Some((node, image)) if image.contains(char::is_whitespace) => {
                self.wrong(node, "the `image` of a container has a space in it");
            }
            None if container.get("image").is_none() && container.get("name").is_some() => {
                self.wrong(container, "a container lacks its `image`");
            }
            _ => {}
        }
        let policy = container.get("imagePullPolicy");
        self.one_of(policy, "imagePullPolicy", &["Always", "IfNotPresent", "Never"]);
        for port in container.items("ports") {
            self.port(port, network);
        }
        for variable in container.items("env") {
            match texts(variable.get("name")) {
                Some((node, name)) if name.is_empty() || name.contains('=') => {
                    self.wrong(node, "the name of a variable is not empty and holds no `=`");
                }
                None if variable.get("name").is_none() => {
                    self.wrong(variable, "a variable of `env` lacks its `name`");
                }
                _ => {}
            }
            for key in ["secretKeyRef", "configMapKeyRef"] {
                self.no_object(variable.get("valueFrom").and_then(|from| from.get(key)), key);
            }
        }
        for source in container.items("envFrom") {
            for key in ["secretRef", "configMapRef"] {
                self.no_object(source.get(key), key);
            }
        }
        let mut paths = Vec::new();
        for mount in container.items("volumeMounts") {
            if let Some((node, name)) = texts(mount.get("name"))
                && !volumes.contains(&name)
            {
                self.wrong(node, format!("there is no volume `{name}` to mount"));
            }
            match texts(mount.get("mountPath")) {
                Some((node, path)) if paths.contains(&path) => {
                    self.wrong(node, format!("`{path}` is mounted twice"));
                }
                Some((_, path)) if !path.is_empty() => paths.push(path),
                _ => self.wrong(mount, "a volume is mounted without its `mountPath`"),
            }
        }
    }

    fn port(&mut self, port: &Node, network: bool) {
        let number = |key: &str| match port.get(key).map(|node| &node.value) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        };
        let (inner, outer) = (number("containerPort"), number("hostPort").unwrap_or(0));
        if inner.is_some_and(|inner| !(1..=65_535).contains(&inner)) {
            self.wrong(port, "`containerPort` must be from 1 to 65535");
        } else if port.get("containerPort").is_none() {
            self.wrong(port, "a port lacks its `containerPort`");
        }
        if !(0..=65_535).contains(&outer) {
            self.wrong(port, "`hostPort` must be from 1 to 65535");
        } else if network && outer != 0 && inner.is_some_and(|inner| inner != outer) {
            self.wrong(port, "with `hostNetwork` a `hostPort` must be the `containerPort`");
        }
        self.one_of(port.get("protocol"), "protocol", &["TCP", "UDP", "SCTP"]);
    }

    fn source(&mut self, volume: &Node) {
        let Value::Map(map) = &volume.value else { return };
        let sources =
            || map.iter().filter(|(key, node)| *key != "name" && node.value != Value::Null);
        if sources().count() > 1 {
            self.wrong(volume, "a volume has two sources");
        }
        for (key, node) in sources() {
            if key == "hostPath" && texts(node.get("path")).is_none_or(|(_, path)| path.is_empty())
            {
                self.wrong(node, "a `hostPath` lacks its `path`");
            }
            let projected = ["configMap", "secret", "serviceAccountToken", "clusterTrustBundle"];
            if key == "projected" {
                for source in node.items("sources") {
                    for key in projected {
                        self.no_object(source.get(key), key);
                    }
                }
            } else if !VOLUMES.contains(&key.as_str()) {
                self.no_object(Some(node), key);
            }
        }
    }

    fn no_object(&mut self, node: Option<&Node>, key: &str) {
        if let Some(node) = node {
            let message =
                format!("a static pod cannot have `{key}`, which only an API server knows");
            self.wrong(node, message);
        }
    }

    fn one_of(&mut self, node: Option<&Node>, key: &str, words: &[&str]) {
        if let Some((node, text)) = texts(node)
            && !words.contains(&text)
        {
            let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
            self.wrong(node, format!("`{key}` must be one of {}", words.join(", ")));
        }
    }
}

const LABEL: &str =
    "use at most 63 lower-case letters, digits and `-`, a letter or digit at both ends";

fn texts(node: Option<&Node>) -> Option<(&Node, &str)> {
    node.and_then(|node| Some((node, node.text()?)))
}

fn map(node: Option<&Node>) -> impl Iterator<Item = (&String, &Node)> {
    let map = node.and_then(|node| match &node.value {
        Value::Map(map) => Some(map),
        _ => None,
    });
    map.into_iter().flatten()
}
