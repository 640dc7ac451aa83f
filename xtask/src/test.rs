//! The tests, in tiers: house rules and lints, tests beside the code, the `orlop` command on good
//! and bad input, whole images, whole nodes in QEMU.

use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::command::{cargo, cargo_test, line, output, run, workspace};
use crate::{bench, image, setup, tidy};

/// The manifest of the workspace beside ours, which is built without the standard library.
const PAUSE: &str = "pause/Cargo.toml";
/// That of the program which images of tests have beside those of the image under test.
const AGENT: &str = "qemu-tests/agent/Cargo.toml";

/// The tests that need images.
const NODES: [&str; 25] = [
    "--package",
    "qemu-tests",
    "--lib",
    "--test",
    "image",
    "--test",
    "userlands",
    "--test",
    "robust",
    "--test",
    "loader",
    "--test",
    "updates",
    "--test",
    "node",
    "--test",
    "config",
    "--test",
    "state",
    "--test",
    "cluster",
    "--test",
    "upgrade",
    "--test",
    "kubernetes",
];

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
    said: Said,
}

pub(crate) fn run_tests(args: &Args) -> Result<bool> {
    let mut tally = Tally::default();
    // Asked first: whoever lacks something should not wait for it.
    let nodes = !args.fast && named_in_nodes(args.pattern.as_deref())?;
    if nodes {
        setup::for_tests(std::env::var_os("CI").as_deref())?;
    }
    if args.pattern.is_none() {
        tally.part("formatting, lints and house rules", check);
    }
    let with_pattern = |mut command: Command| {
        if let Some(pattern) = &args.pattern {
            command.arg(pattern);
        }
        command
    };
    let mut unit = cargo_test();
    unit.args(["--workspace", "--exclude", "qemu-tests", "--no-fail-fast"]);
    if args.full {
        unit.env("ORLOP_TEST_FULL", "1");
    }
    tally.count("tests beside the code and of the command line", with_pattern(unit))?;
    for (name, manifest) in
        [("the program of a pod's sandbox", PAUSE), ("the agent of images of tests", AGENT)]
    {
        let mut beside = cargo_test();
        beside.args(["--manifest-path", manifest]);
        tally.count(name, with_pattern(beside))?;
    }
    if nodes {
        let orlop = image::orlop()?;
        match image::build(&orlop, "base")
            .and_then(|base| Ok((base, image::build(&orlop, "node")?)))
        {
            Ok((base, node)) => {
                let mut nodes = cargo_test();
                nodes
                    .args(NODES)
                    .arg("--no-fail-fast")
                    .arg("--")
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
    if let Some(complaint) = tally.nothing_ran(args.pattern.as_deref()) {
        bail!(complaint);
    }
    // Hours may lie between a failure and the end.
    for text in &tally.said.lines {
        eprintln!("{text}");
    }
    for broken in &tally.broken {
        eprintln!("failed: {broken}");
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0)
}

/// Whether there is a test of whole images or nodes whose name holds this text: for others, no
/// image need be built.
fn named_in_nodes(pattern: Option<&str>) -> Result<bool> {
    let Some(pattern) = pattern else { return Ok(true) };
    let mut list = cargo_test();
    list.arg("--quiet").args(NODES).args(["--", "--list", pattern]);
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
        .args(["clippy", "--quiet", "--package", "qemu-tests", "--test", "*"])
        .args(["--", "--deny", "warnings"]))?;
    tidy::run()
}

impl Tally {
    /// What to say if no test has a name as was asked for: a word that is misspelt must not look
    /// like tests that pass.
    fn nothing_ran(&self, pattern: Option<&str>) -> Option<String> {
        let pattern = pattern.filter(|_| self.passed + self.failed == 0)?;
        Some(format!("no test has a name that holds `{pattern}`"))
    }

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
                self.said.take(&text);
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

/// What failed tests have said, to be told again at the end.
#[derive(Debug, Default)]
struct Said {
    lines: Vec<String>,
    /// How many more lines of this failure are kept; nothing outside of one.
    left: Option<usize>,
}

impl Said {
    /// Of one failure: a cause stands at its beginning, what a machine printed after it.
    const LINES: usize = 40;

    /// The next line of a run: a failure begins with `---- NAME`, and all end with the list of names.
    fn take(&mut self, text: &str) {
        if text.starts_with("---- ") {
            self.left = Some(Self::LINES);
        } else if text == "failures:" || closing_line(text).is_some() {
            self.left = None;
        }
        if let Some(left) = self.left.filter(|left| *left > 0) {
            self.lines.push(text.to_owned());
            self.left = Some(left - 1);
        }
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
    fn a_pattern_that_fits_no_test_is_a_failure_with_words() {
        let none = Tally::default();
        let said = none.nothing_ran(Some("grwos"));
        assert_eq!(said.as_deref(), Some("no test has a name that holds `grwos`"));
        assert_eq!(none.nothing_ran(None), None);
        for tally in [Tally { passed: 1, ..none }, Tally { failed: 1, ..Tally::default() }] {
            assert_eq!(tally.nothing_ran(Some("grows")), None);
        }
        assert!(
            is_a_listed_test("state_grows: test") && !is_a_listed_test("0 tests, 0 benchmarks")
        );
    }

    #[test]
    fn what_failed_tests_have_said_is_told_again() {
        let mut said = Said::default();
        let run = "test b ... FAILED\n\nfailures:\n\n---- b stdout ----\nwhy\n\n---- c ----\nbecause\n\n\n\
                   failures:\n    b\n    c\n\ntest result: FAILED. 1 passed; 2 failed";
        run.lines().for_each(|text| said.take(text));
        let kept: Vec<_> = said.lines.iter().filter(|line| !line.is_empty()).collect();
        assert_eq!(kept, ["---- b stdout ----", "why", "---- c ----", "because"]);
        said = Said::default();
        said.take("---- long ----");
        (0..1000).for_each(|_| said.take("line"));
        assert_eq!(said.lines.len(), Said::LINES);
    }

    #[test]
    fn the_closing_line_of_a_test_run_is_understood() {
        let text = "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 2 filtered out";
        assert_eq!(closing_line(text), Some((3, 1)));
        assert_eq!(closing_line("test a ... ok"), None);
    }
}
