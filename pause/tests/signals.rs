//! The program itself: how it ends, and that it leaves no child behind.
#![expect(clippy::disallowed_methods, reason = "the rule is for what ships; this is a test")]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);

/// `/proc/PID/syscall` begins with this while the program waits in `rt_sigtimedwait`.
const WAITS_FOR_SIGNALS: &str = "128 ";

/// The running program. Ends with the test, also with one that fails.
struct Pause(Child);

impl Pause {
    /// Starts the command, which is or becomes the program, and waits until it waits for signals.
    fn start(command: &mut Command) -> Self {
        let pause = Self(command.spawn().unwrap());
        until("it waits for signals", || pause.about("syscall").starts_with(WAITS_FOR_SIGNALS));
        pause
    }

    /// What the kernel says of the process in this file below `/proc/PID`.
    fn about(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap()
    }

    /// How many children it has; one that ended counts until it is reaped.
    fn children(&self) -> usize {
        let file = format!("task/{}/children", self.0.id());
        self.about(&file).split_whitespace().count()
    }

    fn send(&self, signal: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        // Fails where it has ended already, which is how it should be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the condition holds: what happens to another process sends us no event.
fn until(what: &str, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < DEADLINE, "in vain: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn it_runs_until_it_is_told_to_end_and_ends_well() {
    for signal in ["-TERM", "-INT"] {
        let mut pause = Pause::start(&mut Command::new(env!("CARGO_BIN_EXE_pause")));
        assert_eq!(pause.0.try_wait().unwrap(), None);
        pause.send(signal);
        assert_eq!(pause.0.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_stop_and_a_continue_change_nothing() {
    let mut pause = Pause::start(&mut Command::new(env!("CARGO_BIN_EXE_pause")));
    pause.send("-STOP");
    until("it has stopped", || pause.about("status").contains("State:\tT"));
    pause.send("-CONT");
    until("it waits again", || pause.about("syscall").starts_with(WAITS_FOR_SIGNALS));
    pause.send("-TERM");
    assert_eq!(pause.0.wait().unwrap().code(), Some(0));
}

#[test]
fn children_that_end_are_reaped() {
    // The shell becomes the program, and its children become the program's: they end when the
    // pipe closes.
    let script = "exec 3<&0 </dev/null; cat <&3 & cat <&3 & exec \"$0\" 3<&-";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_pause")]).stdin(Stdio::piped());
    let mut pause = Pause::start(&mut shell);
    assert_eq!(pause.children(), 2);
    drop(pause.0.stdin.take());
    until("all are reaped", || pause.children() == 0);
    pause.send("-TERM");
    assert_eq!(pause.0.wait().unwrap().code(), Some(0));
}
