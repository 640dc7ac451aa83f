//! An updater that is killed while a release comes, and two who ask at once.

use anyhow::{Context as _, Result, bail, ensure};
use formats::boot_entries::Slot;
use qemu_tests::Orlop;
use serde_json::{Value, json};

use crate::node::{LIMIT, Running};
use crate::server::{Odd, Server};
use crate::settled::settled;
use crate::slots::Slots;
use crate::world::{seen_by_guests, world};

/// Kills the unit, with all its processes.
fn kill(on: &mut Running) -> Result<()> {
    on.agent.request("write /sys/fs/cgroup/updater/cgroup.kill 1", LIMIT).map(drop)
}

/// Asks, and waits until a line holds this word; what is asked for goes on.
fn until(on: &mut Running, word: &str, request: &Value) -> Result<Value> {
    let lines = on.agent.request(&format!("until {word} {request}"), LIMIT)?;
    let last = lines.last().context("the updater says nothing")?;
    ensure!(last.contains(word), "it ended without `{word}`: {last}");
    Ok(serde_json::from_str(last)?)
}

/// Wherever the updater is killed, PID 1 starts it again, the slot that runs is as it was, and the next who
/// asks goes on; who asks while another is at it is told so.
pub(crate) fn anywhere(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let [first, second, ..] = &world.good[..] else { bail!("there are two releases") };
    let server = Server::start(&world.releases.site());
    let config = world.releases.config(&seen_by_guests(&server)?, "deadline = 540\n")?;
    let mut node = settled(orlop, &world, &config)?;
    let mut on = node.start(orlop)?;
    on.boots(first)?;
    on.is_healthy(first)?;
    let disk = node.disk();
    let slots = Slots::of(&disk)?;
    let both = [first, second];
    let stage = json!({ "do": "stage", "version": second.version });
    for (part, odd, word) in [
        // While it waits to ask a server again which has hung up.
        ("timestamp.json", Some(Odd::Status("503 Busy", "Retry-After: 60\r\n")), "notice"),
        ("uki.delta", Some(Odd::Cut(1000)), "notice"),
        ("", None, "look-at-spare"),
        ("", None, "fill"),
    ] {
        if let Some(odd) = odd {
            server.odd(part, odd);
        }
        let event = until(&mut on, word, &stage).with_context(|| format!("{part} {word}"))?;
        let busy = on.agent.ask(&json!({ "do": "upgrade" }), LIMIT)?;
        let told = format!("{event}: {busy}");
        let doing = format!("stage {}", second.version);
        ensure!(busy["event"] == "busy" && busy["doing"] == doing, "{told}");
        kill(&mut on)?;
        server.well();
        on.agent.request("healthy", LIMIT)?;
        let said = on.slots()?;
        let healthy = &said["healthy"]["root-hash"];
        ensure!(*healthy == *first.root_hash && said["trial"].is_null(), "{told}: {said:#}");
        let found = slots.judge(&both).with_context(|| told.clone())?;
        ensure!(found.contains(&first.version), "{told}: {found}");
        orlop.measured(format!("{told}: {found}"));
    }
    let came = on.done(&stage)?;
    ensure!(came["staged"] == *second.version, "{came}");
    ensure!(slots.meta()?.staged.is_some_and(|staged| staged.slot == Slot::B), "it is staged");
    on.restarts(&json!({ "do": "upgrade" }))?;
    on.boots(second)?;
    on.is_healthy(second)?;
    on.power_off()
}
