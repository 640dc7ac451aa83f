//! Programs that PID 1 waits for, each with a limit: before the event loop runs there is nobody
//! else who would watch them.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, waitpid};

use super::{Exit, PATH};
use crate::clock;
use crate::sys::{signals, timespec};

/// Of its output, in bytes; the rest is read and thrown away.
const LONGEST: usize = 64 * 1024;
/// From `SIGKILL` on, for what hangs in the kernel.
const KILLED: Duration = Duration::from_secs(5);

/// How a program ended that was waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// `None` if it was killed because its time was over.
    pub exit: Option<Exit>,
    /// What it wrote to standard output and error.
    pub output: String,
}

/// Runs a program with nothing of our environment and waits until it has ended, or kills it after
/// `limit`.
///
/// # Errors
/// What could not be done, with the name of the program.
pub fn run(program: &Path, arguments: &[&str], limit: Duration) -> Result<Ended, String> {
    let name = program.display();
    let fail = |error: io::Error| format!("cannot run {name}: {error}");
    let (reader, writer) =
        pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(|e| fail(e.into()))?;
    let pid = start(program, arguments, writer).map_err(fail)?;
    let outcome = wait(pid, reader.into(), limit);
    if !matches!(outcome, Ok(Ended { exit: Some(_), .. })) {
        super::signal(pid, Signal::KILL);
        // One that hangs in the kernel does not end; then it is reaped with the orphans.
        bury(pid);
    }
    outcome.map_err(fail)
}

fn start(program: &Path, arguments: &[&str], output: OwnedFd) -> io::Result<Pid> {
    // The program's end blocks, as programs expect it.
    let flags = rustix::fs::fcntl_getfl(&output)?;
    rustix::fs::fcntl_setfl(&output, flags - rustix::fs::OFlags::NONBLOCK)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", PATH).current_dir("/").stdin(Stdio::null());
    command.stderr(output.try_clone()?).stdout(output);
    // SAFETY: needed because std offers no safe way to run code between fork and exec. Sound
    // because the closure makes one system call and neither allocates nor takes a lock, which is
    // all that may be done there while we have other threads.
    #[expect(unsafe_code, reason = "std offers no safe way to run code between fork and exec")]
    unsafe {
        command.pre_exec(signals::unblock_all);
    }
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("impossible process id"))
}

/// Reaps one that was killed, if it ends soon.
fn bury(pid: Pid) {
    let Ok(ended) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let mut fds = [PollFd::new(&ended, PollFlags::IN)];
    let until = clock::monotonic() + KILLED;
    loop {
        let left = until.saturating_sub(clock::monotonic());
        match poll(&mut fds, Some(&timespec(left))) {
            Err(Errno::INTR) => {}
            Ok(ready) => {
                if ready > 0 {
                    let _ = waitpid(Some(pid), WaitOptions::NOHANG);
                }
                return;
            }
            Err(_) => return,
        }
    }
}

fn wait(pid: Pid, mut reader: File, limit: Duration) -> io::Result<Ended> {
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    let until = clock::monotonic().saturating_add(limit);
    let mut output = Vec::new();
    let mut open = true;
    let exit = loop {
        let left = until.saturating_sub(clock::monotonic());
        if left.is_zero() {
            break None;
        }
        let mut fds = vec![PollFd::new(&ended, PollFlags::IN)];
        if open {
            fds.push(PollFd::new(&reader, PollFlags::IN));
        }
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let has_ended = !fds[0].revents().is_empty();
        // What it wrote last is in the pipe by now.
        open = open && drain(&mut reader, &mut output);
        if has_ended && let Some((_, status)) = waitpid(Some(pid), WaitOptions::empty())? {
            let exit = status.exit_status().map(Exit::Status);
            break exit.or(status.terminating_signal().map(Exit::Signal));
        }
    };
    Ok(Ended { exit, output: String::from_utf8_lossy(&output).into_owned() })
}

/// Takes what is there; whether more may come.
fn drain(reader: &mut File, output: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => {
                let room = LONGEST.saturating_sub(output.len()).min(length);
                output.extend_from_slice(&buffer[..room]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// For tests of what hangs: a busy host may have it killed before it did what it was to do. Then it
/// gets twice the time. Returns the last limit too.
#[cfg(test)]
pub(crate) fn with_enough_time<T>(
    mut limit: Duration,
    run: impl Fn(Duration) -> T,
    has_begun: impl Fn(&T) -> bool,
) -> (T, Duration) {
    loop {
        let outcome = run(limit);
        if has_begun(&outcome) || limit > Duration::from_secs(60) {
            return (outcome, limit);
        }
        limit *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn shell(script: &str, limit: Duration) -> Ended {
        run(Path::new("/bin/sh"), &["-c", script], limit).expect("a shell")
    }

    #[test]
    fn its_output_and_status_are_taken() {
        let ended = shell("echo out; echo $PATH >&2; exit 3", MINUTE);
        let want = format!("out\n{PATH}\n");
        assert_eq!(ended, Ended { exit: Some(Exit::Status(3)), output: want });
    }

    #[test]
    fn who_takes_too_long_is_killed_and_what_it_said_is_kept() {
        let run = |limit| shell("echo begun; exec sleep 1000", limit);
        let said = |ended: &Ended| !ended.output.is_empty();
        let (ended, _) = with_enough_time(Duration::from_millis(500), run, said);
        assert_eq!(ended, Ended { exit: None, output: "begun\n".to_owned() });
    }

    #[test]
    fn who_leaves_a_child_with_its_output_is_not_waited_for_further() {
        let ended = shell("sleep 5 & exit 0", MINUTE);
        assert_eq!(ended.exit, Some(Exit::Status(0)));
    }

    #[test]
    fn much_output_neither_blocks_it_nor_fills_memory() {
        let ended = shell("yes | head -c 300000", MINUTE);
        assert_eq!((ended.exit, ended.output.len()), (Some(Exit::Status(0)), LONGEST));
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let error = run(Path::new("/nonexistent"), &[], MINUTE).expect_err("there is none");
        assert_eq!(error, "cannot run /nonexistent: No such file or directory (os error 2)");
    }
}
