//! What a run of tests has come to: what passed and failed, what failed tests have said, what each part
//! has taken.

use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::command::{Usage, children_time, line, wait_for, workspace};

/// The whole run.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
    broken: Vec<String>,
    said: Vec<String>,
    costs: Vec<Cost>,
}

/// What a part of the run has taken.
#[derive(Debug)]
struct Cost {
    part: String,
    wall: Duration,
    /// Seconds of all programs that were waited for, and of theirs.
    processors: f64,
}

/// What a run of `cargo test` has come to.
#[derive(Debug)]
pub(super) struct Ran {
    passed: u64,
    failed: u64,
    said: Said,
    cost: Cost,
}

impl Tally {
    /// What to say if no test has a name as was asked for: a word that is misspelt must not look
    /// like tests that pass.
    pub(super) fn nothing_ran(&self, pattern: Option<&str>) -> Option<String> {
        let pattern = pattern.filter(|_| self.passed + self.failed == 0)?;
        Some(format!("no test has a name that holds `{pattern}`"))
    }

    /// Does something by other programs, and keeps what they have taken.
    pub(super) fn timed<T>(&mut self, part: &str, work: impl FnOnce() -> T) -> T {
        let (begin, before) = (Instant::now(), children_time());
        let result = work();
        let (wall, processors) = (begin.elapsed(), children_time() - before);
        self.costs.push(Cost { part: part.to_owned(), wall, processors });
        result
    }

    /// A program has run since then and used this.
    pub(super) fn took(&mut self, part: &str, since: Instant, usage: Usage) {
        let (wall, processors) = (since.elapsed(), usage.cpu_seconds);
        self.costs.push(Cost { part: part.to_owned(), wall, processors });
    }

    /// A part that is one test.
    pub(super) fn part(&mut self, name: &str, part: impl FnOnce() -> Result<()>) {
        match self.timed(name, part) {
            Ok(()) => {
                self.passed += 1;
                eprintln!("-- {name}: passed");
            }
            Err(error) => self.fails(name, &error),
        }
    }

    /// A part that is one test has failed.
    pub(super) fn fails(&mut self, name: &str, error: &anyhow::Error) {
        self.failed += 1;
        eprintln!("-- {name}: {error:#}");
        self.broken.push(name.to_owned());
    }

    /// A part that is a run of `cargo test`.
    pub(super) fn count(&mut self, name: &str, command: Command) -> Result<()> {
        self.add(run(name, "", command)?);
        Ok(())
    }

    /// Adds up.
    pub(super) fn add(&mut self, ran: Ran) {
        let Ran { passed, failed, said, cost } = ran;
        eprintln!("-- {}: {passed} passed, {failed} failed", cost.part);
        self.passed += passed;
        self.failed += failed;
        if failed > 0 {
            self.broken.push(cost.part.clone());
        }
        self.said.extend(said.lines);
        self.costs.push(cost);
    }

    /// Tells what failed once more, for hours may lie between a failure and the end, and what each part
    /// has taken.
    pub(super) fn tell(&self) {
        for text in &self.said {
            eprintln!("{text}");
        }
        for broken in &self.broken {
            eprintln!("failed: {broken}");
        }
        for cost in &self.costs {
            eprintln!("{cost}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, wall, processors } = self;
        write!(f, "{:6} s  {processors:6.0} CPU-s  {part}", wall.as_secs())
    }
}

/// Runs tests, shows what they say, each line with `before` in front, and adds up their closing lines.
pub(super) fn run(name: &str, before: &str, mut command: Command) -> Result<Ran> {
    let begin = Instant::now();
    eprintln!("$ {}", line(&command));
    command.current_dir(workspace()).stdout(Stdio::piped());
    let mut child =
        command.spawn().with_context(|| format!("cannot start `{}`", line(&command)))?;
    let (mut passed, mut failed) = (0, 0);
    let mut said = Said::default();
    if let Some(stdout) = child.stdout.take() {
        for text in BufReader::new(stdout).lines() {
            let text = text?;
            println!("{before}{text}");
            said.take(&text);
            if let Some((good, bad)) = closing_line(&text) {
                passed += good;
                failed += bad;
            }
        }
    }
    let (status, usage) = wait_for(&child)?;
    // A run that ends badly without a failed test did not compile or was killed.
    if status != 0 && failed == 0 {
        failed = 1;
    }
    let (wall, processors) = (begin.elapsed(), usage.cpu_seconds);
    Ok(Ran { passed, failed, said, cost: Cost { part: name.to_owned(), wall, processors } })
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
