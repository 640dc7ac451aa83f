//! What a person wants to see of a cluster: its nodes and pods, as a table or as one line for each
//! change. Pure: objects of the API go in, lines come out.

use std::collections::BTreeMap;

use serde_json::Value;

/// Which objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `v1/Node`.
    Nodes,
    /// `v1/Pod` of all namespaces.
    Pods,
}

impl Kind {
    /// The path of the collection.
    pub fn path(self) -> &'static str {
        match self {
            Self::Nodes => "/api/v1/nodes",
            Self::Pods => "/api/v1/pods",
        }
    }
}

/// Nodes and pods, as the API has told so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    nodes: BTreeMap<String, Node>,
    /// By `NAMESPACE/NAME`.
    pods: BTreeMap<String, Pod>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    version: String,
    ready: Ready,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ready {
    /// Since when, as the API writes times.
    Since(String),
    /// The reason.
    No(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pod {
    node: String,
    state: String,
    running: bool,
}

impl View {
    /// Replaces all objects of a kind by those of a list.
    pub fn replace(&mut self, kind: Kind, list: &Value) {
        match kind {
            Kind::Nodes => self.nodes.clear(),
            Kind::Pods => self.pods.clear(),
        }
        for object in list["items"].as_array().into_iter().flatten() {
            self.set(kind, object);
        }
    }

    /// Takes in an event of a watch, and says whether it was one: after any other, the list has
    /// to be read again.
    #[must_use]
    pub fn apply(&mut self, kind: Kind, event: &Value) -> bool {
        let object = &event["object"];
        match event["type"].as_str() {
            Some("ADDED" | "MODIFIED") => self.set(kind, object),
            Some("DELETED") => {
                let key = key(kind, object);
                match kind {
                    Kind::Nodes => drop(self.nodes.remove(&key)),
                    Kind::Pods => drop(self.pods.remove(&key)),
                }
            }
            Some("BOOKMARK") => {}
            _ => return false,
        }
        true
    }

    fn set(&mut self, kind: Kind, object: &Value) {
        let key = key(kind, object);
        match kind {
            Kind::Nodes => drop(self.nodes.insert(key, Node::of(object))),
            Kind::Pods => drop(self.pods.insert(key, Pod::of(object))),
        }
    }

    /// Whether a node is Ready.
    pub fn has_ready_node(&self) -> bool {
        self.nodes.values().any(|node| matches!(node.ready, Ready::Since(_)))
    }

    /// A table of nodes, and one of pods if there are any.
    pub fn table(&self) -> Vec<String> {
        let mut nodes = vec![["NODE", "VERSION", "READY SINCE", "PODS"].map(str::to_owned)];
        for (name, node) in &self.nodes {
            let ready = match &node.ready {
                Ready::Since(since) => since.clone(),
                Ready::No(why) => format!("no: {why}"),
            };
            let pods: Vec<_> = self.pods.values().filter(|pod| pod.node == *name).collect();
            let running = pods.iter().filter(|pod| pod.running).count();
            let count = format!("{running} of {} running", pods.len());
            nodes.push([name.clone(), node.version.clone(), ready, count]);
        }
        if self.nodes.is_empty() {
            nodes.push(["(none yet)", "", "", ""].map(str::to_owned));
        }
        let mut lines = aligned(&nodes);
        if !self.pods.is_empty() {
            let mut pods = vec![["POD", "NODE", "STATE"].map(str::to_owned)];
            for (name, pod) in &self.pods {
                pods.push([name.clone(), pod.node.clone(), pod.state.clone()]);
            }
            lines.extend(aligned(&pods));
        }
        lines
    }

    /// A line for each thing that is not as it was.
    pub fn changes_since(&self, before: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, node) in &self.nodes {
            if before.nodes.get(name) != Some(node) {
                let Node { version, ready } = node;
                lines.push(match ready {
                    Ready::Since(since) => format!("node {name} {version}: Ready since {since}"),
                    Ready::No(why) => format!("node {name} {version}: not Ready: {why}"),
                });
            }
        }
        for (name, pod) in &self.pods {
            if before.pods.get(name) != Some(pod) {
                let node = if pod.node.is_empty() { "no node" } else { &pod.node };
                lines.push(format!("pod {name} on {node}: {}", pod.state));
            }
        }
        let gone = |name: &&String, kind: &str| format!("{kind} {name}: gone");
        let nodes = before.nodes.keys().filter(|name| !self.nodes.contains_key(*name));
        lines.extend(nodes.map(|name| gone(&name, "node")));
        let pods = before.pods.keys().filter(|name| !self.pods.contains_key(*name));
        lines.extend(pods.map(|name| gone(&name, "pod")));
        lines
    }
}

fn key(kind: Kind, object: &Value) -> String {
    let name = text(&object["metadata"]["name"]);
    match kind {
        Kind::Nodes => name,
        Kind::Pods => format!("{}/{name}", text(&object["metadata"]["namespace"])),
    }
}

/// A string of the API that is fit for a terminal, on one line.
fn text(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Node {
    fn of(object: &Value) -> Self {
        let status = &object["status"];
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready");
        let ready = match ready {
            None => Ready::No("it has not said anything yet".to_owned()),
            Some(condition) if condition["status"] == "True" => {
                Ready::Since(text(&condition["lastTransitionTime"]))
            }
            Some(condition) => Ready::No(text(&condition["message"])),
        };
        Self { version: text(&status["nodeInfo"]["kubeletVersion"]), ready }
    }
}

impl Pod {
    /// As `kubectl get pods` would: what keeps it from running goes before its phase.
    fn of(object: &Value) -> Self {
        let status = &object["status"];
        let containers = || status["containerStatuses"].as_array().into_iter().flatten();
        let waits = containers().find_map(|container| {
            let state = &container["state"];
            let reason = [&state["waiting"]["reason"], &state["terminated"]["reason"]];
            reason.into_iter().find(|reason| reason.is_string()).map(text)
        });
        let phase = text(&status["phase"]);
        let running = phase == "Running" && containers().all(|one| one["ready"] == true);
        let mut state = if object["metadata"]["deletionTimestamp"].is_string() {
            "Terminating".to_owned()
        } else {
            waits.filter(|_| phase != "Succeeded").unwrap_or(phase)
        };
        let restarts: u64 = containers().filter_map(|one| one["restartCount"].as_u64()).sum();
        if restarts > 0 {
            state += &format!(", {restarts} restarts");
        }
        Self { node: text(&object["spec"]["nodeName"]), state, running }
    }
}

/// Columns with two blanks between them.
pub(crate) fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn node(status: &str) -> Value {
        json!({ "type": "MODIFIED", "object": {
            "metadata": { "name": "worker-1" },
            "status": {
                "nodeInfo": { "kubeletVersion": "v1.36.3" },
                "conditions": [
                    { "type": "MemoryPressure", "status": "False" },
                    {
                        "type": "Ready",
                        "status": status,
                        "message": "no\nCNI plugin",
                        "lastTransitionTime": "2026-11-21T06:41:02Z",
                    },
                ],
            },
        }})
    }

    fn pod(name: &str, node: &str, status: Value) -> Value {
        let metadata = json!({ "name": name, "namespace": "default" });
        json!({ "metadata": metadata, "spec": { "nodeName": node }, "status": status })
    }

    fn full() -> View {
        let mut view = View::default();
        assert!(view.apply(Kind::Nodes, &node("True")));
        let running = json!({ "phase": "Running", "containerStatuses": [{
            "ready": true, "restartCount": 2, "state": { "running": {} },
        }]});
        let pulls = json!({ "phase": "Pending", "containerStatuses": [{
            "ready": false, "restartCount": 0, "state": { "waiting": { "reason": "ErrImagePull" } },
        }]});
        let items = [
            pod("web", "worker-1", running),
            pod("pulls", "worker-1", pulls),
            pod("new", "", json!({ "phase": "Pending" })),
        ];
        view.replace(Kind::Pods, &json!({ "items": items }));
        view
    }

    #[test]
    fn the_table_has_nodes_and_pods() {
        expect![[r#"
            NODE      VERSION  READY SINCE           PODS
            worker-1  v1.36.3  2026-11-21T06:41:02Z  1 of 2 running
            POD            NODE      STATE
            default/new              Pending
            default/pulls  worker-1  ErrImagePull
            default/web    worker-1  Running, 2 restarts"#]]
        .assert_eq(&full().table().join("\n"));
        expect![[r#"
            NODE        VERSION  READY SINCE  PODS
            (none yet)"#]]
        .assert_eq(&View::default().table().join("\n"));
    }

    #[test]
    fn each_change_is_a_line() {
        let mut view = View::default();
        assert!(view.apply(Kind::Nodes, &node("False")));
        assert!(!view.has_ready_node());
        let first = view.clone();
        expect![[r#"
            node worker-1 v1.36.3: not Ready: no CNI plugin"#]]
        .assert_eq(&view.changes_since(&View::default()).join("\n"));
        let full = full();
        assert!(full.has_ready_node());
        expect![[r#"
            node worker-1 v1.36.3: Ready since 2026-11-21T06:41:02Z
            pod default/new on no node: Pending
            pod default/pulls on worker-1: ErrImagePull
            pod default/web on worker-1: Running, 2 restarts"#]]
        .assert_eq(&full.changes_since(&first).join("\n"));
        assert!(full.changes_since(&full).is_empty());
        let mut fewer = full.clone();
        let gone = json!({ "type": "DELETED", "object": pod("web", "", Value::Null) });
        assert!(fewer.apply(Kind::Pods, &gone));
        assert_eq!(fewer.changes_since(&full), ["pod default/web: gone"]);
    }

    #[test]
    fn an_event_that_is_an_error_asks_for_a_new_list() {
        let mut view = full();
        for event in [json!({ "type": "ERROR", "object": { "code": 410 } }), json!({}), json!(7)] {
            assert!(!view.apply(Kind::Pods, &event), "{event}");
        }
        assert_eq!(view, full());
    }

    #[test]
    fn a_pod_that_goes_or_is_done_says_so() {
        let mut object = pod("a", "n", json!({ "phase": "Running" }));
        object["metadata"]["deletionTimestamp"] = json!("2026-11-21T06:41:02Z");
        assert_eq!(Pod::of(&object).state, "Terminating");
        let done = json!({ "phase": "Succeeded", "containerStatuses": [{
            "state": { "terminated": { "reason": "Completed" } },
        }]});
        assert_eq!(Pod::of(&pod("a", "n", done)).state, "Succeeded");
    }
}
