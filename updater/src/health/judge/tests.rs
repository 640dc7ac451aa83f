//! Verdicts, one answer at a time.

use proptest::prelude::*;

use super::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const BEGAN: Duration = s(100);

fn wanted(condition: Condition, steady: u64, deadline: Option<u64>) -> Wanted {
    Wanted { condition, deadline: deadline.map(s), steady: s(steady) }
}

fn dns() -> Condition {
    Condition::Check("dns".to_owned())
}

/// CRI, kubelet for 10 s in a row, and a check that has two minutes of five.
fn judge() -> Judge {
    let wanted = vec![
        wanted(Condition::Cri, 0, None),
        wanted(Condition::Kubelet, 10, None),
        wanted(dns(), 0, Some(120)),
    ];
    Judge::new(wanted, s(300), BEGAN)
}

fn bad(reason: &str) -> Result<(), String> {
    Err(reason.to_owned())
}

/// Gives answers at seconds after the beginning, and asks for the verdict at the end.
fn after(answers: &[(u64, Condition, Result<(), String>)], end: u64) -> Verdict {
    let mut judge = judge();
    for (at, condition, answer) in answers {
        judge.take(BEGAN + s(*at), condition, answer.clone());
    }
    judge.verdict(BEGAN + s(end))
}

fn kubelet(seconds: std::ops::RangeInclusive<u64>) -> Vec<(u64, Condition, Result<(), String>)> {
    seconds.map(|at| (at, Condition::Kubelet, Ok(()))).collect()
}

#[test]
fn it_is_healthy_when_all_holds_at_once_and_kubelet_for_ten_seconds() {
    let first = vec![(1, Condition::Cri, Ok(())), (2, dns(), Ok(()))];
    let with = |more: Vec<_>| [first.clone(), more].concat();
    let waiting = |text: &str| Verdict::Waiting(text.to_owned());
    for (answers, end, want) in [
        (
            vec![],
            1,
            waiting("cri has not answered; kubelet has not answered; check:dns has not answered"),
        ),
        (with(vec![]), 3, waiting("kubelet has not answered")),
        (with(kubelet(5..=14)), 14, waiting("kubelet is good for 9 s of 10")),
        (with(kubelet(5..=15)), 15, Verdict::Healthy),
        // A bad answer in between, and nobody knows what was in a gap.
        (
            with(
                [kubelet(5..=9), vec![(10, Condition::Kubelet, bad("500"))], kubelet(11..=15)]
                    .concat(),
            ),
            15,
            waiting("kubelet is good for 4 s of 10"),
        ),
        (
            with([kubelet(5..=9), kubelet(15..=20)].concat()),
            20,
            waiting("kubelet is good for 5 s of 10"),
        ),
        (with([kubelet(5..=9), kubelet(14..=15)].concat()), 15, Verdict::Healthy),
        // What was good and has not answered since is not known to be good.
        (with(kubelet(5..=15)), 30, waiting("kubelet is good for 10 s of 10")),
        (
            [with(kubelet(5..=15)), vec![(15, Condition::Cri, bad("gone"))]].concat(),
            15,
            waiting("cri: gone"),
        ),
    ] {
        assert_eq!(after(&answers, end), want, "{answers:?}");
    }
}

#[test]
fn at_a_deadline_it_is_unhealthy_and_the_reason_says_what_lacked() {
    let unhealthy = |text: &str| Verdict::Unhealthy(text.to_owned());
    let cri = (1, Condition::Cri, Ok(()));
    let refused = (2, dns(), bad("connection refused\nby 127.0.0.1"));
    assert_eq!(
        after(&[cri.clone(), refused], 120),
        unhealthy("check:dns: connection refused by 127.0.0.1 after 120 s")
    );
    // It has held in time, so only the end of all counts.
    let flaps = [cri.clone(), (2, dns(), Ok(())), (3, dns(), bad("again"))];
    assert_eq!(
        after(&flaps, 121),
        Verdict::Waiting("kubelet has not answered; check:dns: again".into())
    );
    assert_eq!(
        after(&flaps, 300),
        unhealthy("kubelet has not answered; check:dns: again after 300 s")
    );
    let late = [vec![cri, (2, dns(), Ok(()))], kubelet(280..=300)].concat();
    assert_eq!(after(&late, 299), Verdict::Healthy);
    assert_eq!(after(&late, 300), unhealthy("nobody looked in time after 300 s"));
}

#[test]
fn a_node_of_which_nothing_is_wanted_is_healthy_at_once() {
    let mut judge = Judge::new(Vec::new(), s(300), BEGAN);
    judge.take(BEGAN, &Condition::Kubelet, bad("nobody asked"));
    assert_eq!(judge.verdict(BEGAN), Verdict::Healthy);
}

#[test]
fn the_next_look_is_at_the_first_deadline_that_still_counts() {
    let mut judge = judge();
    assert_eq!(judge.next(), BEGAN + s(120));
    judge.take(BEGAN + s(1), &dns(), Ok(()));
    assert_eq!(judge.next(), BEGAN + s(300));
}

#[test]
fn an_answer_that_is_older_than_what_is_known_changes_nothing() {
    let answers = [(5, dns(), bad("now")), (4, dns(), Ok(()))];
    let Verdict::Waiting(text) = after(&answers, 6) else { panic!("decided") };
    assert!(text.ends_with("check:dns: now"), "{text}");
}

fn any_answer() -> impl Strategy<Value = (u64, usize, bool)> {
    (0_u64..8, 0_usize..4, prop::bool::weighted(0.8))
}

proptest! {
    /// Told in another way: kubelet has been good in each of its answers of the last ten seconds, of
    /// which none is far from the next, and the last answers of the others are good.
    #[test]
    fn it_is_healthy_only_if_all_answers_of_late_were_good(
        answers in prop::collection::vec(any_answer(), 0..120),
    ) {
        let conditions = [Condition::Cri, Condition::Kubelet, dns(), Condition::NodeReady];
        let mut judge = judge();
        let mut given: Vec<(u64, usize, bool)> = Vec::new();
        let mut now = 0;
        for (pause, which, good) in answers {
            now += pause;
            judge.take(BEGAN + s(now), &conditions[which], if good { Ok(()) } else { bad("x") });
            given.push((now, which, good));
            let verdict = judge.verdict(BEGAN + s(now));
            let last = |which| given.iter().rev().find(|(_, of, _)| *of == which).is_some_and(|g| g.2);
            let kubelet: Vec<_> = given.iter().filter(|(_, of, _)| *of == 1).collect();
            let mut row = kubelet.iter().rev().take_while(|(_, _, good)| *good).peekable();
            let (mut since, mut end) = (row.peek().map(|g| g.0), row.peek().map(|g| g.0));
            let newest = end;
            for (at, _, _) in row {
                if end.is_some_and(|end| end - at > 5) {
                    break;
                }
                (since, end) = (Some(*at), Some(*at));
            }
            let steady = matches!((since, newest), (Some(since), Some(newest))
                if newest - since >= 10 && now - newest <= 5);
            let holds = last(0) && last(2) && steady;
            match verdict {
                Verdict::Healthy => prop_assert!(holds && now < 300, "{:?}", given),
                Verdict::Waiting(_) => prop_assert!(!holds && now < 300, "{:?}", given),
                Verdict::Unhealthy(_) => prop_assert!(now >= 120),
            }
            if !matches!(judge.verdict(BEGAN + s(now)), Verdict::Waiting(_)) {
                let decided = judge.verdict(BEGAN + s(now));
                judge.take(BEGAN + s(now), &Condition::Cri, bad("late"));
                prop_assert_eq!(judge.verdict(BEGAN + s(now + 1000)), decided);
                break;
            }
        }
    }

    #[test]
    fn every_trial_ends_at_its_deadline(
        answers in prop::collection::vec(any_answer(), 0..40), deadline in 1_u64..600,
    ) {
        let mut judge = Judge::new(vec![wanted(Condition::Cri, 0, None)], s(deadline), BEGAN);
        let mut now = 0;
        for (pause, _, good) in answers {
            now += pause;
            judge.take(BEGAN + s(now), &Condition::Cri, if good { Ok(()) } else { bad("x") });
        }
        let end = BEGAN + s(deadline.max(now));
        prop_assert!(matches!(judge.verdict(end), Verdict::Unhealthy(_)));
        prop_assert!(judge.next() <= BEGAN + s(deadline));
    }
}

#[test]
fn what_fails_is_what_was_given_all_its_time() {
    let failing = |answers: &[(u64, Condition, Result<(), String>)], end: u64| {
        let mut judge = judge();
        for (at, condition, answer) in answers {
            judge.take(BEGAN + s(*at), condition, answer.clone());
        }
        judge.failing(BEGAN + s(end))
    };
    let good = (299, Condition::Cri, Ok(()));
    for (answers, end, want) in [
        (vec![], 119, vec![]),
        // The check has two minutes; what else has not answered may yet come.
        (vec![], 120, vec![dns()]),
        (vec![(5, dns(), Ok(())), (130, dns(), bad("no"))], 150, vec![]),
        (vec![(5, dns(), Ok(()))], 300, vec![Condition::Cri, Condition::Kubelet]),
        (vec![good], 300, vec![Condition::Kubelet, dns()]),
    ] {
        assert_eq!(failing(&answers, end), want, "{answers:?} {end}");
    }
}
