//! What a boot takes. The guest's clock counts instructions (`orlop run --icount 1`), its disk is
//! memory and its network card leads nowhere: so nothing but the image and the version of QEMU
//! shapes the figures (docs/boot.md, "What a boot takes").

mod figures;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use self::figures::{Report, Spread, Summary, figures, print};
use super::qemu;
use crate::command::{line, output, program};
use crate::image;

/// 2 ns for each instruction: that of a slow processor which does one at a time.
const SHIFT: u8 = 1;
/// How long two idle pods settle, in real time, before their memory is counted.
const SETTLE: Duration = Duration::from_secs(30);
/// For a hang; a boot takes a minute on a busy host without KVM.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// How many times each image boots
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Whose QEMU runs the guests
    #[arg(long, value_enum, default_value_t = Emulator::Debian13)]
    qemu: Emulator,
    /// Which recipes to build and boot
    #[arg(default_values = ["base", "node"])]
    recipes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Emulator {
    /// Debian 13's on every host: figures of two hosts can be compared
    #[value(name = "debian13")]
    Debian13,
    /// What is in PATH
    Host,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let report = report(&image::orlop()?, args)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

/// One boot of the smaller image in the host's QEMU.
pub(crate) fn try_out(orlop: &Path) -> Result<()> {
    let recipes = vec!["base".to_owned()];
    report(orlop, &Args { json: false, runs: 1, qemu: Emulator::Host, recipes }).map(drop)
}

fn report(orlop: &Path, args: &Args) -> Result<Report> {
    let path = qemu::path(match args.qemu {
        Emulator::Debian13 => Some(qemu::install(orlop)?),
        Emulator::Host => None,
    })?;
    let mut qemu = String::new();
    let mut images = Vec::new();
    for recipe in &args.recipes {
        let directory = image::build(orlop, recipe)?;
        let has_kubelet = fs::read_to_string(directory.join("manifest.txt"))
            .context("the image has no manifest")?
            .contains(" /usr/bin/kubelet ");
        let scratch = tempfile::tempdir()?;
        let bench = Bench { orlop, path: &path, directory: &directory, scratch: scratch.path() };
        let until = if has_kubelet { "pod" } else { "cri" };
        let boots = (0..args.runs).map(|_| bench.boot(until)).collect::<Result<Vec<_>>>()?;
        qemu = boots.first().map(|boot| boot.qemu.clone()).unwrap_or_default();
        let mut image = figures(recipe, &directory, &boots)?;
        if has_kubelet {
            let joins = (0..args.runs).map(|_| bench.join()).collect::<Result<Vec<_>>>()?;
            image.ready_seconds =
                Spread::of(joins.iter().filter_map(|boot| boot.seconds("ready")).collect());
            image.two_pods_memory_bytes = Some(bench.memory()?);
        }
        images.push(image);
    }
    Ok(Report { qemu, icount_shift: SHIFT, runs: args.runs, images })
}

struct Bench<'a> {
    orlop: &'a Path,
    /// Where it finds QEMU, as `PATH` has it.
    path: &'a OsStr,
    directory: &'a Path,
    scratch: &'a Path,
}

impl Bench<'_> {
    fn orlop_run(&self) -> Command {
        let mut command = program(self.orlop);
        command.env("PATH", self.path);
        command.arg("run").arg(self.directory).args(["--json", "--direct"]);
        command
    }

    /// `orlop run` of a node with this many pods, and a card on which nobody answers: a packet that
    /// comes from outside would disturb the clock.
    fn command(&self, pods: usize, options: &[&str]) -> Result<Command> {
        let config = self.scratch.join("node.toml");
        fs::write(&config, node_config(pods))?;
        let mut command = self.orlop_run();
        command.arg("--no-network");
        command.arg("--serial").arg(self.scratch.join("console")).arg("--config").arg(config);
        command.args(options).args(["--", "-device", "virtio-net-pci,romfile="]);
        Ok(command)
    }

    fn boot(&self, until: &str) -> Result<Summary> {
        let shift = SHIFT.to_string();
        let mut command = self.command(1, &["--pmem", "--icount", &shift, "--until", until])?;
        eprintln!("$ {}", line(&command));
        Ok(serde_json::from_str(&output(&mut command)?)?)
    }

    /// A boot which ends when the API server of a throw-away cluster says that the node is Ready.
    fn join(&self) -> Result<Summary> {
        let mut command = self.orlop_run();
        command.arg("--cluster");
        command.args(["--until", "ready", "--serial"]).arg(self.scratch.join("console"));
        eprintln!("$ {}", line(&command));
        Ok(serde_json::from_str(&output(&mut command)?)?)
    }

    /// Bytes in use with two pods that have been idle for a while, in a boot by the usual clock.
    fn memory(&self) -> Result<u64> {
        let mut command = self.command(2, &["--progress", "json"])?;
        eprintln!("$ {}", line(&command));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| line(&command))?;
        let report = child.stderr.take().context("no stderr")?;
        let summary = child.stdout.take().context("no stdout")?;
        let waited = wait_for_a_pod(report).and_then(|reports| {
            thread::sleep(SETTLE);
            // As Ctrl-C does: the guest's power button.
            kill_process(Pid::from_child(&child), Signal::INT)?;
            let summary = read_summary(summary);
            drop(reports);
            summary
        });
        if waited.is_err() {
            // Harmless if it has ended.
            drop(child.kill());
        }
        let status = child.wait()?;
        let summary = waited?;
        ensure!(status.success(), "`{}` failed with {status}", line(&command));
        summary.memory().context("PID 1 did not say how much memory is in use")
    }
}

fn read_summary(stdout: ChildStdout) -> Result<Summary> {
    Ok(serde_json::from_reader(stdout)?)
}

/// The pipe is read on, so that nobody who writes to it has to wait.
fn wait_for_a_pod(report: ChildStderr) -> Result<Receiver<String>> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(report).lines().map_while(Result::ok) {
            // After the pod has come nobody may listen any more.
            drop(sender.send(line));
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        if line.contains("\"mark pod-running\"") {
            return Ok(lines);
        }
        said.push(line);
    }
    bail!("no pod came to run:\n{}", said.join("\n"))
}

/// The demonstration of `orlop config example` with a fixed address, and as many pods.
fn node_config(pods: usize) -> String {
    let pod = |number| {
        format!(
            r#"
pod-{number} = """
apiVersion: v1
kind: Pod
metadata:
  name: pod-{number}
spec:
  containers:
    - name: pause
      image: orlop.dev/pause:1
      imagePullPolicy: Never
"""
"#
        )
    };
    let pods: String = (1..=pods).map(pod).collect();
    format!(
        r#"schema = 1
hostname = "bench"

[network.links.eth0]
addresses = ["10.0.2.15/24"]
gateways = ["10.0.2.2"]

[cni]
bridge = "10.88.0.0/16"

[kubernetes]
standalone = true

[kubernetes.static-pods]
{pods}"#
    )
}
