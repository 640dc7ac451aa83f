//! What stands against an upgrade, and what would be done.

use std::collections::BTreeMap;
use std::time::Duration;

use formats::digest::Sha256;
use formats::fleet::{Asked, Fallback, Status};

use super::*;
use crate::budgets;
use crate::known::tests::known;
use crate::mark::{Mark, Request};
use crate::pods::Owner;

fn terms(release: &str, drain: Drain) -> Terms {
    Terms {
        release: release.to_owned(),
        request: "r".to_owned(),
        max_unavailable: 1,
        drain,
        drain_limit: Duration::ZERO,
        node_limit: Duration::ZERO,
    }
}

fn node(name: &str) -> Node {
    Node {
        name: name.to_owned(),
        revision: "1".to_owned(),
        unschedulable: false,
        ready: Ok(()),
        boot_id: "b".to_owned(),
        kubelet: "v1.36.3".to_owned(),
        architecture: "amd64".to_owned(),
        asked: None,
        look: None,
        status: Some(Ok(Status::new("1.1", Sha256::from_bytes([0x11; 32]), Phase::Idle))),
        mark: None,
    }
}

fn pod(node: &str, name: &str) -> Pod {
    Pod {
        namespace: "n".to_owned(),
        name: name.to_owned(),
        uid: format!("{node} {name}"),
        node: node.to_owned(),
        labels: BTreeMap::new(),
        owner: Owner::Controller,
        has_data: false,
        is_finished: false,
        is_leaving: false,
    }
}

/// A question with everything well: node `a` with a pod, a release that fits.
struct Case {
    terms: Terms,
    names: Vec<String>,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    budgets: Vec<Budget>,
    server: &'static str,
    known: Option<Known>,
}

fn case() -> Case {
    Case {
        terms: terms("1.2", Drain::Evict(Losses::default())),
        names: vec!["a".to_owned()],
        nodes: vec![node("a"), node("b")],
        pods: vec![pod("a", "web"), pod("b", "other")],
        budgets: Vec::new(),
        server: "v1.36.1",
        known: Some(known()),
    }
}

impl Case {
    fn checked(&self) -> Checked {
        let Self { terms, names, nodes, pods, budgets, server, known } = self;
        check(&Question { terms, names, nodes, pods, budgets, server, known: known.as_ref() })
    }

    /// The one problem that there is.
    fn problem(&self) -> (Kind, String) {
        let checked = self.checked();
        let [problem] = &checked.problems[..] else { panic!("{checked:?}") };
        assert!(!problem.cure.is_empty());
        (problem.kind, problem.text.clone())
    }
}

fn all_covered(name: &str) -> Budget {
    let mut budget = Budget::default();
    budget.metadata.namespace = "n".to_owned();
    budget.metadata.name = name.to_owned();
    budget.spec.selector = Some(budgets::Selector::default());
    budget.status.desired_healthy = 1;
    budget.status.expected_pods = 1;
    budget
}

#[test]
fn the_plan_says_what_each_node_would_do_and_fetch() {
    let mut case = case();
    case.names.push("b".to_owned());
    case.nodes[1].unschedulable = true;
    case.nodes[1].status =
        Some(Ok(Status::new("1.0", Sha256::from_bytes([0x99; 32]), Phase::Idle)));
    case.known.as_mut().unwrap().release.min_from = None;
    let mut daemon = pod("a", "daemon");
    daemon.owner = Owner::DaemonSet;
    case.pods.push(daemon);
    let Checked { problems, warnings, plan } = case.checked();
    assert_eq!((problems, warnings), (Vec::new(), Vec::new()));
    let [a, b] = &plan[..] else { panic!("{plan:?}") };
    assert_eq!(
        (&a.evicted[..], a.staying, a.bytes, a.stays_cordoned, a.does),
        (&["n/web".to_owned()][..], 1, Some(Bytes::Delta(110)), false, Does::Upgrades)
    );
    assert_eq!((b.bytes, b.stays_cordoned), (Some(Bytes::AtMost(5000)), true));
}

#[test]
fn a_node_that_runs_the_release_is_left_alone_whatever_it_is() {
    let mut case = case();
    case.nodes[0].status =
        Some(Ok(Status::new("1.2", Sha256::from_bytes([0x12; 32]), Phase::Idle)));
    case.nodes[0].ready = Err("down".to_owned());
    let mut data = pod("a", "data");
    data.has_data = true;
    case.pods.push(data);
    // Nothing is done, so nobody else is in the way either.
    case.nodes[1].mark = Some(Ok(Mark { cordoned: true, asked: None }));
    let checked = case.checked();
    assert_eq!(checked.problems, []);
    assert_eq!((checked.plan[0].does, checked.plan[0].bytes), (Does::Nothing, None));
}

#[test]
fn what_makes_a_node_unfit_is_named() {
    type Breaks = fn(&mut Case);
    let broken: [(Breaks, Kind, &str); 10] = [
        (|case| case.names[0] = "c".to_owned(), Kind::Unfit, "there is no node `c`"),
        (
            |case| case.nodes[0].ready = Err("no CNI".to_owned()),
            Kind::Unfit,
            "node `a` is not Ready: no CNI",
        ),
        (
            |case| case.nodes[0].status = None,
            Kind::Unfit,
            "node `a` has no `orlop.dev/status`: no updater of Orlop runs there",
        ),
        (
            |case| case.nodes[0].status = Some(Err("schema 2".to_owned())),
            Kind::Unfit,
            "node `a`: schema 2",
        ),
        (
            |case| case.nodes[0].mark = Some(Err("no mark".to_owned())),
            Kind::Unfit,
            "node `a`: no mark",
        ),
        (
            |case| case.nodes[0].architecture = "arm64".to_owned(),
            Kind::Release,
            "node `a` cannot take the release: its processors are arm64, and 1.2 is for amd64",
        ),
        (
            |case| {
                case.nodes[0].status =
                    Some(Ok(Status::new("1.0", Sha256::from_bytes([0x10; 32]), Phase::Idle)));
            },
            Kind::Release,
            "node `a` cannot take the release: it runs 1.0, and 1.2 is reached from 1.1 on",
        ),
        (
            |case| case.server = "v1.35.9",
            Kind::Release,
            "the release 1.2 does not fit the cluster: its kubelet is v1.36.3, newer than the API \
             server v1.35.9",
        ),
        (
            |case| case.nodes[1].mark = Some(Ok(Mark { cordoned: true, asked: None })),
            Kind::Busy,
            "an upgrade is at other nodes already, and at most 1 may be unavailable: b",
        ),
        (
            |case| {
                let request = "other".to_owned();
                let asked = Request { request, from: "1.1".to_owned(), boot_id: "b".to_owned() };
                case.nodes[0].mark = Some(Ok(Mark { cordoned: true, asked: Some(asked) }));
                case.nodes[0].asked = Asked::read(Some("1.3"), Some("other"));
            },
            Kind::Busy,
            "another call is bringing node `a` to 1.3",
        ),
    ];
    for (breaks, kind, text) in broken {
        let mut case = case();
        breaks(&mut case);
        assert_eq!(case.problem(), (kind, text.to_owned()));
    }
}

#[test]
fn pods_that_would_be_lost_are_problems_until_somebody_says_that_they_may() {
    let mut case = case();
    case.pods[0].has_data = true;
    let text = "node `a`: pod n/web has data in an emptyDir volume".to_owned();
    assert_eq!(case.problem(), (Kind::Pods, text));
    case.terms.drain = Drain::Evict(Losses { data: true, unmanaged: false });
    assert_eq!(case.checked().problems, []);
    case.pods[0].owner = Owner::Nobody;
    let text = "node `a`: pod n/web has no controller that would make it anew".to_owned();
    assert_eq!(case.problem(), (Kind::Pods, text));
    case.terms.drain = Drain::Leave;
    assert_eq!(case.checked().problems, []);
    case.terms.drain = Drain::Evict(Losses { data: true, unmanaged: true });
    assert_eq!(case.checked().problems, []);
    // Under two budgets no pod is ever evicted.
    case.budgets = vec![all_covered("one"), all_covered("two")];
    let (kind, text) = case.problem();
    assert_eq!(kind, Kind::Pods);
    assert!(text.contains("two budgets for disruptions, n/one and n/two"), "{text}");
}

#[test]
fn what_will_be_waited_for_or_is_not_known_is_a_warning() {
    let mut case = case();
    case.budgets = vec![all_covered("web")];
    case.known.as_mut().unwrap().kubelet = None;
    let mut status = Status::new("1.1", Sha256::from_bytes([0x11; 32]), Phase::FellBack);
    let reason = "no CRI".to_owned();
    status.fallback = Some(Fallback { version: "1.2".to_owned(), reason, time: 1 });
    case.nodes[0].status = Some(Ok(status));
    let checked = case.checked();
    assert_eq!(checked.problems, []);
    assert_eq!(
        checked.warnings,
        [
            "the SBOM of 1.2 names no kubelet: whether it fits the API server v1.36.1 is not known",
            "node `a` fell back from 1.2 before, and tries it again: no CRI",
            "node `a`: pod n/web will be waited for, the budget n/web allows no eviction now: all of \
             its 1 pods must stay",
        ]
    );
    case.known = None;
    case.budgets.clear();
    let [warning] = &case.checked().warnings[..] else { panic!("{:?}", case.checked()) };
    assert!(warning.starts_with("no channel was named"), "{warning}");
}

#[test]
fn what_was_begun_is_gone_on_with_though_the_node_is_down() {
    let mut case = case();
    let request = Request { request: "r".into(), from: "1.1".into(), boot_id: "b".into() };
    case.nodes[0].mark = Some(Ok(Mark { cordoned: false, asked: Some(request) }));
    case.nodes[0].asked = Asked::read(Some("1.2"), Some("r"));
    case.nodes[0].ready = Err("it restarts".to_owned());
    case.nodes[0].unschedulable = true;
    case.pods[0].has_data = true;
    let checked = case.checked();
    assert_eq!(checked.problems, []);
    assert_eq!((checked.plan[0].does, checked.plan[0].stays_cordoned), (Does::GoesOn, true));
}
