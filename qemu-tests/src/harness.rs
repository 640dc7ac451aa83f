//! Runs tests that need a built image, each a sentence and a function, and prints at the end how
//! long each took and what it has measured. Nothing measured is ever asserted.
#![expect(clippy::print_stdout, reason = "a test harness reports on stdout")]

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
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
}

/// The `main` of a test program without the standard harness: reads the command line, runs the
/// tests it asks for, prints what they cost.
pub fn main(tests: &[(&'static str, Test)], threads: Threads) -> ExitCode {
    let mut arguments = Arguments::from_args();
    if threads == Threads::One {
        arguments.test_threads.get_or_insert(1);
    }
    // Lines for the end: a test that printed them itself would break the harness's own lines.
    let lines = Arc::new(Mutex::new(Vec::new()));
    let trials = tests.iter().map(|&(name, test)| {
        let lines = Arc::clone(&lines);
        Trial::test(name, move || {
            let orlop = Orlop::from_env().map_err(failed)?;
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

/// With all that led to it.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn failed(error: anyhow::Error) -> Failed {
    Failed::from(format!("{error:#}"))
}
