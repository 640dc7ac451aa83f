//! What came of an upgrade.

use serde_json::{Value, json};
use upgrade::rollout::{Outcome, Shown, Stage, Terms};

use super::progress::{outcome_text, said};
use crate::arguments::Global;
use crate::commands::{print, print_json};
use crate::error::{Error, Id, Result};

/// A node, what came of it, and why it was left marked if it was.
type Came = (String, Outcome, Option<String>);

/// Prints it, and fails if one of the nodes did.
///
/// # Errors
/// [`Id::PodsRemain`], [`Id::FellBack`], [`Id::NotTaken`], [`Id::NodeLost`], [`Id::NodeForbidden`],
/// [`Id::UpgradeElsewhere`] or [`Id::LeftCordoned`], of the first node that failed; [`Id::Stdout`].
pub(super) fn end(global: &Global, terms: &Terms, nodes: &[Came]) -> Result<()> {
    if global.json {
        print_json(&object(terms, nodes.iter().map(told).collect()))?;
    } else {
        let width = nodes.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
        let lines = nodes.iter().map(|(name, outcome, left)| {
            let left = left.as_ref().map(|_| "; left cordoned").unwrap_or_default();
            format!("{name:<width$}  {}{left}", outcome_text(outcome))
        });
        print(lines.collect::<Vec<_>>().join("\n"))?;
    }
    nodes.iter().find_map(|came| failure(terms, came)).map_or(Ok(()), Err)
}

fn object(terms: &Terms, nodes: Vec<Value>) -> Value {
    json!({ "release": terms.release, "nodes": nodes })
}

fn told((node, outcome, left): &Came) -> Value {
    let (name, from, to, reason) = match outcome {
        Outcome::Upgraded { from, to } => ("upgraded", Some(from), Some(to), None),
        Outcome::Already(version) => ("already", None, Some(version), None),
        Outcome::NotBegun => ("not-begun", None, None, None),
        Outcome::FellBack(why) => ("fell-back", None, None, Some(why)),
        Outcome::NotTaken(why) => ("not-taken", None, None, Some(why)),
        Outcome::PodsRemain(why) => ("pods-remain", None, None, Some(why)),
        Outcome::Lost(why) => ("lost", None, None, Some(why)),
        Outcome::Forbidden(why) => ("forbidden", None, None, Some(why)),
        Outcome::Elsewhere(why) => ("elsewhere", None, None, Some(why)),
    };
    json!({
        "node": node, "outcome": name, "from": from, "to": to, "reason": reason, "left": left,
    })
}

fn failure(terms: &Terms, (node, outcome, left): &Came) -> Option<Error> {
    let release = &terms.release;
    let (id, text) = match outcome {
        Outcome::Upgraded { .. } | Outcome::Already(_) | Outcome::NotBegun => {
            let why = left.clone()?;
            let text = format!("node `{node}` is left cordoned");
            return Some(Error::new(Id::LeftCordoned, text).caused_by(why).hint(again()));
        }
        Outcome::FellBack(_) => (Id::FellBack, format!("node `{node}` fell back from {release}")),
        Outcome::NotTaken(_) => (Id::NotTaken, format!("node `{node}` did not take {release}")),
        Outcome::PodsRemain(_) => {
            (Id::PodsRemain, format!("the pods of node `{node}` do not leave it"))
        }
        Outcome::Lost(_) => (Id::NodeLost, format!("node `{node}` does not come back")),
        Outcome::Forbidden(_) => (Id::NodeForbidden, format!("node `{node}` may not be changed")),
        Outcome::Elsewhere(_) => {
            (Id::UpgradeElsewhere, format!("node `{node}` is not brought to {release}"))
        }
    };
    let why = match outcome {
        Outcome::FellBack(why)
        | Outcome::NotTaken(why)
        | Outcome::PodsRemain(why)
        | Outcome::Lost(why)
        | Outcome::Forbidden(why)
        | Outcome::Elsewhere(why) => why.clone(),
        Outcome::Upgraded { .. } | Outcome::Already(_) | Outcome::NotBegun => String::new(),
    };
    let error = Error::new(id, text).caused_by(why);
    Some(match (outcome, left) {
        (Outcome::FellBack(_), None) => error
            .hint(format!("it runs what it ran; `kubectl describe node {node}` has its Events")),
        (Outcome::Elsewhere(_), _) => error.hint("`orlop upgrade --status` shows how far it is"),
        (_, Some(_)) => error.hint(format!("it stays cordoned and marked: {}", again())),
        (_, None) => error.hint(format!("`orlop explain {}` says more", id.code())),
    })
}

fn again() -> &'static str {
    "the same call again goes on from there"
}

/// Says where the nodes were when it was stopped.
///
/// # Errors
/// Always: [`Id::UpgradeStopped`], or [`Id::Stdout`].
pub(super) fn stopped(global: &Global, terms: &Terms, shown: &[Shown]) -> Result<()> {
    let begun = shown.iter().filter(|shown| !matches!(shown.stage, Stage::Waits | Stage::Ended(_)));
    let begun: Vec<_> = begun.map(|shown| (shown.node.as_str(), said(&shown.stage).0)).collect();
    if global.json {
        let node = |shown: &Shown| match &shown.stage {
            Stage::Ended(outcome) => told(&(shown.node.clone(), outcome.clone(), None)),
            stage => json!({
                "node": shown.node, "outcome": if *stage == Stage::Waits { "not-begun" } else { "begun" },
                "from": null, "to": null, "reason": said(stage).0, "left": null,
            }),
        };
        print_json(&object(terms, shown.iter().map(node).collect()))?;
    }
    let text = match &begun[..] {
        [] => "stopped between two nodes".to_owned(),
        begun => {
            let nodes = begun.iter().map(|(node, text)| format!("`{node}`: {text}"));
            format!(
                "stopped while nodes are on their way: {}",
                nodes.collect::<Vec<_>>().join("; ")
            )
        }
    };
    Err(Error::new(Id::UpgradeStopped, text).hint(again()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use upgrade::rollout::Drain;

    use super::*;

    fn terms() -> Terms {
        Terms {
            release: "1.2".to_owned(),
            request: "r".to_owned(),
            max_unavailable: 1,
            drain: Drain::Leave,
            drain_limit: Duration::ZERO,
            node_limit: Duration::ZERO,
        }
    }

    fn came(outcome: Outcome, left: Option<&str>) -> Came {
        ("a".to_owned(), outcome, left.map(str::to_owned))
    }

    #[test]
    fn what_failed_first_is_the_error() {
        let why = || "why".to_owned();
        let upgraded = || Outcome::Upgraded { from: "1.1".to_owned(), to: "1.2".to_owned() };
        for (nodes, id) in [
            (vec![came(upgraded(), None), came(Outcome::NotBegun, None)], None),
            (vec![came(upgraded(), Some("x"))], Some(Id::LeftCordoned)),
            (
                vec![came(upgraded(), None), came(Outcome::FellBack(why()), None)],
                Some(Id::FellBack),
            ),
            (vec![came(Outcome::NotTaken(why()), None)], Some(Id::NotTaken)),
            (vec![came(Outcome::PodsRemain(why()), None)], Some(Id::PodsRemain)),
            (vec![came(Outcome::Lost(why()), Some("x"))], Some(Id::NodeLost)),
            (vec![came(Outcome::Forbidden(why()), None)], Some(Id::NodeForbidden)),
            (vec![came(Outcome::Elsewhere(why()), Some("x"))], Some(Id::UpgradeElsewhere)),
        ] {
            let error = nodes.iter().find_map(|came| failure(&terms(), came));
            assert_eq!(error.as_ref().map(Error::id), id, "{nodes:?}");
            assert!(error.is_none_or(|error| !error.cures().is_empty()));
        }
    }

    #[test]
    fn the_object_is_what_the_page_says() {
        let mut table = crate::documented::Table::of("`orlop upgrade`");
        let why = || "why".to_owned();
        for outcome in [
            Outcome::Upgraded { from: "1.1".to_owned(), to: "1.2".to_owned() },
            Outcome::Already("1.2".to_owned()),
            Outcome::NotBegun,
            Outcome::FellBack(why()),
            Outcome::NotTaken(why()),
            Outcome::PodsRemain(why()),
            Outcome::Lost(why()),
            Outcome::Forbidden(why()),
            Outcome::Elsewhere(why()),
        ] {
            let mut object = object(&terms(), vec![told(&came(outcome, Some("x")))]);
            object["schema"] = 1.into();
            table.check(&object);
        }
        table.complete();
    }
}
