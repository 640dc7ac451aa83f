//! The supervisor's whole brain: events in, actions out, without a system call or a clock of its
//! own. [`crate::event_loop`] turns file descriptors into events and performs the actions.
//!
//! A unit is started when every unit it comes after was ready once; from then on each goes its
//! own way: the failure of one never stops or restarts another.

mod event;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Pid;

pub use event::{Action, Change, Ending, Event, Next, ShutdownKind};

use crate::process::Exit;
use crate::unit::{Kill, Policy, Ready, Unit, UnitName, Units};

/// From `SIGKILL` to the end of our patience: a process in an uninterruptible sleep cannot die,
/// and must not keep the machine from going down.
pub const ABANDON_AFTER: Duration = Duration::from_secs(5);

/// Starts, watches, restarts and stops units.
#[derive(Debug)]
pub struct Supervisor {
    // Invariant: the units of one `Units`, hence acyclic and closed under `after`.
    services: BTreeMap<UnitName, Service>,
    phase: Phase,
}

/// Where the whole stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Running { boot_complete: bool },
    Stopping(ShutdownKind),
    Finished,
}

#[derive(Debug)]
struct Service {
    unit: Unit,
    state: State,
    /// Counts the starts.
    run: u32,
    /// Ends since it was last healthy.
    failures: u32,
    /// Satisfies those which come after it, for good.
    was_ready: bool,
}

/// Where a unit stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// What it comes after was not ready yet.
    Waiting,
    /// [`Action::Spawn`] was given and not answered.
    Spawning,
    /// Its process runs; it is not known to work.
    Starting {
        /// Its process.
        pid: Pid,
        /// When it was started.
        since: Duration,
        /// Its deadline has passed.
        late: bool,
        /// What its probe said last.
        reason: Option<String>,
    },
    /// It works.
    Ready {
        /// Its process.
        pid: Pid,
        /// Since when.
        since: Duration,
        /// From start to ready.
        took: Duration,
        /// What its probe learnt.
        detail: String,
    },
    /// It ended and will be started again.
    Backoff {
        /// When.
        until: Duration,
        /// How it ended.
        ending: Ending,
    },
    /// It ended as it should.
    Done,
    /// It ended and stays so.
    Failed(Ending),
    /// It was asked to end, or will be as soon as its process is known.
    Stopping {
        /// Its process.
        pid: Option<Pid>,
        /// When patience ends: with the request, then with `SIGKILL`.
        until: Duration,
        /// `SIGKILL` was sent.
        killed: bool,
    },
    /// The system goes down and it does not run.
    Stopped,
}

impl State {
    fn pid(&self) -> Option<Pid> {
        match self {
            Self::Starting { pid, .. } | Self::Ready { pid, .. } => Some(*pid),
            Self::Stopping { pid, .. } => *pid,
            _ => None,
        }
    }

    fn active(&self) -> bool {
        matches!(
            self,
            Self::Spawning | Self::Starting { .. } | Self::Ready { .. } | Self::Stopping { .. }
        )
    }
}

impl Supervisor {
    /// Nothing is started before [`Event::Start`].
    pub fn new(units: &Units) -> Self {
        let service = |unit: &Unit| Service {
            unit: unit.clone(),
            state: State::Waiting,
            run: 0,
            failures: 0,
            was_ready: false,
        };
        let services = units.iter().map(|unit| (unit.name.clone(), service(unit))).collect();
        Self { services, phase: Phase::Idle }
    }

    /// Takes in what happened at `now` (monotonic) and says what is to be done about it.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        let going_down = self.going_down();
        match event {
            Event::Start if self.phase == Phase::Idle => {
                self.phase = Phase::Running { boot_complete: false };
            }
            Event::Start | Event::Tick => {}
            Event::Spawned { unit, pid } => self.spawned(now, &unit, pid, &mut actions),
            Event::SpawnFailed { unit, reason } => {
                if let Some(service) = self.services.get_mut(&unit) {
                    service.spawn_failed(now, reason, &mut actions);
                }
            }
            Event::Exited { pid, exit } => {
                let mut services = self.services.values_mut();
                // Another pid is an orphan's: it is reaped, and that is all.
                if let Some(service) = services.find(|service| service.state.pid() == Some(pid)) {
                    service.exited(now, exit, going_down, &mut actions);
                }
            }
            Event::Ready { unit, run, detail } => {
                if let Some(service) = self.services.get_mut(&unit) {
                    service.probed(now, run, detail, &mut actions);
                }
            }
            Event::ProbeFailed { unit, run, reason: new } => {
                if let Some(service) = self.services.get_mut(&unit)
                    && service.run == run
                    && let State::Starting { reason, .. } = &mut service.state
                {
                    *reason = Some(new);
                }
            }
            Event::Shutdown(kind) => self.shut_down(kind, now, &mut actions),
        }
        for service in self.services.values_mut() {
            service.check_deadlines(now, &mut actions);
        }
        match self.phase {
            Phase::Running { boot_complete } => {
                self.start_what_can_start(&mut actions);
                let complete = self.services.values().all(|service| service.was_ready);
                if complete && !boot_complete {
                    self.phase = Phase::Running { boot_complete: true };
                    actions.push(Action::Announce(Change::BootComplete));
                }
            }
            Phase::Stopping(kind) => self.stop_what_can_stop(kind, now, &mut actions),
            Phase::Idle | Phase::Finished => {}
        }
        actions
    }

    /// When [`Event::Tick`] is wanted at the latest.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.services.values().filter_map(Service::deadline).min()
    }

    /// Each unit and where it stands, by name.
    pub fn states(&self) -> impl Iterator<Item = (&UnitName, &State)> {
        self.services.iter().map(|(name, service)| (name, &service.state))
    }

    /// A unit, as its file says.
    pub fn unit(&self, name: &UnitName) -> Option<&Unit> {
        self.services.get(name).map(|service| &service.unit)
    }

    /// Whether the system is going down.
    pub fn going_down(&self) -> bool {
        matches!(self.phase, Phase::Stopping(_) | Phase::Finished)
    }

    fn spawned(&mut self, now: Duration, unit: &UnitName, pid: Pid, actions: &mut Vec<Action>) {
        match self.services.get_mut(unit) {
            Some(service) if service.state == State::Spawning => {
                service.spawned(now, pid, actions);
            }
            Some(service) if matches!(service.state, State::Stopping { pid: None, .. }) => {
                let until = now + service.unit.stop_timeout;
                service.state = State::Stopping { pid: Some(pid), until, killed: false };
                actions.push(Action::Terminate { unit: unit.clone(), pid });
            }
            // Nobody asked for it, so nobody would watch it.
            _ => actions.push(Action::Kill(pid)),
        }
    }

    fn start_what_can_start(&mut self, actions: &mut Vec<Action>) {
        let can_start = |service: &Service| {
            service.state == State::Waiting
                && service.unit.after.keys().all(|after| self.services[after].was_ready)
        };
        let names: Vec<_> = self
            .services
            .iter()
            .filter(|(_, service)| can_start(service))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            if let Some(service) = self.services.get_mut(&name) {
                service.spawn(actions);
            }
        }
    }

    fn shut_down(&mut self, kind: ShutdownKind, now: Duration, actions: &mut Vec<Action>) {
        if self.going_down() {
            return;
        }
        self.phase = Phase::Stopping(kind);
        actions.push(Action::Announce(Change::ShutdownBegan(kind)));
        for service in self.services.values_mut() {
            if service.state == State::Spawning {
                let until = now + service.unit.stop_timeout;
                service.state = State::Stopping { pid: None, until, killed: false };
            } else if !service.state.active() {
                service.state = State::Stopped;
            }
        }
    }

    /// Asks those to end which nothing that runs comes after; the last to end finishes.
    fn stop_what_can_stop(&mut self, kind: ShutdownKind, now: Duration, actions: &mut Vec<Action>) {
        let needed = |name: &UnitName| {
            let mut active = self.services.values().filter(|other| other.state.active());
            active.any(|other| other.unit.after.contains_key(name))
        };
        let names: Vec<_> = self.services.keys().filter(|name| !needed(name)).cloned().collect();
        for name in names {
            let Some(service) = self.services.get_mut(&name) else { continue };
            let (State::Starting { pid, .. } | State::Ready { pid, .. }) = service.state else {
                continue;
            };
            service.stop_probe(actions);
            let until = now + service.unit.stop_timeout;
            service.state = State::Stopping { pid: Some(pid), until, killed: false };
            actions.push(Action::Terminate { unit: name, pid });
        }
        if !self.services.values().any(|service| service.state.active()) {
            self.phase = Phase::Finished;
            actions.push(Action::Finish(kind));
        }
    }
}

impl Service {
    fn spawn(&mut self, actions: &mut Vec<Action>) {
        self.state = State::Spawning;
        self.run = self.run.wrapping_add(1);
        actions.push(Action::Spawn(self.unit.name.clone()));
    }

    fn spawned(&mut self, now: Duration, pid: Pid, actions: &mut Vec<Action>) {
        let unit = self.unit.name.clone();
        actions.push(Action::Announce(Change::Started(unit.clone())));
        self.state = State::Starting { pid, since: now, late: false, reason: None };
        match self.unit.ready {
            Ready::Started => self.probed(now, self.run, String::new(), actions),
            Ready::Exit => {}
            _ => actions.push(Action::StartProbe { unit, run: self.run }),
        }
    }

    fn spawn_failed(&mut self, now: Duration, reason: String, actions: &mut Vec<Action>) {
        match self.state {
            State::Spawning => self.ended(now, Ending::NotStarted(reason), actions),
            State::Stopping { pid: None, .. } => self.stopped(actions),
            _ => {}
        }
    }

    /// Only what has a process of ours is probed; an answer to an earlier run comes too late.
    fn probed(&mut self, now: Duration, run: u32, detail: String, actions: &mut Vec<Action>) {
        let State::Starting { pid, since, .. } = self.state else { return };
        if self.run != run || self.unit.ready == Ready::Exit {
            return;
        }
        let took = now.saturating_sub(since);
        self.was_ready = true;
        self.state = State::Ready { pid, since: now, took, detail: detail.clone() };
        let unit = self.unit.name.clone();
        actions.push(Action::Announce(Change::Ready { unit, after: took, detail }));
    }

    fn exited(&mut self, now: Duration, exit: Exit, going_down: bool, actions: &mut Vec<Action>) {
        self.stop_probe(actions);
        if self.unit.kill == Kill::Cgroup {
            // What it left behind must not meet its next run.
            actions.push(Action::KillGroup(self.unit.name.clone()));
        }
        match self.state {
            // Also one whose turn to be stopped had not come yet.
            _ if going_down => self.stopped(actions),
            State::Starting { since, .. } if self.unit.ready == Ready::Exit && exit.success() => {
                self.was_ready = true;
                self.state = State::Done;
                let after = now.saturating_sub(since);
                let unit = self.unit.name.clone();
                let change = Change::Ready { unit, after, detail: String::new() };
                actions.push(Action::Announce(change));
            }
            _ => self.ended(now, Ending::Exit(exit), actions),
        }
    }

    fn stopped(&mut self, actions: &mut Vec<Action>) {
        self.state = State::Stopped;
        actions.push(Action::Announce(Change::Stopped(self.unit.name.clone())));
    }

    fn ended(&mut self, now: Duration, ending: Ending, actions: &mut Vec<Action>) {
        let restart = self.unit.restart;
        if let State::Ready { since, .. } = self.state
            && now.saturating_sub(since) >= restart.backoff_max
        {
            self.failures = 0;
        }
        let success = matches!(ending, Ending::Exit(exit) if exit.success());
        let again = match restart.policy {
            Policy::Always => true,
            Policy::OnFailure => !success,
            Policy::Never => false,
        };
        let next = if again {
            let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
            let wait = restart.backoff_min.saturating_mul(factor).min(restart.backoff_max);
            self.failures = self.failures.saturating_add(1);
            self.state = State::Backoff { until: now + wait, ending: ending.clone() };
            Next::RestartIn(wait)
        } else if success {
            self.state = State::Done;
            Next::Done
        } else {
            self.state = State::Failed(ending.clone());
            Next::Failed
        };
        let unit = self.unit.name.clone();
        actions.push(Action::Announce(Change::Ended { unit, ending, next }));
    }

    fn stop_probe(&self, actions: &mut Vec<Action>) {
        let probes = !matches!(self.unit.ready, Ready::Exit | Ready::Started);
        if probes && matches!(self.state, State::Starting { .. }) {
            actions.push(Action::StopProbe(self.unit.name.clone()));
        }
    }

    fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Starting { since, late: false, .. } => Some(since + self.unit.deadline),
            State::Backoff { until, .. } | State::Stopping { until, .. } => Some(until),
            _ => None,
        }
    }

    fn check_deadlines(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let unit = self.unit.name.clone();
        match &mut self.state {
            State::Starting { late, reason, .. } => {
                *late = true;
                let (deadline, reason) = (self.unit.deadline, reason.clone());
                actions.push(Action::Announce(Change::Late { unit, deadline, reason }));
            }
            State::Backoff { .. } => self.spawn(actions),
            State::Stopping { pid: Some(pid), until, killed: killed @ false } => {
                (*until, *killed) = (now + ABANDON_AFTER, true);
                actions.push(Action::Announce(Change::Killed(unit.clone())));
                actions.push(Action::Kill(*pid));
                if self.unit.kill == Kill::Cgroup {
                    actions.push(Action::KillGroup(unit));
                }
            }
            State::Stopping { .. } => {
                self.state = State::Stopped;
                actions.push(Action::Announce(Change::Abandoned(unit)));
            }
            _ => {}
        }
    }
}
