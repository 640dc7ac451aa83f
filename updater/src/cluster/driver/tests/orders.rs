//! Things that happen in any order: nothing is tried without end.

use proptest::prelude::*;

use super::*;

fn fates() -> impl Strategy<Value = Fate> {
    prop::sample::select(vec![Fate::Healthy, Fate::FallsBack, Fate::NeverBegins])
}

#[derive(Debug, Clone)]
enum Step {
    Ask(Option<&'static str>, Option<&'static str>),
    StageEnds(Result<Staged, NotStaged>),
    Restarts(Fate),
    Judged,
    Passes(u64),
    Starts,
    StateIsFull(bool),
    ApiIsAway(bool),
    ArmFails(bool),
    ArmIsBusy(bool),
}

fn steps() -> impl Strategy<Value = Step> {
    let release = prop::sample::select(vec![None, Some("1"), Some("2"), Some("newest"), Some("/")]);
    let request = prop::sample::select(vec![None, Some("a"), Some("b")]);
    let result = prop::sample::select(vec![
        in_spare("2"),
        in_spare("3"),
        Ok(Staged::Runs),
        Err(NotStaged::Failed("x".into())),
        Err(NotStaged::Refused("x".into())),
        Err(NotStaged::Busy("x".into())),
        Err(NotStaged::Cancelled),
    ]);
    prop_oneof![
        4 => (release, request).prop_map(|(release, request)| Step::Ask(release, request)),
        4 => result.prop_map(Step::StageEnds),
        4 => fates().prop_map(Step::Restarts),
        2 => Just(Step::Judged),
        4 => (0_u64..120).prop_map(Step::Passes),
        1 => Just(Step::Starts),
        1 => any::<bool>().prop_map(Step::StateIsFull),
        1 => any::<bool>().prop_map(Step::ApiIsAway),
        1 => any::<bool>().prop_map(Step::ArmFails),
        1 => any::<bool>().prop_map(Step::ArmIsBusy),
    ]
}

proptest! {
    /// What is asserted of each action is in `Node::carry_out`.
    #[test]
    fn whatever_happens_nothing_is_tried_without_end(
        steps in prop::collection::vec(steps(), 0..60), fate in fates(),
    ) {
        let mut node = Node::new();
        for step in steps {
            match step {
                Step::Ask(release, request) => node.ask(release, request),
                Step::StageEnds(result) => node.stage_ends(result),
                Step::Restarts(fate) => node.restarts(fate),
                Step::Judged => node.judged(),
                Step::Passes(seconds) => node.passes(seconds),
                Step::Starts if !node.goes_down => node.start(),
                Step::Starts => {}
                Step::StateIsFull(is) => node.state_is_full = is,
                Step::ApiIsAway(is) => node.api_is_away = is,
                Step::ArmFails(fails) => node.arm_fails = fails,
                Step::ArmIsBusy(is) => node.arm_is_busy = is,
            }
        }
        // Then nobody asks for anything new, and all is well but for the release.
        (node.state_is_full, node.api_is_away) = (false, false);
        (node.arm_fails, node.arm_is_busy) = (false, false);
        node.look();
        let before = node.staged.len();
        for _ in 0..12 {
            node.passes(120);
            node.stage_ends(in_spare("2"));
            node.restarts(fate);
            node.judged();
        }
        prop_assert!(node.staged.len() <= before + 1, "{:?}", node.staged);
        let said = node.reported().clone();
        let (starts, arms) = (node.staged.len(), node.arms);
        node.start();
        node.passes(3600);
        prop_assert_eq!((node.staged.len(), node.arms, node.goes_down), (starts, arms, false));
        prop_assert_eq!(node.reported(), &said);
        let asked = node.object.as_ref().and_then(|object| object.asked.clone());
        let over = matches!(
            said.phase,
            Phase::Idle | Phase::Refused | Phase::Failed | Phase::FellBack
        );
        prop_assert!(over && asked.is_none_or(|asked| said.is_about(&asked)), "{:?}", said);
    }
}
