//! The loader itself is replaced, and the power is cut in between: whatever the disk holds then, the real
//! firmware starts a loader, and that an entry.

use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Context as _, Result, ensure};
use formats::architecture::Architecture;
use formats::boot_loader::BootLoader;
use formats::fat::{Content, File};
use qemu_tests::Orlop;
use updater::boot_loader::{Terms, update};

use crate::disk::{Handle, Image, Numbers, cuts};
use crate::machine::Firmware;
use crate::sample::{number, two_versions};

/// Where the partition is on the disks of [`Firmware`].
const ESP: (u64, u64) = (1 << 20, 34 << 20);
/// Contents that are tried, unless it is said how many.
const TRIED: u64 = 8;

/// The loader of the image under test as one of a later version, which it says alone.
fn later(files: &[File]) -> Result<Vec<u8>> {
    let loader = files.iter().find(|file| file.path == Architecture::MADE.boot_file());
    let Some(Content::Bytes(bytes)) = loader.map(|file| &file.content) else {
        anyhow::bail!("the image has no loader")
    };
    let mut later = bytes.clone();
    let version = BootLoader::parse(bytes, Architecture::MADE)?.version;
    let found = bytes.windows(version.len()).enumerate();
    for (at, _) in found.filter(|(_, text)| *text == version.as_bytes()) {
        later[at] = b'9';
    }
    ensure!(later != *bytes, "{version} is late already");
    Ok(later)
}

/// What the disk can hold, one content for each moment and each part of a directory or of the tables.
fn contents(files: &[File], numbers: &mut Numbers) -> Result<Vec<(usize, Image)>> {
    let node = two_versions(files);
    let begin = node.disk.borrow().now.settled();
    let disk = Rc::clone(&node.disk);
    disk.borrow_mut().now = begin.clone();
    disk.borrow_mut().log.clear();
    let mut esp = Handle { disk, area: 0, offset: ESP.0, size: ESP.1 };
    let done = update(&mut esp, &later(files)?, Terms::default())?;
    ensure!(done.replaced == [Architecture::MADE.boot_file()], "{done:?}");
    let log = node.disk.borrow().log.clone();
    let mut found = BTreeMap::new();
    cuts(&begin, &log, 2, numbers, |at, image| {
        let changed: Vec<u8> = image.sectors().flat_map(|(_, sector)| sector).collect();
        found.entry((at, formats::digest::Sha256::of(&changed))).or_insert(image);
    });
    Ok(found.into_iter().map(|((at, _), image)| (at, image)).collect())
}

pub(crate) fn cut_off(orlop: &Orlop) -> Result<()> {
    let firmware = Firmware::new(orlop)?;
    let seed = number("ORLOP_TEST_SEED")?.unwrap_or(1).max(1);
    let all = contents(&firmware.files, &mut Numbers(seed))?;
    let wanted = usize::try_from(number("ORLOP_LOADER_STATES")?.unwrap_or(TRIED))?.max(1);
    let step = (all.len() / wanted).max(1);
    let mut tried = 0;
    // The end is among them.
    for (at, image) in all.iter().rev().step_by(step) {
        let tell = || format!("cut after event {at} (ORLOP_TEST_SEED={seed})");
        firmware.put(image).with_context(tell)?;
        let started = firmware.boot().with_context(tell)?;
        ensure!(started.entry == "2a.efi", "{}: {started:?}", tell());
        tried += 1;
    }
    orlop.measured(format!(
        "{tried} of {} contents, {:.1} CPU-s",
        all.len(),
        firmware.cpu_seconds()
    ));
    Ok(())
}
