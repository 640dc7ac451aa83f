//! One unit as the supervisor follows it: how each event changes its state.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Pid;

use super::ABANDON_AFTER;
use super::event::{Action, Change, Ending, Next};
use super::liveness::{Answers, Hang, Turn};
use super::state::State;
use crate::pid1::built_in::BuiltIn;
use crate::process::Exit;
use crate::unit::{Asked, Kill, Policy, Ready, Unit};

/// Processes of a unit that were killed and have not ended at most, beside which it is started anew:
/// each keeps its memory.
const MOST_LEFT: usize = 4;

/// From when on a unit is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Start,
    Ready,
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
    /// Earlier processes that were killed and have not ended.
    pub(super) left: Vec<Pid>,
    /// The system goes down: it is not asked anything, and not started again unless it is `log`.
    going_down: bool,
    /// When the machine is restarted unless it was ready once.
    last_call: Option<Duration>,
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
            left: Vec::new(),
            going_down: false,
            last_call: None,
        }
    }

    /// Units are started from `now` on, whenever its own turn comes.
    pub(super) fn boot_began(&mut self, now: Duration) {
        self.last_call = self.unit.restart_machine_after.map(|after| now + after);
    }

    /// Whether the boot is to be given up for it. Is so once.
    pub(super) fn is_given_up(&mut self, now: Duration, actions: &mut Vec<Action>) -> bool {
        let over = self.last_call().is_some_and(|until| until <= now);
        if over {
            self.last_call = None;
            let (unit, after) = (self.unit.name.clone(), self.unit.restart_machine_after);
            let after = after.unwrap_or_default();
            actions.push(Action::Announce(Change::GivenUp { unit, after }));
        }
        over
    }

    /// Until then it must have been ready once, or be unwanted.
    pub(super) fn last_call(&self) -> Option<Duration> {
        self.last_call.filter(|_| !self.satisfies())
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

    pub(super) fn forked(&mut self, now: Duration, pid: Pid, actions: &mut Vec<Action>) {
        // Nobody asked for it, so nobody would watch it.
        if self.state != State::Spawning {
            return actions.push(Action::Kill(pid));
        }
        self.state = State::Loading { pid, since: now, late: false };
    }

    pub(super) fn spawned(&mut self, now: Duration, pid: Pid, actions: &mut Vec<Action>) {
        let (since, late) = match self.state {
            // It was not told before that there is a process.
            State::Spawning => (now, false),
            State::Loading { pid: known, since, late } if known == pid => (since, late),
            // Its end was asked for meanwhile.
            _ if self.state.pid() == Some(pid) => return,
            _ => return actions.push(Action::Kill(pid)),
        };
        let unit = self.unit.name.clone();
        actions.push(Action::Announce(Change::Started(unit.clone())));
        self.told_not_wanted = false;
        self.state = State::Starting { pid, since, late, reason: None };
        self.begin_to_ask(now, Since::Start);
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
            State::Spawning | State::Loading { .. }
                if self.going_down && !self.is_needed_to_the_end() =>
            {
                self.does_not_run(actions);
            }
            State::Spawning | State::Loading { .. } => {
                self.ended(now, Ending::NotStarted(reason), actions)
            }
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
        self.begin_to_ask(now, Since::Ready);
        let unit = self.unit.name.clone();
        actions.push(Action::Announce(Change::Ready { unit, after: took, detail }));
    }

    /// What is built in reads its channel from its start on; others answer from when they are ready.
    fn begin_to_ask(&mut self, now: Duration, since: Since) {
        if let Some(probe) = self.unit.probe.as_ref().filter(|_| !self.going_down)
            && (since == Since::Start) == (probe.asked == Asked::Channel)
        {
            self.answers.begin(now, probe);
        }
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
            self.kill_for(now, hang, actions);
        }
    }

    fn kill_for(&mut self, now: Duration, hang: Hang, actions: &mut Vec<Action>) {
        let (pid, ready) = match self.state {
            State::Ready { pid, since, .. } => (pid, Some(since)),
            State::Starting { pid, .. } => (pid, None),
            _ => return,
        };
        self.stop_probe(actions);
        // The disk that holds up a daemon holds up the next one too, which would meet what the first
        // one has locked. What is built in does without the disk.
        let anew = self.unit.built_in.is_some() && self.left.len() < MOST_LEFT;
        self.state = State::Hung { pid, ready, until: anew.then_some(now + ABANDON_AFTER) };
        let Hang { failures, reason } = hang;
        let unit = self.unit.name.clone();
        actions.push(Action::Announce(Change::Hangs { unit, failures, reason }));
        actions.push(Action::Kill(pid));
        self.kill_group(actions);
    }

    pub(super) fn exited(&mut self, now: Duration, exit: Exit, actions: &mut Vec<Action>) {
        self.stop_probe(actions);
        self.answers.end();
        let hung = matches!(self.state, State::Hung { .. });
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
            State::Loading { pid, .. }
            | State::Starting { pid, .. }
            | State::Ready { pid, .. }
            | State::Hung { pid, .. } => Some(pid),
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
        if matches!(self.state, State::StopExec { .. }) {
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
        if let State::Ready { since, .. } | State::Hung { ready: Some(since), .. } = self.state
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
        self.state_deadline().into_iter().chain(self.answers.deadline()).min()
    }

    /// Of what is not about questions.
    fn state_deadline(&self) -> Option<Duration> {
        match self.state {
            State::Loading { since, late: false, .. }
            | State::Starting { since, late: false, .. } => Some(since + self.unit.deadline),
            State::Backoff { until, .. }
            | State::StopExec { until, .. }
            | State::Stopping { until, .. } => Some(until),
            State::Hung { until, .. } => until,
            _ => None,
        }
    }

    pub(super) fn check_deadlines(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let is_over = |deadline: Option<Duration>| deadline.is_some_and(|until| until <= now);
        if is_over(self.answers.deadline()) {
            self.ask(now, actions);
        }
        if !is_over(self.state_deadline()) {
            return;
        }
        let unit = self.unit.name.clone();
        let again = !self.going_down || self.is_needed_to_the_end();
        match &mut self.state {
            State::Loading { late, .. } => {
                *late = true;
                let deadline = self.unit.deadline;
                let reason = Some("its program is not loaded: a disk does not answer".to_owned());
                actions.push(Action::Announce(Change::Late { unit, deadline, reason }));
            }
            State::Starting { late, reason, .. } => {
                *late = true;
                let (deadline, reason) = (self.unit.deadline, reason.clone());
                actions.push(Action::Announce(Change::Late { unit, deadline, reason }));
            }
            State::Backoff { .. } => self.spawn(actions),
            State::Hung { .. } if !again => {
                self.state = State::Stopped;
                actions.push(Action::Announce(Change::Abandoned(unit)));
            }
            &mut State::Hung { pid, .. } => {
                self.left.push(pid);
                actions.push(Action::Announce(Change::LeftBehind(unit)));
                self.ended(now, Ending::Hung, actions);
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

    /// The time for the next question has come, or for an answer is over.
    fn ask(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let Some(probe) = &self.unit.probe else { return };
        match self.answers.turn(now, probe) {
            Some(Turn::Ask(number)) => {
                actions.push(Action::Ask { unit: self.unit.name.clone(), number });
            }
            Some(Turn::Hangs(hang)) => self.kill_for(now, hang, actions),
            None => {}
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
