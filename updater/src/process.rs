//! The one place where the updater starts another program: a check of a release.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::clock::monotonic;

/// Bytes of what a program writes to standard error that are kept, its last ones.
const KEPT: usize = 4096;
/// How long the last lines of a program that has ended are waited for: what it has started may keep its
/// standard error open.
const LAST_LINES: Duration = Duration::from_millis(200);

/// Runs a program for at most `limit`, with nothing on its standard input, and an environment of its
/// own. When that is over all of its process group is killed.
///
/// # Errors
/// Why it did not end with status 0, with the last line that it wrote to standard error.
pub(crate) fn run(words: &[String], limit: Duration) -> Result<(), String> {
    let Some((program, arguments)) = words.split_first() else {
        return Err("there is no program".to_owned());
    };
    #[expect(clippy::disallowed_methods, reason = "the one module that starts programs")]
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", "/usr/bin:/usr/sbin").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot start {program}: {error}"))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (last, lines) = channel();
    if let Some(stderr) = child.stderr.take() {
        std::thread::spawn(move || last.send(last_line(stderr)));
    }
    let ended = match group.map(|pid| wait(pid, limit)) {
        Some(Ok(ended)) => ended,
        _ => false,
    };
    if !ended {
        // Also what it has started. It is not reaped yet, so the group is no other's.
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| format!("cannot wait for {program}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    let line = lines.recv_timeout(LAST_LINES).unwrap_or_default();
    let line = if line.is_empty() { line } else { format!(": {line}") };
    Err(match ended {
        true => format!("{program} ended with {status}{line}"),
        false => format!("{program} did not end in {} s{line}", limit.as_secs_f32()),
    })
}

/// Whether it ends in time. It is not reaped.
fn wait(pid: Pid, limit: Duration) -> rustix::io::Result<bool> {
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let until = monotonic() + limit;
    loop {
        let left = until.saturating_sub(monotonic());
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads to the end, so that nobody waits who writes much.
fn last_line(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..length]);
        let too_much = kept.len().saturating_sub(KEPT);
        kept.drain(..too_much);
    }
    let text = String::from_utf8_lossy(&kept).into_owned();
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn shell(script: &str, limit: Duration) -> Result<(), String> {
        run(&["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()], limit)
    }

    #[test]
    fn a_program_is_judged_by_its_status_and_tells_its_last_line() {
        assert_eq!(shell("echo out; echo err >&2", MINUTE), Ok(()));
        assert_eq!(
            shell("echo first >&2; echo 'no disk' >&2; exit 3", MINUTE),
            Err("/bin/sh ended with exit status: 3: no disk".to_owned())
        );
        assert_eq!(
            shell("kill -9 $$", MINUTE),
            Err("/bin/sh ended with signal: 9 (SIGKILL)".to_owned())
        );
        let absent = run(&["/absent/check".to_owned()], MINUTE).unwrap_err();
        assert!(absent.starts_with("cannot start /absent/check: "), "{absent}");
        assert!(run(&[], MINUTE).is_err());
        assert_eq!(
            shell("test -z \"$HOME$CARGO\"", MINUTE),
            Ok(()),
            "it has an environment of its own"
        );
    }

    #[test]
    fn one_that_hangs_is_killed_with_what_it_has_started() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        // Whoever is left would keep it open.
        let script = format!(
            "mkfifo {0}; exec 3<>{0}; (exec cat {0}) & echo waits >&2; cat {0}",
            fifo.display()
        );
        let told = shell(&script, Duration::from_millis(500)).unwrap_err();
        assert_eq!(told, "/bin/sh did not end in 0.5 s: waits");
    }

    #[test]
    fn one_that_writes_much_is_not_held_up() {
        let script = "i=0; while [ $i -lt 3000 ]; do echo \"line $i of many that are written\" >&2; \
                      i=$((i+1)); done; exit 1";
        let told = shell(script, MINUTE).unwrap_err();
        assert!(told.ends_with(": line 2999 of many that are written"), "{told}");
    }
}
