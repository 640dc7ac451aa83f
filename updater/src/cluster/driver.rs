//! What the node does about a request: events in, actions out. Whoever calls it does the actions in their
//! order and tells what came of each before anything else.
//!
//! A request is served once: what came of it is on STATE before the node acts on it ([`Served`]), so neither
//! a start of the updater nor a boot, nor a release that falls back, makes it begin anew.

mod decide;
mod looks;

use std::time::Duration;

use formats::fleet::{Asked, Phase, Status};

use super::occasion::{self, Occasion};
use super::report::Reporter;
use super::served::{End, Served};
use super::{FailedBefore, NotArmed, NotStaged, Staged, Standing};
use crate::transport::{self, Progress};
use decide::{Decision, decide};
use looks::Looks;

pub use super::objects::Seen;

/// After that somebody else's work is looked at again.
const BUSY: Duration = Duration::from_secs(30);
/// A restart that did not come is asked for again.
const RESTART_AGAIN: Duration = Duration::from_secs(60);
/// From one look at where the node stands to the next, while it is on trial: another process judges it.
const LOOK_IN_TRIAL: Duration = Duration::from_secs(5);
/// The same at other times, for what is done at the node itself.
const LOOK: Duration = Duration::from_secs(60);

/// Something that was heard.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// The own Node object; nothing if there is none.
    Seen(Option<Seen>),
    /// How far staging is.
    Progress(Progress),
    /// Staging has ended.
    Staged(Result<Staged, NotStaged>),
    /// What came of [`Action::Look`].
    Looked(String, Result<String, NotStaged>),
    /// What came of [`Action::Keep`] or [`Action::Forget`].
    Kept(Result<(), String>),
    /// What came of [`Action::Arm`].
    Armed(Result<(), NotArmed>),
    /// What came of [`Action::Restart`].
    Restarting(Result<(), String>),
    /// What came of [`Action::Report`].
    Reported(Box<Status>, Result<(), String>),
    /// Time has passed.
    Tick,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Begin to look what is the newest, for a question; what comes of it is told when it has ended.
    Look(String),
    /// Begin to fill the spare slot; what comes of it is told when it has ended.
    Stage(Option<String>, FailedBefore),
    /// Stop that.
    Cancel,
    /// Remember how far a request was served.
    Keep(Served),
    /// Forget it: nobody asks any more.
    Forget,
    /// The next boot is a trial of this version.
    Arm(String),
    /// Restart the machine, with a reason.
    Restart(String),
    /// Write the answer.
    Report(Status),
    /// Make an Event.
    Tell(Occasion),
}

/// What is being done about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Doing {
    Nothing,
    Staging { asked: Asked, percent: u8, fetched: u64, cancelled: bool },
    Keeping,
    Arming { asked: Asked, version: String },
    Leaving { asked: Asked, version: String, restart: Restart },
}

/// How far a restart is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Restart {
    /// People are told first.
    Untold,
    Asked,
    Failed(String, Duration),
}

/// The node's side of an update by Kubernetes.
#[derive(Debug)]
pub(super) struct Driver {
    seen: Option<Seen>,
    /// Whether it is known at all if there is an object.
    looked: bool,
    standing: Standing,
    served: Option<Served>,
    doing: Doing,
    /// Somebody else is at it, or the node is not ready for it: until when nothing is tried, and why.
    held: Option<(Duration, String)>,
    /// STATE has not taken what was served: when it is tried again.
    forgotten: Option<Duration>,
    looks: Looks,
    reporter: Reporter,
}

impl Driver {
    /// Of a node that stands so and has served this last. `seed` differs from node to node.
    pub(super) fn new(standing: Standing, served: Option<Served>, seed: u64) -> Self {
        let reporter = Reporter::new(seed);
        let (seen, doing, held, forgotten) = (None, Doing::Nothing, None, None);
        let looks = Looks::default();
        Self { seen, looked: false, standing, served, doing, held, forgotten, looks, reporter }
    }

    /// Takes in what was heard at `now`, a monotonic time, and where the node stands then.
    pub(super) fn step(&mut self, event: Event, standing: Standing, now: Duration) -> Vec<Action> {
        self.standing = standing;
        let mut actions = Vec::new();
        match event {
            Event::Seen(seen) => self.see(seen, &mut actions),
            Event::Progress(progress) => self.progress(progress),
            Event::Staged(result) => self.staged(result, now, &mut actions),
            Event::Looked(question, result) => self.looks.answered(question, result, now),
            Event::Kept(result) => self.kept(result, now),
            Event::Armed(result) => self.armed(result, now, &mut actions),
            Event::Restarting(result) => {
                if let (Doing::Leaving { restart, .. }, Err(why)) = (&mut self.doing, result) {
                    *restart = Restart::Failed(why, now + RESTART_AGAIN);
                }
            }
            Event::Reported(status, result) => self.reported(*status, result, now, &mut actions),
            Event::Tick => {}
        }
        self.go_on(now, &mut actions);
        actions.extend(self.looks.next(now).map(Action::Look));
        if self.reports_at().is_some_and(|due| due <= now)
            && !actions.iter().any(|action| matches!(action, Action::Report(_)))
        {
            actions.extend(self.status().map(Action::Report));
        }
        actions
    }

    /// When [`Event::Tick`] is due.
    pub(super) fn wakes_at(&self, now: Duration) -> Duration {
        let look = now + if self.standing.trial { LOOK_IN_TRIAL } else { LOOK };
        let held = self.held.as_ref().map(|(until, _)| *until);
        let restart = match &self.doing {
            Doing::Leaving { restart: Restart::Failed(_, again), .. } => Some(*again),
            _ => None,
        };
        let due = [self.reports_at(), held, restart, self.looks.wakes_at()];
        due.into_iter().flatten().fold(look, Duration::min).max(now)
    }

    fn see(&mut self, seen: Option<Seen>, actions: &mut Vec<Action>) {
        let reported = seen.as_ref().and_then(|seen| seen.reported.as_deref());
        self.reporter.seen(reported.cloned());
        let wanted = seen.as_ref().and_then(|seen| seen.asked.clone());
        if let Doing::Staging { asked, cancelled, .. } = &mut self.doing {
            match wanted {
                // Another request for the same is one with it.
                Some(wanted) if wanted.release == asked.release => *asked = wanted,
                // A Node that is there no more asks for nothing new.
                None if seen.is_none() => {}
                _ if *cancelled => {}
                _ => {
                    *cancelled = true;
                    actions.push(Action::Cancel);
                }
            }
        }
        let question = seen.as_ref().and_then(|seen| seen.look.clone());
        let reported = seen.as_ref().and_then(|seen| seen.reported.as_ref()?.looked.clone());
        self.looks.see(question, reported);
        (self.seen, self.looked) = (seen, true);
    }

    fn progress(&mut self, progress: Progress) {
        let Doing::Staging { percent, fetched, .. } = &mut self.doing else { return };
        let Progress { phase, done, total, fetched: so_far, .. } = progress;
        *fetched = so_far;
        if phase == transport::Phase::Fill {
            let share = u128::from(done) * 100 / u128::from(total.max(1));
            *percent = u8::try_from(share.min(100)).unwrap_or(100);
        }
    }

    fn staged(
        &mut self,
        result: Result<Staged, NotStaged>,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        let doing = std::mem::replace(&mut self.doing, Doing::Nothing);
        let Doing::Staging { asked, cancelled, .. } = doing else {
            self.doing = doing;
            return;
        };
        if cancelled {
            // Something else is asked for by now.
            return;
        }
        let ended = |end| Served { asked: asked.clone(), version: None, end: Some(end) };
        let served = match result {
            Ok(Staged::InSpare(version)) => Served { asked, version: Some(version), end: None },
            Ok(Staged::Runs) => decide::runs(&asked, &self.standing),
            Err(NotStaged::Refused(why)) => ended(End::of(Phase::Refused, why)),
            Err(NotStaged::Failed(why)) => ended(End::of(Phase::Failed, why)),
            Err(error @ NotStaged::Cancelled) => ended(End::of(Phase::Failed, error.to_string())),
            Err(error @ NotStaged::Busy(_)) => {
                self.held = Some((now + BUSY, error.to_string()));
                return;
            }
        };
        self.keep(served, actions);
    }

    fn keep(&mut self, served: Served, actions: &mut Vec<Action>) {
        self.doing = Doing::Keeping;
        self.served = Some(served.clone());
        actions.push(Action::Keep(served));
    }

    fn forget(&mut self, actions: &mut Vec<Action>) {
        (self.doing, self.served) = (Doing::Keeping, None);
        actions.push(Action::Forget);
    }

    /// Nobody asks for anything. What was asked for before and has not come to its end does not hold up
    /// what else the node does.
    fn let_go(&mut self, actions: &mut Vec<Action>) {
        let served = self.served.clone().filter(|served| served.end.is_none());
        let Some(served) = served.filter(|_| !self.standing.trial) else { return };
        match decide::ended(&served, &self.standing) {
            None => self.forget(actions),
            end => self.keep(Served { end, ..served }, actions),
        }
    }

    fn kept(&mut self, result: Result<(), String>, now: Duration) {
        if self.doing == Doing::Keeping {
            self.doing = Doing::Nothing;
        }
        self.forgotten = result.is_err().then_some(now + LOOK);
        if let (Err(why), Some(served)) = (result, &mut self.served)
            && served.end.is_none()
        {
            // The release would be tried again and again if it fell back.
            let reason = format!("the node cannot remember that it has served this: {why}");
            served.end = Some(End::of(Phase::Failed, reason));
        }
    }

    fn armed(&mut self, result: Result<(), NotArmed>, now: Duration, actions: &mut Vec<Action>) {
        let doing = std::mem::replace(&mut self.doing, Doing::Nothing);
        let Doing::Arming { asked, version } = doing else {
            self.doing = doing;
            return;
        };
        match result {
            Ok(()) => {
                self.doing = Doing::Leaving { asked, version, restart: Restart::Untold };
                // Once, whatever comes of it: the machine goes down with or without an API server.
                actions.extend(self.status().map(Action::Report));
            }
            // It lies there, and is tried again.
            Err(NotArmed::Busy(why)) => self.held = Some((now + BUSY, why)),
            Err(NotArmed::Failed(why)) => {
                let end = Some(End::of(Phase::Failed, why));
                self.keep(Served { asked, version: Some(version), end }, actions);
            }
        }
    }

    fn reported(
        &mut self,
        status: Status,
        result: Result<(), String>,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        match result {
            Ok(()) => {
                let occasion = occasion::between(self.reporter.known(), &status);
                actions.extend(occasion.map(Action::Tell));
                self.reporter.wrote(status, now);
            }
            Err(_) => self.reporter.failed(now),
        }
    }

    /// Does what comes next about the request.
    fn go_on(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if let Doing::Leaving { version, restart, .. } = &mut self.doing {
            let due = match restart {
                // The answer about it is under way.
                Restart::Untold => !actions.iter().any(|it| matches!(it, Action::Report(_))),
                Restart::Asked => false,
                Restart::Failed(_, again) => *again <= now,
            };
            if due {
                *restart = Restart::Asked;
                actions.push(Action::Restart(format!("release {version} is started on trial")));
            }
            return;
        }
        if self.held.as_ref().is_some_and(|(until, _)| *until <= now) {
            self.held = None;
        }
        if self.doing != Doing::Nothing || self.held.is_some() || !self.looked {
            return;
        }
        if self.forgotten.is_some_and(|again| again <= now) {
            return match self.served.clone() {
                Some(served) => self.keep(served, actions),
                None => self.forget(actions),
            };
        }
        let asked = self.seen.as_ref().and_then(|seen| seen.asked.clone());
        let Some(asked) = asked else { return self.let_go(actions) };
        match decide(&asked, self.served.as_ref(), &self.standing) {
            Decision::Rest(..) | Decision::OtherTrial => {}
            Decision::Keep(served) => self.keep(served, actions),
            Decision::Stage(version, failed_before) => {
                self.doing = Doing::Staging { asked, percent: 0, fetched: 0, cancelled: false };
                actions.push(Action::Stage(version, failed_before));
            }
            Decision::Arm(version) => {
                actions.push(Action::Arm(version.clone()));
                self.doing = Doing::Arming { asked, version };
            }
        }
    }

    fn reports_at(&self) -> Option<Duration> {
        // These are over before the answer would be written.
        if matches!(self.doing, Doing::Keeping | Doing::Arming { .. }) {
            return None;
        }
        let status = self.status()?;
        self.reporter.due(&status)
    }

    /// The answer as it is now; nothing while there is no object to write it on.
    fn status(&self) -> Option<Status> {
        let seen = self.seen.as_ref()?;
        let Standing { version, root_hash, boot_id, trial, fallback, .. } = &self.standing;
        let of = |phase| Status {
            boot_id: boot_id.clone(),
            fallback: fallback.as_ref().map(Into::into),
            looked: self.looks.answer.clone(),
            ..Status::new(version, *root_hash, phase)
        };
        let status = match &self.doing {
            Doing::Staging { asked, percent, fetched, .. } => Status {
                percent: Some(*percent),
                fetched: Some(*fetched),
                ..of(Phase::Staging).about(asked)
            },
            Doing::Arming { asked, .. } => of(Phase::Staged).about(asked),
            Doing::Leaving { asked, restart, .. } => {
                let reason = match restart {
                    Restart::Failed(why, _) => Some(format!("the machine does not restart: {why}")),
                    _ => None,
                };
                Status { reason, ..of(Phase::Restarting).about(asked) }
            }
            Doing::Nothing | Doing::Keeping => match &seen.asked {
                None => of(if *trial { Phase::Trial } else { Phase::Idle }),
                Some(asked) => match decide(asked, self.served.as_ref(), &self.standing) {
                    Decision::Rest(phase, reason) => Status { reason, ..of(phase).about(asked) },
                    Decision::OtherTrial => of(Phase::Trial),
                    // What comes next is not begun: it is held up.
                    next @ (Decision::Keep(_) | Decision::Stage(..) | Decision::Arm(_)) => {
                        let lies_there = matches!(next, Decision::Arm(_));
                        let phase = if lies_there { Phase::Staged } else { Phase::Staging };
                        let reason = self.held.as_ref().map(|(_, why)| why.clone());
                        Status { reason, ..of(phase).about(asked) }
                    }
                },
            },
        };
        // As it is when it is read again.
        Some(status.bounded())
    }
}

#[cfg(test)]
mod tests;
