//! The supervisor: order, restarts, readiness and shutdown, one event at a time.

mod any_order;
mod given_up;
mod liveness;
mod loading;
mod shipped;
mod wanted;

use std::path::Path;

use super::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn name(text: &str) -> UnitName {
    UnitName::try_from(text.to_owned()).expect("a name")
}

fn pid(number: i32) -> Pid {
    Pid::from_raw(number).expect("not 0")
}

/// A unit with a deadline of 10 s, a stop timeout of 3 s and a backoff of 100 ms to 1 s.
fn unit(name: &str, after: &[&str], ready: &str, policy: &str, kill: &str) -> Unit {
    let after: Vec<_> = after.iter().map(|after| format!("{after:?}")).collect();
    let text = format!(
        "exec = [\"/x\"]\nafter = [{}]\nready = {ready}\ncgroup = \"/{name}\"\nkill = \"{kill}\"\n\
         deadline = \"10s\"\nstop-timeout = \"3s\"\n\
         restart = {{ policy = \"{policy}\", backoff-min = \"100ms\", backoff-max = \"1s\" }}\n",
        after.join(", ")
    );
    Unit::parse(Path::new(&format!("{name}.toml")), &text).expect("a good unit")
}

const SOCKET: &str = r#"{ socket-answers = "/run/x" }"#;

/// `containerd` and, after it, `kubelet`.
fn node() -> Supervisor {
    let (units, refused) = Units::new(vec![
        unit("containerd", &[], SOCKET, "always", "process"),
        unit("kubelet", &["containerd"], SOCKET, "always", "cgroup"),
    ]);
    assert_eq!(refused, []);
    Supervisor::new(&units)
}

fn one(unit: Unit) -> Supervisor {
    Supervisor::new(&Units::new(vec![unit]).0)
}

fn spawned(unit: &str, number: i32) -> Event {
    Event::Spawned { unit: name(unit), pid: pid(number) }
}

fn exited(number: i32, status: i32) -> Event {
    Event::Exited { pid: pid(number), exit: Exit::Status(status) }
}

fn ready(unit: &str, run: u32) -> Event {
    Event::Ready { unit: name(unit), run, detail: "fine".into() }
}

/// A supervisor whose units are both ready, containerd as process 10, kubelet as 20.
fn booted() -> Supervisor {
    let mut node = node();
    node.step(s(0), Event::Start);
    node.step(s(0), spawned("containerd", 10));
    node.step(s(1), ready("containerd", 1));
    node.step(s(1), spawned("kubelet", 20));
    node.step(s(2), ready("kubelet", 1));
    node
}

#[test]
fn a_unit_starts_when_the_one_before_it_is_ready() {
    let mut node = node();
    assert_eq!(node.step(s(0), Event::Start), [Action::Spawn(name("containerd"))]);
    assert_eq!(
        node.step(s(1), spawned("containerd", 10)),
        [
            Action::Announce(Change::Started(name("containerd"))),
            Action::StartProbe { unit: name("containerd"), run: 1 },
        ]
    );
    assert_eq!(
        node.step(ms(2500), ready("containerd", 1)),
        [
            Action::Announce(Change::Ready {
                unit: name("containerd"),
                after: ms(1500),
                detail: "fine".into()
            }),
            Action::Spawn(name("kubelet")),
        ]
    );
    node.step(s(3), spawned("kubelet", 20));
    let actions = node.step(s(4), ready("kubelet", 1));
    assert_eq!(actions.last(), Some(&Action::Announce(Change::BootComplete)));
    assert_eq!(node.step(s(5), Event::Tick), []);
    assert_eq!(node.next_deadline(), None);
}

#[test]
fn restarts_wait_twice_as_long_each_time_up_to_the_most_and_begin_anew_after_health() {
    let mut node = one(unit("a", &[], SOCKET, "always", "process"));
    node.step(s(0), Event::Start);
    let mut now = s(0);
    for (run, wait) in [100, 200, 400, 800, 1000, 1000].map(ms).into_iter().enumerate() {
        let number = 10 + i32::try_from(run).expect("small");
        node.step(now, spawned("a", number));
        let ending = Ending::Exit(Exit::Status(1));
        let next = Next::RestartIn(wait);
        assert_eq!(
            node.step(now, exited(number, 1)),
            [
                Action::StopProbe(name("a")),
                Action::Announce(Change::Ended { unit: name("a"), ending, next }),
            ]
        );
        assert_eq!(node.next_deadline(), Some(now + wait));
        assert_eq!(node.step(now + wait - ms(1), Event::Tick), []);
        now += wait;
        assert_eq!(node.step(now, Event::Tick), [Action::Spawn(name("a"))]);
    }
    node.step(now, spawned("a", 50));
    node.step(now, ready("a", 7));
    let actions = node.step(now + s(1), exited(50, 1));
    let [Action::Announce(Change::Ended { next, .. })] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(*next, Next::RestartIn(ms(100)));
}

#[test]
fn the_policy_decides_whether_an_end_is_followed_by_a_start() {
    for (policy, status, next) in [
        ("always", 0, Next::RestartIn(ms(100))),
        ("on-failure", 0, Next::Done),
        ("on-failure", 1, Next::RestartIn(ms(100))),
        ("never", 0, Next::Done),
        ("never", 1, Next::Failed),
    ] {
        let mut node = one(unit("a", &[], "\"started\"", policy, "process"));
        node.step(s(0), Event::Start);
        node.step(s(0), spawned("a", 10));
        let ending = Ending::Exit(Exit::Status(status));
        assert_eq!(
            node.step(s(0), exited(10, status)),
            [Action::Announce(Change::Ended { unit: name("a"), ending, next })],
            "{policy} {status}"
        );
        assert_eq!(node.next_deadline().is_some(), matches!(next, Next::RestartIn(_)));
    }
}

#[test]
fn a_program_that_cannot_be_started_is_tried_again_like_one_that_ended() {
    let mut node = one(unit("a", &[], SOCKET, "always", "process"));
    node.step(s(0), Event::Start);
    let failed = Event::SpawnFailed { unit: name("a"), reason: "no such file".into() };
    let ending = Ending::NotStarted("no such file".into());
    let next = Next::RestartIn(ms(100));
    assert_eq!(
        node.step(s(0), failed),
        [Action::Announce(Change::Ended { unit: name("a"), ending, next })]
    );
    assert_eq!(node.step(ms(100), Event::Tick), [Action::Spawn(name("a"))]);
}

#[test]
fn a_unit_that_is_ready_by_ending_lets_others_start() {
    let (units, _) = Units::new(vec![
        unit("a", &[], "\"exit\"", "on-failure", "cgroup"),
        unit("b", &["a"], "\"started\"", "never", "process"),
    ]);
    let mut node = Supervisor::new(&units);
    node.step(s(0), Event::Start);
    node.step(s(0), spawned("a", 10));
    let actions = node.step(s(2), exited(10, 1));
    assert!(actions.contains(&Action::KillGroup(name("a"))), "{actions:?}");
    assert!(!actions.contains(&Action::Spawn(name("b"))), "{actions:?}");
    node.step(s(3), Event::Tick);
    node.step(s(3), spawned("a", 11));
    assert_eq!(
        node.step(s(5), exited(11, 0)),
        [
            Action::KillGroup(name("a")),
            Action::Announce(Change::Ready { unit: name("a"), after: s(2), detail: String::new() }),
            Action::Spawn(name("b")),
        ]
    );
}

#[test]
fn a_missed_deadline_is_told_once_with_the_last_reason_and_the_unit_goes_on() {
    let mut node = one(unit("a", &[], SOCKET, "always", "process"));
    node.step(s(0), Event::Start);
    node.step(s(0), spawned("a", 10));
    assert_eq!(node.next_deadline(), Some(s(10)));
    let refused =
        |run| Event::ProbeFailed { unit: name("a"), run, reason: format!("reason {run}") };
    assert_eq!(node.step(s(1), refused(1)), []);
    assert_eq!(node.step(s(1), refused(2)), []);
    let (deadline, reason) = (s(10), Some("reason 1".into()));
    assert_eq!(
        node.step(s(10), Event::Tick),
        [Action::Announce(Change::Late { unit: name("a"), deadline, reason })]
    );
    assert_eq!(node.step(s(20), Event::Tick), []);
    let actions = node.step(s(30), ready("a", 1));
    assert_eq!(actions.last(), Some(&Action::Announce(Change::BootComplete)));
}

#[test]
fn an_answer_to_an_earlier_run_does_not_count() {
    let mut node = one(unit("a", &[], SOCKET, "always", "process"));
    node.step(s(0), Event::Start);
    node.step(s(0), spawned("a", 10));
    node.step(s(0), exited(10, 1));
    node.step(s(1), Event::Tick);
    node.step(s(1), spawned("a", 11));
    assert_eq!(node.step(s(1), ready("a", 1)), []);
    assert_eq!(node.step(s(1), ready("a", 2)).len(), 2);
}

#[test]
fn the_death_of_containerd_does_not_touch_kubelet_nor_the_shims() {
    let mut node = booted();
    let ending = Ending::Exit(Exit::Status(2));
    let next = Next::RestartIn(ms(100));
    assert_eq!(
        node.step(s(3), exited(10, 2)),
        [Action::Announce(Change::Ended { unit: name("containerd"), ending, next })]
    );
    assert_eq!(node.step(s(4), Event::Tick), [Action::Spawn(name("containerd"))]);
    let kubelet = node.states().find(|(unit, _)| **unit == name("kubelet"));
    assert!(matches!(kubelet, Some((_, State::Ready { .. }))), "{kubelet:?}");
}

#[test]
fn an_unknown_child_is_nobodys_business() {
    let mut node = booted();
    assert_eq!(node.step(s(3), exited(99, 0)), []);
    assert_eq!(node.step(s(3), spawned("kubelet", 98)), [Action::Kill(pid(98))]);
}

#[test]
fn shutdown_goes_backwards_through_the_order() {
    let mut node = booted();
    let kind = ShutdownKind::Reboot;
    assert_eq!(
        node.step(s(10), Event::Shutdown(kind)),
        [
            Action::Announce(Change::ShutdownBegan(kind)),
            Action::Terminate { unit: name("kubelet"), pid: pid(20) },
        ]
    );
    assert_eq!(node.step(s(10), Event::Shutdown(ShutdownKind::PowerOff)), []);
    assert_eq!(
        node.step(s(11), exited(20, 0)),
        [
            Action::KillGroup(name("kubelet")),
            Action::Announce(Change::Stopped(name("kubelet"))),
            Action::Terminate { unit: name("containerd"), pid: pid(10) },
        ]
    );
    assert_eq!(
        node.step(s(12), exited(10, 0)),
        [Action::Announce(Change::Stopped(name("containerd"))), Action::Finish(kind)]
    );
    assert_eq!(node.step(s(13), Event::Tick), []);
}

#[test]
fn who_does_not_stop_is_killed_and_who_cannot_die_is_left() {
    let mut node = booted();
    node.step(s(10), Event::Shutdown(ShutdownKind::PowerOff));
    assert_eq!(node.next_deadline(), Some(s(13)));
    assert_eq!(
        node.step(s(13), Event::Tick),
        [
            Action::Announce(Change::Killed(name("kubelet"))),
            Action::Kill(pid(20)),
            Action::KillGroup(name("kubelet")),
        ]
    );
    assert_eq!(
        node.step(s(18), Event::Tick),
        [
            Action::Announce(Change::Abandoned(name("kubelet"))),
            Action::Terminate { unit: name("containerd"), pid: pid(10) },
        ]
    );
    assert_eq!(
        node.step(s(21), Event::Tick),
        [Action::Announce(Change::Killed(name("containerd"))), Action::Kill(pid(10))]
    );
    let actions = node.step(s(21), exited(10, 0));
    assert_eq!(actions.last(), Some(&Action::Finish(ShutdownKind::PowerOff)));
}

#[test]
fn shutdown_before_anything_runs_finishes_at_once() {
    let mut node = node();
    let kind = ShutdownKind::PowerOff;
    let began = Action::Announce(Change::ShutdownBegan(kind));
    assert_eq!(node.step(s(0), Event::Shutdown(kind)), [began, Action::Finish(kind)]);
    assert_eq!(node.step(s(0), Event::Start), []);
}

#[test]
fn a_unit_that_appears_during_shutdown_is_stopped_too() {
    let mut node = one(unit("a", &[], SOCKET, "always", "process"));
    let kind = ShutdownKind::Reboot;
    node.step(s(0), Event::Start);
    node.step(s(0), Event::Shutdown(kind));
    let terminate = Action::Terminate { unit: name("a"), pid: pid(10) };
    assert_eq!(node.step(s(1), spawned("a", 10)).last(), Some(&terminate));
    let actions = node.step(s(1), exited(10, 0));
    assert_eq!(actions.last(), Some(&Action::Finish(kind)));
}

#[test]
fn who_ends_before_its_turn_to_be_stopped_is_not_started_again() {
    let mut node = booted();
    let kind = ShutdownKind::PowerOff;
    node.step(s(10), Event::Shutdown(kind));
    let stopped = Action::Announce(Change::Stopped(name("containerd")));
    assert_eq!(node.step(s(10), exited(10, 1)), [stopped]);
    let actions = node.step(s(11), exited(20, 0));
    assert_eq!(actions.last(), Some(&Action::Finish(kind)));
}

/// The units that are built in, as the world of these tests has them.
fn built_in() -> [Unit; 2] {
    [("log", BuiltIn::Log), ("network", BuiltIn::Network)].map(|(name, kind)| Unit {
        built_in: Some(kind),
        ready: Ready::Said,
        ..unit(name, &[], SOCKET, "always", "cgroup")
    })
}

#[test]
fn what_comes_after_the_network_waits_until_that_says_that_it_is_ready() {
    let [_, network] = built_in();
    let (units, refused) =
        Units::new(vec![network, unit("a", &["network"], "\"started\"", "never", "process")]);
    assert_eq!(refused, []);
    let mut node = Supervisor::new(&units);
    assert_eq!(node.step(s(0), Event::Start), [Action::Spawn(name("network"))]);
    let waits: Vec<_> = node.waits_for(&name("a")).map(UnitName::as_str).collect();
    assert_eq!(waits, ["network"]);
    let probe = Action::StartProbe { unit: name("network"), run: 1 };
    assert_eq!(node.step(s(0), spawned("network", 10)).last(), Some(&probe));
    let actions = node.step(s(1), ready("network", 1));
    assert_eq!(actions.last(), Some(&Action::Spawn(name("a"))));
    node.step(s(1), spawned("a", 20));
    // Killed, it is started again, and nothing else is touched.
    let killed = node.step(s(2), Event::Exited { pid: pid(10), exit: Exit::Signal(9) });
    assert!(killed.iter().all(|action| !matches!(action, Action::Kill(_) | Action::Spawn(_))));
    assert_eq!(node.step(s(3), Event::Tick), [Action::Spawn(name("network"))]);
}

#[test]
fn what_reads_the_output_of_others_is_stopped_last() {
    let [log, network] = built_in();
    let a = unit("a", &["network"], "\"started\"", "never", "process");
    let mut node = Supervisor::new(&Units::new(vec![log, network, a]).0);
    node.step(s(0), Event::Start);
    for (unit, number) in [("log", 10), ("network", 20)] {
        node.step(s(0), spawned(unit, number));
        node.step(s(0), ready(unit, 1));
    }
    node.step(s(0), spawned("a", 30));
    let asked = |actions: &[Action]| -> Vec<String> {
        let units = actions.iter().filter_map(|action| match action {
            Action::Terminate { unit, .. } => Some(unit.to_string()),
            _ => None,
        });
        units.collect()
    };
    let mut order = asked(&node.step(s(1), Event::Shutdown(ShutdownKind::PowerOff)));
    for number in [30, 20] {
        order.extend(asked(&node.step(s(1), exited(number, 0))));
    }
    assert_eq!(order, ["a", "network", "log"]);
    let last = node.step(s(1), exited(10, 0));
    assert_eq!(last.last(), Some(&Action::Finish(ShutdownKind::PowerOff)));
}

#[test]
fn what_reads_the_output_of_others_is_started_again_while_one_of_them_stops() {
    let [log, network] = built_in();
    let mut node = Supervisor::new(&Units::new(vec![log, network]).0);
    node.step(s(0), Event::Start);
    for (unit, number) in [("log", 10), ("network", 20)] {
        node.step(s(0), spawned(unit, number));
        node.step(s(0), ready(unit, 1));
    }
    // It waits to be started again when the system is to go down, and ends once more on the way.
    let kill = |number| Event::Exited { pid: pid(number), exit: Exit::Signal(9) };
    node.step(s(1), kill(10));
    node.step(s(1), Event::Shutdown(ShutdownKind::Reboot));
    let again = [Action::Spawn(name("log"))];
    assert_eq!(node.step(s(1) + ms(100), Event::Tick), again);
    let failed = Event::SpawnFailed { unit: name("log"), reason: "no memory".to_owned() };
    node.step(s(1) + ms(100), failed);
    assert_eq!(node.step(s(1) + ms(300), Event::Tick), again);
    node.step(s(1) + ms(300), spawned("log", 11));
    node.step(s(1) + ms(400), kill(11));
    let now = node.next_deadline().expect("its restart");
    assert_eq!(node.step(now, Event::Tick), again);
    node.step(now, spawned("log", 12));
    node.step(now, kill(12));
    // There is nobody left for whom it would be started.
    let last = node.step(now, exited(20, 0));
    assert_eq!(last.last(), Some(&Action::Finish(ShutdownKind::Reboot)));
}

/// `containerd`, then the one-shot `images` which stops the pods, then `kubelet`; all as they are
/// once booted: containerd is process 10, kubelet 20.
fn with_stop_exec() -> Supervisor {
    let mut images = unit("images", &["containerd"], "\"exit\"", "on-failure", "cgroup");
    images.stop_exec = Some(vec!["/stop-pods".into()]);
    let (units, refused) = Units::new(vec![
        unit("containerd", &[], SOCKET, "always", "process"),
        images,
        unit("kubelet", &["images"], SOCKET, "always", "cgroup"),
    ]);
    assert_eq!(refused, []);
    let mut node = Supervisor::new(&units);
    node.step(s(0), Event::Start);
    node.step(s(0), spawned("containerd", 10));
    node.step(s(1), ready("containerd", 1));
    node.step(s(1), spawned("images", 15));
    node.step(s(1), exited(15, 0));
    node.step(s(1), spawned("kubelet", 20));
    node.step(s(2), ready("kubelet", 1));
    node
}

fn stop_spawned(unit: &str, number: i32) -> Event {
    Event::StopSpawned { unit: name(unit), pid: pid(number) }
}

#[test]
fn the_stop_exec_of_a_one_shot_runs_in_its_turn() {
    let mut node = with_stop_exec();
    let kind = ShutdownKind::PowerOff;
    assert_eq!(
        node.step(s(10), Event::Shutdown(kind)),
        [
            Action::Announce(Change::ShutdownBegan(kind)),
            Action::Terminate { unit: name("kubelet"), pid: pid(20) },
        ]
    );
    assert_eq!(
        node.step(s(11), exited(20, 0))[2..],
        [
            Action::Announce(Change::StopExecBegan(name("images"))),
            Action::SpawnStop(name("images")),
        ]
    );
    assert_eq!(node.step(s(11), stop_spawned("images", 30)), []);
    assert_eq!(node.next_deadline(), Some(s(14)));
    let ending = Ending::Exit(Exit::Status(0));
    assert_eq!(
        node.step(s(12), exited(30, 0)),
        [
            Action::Announce(Change::StopExecEnded { unit: name("images"), ending }),
            Action::KillGroup(name("images")),
            Action::Announce(Change::Stopped(name("images"))),
            Action::Terminate { unit: name("containerd"), pid: pid(10) },
        ]
    );
    let actions = node.step(s(13), exited(10, 0));
    assert_eq!(actions.last(), Some(&Action::Finish(kind)));
}

#[test]
fn what_is_being_started_at_a_shutdown_is_stopped_after_those_who_need_it() {
    let mut node = with_stop_exec();
    node.step(s(10), exited(10, 1));
    assert_eq!(node.step(s(11), Event::Tick), [Action::Spawn(name("containerd"))]);
    let asked = |actions: Vec<Action>| actions.last().cloned();
    let actions = node.step(s(11), Event::Shutdown(ShutdownKind::PowerOff));
    assert_eq!(asked(actions), Some(Action::Terminate { unit: name("kubelet"), pid: pid(20) }));
    let actions = node.step(s(11), spawned("containerd", 11));
    let started = Action::Announce(Change::Started(name("containerd")));
    assert_eq!(asked(actions), Some(started), "it is not stopped yet");
    let actions = node.step(s(12), exited(20, 0));
    assert_eq!(asked(actions), Some(Action::SpawnStop(name("images"))));
    node.step(s(12), stop_spawned("images", 30));
    let actions = node.step(s(13), exited(30, 0));
    assert_eq!(asked(actions), Some(Action::Terminate { unit: name("containerd"), pid: pid(11) }));
}

#[test]
fn a_stop_exec_that_fails_or_hangs_does_not_keep_the_unit_from_being_stopped() {
    let stop = Action::Terminate { unit: name("containerd"), pid: pid(10) };
    for (events, want) in [
        (vec![Event::StopSpawnFailed { unit: name("images"), reason: "no".into() }], 11),
        (
            vec![
                stop_spawned("images", 30),
                Event::StopSpawnFailed { unit: name("images"), reason: "no".into() },
            ],
            11,
        ),
        (vec![stop_spawned("images", 30), exited(30, 1)], 11),
        // Killed after its 3 s, given up 5 s later, known or not.
        (vec![stop_spawned("images", 30)], 19),
        (vec![], 14),
    ] {
        let mut node = with_stop_exec();
        node.step(s(10), Event::Shutdown(ShutdownKind::PowerOff));
        node.step(s(11), exited(20, 0));
        let mut actions = Vec::new();
        let mut now = s(11);
        for event in events {
            actions.extend(node.step(now, event));
        }
        while !actions.contains(&stop) {
            now = node.next_deadline().expect("a deadline");
            actions = node.step(now, Event::Tick);
        }
        assert_eq!(now, s(want));
    }
}

#[test]
fn the_stop_exec_of_a_unit_that_runs_comes_before_its_end() {
    let mut a = unit("a", &[], SOCKET, "always", "cgroup");
    a.stop_exec = Some(vec!["/drain".into()]);
    let mut node = one(a);
    node.step(s(0), Event::Start);
    node.step(s(0), spawned("a", 10));
    node.step(s(0), ready("a", 1));
    let actions = node.step(s(1), Event::Shutdown(ShutdownKind::Reboot));
    assert_eq!(actions.last(), Some(&Action::SpawnStop(name("a"))));
    node.step(s(1), stop_spawned("a", 11));
    let actions = node.step(s(2), exited(11, 0));
    assert_eq!(actions.last(), Some(&Action::Terminate { unit: name("a"), pid: pid(10) }));
    // Its group holds the `stop-exec` as well and is only killed when both have ended.
    assert!(!actions.contains(&Action::KillGroup(name("a"))), "{actions:?}");
}

#[test]
fn a_shutdown_that_takes_too_long_as_a_whole_is_cut_short() {
    let slow = |name: &str, after: &[&str]| {
        let mut unit = unit(name, after, SOCKET, "always", "cgroup");
        unit.stop_timeout = s(600);
        unit
    };
    let (units, _) = Units::new(vec![slow("a", &[]), slow("b", &["a"]), slow("c", &["b"])]);
    let mut node = Supervisor::new(&units);
    node.step(s(0), Event::Start);
    for (number, unit) in ["a", "b", "c"].into_iter().enumerate() {
        let number = 10 + i32::try_from(number).expect("small");
        node.step(s(0), spawned(unit, number));
        node.step(s(0), ready(unit, 1));
    }
    let kind = ShutdownKind::Reboot;
    node.step(s(0), Event::Shutdown(kind));
    let end = loop {
        let now = node.next_deadline().expect("a deadline");
        let actions = node.step(now, Event::Tick);
        if actions.contains(&Action::Finish(kind)) {
            assert!(actions.contains(&Action::Announce(Change::ShutdownLate)), "{actions:?}");
            // The first was killed in its time, the others now.
            for number in [10, 11] {
                assert!(actions.contains(&Action::Kill(pid(number))), "{actions:?}");
            }
            break now;
        }
    };
    assert_eq!(end, SHUTDOWN_LIMIT);
}
