//! What the supervisor is told and what it asks for.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Pid;

use crate::process::Exit;
use crate::unit::UnitName;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The system is prepared: start the units.
    Start,
    /// A unit has a process, as [`Action::Spawn`] asked. Its program is being loaded, which a disk may
    /// hold up; then [`Event::Spawned`] or [`Event::SpawnFailed`] follows.
    Forked {
        /// Which unit.
        unit: UnitName,
        /// Its process.
        pid: Pid,
    },
    /// A unit's program runs.
    Spawned {
        /// Which unit.
        unit: UnitName,
        /// Its process.
        pid: Pid,
    },
    /// A unit's program could not be started.
    SpawnFailed {
        /// Which unit.
        unit: UnitName,
        /// Why.
        reason: String,
    },
    /// A unit's `only-if-exists` is not there, so its program was not started.
    NotWanted {
        /// Which unit.
        unit: UnitName,
        /// What is not there.
        absent: PathBuf,
    },
    /// A unit's `stop-exec` has a process, as [`Action::SpawnStop`] asked.
    StopSpawned {
        /// Which unit.
        unit: UnitName,
        /// The process of its `stop-exec`.
        pid: Pid,
    },
    /// A unit's `stop-exec` could not be started, or not be loaded.
    StopSpawnFailed {
        /// Which unit.
        unit: UnitName,
        /// Why.
        reason: String,
    },
    /// A child has ended; maybe one we do not know.
    Exited {
        /// Its process, now gone.
        pid: Pid,
        /// How.
        exit: Exit,
    },
    /// A probe succeeded.
    Ready {
        /// Which unit.
        unit: UnitName,
        /// Which of its runs, as in [`Action::StartProbe`].
        run: u32,
        /// What it answered, for people; may be empty.
        detail: String,
    },
    /// A probe did not succeed yet; it goes on.
    ProbeFailed {
        /// Which unit.
        unit: UnitName,
        /// Which of its runs.
        run: u32,
        /// Why, for people.
        reason: String,
    },
    /// What became of a question of [`Action::Ask`].
    Answered {
        /// Which unit.
        unit: UnitName,
        /// Which question.
        number: u32,
        /// Whether it was a good answer; else what was wrong.
        result: Result<(), String>,
    },
    /// Time has passed.
    Tick,
    /// The system is to go down.
    Shutdown(ShutdownKind),
}

/// How the system goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownKind {
    /// Without power.
    PowerOff,
    /// To start again.
    Reboot,
    /// To stand still with its power on.
    Halt,
    /// To start the kernel that was loaded; the machine itself if there is none.
    Kexec,
}

impl fmt::Display for ShutdownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PowerOff => "power off",
            Self::Reboot => "restart",
            Self::Halt => "halt",
            Self::Kexec => "start the loaded kernel",
        })
    }
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start its program and answer [`Event::Forked`], [`Event::SpawnFailed`] or
    /// [`Event::NotWanted`].
    Spawn(UnitName),
    /// Start its `stop-exec` and answer [`Event::StopSpawned`] or [`Event::StopSpawnFailed`].
    SpawnStop(UnitName),
    /// Look until it is ready, and say so in [`Event::Ready`].
    StartProbe {
        /// Which unit.
        unit: UnitName,
        /// Which of its runs: goes back in the event, so that a late answer is known as such.
        run: u32,
    },
    /// Stop looking.
    StopProbe(UnitName),
    /// Ask its `probe` once, and say what became of it in [`Event::Answered`]. An answer that comes
    /// after the next question is too late.
    Ask {
        /// Which unit.
        unit: UnitName,
        /// Which question: goes back in the event.
        number: u32,
    },
    /// Send `SIGTERM` to its process.
    Terminate {
        /// Which unit.
        unit: UnitName,
        /// Its process.
        pid: Pid,
    },
    /// Send `SIGKILL` to this process.
    Kill(Pid),
    /// Kill all that is in its control group.
    KillGroup(UnitName),
    /// The boot is given up: answer [`Event::Shutdown`].
    RestartMachine,
    /// Tell people.
    Announce(Change),
    /// All units have stopped: go down. Comes once, and last.
    Finish(ShutdownKind),
}

/// What people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Its program runs.
    Started(UnitName),
    /// It works.
    Ready {
        /// Which unit.
        unit: UnitName,
        /// Since its start.
        after: Duration,
        /// What its probe learnt; may be empty.
        detail: String,
    },
    /// Its program ended or could not be started, without being asked to.
    Ended {
        /// Which unit.
        unit: UnitName,
        /// How.
        ending: Ending,
        /// What comes now.
        next: Next,
    },
    /// It was not ready in all the time that the boot has for it: the machine is restarted.
    GivenUp {
        /// Which unit.
        unit: UnitName,
        /// The time it had.
        after: Duration,
    },
    /// It is not ready in time. It goes on.
    Late {
        /// Which unit.
        unit: UnitName,
        /// The time it had.
        deadline: Duration,
        /// What its probe said last, if anything.
        reason: Option<String>,
    },
    /// It was ready and does not answer any more, so it is killed.
    Hangs {
        /// Which unit.
        unit: UnitName,
        /// So many questions in a row had no good answer.
        failures: u32,
        /// What was wrong with the last one.
        reason: String,
    },
    /// It was killed because it hangs, and does not end: it is started anew beside that.
    LeftBehind(UnitName),
    /// It is not started, because this is not there.
    NotWanted {
        /// Which unit.
        unit: UnitName,
        /// What is not there.
        absent: PathBuf,
    },
    /// Every unit was ready once or is not wanted.
    BootComplete,
    /// The system goes down.
    ShutdownBegan(ShutdownKind),
    /// What it has to do before it is stopped begins.
    StopExecBegan(UnitName),
    /// What it had to do before it is stopped has ended.
    StopExecEnded {
        /// Which unit.
        unit: UnitName,
        /// How.
        ending: Ending,
    },
    /// What it had to do before it is stopped did not end in time and is killed.
    StopExecLate(UnitName),
    /// It ended because it was asked to.
    Stopped(UnitName),
    /// It was asked to end and did not in time, so it is killed.
    Killed(UnitName),
    /// It was killed and does not end: it hangs in the kernel, and we go on without it.
    Abandoned(UnitName),
    /// The whole shutdown took too long: what still runs is killed, and nobody waits for it.
    ShutdownLate,
}

/// How a unit came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Its process ended.
    Exit(Exit),
    /// It never ran.
    NotStarted(String),
    /// It did not answer, so it was killed.
    Hung,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(exit) => exit.fmt(f),
            Self::NotStarted(reason) => f.write_str(reason),
            Self::Hung => f.write_str("hung and was killed"),
        }
    }
}

/// What comes after an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is started again after this time.
    RestartIn(Duration),
    /// Nothing: it did what it was for.
    Done,
    /// Nothing: its unit file forbids a restart.
    Failed,
}
