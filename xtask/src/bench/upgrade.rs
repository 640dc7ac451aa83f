//! What an upgrade costs a node: a whole node in QEMU, under OVMF, goes to another release by delta, to one
//! more by blocks and kexec, and is restarted in between. The figures are taken by the test
//! `what_an_upgrade_costs_is_told` of `qemu-tests/tests/updates`. docs/updates.md has them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::update::trees;
use crate::command::{cargo_test, run};
use crate::image;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// What is older in the node that is upgraded
    #[arg(value_enum, default_value = "kernel")]
    older: trees::Part,
}

/// What the test tells.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    by_delta: Staged,
    by_blocks: Staged,
    restart: Away,
    upgrade: Away,
    upgrade_by_kexec: Away,
}

/// A release was brought to the spare slot.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Staged {
    /// Of the root and of the UKI.
    fetched_bytes: u64,
    uki_fetched_bytes: u64,
    written_blocks: u64,
    changed_blocks: u64,
    updater_guest_cpu_seconds: f64,
    /// Of the process.
    updater_peak_memory_bytes: u64,
    /// Of its control group: with what the kernel keeps for it of files and devices.
    updater_peak_memory_with_cache_bytes: u64,
}

/// From the request until a pod runs again.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Away {
    qemu_cpu_seconds: f64,
    /// Of the kernel's clock, which begins with it.
    guest_seconds_until_pod: f64,
}

pub(crate) fn run_node(args: &Args) -> Result<()> {
    let orlop = image::orlop()?;
    let recipe = trees::recipe_of(&orlop, args.older)?;
    let text = measured(&orlop, &recipe)?;
    if args.json {
        print!("{text}");
        return Ok(());
    }
    let report = serde_json::from_str(&text).context("the figures of the test")?;
    print(&report);
    Ok(())
}

/// Runs the test, and returns what it tells.
fn measured(orlop: &Path, recipe: &Path) -> Result<String> {
    let (base, node) = (image::build(orlop, "base")?, image::build(orlop, "node")?);
    let place = tempfile::tempdir()?;
    let figures: PathBuf = place.path().join("figures.json");
    let mut test = cargo_test();
    test.args([
        "--quiet",
        "--workspace",
        "--test",
        "updates",
        "--",
        "what_an_upgrade_costs_is_told",
    ]);
    test.env("ORLOP", orlop).env("ORLOP_IMAGE", base).env("ORLOP_NODE_IMAGE", node);
    test.env("ORLOP_TEST_FULL", "1").env("ORLOP_BENCH_UPGRADE_FROM", recipe);
    run(test.env("ORLOP_BENCH_UPGRADE_TO", &figures).stdout(std::io::stderr()))?;
    fs::read_to_string(&figures).with_context(|| format!("cannot read {}", figures.display()))
}

fn print(report: &Report) {
    println!(
        "{:<28} {:>12} {:>12} {:>9} {:>9} {:>6} {:>8} {:>9} {:>11}",
        "staged",
        "root bytes",
        "UKI bytes",
        "written",
        "changed",
        "ratio",
        "CPU-s",
        "peak MiB",
        "with cache"
    );
    for (way, staged) in [("by delta", &report.by_delta), ("by blocks", &report.by_blocks)] {
        println!(
            "{way:<28} {:>12} {:>12} {:>9} {:>9} {:>6.2} {:>8.1} {:>9.0} {:>11.0}",
            staged.fetched_bytes,
            staged.uki_fetched_bytes,
            staged.written_blocks,
            staged.changed_blocks,
            staged.written_blocks as f64 / staged.changed_blocks as f64,
            staged.updater_guest_cpu_seconds,
            staged.updater_peak_memory_bytes as f64 / f64::from(1 << 20),
            staged.updater_peak_memory_with_cache_bytes as f64 / f64::from(1 << 20),
        );
    }
    println!(
        "\n{:<28} {:>12} {:>22}",
        "until a pod runs again", "QEMU CPU-s", "guest s, of the kernel"
    );
    for (what, away) in [
        ("a plain restart", &report.restart),
        ("upgrade, by the firmware", &report.upgrade),
        ("upgrade, by kexec", &report.upgrade_by_kexec),
    ] {
        println!(
            "{what:<28} {:>12.1} {:>22.1}",
            away.qemu_cpu_seconds, away.guest_seconds_until_pod
        );
    }
}
