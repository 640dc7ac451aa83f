//! The rollout against a model of a cluster, which has its own say in what happens when.

mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use formats::digest::Sha256;
use formats::fleet::{Asked, Phase, Status};
use proptest::prelude::*;

use super::*;
use crate::mark;
use world::{Manner, World, node, terms};

/// A run is over long before so many steps.
const MANY: usize = 20_000;

/// What is left of a node in the end: version, whether it is cordoned, whether it is marked.
type Left = BTreeMap<String, (String, bool, bool)>;

/// A call of the command, with its view of the world.
struct Call {
    rollout: Rollout,
    /// What the watch has to tell.
    events: Vec<Event>,
    /// What was begun and may have happened or not.
    pending: Vec<Action>,
}

impl Call {
    fn new(world: &World, request: &str, most: usize) -> Self {
        let terms = terms(request, most);
        let rollout = Rollout::new(terms, world.names());
        Self { rollout, events: vec![Event::Nodes(world.objects())], pending: Vec::new() }
    }

    /// Lets one thing happen, which is chosen by a number.
    fn happen(&mut self, world: &mut World, choice: usize) {
        match choice % 4 {
            0 if !self.events.is_empty() => {
                let event = self.events.remove(0);
                self.tell(world, event);
            }
            1 if !self.pending.is_empty() => {
                let action = self.pending.remove(choice / 4 % self.pending.len());
                let event = world.perform(&action);
                self.events.extend(world.news());
                // Answers come beside the watch, before or after what it tells.
                if (choice / 64).is_multiple_of(2) {
                    self.tell(world, event);
                } else {
                    self.events.push(event);
                }
            }
            2 => {
                world.live(choice / 4);
                self.events.extend(world.news());
            }
            _ => {
                world.now += Duration::from_secs(1);
                self.tell(world, Event::Tick);
            }
        }
        let drained: Vec<_> = self.rollout.drained().map(str::to_owned).collect();
        for name in drained {
            let pods = world.pods_of(&name);
            self.tell(world, Event::Pods(name, pods));
        }
    }

    fn tell(&mut self, world: &World, event: Event) {
        let actions = self.rollout.step(event, world.now);
        let failed = self.rollout.outcomes().iter().any(|(_, outcome, _)| outcome.is_failure());
        for action in &actions {
            let asks = matches!(action, Action::Ask(..) | Action::Cordon(..) | Action::Evict(..));
            assert!(!(failed && asks), "{action:?} after a failure");
        }
        self.pending.extend(actions);
    }

    /// One thing after the other until nothing is left to do.
    fn finish(&mut self, world: &mut World) {
        for step in 0..MANY {
            if self.rollout.is_over() {
                return;
            }
            self.happen(world, step);
        }
        panic!("it does not end: {:?}\n{:?}", self.rollout, world);
    }
}

fn left(world: &World) -> Left {
    let of = |node: &Node| {
        let version = node.status().unwrap().version.clone();
        (node.name.clone(), (version, node.unschedulable, node.mark.is_some()))
    };
    world.objects().iter().map(of).collect()
}

/// Runs a call to its end without a cut.
fn whole(manners: &[Manner], most: usize) -> (World, Vec<(String, Outcome, Option<String>)>) {
    let mut world = World::new(manners, most);
    let mut call = Call::new(&world, "first", most);
    call.finish(&mut world);
    (world, call.rollout.outcomes())
}

#[test]
fn nodes_are_upgraded_one_after_the_other_and_one_that_was_cordoned_stays_so() {
    let (world, outcomes) = whole(&[Manner::Good, Manner::Cordoned, Manner::Busy, Manner::Done], 1);
    let want = Outcome::Upgraded { from: "1.1".into(), to: "1.2".into() };
    let found: Vec<_> = outcomes.iter().map(|(_, outcome, left)| (outcome, left)).collect();
    let done = Outcome::Already("1.2".into());
    assert_eq!(found, [(&want, &None), (&want, &None), (&want, &None), (&done, &None)]);
    assert_eq!(
        left(&world).into_values().collect::<Vec<_>>(),
        [false, true, false, false].map(|cordoned| ("1.2".to_owned(), cordoned, false))
    );
}

/// Runs a call for the newest release, which nobody knows but the nodes.
fn newest(world: &mut World, question: &str) -> (Vec<Outcome>, Vec<Action>) {
    let terms = world.asked_for_the_newest(question);
    let (rollout, pending) = (Rollout::new(terms, world.names()), Vec::new());
    let mut call = Call { rollout, events: vec![Event::Nodes(world.objects())], pending };
    let mut done: Vec<Action> = Vec::new();
    for step in 0..MANY {
        if call.rollout.is_over() {
            let outcomes = call.rollout.outcomes().into_iter().map(|(_, outcome, _)| outcome);
            return (outcomes.collect(), done);
        }
        call.happen(world, step);
        done.extend(
            call.pending.iter().filter(|it| !done.contains(it)).cloned().collect::<Vec<_>>(),
        );
    }
    panic!("it does not end: {:?}\n{world:?}", call.rollout);
}

#[test]
fn a_node_that_runs_what_is_the_newest_for_it_is_asked_that_and_not_touched() {
    let mut world = World::new(&[Manner::Done, Manner::Good, Manner::Cordoned], 1);
    let already = Outcome::Already("1.2".into());
    let upgraded = Outcome::Upgraded { from: "1.1".into(), to: "1.2".into() };
    let (outcomes, _) = newest(&mut world, "first");
    assert_eq!(outcomes, [already.clone(), upgraded.clone(), upgraded]);
    // Again, with nothing new: all are asked, none is cordoned, evicted from or asked for a release.
    let (outcomes, done) = newest(&mut world, "second");
    assert_eq!(outcomes, [(); 3].map(|()| already.clone()));
    assert!(done.iter().all(|it| matches!(it, Action::Look(_))), "{done:?}");
}

#[test]
fn a_node_that_cannot_say_what_is_the_newest_stops_the_rest_untouched() {
    for (manner, want) in [
        (Manner::Refuses, "its channel is empty"),
        (Manner::Lost, "it does not answer which release is the newest for it"),
    ] {
        let mut world = World::new(&[manner], 1);
        let (outcomes, done) = newest(&mut world, "first");
        assert_eq!(outcomes, [Outcome::NotTaken(want.to_owned())]);
        assert!(done.iter().all(|it| matches!(it, Action::Look(_))), "{done:?}");
    }
}

#[test]
fn after_the_first_failure_none_is_begun_and_what_has_failed_is_let_go() {
    for (manner, want) in [
        (Manner::FallsBack, Outcome::FellBack("the CRI does not answer".into())),
        (Manner::Refuses, Outcome::NotTaken("of another image".into())),
        (Manner::Blocked, Outcome::PodsRemain("pod n/web: the budget allows none".into())),
        (Manner::Lost, Outcome::Lost("it is still restarting".into())),
    ] {
        let (world, outcomes) = whole(&[Manner::Good, manner, Manner::Good], 1);
        assert_eq!(outcomes[1].1, want);
        assert_eq!(outcomes[2].1, Outcome::NotBegun);
        let lost = manner == Manner::Lost;
        assert_eq!(outcomes[1].2.is_some(), lost, "{outcomes:?}");
        let left: Vec<_> = left(&world).into_values().collect();
        assert_eq!(left[1], ("1.1".to_owned(), lost, lost));
        assert_eq!(left[2], ("1.1".to_owned(), false, false));
    }
}

#[test]
fn a_node_that_was_asked_is_waited_for_and_one_that_was_only_cordoned_is_let_go() {
    // The first falls back while the second is on its way and the third still has a pod.
    let (world, outcomes) = whole(&[Manner::FallsBack, Manner::Good, Manner::Blocked], 3);
    let found: Vec<_> = outcomes.iter().map(|(_, outcome, _)| outcome).collect();
    let upgraded = Outcome::Upgraded { from: "1.1".into(), to: "1.2".into() };
    let back = Outcome::FellBack("the CRI does not answer".into());
    assert_eq!(found, [&back, &upgraded, &Outcome::NotBegun]);
    assert!(left(&world).values().all(|(_, cordoned, marked)| !cordoned && !marked));
}

#[test]
fn wherever_it_is_cut_off_a_second_call_comes_to_the_same_end() {
    for manners in [
        vec![Manner::Good, Manner::Cordoned, Manner::Busy],
        vec![Manner::Cordoned, Manner::FallsBack, Manner::Good],
        vec![Manner::Good, Manner::Refuses, Manner::Good],
        vec![Manner::Busy, Manner::Blocked, Manner::Good],
        vec![Manner::Slow, Manner::Cordoned],
    ] {
        let (world, _) = whole(&manners, 1);
        let want = left(&world);
        let places = places(&manners);
        assert!(places.len() > 20, "{manners:?}: only {} places", places.len());
        for cut in places {
            for applied in [false, true] {
                let mut world = World::new(&manners, 1);
                let mut call = Call::new(&world, "first", 1);
                (0..cut).for_each(|step| call.happen(&mut world, step));
                if applied {
                    call.pending.iter().for_each(|action| drop(world.perform(action)));
                }
                drop(world.news());
                let mut call = Call::new(&world, "second", 1);
                call.finish(&mut world);
                assert_eq!(left(&world), want, "{manners:?} cut at {cut}, applied: {applied}");
            }
        }
    }
}

/// The steps of a call after which something is not as it was.
fn places(manners: &[Manner]) -> Vec<usize> {
    let mut world = World::new(manners, 1);
    let mut call = Call::new(&world, "first", 1);
    let (mut places, mut before) = (vec![0], None);
    for step in 0..MANY {
        if call.rollout.is_over() {
            return places;
        }
        let now = (world.moment(), call.events.len(), call.pending.len());
        if before.replace(now) != Some(now) {
            places.push(step);
        }
        call.happen(&mut world, step);
    }
    panic!("it does not end");
}

#[test]
fn what_a_cut_off_call_has_not_seen_is_told_by_the_next_one() {
    let mut world = World::new(&[Manner::FallsBack], 1);
    let mut call = Call::new(&world, "first", 1);
    let asked = |world: &World| world.objects()[0].asked.clone();
    let mut step = 0;
    while asked(&world).is_none() {
        call.happen(&mut world, step);
        step += 1;
    }
    // Nobody watches while it falls back.
    (0..200).for_each(|choice| world.live(choice));
    let first = asked(&world);
    let mut call = Call::new(&world, "second", 1);
    call.finish(&mut world);
    let back = Outcome::FellBack("the CRI does not answer".into());
    assert_eq!(call.rollout.outcomes()[0].1, back);
    assert_eq!(asked(&world), first, "it was not asked again");
    // Whoever calls a third time wants it to be tried again.
    let mut call = Call::new(&world, "third", 1);
    call.finish(&mut world);
    assert_eq!(asked(&world).unwrap().request.as_deref(), Some("third"));
}

#[test]
fn kubelets_word_of_before_the_restart_counts_nothing() {
    let mut rollout = Rollout::new(terms("r", 1), ["a".to_owned()]);
    let mut object = node("a", Manner::Good);
    object.unschedulable = true;
    let request =
        mark::Request { request: "r".into(), from: "1.1".into(), boot_id: object.boot_id.clone() };
    object.mark = Some(Ok(Mark { cordoned: true, asked: Some(request) }));
    object.asked = Asked::read(Some("1.2"), Some("r"));
    let mut status = Status::new("1.2", Sha256::from_bytes([7; 32]), Phase::Idle);
    status = status.about(object.asked.as_ref().unwrap());
    object.status = Some(Ok(status));
    assert_eq!(rollout.step(Event::Nodes(vec![object.clone()]), Duration::ZERO), []);
    assert_eq!(rollout.shown()[0].stage, Stage::Comes);
    object.boot_id = "another".into();
    object.revision = "9".into();
    let actions = rollout.step(Event::Node(object.clone()), Duration::ZERO);
    let change = Change { node: "a".into(), revision: "9".into() };
    assert_eq!(actions, [Action::LetGo(change, Uncordon::Yes)]);
    // And an older state of the object, which the watch tells later, counts nothing either.
    object.boot_id = "of before".into();
    object.mark = None;
    object.revision = "8".into();
    assert_eq!(rollout.step(Event::Node(object), Duration::ZERO), []);
    assert!(!rollout.is_over());
}

#[test]
fn nodes_of_another_upgrade_take_room() {
    let mut rollout = Rollout::new(terms("r", 1), ["a".to_owned()]);
    let mut other = node("other", Manner::Good);
    other.mark = Some(Ok(Mark { cordoned: true, asked: None }));
    let ours = node("a", Manner::Good);
    assert_eq!(rollout.step(Event::Nodes(vec![ours, other.clone()]), Duration::ZERO), []);
    other.mark = None;
    other.revision = "5".into();
    let actions = rollout.step(Event::Node(other), Duration::ZERO);
    assert!(matches!(&actions[..], [Action::Cordon(change, _)] if change.node == "a"));
}

#[test]
fn a_node_that_somebody_uncordons_meanwhile_is_cordoned_again_and_uncordoned_at_the_end() {
    let mut rollout = Rollout::new(terms("r", 1), ["a".to_owned()]);
    let mut object = node("a", Manner::Cordoned);
    object.mark = Some(Ok(Mark { cordoned: false, asked: None }));
    object.unschedulable = false;
    let actions = rollout.step(Event::Nodes(vec![object]), Duration::ZERO);
    let [Action::Cordon(_, mark)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(*mark, Mark { cordoned: true, asked: None });
    assert_eq!(rollout.drained().count(), 0, "its pods do not count before it is cordoned");
}

/// A node that another call has asked for 1.3, with what its updater says of that.
fn on_its_way(phase: Option<Phase>) -> Node {
    let mut object = node("a", Manner::Cordoned);
    let request = mark::Request { request: "x".into(), from: "1.1".into(), boot_id: "b".into() };
    object.mark = Some(Ok(Mark { cordoned: true, asked: Some(request) }));
    object.asked = Asked::read(Some("1.3"), Some("x"));
    if let Some(phase) = phase {
        let status = Status::new("1.1", Sha256::from_bytes([7; 32]), phase);
        object.status = Some(Ok(status.about(object.asked.as_ref().unwrap())));
    }
    object
}

#[test]
fn a_node_on_its_way_to_another_release_is_left_to_who_asked_it() {
    for phase in [None, Some(Phase::Staging), Some(Phase::Restarting), Some(Phase::Trial)] {
        let mut rollout = Rollout::new(terms("r", 2), ["a".to_owned(), "b".to_owned()]);
        let nodes = Event::Nodes(vec![on_its_way(phase), node("b", Manner::Good)]);
        assert_eq!(rollout.step(nodes, Duration::ZERO), [], "{phase:?}");
        assert!(rollout.is_over());
        let why = "another call is bringing it to 1.3".to_owned();
        let came = (Outcome::Elsewhere(why.clone()), Some(why));
        let outcomes = rollout.outcomes();
        assert_eq!((outcomes[0].1.clone(), outcomes[0].2.clone()), came);
        assert_eq!(outcomes[1].1, Outcome::NotBegun);
    }
}

#[test]
fn what_another_call_asked_for_and_has_its_answer_is_taken_over() {
    for phase in [Phase::Refused, Phase::Failed, Phase::FellBack] {
        let mut rollout = Rollout::new(terms("r", 1), ["a".to_owned()]);
        let nodes = Event::Nodes(vec![on_its_way(Some(phase))]);
        assert_eq!(rollout.step(nodes, Duration::ZERO), []);
        let actions = rollout.step(Event::Pods("a".into(), Vec::new()), Duration::ZERO);
        let [Action::Ask(_, mark)] = &actions[..] else { panic!("{phase:?}: {actions:?}") };
        assert!(mark.cordoned, "it is uncordoned in the end");
    }
}

#[test]
fn what_another_call_has_taken_over_is_not_let_go() {
    let mut rollout = Rollout::new(terms("r", 1), ["a".to_owned()]);
    let mut ours = on_its_way(None);
    ours.asked = Asked::read(Some("1.2"), Some("x"));
    let refused = Status::new("1.1", Sha256::from_bytes([7; 32]), Phase::Refused);
    ours.status = Some(Ok(refused.about(ours.asked.as_ref().unwrap())));
    let actions = rollout.step(Event::Nodes(vec![ours]), Duration::ZERO);
    assert!(matches!(actions[..], [Action::LetGo(..)]), "{actions:?}");
    let mut theirs = on_its_way(Some(Phase::Staging));
    theirs.revision = "5".into();
    let conflict = Event::Changed("a".into(), Changed::Conflict(theirs));
    assert_eq!(rollout.step(conflict, Duration::ZERO), []);
    assert!(rollout.is_over());
    assert!(matches!(rollout.outcomes()[0], (_, Outcome::NotTaken(_), Some(_))));
}

#[test]
fn a_refusal_of_the_api_server_ends_it_and_a_busy_one_is_asked_again() {
    let mut rollout = Rollout::new(terms("r", 1), ["a".to_owned()]);
    let nodes = Event::Nodes(vec![node("a", Manner::Good)]);
    assert_eq!(rollout.step(nodes, Duration::ZERO).len(), 1);
    let later = Changed::Later(Duration::from_secs(7), "busy".into());
    assert_eq!(rollout.step(Event::Changed("a".into(), later), Duration::ZERO), []);
    assert_eq!(rollout.wake(), Some(Duration::from_secs(7)));
    assert_eq!(rollout.step(Event::Tick, Duration::from_secs(6)), []);
    assert_eq!(rollout.step(Event::Tick, Duration::from_secs(7)).len(), 1);
    let never = Changed::Never("nodes is forbidden".into());
    assert_eq!(rollout.step(Event::Changed("a".into(), never), Duration::from_secs(8)), []);
    let forbidden = Outcome::Forbidden("nodes is forbidden".into());
    assert_eq!(rollout.outcomes(), [("a".to_owned(), forbidden, None)]);
    assert!(rollout.is_over());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn in_any_order_of_things_and_with_any_cuts_what_must_hold_holds(
        manners in prop::collection::vec(prop::sample::select(Manner::ALL.to_vec()), 1..6),
        most in 1_usize..4,
        choices in prop::collection::vec(0_usize..4096, 0..300),
        cuts in prop::collection::btree_set(0_usize..300, 0..4),
    ) {
        let mut world = World::new(&manners, most);
        let mut call = Call::new(&world, "0", most);
        for (step, choice) in choices.into_iter().enumerate() {
            if cuts.contains(&step) {
                // Of what was begun some has happened, and some has not.
                let begun = std::mem::take(&mut call.pending);
                for action in begun.iter().step_by(2) {
                    drop(world.perform(action));
                }
                drop(world.news());
                call = Call::new(&world, &step.to_string(), most);
            }
            call.happen(&mut world, choice);
        }
        call.finish(&mut world);
        let mut lost = false;
        for (index, (name, (version, cordoned, marked))) in left(&world).into_iter().enumerate() {
            let manner = manners[index];
            lost |= manner == Manner::Lost;
            if manner == Manner::Lost {
                continue;
            }
            prop_assert!(!marked, "{name} is marked");
            prop_assert_eq!(cordoned, manner == Manner::Cordoned, "{} is cordoned", name);
            prop_assert!(version == "1.2" || !manners.iter().all(|manner| manner.is_good()));
        }
        prop_assert_eq!(lost, manners.contains(&Manner::Lost));
    }
}
