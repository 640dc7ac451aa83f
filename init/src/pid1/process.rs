//! The one place that starts, kills and reaps processes.
#![expect(clippy::disallowed_methods, reason = "this is the module the lint sends everyone to")]

pub mod limited;
mod start;

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use crate::unit::{AbsolutePath, GroupLimits, Unit};
pub use start::{Loading, Started, spawn};

/// Where programs look for others unless their unit says otherwise.
const PATH: &str = "/usr/bin:/usr/sbin";

/// Bytes of a file of arguments: far below what the kernel takes for one program.
const LONGEST_ARGUMENTS: u64 = 64 * 1024;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// Whether it ended by itself with status 0.
    pub fn success(self) -> bool {
        self == Self::Status(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "ended with status {status}"),
            Self::Signal(9) => f.write_str("was killed (SIGKILL; out of memory?)"),
            Self::Signal(6) => f.write_str("aborted (SIGABRT)"),
            Self::Signal(11) => f.write_str("crashed (SIGSEGV)"),
            Self::Signal(15) => f.write_str("was terminated (SIGTERM)"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

/// Whether we are what the kernel started.
pub fn is_pid_1() -> bool {
    std::process::id() == 1
}

/// The program and all arguments of a unit: those of its file and, after them, the lines of
/// `arguments-from`; empty ones do not count.
///
/// # Errors
/// If that file cannot be read or is absurdly long.
pub fn command_line(unit: &Unit) -> Result<Vec<String>, String> {
    let mut exec = unit.exec.clone();
    if let Some(path) = &unit.arguments_from {
        let text = lines(path, "arguments")?;
        exec.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_owned));
    }
    Ok(exec)
}

fn lines(path: &AbsolutePath, what: &str) -> Result<String, String> {
    let fail = |error| format!("cannot read its {what} from {}: {error}", path.0.display());
    let mut text = String::new();
    let file = File::open(&path.0).map_err(fail)?;
    file.take(LONGEST_ARGUMENTS + 1).read_to_string(&mut text).map_err(fail)?;
    if text.len() as u64 > LONGEST_ARGUMENTS {
        return Err(fail(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(text)
}

/// A unit runs without its limits rather than not at all.
fn limit_group(directory: &Path, limits: &GroupLimits) {
    for (name, value) in [
        ("memory.min", limits.memory_min),
        ("memory.max", limits.memory_max),
        ("pids.max", limits.pids_max),
    ] {
        let Some(value) = value else { continue };
        let file = directory.join(name);
        // Not `fs::write`, which would make the file in a directory that is no control group.
        let written = File::options().write(true).open(&file).and_then(|file| {
            rustix::io::write(file, value.to_string().as_bytes())?;
            Ok(())
        });
        if let Err(error) = written {
            crate::log::warn(&format!("cannot write {}: {error}", file.display()));
        }
    }
}

fn open_group(directory: &Path) -> io::Result<File> {
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => File::options().write(true).open(directory.join("cgroup.procs")),
    }
}

/// Moves ourselves into a control group, which is made if need be.
///
/// # Errors
/// What the control group file system says.
pub fn join_group(directory: &Path) -> io::Result<()> {
    rustix::io::write(open_group(directory)?, b"0")?;
    Ok(())
}

/// Takes one child that has ended, ours or an orphan which the kernel gave us.
///
/// # Errors
/// [`Errno::CHILD`] if there is no child at all, so that no other process is left either.
pub fn reap() -> Result<Option<(Pid, Exit)>, Errno> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let ended = status.exit_status().map(Exit::Status);
                let ended = ended.or(status.terminating_signal().map(Exit::Signal));
                if let Some(exit) = ended {
                    return Ok(Some((pid, exit)));
                }
            }
            Ok(None) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sends a signal to one process. One that is gone is no error: it has what it should get.
pub fn signal(pid: Pid, signal: Signal) {
    if let Err(error) = rustix::process::kill_process(pid, signal)
        && error != Errno::SRCH
    {
        let pid = pid.as_raw_nonzero();
        crate::log::warn(&format!("cannot send signal {} to {pid}: {error}", signal.as_raw()));
    }
}

/// Kills all that is in a unit's control group and the groups below it (`cgroup.kill`, Linux 5.14).
pub fn kill_group(unit: &Unit, cgroups: &Path) {
    let file = unit.cgroup.below(cgroups).join("cgroup.kill");
    if let Err(error) = File::options().write(true).open(&file).and_then(|file| {
        rustix::io::write(file, b"1")?;
        Ok(())
    }) && error.kind() != io::ErrorKind::NotFound
    {
        crate::log::warn(&format!("cannot write {}: {error}", file.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_is_told_in_words() {
        assert_eq!(Exit::Status(3).to_string(), "ended with status 3");
        assert_eq!(Exit::Signal(11).to_string(), "crashed (SIGSEGV)");
        assert_eq!(Exit::Signal(31).to_string(), "was ended by signal 31");
        assert!(Exit::Status(0).success());
        assert!(!Exit::Signal(0).success());
    }
}
