//! What stands against an upgrade, and what it would do.

use serde_json::{Value, json};
use upgrade::check::{Checked, Does, Kind, Planned, Problem};
use upgrade::known::Bytes;
use upgrade::rollout::Terms;

use crate::arguments::Global;
use crate::commands::{print, print_json};
use crate::error::{Error, Id, Result, Shown, several};

/// All that stands against it, as one error; its id is that of the first.
pub(super) fn refuse(problems: Vec<Problem>) -> Error {
    let id = match problems.first().map(|problem| problem.kind) {
        Some(Kind::Unfit) | None => Id::UnfitNode,
        Some(Kind::Release) => Id::UnfitRelease,
        Some(Kind::Pods) => Id::PodsInTheWay,
        Some(Kind::Busy) => Id::UpgradeElsewhere,
    };
    let shown = |problem: Problem| Shown { text: problem.text, hint: Some(problem.cure) };
    several(id, "the upgrade; nothing was changed", problems.into_iter().map(shown).collect())
}

/// Prints the plan.
///
/// # Errors
/// [`Id::Stdout`].
pub(super) fn show(global: &Global, terms: &Terms, checked: &Checked) -> Result<()> {
    if global.json {
        return print_json(&object(terms, checked));
    }
    print(text(terms, checked))
}

fn object(terms: &Terms, checked: &Checked) -> Value {
    let node = |planned: &Planned| {
        let Planned { node, from, does, stays_cordoned, evicted, staying, bytes } = planned;
        json!({
            "node": node,
            "from": from,
            "does": does_text(*does),
            "stays-cordoned": stays_cordoned,
            "evicted": evicted,
            "staying": staying,
            "bytes": bytes.map(Bytes::most),
            "bytes-are-a-limit": bytes.map(|bytes| !matches!(bytes, Bytes::Delta(_))),
        })
    };
    json!({
        "release": terms.release,
        "max-unavailable": terms.max_unavailable,
        "nodes": checked.plan.iter().map(node).collect::<Vec<_>>(),
        "warnings": checked.warnings,
    })
}

fn does_text(does: Does) -> &'static str {
    match does {
        Does::Nothing => "nothing",
        Does::Upgrades => "upgrade",
        Does::GoesOn => "go-on",
    }
}

fn text(terms: &Terms, checked: &Checked) -> String {
    let mut text = String::new();
    let mut most = Some(0_u64);
    for planned in &checked.plan {
        let from = planned.from.as_deref().unwrap_or("?");
        let does = match planned.does {
            Does::Nothing => format!("runs {from} already"),
            Does::Upgrades => format!("{from} -> {}", terms.release),
            Does::GoesOn => format!("{from} -> {}, begun before", terms.release),
        };
        text += &format!("{}  {does}\n", planned.node);
        if planned.does == Does::Nothing {
            continue;
        }
        most = most.zip(planned.bytes).map(|(sum, bytes)| sum.saturating_add(bytes.most()));
        if planned.stays_cordoned {
            text += "  stays cordoned, as it was before\n";
        }
        text += &format!("  fetches {}\n", bytes_text(planned.bytes));
        if planned.staying > 0 {
            text += &format!("  {} pods stay until it goes down\n", planned.staying);
        }
        for pod in &planned.evicted {
            text += &format!("  evicts {pod}\n");
        }
    }
    let together = match terms.max_unavailable {
        1 => "one node after the other".to_owned(),
        most => format!("up to {most} nodes side by side"),
    };
    let fetched = match most {
        Some(bytes) => format!("at most {bytes} bytes together"),
        None => "bytes are not known without `--channel`".to_owned(),
    };
    text + &format!("{together}; {fetched}; nothing was changed")
}

fn bytes_text(bytes: Option<Bytes>) -> String {
    match bytes {
        None => "what its channel offers: name it with `--channel` to know how much".to_owned(),
        Some(Bytes::Delta(bytes)) => format!("{bytes} bytes, by deltas"),
        Some(Bytes::DeltaAnd(bytes)) => format!("at most {bytes} bytes, the root image by a delta"),
        Some(Bytes::AtMost(bytes)) => {
            format!("at most {bytes} bytes: there is no delta for what it runs")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::expect;
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

    fn checked() -> Checked {
        let planned = |node: &str, does, bytes| Planned {
            node: node.to_owned(),
            from: Some("1.1".to_owned()),
            does,
            stays_cordoned: does == Does::GoesOn,
            evicted: vec!["default/web".to_owned()],
            staying: 2,
            bytes,
        };
        let plan = vec![
            planned("a", Does::Upgrades, Some(Bytes::Delta(110))),
            planned("b", Does::GoesOn, Some(Bytes::AtMost(5000))),
            planned("c", Does::Nothing, None),
        ];
        Checked { problems: Vec::new(), warnings: vec!["look".to_owned()], plan }
    }

    #[test]
    fn the_plan_is_told_node_by_node() {
        expect![[r#"
            a  1.1 -> 1.2
              fetches 110 bytes, by deltas
              2 pods stay until it goes down
              evicts default/web
            b  1.1 -> 1.2, begun before
              stays cordoned, as it was before
              fetches at most 5000 bytes: there is no delta for what it runs
              2 pods stay until it goes down
              evicts default/web
            c  runs 1.1 already
            one node after the other; at most 5110 bytes together; nothing was changed"#]]
        .assert_eq(&text(&terms(), &checked()));
    }

    #[test]
    fn the_object_is_what_the_page_says() {
        let mut table = crate::documented::Table::of("`orlop upgrade --dry-run`");
        let mut object = object(&terms(), &checked());
        object["schema"] = 1.into();
        table.check(&object);
        table.complete();
    }

    #[test]
    fn what_stands_against_it_is_one_error_with_the_id_of_the_first() {
        let problem =
            |kind, text: &str| Problem { kind, text: text.to_owned(), cure: "cure".to_owned() };
        for (kind, id) in [
            (Kind::Unfit, Id::UnfitNode),
            (Kind::Release, Id::UnfitRelease),
            (Kind::Pods, Id::PodsInTheWay),
            (Kind::Busy, Id::UpgradeElsewhere),
        ] {
            let error = refuse(vec![problem(kind, "one")]);
            assert_eq!((error.id(), error.hints()), (id, &["cure".to_owned()][..]));
        }
        let error = refuse(vec![problem(Kind::Pods, "one"), problem(Kind::Busy, "other")]);
        assert_eq!(error.id(), Id::PodsInTheWay);
        let text = "2 problems in the upgrade; nothing was changed\n\n  one\n    hint: cure\n\n  other\n    hint: cure";
        assert_eq!(error.to_string(), text);
    }
}
