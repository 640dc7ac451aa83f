//! The model of firmware and loader, by which the updater is proved (`updater/tests/model`), beside the
//! real ones: systemd-boot under OVMF. A sample of the contents that a disk can have after a power cut is
//! written to real disks; what starts, what becomes of the directory of entries, byte by byte, and of
//! the variable must be what the model says.
//!
//! Needs `ORLOP` and `ORLOP_IMAGE`, whose loader it is. `ORLOP_LOADER_STATES` is how many contents are
//! tried; `ORLOP_TEST_SEED` repeats a sample.

#[allow(dead_code, reason = "the model uses more of it")]
#[path = "../../../updater/tests/model/disk.rs"]
mod disk;
#[path = "../../../updater/tests/model/fat.rs"]
mod fat;
#[allow(dead_code, reason = "the model uses more of it")]
#[path = "../../../formats/src/boot_entries/firmware.rs"]
mod firmware;
mod machine;
#[allow(dead_code, reason = "the model uses more of it")]
#[path = "../../../updater/tests/model/node.rs"]
mod node;
mod replaced;
mod sample;
#[expect(unreachable_pub, reason = "other tests share it")]
#[path = "../../../updater/tests/shared/uki.rs"]
mod uki;
#[allow(dead_code, reason = "the model uses more of it")]
#[path = "../../../updater/tests/model/world.rs"]
mod world;

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use formats::boot_entries::{Name, SECTOR_BYTES};
use qemu_tests::Orlop;
use qemu_tests::harness::{self, Test, Threads};
use qemu_tests::random::Random;

use crate::machine::{Firmware, Started};
use crate::node::Node;
use crate::sample::{State, number, sample};

const TESTS: &[(&str, Test)] = &[
    ("what_a_power_cut_leaves_is_started_by_the_real_loader_as_the_model_says", power_cuts),
    ("a_boot_once_is_consumed_once_and_the_default_starts_after_it", once),
];

const LONG: &[(&str, Test)] = &[
    ("attempts_are_counted_down_by_the_real_loader_and_the_other_entry_follows", counted),
    ("firmware_finds_a_loader_wherever_its_replacement_was_cut_off", replaced::cut_off),
];

fn main() -> ExitCode {
    harness::main(&harness::with_long(TESTS, LONG), Threads::Guests)
}

/// What the model says of one boot.
fn modelled(node: &Node) -> Result<Started> {
    let (name, version) = node.load().context("nothing would start")?;
    let version = version.ok().context("what would start is damaged")?;
    Ok(Started { entry: name.to_string(), version: node.versions[version].name.to_owned() })
}

/// Boots both once; they must agree.
fn boot(firmware: &Firmware<'_>, node: &Node) -> Result<Started> {
    let started = firmware.boot()?;
    let expected = modelled(node)?;
    ensure!(started == expected, "{started:?} is started, and the model says {expected:?}");
    let (found, want) = (firmware.directory()?, node.directory());
    let (found, want) = (shown(&found), shown(&want));
    ensure!(found == want, "the directory is then\n{found}and the model says\n{want}");
    let variable = firmware.one_shot()?;
    ensure!(variable.is_none(), "the variable is left: {variable:?}");
    Ok(started)
}

/// The records of a directory, for messages too.
fn shown(bytes: &[u8]) -> String {
    let records = bytes.chunks(32).filter(|record| record.iter().any(|byte| *byte != 0));
    let record = |bytes: &[u8]| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String = bytes.iter().map(|byte| readable(*byte)).collect();
        format!("  {hex} {text}\n")
    };
    format!("  {} sectors\n{}", bytes.len() / SECTOR_BYTES, records.map(record).collect::<String>())
}

fn readable(byte: u8) -> char {
    if byte.is_ascii_graphic() { byte.into() } else { '.' }
}

fn power_cuts(orlop: &Orlop) -> Result<()> {
    let mut random = Random::new()?;
    let seed = random.told();
    let firmware = Firmware::new(orlop)?;
    let all = sample(&firmware.files, &mut random)?;
    let full = std::env::var_os("ORLOP_TEST_FULL").is_some();
    let least = if full { all.len() } else { 12 };
    let wanted = number("ORLOP_LOADER_STATES")?.map_or(Ok(least), usize::try_from)?;
    let (mut tried, mut boots) = (0, 0);
    for State { node, what } in all.iter().take(wanted) {
        let once = node.disk.borrow().now.one_shot.is_some();
        let tell = || format!("{what} ({seed})");
        firmware.put(&node.disk.borrow().now)?;
        boot(&firmware, node).with_context(tell)?;
        boots += 1;
        // What starts after a boot once, without anything being written in between.
        if once {
            boot(&firmware, node).with_context(tell)?;
            boots += 1;
        }
        tried += 1;
    }
    orlop.measured(format!(
        "{tried} of {} contents that differ for the loader, {boots} boots, {:.1} CPU-s, \
         {seed}",
        all.len(),
        firmware.cpu_seconds()
    ));
    Ok(())
}

/// A new disk with other names, and maybe a variable.
fn disk(firmware: &Firmware<'_>, names: [&str; 2], one_shot: Option<&str>) -> Result<Node> {
    let node = sample::two_versions(&firmware.files);
    node.rename(names.map(|name| name.parse::<Name>().expect("a name")));
    node.disk.borrow_mut().now.one_shot = one_shot.map(str::to_owned);
    firmware.put(&node.disk.borrow().now)?;
    Ok(node)
}

fn once(orlop: &Orlop) -> Result<()> {
    let firmware = Firmware::new(orlop)?;
    for (names, id, entries) in [
        (["2a+3.efi", "1b.efi"], "1b.efi", ["1b.efi", "2a+2-1.efi"]),
        // The count of the entry goes on, although it is not the order that has chosen it.
        (["2a.efi", "1b+0-3.efi"], "1b.efi", ["1b+0-4.efi", "2a.efi"]),
        // An id with a count is that of no entry.
        (["2a.efi", "1b+1.efi"], "1b+1.efi", ["2a.efi", "2a.efi"]),
    ] {
        let node = disk(&firmware, names, Some(id))?;
        for entry in entries {
            let started = boot(&firmware, &node)?;
            ensure!(started.entry == entry, "{names:?}, {id}: {started:?}, and not {entry}");
        }
    }
    orlop.measured(format!("{:.1} CPU-s", firmware.cpu_seconds()));
    Ok(())
}

fn counted(orlop: &Orlop) -> Result<()> {
    let firmware = Firmware::new(orlop)?;
    for (names, entries) in [
        (["2a.efi", "3b+3.efi"], &["3b+2-1.efi", "3b+1-2.efi", "3b+0-3.efi", "2a.efi"][..]),
        // Both used up: the higher one for ever. Five renames fit into the sector.
        (
            ["2a+1.efi", "3b+1.efi"],
            &[
                "3b+0-1.efi",
                "2a+0-1.efi",
                "3b+0-2.efi",
                "3b+0-3.efi",
                "3b+0-4.efi",
                "3b+0-5.efi",
                "3b+0-6.efi",
            ],
        ),
    ] {
        let node = disk(&firmware, names, None)?;
        for (number, entry) in entries.iter().enumerate() {
            let started = boot(&firmware, &node).with_context(|| format!("boot {number}"))?;
            ensure!(started.entry == *entry, "{names:?}: {started:?}, and not {entry}");
        }
    }
    orlop.measured(format!("{:.1} CPU-s", firmware.cpu_seconds()));
    Ok(())
}
