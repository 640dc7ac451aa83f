//! The tests, in tiers: house rules and lints, tests beside the code, the `orlop` command on good
//! and bad input, whole images, whole nodes in QEMU.

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::command::{cargo, cargo_test, line, run, workspace};
use crate::{bench, image, setup, tidy};

/// The manifest of the workspace beside ours, which is built without the standard library.
const PAUSE: &str = "pause/Cargo.toml";

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

#[derive(Debug, Default)]
struct Tally {
    passed: u64,
    failed: u64,
    broken: Vec<String>,
}

pub(crate) fn run_tests(args: &Args) -> Result<bool> {
    let mut tally = Tally::default();
    if args.pattern.is_none() {
        tally.part("formatting, lints and house rules", check);
    }
    if !args.fast {
        setup::run_all()?;
    }
    let with_pattern = |mut command: Command| {
        if let Some(pattern) = &args.pattern {
            command.arg(pattern);
        }
        command
    };
    let mut unit = cargo_test();
    unit.args(["--workspace", "--exclude", "qemu-tests", "--no-fail-fast"]);
    tally.count("tests beside the code and of the command line", with_pattern(unit))?;
    let mut pause = cargo_test();
    pause.args(["--manifest-path", PAUSE]);
    tally.count("the program of a pod's sandbox", with_pattern(pause))?;
    if !args.fast {
        let orlop = image::orlop()?;
        match image::build(&orlop, "base")
            .and_then(|base| Ok((base, image::build(&orlop, "node")?)))
        {
            Ok((base, node)) => {
                let mut nodes = cargo_test();
                nodes
                    .args(["--package", "qemu-tests", "--no-fail-fast"])
                    .args(["--lib", "--test", "image", "--test", "robust", "--test", "node"])
                    .args(["--test", "config", "--test", "cluster", "--test", "kubernetes", "--"])
                    .env("ORLOP", &orlop)
                    .env("ORLOP_IMAGE", &base)
                    .env("ORLOP_NODE_IMAGE", &node);
                if args.full {
                    nodes.env("ORLOP_TEST_FULL", "1");
                }
                tally.count("whole images and nodes", with_pattern(nodes))?;
                if args.pattern.is_none() {
                    tally.part("the figures of builds and boots can be taken", bench::try_out);
                }
            }
            Err(error) => tally.part("build the images", || Err(error)),
        }
    }
    for broken in &tally.broken {
        eprintln!("failed: {broken}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0)
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
    for workspace in ["Cargo.toml", PAUSE] {
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
        .args(["clippy", "--quiet", "--package", "qemu-tests", "--test", "*"])
        .args(["--", "--deny", "warnings"]))?;
    tidy::run()
}

impl Tally {
    /// A part that is one test.
    fn part(&mut self, name: &str, part: impl FnOnce() -> Result<()>) {
        let begin = Instant::now();
        match part() {
            Ok(()) => {
                self.passed += 1;
                eprintln!("-- {name}: passed in {:.0} s", begin.elapsed().as_secs_f64());
            }
            Err(error) => {
                self.failed += 1;
                eprintln!("-- {name}: {error:#}");
                self.broken.push(name.to_owned());
            }
        }
    }

    /// A part that is a run of `cargo test`: its closing lines are added up.
    fn count(&mut self, name: &str, mut command: Command) -> Result<()> {
        let begin = Instant::now();
        eprintln!("$ {}", line(&command));
        command.current_dir(workspace()).stdout(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("cannot start `{}`", line(&command)))?;
        let (mut passed, mut failed) = (0, 0);
        if let Some(stdout) = child.stdout.take() {
            for text in std::io::BufRead::lines(std::io::BufReader::new(stdout)) {
                let text = text?;
                println!("{text}");
                if let Some((good, bad)) = closing_line(&text) {
                    passed += good;
                    failed += bad;
                }
            }
        }
        // A run that ends badly without a failed test did not compile or was killed.
        if !child.wait()?.success() && failed == 0 {
            failed = 1;
        }
        self.passed += passed;
        self.failed += failed;
        if failed > 0 {
            self.broken.push(name.to_owned());
        }
        eprintln!(
            "-- {name}: {passed} passed, {failed} failed in {:.0} s",
            begin.elapsed().as_secs_f64()
        );
        Ok(())
    }
}

/// `test result: ok. 3 passed; 1 failed; ...`
fn closing_line(text: &str) -> Option<(u64, u64)> {
    let rest = text.strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut parts = rest.split("; ");
    let passed = parts.next()?.strip_suffix(" passed")?.parse().ok()?;
    let failed = parts.next()?.strip_suffix(" failed")?.parse().ok()?;
    Some((passed, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_of_a_test_run_is_understood() {
        let text = "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 2 filtered out";
        assert_eq!(closing_line(text), Some((3, 1)));
        assert_eq!(closing_line("test a ... ok"), None);
    }
}
