//! Runs tests that need a built image, each a sentence and a function, and prints at the end how
//! long each took and what it has measured. Nothing measured is ever asserted.
#![expect(clippy::print_stdout, reason = "a test harness reports on stdout")]

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::Orlop;

/// What a test does with the program and the image.
pub type Test = fn(&Orlop) -> Result<()>;

/// How many tests run at once if the command line does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One: each test has the machine for itself.
    One,
    /// As many as there are processors.
    PerProcessor,
    /// As many as there are processors, and memory for that many guests.
    Guests,
}

/// All of `tests`, and of `long` as well where `ORLOP_TEST_FULL` is set: `cargo xtask test --full`.
pub fn with_long(
    tests: &[(&'static str, Test)],
    long: &[(&'static str, Test)],
) -> Vec<(&'static str, Test)> {
    let long = if is_full() { long } else { &[] };
    tests.iter().chain(long).copied().collect()
}

/// Whether all there is shall be tried: `ORLOP_TEST_FULL` is set.
pub fn is_full() -> bool {
    std::env::var_os("ORLOP_TEST_FULL").is_some()
}

/// The `main` of a test program without the standard harness: reads the command line, runs the
/// tests it asks for, prints what they cost.
pub fn main(tests: &[(&'static str, Test)], threads: Threads) -> ExitCode {
    let mut arguments = Arguments::from_args();
    match threads {
        Threads::One => _ = arguments.test_threads.get_or_insert(1),
        Threads::PerProcessor => {}
        Threads::Guests => _ = arguments.test_threads.get_or_insert_with(guests_at_once),
    }
    // Lines for the end: a test that printed them itself would break the harness's own lines.
    let lines = Arc::new(Mutex::new(Vec::new()));
    let trials = tests.iter().map(|&(name, test)| {
        let lines = Arc::clone(&lines);
        Trial::test(name, move || {
            let orlop = Orlop::from_env().map_err(failed)?;
            let _turn = turn().map_err(failed)?;
            let start = Instant::now();
            let result = test(&orlop).map_err(failed);
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push(format!("{:7.1} s  {name}", start.elapsed().as_secs_f64()));
            lines.extend(orlop.into_figures().iter().map(|figure| format!("{:11}{figure}", "")));
            result
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    for line in lines.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        println!("{line}");
    }
    conclusion.exit_code()
}

/// Waits for a turn, where programs of tests run side by side, and has it until it is dropped:
/// `xtask` listens there and gives a few at once.
fn turn() -> Result<Option<UnixStream>> {
    let Some(socket) = std::env::var_os("ORLOP_TEST_TURNS") else { return Ok(None) };
    let ask = || -> std::io::Result<UnixStream> {
        let mut turn = UnixStream::connect(&socket)?;
        turn.read_exact(&mut [0])?;
        Ok(turn)
    };
    let turn = ask().with_context(|| format!("no turn at `{}`", socket.to_string_lossy()))?;
    Ok(Some(turn))
}

/// How many guests this machine holds. Without KVM a guest that does something keeps one processor busy.
fn guests_at_once() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    guests_in(&meminfo).clamp(1, processors)
}

/// How many guests the available memory holds, by the text of `/proc/meminfo`.
fn guests_in(meminfo: &str) -> usize {
    /// A guest's memory and what QEMU and the test need beside it, in KiB.
    const GUEST: usize = 2560 << 10;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    kib.unwrap_or(0) / GUEST
}

/// With all that led to it.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn failed(error: anyhow::Error) -> Failed {
    Failed::from(format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_guests_run_as_the_memory_holds() {
        for (meminfo, want) in [
            ("MemTotal: 8000000 kB\nMemAvailable:    7900000 kB\n", 3),
            ("MemAvailable: 2000000 kB\n", 0),
            ("MemAvailable: much\n", 0),
            ("", 0),
        ] {
            assert_eq!(guests_in(meminfo), want, "{meminfo:?}");
        }
    }
}
