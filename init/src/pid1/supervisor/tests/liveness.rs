//! Units that come to hang.

use proptest::prelude::*;

use super::*;
use crate::question::Question;
use crate::unit::Liveness;

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
        question: Question::SocketAnswers("/run/x".into()),
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
