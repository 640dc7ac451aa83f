//! Programs that are asked and may never answer.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Of an answer, in bytes; what comes after that is thrown away.
const LONGEST: usize = 4 << 20;

/// A piece of the answer of one of them, or its end.
type Piece = (usize, Option<Vec<u8>>);

/// Runs the program with each of these arguments, all at once, and returns what each has written
/// to standard output when it ended or, at the latest, after `limit`; nothing of one that cannot be
/// started. Who has not ended by then is killed and not waited for: a disk may hold it in the
/// kernel, and then it stays after this program.
pub(crate) fn ask_all(program: &Path, calls: &[Vec<OsString>], limit: Duration) -> Vec<Vec<u8>> {
    let mut answers = vec![Vec::new(); calls.len()];
    let mut running: Vec<Option<Pid>> = vec![None; calls.len()];
    let (pieces, received) = channel::<Piece>();
    for (index, call) in calls.iter().enumerate() {
        match ask(program, call, index, pieces.clone()) {
            Ok(pid) => running[index] = pid,
            Err(error) => eprintln!("cannot ask by {}: {error}", program.display()),
        }
    }
    let until = Instant::now() + limit;
    while running.iter().any(Option::is_some) {
        let left = until.saturating_duration_since(Instant::now());
        let Ok((index, piece)) = received.recv_timeout(left) else { break };
        match piece {
            Some(bytes) => {
                let room = LONGEST.saturating_sub(answers[index].len()).min(bytes.len());
                answers[index].extend_from_slice(&bytes[..room]);
            }
            None => running[index] = None,
        }
    }
    for pid in running.into_iter().flatten() {
        // One that has ended meanwhile is as good.
        let _ = kill_process(pid, Signal::KILL);
    }
    answers
}

/// Starts one, whose answer comes in pieces from a thread of its own.
fn ask(
    program: &Path,
    call: &[OsString],
    index: usize,
    pieces: Sender<Piece>,
) -> io::Result<Option<Pid>> {
    #[expect(clippy::disallowed_methods, reason = "this is the module for it")]
    let mut command = Command::new(program);
    let mut child = command.args(call).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    thread::Builder::new().spawn(move || listen(&mut child, index, &pieces))?;
    Ok(pid)
}

fn listen(child: &mut Child, index: usize, pieces: &Sender<Piece>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Some(pipe) = child.stdout.as_mut() {
        match pipe.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            // Nobody listens any more when this fails.
            Ok(length) => drop(pieces.send((index, Some(buffer[..length].to_vec())))),
        }
    }
    let _ = pieces.send((index, None));
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: &str = "/bin/sh";
    const MINUTE: Duration = Duration::from_secs(60);

    fn shell(scripts: &[&str], limit: Duration) -> Vec<String> {
        let calls: Vec<Vec<OsString>> =
            scripts.iter().map(|script| vec!["-c".into(), (*script).into()]).collect();
        let answers = ask_all(Path::new(SHELL), &calls, limit);
        answers.into_iter().map(|answer| String::from_utf8(answer).unwrap()).collect()
    }

    #[test]
    fn all_are_asked_at_once() {
        // Each writes to a pipe that the other reads.
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let (one, other) = (at("one"), at("other"));
        for fifo in [&one, &other] {
            use rustix::fs::{CWD, FileType, Mode, mknodat};
            mknodat(CWD, fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        }
        let first = format!("echo x > {one}; cat {other}");
        let second = format!("cat {one}; echo y > {other}");
        assert_eq!(shell(&[&first, &second], MINUTE), ["y\n", "x\n"]);
    }

    #[test]
    fn who_never_ends_is_left_with_what_it_has_said_and_the_others_are_heard() {
        let mut limit = Duration::from_millis(300);
        loop {
            let said = shell(&["echo begun; exec sleep 1000", "echo all"], limit);
            // A busy host may have killed them before they said anything.
            if said == ["begun\n", "all\n"] {
                break;
            }
            assert!(limit < MINUTE, "{said:?}");
            limit *= 2;
        }
    }

    #[test]
    fn one_that_cannot_be_started_says_nothing() {
        let none = ask_all(Path::new("/nonexistent"), &[vec![], vec![]], MINUTE);
        assert_eq!(none, [Vec::<u8>::new(), Vec::new()]);
    }
}
