//! The supervisor's whole brain: events in, actions out, without a system call or a clock of its
//! own. [`crate::event_loop`] turns file descriptors into events and performs the actions.
//!
//! A unit is started when every unit it comes after was ready once; from then on each goes its
//! own way: the failure of one never stops or restarts another.

mod event;
mod liveness;
mod service;
mod state;
#[cfg(test)]
mod tests;

use std::time::Duration;

use rustix::process::Pid;

pub use event::{Action, Change, Ending, Event, Next, ShutdownKind};
pub use state::State;

use crate::pid1::built_in::BuiltIn;
use crate::process::Exit;
use crate::unit::{Ready, Unit, UnitName, Units};
use service::Service;

/// From `SIGKILL` to the end of our patience: a process in an uninterruptible sleep cannot die,
/// and must not keep the machine from going down, nor what is built in from being started anew.
pub const ABANDON_AFTER: Duration = Duration::from_secs(5);

/// From the request to the end of all patience, whatever the units' own times add up to.
pub const SHUTDOWN_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Starts, watches, restarts and stops units.
#[derive(Debug)]
pub struct Supervisor {
    // Invariant: the units of one `Units`, hence by name, acyclic, and closed under `after`.
    services: Vec<Service>,
    phase: Phase,
}

/// Where the whole stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Running { boot_complete: bool },
    Stopping { kind: ShutdownKind, until: Duration },
    Finished,
}

impl Supervisor {
    /// Nothing is started before [`Event::Start`].
    pub fn new(units: &Units) -> Self {
        Self { services: units.iter().map(Service::new).collect(), phase: Phase::Idle }
    }

    /// Takes in what happened at `now` (monotonic) and says what is to be done about it.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Start if self.phase == Phase::Idle => {
                self.phase = Phase::Running { boot_complete: false };
                self.services.iter_mut().for_each(|service| service.boot_began(now));
            }
            Event::Start | Event::Tick => {}
            Event::Forked { unit, pid } => match self.service_mut(&unit) {
                Some(service) => service.forked(now, pid, &mut actions),
                None => actions.push(Action::Kill(pid)),
            },
            Event::Spawned { unit, pid } => match self.service_mut(&unit) {
                Some(service) => service.spawned(now, pid, &mut actions),
                None => actions.push(Action::Kill(pid)),
            },
            Event::StopSpawned { unit, pid } => match self.service_mut(&unit) {
                Some(service) => service.stop_spawned(pid, &mut actions),
                None => actions.push(Action::Kill(pid)),
            },
            Event::SpawnFailed { unit, reason } => {
                if let Some(service) = self.service_mut(&unit) {
                    service.spawn_failed(now, reason, &mut actions);
                }
            }
            Event::NotWanted { unit, absent } => {
                if let Some(service) = self.service_mut(&unit) {
                    service.not_wanted(absent, &mut actions);
                }
            }
            Event::StopSpawnFailed { unit, reason } => {
                if let Some(service) = self.service_mut(&unit) {
                    service.stop_spawn_failed(now, reason, &mut actions);
                }
            }
            Event::Exited { pid, exit } => self.exited(now, pid, exit, &mut actions),
            Event::Ready { unit, run, detail } => {
                if let Some(service) = self.service_mut(&unit) {
                    service.probed(now, run, detail, &mut actions);
                }
            }
            Event::ProbeFailed { unit, run, reason } => {
                if let Some(service) = self.service_mut(&unit) {
                    service.probe_failed(run, reason);
                }
            }
            Event::Answered { unit, number, result } => {
                if let Some(service) = self.service_mut(&unit) {
                    service.answered(now, number, result, &mut actions);
                }
            }
            Event::Shutdown(kind) => self.shut_down(kind, now, &mut actions),
        }
        for service in &mut self.services {
            service.check_deadlines(now, &mut actions);
        }
        match self.phase {
            Phase::Running { boot_complete } => {
                self.look_again_after_a_one_shot(&actions);
                self.start_what_can_start(&mut actions);
                let complete = self.services.iter().all(Service::satisfies);
                if complete && !boot_complete {
                    self.phase = Phase::Running { boot_complete: true };
                    actions.push(Action::Announce(Change::BootComplete));
                }
                let mut services = self.services.iter_mut();
                if services.any(|service| service.is_given_up(now, &mut actions)) {
                    actions.push(Action::RestartMachine);
                }
            }
            Phase::Stopping { kind, until } => {
                if now >= until {
                    self.give_up(&mut actions);
                }
                self.stop_what_can_stop(kind, now, &mut actions);
            }
            Phase::Idle | Phase::Finished => {}
        }
        actions
    }

    /// When [`Event::Tick`] is wanted at the latest.
    pub fn next_deadline(&self) -> Option<Duration> {
        let whole = match self.phase {
            Phase::Stopping { until, .. } => Some(until),
            Phase::Running { .. } => self.services.iter().filter_map(Service::last_call).min(),
            _ => None,
        };
        self.services.iter().filter_map(Service::deadline).chain(whole).min()
    }

    /// Each unit and where it stands, by name.
    pub fn states(&self) -> impl Iterator<Item = (&UnitName, &State)> {
        self.services.iter().map(|service| (&service.unit.name, &service.state))
    }

    /// What a unit comes after that was not ready yet, by name.
    pub fn waits_for<'a>(&'a self, name: &UnitName) -> impl Iterator<Item = &'a UnitName> {
        let after = self.service(name).map(|service| service.unit.after.iter());
        let after = after.into_iter().flatten().map(|(after, _)| after);
        after.filter(|after| !self.satisfied(after))
    }

    /// A unit, as its file says.
    pub fn unit(&self, name: &UnitName) -> Option<&Unit> {
        self.service(name).map(|service| &service.unit)
    }

    /// Processes that were killed and have not ended, whose units were started anew.
    pub fn left_behind(&self) -> impl Iterator<Item = (&UnitName, Pid)> {
        self.services
            .iter()
            .flat_map(|service| service.left.iter().map(move |pid| (&service.unit.name, *pid)))
    }

    /// Whether the system is going down.
    pub fn going_down(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. } | Phase::Finished)
    }

    fn service(&self, name: &UnitName) -> Option<&Service> {
        self.services.iter().find(|service| service.unit.name == *name)
    }

    fn service_mut(&mut self, name: &UnitName) -> Option<&mut Service> {
        self.services.iter_mut().find(|service| service.unit.name == *name)
    }

    fn satisfied(&self, name: &UnitName) -> bool {
        self.service(name).is_some_and(Service::satisfies)
    }

    fn exited(&mut self, now: Duration, pid: Pid, exit: Exit, actions: &mut Vec<Action>) {
        for service in &mut self.services {
            if service.state.pid() == Some(pid) {
                return service.exited(now, exit, actions);
            }
            if service.state.stop_pid() == Some(pid) {
                return service.stop_exited(now, Ending::Exit(exit), actions);
            }
            service.left.retain(|left| *left != pid);
        }
        // Another pid is an orphan's: it is reaped, and that is all.
    }

    /// A one-shot prepares something: what was not wanted may be wanted now, each in its order. What
    /// is looked at again does not count as news, so this ends.
    fn look_again_after_a_one_shot(&mut self, actions: &[Action]) {
        let one_shot = |action: &Action| match action {
            Action::Announce(Change::Ready { unit, .. }) => {
                self.service(unit).is_some_and(|service| service.unit.ready == Ready::Exit)
            }
            _ => false,
        };
        if actions.iter().any(one_shot) {
            for service in &mut self.services {
                service.look_again |= matches!(service.state, State::NotWanted { .. });
            }
        }
    }

    fn start_what_can_start(&mut self, actions: &mut Vec<Action>) {
        let can_start = |service: &Service| {
            (service.state == State::Waiting || service.look_again)
                && service.unit.after.iter().all(|(after, _)| self.satisfied(after))
        };
        let can_start: Vec<bool> = self.services.iter().map(can_start).collect();
        for (service, _) in self.services.iter_mut().zip(can_start).filter(|(_, can)| *can) {
            service.spawn(actions);
        }
    }

    fn shut_down(&mut self, kind: ShutdownKind, now: Duration, actions: &mut Vec<Action>) {
        if self.going_down() {
            return;
        }
        self.phase = Phase::Stopping { kind, until: now + SHUTDOWN_LIMIT };
        actions.push(Action::Announce(Change::ShutdownBegan(kind)));
        self.services.iter_mut().for_each(|service| service.shutdown_began());
    }

    /// Asks those to end which nothing that runs comes after; the last to end finishes.
    fn stop_what_can_stop(&mut self, kind: ShutdownKind, now: Duration, actions: &mut Vec<Action>) {
        // What reads the output of the others is needed until the last of them has ended.
        let needed = |unit: &Unit| {
            let mut active = self.services.iter().filter(|other| other.state.active());
            let last = unit.built_in == Some(BuiltIn::Log);
            active.any(|other| match last {
                true => other.unit.name != unit.name,
                false => other.unit.comes_after(&unit.name),
            })
        };
        let needed: Vec<bool> = self.services.iter().map(|of| needed(&of.unit)).collect();
        for (service, _) in self.services.iter_mut().zip(needed).filter(|(_, needed)| !needed) {
            service.stop(now, actions);
        }
        if !self.services.iter().any(|service| service.state.active()) {
            self.phase = Phase::Finished;
            actions.push(Action::Finish(kind));
        }
    }

    fn give_up(&mut self, actions: &mut Vec<Action>) {
        actions.push(Action::Announce(Change::ShutdownLate));
        self.services.iter_mut().for_each(|service| service.give_up(actions));
    }
}
