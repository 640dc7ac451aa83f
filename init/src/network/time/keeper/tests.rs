//! The keeper's answers to what servers say, in times that nobody waits for.

use proptest::prelude::*;

use super::*;
use crate::network::time::selection::Candidate;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

const ERROR: i128 = 3_000_000;

fn told(offsets: &[(&str, i128)]) -> Survey {
    let candidate = |&(server, offset): &(&str, i128)| Candidate {
        server: server.to_owned(),
        offset,
        distance: ERROR,
    };
    Survey { candidates: offsets.iter().map(candidate).collect(), silences: Vec::new() }
}

fn measured(offset: i128) -> Survey {
    told(&[("a", offset)])
}

fn silent(again: Again) -> Survey {
    let reason = "does not answer".to_owned();
    let silences = vec![Silence { server: "a".to_owned(), reason, again }];
    Survey { candidates: Vec::new(), silences }
}

fn step(by: i128) -> Option<Change> {
    Some(Change::Step { by, error: ERROR })
}

fn slew(by: i128) -> Option<Change> {
    Some(Change::Slew { by, error: ERROR })
}

fn keeper() -> Keeper {
    let mut keeper = Keeper::default();
    keeper.servers(at(10), names(&["a", "b"]));
    assert_eq!(keeper.ask(at(10)), Some(names(&["a", "b"])));
    keeper
}

#[test]
fn without_servers_nobody_is_asked() {
    let mut keeper = Keeper::default();
    keeper.servers(at(1), Vec::new());
    assert_eq!((keeper.deadline(), keeper.ask(at(9))), (None, None));
    assert!(!keeper.has_servers());
}

#[test]
fn a_clock_that_is_years_off_is_stepped_by_the_first_measurement() {
    let mut keeper = keeper();
    assert_eq!(keeper.ask(at(99)), None, "one question at a time");
    let years = 56 * 31_556_952_000_000_000;
    assert_eq!(keeper.answered(at(11), measured(years)), step(years));
    assert!(keeper.is_set());
    assert_eq!(keeper.deadline(), Some(at(11 + 64)));
}

#[test]
fn a_good_clock_is_asked_about_less_and_less_often() {
    let mut keeper = keeper();
    let mut now = at(10);
    let mut waits = Vec::new();
    for _ in 0..7 {
        assert_eq!(keeper.answered(now, measured(5_000)), slew(5_000));
        let next = keeper.deadline().unwrap();
        waits.push((next - now).as_secs());
        assert_eq!(keeper.ask(next - at(1)), None);
        assert!(keeper.ask(next).is_some());
        now = next;
    }
    assert_eq!(waits, [64, 128, 256, 512, 1024, 1024, 1024]);
}

#[test]
fn later_a_large_difference_is_believed_when_it_was_seen_twice() {
    let mut keeper = keeper();
    keeper.answered(at(10), measured(0));
    keeper.ask(at(74));
    assert_eq!(keeper.answered(at(74), measured(-2 * STEP)), None);
    assert_eq!(keeper.deadline(), Some(at(74 + 16)));
    keeper.ask(at(90));
    assert_eq!(keeper.answered(at(90), measured(-2 * STEP)), step(-2 * STEP));
}

#[test]
fn a_large_difference_is_not_believed_because_of_another_large_one() {
    let mut keeper = keeper();
    let mut now = at(10);
    let mut say = |offset| {
        keeper.ask(now);
        let change = keeper.answered(now, measured(offset));
        let next = keeper.deadline().unwrap();
        let wait = next - now;
        now = next;
        (change, wait.as_secs(), keeper.trouble())
    };
    say(0);
    assert_eq!(say(3 * STEP), (None, 16, None));
    let waits = [(-3 * STEP, 32), (5 * STEP, 64)];
    for (offset, wait) in waits {
        assert_eq!(say(offset), (None, wait, None));
    }
    let line = "the time servers tell another time whenever they are asked: a".to_owned();
    assert_eq!(say(9 * STEP), (None, 128, Some(line)));
    // What the clock has drifted since, and what both may be off, is no other difference.
    let drifted = 9 * STEP + 2 * ERROR + 128_000_000;
    assert_eq!(say(drifted), (step(drifted), 64, None));
    assert_eq!(say(3 * STEP), (None, 16, None));
    assert_eq!(say(3 * STEP + 2 * ERROR + 16_000_001).0, None, "just too much");
}

#[test]
fn one_late_packet_does_not_move_the_clock() {
    let mut keeper = keeper();
    keeper.answered(at(10), measured(0));
    keeper.ask(at(74));
    keeper.answered(at(74), measured(2 * STEP));
    keeper.ask(at(90));
    assert_eq!(keeper.answered(at(90), measured(1)), slew(1));
    keeper.ask(at(154));
    assert_eq!(keeper.answered(at(154), measured(2 * STEP)), None, "doubted anew");
}

#[test]
fn silent_servers_are_named_until_one_answers_and_asked_again_when_the_network_changes() {
    let mut keeper = keeper();
    keeper.answered(at(13), silent(Again::Usual));
    let line = "no time server tells the time: a does not answer";
    assert_eq!(keeper.trouble().as_deref(), Some(line));
    assert_eq!(keeper.deadline(), Some(at(13 + 32)));
    keeper.retry(at(20));
    assert!(keeper.ask(at(20)).is_some());
    keeper.answered(at(21), measured(0));
    assert_eq!(keeper.trouble(), None);
    for failures in 1..=3 {
        let now = keeper.deadline().unwrap();
        keeper.ask(now);
        keeper.answered(now, silent(Again::Usual));
        assert_eq!(keeper.trouble().is_some(), failures == 3);
    }
}

#[test]
fn who_does_not_want_to_be_asked_is_not_asked_again() {
    let mut keeper = keeper();
    keeper.answered(at(10), silent(Again::Never));
    assert_eq!(keeper.ask(at(100)), Some(names(&["b"])));
    keeper.servers(at(101), names(&["a"]));
    assert_eq!(keeper.ask(at(101)), Some(names(&["a"])), "named anew");
    keeper.answered(at(102), silent(Again::Never));
    assert_eq!(keeper.ask(at(500)), None);
    assert_eq!(keeper.deadline(), None);
}

#[test]
fn other_servers_are_asked_at_once_also_while_an_answer_is_awaited() {
    let mut keeper = keeper();
    keeper.servers(at(11), names(&["c"]));
    assert_eq!(keeper.answered(at(12), measured(0)), slew(0));
    assert_eq!(keeper.ask(at(12)), Some(names(&["c"])));
    keeper.servers(at(13), Vec::new());
    keeper.answered(at(14), silent(Again::Usual));
    assert_eq!(keeper.deadline(), None);
}

#[test]
fn a_minority_is_outvoted_and_those_who_do_not_agree_are_named() {
    let hours = 7_200_000_000_000;
    let mut keeper = keeper();
    assert_eq!(keeper.answered(at(10), told(&[("a", 5), ("b", hours)])), None);
    let line = "the time servers do not agree: a, b";
    assert_eq!(keeper.trouble().as_deref(), Some(line));
    assert!(!keeper.is_set());
    let next = keeper.deadline().unwrap();
    assert_eq!(next, at(10 + 32));
    keeper.ask(next);
    let three = told(&[("a", 5), ("b", hours), ("c", 5)]);
    assert_eq!(keeper.answered(next, three), slew(5));
    assert_eq!((keeper.trouble(), keeper.is_set()), (None, true));
    assert_eq!(keeper.believed(), "the time servers a, c say");
}

#[test]
fn what_several_have_set_nobody_alone_moves_far() {
    let mut keeper = keeper();
    let mut say = |all: &[(&str, i128)]| {
        let now = keeper.deadline().unwrap_or(at(10));
        keeper.ask(now);
        (keeper.answered(now, told(all)), keeper.trouble())
    };
    let (far, near) = (3 * JUMP, JUMP - STEP);
    assert_eq!(say(&[("a", 0), ("b", 0)]).0, slew(0));
    let line = "the time server a alone would change the clock by +50 minutes";
    for _ in 0..3 {
        assert_eq!(say(&[("a", far)]), (None, Some(line.to_owned())));
    }
    // A machine that slept hears it of several, twice.
    assert_eq!(say(&[("a", far), ("b", far)]), (None, None));
    let (change, trouble) = say(&[("a", far), ("b", far)]);
    assert_eq!((change, trouble), (Some(Change::Step { by: far, error: ERROR }), None));
    assert_eq!([say(&[("a", near)]).0, say(&[("a", near)]).0], [None, step(near)]);
}

#[test]
fn one_server_that_has_set_the_clock_may_set_it_again() {
    let mut keeper = keeper();
    assert_eq!(keeper.answered(at(10), measured(3 * JUMP)), step(3 * JUMP));
    keeper.ask(at(74));
    assert_eq!(keeper.answered(at(74), measured(2 * JUMP)), None);
    keeper.ask(at(90));
    assert_eq!(keeper.answered(at(90), measured(2 * JUMP)), step(2 * JUMP));
}

#[test]
fn a_difference_that_may_be_none_does_not_step_the_clock() {
    let mut keeper = keeper();
    let (by, error) = (2 * STEP, 2 * STEP);
    let candidate = Candidate { server: "a".to_owned(), offset: by, distance: error };
    let survey = Survey { candidates: vec![candidate], silences: Vec::new() };
    assert_eq!(keeper.answered(at(10), survey), Some(Change::Slew { by, error }));
}

/// Whatever is asked and answered, or not: without a network nobody is asked.
#[test]
fn a_clock_that_nobody_was_heard_of_for_long_is_said_to_be_lost_once_and_in_time() {
    let mut keeper = keeper();
    assert_eq!((keeper.forgets_at(), keeper.forget(at(99_999))), (None, None));
    keeper.answered(at(10), measured(0));
    let lost = at(10) + FORGOTTEN;
    for servers in [&["a"][..], &[]] {
        keeper.servers(at(11), names(servers));
        keeper.ask(at(11));
        keeper.answered(at(12), silent(Again::Usual));
        assert_eq!(keeper.forgets_at(), Some(lost));
    }
    assert_eq!(keeper.forget(lost - at(1)), None);
    assert_eq!(keeper.forget(lost), Some(Change::Lost));
    assert_eq!((keeper.forgets_at(), keeper.forget(lost)), (None, None));
    keeper.servers(lost, names(&["a"]));
    keeper.ask(lost);
    assert_eq!(keeper.answered(lost, measured(0)), slew(0));
    assert_eq!(keeper.forgets_at(), Some(lost + FORGOTTEN));
}

#[test]
fn a_clock_that_the_kernel_calls_good_is_not_stepped_by_one_measurement_nor_given_up() {
    let mut keeper = Keeper::new(Known::default(), true);
    assert_eq!(keeper.forgets_at(), None, "somebody else may keep it");
    keeper.servers(at(10), names(&["a"]));
    keeper.ask(at(10));
    assert!(keeper.is_set());
    assert_eq!(keeper.answered(at(10), measured(2 * STEP)), None);
}

#[test]
fn what_several_have_set_nobody_alone_moves_far_after_the_program_has_started_again() {
    let mut first = keeper();
    first.answered(at(10), told(&[("a", 0), ("b", 0)]));
    // Even if the kernel was told meanwhile that nobody knows how good the clock is.
    for forgotten in [false, true] {
        if forgotten {
            assert_eq!(first.forget(at(10) + FORGOTTEN), Some(Change::Lost));
        }
        let mut next = Keeper::new(first.known(), false);
        assert_eq!(next.known(), first.known());
        let mut now = at(20_000);
        next.servers(now, names(&["a"]));
        for _ in 0..3 {
            next.ask(now);
            assert_eq!(next.answered(now, measured(3 * JUMP)), None);
            now = next.deadline().unwrap();
        }
        assert!(next.trouble().unwrap().starts_with("the time server a alone would change"));
    }
}

#[test]
fn who_wants_to_be_asked_less_often_is() {
    let mut keeper = keeper();
    keeper.answered(at(10), silent(Again::Seldom));
    keeper.servers(at(11), names(&["a"]));
    assert_eq!(keeper.ask(at(11)), Some(names(&["a"])), "named anew");
    let mut now = at(11);
    for wait in [1024, 2048, 4096, 8192, 16_384, 16_384] {
        keeper.answered(now, silent(Again::Seldom));
        let soon = keeper.deadline().unwrap();
        assert_eq!(keeper.ask(soon), None);
        assert_eq!(keeper.deadline(), Some(now + at(wait)));
        now += at(wait);
        assert_eq!(keeper.ask(now), Some(names(&["a"])));
    }
    keeper.answered(now, measured(0));
    let soon = keeper.deadline().unwrap();
    assert_eq!(keeper.ask(soon), None, "also when it answers");
    assert_eq!(keeper.deadline(), Some(now + at(16_384)));
}

#[test]
fn of_a_long_list_so_many_are_asked() {
    let mut keeper = Keeper::default();
    keeper.servers(at(1), (0..20).map(|at| at.to_string()).collect());
    assert_eq!(keeper.ask(at(1)).map(|asked| asked.len()), Some(MOST));
}

proptest! {
    /// Servers are never asked more often than RFC 4330 allows, whatever they say.
    #[test]
    fn no_answers_lead_to_a_flood(answers in prop::collection::vec(any::<Option<i64>>(), 1..50)) {
        let mut keeper = keeper();
        let mut now = at(10);
        for answer in answers {
            let answer = answer.map_or_else(|| silent(Again::Usual), |n| measured(n.into()));
            keeper.answered(now, answer);
            let next = keeper.deadline().unwrap();
            prop_assert!(next >= now + SOONEST && next <= now + LONGEST);
            prop_assert!(keeper.ask(next).is_some());
            now = next;
        }
    }
}
