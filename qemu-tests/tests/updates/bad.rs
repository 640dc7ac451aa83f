//! Releases that must be left, each a real image: the node comes back to what it ran before, says why,
//! and does not try it again by itself.

use anyhow::{Context as _, Result, ensure};
use qemu_tests::Orlop;
use qemu_tests::releases::{Bad, Base, Released};
use serde_json::json;

use crate::full;
use crate::node::{LIMIT, Node, Running};
use crate::world::{World, seen_by_guests, world};

/// What stands on the console of a machine that starts from it, where it says so itself.
fn sign(bad: Bad) -> &'static [&'static str] {
    match bad {
        Bad::KernelPanics => &["Kernel panic - not syncing"],
        Bad::InitEnds => &["Attempted to kill init!"],
        Bad::ContainerdEnds => &["containerd FAILED"],
        Bad::RootDamaged => &["is corrupted"],
        _ => &[],
    }
}

/// Those of them that need no cluster, on one node.
fn on_one_node(which: Bad) -> bool {
    match which {
        // One with each commit, for a guest without KVM takes minutes; the rest with `--full`.
        Bad::KernelPanics => true,
        Bad::InitEnds | Bad::ContainerdEnds => full(),
        Bad::InitHangs | Bad::RootDamaged | Bad::NoNetworkDriver => full(),
        Bad::KubeletEnds | Bad::NeverReady | Bad::DiskSlow => false,
    }
}

pub(crate) fn left(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let first = &world.good[0];
    let mut node = Node::new(first, &world.config("deadline = 60\n")?)?;
    let mut on = node.start(orlop)?;
    on.boots(first)?;
    on.is_healthy(first)?;
    for (number, bad) in Bad::ALL.into_iter().enumerate().filter(|(_, bad)| on_one_node(*bad)) {
        ensure!(bad.base() == Base::Base, "{bad:?}");
        let channel = seen_by_guests(&world.server)?;
        let there = channel.trim_start_matches("http://");
        let release = bad.variant(&format!("2.{number}"), there)?;
        let release = world.releases.release(orlop, &release)?;
        on = falls_back(orlop, &world, &mut node, on, (bad, &release))
            .with_context(|| format!("{bad:?}"))?;
    }
    on.power_off()
}

fn falls_back(
    orlop: &Orlop,
    world: &World,
    node: &mut Node,
    mut on: Running,
    (bad, release): (Bad, &Released),
) -> Result<Running> {
    let first = &world.good[0];
    let mut from = on.machine.console().len();
    let restart = bad != Bad::RootDamaged;
    let upgrade = json!({ "do": "upgrade", "version": release.version, "restart": restart });
    on.restarts(&upgrade)?;
    if !restart {
        // The other slot is filled and armed; the disk is damaged behind its back.
        on.power_off()?;
        node.damage("ROOT-B", release)?;
        on = node.start(orlop)?;
        from = 0;
    }
    if !sign(bad).is_empty() {
        on.machine.wait_for_line(from, sign(bad), LIMIT)?;
    }
    let mut start = on.starts()?;
    if start.root_hash == release.root_hash {
        // It came so far that its agent ran.
        start = on.starts()?;
    }
    ensure!(start.root_hash == first.root_hash, "{} runs", start.root_hash);
    let slots = on.is_healthy(first)?;
    let (version, reason) = (&slots["fell-back"]["version"], &slots["fell-back"]["reason"]);
    ensure!(*version == *release.version && reason.is_string(), "{slots:#}");
    orlop.measured(format!("{bad:?}: {reason}"));
    // By itself the node does not take it again.
    let check = on.done(&json!({ "do": "check" }))?;
    let against = check["against-by-policy"].as_str().unwrap_or_default();
    ensure!(check["newest"] == *release.version && against.contains("failed"), "{check}");
    Ok(on)
}
