//! The one place that starts, kills and reaps processes.
#![expect(clippy::disallowed_methods, reason = "this is the module the lint sends everyone to")]

pub mod limited;

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions};

use crate::pid1::built_in::BuiltIn;
use crate::sandbox::{Prepared, Report};
use crate::sys::signals;
use crate::unit::{AbsolutePath, GroupLimits, Sandbox, Unit};

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

/// Starts `exec`, a program of a unit and its arguments, in the unit's control group below
/// `cgroups` and its sandbox, in a session of its own, with an empty signal mask and nothing of our
/// environment. Standard output and error go to `output`; standard input is `channel` if it is
/// given.
///
/// # Errors
/// What could not be done, with the name of the program or the group, or the sandbox's key.
pub fn spawn(
    unit: &Unit,
    exec: &[String],
    cgroups: &Path,
    output: OwnedFd,
    channel: Option<OwnedFd>,
) -> Result<Pid, String> {
    let directory = unit.cgroup.below(cgroups);
    let membership = open_group(&directory)
        .map_err(|error| format!("cannot use control group {}: {error}", directory.display()))?;
    limit_group(&directory, &unit.group);
    let (program, arguments) =
        exec.split_first().ok_or_else(|| "its `exec` is empty".to_owned())?;
    let fail = |error: io::Error| format!("cannot start {program}: {error}");
    let nofile = unit.limits.nofile;
    let takes_signals = unit.built_in != Some(BuiltIn::Log);
    let more = match &unit.environment_from {
        Some(path) if path.0.exists() => lines(path, "environment")?,
        _ => String::new(),
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", PATH).envs(unit.environment.iter().cloned());
    command.envs(more.lines().filter_map(|line| line.split_once('=')));
    command.current_dir("/").stdin(channel.map_or_else(Stdio::null, Stdio::from));
    command.stderr(output.try_clone().map_err(fail)?).stdout(output);
    let (sandbox, report) = match unit.sandbox == Sandbox::default() {
        true => (None, None),
        false => Prepared::new(&unit.sandbox)
            .map(|(inside, out)| (Some(inside), Some(out)))
            .map_err(fail)?,
    };
    let prepare = move || {
        // Before the program runs, so that all it ever starts is in the group as well.
        rustix::io::write(&membership, b"0")?;
        rustix::process::setsid()?;
        if let Some(limit) = nofile {
            let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
            rustix::process::setrlimit(Resource::Nofile, limit)?;
        }
        // `log` reads its signals from a descriptor as we do. A request to end that comes before it
        // has that waits, for it is to write what others wrote until then.
        if takes_signals {
            signals::unblock_all()?;
        }
        // Last: what is above may need what the program must not have.
        sandbox.as_ref().map_or(Ok(()), Prepared::enter)
    };
    // SAFETY: needed because std offers no safe way to run code between fork and exec. Sound
    // because the closure makes system calls only and neither allocates nor takes a lock, which is
    // all that may be done there while we have other threads; the files it uses are its own.
    #[expect(unsafe_code, reason = "std offers no safe way to run code between fork and exec")]
    unsafe {
        command.pre_exec(prepare);
    }
    let child = command.spawn();
    // With it goes our copy of the child's end of the report.
    drop(command);
    let child = child.map_err(|error| match report.and_then(Report::refused) {
        Some(key) => format!("cannot start {program}: `{key}` of its sandbox: {error}"),
        None => fail(error),
    })?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| format!("{program} has an impossible process id"))?;
    let score = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
    if let Err(error) = std::fs::write(&score, unit.oom_score.to_string()) {
        // It may have ended already, or be in a test without the privilege.
        crate::log::warn(&format!("cannot set the OOM score of {}: {error}", unit.name));
    }
    // `child` goes out of scope without being waited for: `reap` does that for every child.
    Ok(pid)
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
