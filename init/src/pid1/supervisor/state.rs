//! Where a unit stands.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Pid;

use super::event::Ending;

/// Where a unit stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// What it comes after was not ready yet.
    Waiting,
    /// [`Action::Spawn`] was given and not answered.
    Spawning,
    /// It has a process, whose program is being loaded.
    Loading {
        /// Its process.
        pid: Pid,
        /// When it was started.
        since: Duration,
        /// Its deadline has passed.
        late: bool,
    },
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
    /// It does not answer and was killed. What hangs in the kernel ends when that lets it go.
    Hung {
        /// Its process.
        pid: Pid,
        /// Since when it had worked, if it had.
        ready: Option<Duration>,
        /// When it is started anew without waiting for that; `None` if never.
        until: Option<Duration>,
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
            Self::Loading { pid, .. }
            | Self::Starting { pid, .. }
            | Self::Ready { pid, .. }
            | Self::Hung { pid, .. }
            | Self::Stopping { pid, .. } => Some(*pid),
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
                | Self::Loading { .. }
                | Self::Starting { .. }
                | Self::Ready { .. }
                | Self::Hung { .. }
                | Self::StopExecDue
                | Self::StopExec { .. }
                | Self::Stopping { .. }
        )
    }
}
