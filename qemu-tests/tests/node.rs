//! Whole nodes in QEMU. Each test is a sentence; what it measures is printed, never asserted.
//!
//! Needs `ORLOP`, `ORLOP_IMAGE` and `ORLOP_NODE_IMAGE`; `cargo xtask test` builds images and sets them.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use qemu_tests::disk::{Disk, RootMap, digest};
use qemu_tests::harness::{self, Test, Threads};
use qemu_tests::monitor::Monitor;
use qemu_tests::process::judge;
use qemu_tests::{Ended, Orlop};
use serde_json::json;

/// What a boot may take without KVM on a busy machine.
const BOOT: Duration = Duration::from_secs(15 * 60);
/// Where PID 1 lies in the root.
const INIT: &str = "/usr/lib/orlop/init";
/// The partitions of root images.
const SLOTS: [&str; 2] = ["ROOT-A", "ROOT-B"];
/// Where PID 1 keeps its log on STATE, which is mounted at `/var`.
const LOG: &str = "/log/orlop/init.log";

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
    (
        "a_node_boots_from_memory_by_counted_instructions_and_its_image_is_unchanged",
        a_node_boots_from_memory,
    ),
    (
        "a_kernel_that_is_locked_down_gets_modules_with_their_signature",
        a_kernel_that_is_locked_down_gets_modules_with_their_signature,
    ),
    (
        "the_kernel_is_locked_down_unless_the_config_leaves_it_open",
        the_kernel_is_locked_down_unless_the_config_leaves_it_open,
    ),
    ("the_console_is_readable", the_console_is_readable),
    ("a_flipped_bit_in_both_superblocks_stops_the_boot", a_flipped_superblock),
    ("a_flipped_bit_in_pid_1_stops_the_boot", a_flipped_pid_1),
    ("a_flipped_bit_at_the_top_of_both_verity_trees_stops_the_boot", a_flipped_tree),
    ("the_slot_that_holds_the_root_of_the_uki_is_started", the_slot_that_holds_the_root),
    ("of_two_slots_with_the_root_that_of_the_loader_s_entry_is_started", the_loader_s_slot),
    ("of_two_slots_with_the_root_a_named_one_is_started", a_named_slot),
    ("the_first_boot_grows_state_and_the_second_changes_nothing", state_grows_once),
    ("the_power_button_shuts_a_node_down_in_order", the_power_button_shuts_a_node_down_in_order),
    ("a_node_whose_disk_hangs_powers_off_in_time", a_node_whose_disk_hangs_powers_off_in_time),
];

fn main() -> ExitCode {
    harness::main(TESTS, Threads::Guests)
}

fn temporary() -> Result<tempfile::TempDir> {
    tempfile::tempdir().context("cannot make a temporary directory")
}

/// Ended well and came so far.
fn reached(ended: &Ended, mark: &str) -> Result<f64> {
    ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());
    ended.mark(mark).with_context(|| format!("no mark `{mark}`{}", ended.tail()))
}

/// Keeps what this boot has cost, with the guest time at which each mark came.
fn measure(orlop: &Orlop, name: &str, ended: &Ended) {
    let figure = |value: Option<f64>| value.map_or("?".to_owned(), |value| format!("{value:.1}"));
    let (cpu, memory) = (figure(ended.cpu_seconds), figure(ended.memory_mib));
    orlop.measured(format!("{name}: QEMU took {cpu} CPU-s and {memory} MiB; guest seconds:"));
    let marks = ended.marks.iter().map(|(name, seconds)| format!("{name} {seconds:.2}"));
    for line in marks.collect::<Vec<_>>().chunks(5) {
        orlop.measured(format!("  {}", line.join(", ")));
    }
}

fn a_file_that_is_no_image_of_ours_is_refused(orlop: &Orlop) -> Result<()> {
    let directory = temporary()?;
    let file = directory.path().join("disk.raw");
    for content in [vec![0; 1 << 20], b"#!/bin/sh\n".to_vec()] {
        std::fs::write(&file, content)?;
        let ended = orlop.boot_other(&file).run(BOOT)?;
        ensure!(ended.code == 8, "`orlop run` ended with {}{}", ended.code, ended.tail());
        ensure!(ended.reported("error[E0810]"), "{}", ended.tail());
    }
    Ok(())
}

fn a_node_boots_under_uefi_until_the_cri_answers(orlop: &Orlop) -> Result<()> {
    let ended = orlop.boot().until("cri").run(BOOT)?;
    let seconds = reached(&ended, "cri-answers")?;
    let init = reached(&ended, "root-init-start")?;
    ensure!(init < seconds, "PID 1 ran at {init} s, after the CRI answered at {seconds} s");
    measure(orlop, "UEFI", &ended);
    Ok(())
}

fn a_node_boots_directly_and_its_image_is_unchanged(orlop: &Orlop) -> Result<()> {
    boots_and_leaves_its_image(orlop, "direct", &["--direct"])
}

fn a_node_boots_from_memory(orlop: &Orlop) -> Result<()> {
    let options = ["--direct", "--pmem", "--icount", "1", "--no-network"];
    boots_and_leaves_its_image(orlop, "from memory", &options)
}

fn boots_and_leaves_its_image(orlop: &Orlop, name: &str, options: &[&str]) -> Result<()> {
    let files = ["disk.raw", "root.img"].map(|name| orlop.image(name));
    let digests = || files.iter().map(|file| digest(file)).collect::<Result<Vec<_>>>();
    let before = digests()?;
    let ended = orlop.boot().args(options).until("cri").run(BOOT)?;
    reached(&ended, "cri-answers")?;
    measure(orlop, name, &ended);
    ensure!(digests()? == before, "the run changed the image");
    Ok(())
}

/// As under Secure Boot. Without a module for dm-verity there is no root.
fn a_kernel_that_is_locked_down_gets_modules_with_their_signature(orlop: &Orlop) -> Result<()> {
    let directory = with_command_line(orlop, " quiet", " quiet lockdown=integrity")?;
    let ended = orlop.boot_other(directory.path()).args(&["--direct"]).until("cri").run(BOOT)?;
    reached(&ended, "cri-answers")?;
    measure(orlop, "locked down", &ended);
    ensure!(!ended.console_says(&["cannot load module"]), "a module is missing{}", ended.tail());
    Ok(())
}

/// An image whose command line has `to` in the place of `from`.
fn with_command_line(orlop: &Orlop, from: &str, to: &str) -> Result<tempfile::TempDir> {
    let directory = temporary()?;
    for name in ["disk.raw", "initrd", "vmlinuz"] {
        std::os::unix::fs::symlink(orlop.image(name), directory.path().join(name))?;
    }
    let line = std::fs::read_to_string(orlop.image("cmdline"))?;
    ensure!(line.contains(from), "no `{from}` in {line}");
    std::fs::write(directory.path().join("cmdline"), line.replacen(from, to, 1))?;
    Ok(directory)
}

/// The kernel says so itself, if it may speak on the console.
fn the_kernel_is_locked_down_unless_the_config_leaves_it_open(orlop: &Orlop) -> Result<()> {
    let image = with_command_line(orlop, " quiet", " orlop.debug")?;
    let config = image.path().join("open.toml");
    std::fs::write(&config, "schema = 1\n[security]\nlockdown = \"none\"\nkexec = true\n")?;
    let told =
        ["the kernel is open to privileged pods", "privileged pods may start another kernel"];
    let config = config.to_str().context("a path in UTF-8")?;
    for (config, locked) in [(&["--no-config"][..], true), (&["--config", config], false)] {
        let mut machine =
            orlop.boot_other(image.path()).args(&["--direct"]).args(config).start()?;
        machine.wait_for_line(0, &["kernel ready"], BOOT)?;
        machine.press_power_button()?;
        let ended = machine.finish(BOOT)?;
        ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());
        let says = ended.console_says(&["Kernel is locked down from securityfs"]);
        ensure!(says == locked, "{config:?}: {says}{}", ended.tail());
        for line in told {
            ensure!(ended.console_says(&[line]) != locked, "{config:?}: {line}{}", ended.tail());
        }
    }
    Ok(())
}

/// From PID 1's first line on, each line of the console is one whole message, and the screen at
/// the end of the boot says what an operator wants to know.
fn the_console_is_readable(orlop: &Orlop) -> Result<()> {
    let ended = orlop.boot().run_whole(BOOT)?;
    reached(&ended, "cri-answers")?;
    let console = &ended.console;
    let first = console.iter().position(|line| is_message(line, 2));
    let first = first.with_context(|| format!("PID 1 says nothing{}", ended.tail()))?;
    let ours = &console[first..];
    for line in ours {
        // A message of the kernel has six digits, one of PID 1 has two.
        let whole = is_message(line, 2) || is_message(line, 6) || is_of_screen(line);
        let stamps = (0..line.len()).filter(|&at| line.get(at..).is_some_and(has_stamp)).count();
        ensure!(whole && stamps <= 1, "a broken line: `{line}`{}", ended.tail());
    }
    for message in ["containerd started", "boot complete", "containerd stopped"] {
        let told = ours.iter().filter(|line| line.ends_with(message)).count();
        ensure!(told == 1, "`{message}` is told {told} times{}", ended.tail());
    }

    let title = format!("--- OrlopOS {} (", orlop.report()?.version);
    let top = ours.iter().position(|line| line.starts_with(&title));
    let top = top.with_context(|| format!("no screen begins with `{title}`{}", ended.tail()))?;
    let screen: Vec<_> = ours[top..].iter().take_while(|line| *line != "---").collect();
    ensure!(screen.len() < ours.len() - top, "the screen has no end{}", ended.tail());
    ensure!(screen[0].contains(", slot a, up "), "no slot in `{}`", screen[0]);
    let has = |start: &str, rest: &str| {
        let mut lines = screen.iter().filter(|line| line.trim_start().starts_with(start));
        lines.any(|line| line.contains(rest))
    };
    ensure!(has("hostname ", " orlop"), "no name{}", ended.tail());
    // Between the two may stand what the router has advertised, if the boot took so long.
    ensure!(has("address ", " eth0 10.0.2.15/24, "), "no address{}", ended.tail());
    ensure!(has("address ", ", gateway 10.0.2.2"), "no gateway{}", ended.tail());
    // Columns are as wide as the longest name in them.
    let unit = ["unit", "containerd", "ready", "after"];
    let mut words = screen.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
    ensure!(words.any(|words| words.starts_with(&unit)), "no unit{}", ended.tail());
    ensure!(has("unwanted ", " configure (no /run/orlop/config-url)"), "no row{}", ended.tail());
    // The base image has no kubelet that would need a config.
    ensure!(!has("problem ", ""), "there are problems{}", ended.tail());
    Ok(())
}

/// `[    5.36] text`, with so many digits behind the point.
fn is_message(line: &str, digits: usize) -> bool {
    let stamp = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    let Some((seconds, fraction)) = stamp.and_then(|(stamp, _)| stamp.split_once('.')) else {
        return false;
    };
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    number(seconds.trim_start()) && number(fraction) && fraction.len() == digits
}

fn has_stamp(text: &str) -> bool {
    is_message(text, 2) || is_message(text, 6)
}

/// Part of the screen: its first and last line, the empty one before it, and its rows.
fn is_of_screen(line: &str) -> bool {
    const ROWS: [&str; 5] = ["hostname", "address", "unit", "unwanted", "problem"];
    let word = line.strip_prefix("    ").and_then(|row| row.split(' ').next());
    line.is_empty()
        || line == "---"
        || line.starts_with("--- ")
        || word.is_some_and(|word| ROWS.contains(&word))
}

/// How far a node may come from a root that is not the signed one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// It is never mounted.
    Verity,
    /// It is mounted, and nothing of it ever runs.
    Mount,
}

fn a_flipped_superblock(orlop: &Orlop) -> Result<()> {
    let why = ["slot b, /dev/vda4: ", "it holds no root image"];
    a_flipped_bit(orlop, &SLOTS, |map| map.superblock, Until::Verity, "E0122", why)
}

fn a_flipped_pid_1(orlop: &Orlop) -> Result<()> {
    let why = ["device-mapper: verity: ", " is corrupted"];
    // Nobody can see it before the root is mounted, so the other slot is no way out.
    a_flipped_bit(orlop, &SLOTS[..1], |map| map.file, Until::Mount, "E0121", why)
}

fn a_flipped_tree(orlop: &Orlop) -> Result<()> {
    let why = ["slot a, /dev/vda3: ", "the root hash does not match"];
    a_flipped_bit(orlop, &SLOTS, |map| map.tree_top, Until::Verity, "E0122", why)
}

/// The node says why on one line of the console and resets itself.
fn a_flipped_bit(
    orlop: &Orlop,
    slots: &[&str],
    place: fn(&RootMap) -> u64,
    until: Until,
    error: &str,
    why: [&str; 2],
) -> Result<()> {
    let offset = place(&RootMap::of(&orlop.image("root.img"), &[INIT])?);
    let directory = temporary()?;
    let disk = Disk::copy(&orlop.image("disk.raw"), &directory.path().join("disk.raw"))?;
    for slot in slots {
        disk.flip(disk.partition(slot)?.offset() + offset)?;
    }
    let ended = orlop.boot().disk(disk.path()).until("init").run(BOOT)?;
    ensure!(ended.code == 1, "`orlop run` ended with {}{}", ended.code, ended.tail());
    let reported = ended.reported(&format!("error[{error}]"));
    ensure!(reported, "the guest did not reset itself as it should{}", ended.tail());
    ensure!(ended.console_says(&why), "the console does not say why{}", ended.tail());
    // It came so far that a mark could have been sent, and no further.
    ensure!(ended.mark("modules-loaded").is_some(), "it did not look{}", ended.tail());
    ensure!(ended.mark("root-init-start").is_none(), "PID 1 ran from it{}", ended.tail());
    let mounted = ended.mark("root-mounted").is_some();
    ensure!(mounted == (until == Until::Mount), "mounted: {mounted}{}", ended.tail());
    // What is not the root of the command line is passed over.
    let found = ended.mark("root-found").is_some();
    ensure!(found == mounted, "found: {found}{}", ended.tail());
    // A quiet kernel does not say when it is.
    let told = ended.console_says(&["erofs", "mounted with root inode"]);
    ensure!(mounted || !told, "the kernel has mounted it{}", ended.tail());
    Ok(())
}

/// Started by the firmware it is this slot that runs.
fn starts_slot(orlop: &Orlop, disk: &Disk, slot: &str) -> Result<Ended> {
    let ended = orlop.boot().disk(disk.path()).until("init").run(BOOT)?;
    reached(&ended, "root-init-start")?;
    ran_slot(&ended, slot)?;
    Ok(ended)
}

fn ran_slot(ended: &Ended, slot: &str) -> Result<()> {
    let marks: Vec<_> =
        ended.marks.iter().filter_map(|(name, _)| name.strip_prefix("slot:")).collect();
    ensure!(marks == [slot], "slot {slot} should run, not {marks:?}{}", ended.tail());
    Ok(())
}

/// The loader starts `2a.efi` each time.
fn the_slot_that_holds_the_root(orlop: &Orlop) -> Result<()> {
    let directory = temporary()?;
    let fresh = |name: &str| Disk::copy(&orlop.image("disk.raw"), &directory.path().join(name));
    let other = std::fs::read(orlop.node_image()?.join("root.img"))?;
    // As an update leaves a disk: another image in one of the slots.
    for (slot, left) in [("ROOT-A", "b"), ("ROOT-B", "a")] {
        let disk = fresh(slot)?;
        let partition = disk.partition(slot)?;
        ensure!(other.len() as u64 <= partition.size(), "the node's root is too large");
        disk.write(partition.offset(), &other)?;
        measure(orlop, &format!("another image in {slot}"), &starts_slot(orlop, &disk, left)?);
    }
    // And as it may be damaged: what the first look finds, and a slot that is no more.
    let disk = fresh("damaged")?;
    let map = RootMap::of(&orlop.image("root.img"), &[INIT])?;
    disk.flip(disk.partition("ROOT-A")?.offset() + map.superblock)?;
    starts_slot(orlop, &disk, "b")?;
    let disk = fresh("missing")?;
    let number = disk.number("ROOT-A")?;
    judge("sgdisk", "gdisk", [format!("--partition-guid={number}:R").as_ref(), disk.path()])?;
    starts_slot(orlop, &disk, "b")?;
    Ok(())
}

/// The damage is where only the running root finds it, so nothing but the entry tells the slots apart.
fn the_loader_s_slot(orlop: &Orlop) -> Result<()> {
    let directory = temporary()?;
    let disk = Disk::copy(&orlop.image("disk.raw"), &directory.path().join("disk.raw"))?;
    let map = RootMap::of(&orlop.image("root.img"), &[INIT])?;
    disk.flip(disk.partition("ROOT-A")?.offset() + map.file)?;
    let esp = format!("{}@@{}", disk.path().display(), disk.partition("ESP")?.offset());
    judge("mren", "mtools", ["-i", &esp, "::EFI/Linux/1b.efi", "3b+3.efi"])?;
    let ended = starts_slot(orlop, &disk, "b")?;
    measure(orlop, "slot b by its entry", &ended);
    Ok(())
}

/// As a kernel is started by another one, which the firmware knows nothing of.
fn a_named_slot(orlop: &Orlop) -> Result<()> {
    for slot in ["a", "b"] {
        let image = with_command_line(orlop, " gpt ", &format!(" gpt orlop.slot={slot} "))?;
        let boot = orlop.boot_other(image.path()).args(&["--direct"]);
        let ended = boot.until("init").run(BOOT)?;
        reached(&ended, "root-init-start")?;
        ran_slot(&ended, slot)?;
    }
    Ok(())
}

fn state_grows_once(orlop: &Orlop) -> Result<()> {
    const SIZE: u64 = 8 << 30;
    let directory = temporary()?;
    let disk = Disk::copy(&orlop.image("disk.raw"), &directory.path().join("disk.raw"))?;
    let small = disk.partition("STATE")?;
    disk.grow(SIZE)?;
    measure(orlop, "first boot, grows STATE", &boot_to_cri(orlop, disk.path())?);

    let state = disk.judge()?;
    ensure!(state.first_lba == small.first_lba, "STATE moved");
    let rest = disk.sectors()? - state.last_lba;
    ensure!(rest <= 34 + 2048, "STATE ends {rest} sectors before the disk");
    let ext4 = disk.ext4(&state)?;
    let unused = state.size() - ext4.size;
    ensure!(unused < 128 << 20, "the file system leaves {unused} bytes of STATE unused");
    ensure!(ext4.is_clean, "STATE was not unmounted");
    let log = disk.read(&state, LOG)?;
    let count = |log: &str, what: &str| log.lines().filter(|line| line.contains(what)).count();
    ensure!(count(&log, ", grown from ") == 1, "the log does not say that STATE grew: {log}");

    let tables = disk.tables()?;
    measure(orlop, "second boot", &boot_to_cri(orlop, disk.path())?);
    ensure!(disk.tables()? == tables, "the second boot wrote the partition table");
    ensure!(disk.ext4(&disk.judge()?)? == ext4, "the second boot changed the size of STATE");
    let log = disk.read(&state, LOG)?;
    ensure!(count(&log, " starts, slot a") == 2, "the log does not have two boots: {log}");
    ensure!(count(&log, ", grown from ") == 1, "STATE grew again: {log}");
    ensure!(count(&log, "journal replayed") == 0, "the first boot left work behind: {log}");
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
    reached(&ended, "power-off")?;
    let order = ["going down to power off", "containerd stopped", "all stopped, power off now"];
    let mut lines = ended.console.iter();
    for text in order {
        let told = lines.any(|line| line.ends_with(text));
        ensure!(told, "`{text}` is not told in its place{}", ended.tail());
    }
    let state = disk.judge()?;
    ensure!(disk.ext4(&state)?.is_clean, "STATE was not unmounted{}", ended.tail());
    Ok(())
}

/// From one moment on no write reaches the disk: what writes to STATE hangs in the kernel.
fn a_node_whose_disk_hangs_powers_off_in_time(orlop: &Orlop) -> Result<()> {
    let directory = temporary()?;
    let socket = directory.path().join("qmp");
    let monitor = format!("unix:{},server=on,wait=off", socket.display());
    let mut machine = orlop.boot().args(&["--direct", "--", "-qmp", &monitor]).start()?;
    machine.wait_for_mark("cri-answers", BOOT)?;
    let mut monitor = Monitor::connect(&socket)?;
    let mut limits = json!({ "device": "disk", "bps_wr": 1 });
    for free in ["bps", "bps_rd", "iops", "iops_rd", "iops_wr"] {
        limits[free] = 0.into();
    }
    monitor.execute("block_set_io_throttle", &limits)?;
    machine.press_power_button()?;
    let ended = machine.finish(BOOT)?;
    reached(&ended, "power-off")?;
    let told = ended.console_says(&["the disk does not finish"]);
    ensure!(told, "nothing was held up: the test tests nothing{}", ended.tail());
    measure(orlop, "a disk that hangs", &ended);
    Ok(())
}
