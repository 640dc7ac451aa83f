//! What a boot takes. The guest's clock counts instructions (`orlop run --icount 1`), its disk is
//! memory and its network card leads nowhere: so nothing but the image and the version of QEMU
//! shapes the figures (docs/boot.md, "What a boot takes").

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

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
    /// Which recipes to build and boot
    #[arg(default_values = ["base", "node"])]
    recipes: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    qemu: String,
    icount_shift: u8,
    runs: u8,
    images: Vec<Image>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    recipe: String,
    init_bytes: u64,
    root_bytes: u64,
    steps: Vec<Step>,
    qemu_cpu_seconds: Spread,
    /// Until a real cluster sees the node Ready. At the host's pace: answers from outside have no
    /// place in a time that is counted in instructions.
    ready_seconds: Option<Spread>,
    /// In use by kernel, daemons and two idle pods.
    two_pods_memory_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Step {
    what: &'static str,
    guest_seconds: Spread,
    target: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Spread {
    minimum: f64,
    median: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let median = values.len().checked_sub(1)? / 2;
        Some(Self { minimum: *values.first()?, median: *values.get(median)? })
    }
}

/// What `orlop run --json` prints.
#[derive(Debug, Deserialize)]
struct Summary {
    qemu: String,
    marks: Vec<Mark>,
    usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Mark {
    mark: String,
    ns: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Usage {
    cpu_seconds: f64,
}

impl Summary {
    fn seconds(&self, mark: &str) -> Option<f64> {
        let mark = self.marks.iter().find(|other| other.mark == mark)?;
        Some(Duration::from_nanos(mark.ns).as_secs_f64())
    }

    fn between(&self, from: &str, to: &str) -> Option<f64> {
        Some(self.seconds(to)? - self.seconds(from)?)
    }

    /// What no PID 1 can go below: the kernel until its first process, and containerd from its
    /// start until it answers.
    fn floor(&self) -> Option<f64> {
        let containerd = self.between("unit:containerd:started", "cri-answers")?;
        Some(self.seconds("init-start")? + containerd)
    }

    fn memory(&self) -> Option<u64> {
        let kib = self.marks.iter().find_map(|mark| mark.mark.strip_prefix("memory-used:"))?;
        Some(kib.parse::<u64>().ok()? * 1024)
    }
}

type Figure = fn(&Summary) -> Option<f64>;

/// Each row of the table, with the target if there is one.
const STEPS: [(&str, Figure, Option<f64>); 8] = [
    ("kernel alone, until its first process", |boot| boot.seconds("init-start"), None),
    ("kernel to init in the root", |boot| boot.seconds("root-init-start"), None),
    (
        "  of it above the kernel's own time",
        |boot| boot.between("init-start", "root-init-start"),
        Some(0.25),
    ),
    ("floor: kernel, then containerd alone", Summary::floor, None),
    ("kernel to the CRI", |boot| boot.seconds("cri-answers"), None),
    ("  of it above the floor", |boot| boot.between("init-start", "unit:containerd:started"), None),
    ("kernel to kubelet's healthz", |boot| boot.seconds("kubelet-healthy"), None),
    ("kernel to the first pod", |boot| boot.seconds("pod-running"), Some(7.0)),
];

pub(crate) fn run(args: &Args) -> Result<()> {
    let orlop = image::orlop()?;
    let mut qemu = String::new();
    let mut images = Vec::new();
    for recipe in &args.recipes {
        let directory = image::build(&orlop, recipe)?;
        let has_kubelet = fs::read_to_string(directory.join("manifest.txt"))
            .context("the image has no manifest")?
            .contains(" /usr/bin/kubelet ");
        let scratch = tempfile::tempdir()?;
        let bench = Bench { orlop: &orlop, directory: &directory, scratch: scratch.path() };
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
    let report = Report { qemu, icount_shift: SHIFT, runs: args.runs, images };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

fn figures(recipe: &str, directory: &Path, boots: &[Summary]) -> Result<Image> {
    let steps = STEPS.iter().filter_map(|&(what, figure, target)| {
        let guest_seconds = Spread::of(boots.iter().filter_map(figure).collect())?;
        Some(Step { what, guest_seconds, target })
    });
    let cpu = boots.iter().filter_map(|boot| Some(boot.usage.as_ref()?.cpu_seconds)).collect();
    let report = fs::read_to_string(directory.join("build.json")).context("no build.json")?;
    let report: serde_json::Value = serde_json::from_str(&report)?;
    let bytes = |value: &serde_json::Value| value.as_u64().context("build.json lacks a size");
    Ok(Image {
        recipe: recipe.to_owned(),
        init_bytes: bytes(&report["components"]["init"])?,
        root_bytes: bytes(&report["root"]["size"])?,
        steps: steps.collect(),
        qemu_cpu_seconds: Spread::of(cpu).context("QEMU's cost is not known")?,
        ready_seconds: None,
        two_pods_memory_bytes: None,
    })
}

fn print(report: &Report) {
    let Report { qemu, icount_shift, runs, images } = report;
    println!("guest seconds of {runs} boots (QEMU {qemu}, icount shift {icount_shift})");
    let row = |what: &str, cells: [String; 3]| {
        let [minimum, median, target] = cells;
        println!("{what:<42} {minimum:>8} {median:>8} {target:>8}");
    };
    let empty = String::new;
    for image in images {
        println!();
        let head = ["minimum", "median", "target"].map(str::to_owned);
        row(&format!("recipes/{}.toml", image.recipe), head);
        for step in &image.steps {
            let Spread { minimum, median } = step.guest_seconds;
            let target = step.target.map_or_else(empty, |target| format!("{target:.2}"));
            row(step.what, [format!("{minimum:.2}"), format!("{median:.2}"), target]);
        }
        let ready =
            image.ready_seconds.map(|spread| ("Ready in a cluster, at this host's pace", spread));
        let cost = ("CPU-seconds of QEMU", image.qemu_cpu_seconds);
        for (what, Spread { minimum, median }) in ready.into_iter().chain([cost]) {
            row(what, [format!("{minimum:.2}"), format!("{median:.2}"), empty()]);
        }
        let mb = |bytes: u64| format!("{:.2}", bytes as f64 / 1e6);
        row("init, MB", [empty(), mb(image.init_bytes), "2.00".to_owned()]);
        row("root, MB", [empty(), mb(image.root_bytes), empty()]);
        if let Some(bytes) = image.two_pods_memory_bytes {
            let cells = [empty(), mb(bytes), "130.00".to_owned()];
            row("memory in use with two idle pods, MB", cells);
        }
    }
}

struct Bench<'a> {
    orlop: &'a Path,
    directory: &'a Path,
    scratch: &'a Path,
}

impl Bench<'_> {
    /// `orlop run` of a node with this many pods, and a card on which nobody answers: a packet that
    /// comes from outside would disturb the clock.
    fn command(&self, pods: usize, options: &[&str]) -> Result<Command> {
        let config = self.scratch.join("node.toml");
        fs::write(&config, node_config(pods))?;
        let mut command = program(self.orlop);
        command.arg("run").arg(self.directory).args(["--json", "--direct", "--no-network"]);
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
        let mut command = program(self.orlop);
        command.arg("run").arg(self.directory).args(["--json", "--direct", "--cluster"]);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(marks: &[(&str, u64)]) -> Summary {
        let mark = |&(mark, ms): &(&str, u64)| Mark { mark: mark.to_owned(), ns: ms * 1_000_000 };
        Summary { qemu: "7.2".to_owned(), marks: marks.iter().map(mark).collect(), usage: None }
    }

    #[test]
    fn the_floor_is_the_kernel_and_containerd_without_us() {
        let boot = summary(&[
            ("init-start", 1700),
            ("root-init-start", 1950),
            ("unit:containerd:started", 2700),
            ("cri-answers", 4700),
            ("memory-used:1000", 9000),
        ]);
        let in_ms = |figure: &Figure| figure(&boot).map(|seconds| (seconds * 1000.0).round());
        let figures: Vec<_> = STEPS.iter().map(|(_, figure, _)| in_ms(figure)).collect();
        let want = [1700.0, 1950.0, 250.0, 3700.0, 4700.0, 1000.0].map(Some);
        assert_eq!(figures, [&want[..], &[None, None]].concat());
        assert_eq!(boot.memory(), Some(1_024_000));
        assert_eq!(summary(&[]).memory(), None);
    }

    #[test]
    fn the_median_of_an_even_number_is_the_lower_one() {
        let spread = |values: &[f64]| Spread::of(values.to_vec());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { minimum: 1.0, median: 2.0 }));
        assert_eq!(spread(&[2.0, 1.0]), Some(Spread { minimum: 1.0, median: 1.0 }));
        assert_eq!(spread(&[]), None);
    }
}
