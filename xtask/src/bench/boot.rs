//! What a boot costs: guest time of each step, counted in instructions, so that it is the same on
//! any host and under any load. `docs/boot.md` says what was learnt from it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::command::{output, program};
use crate::image;

/// Boots of each kind.
const RUNS: usize = 3;

/// An instruction takes 2^1 ns of guest time.
const SHIFT: &str = "1";

/// What the node config of the measured boots says of the network: an address without a question,
/// for an answer would come at the host's own pace.
const STATIC: &str =
    "\n[network.links.eth0]\naddresses = [\"10.0.2.15/24\"]\ngateways = [\"10.0.2.2\"]\n";

/// One step of a boot in guest seconds from the start of the kernel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Figure {
    boot: &'static str,
    step: &'static str,
    minimum: f64,
    median: f64,
    target: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    qemu: String,
    figures: Vec<Figure>,
    /// Of one boot to the first pod, the smallest.
    qemu_cpu_seconds: f64,
    init_bytes: u64,
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
    #[serde(rename = "mark")]
    name: String,
    ns: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Usage {
    cpu_seconds: f64,
}

/// Boots of one kind: what they are called, what `orlop run` is told, and the steps that are
/// looked at, each with its mark and target.
struct Kind<'a> {
    boot: &'static str,
    image: &'a Path,
    args: Vec<String>,
    steps: &'a [(&'static str, &'static str, Option<f64>)],
}

pub(crate) fn run(json: bool) -> Result<()> {
    let orlop = image::orlop()?;
    let (base, node) = (image::build(&orlop, "base")?, image::build(&orlop, "node")?);
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("node.toml");
    let example = output(program(&orlop).args(["config", "example"]))?;
    fs::write(&config, example + STATIC)?;

    let counted = ["--direct", "--pmem", "--icount", SHIFT].map(str::to_owned);
    let with = |more: &[&str]| {
        let more = more.iter().map(|arg| (*arg).to_owned());
        counted.iter().cloned().chain(more).collect::<Vec<_>>()
    };
    let given = config.to_str().context("a temporary directory has a name of text")?;
    let kinds = [
        Kind {
            boot: "node, icount",
            image: &node,
            args: with(&["--config", given, "--until", "pod"]),
            steps: &[
                ("kernel to PID 1", "init-start", None),
                ("PID 1 in the root", "root-init-start", None),
                ("CRI answers", "cri-answers", None),
                ("kubelet healthy", "kubelet-healthy", None),
                ("first pod runs", "pod-running", Some(7.0)),
            ],
        },
        // The same kernel and root, and nothing for PID 1 to do but containerd.
        Kind {
            boot: "floor: containerd only, icount",
            image: &base,
            args: with(&["--no-network", "--until", "cri"]),
            steps: &[
                ("kernel to PID 1", "init-start", None),
                ("PID 1 in the root", "root-init-start", None),
                ("CRI answers", "cri-answers", None),
            ],
        },
        Kind {
            boot: "node in a cluster, host's time",
            image: &node,
            args: ["--direct", "--cluster", "--until", "ready"].map(str::to_owned).to_vec(),
            steps: &[("kubelet healthy", "kubelet-healthy", None), ("node Ready", "ready", None)],
        },
    ];
    let mut report = Report {
        qemu: String::new(),
        figures: Vec::new(),
        qemu_cpu_seconds: f64::MAX,
        init_bytes: 0,
    };
    for (index, kind) in kinds.iter().enumerate() {
        let console = directory.path().join("console");
        let mut marks: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for _ in 0..RUNS {
            let summary = boot(&orlop, kind, &console)?;
            for mark in &summary.marks {
                // Nanoseconds of a boot are far below what f64 holds exactly.
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                marks.entry(mark.name.clone()).or_default().push(mark.ns as f64 / 1e9);
            }
            if let (0, Some(usage)) = (index, summary.usage) {
                report.qemu_cpu_seconds = report.qemu_cpu_seconds.min(usage.cpu_seconds);
            }
            report.qemu = summary.qemu;
        }
        for &(step, mark, target) in kind.steps {
            let Some(mut seconds) = marks.remove(mark) else { bail!("no mark `{mark}` came") };
            ensure!(seconds.len() == RUNS, "`{mark}` came {} times", seconds.len());
            seconds.sort_by(f64::total_cmp);
            let (minimum, median) = (seconds[0], seconds[RUNS / 2]);
            report.figures.push(Figure { boot: kind.boot, step, minimum, median, target });
        }
    }
    report.init_bytes = init_bytes(&node)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(())
}

fn boot(orlop: &Path, kind: &Kind<'_>, console: &Path) -> Result<Summary> {
    eprintln!("boot: {}", kind.boot);
    let mut command = program(orlop);
    command.arg("run").arg(kind.image).args(&kind.args).arg("--json").arg("--serial").arg(console);
    let text = output(&mut command)?;
    serde_json::from_str(&text).with_context(|| format!("`orlop run --json` printed `{text}`"))
}

/// The size of PID 1 in the image's root: the last word of its line in the manifest.
fn init_bytes(image: &Path) -> Result<u64> {
    let manifest = image.join("manifest.txt");
    let text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    let line = text.lines().find(|line| line.contains(" /usr/lib/orlop/init "));
    let size = line.and_then(|line| line.split(' ').next_back()?.parse().ok());
    size.with_context(|| format!("`{}` has no size of PID 1", manifest.display()))
}

fn print(report: &Report) {
    println!("QEMU {}, icount shift {SHIFT}; guest seconds, {RUNS} runs", report.qemu);
    println!("{:<32} {:<20} {:>8} {:>8} {:>8}", "boot", "step", "minimum", "median", "target");
    for figure in &report.figures {
        let target = figure.target.map_or("-".to_owned(), |target| format!("{target:.1}"));
        println!(
            "{:<32} {:<20} {:>8.2} {:>8.2} {target:>8}",
            figure.boot, figure.step, figure.minimum, figure.median
        );
    }
    println!("QEMU took {:.1} CPU-s until the first pod ran", report.qemu_cpu_seconds);
    println!("PID 1 is {} bytes (target 2000000)", report.init_bytes);
}
