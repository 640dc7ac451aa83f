//! What a node says, and what comes next; a node that is asked until the end.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn standing(version: &str, phase: Phase) -> Standing {
    let (staged, fallback, slots) = (None, None, Slots::default());
    let judged = Some("healthy".to_owned());
    Standing { version: version.to_owned(), phase, staged, fallback, judged, slots }
}

fn fell_back(version: &str) -> Option<Fallback> {
    Some(Fallback { version: version.to_owned(), reason: "kubelet".to_owned(), time: 1 })
}

#[test]
fn what_a_node_says_leads_to_one_step() {
    let staged = Standing { staged: Some("2".to_owned()), ..standing("1", Phase::Staged) };
    let left = Standing { fallback: fell_back("2"), ..standing("1", Phase::FellBack) };
    // Two Plans for one node do not take turns: what was left stays so when the other was left, too.
    let failed = vec![Left { version: "2".to_owned(), reason: "the CRI".to_owned() }];
    let slots = Slots { failed };
    let long_ago = Standing { fallback: fell_back("3"), slots, ..left.clone() };
    let judged = |word: Option<&str>| Standing {
        judged: word.map(str::to_owned),
        ..standing("2", Phase::Idle)
    };
    for (standing, want) in [
        (standing("2", Phase::Idle), Step::Done),
        // It was found healthy in an earlier boot, maybe.
        (judged(Some("not-yet")), Step::Wait(Wait::Judgement)),
        (judged(Some("unhealthy")), Step::Unhealthy),
        // A node without slots.
        (judged(None), Step::Done),
        (standing("2", Phase::Trial), Step::Wait(Wait::Trial)),
        (standing("1", Phase::Restarting), Step::Wait(Wait::Restart)),
        (standing("1", Phase::Staging), Step::Wait(Wait::Staging)),
        (standing("1", Phase::Idle), Step::Stage),
        // Of a later updater.
        (standing("1", Phase::Unknown), Step::Stage),
        (staged.clone(), Step::Restart),
        (Standing { staged: Some("3".to_owned()), ..staged.clone() }, Step::Stage),
        (left.clone(), Step::FellBack("kubelet".to_owned())),
        (long_ago, Step::FellBack("the CRI".to_owned())),
        // Even if somebody has staged it again, nobody said that it is to be tried again.
        (Standing { fallback: fell_back("2"), ..staged.clone() }, Step::FellBack("kubelet".into())),
        (Standing { fallback: fell_back("0"), ..staged }, Step::Restart),
    ] {
        assert_eq!(next("2", &standing), want, "{standing:?}");
    }
}

#[test]
fn members_that_are_not_known_are_passed_over() {
    let said = json!({
        "image": "node", "version": "1", "phase": "hovering", "slots": {}, "doing": null,
        "fallback": { "version": "2", "reason": "x", "time": 7, "more": 1 },
    });
    let slots = json!({ "slots": { "failed": [{ "version": "0", "reason": "y", "time": 3 }] } });
    let mut whole = said.clone();
    whole["slots"] = slots["slots"].clone();
    let read: Standing = serde_json::from_value(whole).unwrap();
    assert_eq!(read.left("0"), Some("y"));
    let read: Standing = serde_json::from_value(said).unwrap();
    assert_eq!((read.phase, read.fallback.unwrap().time), (Phase::Unknown, 7));
}

/// A node and whoever asks it, who is killed by each restart and started again.
struct Node {
    version: String,
    phase: Phase,
    staged: Option<String>,
    fallback: Option<Fallback>,
    is_bad: bool,
    restarts: u32,
    /// What happens beside, one for each call.
    trouble: Vec<Option<Refused>>,
}

impl Node {
    fn trouble(&mut self) -> Result<(), Refused> {
        self.trouble.pop().flatten().map_or(Ok(()), Err)
    }
}

impl Updater for Node {
    fn status(&mut self) -> Result<Value, Refused> {
        self.trouble()?;
        Ok(json!({
            "version": self.version, "phase": self.phase, "staged": self.staged,
            "fallback": self.fallback,
        }))
    }

    fn stage(&mut self, version: &str) -> Result<Came, Refused> {
        assert_ne!(version, self.version);
        self.trouble()?;
        (self.staged, self.phase) = (Some(version.to_owned()), Phase::Staged);
        Ok(Came::Done)
    }

    fn restart(&mut self, version: &str) -> Result<Came, Refused> {
        assert_eq!(self.staged.as_deref(), Some(version));
        self.trouble()?;
        self.restarts += 1;
        self.phase = Phase::Restarting;
        Ok(Came::Done)
    }

    /// Time passes.
    fn wait(&mut self) {
        match self.phase {
            Phase::Restarting => {
                self.phase = Phase::Trial;
                let staged = self.staged.take().unwrap();
                self.staged = Some(std::mem::replace(&mut self.version, staged));
            }
            Phase::Trial => {
                let other = self.staged.take().unwrap();
                if self.is_bad {
                    let version = std::mem::replace(&mut self.version, other);
                    self.fallback = fell_back(&version);
                    self.phase = Phase::FellBack;
                } else {
                    (self.fallback, self.phase) = (None, Phase::Idle);
                }
            }
            Phase::Staging => self.phase = Phase::Idle,
            _ => {}
        }
    }
}

fn node(is_bad: bool, trouble: Vec<Option<Refused>>) -> Node {
    let version = "1".to_owned();
    let phase = Phase::Idle;
    Node { version, phase, staged: None, fallback: None, is_bad, restarts: 0, trouble }
}

#[test]
fn a_release_is_staged_started_judged_and_then_there_is_nothing_to_do() {
    let mut node = node(false, Vec::new());
    let mut said = Vec::new();
    let mut say = |line: &str| said.push(line.to_owned());
    assert_eq!(run("2", &mut node, &mut say), Ok(()));
    assert_eq!(run("2", &mut node, &mut say), Ok(()));
    assert_eq!((node.version.as_str(), node.restarts), ("2", 1));
    let want = [
        "the release 2 is being staged",
        "the machine restarts with the release 2",
        "a trial is judged",
    ];
    assert_eq!(said, want);
}

#[test]
fn a_release_that_fell_back_fails_and_is_not_tried_again() {
    let mut node = node(true, Vec::new());
    let why = Err("the node tried the release 2 and left it: kubelet".to_owned());
    for _ in 0..3 {
        assert_eq!(run("2", &mut node, &mut |_| ()), why);
    }
    assert_eq!((node.version.as_str(), node.restarts), ("1", 1));
}

#[test]
fn nobody_is_waited_for_and_not_for_ever() {
    let gone = || Some(Refused::Nobody("nobody listens".to_owned()));
    let mut late = node(false, (0..PATIENCE - 1).map(|_| gone()).collect());
    assert_eq!(run("1", &mut late, &mut |_| ()), Ok(()));
    let mut away = node(false, (0..PATIENCE).map(|_| gone()).collect());
    assert_eq!(run("1", &mut away, &mut |_| ()), Err("nobody listens".to_owned()));
}

/// A node that always says the same, whatever is asked of it, and for how long it was looked at.
struct Stubborn {
    says: Value,
    came: Came,
    looks: u32,
    waits: u32,
}

impl Updater for Stubborn {
    fn status(&mut self) -> Result<Value, Refused> {
        assert_eq!(self.looks, self.waits, "two looks without a pause");
        self.looks += 1;
        if self.looks == 9 {
            Err(Refused::Failed("the test ends".into()))
        } else {
            Ok(self.says.clone())
        }
    }

    fn stage(&mut self, _: &str) -> Result<Came, Refused> {
        Ok(self.came)
    }

    fn restart(&mut self, _: &str) -> Result<Came, Refused> {
        Ok(self.came)
    }

    fn wait(&mut self) {
        self.waits += 1;
    }
}

#[test]
fn nobody_looks_twice_without_a_pause_whatever_the_node_says() {
    for phase in Phase::ALL.iter().map(|(_, phase)| phase) {
        for staged in [None, Some("2")] {
            let says = json!({ "version": "1", "phase": phase, "staged": staged });
            let mut node = Stubborn { says, came: Came::Done, looks: 0, waits: 0 };
            assert_eq!(run("2", &mut node, &mut |_| ()), Err("the test ends".to_owned()));
        }
    }
}

#[test]
fn a_node_that_runs_it_is_the_end_whatever_version_its_image_says() {
    for staged in [None, Some("2")] {
        let says = json!({ "version": "1", "phase": "idle", "staged": staged });
        let mut node = Stubborn { says, came: Came::Runs, looks: 0, waits: 0 };
        assert_eq!(run("2", &mut node, &mut |_| ()), Ok(()));
        assert_eq!(node.looks, 1);
    }
}

fn trouble() -> impl Strategy<Value = Option<Refused>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(Refused::Busy("somebody else is at it".to_owned()))),
        1 => Just(Some(Refused::Nobody("nobody listens".to_owned()))),
    ]
}

proptest! {
    #[test]
    fn whatever_comes_between_a_node_is_restarted_once(
        is_bad: bool,
        trouble in prop::collection::vec(trouble(), 0..30),
        staging: bool,
    ) {
        let mut node = node(is_bad, trouble);
        if staging {
            node.phase = Phase::Staging;
        }
        let first = run("2", &mut node, &mut |_| ());
        prop_assert_eq!(first.is_ok(), !is_bad);
        prop_assert_eq!(run("2", &mut node, &mut |_| ()).is_ok(), !is_bad);
        prop_assert_eq!(node.restarts, 1);
    }
}
