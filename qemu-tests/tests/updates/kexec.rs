//! Trials without the firmware, and the watchdog that goes on over the change of the kernel: it resets what
//! hangs before a process runs, and the next kernel takes it over.

use anyhow::{Result, ensure};
use qemu_tests::Orlop;
use qemu_tests::releases::{Bad, Base, Released, Variant};
use serde_json::json;

use crate::node::{LIMIT, Node, Running};
use crate::world::world;

/// An open kernel, or nothing is loaded (docs/decisions/0018-no-kexec-under-lockdown.md).
const OPEN: &str = "\n[security]\nlockdown = \"none\"\nkexec = true\n";
/// What the log of PID 1 has of the watchdog once its loop turns.
const TAKEN: &str = "the watchdog is watchdog0 (i6300ESB timer): a reset 60 s after";

pub(crate) fn watched(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let [first, second, ..] = &world.good[..] else { anyhow::bail!("there are releases") };
    let config = world.config("deadline = 540\nkexec = true\n")? + OPEN;
    let mut node = Node::new(first, &config)?;
    let mut on = node.start(orlop)?;
    on.boots(first)?;
    on.is_healthy(first)?;
    ensure!(slot_of(&mut on)?.is_none(), "the firmware has started it");

    on.restarts(&json!({ "do": "upgrade", "version": second.version }))?;
    on.boots(second)?;
    ensure!(slot_of(&mut on)?.as_deref() == Some("b"), "it was not started by kexec");
    on.is_healthy(second)?;
    let log = on.agent.request("read /var/log/orlop/init.log", LIMIT)?;
    let starts = log.iter().rposition(|line| line.contains(" starts, slot ")).unwrap_or(0);
    ensure!(log[starts..].iter().any(|line| line.contains(TAKEN)), "{log:#?}");

    // Its kernel stands still for ten seconds at each line that it has to say, long before a process runs.
    let hangs = Variant::new(Base::Base, "3.2").word("boot_delay=10000").word("ignore_loglevel");
    let hangs = world.releases.release(orlop, &hangs)?;
    falls_back(&mut on, second, &hangs)?;
    // Its PID 1 has taken the watchdog over, and is frozen.
    let frozen = world.releases.release(orlop, &Bad::InitHangs.variant("3.3", "")?)?;
    falls_back(&mut on, second, &frozen)?;
    on.power_off()
}

/// The slot that kexec has put on the command line; the firmware puts none there.
fn slot_of(on: &mut Running) -> Result<Option<String>> {
    let line = on.agent.request("read /proc/cmdline", LIMIT)?.concat();
    let slot = line.split(' ').find_map(|word| word.strip_prefix("orlop.slot="));
    Ok(slot.map(str::to_owned))
}

/// Only the watchdog can end it.
fn falls_back(on: &mut Running, good: &Released, bad: &Released) -> Result<()> {
    on.restarts(&json!({ "do": "upgrade", "version": bad.version }))?;
    let mut start = on.starts()?;
    if start.root_hash == bad.root_hash {
        // It came so far that its agent ran.
        start = on.starts()?;
    }
    ensure!(start.root_hash == good.root_hash, "{} runs", start.root_hash);
    ensure!(slot_of(on)?.is_none(), "the firmware has started it");
    let slots = on.is_healthy(good)?;
    let fell_back = &slots["fell-back"];
    ensure!(fell_back["version"] == *bad.version && fell_back["reason"].is_string(), "{slots:#}");
    Ok(())
}
