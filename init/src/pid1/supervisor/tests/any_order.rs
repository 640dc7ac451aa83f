//! Properties of the supervisor in a world where anything may happen in any order: no dead-lock,
//! no lost child, and every shutdown ends.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::process::Exit;
use crate::question::Question;
use crate::unit::{Asked, Liveness};

/// What is outside the supervisor: processes that start, answer and end as they like.
struct World {
    supervisor: Supervisor,
    now: Duration,
    alive: BTreeSet<i32>,
    probes: Vec<(UnitName, u32)>,
    /// Questions whether a unit hangs.
    asked: Vec<(UnitName, u32)>,
    spawns: Vec<UnitName>,
    /// Processes without their program yet.
    loads: Vec<(UnitName, i32)>,
    /// Of `stop-exec`s.
    stop_spawns: Vec<UnitName>,
    /// Every unit whose `stop-exec` was asked for.
    stopped_by_exec: Vec<UnitName>,
    next_pid: i32,
    abandoned: usize,
    finished: usize,
}

/// A step of the world; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    AnswerSpawn { choice: usize, works: bool },
    Load { choice: usize, works: bool },
    AnswerStopSpawn { choice: usize, works: bool },
    NotWanted { choice: usize },
    Exit { choice: usize, status: i32 },
    UnknownExit(i32),
    Answer { choice: usize, good: bool },
    StaleAnswer { choice: usize },
    Alive { choice: usize, good: bool },
    Pass(u64),
    Shutdown,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..8_usize, any::<bool>()).prop_map(|(choice, works)| Step::AnswerSpawn { choice, works }),
        8 => (0..8_usize, any::<bool>()).prop_map(|(choice, works)| Step::Load { choice, works }),
        4 => (0..8_usize, any::<bool>()).prop_map(|(choice, works)| Step::AnswerStopSpawn { choice, works }),
        2 => (0..8_usize).prop_map(|choice| Step::NotWanted { choice }),
        4 => (0..8_usize, 0..2_i32).prop_map(|(choice, status)| Step::Exit { choice, status }),
        1 => (1..200_i32).prop_map(Step::UnknownExit),
        6 => (0..8_usize, any::<bool>()).prop_map(|(choice, good)| Step::Answer { choice, good }),
        1 => (0..8_usize).prop_map(|choice| Step::StaleAnswer { choice }),
        4 => (0..8_usize, any::<bool>()).prop_map(|(choice, good)| Step::Alive { choice, good }),
        6 => (0..20_000_u64).prop_map(Step::Pass),
    ]
}

impl World {
    /// Units in an acyclic order: bit `i` of an entry says whether it comes after unit `i`, bit 5
    /// whether it has a `probe`, bit 6 whether it comes after the network, bit 7 whether it has a `stop-exec`.
    fn new(shape: &[(u8, u8, u8, bool)]) -> Self {
        let units = shape.iter().enumerate().map(|(index, (bits, ready, policy, cgroup))| {
            let mut after: Vec<_> =
                (0..index).filter(|i| bits & (1 << i) != 0).map(|i| format!("u{i}")).collect();
            if bits & 0x40 != 0 {
                after.push("network".to_owned());
            }
            let after: Vec<_> = after.iter().map(String::as_str).collect();
            let ready = ["\"exit\"", "\"started\"", SOCKET][usize::from(*ready)];
            let policies = ["on-failure", "never", "always"];
            // A unit that is ready by ending cannot be restarted always.
            let policy = usize::from(*policy) % if ready == "\"exit\"" { 2 } else { 3 };
            let kill = if *cgroup { "cgroup" } else { "process" };
            let mut unit = unit(&format!("u{index}"), &after, ready, policies[policy], kill);
            let asked =
                bits & 0x20 != 0 && unit.ready != Ready::Exit && policies[policy] != "never";
            unit.probe = asked.then(|| Liveness {
                asked: Asked::Question(Question::SocketAnswers("/run/x".into())),
                interval: s(5),
                timeout: s(2),
                failures: 2,
            });
            unit.stop_exec = (bits & 0x80 != 0).then(|| vec!["/stop".to_owned()]);
            unit
        });
        let built_in = built_in().map(|unit| {
            let probe =
                Liveness { asked: Asked::Channel, interval: s(5), timeout: s(2), failures: 2 };
            Unit { probe: Some(probe), ..unit }
        });
        let (units, refused) = Units::new(units.chain(built_in).collect());
        assert_eq!(refused, []);
        let mut world = Self {
            supervisor: Supervisor::new(&units),
            now: s(1),
            alive: BTreeSet::new(),
            probes: Vec::new(),
            asked: Vec::new(),
            spawns: Vec::new(),
            loads: Vec::new(),
            stop_spawns: Vec::new(),
            stopped_by_exec: Vec::new(),
            next_pid: 1000,
            abandoned: 0,
            finished: 0,
        };
        world.feed(Event::Start);
        world
    }

    fn feed(&mut self, event: Event) {
        self.step(event);
        self.check();
    }

    fn step(&mut self, event: Event) {
        for action in self.supervisor.step(self.now, event) {
            assert_eq!(self.finished, 0, "an action after the end: {action:?}");
            match action {
                Action::Spawn(unit) => {
                    let may = !self.supervisor.going_down() || unit == name("log");
                    assert!(may, "{unit} is started on the way down");
                    self.spawns.push(unit);
                }
                Action::SpawnStop(unit) => {
                    assert!(self.supervisor.going_down(), "{unit} is stopped on the way up");
                    assert!(!self.stopped_by_exec.contains(&unit), "{unit} is stopped twice");
                    self.stop_spawns.push(unit.clone());
                    self.stopped_by_exec.push(unit);
                }
                Action::StartProbe { unit, run } => self.probes.push((unit, run)),
                Action::Ask { unit, number } => {
                    assert!(!self.supervisor.going_down(), "{unit} is asked on the way down");
                    self.asked.push((unit, number));
                }
                Action::Announce(Change::Hangs { unit, .. }) => {
                    assert!(!self.supervisor.going_down(), "{unit} hangs on the way down");
                }
                Action::StopProbe(unit) => self.probes.retain(|(other, _)| *other != unit),
                Action::Kill(pid) | Action::Terminate { pid, .. } => {
                    let pid = pid.as_raw_nonzero().get();
                    assert!(self.alive.contains(&pid), "{pid} was signalled and is not alive");
                }
                Action::Announce(Change::Abandoned(_)) => self.abandoned += 1,
                Action::Finish(_) => self.finished += 1,
                Action::RestartMachine => panic!("no unit is worth it"),
                Action::KillGroup(_) | Action::Announce(_) => {}
            }
        }
    }

    /// No child is lost: what is alive is what the supervisor watches.
    fn check(&self) {
        let states: Vec<_> = self.supervisor.states().collect();
        let watched: BTreeSet<_> = states
            .iter()
            .flat_map(|(_, state)| [state.pid(), state.stop_pid()])
            .flatten()
            .chain(self.supervisor.left_behind().map(|(_, pid)| pid))
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
                    self.loads.push((unit.clone(), self.next_pid));
                    self.feed(Event::Forked { unit, pid: pid(self.next_pid) });
                } else {
                    self.feed(Event::SpawnFailed { unit, reason: "no".into() });
                }
            }
            Step::Load { choice, works } if !self.loads.is_empty() => {
                let (unit, number) = self.loads.remove(choice % self.loads.len());
                if works {
                    self.feed(Event::Spawned { unit, pid: pid(number) });
                } else {
                    self.step(Event::SpawnFailed { unit, reason: "no".into() });
                    self.alive.remove(&number);
                    self.feed(exited(number, 1));
                }
            }
            Step::AnswerStopSpawn { choice, works } if !self.stop_spawns.is_empty() => {
                let unit = self.stop_spawns.remove(choice % self.stop_spawns.len());
                if works {
                    self.next_pid += 1;
                    self.alive.insert(self.next_pid);
                    self.feed(Event::StopSpawned { unit, pid: pid(self.next_pid) });
                } else {
                    self.feed(Event::StopSpawnFailed { unit, reason: "no".into() });
                }
            }
            Step::NotWanted { choice } if !self.spawns.is_empty() => {
                let unit = self.spawns.remove(choice % self.spawns.len());
                self.feed(Event::NotWanted { unit, absent: "/x".into() });
            }
            Step::Exit { choice, status } if !self.alive.is_empty() => {
                let number = *self.alive.iter().nth(choice % self.alive.len()).expect("one");
                self.exit(number, Exit::Status(status));
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
            Step::Alive { choice, good } if !self.asked.is_empty() => {
                let (unit, number) = self.asked.remove(choice % self.asked.len());
                let result = if good { Ok(()) } else { Err("hangs".into()) };
                self.feed(Event::Answered { unit, number, result });
            }
            Step::Pass(milliseconds) => {
                self.now += ms(milliseconds);
                self.feed(Event::Tick);
            }
            Step::Shutdown => self.feed(Event::Shutdown(ShutdownKind::PowerOff)),
            _ => {}
        }
    }

    /// Who ends before it has its program is heard of as one that has it.
    fn exit(&mut self, number: i32, exit: Exit) {
        if let Some(at) = self.loads.iter().position(|(_, pid)| *pid == number) {
            let (unit, number) = self.loads.remove(at);
            self.feed(Event::Spawned { unit, pid: pid(number) });
        }
        self.alive.remove(&number);
        self.feed(Event::Exited { pid: pid(number), exit });
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
        // Nothing answers any more: every process ignores every signal. A unit has at most five
        // deadlines left: it is late, its `stop-exec` is killed and abandoned, then itself. Only
        // `log` is started again, which has one more and then ends with the patience for all.
        for _ in 0..5 * world.supervisor.services.len() + 2 {
            if world.finished == 0 {
                world.wait();
            }
        }
        prop_assert_eq!(world.finished, 1);
        let stopped = world.supervisor.states().all(|(_, state)| *state == State::Stopped);
        prop_assert!(stopped);
    }

    #[test]
    fn a_shutdown_stops_each_unit_before_what_it_comes_after(
        shape in prop::collection::vec((any::<u8>(), 0..3_u8, 0..3_u8, any::<bool>()), 0..5),
        steps in prop::collection::vec(any_step(), 0..60),
    ) {
        let mut world = World::new(&shape);
        for step in &steps {
            world.take(step);
        }
        world.take(&Step::Shutdown);
        // Everything ends when it is asked to.
        while world.finished == 0 {
            let services = &world.supervisor.services;
            for service in services {
                let name = &service.unit.name;
                let turn = matches!(
                    service.state,
                    State::StopExec { .. } | State::Stopping { .. }
                );
                let mut later = services.iter().filter(|other| other.state.active());
                let early = later.any(|other| match service.unit.built_in {
                    Some(BuiltIn::Log) => other.unit.name != *name,
                    _ => other.unit.comes_after(name),
                });
                prop_assert!(!(turn && early), "{} is stopped too early", name);
            }
            world.take(&Step::AnswerSpawn { choice: 0, works: true });
            world.take(&Step::AnswerStopSpawn { choice: 0, works: true });
            let asked = world.supervisor.services.iter().find_map(|service| {
                match service.state {
                    State::StopExec { stop_pid, .. } => stop_pid,
                    State::Stopping { pid, .. } => Some(pid),
                    _ => None,
                }
            });
            if let Some(pid) = asked {
                world.exit(pid.as_raw_nonzero().get(), Exit::Status(0));
            }
        }
        prop_assert_eq!(world.abandoned, 0);
        let left = world.supervisor.left_behind().map(|(_, pid)| pid.as_raw_nonzero().get());
        let left: BTreeSet<_> = left.collect();
        prop_assert_eq!(&world.alive, &left, "others are left");
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
        for _ in 0..20 * (shape.len() + 3) {
            world.take(&Step::AnswerSpawn { choice: 0, works: true });
            world.take(&Step::Load { choice: 0, works: true });
            world.take(&Step::Answer { choice: 0, good: true });
            while !world.asked.is_empty() {
                world.take(&Step::Alive { choice: 0, good: true });
            }
            // Those which are ready by ending, end, and those which were killed.
            let ends = world.supervisor.services.iter().find_map(|service| {
                let ends = match service.state {
                    State::Starting { .. } => service.unit.ready == Ready::Exit,
                    State::Hung { .. } => true,
                    _ => false,
                };
                ends.then_some(service.state.pid())
            });
            if let Some(Some(pid)) = ends {
                world.exit(pid.as_raw_nonzero().get(), Exit::Status(0));
            }
            world.wait();
        }
        let services = &world.supervisor.services;
        // Only a unit that may not be restarted can be out for good, and what comes after it.
        let mut out: BTreeSet<_> = services
            .iter()
            .filter(|service| !service.satisfies())
            .filter(|service| matches!(service.state, State::Failed(_) | State::Done))
            .map(|service| service.unit.name.clone())
            .collect();
        for service in services {
            // `u0`, `u1`, ...: each comes after earlier ones only.
            if service.unit.after.iter().any(|(after, _)| out.contains(after)) {
                out.insert(service.unit.name.clone());
            }
        }
        for service in services {
            let name = &service.unit.name;
            prop_assert!(service.satisfies() || out.contains(name), "{} {:?}", name, service.state);
        }
    }
}
