//! Releases that are good, one after the other, and back.

use anyhow::{Result, bail, ensure};
use qemu_tests::Orlop;
use serde_json::json;

use crate::node::{LIMIT, Node};
use crate::world::world;

/// The disk is the builder's at first. STATE and the node's identity stay.
pub(crate) fn there_and_back(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let [first, later @ ..] = &world.good[..] else { bail!("there are releases") };
    let mut node = Node::new(first, &world.config("deadline = 540\n")?)?;
    let mut on = node.start(orlop)?;
    on.boots(first)?;
    on.is_healthy(first)?;
    on.agent.request("write /var/lib/orlop/kept by the first", LIMIT)?;
    let machine = on.agent.request("read /etc/machine-id", LIMIT)?;
    for (release, way) in later.iter().zip(["delta", "blocks"]) {
        let given = world.server.given();
        let came = on.done(&json!({ "do": "stage", "version": release.version }))?;
        ensure!(came["staged"] == *release.version && came["way"] == way, "{came}");
        let fetched = came["fetched"].as_u64().zip(came["uki-fetched"].as_u64());
        let fetched = fetched.map_or(0, |(root, uki)| root + uki);
        ensure!(fetched <= world.server.given() - given, "{came}");
        on.restarts(&json!({ "do": "upgrade" }))?;
        on.boots(release)?;
        let slots = on.is_healthy(release)?;
        ensure!(slots["fell-back"].is_null() && slots["failed"] == json!([]), "{slots:#}");
        orlop.measured(format!(
            "{}: {fetched} bytes by {way}, {} blocks written",
            release.version, came["written"]
        ));
    }
    on.restarts(&json!({ "do": "rollback" }))?;
    let before = &world.good[later.len() - 1];
    on.boots(before)?;
    on.is_healthy(before)?;
    let kept = on.agent.request("read /var/lib/orlop/kept", LIMIT)?;
    ensure!(kept == ["by the first"], "{kept:?}");
    let same = on.agent.request("read /etc/machine-id", LIMIT)?;
    ensure!(same == machine, "it was {machine:?} and is {same:?}");
    on.power_off()
}
