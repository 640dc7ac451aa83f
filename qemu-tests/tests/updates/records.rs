//! META damaged between two boots.

use anyhow::{Context as _, Result, bail, ensure};
use formats::meta::OFFSETS;
use qemu_tests::Orlop;
use qemu_tests::disk::Disk;
use serde_json::json;

use crate::node::LIMIT;
use crate::settled::settled;
use crate::slots::Slots;
use crate::world::world;

/// A record that is damaged is made whole by the next healthy boot. Both: the node runs and says why nothing
/// is updated, until somebody has the records begun anew.
pub(crate) fn damaged(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let [first, second, ..] = &world.good[..] else { bail!("there are two releases") };
    let mut node = settled(orlop, &world, &world.config("deadline = 540\n")?)?;
    let path = node.disk();
    let slots = Slots::of(&path)?;
    let disk = Disk::to_change(&path)?;
    let at = OFFSETS.map(|offset| slots.meta_at() + offset);
    let record = |at: u64| disk.bytes(at, 512);
    let was = slots.meta()?;

    // Torn: its second half is that of another time.
    disk.write(at[0] + 256, &[0x5A; 256])?;
    ensure!(slots.meta()? == was, "the other one counts");
    let (mut on, drive) = node.start_on_drive(orlop)?;
    // That a boot is healthy which was so before is only seen on the disk.
    let written = drive.watch(at[0]..at[0] + 512);
    on.boots(first)?;
    on.is_healthy(first)?;
    written.recv_timeout(LIMIT).with_context(|| on.machine.so_far())?;
    on.power_off()?;
    ensure!(record(at[0])? == record(at[1])? && slots.meta()? == was, "{:?}", slots.meta()?);

    for at in at {
        disk.write(at, &[0x5A; 512])?;
    }
    let (mut on, drive) = node.start_on_drive(orlop)?;
    on.boots(first)?;
    // Found healthy, it takes its own count off: nothing is known of the other slot to go back to.
    let named = drive.watch(slots.esp_at());
    named.recv_timeout(LIMIT).with_context(|| on.machine.so_far())?;
    on.machine.wait_for_line(0, &["boot complete"], LIMIT)?;
    ensure!(slots.names()?[0].count().is_none(), "{:?}", slots.names()?);
    let bytes = slots.bytes(first)?;
    let said = on.slots()?;
    let words =
        "what this node remembers of its updates cannot be read: both records of META are damaged";
    ensure!(said["unknown"] == *words && said["running"] == "a", "{said:#}");
    let upgrade = json!({ "do": "upgrade", "version": second.version });
    let why = on.refused(&upgrade)?;
    orlop.measured(format!("both records are damaged: {why}"));
    ensure!(why == words, "{why}");
    ensure!(slots.bytes(first)? == bytes, "who was refused has written");
    on.done(&json!({ "do": "renew" }))?;
    let why = on.refused(&json!({ "do": "renew" }))?;
    ensure!(why.ends_with("nothing is to be renewed"), "{why}");
    // The boot is judged once more by itself.
    let slots = on.is_healthy(first)?;
    ensure!(slots["other"].is_null() && slots["failed"] == json!([]), "{slots:#}");
    on.restarts(&upgrade)?;
    on.boots(second)?;
    on.is_healthy(second)?;
    on.power_off()
}
