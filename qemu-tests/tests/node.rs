//! Whole nodes in QEMU. Each test is a sentence; what it measures is printed, never asserted.
//!
//! Needs `ORLOP` and `ORLOP_IMAGE`; `cargo xtask test` builds an image and sets both.
#![expect(clippy::print_stdout, reason = "a test harness reports on stdout")]

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Arguments, Trial};
use qemu_tests::disk::{Disk, RootMap, SECTOR, digest};
use qemu_tests::{Ended, Orlop};

/// What a boot may take without KVM on a busy machine.
const BOOT: Duration = Duration::from_secs(15 * 60);
/// Where PID 1 lies in the root.
const INIT: [&str; 5] =
    ["/usr/lib/orlop/init", "/usr/bin/init", "/usr/sbin/init", "/sbin/init", "/init"];
/// What the console says when STATE was made larger.
const GROWN: &str = "grown";

type Test = fn(&Orlop) -> Result<()>;

const TESTS: &[(&str, Test)] = &[
    ("a_file_that_is_no_image_of_ours_is_refused", a_file_that_is_no_image_of_ours_is_refused),
    (
        "a_node_boots_under_uefi_until_the_cri_answers",
        a_node_boots_under_uefi_until_the_cri_answers,
    ),
    (
        "a_node_boots_directly_and_its_image_is_unchanged",
        a_node_boots_directly_and_its_image_is_unchanged,
    ),
    ("a_flipped_bit_in_the_superblock_stops_the_boot", |orlop| {
        a_flipped_bit_stops_the_boot(orlop, |map| map.superblock)
    }),
    ("a_flipped_bit_in_pid_1_stops_the_boot", |orlop| {
        a_flipped_bit_stops_the_boot(orlop, |map| map.file)
    }),
    ("a_flipped_bit_at_the_top_of_the_verity_tree_stops_the_boot", |orlop| {
        a_flipped_bit_stops_the_boot(orlop, |map| map.tree_top)
    }),
    ("the_first_boot_grows_state_and_the_second_changes_nothing", state_grows_once),
    ("the_power_button_shuts_a_node_down_in_order", the_power_button_shuts_a_node_down_in_order),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A guest has two processors, and so have many of the machines that run this.
    arguments.test_threads.get_or_insert(1);
    let trials = TESTS.iter().map(|&(name, test)| {
        Trial::test(name, move || {
            let orlop = Orlop::from_env().map_err(|error| format!("{error:#}"))?;
            test(&orlop).map_err(|error| format!("{error:#}"))?;
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn temporary() -> Result<tempfile::TempDir> {
    tempfile::tempdir().context("cannot make a temporary directory")
}

/// Ended well and came so far.
fn reached(ended: &Ended, mark: &str) -> Result<f64> {
    ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());
    ended.mark(mark).with_context(|| format!("no mark `{mark}`{}", ended.tail()))
}

fn print_figures(name: &str, ended: &Ended, seconds: f64) {
    let figure = |value: Option<f64>| value.map_or("?".to_owned(), |value| format!("{value:.1}"));
    let (cpu, memory) = (figure(ended.cpu_seconds), figure(ended.memory_mib));
    println!("{name}: {seconds:.2} s of guest time, {cpu} CPU-s and {memory} MiB of QEMU");
}

fn a_file_that_is_no_image_of_ours_is_refused(orlop: &Orlop) -> Result<()> {
    let directory = temporary()?;
    let file = directory.path().join("disk.raw");
    for content in [vec![0; 1 << 20], b"#!/bin/sh\n".to_vec()] {
        std::fs::write(&file, content)?;
        let ended = orlop.boot_other(&file).run(BOOT)?;
        ensure!(ended.code == 8, "`orlop run` ended with {}{}", ended.code, ended.tail());
        ensure!(ended.reported("is not an image of ours"), "{}", ended.tail());
    }
    Ok(())
}

fn a_node_boots_under_uefi_until_the_cri_answers(orlop: &Orlop) -> Result<()> {
    let ended = orlop.boot().until("cri").run(BOOT)?;
    let seconds = reached(&ended, "cri-answers")?;
    let init = reached(&ended, "root-init-start")?;
    ensure!(init < seconds, "PID 1 ran at {init} s, after the CRI answered at {seconds} s");
    print_figures("UEFI to CRI", &ended, seconds);
    Ok(())
}

fn a_node_boots_directly_and_its_image_is_unchanged(orlop: &Orlop) -> Result<()> {
    let files = ["disk.raw", "root.img"].map(|name| orlop.image(name));
    let digests = || files.iter().map(|file| digest(file)).collect::<Result<Vec<_>>>();
    let before = digests()?;
    let ended = orlop.boot().args(&["--direct"]).until("cri").run(BOOT)?;
    let seconds = reached(&ended, "cri-answers")?;
    print_figures("direct to CRI", &ended, seconds);
    ensure!(digests()? == before, "the run changed the image");
    Ok(())
}

/// The node never runs anything from a root that is not the signed one: it says so and resets.
fn a_flipped_bit_stops_the_boot(orlop: &Orlop, place: fn(&RootMap) -> u64) -> Result<()> {
    let offset = place(&RootMap::of(&orlop.image("root.img"), &INIT)?);
    let directory = temporary()?;
    let disk = Disk::copy(&orlop.image("disk.raw"), &directory.path().join("disk.raw"))?;
    let root = disk.partition("ROOT-A")?;
    disk.flip(root.first * SECTOR + offset)?;
    let ended = orlop.boot().disk(disk.path()).until("init").run(BOOT)?;
    ensure!(ended.code == 1, "`orlop run` ended with {}{}", ended.code, ended.tail());
    let reset = ended.reported("E0122") || ended.reported("E0121");
    ensure!(reset, "the guest did not reset itself{}", ended.tail());
    ensure!(ended.console_says(&["verity"]), "the console does not say why{}", ended.tail());
    ensure!(ended.mark("root-init-start").is_none(), "PID 1 ran from it{}", ended.tail());
    Ok(())
}

fn state_grows_once(orlop: &Orlop) -> Result<()> {
    const SIZE: u64 = 8 << 30;
    let directory = temporary()?;
    let disk = Disk::copy(&orlop.image("disk.raw"), &directory.path().join("disk.raw"))?;
    disk.grow(SIZE)?;
    let ended = boot_to_cri(orlop, disk.path())?;
    ensure!(
        ended.console_says(&[GROWN]),
        "the console does not say that STATE grew{}",
        ended.tail()
    );

    let state = disk.judge()?;
    let rest = disk.sectors()? - state.last;
    ensure!(rest <= 34 + 2048, "STATE ends {rest} sectors before the disk");
    let ext4 = disk.ext4(&state)?;
    let unused = (state.last + 1 - state.first) * SECTOR - ext4.size;
    ensure!(unused < 128 << 20, "the file system leaves {unused} bytes of STATE unused");
    ensure!(ext4.is_clean, "STATE was not unmounted");

    let tables = disk.tables()?;
    let ended = boot_to_cri(orlop, disk.path())?;
    ensure!(!ended.console_says(&[GROWN]), "STATE grew again{}", ended.tail());
    ensure!(disk.tables()? == tables, "the second boot wrote the partition table");
    ensure!(disk.ext4(&disk.judge()?)? == ext4, "the second boot changed the size of STATE");
    Ok(())
}

fn boot_to_cri(orlop: &Orlop, disk: &Path) -> Result<Ended> {
    let ended = orlop.boot().disk(disk).until("cri").run(BOOT)?;
    reached(&ended, "cri-answers")?;
    Ok(ended)
}

fn the_power_button_shuts_a_node_down_in_order(orlop: &Orlop) -> Result<()> {
    let directory = temporary()?;
    let disk = Disk::copy(&orlop.image("disk.raw"), &directory.path().join("disk.raw"))?;
    let mut machine = orlop.boot().disk(disk.path()).start()?;
    machine.wait_for_mark("cri-answers", BOOT)?;
    machine.press_power_button()?;
    let ended = machine.finish(BOOT)?;
    reached(&ended, "cri-answers")?;
    let state = disk.judge()?;
    ensure!(disk.ext4(&state)?.is_clean, "STATE was not unmounted{}", ended.tail());
    Ok(())
}
