//! An EFI system partition that is not only ours.

use anyhow::{Context as _, Result, bail, ensure};
use qemu_tests::Orlop;
use qemu_tests::disk::Disk;
use qemu_tests::process::judge;
use serde_json::json;

use crate::node::LIMIT;
use crate::settled::settled;
use crate::slots::Slots;
use crate::world::world;

/// Somebody else's entry beside ours: the node runs, says whose partition it is, and touches nothing. A
/// second partition of that type is nobody's business.
pub(crate) fn partition(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let [first, second, ..] = &world.good[..] else { bail!("there are two releases") };
    let mut node = settled(orlop, &world, &world.config("deadline = 540\n")?)?;
    let path = node.disk();
    let slots = Slots::of(&path)?;
    let disk = Disk::to_change(&path)?;
    let esp = disk.partition("ESP")?;
    let place = format!("{}@@{}", path.display(), esp.offset());
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), "somebody else's")?;
    let file = file.path().to_str().context("a path")?;
    judge("mcopy", "mtools", ["-i", &place, file, "::/EFI/Linux/fedora.efi"])?;

    let mut on = node.start(orlop)?;
    on.boots(first)?;
    on.machine.wait_for_line(0, &["boot complete"], LIMIT)?;
    let bytes = slots.bytes(first)?;
    let stage = json!({ "do": "stage", "version": second.version });
    let why = on.refused(&stage)?;
    let said = on.slots()?;
    orlop.measured(format!("somebody else's file: {why}"));
    ensure!(
        why.starts_with("this is a foreign EFI system partition: ")
            && why.to_lowercase().contains("fedora.efi"),
        "{why}"
    );
    ensure!(said["unknown"] == *why && slots.bytes(first)? == bytes, "{said:#}");
    on.power_off()?;

    judge("mdel", "mtools", ["-i", &place, "::/EFI/Linux/fedora.efi"])?;
    // The disk has become larger, and somebody has made a partition of that.
    let name = path.to_str().context("a path")?;
    disk.grow((4 << 30) + (64 << 20))?;
    let other = ["-e", "-n", "6:0:0", "-t", "6:ef00", "-c", "6:OTHER", name];
    judge("sgdisk", "gdisk", other)?;
    let other = disk.partition("OTHER")?;
    // What the end of the smaller disk has left there may be in it.
    let was = disk.bytes(other.offset(), other.size())?;
    let mut on = node.start(orlop)?;
    on.boots(first)?;
    on.is_healthy(first)?;
    on.restarts(&json!({ "do": "upgrade", "version": second.version }))?;
    on.boots(second)?;
    on.is_healthy(second)?;
    on.power_off()?;
    let is = disk.partition("OTHER")?;
    ensure!(is == other, "{other:?} became {is:?}");
    let at = was.iter().zip(disk.bytes(other.offset(), other.size())?).position(|(a, b)| *a != b);
    ensure!(at.is_none(), "the other partition was written, at byte {at:?} of {other:?}");
    Ok(())
}
