//! Units that come to hang.

use proptest::prelude::*;

use super::*;
use crate::pid1::built_in;
use crate::question::Question;
use crate::unit::{Asked, Liveness};

fn asked(question: u32) -> Action {
    Action::Ask { unit: name("a"), number: question }
}

fn answer(number: u32, result: Result<(), &str>) -> Event {
    Event::Answered { unit: name("a"), number, result: result.map_err(str::to_owned) }
}

/// A unit that is asked every 30 s, has 20 s for an answer, and is killed after three without one;
/// it is ready at 0 s as process 10.
fn probed(kill: &str) -> Supervisor {
    let mut unit = unit("a", &[], SOCKET, "always", kill);
    unit.probe = Some(Liveness {
        asked: Asked::Question(Question::SocketAnswers("/run/x".into())),
        interval: s(30),
        timeout: s(20),
        failures: 3,
    });
    let mut node = one(unit);
    node.step(s(0), Event::Start);
    node.step(s(0), spawned("a", 10));
    node.step(s(0), ready("a", 1));
    node
}

/// Goes to its next deadline: what is done then.
fn wait(node: &mut Supervisor) -> (Duration, Vec<Action>) {
    let now = node.next_deadline().expect("a deadline");
    (now, node.step(now, Event::Tick))
}

/// Says nothing until the unit is killed: when that is, and for how many failures.
fn silent(node: &mut Supervisor) -> (Duration, u32) {
    loop {
        let (now, actions) = wait(node);
        if let Some(Action::Announce(Change::Hangs { failures, .. })) = actions.first() {
            return (now, *failures);
        }
        assert!(matches!(actions[..], [] | [Action::Ask { .. }]), "{actions:?}");
    }
}

#[test]
fn who_does_not_answer_three_times_in_a_row_is_killed_and_started_again() {
    let mut node = probed("cgroup");
    assert_eq!(wait(&mut node), (s(30), vec![asked(1)]));
    assert_eq!(wait(&mut node), (s(50), vec![]));
    assert_eq!(wait(&mut node), (s(60), vec![asked(2)]));
    assert_eq!(node.step(s(61), answer(2, Err("500"))), []);
    assert_eq!(wait(&mut node), (s(90), vec![asked(3)]));
    let reason = "no answer in 20 s".to_owned();
    let hangs = Change::Hangs { unit: name("a"), failures: 3, reason };
    assert_eq!(
        wait(&mut node),
        (
            s(110),
            vec![Action::Announce(hangs), Action::Kill(pid(10)), Action::KillGroup(name("a")),]
        )
    );
    assert_eq!(node.next_deadline(), None, "nothing is asked of what is being killed");
    let exit = Event::Exited { pid: pid(10), exit: Exit::Signal(9) };
    let next = Next::RestartIn(ms(100));
    assert_eq!(
        node.step(s(111), exit),
        [
            Action::KillGroup(name("a")),
            Action::Announce(Change::Ended { unit: name("a"), ending: Ending::Hung, next }),
        ]
    );
    assert_eq!(wait(&mut node), (s(111) + ms(100), vec![Action::Spawn(name("a"))]));
}

#[test]
fn the_shims_of_a_runtime_that_hangs_are_not_killed_with_it() {
    let mut node = probed("process");
    silent(&mut node);
    let exit = Event::Exited { pid: pid(10), exit: Exit::Signal(9) };
    let actions = node.step(s(200), exit);
    assert!(!actions.contains(&Action::KillGroup(name("a"))), "{actions:?}");
}

#[test]
fn one_good_answer_makes_good_what_was_before_it_and_a_late_one_does_not_count() {
    let mut node = probed("cgroup");
    for number in 1..=20 {
        let (now, actions) = wait(&mut node);
        assert_eq!((now, actions), (s(30) * number, vec![asked(number)]));
        let result = if number % 3 == 0 { Ok(()) } else { Err("refused") };
        assert_eq!(node.step(now + s(1), answer(number, result)), []);
        // Another one to the same question, and one that is too late.
        assert_eq!(node.step(now + s(2), answer(number, Err("refused"))), []);
        assert_eq!(node.step(now + s(3), answer(number - 1, Err("refused"))), []);
    }
}

#[test]
fn each_hang_doubles_the_patience_up_to_eight_times_until_a_run_was_good_for_half_an_hour() {
    let mut node = probed("cgroup");
    let mut number = 10;
    let mut run = 1;
    let mut restart = |node: &mut Supervisor, now: Duration| {
        node.step(now, Event::Exited { pid: pid(number), exit: Exit::Signal(9) });
        (number, run) = (number + 1, run + 1);
        let (now, _) = wait(node);
        node.step(now, spawned("a", number));
        node.step(now, ready("a", run));
        now
    };
    let mut began = s(0);
    for want in [3, 6, 12, 24, 24] {
        let (now, failures) = silent(&mut node);
        assert_eq!((failures, now - began), (want, s(30) * want + s(20)));
        began = restart(&mut node, now);
    }
    loop {
        let (now, actions) = wait(&mut node);
        let [Action::Ask { number, .. }] = actions[..] else { panic!("{actions:?}") };
        node.step(now, answer(number, Ok(())));
        if now - began >= s(30 * 60) {
            break;
        }
    }
    assert_eq!(silent(&mut node).1, 3);
}

/// `network` as it is built in, which has just been started for the first time.
fn network() -> Supervisor {
    let mut units = built_in::units().expect("good").into_iter();
    let mut node = one(units.find(|unit| unit.name == name("network")).expect("one"));
    node.step(s(0), Event::Start);
    node.step(s(0), spawned("network", 10));
    node
}

/// Goes on until there is a change that is wanted: when that is.
fn wait_for(node: &mut Supervisor, wanted: impl Fn(&Action) -> bool) -> Duration {
    loop {
        let (now, actions) = wait(node);
        if actions.iter().any(&wanted) {
            return now;
        }
    }
}

#[test]
fn what_is_built_in_is_asked_from_its_start_on_and_killed_if_it_does_not_read() {
    let mut node = network();
    let ask = |number| Action::Ask { unit: name("network"), number };
    assert_eq!(wait(&mut node), (s(30), vec![ask(1)]));
    let alive = Event::Answered { unit: name("network"), number: 1, result: Ok(()) };
    assert_eq!(node.step(s(31), alive), []);
    // It gets ready when there is an address, which is its own time.
    let hangs = |action: &Action| matches!(action, Action::Announce(Change::Hangs { .. }));
    assert_eq!(wait_for(&mut node, hangs), s(60 + 30 + 30 + 20));
    let (now, actions) = (s(141), Event::Exited { pid: pid(10), exit: Exit::Signal(9) });
    let actions = node.step(now, actions);
    let next = Next::RestartIn(ms(100));
    let ended = Change::Ended { unit: name("network"), ending: Ending::Hung, next };
    assert_eq!(actions.last(), Some(&Action::Announce(ended)));
    assert_eq!(wait(&mut node), (now + ms(100), vec![Action::Spawn(name("network"))]));
}

#[test]
fn what_is_built_in_is_started_anew_beside_what_cannot_be_killed_a_few_times() {
    let mut node = network();
    for number in 10..14 {
        let left =
            |action: &Action| *action == Action::Announce(Change::LeftBehind(name("network")));
        let now = wait_for(&mut node, left);
        let spawned_at = wait_for(&mut node, |action| *action == Action::Spawn(name("network")));
        assert!(spawned_at - now <= s(2), "{now:?} {spawned_at:?}");
        node.step(spawned_at, spawned("network", number + 1));
    }
    let left: Vec<_> = node.left_behind().map(|(_, pid)| pid).collect();
    assert_eq!(left, [10, 11, 12, 13].map(pid));
    // Each keeps its memory, so the next one is waited for.
    let hangs = |action: &Action| matches!(action, Action::Announce(Change::Hangs { .. }));
    let now = wait_for(&mut node, hangs);
    assert_eq!(node.next_deadline(), None);
    // The disk is back.
    for number in 10..14 {
        let killed = Event::Exited { pid: pid(number), exit: Exit::Signal(9) };
        assert_eq!(node.step(now, killed), []);
    }
    assert_eq!(node.left_behind().count(), 0);
    node.step(now, Event::Exited { pid: pid(14), exit: Exit::Signal(9) });
    wait_for(&mut node, |action| *action == Action::Spawn(name("network")));
}

#[test]
fn what_is_built_in_and_cannot_be_killed_is_not_started_anew_on_the_way_down() {
    let mut units = built_in::units().expect("good").into_iter();
    let network = units.find(|unit| unit.name == name("network")).expect("one");
    let after = unit("a", &["network"], "\"started\"", "never", "process");
    let mut node = Supervisor::new(&Units::new(vec![network, after]).0);
    node.step(s(0), Event::Start);
    node.step(s(0), spawned("network", 10));
    node.step(s(0), ready("network", 1));
    node.step(s(0), spawned("a", 20));
    let hangs = |action: &Action| matches!(action, Action::Announce(Change::Hangs { .. }));
    let now = wait_for(&mut node, hangs);
    let kind = ShutdownKind::PowerOff;
    let mut actions = node.step(now, Event::Shutdown(kind));
    while !actions.contains(&Action::Finish(kind)) {
        actions.extend(wait(&mut node).1);
    }
    assert!(!actions.contains(&Action::Spawn(name("network"))), "{actions:?}");
    assert!(actions.contains(&Action::Announce(Change::Abandoned(name("network")))));
}

#[test]
fn a_daemon_that_cannot_be_killed_is_waited_for() {
    let mut node = probed("cgroup");
    silent(&mut node);
    assert_eq!(node.next_deadline(), None);
}

#[test]
fn a_clock_that_jumps_costs_each_question_once_and_kills_nobody() {
    let mut node = probed("cgroup");
    let mut now = s(0);
    for number in 1..=10 {
        assert_eq!(node.step(now + s(30), Event::Tick), [asked(number * 2 - 1)]);
        // The machine stood still for a day; then it is asked again, and answers.
        now += s(24 * 60 * 60);
        assert_eq!(node.step(now, Event::Tick), []);
        assert_eq!(node.step(now, Event::Tick), [asked(number * 2)]);
        assert_eq!(node.step(now, answer(number * 2, Ok(()))), []);
    }
}

#[test]
fn who_goes_down_is_not_asked() {
    let mut node = probed("cgroup");
    wait(&mut node);
    node.step(s(31), Event::Shutdown(ShutdownKind::PowerOff));
    assert_eq!(node.step(s(32), answer(1, Err("refused"))), []);
    assert_eq!(node.next_deadline(), Some(s(34)), "its stop timeout");
}

proptest! {
    /// Answers come good, bad, late or never, at any time: who is killed was asked so often in a row
    /// without one good answer, and never in less time than that takes.
    #[test]
    fn nobody_is_killed_before_its_patience_is_over(
        answers in prop::collection::vec((0..4_u8, 0..25_000_u64), 0..200),
    ) {
        let mut node = probed("process");
        let (mut bad, mut since) = (0, s(0));
        for (kind, after) in answers {
            let (now, mut actions) = wait(&mut node);
            let asked = match actions[..] {
                [Action::Ask { number, .. }] => Some(number),
                _ => None,
            };
            if let Some(number) = asked {
                bad += 1;
                let then = now + ms(after);
                // As the loop does, which is woken at each deadline.
                while node.next_deadline().is_some_and(|deadline| deadline <= then) {
                    let (_, more) = wait(&mut node);
                    actions.extend(more);
                }
                let (event, good) = match kind {
                    0 => (answer(number, Ok(())), after < 20_000),
                    1 => (answer(number, Err("refused")), false),
                    2 => (answer(number.wrapping_sub(1), Ok(())), false),
                    _ => (Event::Tick, false),
                };
                actions.extend(node.step(then, event));
                if good {
                    (bad, since) = (0, then);
                }
            }
            if let Some(Action::Announce(Change::Hangs { failures, .. })) = actions
                .iter()
                .find(|action| matches!(action, Action::Announce(Change::Hangs { .. })))
            {
                prop_assert_eq!((*failures, bad), (3, 3));
                prop_assert!(now - since >= s(60) - s(20), "{:?} after {:?}", now, since);
                return Ok(());
            }
        }
    }
}
