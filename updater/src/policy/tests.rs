//! What the policy decides, and its loop over a time that nobody waits for.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
/// A Thursday, at midnight.
const THURSDAY: i64 = 2857 * 7 * DAY;

fn release(name: &str) -> Candidate {
    Candidate { version: name.to_owned(), root_hash: Sha256::of(name) }
}

fn node(policy: Policy, windows: &[&str]) -> Node {
    Node {
        rules: Rules {
            policy,
            windows: windows.iter().map(|text| text.parse().unwrap()).collect(),
            interval: HOUR,
        },
        spread: Spread::of("0123"),
        floor: 0,
        on_trial: false,
        armed: Armed::No,
        asked: false,
        staged: None,
        failed: Vec::new(),
        given_up: Vec::new(),
    }
}

fn seen(now: i64, name: &str) -> Past {
    let mut past = Past::new(now);
    past.looked(now, Verdict::Takes(release(name)));
    past
}

#[test]
fn each_policy_goes_as_far_as_it_says() {
    let now = THURSDAY;
    let past = seen(now, "2");
    let of = |policy, staged: Option<&str>| {
        let node = Node { staged: staged.map(Sha256::of), ..node(policy, &[]) };
        decide(&node, &past, now)
    };
    let waits = |next, why| matches!(next, Next::Wait(_, reason) if reason == why);
    assert!(waits(of(Policy::Manual, None), Why::Manual));
    assert_eq!(of(Policy::Stage, None), Next::Do(Deed::Stage(release("2"))));
    // What a person has staged makes room for what is newer.
    assert_eq!(of(Policy::Stage, Some("1")), Next::Do(Deed::Stage(release("2"))));
    assert_eq!(of(Policy::Stage, Some("2")), Next::Do(Deed::Arm(release("2"))));
    assert_eq!(of(Policy::Automatic, None), Next::Do(Deed::Stage(release("2"))));
    assert_eq!(of(Policy::Automatic, Some("2")), Next::Do(Deed::Upgrade(release("2"))));
}

#[test]
fn what_the_policy_has_armed_it_takes_back_when_it_is_not_to_be_taken_any_more() {
    let now = Spread::of("0123").next(THURSDAY, HOUR);
    let node = |policy, armed| Node { armed, staged: Some(Sha256::of("2")), ..node(policy, &[]) };
    let stage = node(Policy::Stage, Armed::ByPolicy);
    let (good, newer) = (seen(now, "2"), seen(now, "3"));
    let mut gone = Past::new(now);
    gone.looked(now, Verdict::Against("it runs".to_owned()));
    assert_eq!(decide(&stage, &good, now), Next::Wait(now + HOUR, Why::Armed));
    assert_eq!(decide(&stage, &newer, now), Next::Do(Deed::Disarm));
    assert_eq!(decide(&stage, &gone, now), Next::Do(Deed::Disarm));
    // The updater has been started again and has not looked yet.
    assert_eq!(decide(&stage, &Past::new(now), now), Next::Wait(now + HOUR, Why::Nothing));
    let manual = node(Policy::Manual, Armed::ByPolicy);
    assert_eq!(decide(&manual, &good, now), Next::Do(Deed::Disarm));
    let automatic = node(Policy::Automatic, Armed::ByPolicy);
    assert_eq!(decide(&automatic, &good, now), Next::Do(Deed::Upgrade(release("2"))));
    // A person's is a person's.
    for policy in [Policy::Manual, Policy::Stage, Policy::Automatic] {
        let somebodys = node(policy, Armed::BySomebody);
        assert_eq!(decide(&somebodys, &gone, now), Next::Wait(now + SHORT, Why::Asked));
    }
}

#[test]
fn nothing_is_done_by_a_wrong_clock_in_a_trial_or_against_a_person() {
    let past = seen(THURSDAY, "2");
    for (change, why) in [
        ((|it: &mut Node| it.floor = THURSDAY + 1) as fn(&mut Node), Why::Clock),
        (|it| it.on_trial = true, Why::Trial),
        (|it| it.asked = true, Why::Asked),
    ] {
        let mut node = node(Policy::Automatic, &[]);
        change(&mut node);
        assert_eq!(decide(&node, &past, THURSDAY), Next::Wait(THURSDAY + SHORT, why));
    }
    let failed = Node { failed: vec![Sha256::of("2")], ..node(Policy::Automatic, &[]) };
    assert!(matches!(decide(&failed, &past, THURSDAY), Next::Wait(_, Why::Nothing)));
}

#[test]
fn what_a_person_gives_up_is_not_taken_again_and_another_release_is() {
    let now = Spread::of("0123").next(THURSDAY, HOUR);
    for policy in [Policy::Stage, Policy::Automatic] {
        let given_up = Node { given_up: vec![Sha256::of("2")], ..node(policy, &[]) };
        assert_eq!(decide(&given_up, &seen(now, "2"), now), Next::Wait(now + HOUR, Why::GivenUp));
        let newer = Next::Do(Deed::Stage(release("3")));
        assert_eq!(decide(&given_up, &seen(now, "3"), now), newer);
        // Somebody else has armed it, and does not want it any more.
        let armed = Node { armed: Armed::ByPolicy, staged: Some(Sha256::of("2")), ..given_up };
        assert_eq!(decide(&armed, &seen(now, "2"), now), Next::Do(Deed::Disarm));
    }
}

#[test]
fn a_restart_follows_a_fresh_look() {
    let node = Node { staged: Some(Sha256::of("2")), ..node(Policy::Automatic, &[]) };
    // From a moment of its own on, so that no regular look is due.
    let own = node.spread.next(THURSDAY, HOUR);
    let past = seen(own, "2");
    assert_eq!(decide(&node, &past, own + FRESH), Next::Do(Deed::Upgrade(release("2"))));
    assert_eq!(decide(&node, &past, own + FRESH + 1), Next::Do(Deed::Check));
    let mut missed = past.clone();
    missed.look_failed(own + FRESH + 2);
    let next = decide(&node, &missed, own + FRESH + 3);
    assert_eq!(next, Next::Wait(own + HOUR, Why::Later), "it is not asked again at once");
}

#[test]
fn what_waits_for_a_window_begins_in_its_first_half_and_looks_first() {
    let node = node(Policy::Automatic, &["Sat 02:00-04:00"]);
    let opens = THURSDAY + 2 * DAY + 2 * HOUR;
    // It has just looked.
    let past = seen(THURSDAY, "2");
    let Next::Wait(first, Why::Window) = decide(&node, &past, THURSDAY) else {
        panic!("it is shut")
    };
    assert!(first <= THURSDAY + HOUR, "it looks all the same");
    let turn = turn(&calendar::opening(&node.rules.windows, opens), &node.spread, HOUR).unwrap();
    assert!((opens..opens + HOUR).contains(&turn));
    let before = seen(turn - 1, "2");
    assert!(
        matches!(decide(&node, &before, turn - 1), Next::Wait(until, Why::Window) if until == turn)
    );
    assert_eq!(decide(&node, &before, turn), Next::Do(Deed::Check));
    let past = seen(turn, "2");
    assert_eq!(decide(&node, &past, turn), Next::Do(Deed::Stage(release("2"))));
    // It took too long.
    let late = seen(opens + 2 * HOUR - 1, "2");
    let staged = Node { staged: Some(Sha256::of("2")), ..node };
    assert_eq!(decide(&staged, &late, opens + 2 * HOUR - 1), Next::Do(Deed::Upgrade(release("2"))));
    assert!(matches!(decide(&staged, &late, opens + 2 * HOUR), Next::Wait(_, Why::Window)));
}

#[test]
fn what_fails_is_tried_again_later_and_later() {
    let node = node(Policy::Stage, &[]);
    let mut past = seen(THURSDAY, "2");
    let mut waits = Vec::new();
    for _ in 0..9 {
        past.act_failed(THURSDAY, &release("2"));
        // As if it looked all the time.
        let again = (0..40 * DAY).step_by(60).map(|after| THURSDAY + after).find(|now| {
            let mut past = past.clone();
            past.looked(*now, Verdict::Takes(release("2")));
            matches!(decide(&node, &past, *now), Next::Do(Deed::Stage(_)))
        });
        waits.push((again.unwrap() - THURSDAY) / HOUR);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 25, 25, 25, 25]);
    // Another release has nothing to do with it.
    past.looked(THURSDAY, Verdict::Takes(release("3")));
    assert_eq!(decide(&node, &past, THURSDAY), Next::Do(Deed::Stage(release("3"))));
}

fn any_node() -> impl Strategy<Value = Node> {
    let policy = prop_oneof![Just(Policy::Manual), Just(Policy::Stage), Just(Policy::Automatic)];
    let windows = prop_oneof![
        Just(vec![]),
        Just(vec!["02:00-06:00"]),
        Just(vec!["Sat 22:00-04:00", "Sun 04:00-05:00"]),
        Just(vec!["Mon-Fri 00:00-24:00"]),
    ];
    let hash = || prop::option::of("[1-4]").prop_map(|name| name.map(Sha256::of));
    let failed = prop::collection::vec("[1-4]".prop_map(Sha256::of), 0..3);
    let flag = || prop::bool::weighted(0.2);
    let armed = prop_oneof![Just(Armed::No), Just(Armed::ByPolicy), Just(Armed::BySomebody)];
    let slots = (hash(), failed, armed);
    (policy, windows, 60_i64..8 * DAY, "[a-z]{1,9}", flag(), flag(), slots).prop_map(
        |(policy, windows, interval, id, on_trial, asked, (staged, failed, armed))| {
            let mut node = node(policy, &windows);
            node.rules.interval = interval;
            let spread = Spread::of(&id);
            Node { spread, floor: THURSDAY, on_trial, armed, asked, staged, failed, ..node }
        },
    )
}

fn any_past() -> impl Strategy<Value = Past> {
    let moment = || THURSDAY - 30 * DAY..THURSDAY + 30 * DAY;
    let verdict = prop_oneof![
        "[1-4]".prop_map(|name| Verdict::Takes(release(&name))),
        Just(Verdict::Against("no".to_owned())),
    ];
    let seen = prop::option::of((moment(), verdict));
    let tries = prop::option::of(("[1-4]", 1_u32..40, moment()));
    (moment(), 0_u32..40, seen, tries).prop_map(|(attempt, misses, seen, tries)| {
        let tries =
            tries.map(|(name, count, last)| Tries { release: Sha256::of(name), count, last });
        Past { attempt, misses, seen, tries }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn whatever_was_before_what_must_hold_holds(
        node in any_node(),
        past in any_past(),
        now in THURSDAY - 10 * DAY..THURSDAY + 30 * DAY,
    ) {
        let next = decide(&node, &past, now);
        let Rules { policy, windows, interval } = &node.rules;
        let open = windows.is_empty() || windows.iter().any(|window| window.contains(now));
        match &next {
            Next::Wait(until, _) => {
                prop_assert!(*until > now);
                // Nobody sleeps through more than what backing off may come to.
                prop_assert!(*until <= now + 2 * interval + LONGEST_BACKOFF.max(*interval));
            }
            Next::Do(deed) => {
                prop_assert!(*policy != Policy::Manual || *deed == Deed::Disarm);
                prop_assert!(now >= node.floor && !node.on_trial && !node.asked);
                prop_assert!(node.armed != Armed::BySomebody);
                prop_assert!(*deed != Deed::Disarm || node.armed == Armed::ByPolicy);
                if let Deed::Stage(release) | Deed::Arm(release) | Deed::Upgrade(release) = deed {
                    prop_assert!(!node.failed.contains(&release.root_hash) && open);
                    let Some((at, Verdict::Takes(seen))) = &past.seen else {
                        return Err(TestCaseError::fail("nobody has seen it"));
                    };
                    prop_assert_eq!(seen, release);
                    let is_staged = node.staged == Some(release.root_hash);
                    prop_assert_eq!(!matches!(deed, Deed::Stage(_)), is_staged);
                    // A slot that may be started is not written.
                    prop_assert!(is_staged || node.armed == Armed::No);
                    prop_assert!(!matches!(deed, Deed::Arm(_)) || *policy == Policy::Stage);
                    if let Deed::Upgrade(_) = deed {
                        prop_assert_eq!(*policy, Policy::Automatic);
                        prop_assert!(*at <= now && now - *at <= FRESH);
                    }
                }
            }
        }
        prop_assert_eq!(next, decide(&node, &past, now), "it depends on nothing else");
    }

    #[test]
    fn a_server_that_fails_is_asked_less_and_less(
        id in "[a-z]{9}", interval in 60_i64..DAY, windows in 0_usize..2,
    ) {
        let mut node = node(Policy::Automatic, &["Sat 02:00-06:00"][..windows]);
        (node.spread, node.rules.interval) = (Spread::of(&id), interval);
        let (mut now, mut past, mut looks) = (THURSDAY, Past::new(THURSDAY), Vec::new());
        while now < THURSDAY + 28 * DAY {
            match decide(&node, &past, now) {
                Next::Do(Deed::Check) => {
                    looks.push(now);
                    past.look_failed(now);
                }
                Next::Wait(until, _) => now = until,
                next => return Err(TestCaseError::fail(format!("{next:?}"))),
            }
        }
        // As often as it doubles until a day, then once a day; and once in each window.
        let doublings = (DAY / interval).ilog2() as usize + 2;
        prop_assert!(looks.len() <= doublings + 28 + 4 * windows, "{}", looks.len());
        prop_assert!(looks.len() >= 8, "{}", looks.len());
    }
}

/// A node and a channel over a time that passes when somebody waits.
#[derive(Default)]
struct Table {
    clock: i64,
    monotonic: Duration,
    policy: Option<Node>,
    verdicts: VecDeque<Result<Verdict, Miss>>,
    refuses: VecDeque<Miss>,
    done: Vec<(i64, String)>,
    said: Vec<String>,
    set_clock: Option<(i64, i64)>,
    until: i64,
}

impl Table {
    fn new(node: Node, verdicts: impl IntoIterator<Item = Result<Verdict, Miss>>) -> Self {
        let verdicts = verdicts.into_iter().collect();
        Self { clock: THURSDAY, policy: Some(node), verdicts, ..Self::default() }
    }

    fn run(mut self, time: i64) -> Self {
        self.until = self.clock + time;
        run(&mut self);
        self
    }

    fn did(&self) -> Vec<&str> {
        self.done.iter().map(|(_, what)| what.as_str()).collect()
    }
}

impl Desk for Table {
    fn now(&self) -> i64 {
        self.clock
    }

    fn monotonic(&self) -> Duration {
        self.monotonic
    }

    fn node(&mut self) -> Result<Node, String> {
        self.policy.clone().ok_or_else(|| "the node config cannot be used".to_owned())
    }

    fn check(&mut self) -> Result<Verdict, Miss> {
        self.done.push((self.clock, "check".to_owned()));
        self.verdicts.pop_front().unwrap_or_else(|| Ok(Verdict::Against("it runs".to_owned())))
    }

    fn stage(&mut self, release: &Candidate) -> Result<(), Miss> {
        self.done.push((self.clock, format!("stage {}", release.version)));
        if let Some(miss) = self.refuses.pop_front() {
            return Err(miss);
        }
        self.policy.as_mut().unwrap().staged = Some(release.root_hash);
        Ok(())
    }

    fn arm(&mut self, release: &Candidate) -> Result<(), Miss> {
        self.done.push((self.clock, format!("arm {}", release.version)));
        self.policy.as_mut().unwrap().armed = Armed::ByPolicy;
        Ok(())
    }

    fn disarm(&mut self) -> Result<(), Miss> {
        self.done.push((self.clock, "disarm".to_owned()));
        if let Some(miss) = self.refuses.pop_front() {
            return Err(miss);
        }
        let node = self.policy.as_mut().unwrap();
        (node.armed, node.staged) = (Armed::No, None);
        Ok(())
    }

    fn upgrade(&mut self, release: &Candidate) -> Result<(), Miss> {
        self.done.push((self.clock, format!("upgrade {}", release.version)));
        self.policy.as_mut().unwrap().on_trial = true;
        Ok(())
    }

    fn wait(&mut self, time: Duration) -> Go {
        self.monotonic += time;
        self.clock += i64::try_from(time.as_secs()).unwrap();
        if let Some((at, to)) = self.set_clock.filter(|(at, _)| self.clock >= *at) {
            self.until += to - at;
            self.clock = to;
            self.set_clock = None;
        }
        if self.clock >= self.until { Go::End } else { Go::On }
    }

    fn say(&mut self, text: &str) {
        self.said.push(text.to_owned());
    }
}

#[test]
fn a_node_comes_by_itself_to_what_its_channel_has() {
    let takes = || Ok(Verdict::Takes(release("2")));
    let table = Table::new(node(Policy::Automatic, &[]), [takes()]).run(2 * HOUR);
    assert_eq!(table.did(), ["check", "stage 2", "upgrade 2"]);
    let said = ["the release 2 is staged by policy", "the release 2 is started on trial by policy"];
    assert_eq!(table.said[..2], said);
    let table = Table::new(node(Policy::Stage, &[]), [takes(), takes()]).run(2 * HOUR);
    assert_eq!(table.did(), ["check", "stage 2", "arm 2", "check"]);
    let last = "a release is tried at the next restart, which is for others to do: 2";
    assert_eq!(table.said.last().unwrap(), last);
}

#[test]
fn what_was_armed_makes_room_for_what_is_newer_or_nothing() {
    let looks = ["2", "3"].map(|name| Ok(Verdict::Takes(release(name))));
    let table = Table::new(node(Policy::Stage, &[]), looks).run(3 * HOUR);
    let want =
        ["check", "stage 2", "arm 2", "check", "disarm", "stage 3", "arm 3", "check", "disarm"];
    assert_eq!(table.did(), want);
}

#[test]
fn what_cannot_be_taken_back_is_tried_again_each_minute() {
    let armed =
        Node { armed: Armed::ByPolicy, staged: Some(Sha256::of("2")), ..node(Policy::Manual, &[]) };
    let mut table = Table::new(armed, []);
    table.refuses = [Miss::Failed("no".to_owned()), Miss::Busy].into();
    let table = table.run(DAY);
    let at: Vec<_> = table.done.iter().map(|(at, _)| at - THURSDAY).collect();
    assert_eq!((table.did(), at), (vec!["disarm"; 3], vec![0, 60, 120]));
}

#[test]
fn what_is_withdrawn_between_staging_and_the_window_is_not_started() {
    let staged =
        Node { staged: Some(Sha256::of("2")), ..node(Policy::Automatic, &["Sat 02:00-04:00"]) };
    let takes = |count| std::iter::repeat_n(Ok(Verdict::Takes(release("2"))), count);
    // Its looks until the window, and those in it see that it is gone.
    let table = Table::new(staged, takes(50)).run(7 * DAY);
    assert!(table.done.iter().all(|(_, what)| what == "check"), "{:?}", table.did());
}

#[test]
fn a_failure_is_told_once_and_somebody_else_at_it_is_none() {
    let failed = || Err(Miss::Failed("the server is away".to_owned()));
    let looks = [failed(), failed(), Err(Miss::Busy), Ok(Verdict::Takes(release("2")))];
    let mut table = Table::new(node(Policy::Stage, &[]), looks);
    table.refuses = [Miss::Busy, Miss::Failed("it is full".to_owned())].into();
    let table = table.run(12 * HOUR);
    assert_eq!(table.did()[..6], ["check", "check", "check", "check", "stage 2", "stage 2"]);
    let at: Vec<_> = table.done.iter().map(|(at, _)| at - table.done[0].0).collect();
    // An hour, two, and a minute each for who was busy.
    assert_eq!(at[..6], [0, HOUR, 3 * HOUR, 3 * HOUR + 60, 3 * HOUR + 60, 3 * HOUR + 120]);
    let told = |text: &str| table.said.iter().filter(|line| line.as_str() == text).count();
    assert_eq!(told("the server is away"), 1, "{:?}", table.said);
    assert_eq!(told("the release 2 is not staged: it is full"), 1, "{:?}", table.said);
}

#[test]
fn a_fleet_whose_clocks_are_set_at_once_does_not_look_at_once() {
    let looks = (0..200).map(|machine| {
        let mut node = node(Policy::Automatic, &[]);
        node.spread = Spread::of(&format!("{machine}"));
        let mut table = Table::new(node, []);
        table.set_clock = Some((THURSDAY + 1, THURSDAY + 900 * DAY));
        let table = table.run(HOUR + 2);
        assert!((1..=2).contains(&table.done.len()), "{:?}", table.done);
        (table.done[0].0 - THURSDAY) % HOUR / 600
    });
    let mut buckets = [0; 6];
    looks.for_each(|bucket| buckets[usize::try_from(bucket).unwrap()] += 1);
    assert!(buckets.iter().all(|count| (12..=60).contains(count)), "{buckets:?}");
}

#[test]
fn a_node_that_cannot_be_told_does_nothing() {
    let mut table = Table::new(node(Policy::Automatic, &[]), []);
    table.policy = None;
    let table = table.run(DAY);
    assert_eq!(table.done, []);
    assert_eq!(table.said, ["the node config cannot be used"]);
}
