//! One unit as the supervisor follows it: its state, and how each event changes that.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Pid;

use super::ABANDON_AFTER;
use super::event::{Action, Change, Ending, Next};
use super::liveness::{Answers, Hang, Turn};
use crate::pid1::built_in::BuiltIn;
use crate::process::Exit;
use crate::unit::{Kill, Policy, Ready, Unit};

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
    /// Its `only-if-exists` is not there. Looked at again when a one-shot unit is done.
    NotWanted {
        /// What is not there.
        absent: PathBuf,
    },
    /// It ended as it should.
    Done,
    /// It ended and stays so.
    Failed(Ending),
    /// The system goes down; it does not run, and its `stop-exec` will in its turn.
    StopExecDue,
    /// The system goes down and its `stop-exec` runs.
    StopExec {
        /// Its process, if it runs.
        pid: Option<Pid>,
        /// That of its `stop-exec`, once it is known.
        stop_pid: Option<Pid>,
        /// When patience ends: with the `stop-exec`, then with `SIGKILL`.
        until: Duration,
        /// `SIGKILL` was sent to the `stop-exec`.
        killed: bool,
    },
    /// It was asked to end.
    Stopping {
        /// Its process.
        pid: Pid,
        /// When patience ends: with the request, then with `SIGKILL`.
        until: Duration,
        /// `SIGKILL` was sent.
        killed: bool,
    },
    /// The system goes down and it does not run.
    Stopped,
}

impl State {
    /// The unit's process, if it runs and is known.
    pub(super) fn pid(&self) -> Option<Pid> {
        match self {
            Self::Starting { pid, .. } | Self::Ready { pid, .. } | Self::Stopping { pid, .. } => {
                Some(*pid)
            }
            Self::StopExec { pid, .. } => *pid,
            _ => None,
        }
    }

    /// The process of its `stop-exec`, if it runs and is known.
    pub(super) fn stop_pid(&self) -> Option<Pid> {
        match self {
            Self::StopExec { stop_pid, .. } => *stop_pid,
            _ => None,
        }
    }

    /// Whether a shutdown has to wait for it.
    pub(super) fn active(&self) -> bool {
        matches!(
            self,
            Self::Spawning
                | Self::Starting { .. }
                | Self::Ready { .. }
                | Self::StopExecDue
                | Self::StopExec { .. }
                | Self::Stopping { .. }
        )
    }
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) unit: Unit,
    pub(super) state: State,
    /// Counts the starts.
    run: u32,
    /// Ends since it was last healthy.
    failures: u32,
    /// It did what it is for at least once. That satisfies those which come after it, for good, and
    /// there is something to stop.
    worked: bool,
    /// It was not wanted, and may be now: its `only-if-exists` is to be looked at again.
    pub(super) look_again: bool,
    /// People know that it is not wanted.
    told_not_wanted: bool,
    /// Whether it still answers.
    answers: Answers,
    /// It does not, and was killed for it.
    hung: bool,
    /// The system goes down: it is not asked anything, and not started again unless it is `log`.
    going_down: bool,
}

impl Service {
    pub(super) fn new(unit: &Unit) -> Self {
        Self {
            unit: unit.clone(),
            state: State::Waiting,
            run: 0,
            failures: 0,
            worked: false,
            look_again: false,
            told_not_wanted: false,
            answers: Answers::default(),
            hung: false,
            going_down: false,
        }
    }

    /// Whether those which come after it need not wait for it: it was ready once, or is not wanted.
    pub(super) fn satisfies(&self) -> bool {
        self.worked || matches!(self.state, State::NotWanted { .. }) && !self.look_again
    }

    pub(super) fn spawn(&mut self, actions: &mut Vec<Action>) {
        self.state = State::Spawning;
        self.look_again = false;
        self.run = self.run.wrapping_add(1);
        actions.push(Action::Spawn(self.unit.name.clone()));
    }

    pub(super) fn spawned(&mut self, now: Duration, pid: Pid, actions: &mut Vec<Action>) {
        // Nobody asked for it, so nobody would watch it.
        if self.state != State::Spawning {
            return actions.push(Action::Kill(pid));
        }
        let unit = self.unit.name.clone();
        actions.push(Action::Announce(Change::Started(unit.clone())));
        self.told_not_wanted = false;
        self.state = State::Starting { pid, since: now, late: false, reason: None };
        match self.unit.ready {
            Ready::Started => self.probed(now, self.run, String::new(), actions),
            Ready::Exit => {}
            _ if self.going_down && !self.is_needed_to_the_end() => {}
            _ => actions.push(Action::StartProbe { unit, run: self.run }),
        }
    }

    pub(super) fn spawn_failed(
        &mut self,
        now: Duration,
        reason: String,
        actions: &mut Vec<Action>,
    ) {
        match self.state {
            State::Spawning if self.going_down && !self.is_needed_to_the_end() => {
                self.does_not_run(actions);
            }
            State::Spawning => self.ended(now, Ending::NotStarted(reason), actions),
            _ => {}
        }
    }

    pub(super) fn not_wanted(&mut self, absent: PathBuf, actions: &mut Vec<Action>) {
        match self.state {
            State::Spawning if self.going_down => return self.does_not_run(actions),
            State::Spawning => {}
            _ => return,
        }
        if !std::mem::replace(&mut self.told_not_wanted, true) {
            let (unit, absent) = (self.unit.name.clone(), absent.clone());
            actions.push(Action::Announce(Change::NotWanted { unit, absent }));
        }
        self.state = State::NotWanted { absent };
    }

    /// Only what has a process of ours is probed; an answer to an earlier run comes too late.
    pub(super) fn probed(
        &mut self,
        now: Duration,
        run: u32,
        detail: String,
        actions: &mut Vec<Action>,
    ) {
        let State::Starting { pid, since, .. } = self.state else { return };
        if self.run != run || self.unit.ready == Ready::Exit {
            return;
        }
        let took = now.saturating_sub(since);
        self.worked = true;
        self.state = State::Ready { pid, since: now, took, detail: detail.clone() };
        if let Some(probe) = self.unit.probe.as_ref().filter(|_| !self.going_down) {
            self.answers.begin(now, probe);
        }
        let unit = self.unit.name.clone();
        actions.push(Action::Announce(Change::Ready { unit, after: took, detail }));
    }

    pub(super) fn probe_failed(&mut self, run: u32, new: String) {
        if self.run == run
            && let State::Starting { reason, .. } = &mut self.state
        {
            *reason = Some(new);
        }
    }

    pub(super) fn answered(
        &mut self,
        now: Duration,
        number: u32,
        result: Result<(), String>,
        actions: &mut Vec<Action>,
    ) {
        if let Some(probe) = &self.unit.probe
            && let Some(hang) = self.answers.answered(now, number, result, probe)
        {
            self.kill_for(hang, actions);
        }
    }

    /// Its state stays what it is until it has ended.
    fn kill_for(&mut self, hang: Hang, actions: &mut Vec<Action>) {
        let State::Ready { pid, .. } = self.state else { return };
        self.hung = true;
        let Hang { failures, reason } = hang;
        let unit = self.unit.name.clone();
        actions.push(Action::Announce(Change::Hangs { unit, failures, reason }));
        actions.push(Action::Kill(pid));
        self.kill_group(actions);
    }

    pub(super) fn exited(&mut self, now: Duration, exit: Exit, actions: &mut Vec<Action>) {
        self.stop_probe(actions);
        self.answers.end();
        let hung = std::mem::take(&mut self.hung);
        let is_over = self.going_down && !self.is_needed_to_the_end();
        match &mut self.state {
            // Its `stop-exec` is in its group too, so that waits.
            State::StopExec { pid, .. } => *pid = None,
            State::Stopping { .. } => self.stopped(actions),
            // Its turn to be stopped had not come yet.
            _ if is_over => {
                self.kill_group(actions);
                if self.unit.stop_exec.is_some() {
                    self.state = State::StopExecDue;
                } else {
                    self.end_as_stopped(actions);
                }
            }
            State::Starting { since, .. } if self.unit.ready == Ready::Exit && exit.success() => {
                let after = now.saturating_sub(*since);
                self.kill_group(actions);
                self.worked = true;
                self.state = State::Done;
                let unit = self.unit.name.clone();
                let change = Change::Ready { unit, after, detail: String::new() };
                actions.push(Action::Announce(change));
            }
            _ => {
                // What it left behind must not meet its next run.
                self.kill_group(actions);
                let ending = if hung { Ending::Hung } else { Ending::Exit(exit) };
                self.ended(now, ending, actions);
            }
        }
    }

    /// The system goes down: nothing is started any more but `log`. What is being started waits for
    /// its turn like what runs, for others need it as much.
    pub(super) fn shutdown_began(&mut self) {
        self.going_down = true;
        self.answers.end();
        match self.state {
            State::Backoff { .. } if self.is_needed_to_the_end() => {}
            State::Done | State::Failed(_) | State::Backoff { .. } if self.stop_exec_is_due() => {
                self.state = State::StopExecDue;
            }
            _ if self.state.active() => {}
            _ => self.state = State::Stopped,
        }
    }

    /// Without `log` the others stand still as soon as their pipes are full, so it is started again
    /// on the way down too.
    fn is_needed_to_the_end(&self) -> bool {
        self.unit.built_in == Some(BuiltIn::Log)
    }

    /// It was started on the way down and does not run.
    fn does_not_run(&mut self, actions: &mut Vec<Action>) {
        if self.stop_exec_is_due() {
            self.state = State::StopExecDue;
        } else {
            self.stopped(actions);
        }
    }

    fn stop_exec_is_due(&self) -> bool {
        self.worked && self.unit.stop_exec.is_some()
    }

    /// Its turn has come: does nothing if it is being stopped already, or not known to run yet.
    pub(super) fn stop(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let pid = match self.state {
            State::Starting { pid, .. } | State::Ready { pid, .. } => Some(pid),
            State::StopExecDue => None,
            // It would be started again, and nobody needs it any more.
            State::Backoff { .. } => return self.state = State::Stopped,
            _ => return,
        };
        self.stop_probe(actions);
        if self.unit.stop_exec.is_none() {
            return self.terminate(now, pid, actions);
        }
        let unit = self.unit.name.clone();
        let until = now + self.unit.stop_timeout;
        self.state = State::StopExec { pid, stop_pid: None, until, killed: false };
        actions.push(Action::Announce(Change::StopExecBegan(unit.clone())));
        actions.push(Action::SpawnStop(unit));
    }

    pub(super) fn stop_spawned(&mut self, new: Pid, actions: &mut Vec<Action>) {
        match &mut self.state {
            State::StopExec { stop_pid: stop_pid @ None, .. } => *stop_pid = Some(new),
            // It comes too late, or nobody asked for it.
            _ => actions.push(Action::Kill(new)),
        }
    }

    pub(super) fn stop_spawn_failed(
        &mut self,
        now: Duration,
        reason: String,
        actions: &mut Vec<Action>,
    ) {
        if matches!(self.state, State::StopExec { stop_pid: None, .. }) {
            self.stop_exited(now, Ending::NotStarted(reason), actions);
        }
    }

    /// Its `stop-exec` is over: now the unit itself.
    pub(super) fn stop_exited(&mut self, now: Duration, ending: Ending, actions: &mut Vec<Action>) {
        let State::StopExec { pid, .. } = self.state else { return };
        let unit = self.unit.name.clone();
        actions.push(Action::Announce(Change::StopExecEnded { unit, ending }));
        self.terminate(now, pid, actions);
    }

    /// Asks its process to end; without one it has stopped.
    fn terminate(&mut self, now: Duration, pid: Option<Pid>, actions: &mut Vec<Action>) {
        let Some(pid) = pid else { return self.stopped(actions) };
        let until = now + self.unit.stop_timeout;
        self.state = State::Stopping { pid, until, killed: false };
        actions.push(Action::Terminate { unit: self.unit.name.clone(), pid });
    }

    fn stopped(&mut self, actions: &mut Vec<Action>) {
        self.kill_group(actions);
        self.end_as_stopped(actions);
    }

    fn end_as_stopped(&mut self, actions: &mut Vec<Action>) {
        self.state = State::Stopped;
        actions.push(Action::Announce(Change::Stopped(self.unit.name.clone())));
    }

    fn kill_group(&self, actions: &mut Vec<Action>) {
        if self.unit.kill == Kill::Cgroup {
            actions.push(Action::KillGroup(self.unit.name.clone()));
        }
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

    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Starting { since, late: false, .. } => Some(since + self.unit.deadline),
            State::Backoff { until, .. }
            | State::StopExec { until, .. }
            | State::Stopping { until, .. } => Some(until),
            State::Ready { .. } => self.answers.deadline(),
            _ => None,
        }
    }

    pub(super) fn check_deadlines(&mut self, now: Duration, actions: &mut Vec<Action>) {
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
            State::Ready { .. } => {
                let Some(probe) = &self.unit.probe else { return };
                match self.answers.turn(now, probe) {
                    Some(Turn::Ask(number)) => actions.push(Action::Ask { unit, number }),
                    Some(Turn::Hangs(hang)) => self.kill_for(hang, actions),
                    None => {}
                }
            }
            State::StopExec { stop_pid: Some(pid), until, killed: killed @ false, .. } => {
                (*until, *killed) = (now + ABANDON_AFTER, true);
                actions.push(Action::Announce(Change::StopExecLate(unit)));
                actions.push(Action::Kill(*pid));
            }
            &mut State::StopExec { pid, .. } => {
                actions.push(Action::Announce(Change::Abandoned(unit)));
                self.terminate(now, pid, actions);
            }
            State::Stopping { pid, until, killed: killed @ false } => {
                (*until, *killed) = (now + ABANDON_AFTER, true);
                actions.push(Action::Announce(Change::Killed(unit)));
                actions.push(Action::Kill(*pid));
                self.kill_group(actions);
            }
            State::Stopping { .. } => {
                self.state = State::Stopped;
                actions.push(Action::Announce(Change::Abandoned(unit)));
            }
            _ => {}
        }
    }

    /// Kills what runs and does not wait for it.
    pub(super) fn give_up(&mut self, actions: &mut Vec<Action>) {
        if !self.state.active() {
            return;
        }
        self.stop_probe(actions);
        let running = [self.state.pid(), self.state.stop_pid()];
        actions.extend(running.into_iter().flatten().map(Action::Kill));
        self.kill_group(actions);
        self.state = State::Stopped;
        actions.push(Action::Announce(Change::Abandoned(self.unit.name.clone())));
    }
}
