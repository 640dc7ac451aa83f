//! What an update of a node costs: bytes by delta, by blocks and whole, beside what stock `ostree` and
//! `zstd` make of the same trees in the same run; time and memory of whoever applies, publishes and
//! verifies. docs/releases-format.md has the figures.

mod others;
mod releases;
mod report;
pub(super) mod trees;

use std::path::Path;
use std::thread;

use anyhow::{Result, anyhow};

use self::report::{Report, To, Update};
use self::trees::Trees;
use crate::image;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// What is older in the nodes that are updated
    #[arg(value_enum, default_values = ["kernel", "containerd", "kubelet"])]
    older: Vec<trees::Part>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let orlop = image::orlop()?;
    let report = measured(&orlop, &Trees::of_nodes(&orlop, &args.older)?)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.print();
    }
    Ok(())
}

/// Ours, `ostree` and `zstd` beside each other: what is measured is not the time that passes.
fn measured(orlop: &Path, trees: &Trees) -> Result<Report> {
    let scratch = tempfile::tempdir_in(trees::place()?)?;
    let scratch = scratch.path();
    let (ours, ostree, zstd) = thread::scope(|scope| {
        let ostree = scope.spawn(|| others::ostree(orlop, trees, scratch));
        let zstd = scope.spawn(|| others::zstd(trees, scratch));
        let ours = releases::measured(orlop, trees, scratch);
        (ours, ostree.join(), zstd.join())
    });
    let lost = |_| anyhow!("a thread that measures has panicked");
    let (ours, ostree, zstd) = (ours?, ostree.map_err(lost)??, zstd.map_err(lost)??);
    let others = ostree.into_iter().zip(zstd);
    let updates = trees.older.iter().zip(ours.applied).zip(others).map(
        |((from, (delta_bytes, apply, blocks)), ((ostree_delta, ostree_objects), zstd_patch))| {
            let (of, from) = (from.name, from.versions.clone());
            Update {
                of,
                from,
                delta_bytes,
                apply,
                blocks,
                ostree_delta,
                zstd_patch,
                ostree_objects,
            }
        },
    );
    Ok(Report {
        ostree: others::version("ostree")?,
        zstd: others::version("zstd")?,
        to: To {
            versions: trees.today.versions.clone(),
            data_bytes: trees.today.data,
            whole_bytes: ours.whole_bytes,
            tree_bytes: ours.tree_bytes,
            ukis: ours.ukis,
        },
        updates: updates.collect(),
        publish: ours.publish,
        verify: ours.verify,
        skipped: trees.skipped.clone(),
    })
}
