//! Units: what PID 1 starts and watches, each a TOML file in `/usr/lib/orlop/units/`, named by
//! its stem. `docs/init.md` describes the keys.
//!
//! A bad file is one error and one unit less; the others are not touched.

mod file;
mod sandbox;
mod value;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::pid1::built_in::BuiltIn;
use crate::pid1::disks::names;
use crate::question::Question;
pub use file::Position;
pub use sandbox::{Capabilities, Sandbox, SystemCalls};
pub use value::{AbsolutePath, CgroupPath, OomScore, UnitName};

/// One unit, its keys checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The file's stem.
    pub name: UnitName,
    /// The program, by its absolute path, and its arguments. Never empty.
    pub exec: Vec<String>,
    /// More arguments: each line of this file, read at each start.
    pub arguments_from: Option<AbsolutePath>,
    /// More environment: each line `NAME=VALUE` of this file, read at each start if it is there.
    pub environment_from: Option<AbsolutePath>,
    /// It is only wanted if this is there when its turn comes.
    pub only_if_exists: Option<AbsolutePath>,
    /// What is run at a shutdown before the unit is stopped, or in its turn if it is done. Never
    /// empty.
    pub stop_exec: Option<Vec<String>>,
    /// Units which must have been ready once before this one is started, and where it says so.
    pub after: Vec<(UnitName, Position)>,
    /// How we know that it works.
    pub ready: Ready,
    /// How we know that it still does; without it, it does until it ends.
    pub probe: Option<Liveness>,
    /// What happens when it ends.
    pub restart: Restart,
    /// Its control group, a leaf below the root: `/runtime`.
    pub cgroup: CgroupPath,
    /// Who is killed together with it.
    pub kill: Kill,
    /// `oom_score_adj` of its process.
    pub oom_score: OomScore,
    /// The whole environment: nothing is inherited.
    pub environment: Vec<(String, String)>,
    /// From start to ready; when it is over, that is reported and nothing else happens.
    pub deadline: Duration,
    /// From the start of the boot's units on: the machine is restarted unless it was ready by then,
    /// however often it was started, or is not wanted.
    pub restart_machine_after: Option<Duration>,
    /// From `SIGTERM` to `SIGKILL`, for its process and for `stop_exec`.
    pub stop_timeout: Duration,
    /// Resource limits.
    pub limits: Limits,
    /// What its control group gets.
    pub group: GroupLimits,
    /// What its processes may do, those of `stop_exec` too.
    pub sandbox: Sandbox,
    /// Bytes of each of the two files of its log.
    pub log_limit: u64,
    /// It is part of PID 1's own binary.
    pub built_in: Option<BuiltIn>,
}

/// How we know that a unit works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// It has ended with status 0.
    Exit,
    /// Its program runs.
    Started,
    /// It gives a good answer.
    Answers(Question),
    /// It says so. Only what is built in can.
    Said,
}

/// How we know that a unit which was ready has not come to hang.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Liveness {
    /// What it is asked.
    pub asked: Asked,
    /// From one question to the next.
    pub interval: Duration,
    /// What an answer may take; not longer than `interval`.
    pub timeout: Duration,
    /// It is killed after so many questions in a row without a good answer. Not 0.
    pub failures: u32,
}

/// What a unit is asked, to see that it does not hang.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A question to a socket or an address, from when it is ready on.
    Question(Question),
    /// Whether it reads its channel, from its start on. Only what is built in has one.
    Channel,
}

/// What happens when a unit's process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// When it is started again.
    pub policy: Policy,
    /// The wait before the first restart; it doubles each time.
    pub backoff_min: Duration,
    /// The longest wait. A unit which was ready for as long begins anew with the shortest.
    pub backoff_max: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: Policy::OnFailure,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
        }
    }
}

/// When a unit is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// However it ended.
    Always,
    /// If it ended with a signal or a status that is not 0.
    OnFailure,
    /// Never.
    Never,
}

/// Who is killed when a unit's process ends or does not stop in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// Everything in its control group.
    Cgroup,
    /// Only its process: containerd's shims live in its group and keep the containers alive.
    Process,
}

/// Resource limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// `RLIMIT_NOFILE`, soft and hard.
    pub nofile: Option<u64>,
}

/// What a control group gets: each is a file of it (`Documentation/admin-guide/cgroup-v2.rst` of
/// the kernel), which is left alone if the unit does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupLimits {
    /// `memory.min`: bytes which are not taken away from it, whatever others need.
    pub memory_min: Option<u64>,
    /// `memory.max`: bytes; beyond it, its processes are killed.
    pub memory_max: Option<u64>,
    /// `pids.max`: processes and threads.
    pub pids_max: Option<u64>,
}

/// Why a unit file counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitError {
    /// The file.
    pub file: PathBuf,
    /// Where and what.
    pub message: String,
}

impl Unit {
    /// Whether it comes after that one.
    pub fn comes_after(&self, name: &UnitName) -> bool {
        self.after.iter().any(|(after, _)| after == name)
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot use unit `{}`: {}", self.file.display(), self.message)
    }
}

/// Units whose every `after` names one of them, without a cycle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Units {
    // Invariant: by name, closed under `after`, acyclic; see `Units::new`. A list, as all that PID 1
    // has few of: a map is kilobytes of code for each type in it.
    units: Vec<Unit>,
}

impl Units {
    /// Reads every `*.toml` in `directory`, in the order of their names, for a node that has the
    /// units `built_in` besides.
    ///
    /// # Errors
    /// Only if the directory cannot be read; bad files are the second part of the result.
    pub fn load(directory: &Path, built_in: Vec<Unit>) -> io::Result<(Self, Vec<UnitError>)> {
        let (mut units, mut errors) = (built_in, Vec::new());
        for file in names(directory)?.iter().map(|name| directory.join(name)) {
            if file.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            match std::fs::read_to_string(&file).map_err(|error| error.to_string()) {
                Ok(text) => match Unit::parse(&file, &text) {
                    Ok(unit) => units.push(unit),
                    Err(error) => errors.push(error),
                },
                Err(message) => errors.push(UnitError { file, message }),
            }
        }
        let (units, refused) = Self::new(units);
        errors.extend(refused.into_iter().map(|(name, message)| UnitError {
            file: directory.join(format!("{name}.toml")),
            message,
        }));
        Ok((units, errors))
    }

    /// Keeps the units which can be ordered, and says of each other one why it cannot.
    pub fn new(units: Vec<Unit>) -> (Self, Vec<(UnitName, String)>) {
        let (mut left, mut refused) = (Vec::<Unit>::new(), Vec::new());
        for unit in units {
            match left.binary_search_by(|known| known.name.cmp(&unit.name)) {
                // A file cannot take the place of what is built in, which comes first.
                Ok(_) if unit.built_in.is_none() => {
                    refused.push((unit.name, "that name is of a built-in unit".to_owned()));
                }
                Ok(at) => left[at] = unit,
                Err(at) => left.insert(at, unit),
            }
        }
        let shared = shared_cgroups(&left);
        left.retain(|unit| shared.iter().all(|(name, _)| *name != unit.name));
        refused.extend(shared);
        // A unit that is taken away may be what another waits for.
        while let Some((name, message)) = left.iter().find_map(|unit| {
            let known = |name: &UnitName| left.iter().any(|unit| unit.name == *name);
            let (after, at) = unit.after.iter().find(|(after, _)| !known(after))?;
            let message = format!("{at}: it comes after `{after}`, which is no usable unit");
            Some((unit.name.clone(), message))
        }) {
            left.retain(|unit| unit.name != name);
            refused.push((name, message));
        }
        // What can be started in some order is acyclic; the rest is a cycle or waits for one.
        let mut ordered = Vec::new();
        while let Some(next) = left.iter().find(|unit| {
            !ordered.contains(&unit.name)
                && unit.after.iter().all(|(after, _)| ordered.contains(after))
        }) {
            ordered.push(next.name.clone());
        }
        left.retain(|unit| {
            let waits = unit.after.iter().find(|(after, _)| !ordered.contains(after));
            if let Some((after, at)) = waits {
                let message =
                    format!("{at}: it comes after `{after}`, which in a circle comes after itself");
                refused.push((unit.name.clone(), message));
            }
            waits.is_none()
        });
        (Self { units: left }, refused)
    }

    /// All units, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Unit> {
        self.units.iter()
    }

    /// The unit of that name.
    pub fn get(&self, name: &UnitName) -> Option<&Unit> {
        self.units.iter().find(|unit| unit.name == *name)
    }
}

/// `cgroup.kill` of a shared group would take the other unit along.
fn shared_cgroups(units: &[Unit]) -> Vec<(UnitName, String)> {
    let same = |unit: &&Unit| {
        let other = units.iter().find(|other| {
            other.name != unit.name
                && other.cgroup == unit.cgroup
                && (other.name < unit.name
                    || other.kill != Kill::Cgroup
                    || other.built_in.is_some())
        });
        // What is built in was there first.
        let at_fault = unit.kill == Kill::Cgroup && unit.built_in.is_none();
        other.filter(|_| at_fault).map(|other| {
            let message = format!(
                "its control group is that of `{}`, so `kill = \"cgroup\"` would kill both",
                other.name
            );
            (unit.name.clone(), message)
        })
    };
    units.iter().filter_map(|unit| same(&unit)).collect()
}

#[cfg(test)]
mod tests;
