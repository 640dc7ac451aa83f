//! Servers that err, and a node that is not touched by it.

use anyhow::{Context as _, Result, bail, ensure};
use qemu_tests::Orlop;
use serde_json::json;

use crate::server::{Odd, Server};
use crate::settled::settled;
use crate::slots::Slots;
use crate::world::{seen_by_guests, world};

/// Each is refused in words, changes nothing, and the next look, of a server that is well, is good.
pub(crate) fn servers(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let [first, second, ..] = &world.good[..] else { bail!("there are two releases") };
    let server = Server::start(&world.releases.site());
    let channel = seen_by_guests(&server)?;
    let config = world.releases.config(&channel, "deadline = 540\n")?;
    let mut node = settled(orlop, &world, &config)?;
    let mut on = node.start(orlop)?;
    on.boots(first)?;
    let before = on.is_healthy(first)?;
    let disk = node.disk();
    let on_disk = Slots::of(&disk)?;
    let bytes = on_disk.bytes(first)?;
    let stage = json!({ "do": "stage", "version": second.version });
    for (part, odd) in [
        ("timestamp.json", Odd::Page),
        ("timestamp.json", Odd::Status("404 Not Found", "")),
        ("timestamp.json", Odd::Changed),
        ("release.json", Odd::Changed),
        ("release.json", Odd::Short),
        ("timestamp.json", Odd::Endless),
    ] {
        let what = format!("{part}: {odd:?}");
        server.odd_times(part, odd, 20);
        let why = on.refused(&stage).with_context(|| what.clone())?;
        server.well();
        orlop.measured(format!("{what}: {why}"));
        let slots = on.slots()?;
        ensure!(slots == before, "{what}: {slots:#}");
        ensure!(on_disk.bytes(first)? == bytes, "{what}: the disk was written");
    }
    // A download that is cut off goes on.
    server.odd_times(".delta", Odd::Cut(1000), 1);
    let came = on.done(&stage)?;
    ensure!(came["staged"] == *second.version, "{came}");
    on.power_off()
}
