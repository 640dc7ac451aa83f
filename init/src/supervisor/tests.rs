//! The supervisor: order, restarts, readiness and shutdown, one event at a time.

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

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
    assert_eq!(node.step(s(1), spawned("a", 10)), [terminate]);
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

/// What is outside the supervisor: processes that start, answer and end as they like.
struct World {
    supervisor: Supervisor,
    now: Duration,
    alive: BTreeSet<i32>,
    probes: Vec<(UnitName, u32)>,
    spawns: Vec<UnitName>,
    next_pid: i32,
    abandoned: usize,
    finished: usize,
}

/// A step of the world; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    AnswerSpawn { choice: usize, works: bool },
    Exit { choice: usize, status: i32 },
    UnknownExit(i32),
    Answer { choice: usize, good: bool },
    StaleAnswer { choice: usize },
    Pass(u64),
    Shutdown,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..8_usize, any::<bool>()).prop_map(|(choice, works)| Step::AnswerSpawn { choice, works }),
        4 => (0..8_usize, 0..2_i32).prop_map(|(choice, status)| Step::Exit { choice, status }),
        1 => (1..200_i32).prop_map(Step::UnknownExit),
        6 => (0..8_usize, any::<bool>()).prop_map(|(choice, good)| Step::Answer { choice, good }),
        1 => (0..8_usize).prop_map(|choice| Step::StaleAnswer { choice }),
        6 => (0..20_000_u64).prop_map(Step::Pass),
    ]
}

impl World {
    /// Units in an acyclic order: bit `i` of an entry says whether it comes after unit `i`.
    fn new(shape: &[(u8, u8, u8, bool)]) -> Self {
        let units = shape.iter().enumerate().map(|(index, (after, ready, policy, cgroup))| {
            let after: Vec<_> =
                (0..index).filter(|i| after & (1 << i) != 0).map(|i| format!("u{i}")).collect();
            let after: Vec<_> = after.iter().map(String::as_str).collect();
            let ready = ["\"exit\"", "\"started\"", SOCKET][usize::from(*ready)];
            let policies = ["on-failure", "never", "always"];
            // A unit that is ready by ending cannot be restarted always.
            let policy = usize::from(*policy) % if ready == "\"exit\"" { 2 } else { 3 };
            let kill = if *cgroup { "cgroup" } else { "process" };
            unit(&format!("u{index}"), &after, ready, policies[policy], kill)
        });
        let (units, refused) = Units::new(units.collect());
        assert_eq!(refused, []);
        let mut world = Self {
            supervisor: Supervisor::new(&units),
            now: s(1),
            alive: BTreeSet::new(),
            probes: Vec::new(),
            spawns: Vec::new(),
            next_pid: 1000,
            abandoned: 0,
            finished: 0,
        };
        world.feed(Event::Start);
        world
    }

    fn feed(&mut self, event: Event) {
        for action in self.supervisor.step(self.now, event) {
            assert_eq!(self.finished, 0, "an action after the end: {action:?}");
            match action {
                Action::Spawn(unit) => self.spawns.push(unit),
                Action::StartProbe { unit, run } => self.probes.push((unit, run)),
                Action::StopProbe(unit) => self.probes.retain(|(other, _)| *other != unit),
                Action::Kill(pid) | Action::Terminate { pid, .. } => {
                    let pid = pid.as_raw_nonzero().get();
                    assert!(self.alive.contains(&pid), "{pid} was signalled and is not alive");
                }
                Action::Announce(Change::Abandoned(_)) => self.abandoned += 1,
                Action::Finish(_) => self.finished += 1,
                Action::KillGroup(_) | Action::Announce(_) => {}
            }
        }
        self.check();
    }

    /// No child is lost: what is alive is what the supervisor watches.
    fn check(&self) {
        let states: Vec<_> = self.supervisor.states().collect();
        let watched: BTreeSet<_> = states
            .iter()
            .filter_map(|(_, state)| state.pid())
            .map(|pid| pid.as_raw_nonzero().get())
            .collect();
        assert!(watched.is_subset(&self.alive), "{watched:?} of {:?}", self.alive);
        if self.abandoned == 0 {
            assert_eq!(watched, self.alive);
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::AnswerSpawn { choice, works } if !self.spawns.is_empty() => {
                let unit = self.spawns.remove(choice % self.spawns.len());
                if works {
                    self.next_pid += 1;
                    self.alive.insert(self.next_pid);
                    self.feed(Event::Spawned { unit, pid: pid(self.next_pid) });
                } else {
                    self.feed(Event::SpawnFailed { unit, reason: "no".into() });
                }
            }
            Step::Exit { choice, status } if !self.alive.is_empty() => {
                let number = *self.alive.iter().nth(choice % self.alive.len()).expect("one");
                self.alive.remove(&number);
                self.feed(exited(number, status));
            }
            Step::UnknownExit(number) => self.feed(exited(number, 0)),
            Step::Answer { choice, good } if !self.probes.is_empty() => {
                let (unit, run) = self.probes[choice % self.probes.len()].clone();
                if good {
                    self.probes.retain(|(other, _)| *other != unit);
                    self.feed(Event::Ready { unit, run, detail: String::new() });
                } else {
                    self.feed(Event::ProbeFailed { unit, run, reason: "not yet".into() });
                }
            }
            Step::StaleAnswer { choice } => {
                let unit = name(&format!("u{}", choice % 5));
                self.feed(Event::Ready { unit, run: 0, detail: String::new() });
            }
            Step::Pass(milliseconds) => {
                self.now += ms(milliseconds);
                self.feed(Event::Tick);
            }
            Step::Shutdown => self.feed(Event::Shutdown(ShutdownKind::PowerOff)),
            _ => {}
        }
    }

    /// Goes to the next deadline, as the event loop does.
    fn wait(&mut self) {
        if let Some(deadline) = self.supervisor.next_deadline() {
            self.now = self.now.max(deadline);
        }
        self.feed(Event::Tick);
    }
}

proptest! {
    #[test]
    fn whatever_happened_a_shutdown_ends(
        shape in prop::collection::vec((any::<u8>(), 0..3_u8, 0..3_u8, any::<bool>()), 0..5),
        steps in prop::collection::vec(any_step(), 0..60),
        during in prop::collection::vec(any_step(), 0..10),
    ) {
        let mut world = World::new(&shape);
        for step in &steps {
            world.take(step);
        }
        world.take(&Step::Shutdown);
        for step in &during {
            if world.finished == 0 {
                world.take(step);
            }
        }
        // Nothing answers any more: every process ignores every signal. A unit has at most three
        // deadlines left: its start is answered, it is killed, it is abandoned.
        for _ in 0..3 * shape.len() {
            if world.finished == 0 {
                world.wait();
            }
        }
        prop_assert_eq!(world.finished, 1);
        let stopped = world.supervisor.states().all(|(_, state)| *state == State::Stopped);
        prop_assert!(stopped);
    }

    #[test]
    fn whatever_happened_every_unit_starts_once_all_goes_well(
        shape in prop::collection::vec((any::<u8>(), 0..3_u8, 0..3_u8, any::<bool>()), 0..5),
        steps in prop::collection::vec(any_step(), 0..60),
    ) {
        let mut world = World::new(&shape);
        for step in &steps {
            world.take(step);
        }
        for _ in 0..20 * (shape.len() + 1) {
            world.take(&Step::AnswerSpawn { choice: 0, works: true });
            world.take(&Step::Answer { choice: 0, good: true });
            // Those which are ready by ending, end.
            let ends = world.supervisor.services.values().find_map(|service| {
                let starting = matches!(service.state, State::Starting { .. });
                (starting && service.unit.ready == Ready::Exit).then_some(service.state.pid())
            });
            if let Some(Some(pid)) = ends {
                world.alive.remove(&pid.as_raw_nonzero().get());
                world.feed(Event::Exited { pid, exit: Exit::Status(0) });
            }
            world.wait();
        }
        let services = &world.supervisor.services;
        // Only a unit that may not be restarted can be out for good, and what comes after it.
        let mut out: BTreeSet<_> = services
            .iter()
            .filter(|(_, service)| !service.was_ready)
            .filter(|(_, service)| matches!(service.state, State::Failed(_) | State::Done))
            .map(|(name, _)| name.clone())
            .collect();
        for (name, service) in services {
            // `u0`, `u1`, ...: each comes after earlier ones only.
            if service.unit.after.keys().any(|after| out.contains(after)) {
                out.insert(name.clone());
            }
        }
        for (name, service) in services {
            prop_assert!(service.was_ready || out.contains(name), "{} {:?}", name, service.state);
        }
    }
}
