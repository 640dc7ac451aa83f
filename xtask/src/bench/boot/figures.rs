//! From what `orlop run` reports to a table: which figures there are, and their targets.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Report {
    pub(super) qemu: String,
    pub(super) icount_shift: u8,
    pub(super) runs: u8,
    pub(super) images: Vec<Image>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Image {
    recipe: String,
    init_bytes: u64,
    root_bytes: u64,
    steps: Vec<Step>,
    qemu_cpu_seconds: Spread,
    /// Until a real cluster sees the node Ready. At the host's pace: answers from outside have no
    /// place in a time that is counted in instructions.
    pub(super) ready_seconds: Option<Spread>,
    /// In use by kernel, daemons and two idle pods.
    pub(super) two_pods_memory_bytes: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Step {
    what: &'static str,
    guest_seconds: Spread,
    target: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Spread {
    minimum: f64,
    median: f64,
}

impl Spread {
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let median = values.len().checked_sub(1)? / 2;
        Some(Self { minimum: *values.first()?, median: *values.get(median)? })
    }
}

/// What `orlop run --json` prints.
#[derive(Debug, Deserialize)]
pub(super) struct Summary {
    pub(super) qemu: String,
    marks: Vec<Mark>,
    usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Mark {
    mark: String,
    ns: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Usage {
    cpu_seconds: f64,
}

impl Summary {
    pub(super) fn seconds(&self, mark: &str) -> Option<f64> {
        let mark = self.marks.iter().find(|other| other.mark == mark)?;
        Some(Duration::from_nanos(mark.ns).as_secs_f64())
    }

    pub(super) fn between(&self, from: &str, to: &str) -> Option<f64> {
        Some(self.seconds(to)? - self.seconds(from)?)
    }

    /// What no PID 1 can go below: the kernel until its first process, and containerd from its
    /// start until it answers.
    pub(super) fn floor(&self) -> Option<f64> {
        let containerd = self.between("unit:containerd:started", "cri-answers")?;
        Some(self.seconds("init-start")? + containerd)
    }

    pub(super) fn memory(&self) -> Option<u64> {
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

pub(super) fn figures(recipe: &str, directory: &Path, boots: &[Summary]) -> Result<Image> {
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

pub(super) fn print(report: &Report) {
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
