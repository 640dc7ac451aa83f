//! Firmware that keeps no variable for the loader: the trial goes by a counted entry.

use anyhow::{Context as _, Result, bail, ensure};
use qemu_tests::Orlop;
use qemu_tests::releases::{Base, Released, Variant};
use qemu_tests::variables::{LOADER, Variables};
use serde_json::json;

use crate::node::{LIMIT, Node, Running};
use crate::settled::settled;
use crate::world::world;

/// Firmware without services for a system that runs.
pub(crate) fn without_services(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let [_, second, ..] = &world.good[..] else { bail!("there are two releases") };
    let variant = Variant::new(Base::Base, "1.0").word("efi=noruntime");
    let first = world.releases.build(orlop, &variant)?;
    let mut node = Node::new(&first, &world.config("deadline = 540\n")?)?;
    let mut on = node.start(orlop)?;
    on.boots(&first)?;
    on.is_healthy(&first)?;
    goes_by_a_counted_entry(orlop, &mut on, second, "this machine has no EFI variables")?;
    on.restarts(&json!({ "do": "upgrade" }))?;
    on.boots(second)?;
    on.is_healthy(second)?;
    on.power_off()
}

/// A store of variables that has no room.
pub(crate) fn full(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let [first, second, ..] = &world.good[..] else { bail!("there are two releases") };
    let mut node = settled(orlop, &world, &world.config("deadline = 540\n")?)?;
    let path = node.disk().with_extension("raw.vars");
    let mut variables = Variables::read(&path)?;
    let mut number = 0;
    for size in [1024, 128, 8] {
        while variables.set(&LOADER, &format!("Full{number}"), &vec![7; size]).is_ok() {
            number += 1;
        }
    }
    variables.write(&path)?;
    let mut on = node.start(orlop)?;
    on.boots(first)?;
    on.is_healthy(first)?;
    goes_by_a_counted_entry(orlop, &mut on, second, "the firmware has no room")?;
    // However it starts again, the entry has its attempt.
    on.power_off()?;
    let mut on = node.start(orlop)?;
    on.boots(second)?;
    on.is_healthy(second)?;
    on.power_off()
}

fn goes_by_a_counted_entry(
    orlop: &Orlop,
    on: &mut Running,
    next: &Released,
    words: &str,
) -> Result<()> {
    let upgrade = json!({ "do": "upgrade", "version": next.version, "restart": false });
    let events = on.agent.request(&format!("ask {upgrade}"), LIMIT)?;
    let last = events.last().context("the updater says nothing")?;
    ensure!(last.contains(r#""trial":"#), "{last}");
    let told = events.iter().find(|line| line.contains("its entry is counted instead"));
    let told = told.with_context(|| format!("nobody is told that it is counted: {last}"))?;
    orlop.measured(told.clone());
    ensure!(told.contains(words), "{told}");
    let slots = on.slots()?;
    let entry = slots["entries"][1].as_str().unwrap_or_default();
    ensure!(entry.ends_with("b+1.efi") && slots["trial"]["phase"] == "armed", "{slots:#}");
    Ok(())
}
