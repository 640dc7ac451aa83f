//! A disk that fails while a release comes: it is told in words, what runs is as it was, and once the disk
//! works again, in the same boot, the next try comes through.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};
use formats::boot_entries::Slot;
use formats::meta::{OFFSETS, RECORD};
use qemu_tests::Orlop;
use qemu_tests::drive::Fails;
use qemu_tests::releases::Released;
use serde_json::json;

use crate::settled::settled;
use crate::slots::Slots;
use crate::world::world;

const BLOCK: u64 = 4096;

/// What fails of which bytes of the disk.
type Faults = Vec<(Range<u64>, Fails)>;

/// Where two images differ first: a block that an upgrade from one to the other must write.
fn differing(one: &Released, other: &Released) -> Result<u64> {
    let read = |release: &Released| std::fs::read(release.image.join("root.img"));
    let (one, other) = (read(one)?, read(other)?);
    let at = one.iter().zip(&other).position(|(one, other)| one != other);
    Ok(u64::try_from(at.context("the images are the same")?)? / BLOCK * BLOCK)
}

pub(crate) fn disk(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let [first, second, ..] = &world.good[..] else { bail!("there are two releases") };
    let mut node = settled(orlop, &world, &world.config("deadline = 540\n")?)?;
    let path = node.disk();
    let slots = Slots::of(&path)?;
    let block = slots.root(Slot::B) + differing(first, second)?;
    let block = block..block + 512;
    let uki = slots.uki(Slot::B);
    let records = OFFSETS.map(|offset| slots.meta_at() + offset);
    let records = records.map(|at| at..at + RECORD as u64);
    let esp = {
        let esp = qemu_tests::disk::Disk::open(&path)?.partition("ESP")?;
        esp.offset()..esp.offset() + esp.size()
    };
    let in_uki = uki.offset + uki.length / 2..uki.offset + uki.length / 2 + 512;
    let head = uki.offset..uki.offset + 512;

    let (mut on, drive) = node.start_on_drive(orlop)?;
    on.boots(first)?;
    on.is_healthy(first)?;
    let stage = json!({ "do": "stage", "version": second.version });
    let all = |ranges: &[Range<u64>], fails| ranges.iter().map(|it| (it.clone(), fails)).collect();
    let write = |range: &Range<u64>| vec![(range.clone(), Fails::Write)];
    let read = |range: &Range<u64>| vec![(range.clone(), Fails::Read)];
    let of_uki = "cannot write or read the UKI of slot B";
    let cases: [(&str, Faults, &str); 7] = [
        ("the records of META, to write", all(&records, Fails::Write), "cannot write META"),
        ("the records of META, to read", all(&records, Fails::Read), "cannot read META"),
        ("the ESP, to write", write(&esp), "cannot "),
        ("the spare root, to write", write(&block), "the spare slot"),
        ("the spare root, to read", read(&block), "cannot read root slot B"),
        ("the spare UKI, to write", write(&in_uki), of_uki),
        ("the spare UKI, to read", read(&in_uki), of_uki),
    ];
    for (what, faults, words) in cases {
        for (bytes, fails) in faults {
            drive.fails(bytes, fails);
        }
        let why = on.refused(&stage).with_context(|| what)?;
        ensure!(drive.works() > 0, "{what}: no fault was met: {why}");
        orlop.measured(format!("{what}: {why}"));
        ensure!(why.contains(words) && why.contains("(os error 5)"), "{what}: {why}");
        let found = slots.judge(&[first, second]).with_context(|| what)?;
        ensure!(found.contains(&format!("of {} starts", first.version)), "{what}: {found}");
        let said = on.slots()?;
        ensure!(said["healthy"]["root-hash"] == *first.root_hash, "{what}: {said:#}");
        ensure!(said["staged"].is_null() && said["trial"].is_null(), "{what}: {said:#}");
    }
    // One record that cannot be read, and a spare UKI of which nobody knows what it is, keep nobody back.
    let [record, _] = records;
    drive.fails(record, Fails::Read);
    drive.fails(head, Fails::Read);
    let said = on.slots()?;
    ensure!(said["healthy"]["root-hash"] == *first.root_hash, "{said:#}");
    ensure!(drive.works() > 0, "nothing was read there");
    let came = on.done(&stage)?;
    ensure!(came["staged"] == *second.version, "{came}");
    on.restarts(&json!({ "do": "upgrade" }))?;
    on.boots(second)?;
    on.is_healthy(second)?;
    on.power_off()
}
