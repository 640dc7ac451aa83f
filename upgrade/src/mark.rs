//! The note on a Node object that an upgrade is at it. It is written with the cordon, in one change of
//! the object, and goes with it, so a call that was cut off anywhere leaves what the next one needs.

use formats::fleet::Phase;
use serde::{Deserialize, Serialize};

use crate::node::Node;

/// The annotation. While it is there the node is being upgraded.
pub const MARK: &str = "orlop.dev/cordoned-by-upgrade";

/// What it says, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mark {
    /// Whether the upgrade has cordoned the node: then the upgrade uncordons it. One that was cordoned
    /// before stays so.
    pub cordoned: bool,
    /// What the upgrade has asked the node for, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Request>,
}

/// What a node was when it was asked for a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Request {
    /// The value of `orlop.dev/request`.
    pub request: String,
    /// The version that ran.
    pub from: String,
    /// The boot.
    pub boot_id: String,
}

impl Mark {
    /// What a node with this mark is on its way to, if that is not what somebody wants: the release.
    /// Nothing if the node has said what came of it, so that whoever asked is there or may be taken over.
    pub fn elsewhere<'a>(&self, node: &'a Node, wanted: &str) -> Option<&'a str> {
        let asked = self.asked.as_ref().and(node.asked.as_ref())?;
        let status = node.status().filter(|status| status.is_about(asked));
        let is_over =
            status.is_some_and(|status| status.phase == Phase::Idle || status.phase.is_bad());
        (asked.release != wanted && !is_over).then_some(&asked.release)
    }

    /// The value of the annotation.
    pub fn text(&self) -> String {
        // A value of this type is always JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Out of that value.
    ///
    /// # Errors
    /// It is something else: says so.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|_| format!("`{MARK}` is not what an upgrade writes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_nothing_else_is_one() {
        let asked = Request { request: "r".into(), from: "1.1".into(), boot_id: "b".into() };
        for (mark, text) in [
            (Mark { cordoned: false, asked: None }, r#"{"cordoned":false}"#),
            (
                Mark { cordoned: true, asked: Some(asked) },
                r#"{"cordoned":true,"asked":{"request":"r","from":"1.1","boot-id":"b"}}"#,
            ),
        ] {
            assert_eq!(mark.text(), text);
            assert_eq!(Mark::parse(text), Ok(mark));
        }
        for text in ["", "true", "{}", "[]"] {
            assert!(Mark::parse(text).is_err(), "{text}");
        }
        let later = r#"{"cordoned":true,"later":1}"#;
        assert_eq!(Mark::parse(later), Ok(Mark { cordoned: true, asked: None }));
    }
}
