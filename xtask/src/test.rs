//! The tests, in tiers: house rules and lints, tests beside the code, the `orlop` command on good
//! and bad input, whole images, whole nodes in QEMU.

mod side_by_side;
mod tally;
mod turns;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::command::{cargo, cargo_test, line, output, run};
use crate::{bench, image, setup, tidy};
use side_by_side::Prepared;
pub(crate) use side_by_side::named;
use tally::Tally;

/// The manifest of the workspace beside ours, which is built without the standard library.
const PAUSE: &str = "pause/Cargo.toml";
/// That of the program which images of tests have beside those of the image under test.
const AGENT: &str = "qemu-tests/agent/Cargo.toml";

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run only tests whose names hold this text
    pattern: Option<String>,
    /// Leave out whole images and QEMU
    #[arg(long, conflicts_with = "full")]
    fast: bool,
    /// Add the long tests
    #[arg(long)]
    full: bool,
}

pub(crate) fn run_tests(args: &Args) -> Result<bool> {
    let mut tally = Tally::default();
    // Asked first: whoever lacks something should not wait for it.
    let orlop = match !args.fast && named_in_nodes(args.pattern.as_deref())? {
        true => Some(tally.timed("compile the tests, look at this host", prepare)?),
        false => None,
    };
    // What compilers do for images fills the time that tests of the network wait for.
    let prepared = orlop.as_deref().map(Prepared::begin).transpose()?;
    if args.pattern.is_none() {
        tally.part("formatting, lints and house rules", check);
    }
    let mut unit = cargo_test();
    unit.args(["--workspace", "--no-fail-fast"]);
    tally.count("tests beside the code and of the command line", args.of(unit))?;
    for (name, manifest) in
        [("the program of a pod's sandbox", PAUSE), ("the agent of images of tests", AGENT)]
    {
        let mut beside = cargo_test();
        beside.args(["--manifest-path", manifest]);
        tally.count(name, args.of(beside))?;
    }
    if let (Some(orlop), Some(prepared)) = (&orlop, prepared) {
        match prepared.end(&mut tally) {
            Ok(()) => {
                side_by_side::run(&mut tally, args, orlop)?;
                if args.pattern.is_none() {
                    let figures = "the figures of builds and boots can be taken";
                    tally.part(figures, || bench::try_out(orlop));
                }
            }
            Err(error) => tally.fails("images can be built, and judges installed", &error),
        }
    }
    if let Some(complaint) = tally.nothing_ran(args.pattern.as_deref()) {
        bail!(complaint);
    }
    tally.tell();
    Ok(tally.failed == 0)
}

/// The program under test, on a host that has all that the tests need.
fn prepare() -> Result<PathBuf> {
    let orlop = image::orlop_of_tests()?;
    setup::for_tests(&orlop)?;
    Ok(orlop)
}

impl Args {
    /// A run of tests, of those that are asked for.
    fn of(&self, mut command: Command) -> Command {
        if self.full {
            command.env("ORLOP_TEST_FULL", "1");
        }
        command.args(&self.pattern);
        command
    }
}

/// Whether there is a test of whole images or nodes whose name holds this text: for others, no
/// image need be built.
fn named_in_nodes(pattern: Option<&str>) -> Result<bool> {
    let Some(pattern) = pattern else { return Ok(true) };
    let mut list = side_by_side::named(&side_by_side::PROGRAMS);
    list.args(["--quiet", "--", "--list", pattern]);
    eprintln!("$ {}", line(&list));
    Ok(output(&mut list)?.lines().any(is_a_listed_test))
}

/// `NAME: test`, as test programs list theirs.
fn is_a_listed_test(line: &str) -> bool {
    line.ends_with(": test")
}

pub(crate) fn run_command(args: &Args) -> ExitCode {
    match run_tests(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            println!("0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

/// Formatting, lints and house rules.
pub(crate) fn check() -> Result<()> {
    for workspace in ["Cargo.toml", PAUSE, AGENT] {
        run(cargo().args(["fmt", "--manifest-path", workspace, "--all", "--check"]))?;
        run(cargo().args(["clippy", "--quiet", "--manifest-path", workspace]).args([
            "--workspace",
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]))?;
    }
    // Plain `cargo test` leaves these tests out, and so does `--all-targets`.
    run(cargo()
        .args(["clippy", "--quiet", "--workspace", "--test", "*"])
        .args(["--", "--deny", "warnings"]))?;
    tidy::run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_tests_are_understood() {
        assert!(
            is_a_listed_test("state_grows: test") && !is_a_listed_test("0 tests, 0 benchmarks")
        );
    }
}
