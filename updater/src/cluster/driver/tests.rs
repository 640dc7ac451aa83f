//! A node whose slots, STATE, loader and API server are values; the driver is the real one.

mod orders;

use std::collections::VecDeque;

use formats::digest::Sha256;
use formats::fleet::Fallback;
use formats::meta;

use super::*;
use crate::cluster::Spare;
use crate::cluster::labels::Labels;

/// What becomes of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Healthy,
    FallsBack,
    /// The loader starts what ran before.
    NeverBegins,
}

#[derive(Debug)]
struct Node {
    driver: Driver,
    standing: Standing,
    /// On STATE.
    served: Option<Served>,
    /// What the Node object says.
    object: Option<Seen>,
    now: Duration,
    /// The spare slot is being filled.
    stages: bool,
    cancelled: bool,
    armed: Option<String>,
    goes_down: bool,
    /// STATE takes nothing.
    state_is_full: bool,
    api_is_away: bool,
    arm_fails: bool,
    arm_is_busy: bool,
    /// Since somebody has asked for something else.
    arms: u32,
    seen: Option<Asked>,
    told: Vec<&'static str>,
    phases: Vec<Phase>,
    staged: Vec<(Option<String>, FailedBefore)>,
}

fn standing(version: &str) -> Standing {
    let (version, root_hash) = (version.to_owned(), Sha256::of(version));
    let (spare, fallback, failed) = (None, None, Vec::new());
    Standing { version, root_hash, boot_id: None, trial: false, spare, fallback, failed }
}

impl Node {
    fn new() -> Self {
        let labels = Labels::default();
        let object =
            Some(Seen { uid: "u".into(), asked: None, look: None, reported: None, labels });
        let mut node = Self {
            driver: Driver::new(standing("1"), None, 1),
            standing: standing("1"),
            served: None,
            object,
            now: Duration::from_secs(1000),
            stages: false,
            cancelled: false,
            armed: None,
            goes_down: false,
            state_is_full: false,
            api_is_away: false,
            arm_fails: false,
            arm_is_busy: false,
            arms: 0,
            seen: None,
            told: Vec::new(),
            phases: Vec::new(),
            staged: Vec::new(),
        };
        node.look();
        node
    }

    /// The updater starts, in this boot or in the next one.
    fn start(&mut self) {
        (self.stages, self.cancelled) = (false, false);
        self.driver = Driver::new(self.standing.clone(), self.served.clone(), 1);
        self.look();
    }

    fn look(&mut self) {
        if !self.api_is_away {
            let asked = self.object.as_ref().and_then(|object| object.asked.clone());
            // Counted for each request that the node has seen, whenever it was made.
            if self.object.is_some() && asked != self.seen {
                (self.seen, self.arms) = (asked, 0);
            }
            self.hear(Event::Seen(self.object.clone()));
        }
    }

    fn ask(&mut self, release: Option<&str>, request: Option<&str>) {
        let asked = Asked::read(release, request);
        let object = self.object.as_mut().expect("the Node is there");
        object.asked = asked;
        self.look();
    }

    fn hear(&mut self, event: Event) {
        let mut actions: VecDeque<_> =
            self.driver.step(event, self.standing.clone(), self.now).into();
        while let Some(action) = actions.pop_front() {
            if let Some(event) = self.carry_out(action) {
                actions.extend(self.driver.step(event, self.standing.clone(), self.now));
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> Option<Event> {
        assert!(!self.goes_down || matches!(action, Action::Report(_) | Action::Tell(_)));
        match action {
            Action::Stage(version, failed_before) => {
                assert!(!self.stages && !self.standing.trial, "the slots are in use");
                self.stages = true;
                self.staged.push((version, failed_before));
                None
            }
            Action::Look(question) => Some(Event::Looked(question, Ok("3".to_owned()))),
            Action::Cancel => {
                assert!(self.stages && !self.cancelled);
                self.cancelled = true;
                None
            }
            Action::Keep(served) => Some(Event::Kept(if self.state_is_full {
                Err("no space".to_owned())
            } else {
                self.served = Some(served);
                Ok(())
            })),
            Action::Forget => {
                self.served = None;
                Some(Event::Kept(Ok(())))
            }
            Action::Arm(version) => {
                let served = self.served.as_ref().expect("it is remembered before");
                assert_eq!((served.version.as_ref(), &served.end), (Some(&version), &None));
                assert!(!self.standing.trial && !self.stages);
                let spare = self.standing.spare.as_mut().expect("something lies there");
                assert_eq!(spare.version, version);
                if self.arm_fails {
                    return Some(Event::Armed(Err(NotArmed::Failed("no variables".to_owned()))));
                }
                if self.arm_is_busy {
                    return Some(Event::Armed(Err(NotArmed::Busy("not judged yet".to_owned()))));
                }
                self.arms += 1;
                assert!(self.arms <= 3, "one request is tried three times at most");
                spare.attempts += 1;
                self.armed = Some(version);
                Some(Event::Armed(Ok(())))
            }
            Action::Restart(_) => {
                assert!(self.armed.is_some(), "a restart for nothing");
                self.goes_down = true;
                Some(Event::Restarting(Ok(())))
            }
            Action::Report(status) => {
                let result = if self.api_is_away { Err("away".to_owned()) } else { Ok(()) };
                if let (Ok(()), Some(object)) = (&result, &mut self.object) {
                    object.reported = Some(Box::new(status.clone()));
                    self.phases.push(status.phase);
                }
                Some(Event::Reported(Box::new(status), result))
            }
            Action::Tell(occasion) => {
                self.told.push(occasion.reason);
                None
            }
        }
    }

    fn stage_ends(&mut self, result: Result<Staged, NotStaged>) {
        if !std::mem::take(&mut self.stages) {
            return;
        }
        self.cancelled = false;
        if let Ok(Staged::InSpare(version)) = &result {
            let version = version.clone();
            self.standing.spare = Some(Spare { version, attempts: 0 });
        }
        self.hear(Event::Staged(result));
    }

    fn restarts(&mut self, fate: Fate) {
        if !std::mem::take(&mut self.goes_down) {
            return;
        }
        let Some(version) = self.armed.take() else { return };
        match fate {
            Fate::Healthy => self.standing = Standing { trial: true, ..standing(&version) },
            Fate::FallsBack => {
                self.standing.spare = None;
                let root_hash = Sha256::of(&version);
                let (time, reason) = (self.now.as_secs(), "no DHCP".to_owned());
                self.standing.fallback = Some(meta::Fallback { version, root_hash, time, reason });
            }
            Fate::NeverBegins => {}
        }
        self.start();
    }

    fn judged(&mut self) {
        self.standing.trial = false;
        self.passes(60);
    }

    fn passes(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.hear(Event::Tick);
    }

    fn reported(&self) -> &Status {
        self.object.as_ref().and_then(|object| object.reported.as_deref()).expect("an answer")
    }
}

fn in_spare(version: &str) -> Result<Staged, NotStaged> {
    Ok(Staged::InSpare(version.to_owned()))
}

#[test]
fn a_release_that_is_asked_for_is_staged_tried_and_kept() {
    use Phase::{Idle, Restarting, Staging, Trial};
    let mut node = Node::new();
    assert_eq!(node.reported(), &Status::new("1", Sha256::of("1"), Idle));
    node.ask(Some("2"), Some("a"));
    let progress =
        Progress { phase: transport::Phase::Fill, done: 42, total: 100, fetched: 7, written: 0 };
    node.hear(Event::Progress(progress));
    node.passes(10);
    let about = (Some("2".to_owned()), Some("a".to_owned()), Some(42), Some(7));
    let said = node.reported().clone();
    assert_eq!((said.release, said.request, said.percent, said.fetched), about);
    node.stage_ends(in_spare("2"));
    node.restarts(Fate::Healthy);
    node.judged();
    // What is done is done, whoever starts anew.
    node.start();
    node.ask(Some("2"), None);
    node.passes(3600);
    assert_eq!(node.phases, [Idle, Staging, Staging, Restarting, Trial, Idle, Idle]);
    assert_eq!(node.told, ["UpdateStaged", "UpdateTrial", "UpdatePromoted"]);
    assert_eq!(node.staged, [(Some("2".to_owned()), FailedBefore::TriedAgain)]);
    assert_eq!((node.reported().version.as_str(), node.arms), ("2", 0));
}

#[test]
fn a_release_that_falls_back_is_told_and_not_tried_again_until_somebody_asks_anew() {
    let mut node = Node::new();
    node.ask(Some("2"), None);
    node.stage_ends(in_spare("2"));
    node.restarts(Fate::FallsBack);
    for _ in 0..3 {
        node.start();
        node.passes(3600);
    }
    let said = node.reported();
    assert_eq!((said.phase, said.reason.as_deref()), (Phase::FellBack, Some("no DHCP")));
    let left = said.fallback.as_ref().map(|Fallback { version, .. }| version.as_str());
    assert_eq!((left, node.staged.len(), node.arms), (Some("2"), 1, 1));
    assert_eq!(node.told, ["UpdateStaged", "UpdateFellBack"]);
    node.ask(Some("2"), Some("again"));
    assert_eq!(node.staged[1], (Some("2".to_owned()), FailedBefore::TriedAgain));
    node.stage_ends(in_spare("2"));
    node.restarts(Fate::Healthy);
    node.judged();
    assert_eq!((node.reported().phase, node.told.last()), (Phase::Idle, Some(&"UpdatePromoted")));
}

#[test]
fn what_cannot_be_staged_is_told_with_the_reason_and_left_at_that() {
    for (result, phase, told) in [
        (NotStaged::Refused("it is for arm64".into()), Phase::Refused, "UpdateRefused"),
        (NotStaged::Failed("no route".into()), Phase::Failed, "UpdateFailed"),
        (NotStaged::Cancelled, Phase::Failed, "UpdateFailed"),
    ] {
        let mut node = Node::new();
        node.ask(Some("newest"), None);
        node.stage_ends(Err(result.clone()));
        node.start();
        node.passes(3600);
        let said = node.reported();
        assert_eq!((said.phase, said.reason.clone()), (phase, Some(result.to_string())));
        assert_eq!((node.told.clone(), node.staged.len()), (vec![told], 1));
    }
}

#[test]
fn the_newest_release_may_run_already() {
    let mut node = Node::new();
    node.ask(Some("newest"), None);
    node.stage_ends(Ok(Staged::Runs));
    node.passes(3600);
    assert_eq!((node.reported().phase, node.staged.len()), (Phase::Idle, 1));
    assert_eq!(node.reported().release.as_deref(), Some("newest"));
}

#[test]
fn nothing_is_tried_that_the_node_could_not_remember() {
    let mut node = Node::new();
    node.ask(Some("2"), None);
    node.state_is_full = true;
    node.stage_ends(in_spare("2"));
    node.passes(3600);
    let why = "the node cannot remember that it has served this: no space";
    assert_eq!(
        (node.reported().phase, node.reported().reason.as_deref()),
        (Phase::Failed, Some(why))
    );
    assert_eq!((node.armed, node.staged.len()), (None, 1));
}

#[test]
fn a_trial_that_cannot_be_armed_has_failed() {
    let mut node = Node::new();
    node.arm_fails = true;
    node.ask(Some("2"), None);
    node.stage_ends(in_spare("2"));
    node.passes(3600);
    let said = node.reported();
    assert_eq!((said.phase, said.reason.as_deref()), (Phase::Failed, Some("no variables")));
    assert!(!node.goes_down);
}

#[test]
fn a_node_whose_api_server_goes_away_restarts_all_the_same() {
    let mut node = Node::new();
    node.ask(Some("2"), None);
    node.api_is_away = true;
    node.stage_ends(in_spare("2"));
    assert!(node.goes_down);
    node.restarts(Fate::Healthy);
    node.judged();
    // It comes back.
    node.api_is_away = false;
    node.look();
    assert_eq!((node.reported().phase, node.reported().version.as_str()), (Phase::Idle, "2"));
}

#[test]
fn who_asks_for_something_else_meanwhile_stops_what_is_staged() {
    let mut node = Node::new();
    node.ask(Some("2"), Some("a"));
    node.ask(Some("2"), Some("b"));
    assert!(!node.cancelled, "it is the same release");
    assert_eq!(node.reported().request.as_deref(), Some("b"));
    node.ask(Some("3"), None);
    assert!(node.cancelled);
    node.ask(None, None);
    node.ask(Some("3"), None);
    node.stage_ends(Err(NotStaged::Cancelled));
    let versions: Vec<_> = node.staged.iter().map(|(version, _)| version.as_deref()).collect();
    assert_eq!((versions, node.stages), (vec![Some("2"), Some("3")], true));
    node.ask(None, None);
    // It was too late to stop it: it lies there, and nobody wants it.
    node.stage_ends(in_spare("3"));
    node.passes(3600);
    assert_eq!((node.armed.clone(), node.reported().phase), (None, Phase::Idle));
}

#[test]
fn somebody_else_who_has_the_slots_is_waited_for() {
    let mut node = Node::new();
    node.ask(Some("2"), None);
    let why = "somebody else is at it: stage 1.9";
    node.stage_ends(Err(NotStaged::Busy(why.into())));
    assert_eq!(
        (node.reported().phase, node.reported().reason.as_deref()),
        (Phase::Staging, Some(why))
    );
    node.passes(29);
    assert_eq!(node.staged.len(), 1);
    assert_eq!(node.driver.wakes_at(node.now), node.now + Duration::from_secs(1));
    node.passes(1);
    assert_eq!((node.staged.len(), node.reported().reason.clone()), (2, None));
}

#[test]
fn a_node_that_cannot_arm_yet_is_waited_for() {
    let mut node = Node::new();
    node.arm_is_busy = true;
    node.ask(Some("2"), None);
    node.stage_ends(in_spare("2"));
    node.passes(3600);
    let said = node.reported();
    assert_eq!((said.phase, said.reason.as_deref()), (Phase::Staged, Some("not judged yet")));
    assert_eq!(node.driver.wakes_at(node.now), node.now + BUSY);
    node.arm_is_busy = false;
    node.passes(BUSY.as_secs());
    assert!(node.goes_down);
    node.restarts(Fate::Healthy);
    node.judged();
    assert_eq!(node.reported().phase, Phase::Idle);
    assert_eq!(node.told, ["UpdateStaged", "UpdateTrial", "UpdatePromoted"]);
}

#[test]
fn who_goes_on_to_another_release_has_not_fallen_back() {
    let mut node = Node::new();
    node.ask(Some("2"), None);
    node.stage_ends(in_spare("2"));
    node.restarts(Fate::Healthy);
    node.judged();
    let told = node.told.clone();
    // The annotation stays, and the policy brings the next one.
    node.standing = standing("3");
    node.start();
    node.passes(3600);
    assert_eq!((node.reported().phase, node.reported().version.as_str()), (Phase::Idle, "3"));
    assert_eq!(node.told, told);
}

#[test]
fn a_restart_that_does_not_come_is_told_and_asked_for_again() {
    let mut node = Node::new();
    node.ask(Some("2"), None);
    node.stage_ends(in_spare("2"));
    node.goes_down = false;
    node.hear(Event::Restarting(Err("no such process".into())));
    let why = "the machine does not restart: no such process";
    assert_eq!(node.reported().reason.as_deref(), Some(why));
    node.passes(59);
    assert!(!node.goes_down);
    node.passes(1);
    assert!(node.goes_down);
}

#[test]
fn a_node_object_that_is_gone_gets_no_answer_until_it_is_back() {
    let mut node = Node::new();
    let (object, answers) = (node.object.take(), node.phases.len());
    node.look();
    node.passes(3600);
    assert_eq!(node.phases.len(), answers);
    node.object = object.map(|seen| Seen { uid: "v".into(), reported: None, ..seen });
    node.look();
    node.passes(60);
    assert_eq!((node.phases.len(), node.reported().phase), (answers + 1, Phase::Idle));
}

#[test]
fn a_request_that_nobody_makes_any_more_ends_and_holds_up_nothing() {
    // Its trial was armed, and the loader has not started it. Meanwhile the object was deleted, or the
    // annotation.
    for is_deleted in [true, false] {
        let mut node = Node::new();
        node.ask(Some("2"), None);
        node.stage_ends(in_spare("2"));
        match is_deleted {
            true => node.object = None,
            false => node.object.as_mut().unwrap().asked = None,
        }
        assert!(node.served.as_ref().is_some_and(|served| served.end.is_none()));
        node.restarts(Fate::NeverBegins);
        assert_eq!((node.served.clone(), node.arms), (None, if is_deleted { 1 } else { 0 }));
        // Who asks once more is served once more.
        let asked = Asked::read(Some("2"), None);
        node.object = Some(Seen {
            uid: "v".into(),
            asked,
            look: None,
            reported: None,
            labels: Labels::default(),
        });
        node.look();
        assert_eq!(node.staged.len(), 2);
    }
    // While nobody knows whether there is an object nothing ends.
    let mut node = Node::new();
    node.ask(Some("2"), None);
    node.stage_ends(in_spare("2"));
    node.api_is_away = true;
    node.restarts(Fate::NeverBegins);
    node.passes(3600);
    assert!(node.served.is_some_and(|served| served.end.is_none()));
}

#[test]
fn what_a_request_came_to_is_kept_although_nobody_makes_it_any_more() {
    for (fate, phase) in [(Fate::Healthy, Phase::Idle), (Fate::FallsBack, Phase::FellBack)] {
        let mut node = Node::new();
        node.ask(Some("2"), None);
        node.stage_ends(in_spare("2"));
        node.object = None;
        node.restarts(fate);
        node.judged();
        let end = node.served.and_then(|served| served.end);
        assert_eq!(end.map(|end| end.phase), Some(phase));
    }
}

#[test]
fn what_is_done_at_the_node_itself_is_told_too() {
    let mut node = Node::new();
    node.standing = Standing { trial: true, ..standing("2") };
    node.start();
    assert_eq!((node.reported().phase, node.reported().release.clone()), (Phase::Trial, None));
    // What somebody asks for meanwhile is begun when that is judged.
    node.ask(Some("3"), None);
    assert_eq!(node.staged.len(), 0);
    assert_eq!(node.driver.wakes_at(node.now), node.now + LOOK_IN_TRIAL);
    node.judged();
    assert_eq!((node.staged.len(), node.reported().phase), (1, Phase::Staging));
    assert_eq!(node.told, ["UpdateTrial"]);
}
