//! What the API server says, as far as it is read (Kubernetes API, `meta/v1` and `core/v1`). Objects are
//! asked for without spec and status (`PartialObjectMetadata`); what comes all the same is passed over.

use formats::fleet::{Asked, Looked, STATUS, Status};
use serde::Deserialize;
use serde_json::{Value, json};

use super::labels::Labels;
use super::occasion::{Kind, Occasion};

/// Bytes of an object: etcd takes no larger ones, and JSON is longer than what it keeps.
pub(super) const LARGEST: u64 = 4 << 20;

/// What the own Node object says of updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Which object it is: another Node of the same name is another one.
    pub uid: String,
    /// What somebody asks for.
    pub asked: Option<Asked>,
    /// That somebody asks the node to look what is the newest for it.
    pub look: Option<String>,
    /// What the node has answered last; nothing if it cannot be read.
    pub reported: Option<Box<Status>>,
    /// Its labels, as far as they are looked after.
    pub labels: Labels,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    name: String,
    uid: String,
    resource_version: String,
    annotations: Option<Annotations>,
    labels: Option<Labels>,
}

/// Those that matter, by the names of [`formats::fleet`]; a Node has others, of any size.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "orlop.dev/release")]
    release: Option<String>,
    #[serde(rename = "orlop.dev/request")]
    request: Option<String>,
    #[serde(rename = "orlop.dev/look")]
    look: Option<String>,
    #[serde(rename = "orlop.dev/status")]
    status: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Object {
    metadata: Meta,
    // Of a `Status`.
    code: Option<u16>,
    message: Option<String>,
}

impl Object {
    fn seen(self) -> Seen {
        let Annotations { release, request, look, status } =
            self.metadata.annotations.unwrap_or_default();
        Seen {
            uid: self.metadata.uid,
            asked: Asked::read(release.as_deref(), request.as_deref()),
            look: Looked::question(look.as_deref()),
            reported: status.and_then(|text| Status::parse(&text).ok()).map(Box::new),
            labels: self.metadata.labels.unwrap_or_default(),
        }
    }
}

/// A list of Nodes: from which version on to watch, and the one of this name.
pub(super) fn list(bytes: &[u8], node: &str) -> Result<(String, Option<Seen>), serde_json::Error> {
    #[derive(Deserialize)]
    struct List {
        #[serde(default)]
        metadata: Meta,
        items: Vec<Object>,
    }
    let List { metadata, items } = serde_json::from_slice(bytes)?;
    let own = items.into_iter().find(|object| object.metadata.name == node);
    Ok((metadata.resource_version, own.map(Object::seen)))
}

/// A line of a watch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The node is so, as of this version.
    Is(String, Seen),
    /// It is there no more, as of this version.
    Gone(String),
    /// Nothing has happened until this version.
    Until(String),
    /// The watch ends: the status, and why.
    Failed(u16, String),
    /// About something else.
    Other,
}

/// Reads a line.
pub(super) fn line(bytes: &[u8], node: &str) -> Result<Line, serde_json::Error> {
    #[derive(Deserialize)]
    struct Event {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        object: Object,
    }
    let Event { kind, object } = serde_json::from_slice(bytes)?;
    let version = object.metadata.resource_version.clone();
    Ok(match kind.as_str() {
        "BOOKMARK" => Line::Until(version),
        "ERROR" => Line::Failed(object.code.unwrap_or(0), object.message.unwrap_or_default()),
        _ if object.metadata.name != node => Line::Other,
        "ADDED" | "MODIFIED" => Line::Is(version, object.seen()),
        "DELETED" => Line::Gone(version),
        _ => Line::Other,
    })
}

/// Why a request was refused, out of the body of the answer; nothing if it does not say.
pub(super) fn refusal(body: &[u8]) -> Option<String> {
    let object: Object = serde_json::from_slice(body).ok()?;
    let message = object.message?;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    Some(message.chars().map(plain).take(300).collect())
}

/// What a Node object has of one of its conditions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct NodeCondition {
    /// The boot that kubelet has told of, by the kernel's id; nothing before its first word.
    pub boot: String,
    /// The condition's status; nothing if the node does not have it.
    pub status: Option<String>,
}

/// Reads a Node object for one of its conditions.
pub(super) fn condition(bytes: &[u8], kind: &str) -> Result<NodeCondition, serde_json::Error> {
    #[derive(Deserialize)]
    struct Node {
        #[serde(default)]
        status: NodeStatus,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct NodeStatus {
        conditions: Vec<Condition>,
        node_info: NodeInfo,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct NodeInfo {
        #[serde(rename = "bootID")]
        boot: String,
    }
    #[derive(Deserialize)]
    struct Condition {
        #[serde(rename = "type")]
        kind: String,
        status: String,
    }
    let Node { status: NodeStatus { conditions, node_info } } = serde_json::from_slice(bytes)?;
    let found = conditions.into_iter().find(|condition| condition.kind == kind);
    Ok(NodeCondition { boot: node_info.boot, status: found.map(|condition| condition.status) })
}

/// A merge patch (RFC 7396) of the one annotation that is the node's: no other one is read or written, so
/// nobody's change is lost.
pub(super) fn patch(status: &Status) -> Value {
    json!({ "metadata": { "annotations": { STATUS: status.text() } } })
}

/// An Event about the Node, in `core/v1`: nodes may create those and no others. Events of what has no
/// namespace are in `default`.
pub(super) fn event(node: &str, uid: &str, occasion: &Occasion, time: &str) -> Value {
    let Occasion { kind, reason, message } = occasion;
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "generateName": format!("{node}."), "namespace": "default" },
        "involvedObject": { "apiVersion": "v1", "kind": "Node", "name": node, "uid": uid },
        "type": match kind { Kind::Normal => "Normal", Kind::Warning => "Warning" },
        "reason": reason,
        "message": message,
        "source": { "component": formats::fleet::COMPONENT, "host": node },
        "reportingComponent": formats::fleet::COMPONENT,
        "reportingInstance": node,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    })
}

/// All that reads.
pub(crate) fn outside(bytes: &[u8]) {
    let _ = (list(bytes, "a").is_ok(), line(bytes, "a").is_ok(), refusal(bytes));
    let _ = condition(bytes, "Ready").is_ok();
}

#[cfg(test)]
mod tests {
    use formats::digest::Sha256;
    use formats::fleet::{Phase, RELEASE, REQUEST};
    use proptest::prelude::*;

    use super::*;

    fn node(name: &str, annotations: &Value) -> Value {
        json!({ "kind": "PartialObjectMetadata", "metadata": {
            "name": name, "uid": "u", "resourceVersion": "7", "annotations": annotations,
        }})
    }

    fn seen(asked: Option<(&str, Option<&str>)>, reported: Option<Status>) -> Seen {
        let asked = asked.and_then(|(release, request)| Asked::read(Some(release), request));
        let labels = Labels::default();
        Seen { uid: "u".into(), asked, look: None, reported: reported.map(Box::new), labels }
    }

    #[test]
    fn the_own_node_is_found_in_a_list_and_no_other() {
        let status = Status::new("1.1", Sha256::of("1.1"), Phase::Idle);
        let own = node(
            "a",
            &json!({ RELEASE: "1.2", REQUEST: "x", STATUS: status.text(), "other": "y" }),
        );
        let other = node("b", &json!({ RELEASE: "9" }));
        let text = json!({ "metadata": { "resourceVersion": "12" }, "items": [other, own] });
        let want = seen(Some(("1.2", Some("x"))), Some(status));
        assert_eq!(list(text.to_string().as_bytes(), "a").unwrap(), ("12".into(), Some(want)));
        let text = json!({ "metadata": { "resourceVersion": "12" }, "items": [other] });
        assert_eq!(list(text.to_string().as_bytes(), "a").unwrap(), ("12".into(), None));
        assert!(list(b"{\"kind\": \"Status\"}", "a").is_err() && list(b"<html>", "a").is_err());
    }

    #[test]
    fn lines_of_a_watch_are_read() {
        let own = node("a", &json!({ RELEASE: "1.2", STATUS: "{" }));
        let bare = json!({ "metadata": { "name": "a", "uid": "u", "resourceVersion": "7" } });
        let nulls = node("a", &Value::Null);
        let of = |kind: &str, object: &Value| {
            let text = json!({ "type": kind, "object": object }).to_string();
            line(text.as_bytes(), "a").unwrap()
        };
        let asked = seen(Some(("1.2", None)), None);
        let expired = json!({ "kind": "Status", "code": 410, "message": "too old" });
        for (kind, object, want) in [
            ("ADDED", &own, Line::Is("7".into(), asked.clone())),
            ("MODIFIED", &own, Line::Is("7".into(), asked)),
            ("MODIFIED", &bare, Line::Is("7".into(), seen(None, None))),
            ("MODIFIED", &nulls, Line::Is("7".into(), seen(None, None))),
            ("DELETED", &own, Line::Gone("7".into())),
            (
                "BOOKMARK",
                &json!({ "metadata": { "resourceVersion": "9" } }),
                Line::Until("9".into()),
            ),
            ("ERROR", &expired, Line::Failed(410, "too old".into())),
            ("ERROR", &json!({}), Line::Failed(0, String::new())),
            ("MODIFIED", &node("b", &json!({})), Line::Other),
            ("DANCED", &own, Line::Other),
        ] {
            assert_eq!(of(kind, object), want, "{kind}");
        }
        assert!(line(b"", "a").is_err() && line(b"{}", "a").is_err());
    }

    #[test]
    fn conditions_and_refusals_are_read() {
        let conditions = json!([
            { "type": "Ready", "status": "True", "reason": "x" },
            { "type": "DiskPressure", "status": "False" },
        ]);
        let info = json!({ "bootID": "b", "machineID": "m" });
        let node = json!({ "status": { "conditions": conditions, "nodeInfo": info }}).to_string();
        for (kind, status) in [("Ready", Some("True")), ("Dancing", None)] {
            let want = NodeCondition { boot: "b".into(), status: status.map(str::to_owned) };
            assert_eq!(condition(node.as_bytes(), kind).unwrap(), want);
        }
        assert_eq!(condition(b"{}", "Ready").unwrap(), NodeCondition::default());
        let said = json!({ "kind": "Status", "message": "nodes \"b\"\nis forbidden" }).to_string();
        assert_eq!(refusal(said.as_bytes()).as_deref(), Some("nodes \"b\" is forbidden"));
        assert_eq!(refusal(b"<html>"), None);
    }

    #[test]
    fn the_patch_has_nothing_but_the_nodes_own_annotation() {
        let status = Status::new("1.1", Sha256::of("1.1"), Phase::Idle);
        let text = patch(&status).to_string();
        let head = r#"{"metadata":{"annotations":{"orlop.dev/status":"{\"schema\":1,"#;
        assert!(text.starts_with(head) && text.ends_with(r#"}"}}}"#), "{text}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(text in "[{}\\[\\]\":,a-z0-9.]{0,80}|\\PC*") {
            outside(text.as_bytes());
        }
    }
}
