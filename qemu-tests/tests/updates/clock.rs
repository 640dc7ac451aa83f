//! A clock that is wrong: far in the future all has expired, and one of before the image is set to the time
//! of the image.

use anyhow::{Result, bail, ensure};
use qemu_tests::Orlop;
use serde_json::json;

use crate::node::{LIMIT, Node};
use crate::settled::settled;
use crate::slots::Slots;
use crate::world::world;

pub(crate) fn wrong(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let [first, second, ..] = &world.good[..] else { bail!("there are two releases") };
    let mut node = settled(orlop, &world, &world.config("deadline = 540\n")?)?;
    let disk = node.disk();
    let stage = json!({ "do": "stage", "version": second.version });

    let mut on = node.start_with(orlop, &["-rtc", "base=2045-06-07T08:09:10"])?;
    on.boots(first)?;
    let before = on.is_healthy(first)?;
    let slots = Slots::of(&disk)?;
    let bytes = slots.bytes(first)?;
    for request in [&stage, &json!({ "do": "check" })] {
        let why = on.refused(request)?;
        orlop.measured(format!("2045: {why}"));
        ensure!(why.contains("`root.json`: it expired at 20"), "{why}");
    }
    ensure!(on.slots()? == before && slots.bytes(first)? == bytes, "{:#}", on.slots()?);
    on.power_off()?;

    // A new machine, whose clock was never set. Of 1970 this firmware makes 2070.
    let mut node = Node::new(first, &world.config("deadline = 540\n")?)?;
    let mut on = node.start_with(orlop, &["-rtc", "base=2001-02-03"])?;
    on.boots(first)?;
    on.machine.wait_for_line(0, &["the clock said 2001-02-03", ": set to 20"], LIMIT)?;
    on.is_healthy(first)?;
    let came = on.done(&stage)?;
    ensure!(came["staged"] == *second.version, "{came}");
    on.power_off()
}
