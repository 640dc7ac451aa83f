//! Starts the program of a unit. Its process loads it, which reads the root, and shuts itself in
//! before that, which looks up places of STATE: PID 1 goes on meanwhile, and hears later what became
//! of it. So a disk that hangs holds up nobody but who needs it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Resource, Rlimit};

use super::{PATH, limit_group, lines, open_group};
use crate::pid1::built_in::BuiltIn;
use crate::sandbox::{Prepared, Report};
use crate::sys::program::{self, Program};
use crate::sys::signals;
use crate::unit::{Sandbox, Unit};

/// A process of a unit.
#[derive(Debug)]
pub struct Started {
    /// Its number.
    pub pid: Pid,
    /// Whether it has its program yet.
    pub loading: Loading,
}

/// A process on its way to its program. Its descriptor is readable when there is an [outcome].
///
/// [outcome]: Loading::outcome
#[derive(Debug)]
pub struct Loading {
    program: String,
    /// The child says here which error there was: four bytes. Its exec closes the other end, and so
    /// does its end.
    report: OwnedFd,
    sandbox: Option<Report>,
}

impl Loading {
    /// Whether the program runs or why it does not, once that is known. One that was killed on its
    /// way counts as one that runs: how it ended is heard from the kernel.
    pub fn outcome(&mut self) -> Option<Result<(), String>> {
        let mut errno = [0; 4];
        let error = match rustix::io::read(&self.report, &mut errno) {
            Ok(0) => return Some(Ok(())),
            Ok(_) => io::Error::from_raw_os_error(i32::from_ne_bytes(errno)),
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Err(error) => error.into(),
        };
        let program = &self.program;
        Some(Err(match self.sandbox.take().and_then(Report::refused) {
            Some(key) => format!("cannot start {program}: `{key}` of its sandbox: {error}"),
            None => format!("cannot start {program}: {error}"),
        }))
    }
}

impl AsFd for Loading {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}

/// Starts `exec`, a program of a unit and its arguments, in the unit's control group below
/// `cgroups` and its sandbox, in a session of its own, with an empty signal mask and nothing of our
/// environment. Standard output and error go to `output`; standard input is `channel` if it is
/// given. Waits for no disk.
///
/// # Errors
/// What could not be done, with the name of the program or the group. What the child cannot do is
/// told by [`Loading::outcome`].
pub fn spawn(
    unit: &Unit,
    exec: &[String],
    cgroups: &Path,
    output: OwnedFd,
    channel: Option<OwnedFd>,
) -> Result<Started, String> {
    let directory = unit.cgroup.below(cgroups);
    let membership = open_group(&directory)
        .map_err(|error| format!("cannot use control group {}: {error}", directory.display()))?;
    limit_group(&directory, &unit.group);
    let program = exec.first().ok_or_else(|| "its `exec` is empty".to_owned())?.clone();
    let fail = |error: io::Error| format!("cannot start {program}: {error}");
    let more = match &unit.environment_from {
        Some(path) if path.0.exists() => lines(path, "environment")?,
        _ => String::new(),
    };
    // What comes later wins.
    let mut environment = BTreeMap::from([("PATH", PATH)]);
    environment
        .extend(unit.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    environment.extend(more.lines().filter_map(|line| line.split_once('=')));
    let input = match channel {
        Some(channel) => channel,
        None => File::open("/dev/null").map_err(fail)?.into(),
    };
    let (sandbox, refused) = match unit.sandbox == Sandbox::default() {
        true => (None, None),
        false => Prepared::new(&unit.sandbox)
            .map(|(inside, out)| (Some(inside), Some(out)))
            .map_err(fail)?,
    };
    let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
    let (report, failed) = pipe_with(flags).map_err(|error| fail(error.into()))?;
    let needed =
        [Some(membership.as_fd()), Some(failed.as_fd()), sandbox.as_ref().map(AsFd::as_fd)];
    let mut kept: Vec<RawFd> = needed.iter().flatten().map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    let mut child = Child {
        program: Program::new(exec, environment).map_err(fail)?,
        input,
        output,
        membership,
        failed,
        kept,
        nofile: unit.limits.nofile,
        takes_signals: unit.built_in != Some(BuiltIn::Log),
        sandbox,
    };
    // SAFETY: needed because `std` waits until the program is loaded. Sound because `become_program`
    // makes system calls only, as is said there.
    #[expect(unsafe_code, reason = "std has no way to start a program without waiting for it")]
    let pid = unsafe { program::fork(|| child.become_program()) }.map_err(fail)?;
    let score = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
    if let Err(error) = std::fs::write(&score, unit.oom_score.to_string()) {
        // It may have ended already, or be in a test without the privilege.
        crate::log::warn(&format!("cannot set the OOM score of {}: {error}", unit.name));
    }
    Ok(Started { pid, loading: Loading { program, report, sandbox: refused } })
}

/// What the child needs, all allocations done.
#[derive(Debug)]
struct Child {
    program: Program,
    /// What becomes standard input; not one of the first three, which PID 1 has from its start on.
    input: OwnedFd,
    /// What becomes standard output and error; as `input`.
    output: OwnedFd,
    /// `cgroup.procs` of its group.
    membership: File,
    failed: OwnedFd,
    /// What it needs beside the first three, in order.
    kept: Vec<RawFd>,
    nofile: Option<u64>,
    takes_signals: bool,
    sandbox: Option<Prepared>,
}

impl Child {
    /// Comes back if there is no program, and has told the parent why. For a child of a process with
    /// threads: system calls only, no allocation, no lock.
    fn become_program(&mut self) {
        let error = match self.prepare() {
            Ok(()) => self.program.execute(),
            Err(error) => error,
        };
        // A parent that is gone wants to know nothing.
        let _ = rustix::io::write(&self.failed, &error.raw_os_error().to_ne_bytes());
    }

    fn prepare(&mut self) -> Result<(), Errno> {
        let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        rustix::stdio::dup2_stdin(&self.input)?;
        rustix::stdio::dup2_stdout(&self.output)?;
        rustix::stdio::dup2_stderr(&self.output)?;
        // Before anything that may hang: else it kept the watchdog open, which could not be stopped,
        // and pipes and sockets whose end others wait for.
        program::close_all_but(&self.kept);
        // Before the program runs, so that all it ever starts is in the group as well.
        rustix::io::write(&self.membership, b"0")?;
        rustix::process::setsid()?;
        if let Some(limit) = self.nofile {
            let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
            rustix::process::setrlimit(Resource::Nofile, limit)?;
        }
        rustix::process::chdir(c"/")?;
        signals::end_by_broken_pipe().map_err(errno)?;
        // `log` reads its signals from a descriptor as we do. A request to end that comes before it
        // has that waits, for it is to write what others wrote until then.
        if self.takes_signals {
            signals::unblock_all().map_err(errno)?;
        }
        // Last: what is above may need what the program must not have.
        self.sandbox.as_mut().map_or(Ok(()), |sandbox| sandbox.enter().map_err(errno))
    }
}
