//! The figures of updates, as JSON and as a table.

use serde::{Deserialize, Serialize};

use super::trees::Versions;
use crate::command::Usage;

/// CPU-seconds in which a release with three deltas should be published.
const PUBLISH: f64 = 120.0;
/// Bytes of memory in which a delta should be applied.
const APPLY: u64 = 128 << 20;
/// What a delta should be at most, of the smaller one of the others'.
const DELTA: f64 = 1.0;
/// What blocks should be at most, of the objects of `ostree`.
const BLOCKS: f64 = 0.75;

/// All figures of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Report {
    pub(super) ostree: String,
    pub(super) zstd: String,
    pub(super) to: To,
    pub(super) updates: Vec<Update>,
    pub(super) publish: Publish,
    pub(super) verify: Cost,
    pub(super) skipped: Vec<Skipped>,
}

/// The release that updates lead to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct To {
    pub(super) versions: Versions,
    pub(super) data_bytes: u64,
    pub(super) whole_bytes: u64,
    pub(super) tree_bytes: u64,
    pub(super) ukis: Vec<Uki>,
}

/// A file of the UKI as it is published.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Uki {
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// An update from one older tree.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Update {
    /// What is older in it.
    pub(super) of: &'static str,
    pub(super) from: Versions,
    pub(super) delta_bytes: u64,
    pub(super) apply: Cost,
    pub(super) blocks: Blocks,
    pub(super) ostree_delta: Made,
    pub(super) zstd_patch: Made,
    pub(super) ostree_objects: Objects,
}

/// What a program has used.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Cost {
    pub(super) cpu_seconds: f64,
    pub(super) peak_memory_bytes: u64,
}

impl From<Usage> for Cost {
    fn from(usage: Usage) -> Self {
        Self { cpu_seconds: usage.cpu_seconds, peak_memory_bytes: usage.peak_memory }
    }
}

/// What somebody else has made.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Made {
    pub(super) bytes: u64,
    #[serde(flatten)]
    pub(super) cost: Cost,
}

/// What is fetched by blocks, the seek table and the hash tree not counted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Blocks {
    pub(super) bytes: u64,
    pub(super) requests: u64,
    /// How many blocks of 4096 bytes the node lacks.
    pub(super) blocks: u64,
}

/// What a pull fetches.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Objects {
    pub(super) bytes: u64,
    pub(super) objects: usize,
}

/// What it costs to publish the release that updates lead to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Publish {
    pub(super) deltas: usize,
    pub(super) whole: Cost,
    /// What it costs to publish one of the older trees, all of which have none.
    pub(super) without_deltas: Option<Cost>,
}

/// A tree that cannot be had here.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Skipped {
    pub(super) of: &'static str,
    pub(super) why: Vec<String>,
}

impl Update {
    /// The delta's part of the smaller one of the others'.
    fn delta_part(&self) -> f64 {
        self.delta_bytes as f64 / self.ostree_delta.bytes.min(self.zstd_patch.bytes) as f64
    }

    /// The part of `ostree`'s objects that is fetched by blocks.
    fn blocks_part(&self) -> f64 {
        self.blocks.bytes as f64 / self.ostree_objects.bytes as f64
    }
}

impl Versions {
    fn told(&self) -> String {
        let modules = [("containerd", &self.containerd), ("kubelet", &self.kubernetes)];
        let modules = modules.into_iter().filter_map(|(name, version)| {
            version.as_ref().map(|version| format!(", {name} {version}"))
        });
        format!("Linux {}{}", self.kernel, modules.collect::<String>())
    }

    /// What is not as in the tree that an update leads to.
    fn other_than(&self, to: &Self) -> String {
        let parts = [
            ("Linux", Some(&self.kernel), Some(&to.kernel)),
            ("containerd", self.containerd.as_ref(), to.containerd.as_ref()),
            ("kubelet", self.kubernetes.as_ref(), to.kubernetes.as_ref()),
        ];
        let other = parts.into_iter().filter(|(_, from, to)| from != to);
        let told = other.map(|(name, from, _)| {
            let version = from.map_or("none", |version| version.as_str());
            format!("{name} {version}")
        });
        told.collect::<Vec<_>>().join(", ")
    }
}

fn mb(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / 1e6)
}

fn seconds(cost: Cost) -> String {
    format!("{:.1}", cost.cpu_seconds)
}

impl Report {
    pub(super) fn print(&self) {
        let Self { ostree, zstd, to, updates, publish, verify, skipped } = self;
        println!("to {}", to.versions.told());
        println!(
            "root image {} MB: whole {} MB, its hash tree {} MB",
            mb(to.data_bytes),
            mb(to.whole_bytes),
            mb(to.tree_bytes)
        );
        for Uki { name, bytes } in &to.ukis {
            println!("{name} {} MB", mb(*bytes));
        }
        let row = |cells: [&str; 8]| {
            let [from, cells @ ..] = cells;
            let cells = cells.map(|cell| format!("{cell:>10}")).join("");
            println!("{from:<36}{cells}");
        };
        println!("\nMB, beside ostree {ostree} and zstd {zstd} -19 --long=28 --patch-from");
        row(["from", "delta", "ostree's", "zstd's", "part", "blocks", "objects", "part"]);
        for update in updates {
            row([
                &update.from.other_than(&to.versions),
                &mb(update.delta_bytes),
                &mb(update.ostree_delta.bytes),
                &mb(update.zstd_patch.bytes),
                &format!("{:.2}", update.delta_part()),
                &mb(update.blocks.bytes),
                &mb(update.ostree_objects.bytes),
                &format!("{:.2}", update.blocks_part()),
            ]);
        }
        println!(
            "goals: a delta at most {DELTA:.2} of the smaller one, blocks {BLOCKS:.2} of objects"
        );
        println!("\n{:<44}{:>10}{:>10}{:>12}", "", "CPU-s", "goal", "peak MB");
        let cost = |what: &str, cost: Cost, goal: Option<f64>, memory: Option<u64>| {
            let goal = goal.map_or("-".to_owned(), |goal| format!("{goal:.0}"));
            let most = memory.map_or(String::new(), |most| format!(" of {}", mb(most)));
            let peak = mb(cost.peak_memory_bytes);
            println!("{what:<44}{:>10}{goal:>10}{peak:>12}{most}", seconds(cost));
        };
        for update in updates {
            let what = format!("apply, from {}", update.from.other_than(&to.versions));
            cost(&what, update.apply, None, Some(APPLY));
        }
        cost(
            &format!("publish with {} deltas", publish.deltas),
            publish.whole,
            (publish.deltas == 3).then_some(PUBLISH),
            None,
        );
        if let Some(publish) = publish.without_deltas {
            cost("publish without deltas", publish, None, None);
        }
        cost("verify", *verify, None, None);
        for update in updates {
            let from = update.from.other_than(&to.versions);
            cost(&format!("ostree's delta, from {from}"), update.ostree_delta.cost, None, None);
            cost(&format!("zstd's patch, from {from}"), update.zstd_patch.cost, None, None);
        }
        for Skipped { of, why } in skipped {
            println!("no older {of}: {}", why.join("; "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(kernel: &str, containerd: &str) -> Versions {
        let (kernel, containerd) = (kernel.to_owned(), Some(containerd.to_owned()));
        Versions { kernel, containerd, kubernetes: None }
    }

    #[test]
    fn an_update_is_named_after_what_is_other_in_it() {
        let to = versions("6.12.2", "v2.4.2");
        assert_eq!(to.told(), "Linux 6.12.2, containerd v2.4.2");
        assert_eq!(versions("6.12.1", "v2.4.2").other_than(&to), "Linux 6.12.1");
        assert_eq!(versions("6.12.2", "v2.4.1").other_than(&to), "containerd v2.4.1");
        let both = "Linux 6.12.1, containerd v2.4.1";
        assert_eq!(versions("6.12.1", "v2.4.1").other_than(&to), both);
    }

    #[test]
    fn a_delta_is_held_against_the_smaller_one_of_the_others() {
        let cost = Cost { cpu_seconds: 1.5, peak_memory_bytes: 4096 };
        let mut update = Update {
            of: "kernel",
            from: versions("6.12.1", "v2.4.2"),
            delta_bytes: 90,
            apply: cost,
            blocks: Blocks { bytes: 60, requests: 2, blocks: 3 },
            ostree_delta: Made { bytes: 100, cost },
            zstd_patch: Made { bytes: 300, cost },
            ostree_objects: Objects { bytes: 120, objects: 7 },
        };
        assert_eq!((update.delta_part(), update.blocks_part()), (0.9, 0.5));
        update.zstd_patch.bytes = 45;
        assert_eq!(update.delta_part(), 2.0);
        let json = serde_json::to_value(&update).unwrap();
        assert_eq!(json["zstd-patch"]["cpu-seconds"], 1.5);
        assert_eq!(json["from"]["kernel"], "6.12.1");
    }
}
