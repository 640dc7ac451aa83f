//! Tests with the real kernel's network: a program of tests that runs in a network namespace of its
//! own. Nothing leaves it. The namespace is the process's from its first thread on; who is not root
//! gets a user namespace around it. Other crates include this file by its path.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Trial};

/// Set for the process inside the namespace.
const INSIDE: &str = "ORLOP_TEST_NETWORK_NAMESPACE";

/// The `main` of such a program: starts it again, inside, where the tests run one after the other.
pub(crate) fn main(tests: &[(&'static str, fn())]) -> ExitCode {
    if env::var_os(INSIDE).is_none() {
        let own = env::current_exe().expect("a program");
        let flags: &[&str] =
            if rustix::process::geteuid().is_root() { &["-n"] } else { &["-n", "-r"] };
        let mut command = Command::new("unshare");
        command.args(flags).arg("--").arg(own).args(env::args_os().skip(1)).env(INSIDE, "1");
        let error = command.exec();
        panic!("cannot run unshare(1): {error}");
    }
    let mut arguments = Arguments::from_args();
    // All have the one namespace.
    arguments.test_threads = Some(1);
    let trial = |&(name, test): &(&'static str, fn())| {
        Trial::test(name, move || {
            // A thread of its own: what a test gives up for good, the next one has.
            match std::thread::spawn(test).join() {
                Ok(()) => Ok(()),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    };
    libtest_mimic::run(&arguments, tests.iter().map(trial).collect()).exit_code()
}

/// Runs a program and gives what it says.
pub(crate) fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output().expect(program);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {error}");
    String::from_utf8(output.stdout).expect("text")
}
