//! What keeps all processors busy: images are built while tests run that wait for time, and programs of
//! tests that need images run side by side.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::Args;
use super::tally::{self, Ran, Tally};
use super::turns::Turns;
use crate::command::{cargo_test, line, program, wait_for};
use crate::{image, setup};

/// The programs of tests that need images, in the order in which they begin: those first that take
/// longest, so that short ones are left for the end.
pub(super) const PROGRAMS: [&str; 13] = [
    "kubernetes",
    "seeds",
    "image",
    "config",
    "kata",
    "updates",
    "node",
    "userlands",
    "state",
    "cluster",
    "upgrade",
    "loader",
    "robust",
];

/// `cargo test` of some of them. In the whole workspace, so that its crates have the features that they
/// have in all other tests, and are not compiled again.
pub(crate) fn named(programs: &[&str]) -> Command {
    let mut command = cargo_test();
    command.arg("--workspace").args(programs.iter().flat_map(|name| ["--test", name]));
    command
}

/// What tests of images need, which another process makes: images, and on a machine of CI the judges.
#[derive(Debug)]
pub(super) struct Prepared {
    child: Child,
    /// What it says.
    log: File,
    begin: Instant,
}

impl Prepared {
    /// Begins, with images by this `orlop`.
    pub(super) fn begin(orlop: &Path) -> Result<Self> {
        let log = tempfile::tempfile()?;
        // By its own name there may be another one by now: the tests have built it anew.
        let mut command = program("/proc/self/exe");
        command.args(["images", "--orlop"]).arg(orlop);
        command.args(setup::is_ci().then_some("--judges"));
        eprintln!("$ {} &", line(&command));
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
        let child = child.spawn().context("cannot start what builds the images")?;
        Ok(Self { child, log, begin: Instant::now() })
    }

    /// Waits for it, and shows what was said.
    pub(super) fn end(mut self, tally: &mut Tally) -> Result<()> {
        let (status, usage) = wait_for(&self.child)?;
        let mut text = Vec::new();
        self.log.rewind()?;
        self.log.read_to_end(&mut text)?;
        eprint!("{}", String::from_utf8_lossy(&text));
        tally.took("images and judges, beside the lints and tests above", self.begin, usage);
        match status {
            0 => Ok(()),
            _ => bail!("see above"),
        }
    }
}

/// How many tests run at once: half as many again as there are processors, for a guest waits for time and
/// disks half of its life; and no more than fit into the memory that is available, by `/proc/meminfo`.
fn lanes(meminfo: &str) -> usize {
    /// A guest's memory, its cluster, and what QEMU and the test need beside it, in KiB.
    const GUEST: usize = 4 << 20;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
    (processors + processors / 2).min(kib.unwrap_or(0) / GUEST).max(1)
}

/// Runs the tests that need images: programs side by side, whose tests take turns at the processors.
pub(super) fn run(tally: &mut Tally, args: &Args, orlop: &Path) -> Result<()> {
    let lanes = lanes(&fs::read_to_string("/proc/meminfo").unwrap_or_default());
    let turns = Turns::new(lanes)?;
    let begin = |name: &str| -> Result<Ran> {
        let mut command = named(&[name]);
        command.args(["--no-fail-fast", "--"]).env("ORLOP", orlop);
        command.env("ORLOP_IMAGE", image::path("base"));
        command.env("ORLOP_NODE_IMAGE", image::path("node"));
        command.env("ORLOP_TEST_TURNS", turns.socket());
        tally::run(name, &format!("{name:10} | "), args.of(command))
    };
    let waiting = Mutex::new(PROGRAMS.iter());
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            let (waiting, begin, sender) = (&waiting, &begin, sender.clone());
            scope.spawn(move || {
                let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some(name) = next() {
                    if sender.send(begin(name)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for ran in receiver {
            tally.add(ran?);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_tests_run_at_once_than_fit_into_memory() {
        assert_eq!(lanes("MemTotal: 9000000 kB\nMemAvailable:    4300000 kB\n"), 1);
        assert_eq!(lanes(""), 1);
        let processors = std::thread::available_parallelism().unwrap().get();
        assert_eq!(lanes("MemAvailable: 900000000 kB\n"), processors + processors / 2);
    }
}
