//! Where a node takes its config from, each place with a real guest: volumes, an address, and the
//! copy that it keeps; and from where it does not. (`fw_cfg` is what `orlop run --config` and the
//! tests with a cluster use.)
//!
//! Needs `ORLOP` and `ORLOP_IMAGE`; `cargo xtask test` builds an image and sets both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use qemu_tests::disk::Disk;
use qemu_tests::harness::{self, Test, Threads};
use qemu_tests::monitor::Monitor;
use qemu_tests::process::judge;
use qemu_tests::web::Web;
use qemu_tests::{Boot, Ended, Orlop};
use serde_json::json;

/// What a boot may take without KVM on a busy machine.
const BOOT: Duration = Duration::from_secs(15 * 60);
/// What the node keeps on STATE, which is mounted at `/var`.
const LAST_GOOD: &str = "/lib/orlop/node.toml";

const TESTS: &[(&str, Test)] = &[
    ("a_config_is_read_from_a_volume_and_kept", a_volume),
    ("a_disk_that_comes_later_does_not_become_the_config_of_a_node", another_disk),
    ("a_disk_that_hangs_keeps_a_node_from_no_config_and_is_asked_again", a_hanging_disk),
    ("an_address_in_smbios_is_asked_until_it_answers_and_the_answer_kept", an_address),
];

fn main() -> ExitCode {
    harness::main(TESTS, Threads::Guests)
}

fn a_volume(orlop: &Orlop) -> Result<()> {
    let place = tempfile::tempdir().context("cannot make a temporary directory")?;
    let place = place.path();
    let disk = Disk::copy(&orlop.image("disk.raw"), &place.join("disk.raw"))?;
    let boot_with = |volume: &Path| -> Result<Ended> {
        let drive = format!("if=virtio,format=raw,readonly=on,file={}", volume.display());
        let ended = boot(orlop, &disk).args(&["--", "-drive", &drive]).run_whole(BOOT)?;
        ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());
        Ok(ended)
    };
    let named = |ended: &Ended, name: &str| {
        ensure!(ended.console_says(&["hostname", name]), "it is not `{name}`{}", ended.tail());
        Ok(())
    };

    let fat = fat(place, "schema = 1\nhostname = \"by-fat\"\n")?;
    named(&boot_with(&fat)?, "by-fat")?;
    let rock_ridge = iso(place, "-rational-rock", "schema = 1\nhostname = \"by-iso\"\n")?;
    named(&boot_with(&rock_ridge)?, "by-iso")?;
    let bad = iso(place, "-joliet", "schema = 1\nhostname = 1\nhostnome = \"x\"\n")?;
    let ended = boot_with(&bad)?;
    named(&ended, "by-iso")?;
    for mistake in ["volume cidata (vdb):2:12: ", "volume cidata (vdb):3:1: "] {
        ensure!(ended.console_says(&[mistake]), "`{mistake}` is not told{}", ended.tail());
    }
    Ok(())
}

/// Words on the kernel command line besides those of the image.
fn append(orlop: &Orlop, words: &str) -> Result<String> {
    let line = fs::read_to_string(orlop.image("cmdline"))?;
    Ok(format!("{} console=ttyS0 {words}", line.trim()))
}

/// A disk that says it is `serial`.
fn drive(volume: &Path, serial: &str, more: &str) -> Vec<String> {
    let drive = format!("if=none,id={serial},format=raw,file={}{more}", volume.display());
    let device = format!("virtio-blk-pci,drive={serial},serial={serial}");
    ["-drive", &drive, "-device", &device].map(str::to_owned).to_vec()
}

fn another_disk(orlop: &Orlop) -> Result<()> {
    let place = tempfile::tempdir().context("cannot make a temporary directory")?;
    let place = place.path();
    let disk = Disk::copy(&orlop.image("disk.raw"), &place.join("disk.raw"))?;
    let boot_with = |words: &str, drives: &[Vec<String>]| -> Result<Ended> {
        let line = append(orlop, words)?;
        let drives = drives.concat();
        let drives: Vec<&str> = drives.iter().map(String::as_str).collect();
        let boot = boot(orlop, &disk).args(&["--", "-append", &line]).args(&drives);
        let ended = boot.run_whole(BOOT)?;
        ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());
        Ok(ended)
    };
    let named = |ended: &Ended, name: &str| {
        ensure!(ended.console_says(&["hostname", name]), "it is not `{name}`{}", ended.tail());
        Ok(())
    };
    let iso = |text: &str| iso(place, "-rational-rock", text);
    let ours = iso("schema = 1\nhostname = \"ours\"\n")?;
    let theirs = fat(place, "schema = 1\nhostname = \"theirs\"\n")?;
    let (cloud, volume) = (drive(&ours, "cloud", ""), drive(&theirs, "volume", ""));
    named(&boot_with("", std::slice::from_ref(&cloud))?, "ours")?;

    // Beside the node's own disk, and in its place when that is gone.
    let refused = ["volume ORLOP", "is not heard", "the disk virtio-cloud"];
    for drives in [&[volume.clone(), cloud.clone()][..], std::slice::from_ref(&volume)] {
        let ended = boot_with("", drives)?;
        named(&ended, "ours")?;
        ensure!(ended.console_says(&refused), "the disk is not told{}", ended.tail());
    }
    let kept = disk.read(&disk.judge()?, LAST_GOOD)?;
    ensure!(kept.contains("\"ours\"") && !kept.contains("theirs"), "it has kept:\n{kept}");

    // The cloud writes its disk anew, which is plugged in elsewhere now.
    iso("schema = 1\nhostname = \"ours-again\"\n")?;
    named(&boot_with("", &[volume.clone(), cloud])?, "ours-again")?;

    // Its owner says so once, and it stays so.
    let ended = boot_with("orlop.config-source=reset", std::slice::from_ref(&volume))?;
    named(&ended, "theirs")?;
    let told = ["*** `orlop.config-source=reset`: volume ORLOP", "virtio-volume"];
    ensure!(ended.console_says(&told), "it is not told{}", ended.tail());
    named(&boot_with("", std::slice::from_ref(&volume))?, "theirs")
}

fn a_hanging_disk(orlop: &Orlop) -> Result<()> {
    // After what the kernel reads to look for partitions, a byte a second.
    const HANGS: &str = ",throttling.bps-total=1,throttling.bps-total-max=16384";
    let place = tempfile::tempdir().context("cannot make a temporary directory")?;
    let place = place.path();
    let disk = Disk::copy(&orlop.image("disk.raw"), &place.join("disk.raw"))?;
    let start = |drives: &[Vec<String>]| {
        let drives = drives.concat();
        let drives: Vec<&str> = drives.iter().map(String::as_str).collect();
        boot(orlop, &disk).args(&["--"]).args(&drives).start()
    };
    let finish = |machine: qemu_tests::Machine| -> Result<Ended> {
        machine.press_power_button()?;
        let ended = machine.finish(BOOT)?;
        ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());
        Ok(ended)
    };
    let kept = || disk.read(&disk.partition("STATE")?, LAST_GOOD);
    let silent = ["vdb", "does not answer"];

    // Another disk has the config.
    let cidata = iso(place, "-rational-rock", "schema = 1\nhostname = \"of-cloud\"\n")?;
    let slow = fat(place, "schema = 1\nhostname = \"of-slow\"\n")?;
    let mut machine = start(&[drive(&slow, "slow", HANGS), drive(&cidata, "cloud", "")])?;
    machine.wait_for_mark("cri-answers", BOOT)?;
    let ended = finish(machine)?;
    ensure!(ended.console_says(&silent), "it is not told{}", ended.tail());
    ensure!(kept()?.contains("of-cloud"), "it has kept:\n{}", kept()?);

    // The node's own disk hangs for a while.
    fs::remove_file(disk.path())?;
    let disk = Disk::copy(&orlop.image("disk.raw"), disk.path())?;
    let kept = || disk.read(&disk.partition("STATE")?, LAST_GOOD);
    let mut machine = start(&[drive(&slow, "slow", "")])?;
    machine.wait_for_mark("cri-answers", BOOT)?;
    finish(machine)?;
    ensure!(kept()?.contains("of-slow"), "it has kept:\n{}", kept()?);
    fs::remove_file(&slow)?;
    fat(place, "schema = 1\nhostname = \"of-slow-again\"\n")?;
    let socket = place.join("qmp");
    let qmp = format!("unix:{},server=on,wait=off", socket.display());
    let monitor = vec!["-qmp".to_owned(), qmp];
    let mut machine = start(&[drive(&slow, "slow", HANGS), monitor])?;
    machine.wait_for_mark("cri-answers", BOOT)?;
    let failed = machine.wait_for_line(0, &["configure-disks", "FAILED", "restart in"], BOOT)?;
    let none = json!({ "device": "slow", "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0,
        "iops_rd": 0, "iops_wr": 0 });
    Monitor::connect(&socket)?.execute("block_set_io_throttle", &none)?;
    machine.wait_for_line(failed, &["configure-disks", "ready"], BOOT)?;
    let ended = finish(machine)?;
    ensure!(ended.console_says(&silent), "it is not told{}", ended.tail());
    ensure!(ended.console_says(&["hostname", "of-slow"]), "no copy was used{}", ended.tail());
    ensure!(kept()?.contains("of-slow-again"), "it has kept:\n{}", kept()?);
    Ok(())
}

fn an_address(orlop: &Orlop) -> Result<()> {
    let place = tempfile::tempdir().context("cannot make a temporary directory")?;
    let disk = Disk::copy(&orlop.image("disk.raw"), &place.path().join("disk.raw"))?;
    let web = Web::away().context("cannot listen")?;
    let address = format!("http://10.0.2.2:{}/node.toml", web.port());
    let missing = format!("the node config at {address} is not here yet");
    let text = "schema = 1\nhostname = \"by-address\"\n[sysctl]\n\"vm.max_map_count\" = 262144\n";

    let smbios = format!("type=11,value=org.orlop.config={address}");
    let mut machine = boot(orlop, &disk).args(&["--", "-smbios", &smbios]).start()?;
    let told = machine.wait_for_line(0, &[&missing], BOOT)?;
    web.serve(text);
    machine.wait_for_line(told + 1, &["no longer: ", &missing], BOOT)?;
    machine.press_power_button()?;
    let ended = machine.finish(BOOT)?;
    ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());

    let state = disk.judge()?;
    let kept = disk.read(&state, LAST_GOOD)?;
    ensure!(kept.contains(&format!("{address}\n{text}")), "it has kept:\n{kept}");
    // Nobody says anything of a config any more, and nobody is asked.
    let ended = boot(orlop, &disk).run_whole(BOOT)?;
    ensure!(ended.console_says(&["hostname", "by-address"]), "not its name{}", ended.tail());
    ensure!(!ended.console_says(&["not here yet"]), "the address is missed{}", ended.tail());

    // The next config has a setting that comes into being later, or never: it is tried again, after
    // those of the last good copy were made.
    let setting = "net.ipv4.conf.eth7.rp_filter";
    web.leave();
    let mut machine = boot(orlop, &disk).args(&["--", "-smbios", &smbios]).start()?;
    machine.wait_for_line(0, &["sysctl ready"], BOOT)?;
    web.serve(&format!("{text}\"{setting}\" = 2\n"));
    let failed = ["sysctl-fetched", "FAILED", "restart in"];
    let first = machine.wait_for_line(0, &failed, BOOT)?;
    let why = ["|", "cannot set", setting, "no such setting, or not yet"];
    machine.wait_for_line(first, &why, BOOT)?;
    machine.wait_for_line(first + 1, &failed, BOOT)?;
    machine.press_power_button()?;
    let ended = machine.finish(BOOT)?;
    ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());
    Ok(())
}

/// A boot that is given no config by `orlop run`, and leaves what it writes on `disk`.
fn boot(orlop: &Orlop, disk: &Disk) -> Boot {
    orlop.boot().args(&["--direct", "--no-config"]).disk(disk.path())
}

fn write(place: &Path, text: &str) -> Result<PathBuf> {
    let file = place.join("node.toml");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// A volume `ORLOP` with this config.
fn fat(place: &Path, text: &str) -> Result<PathBuf> {
    let (file, volume) = (write(place, text)?, place.join("fat"));
    fs::File::create(&volume)?.set_len(1 << 20)?;
    judge("mkfs.vfat", "dosfstools", [Path::new("-n"), Path::new("ORLOP"), &volume])?;
    let to = Path::new("::node.toml");
    judge("mcopy", "mtools", [Path::new("-i"), &volume, &file, to])?;
    Ok(volume)
}

/// A volume `cidata` with this config, its name in the form that `names` asks for.
fn iso(place: &Path, names: &str, text: &str) -> Result<PathBuf> {
    let (file, volume) = (write(place, text)?, place.join(names));
    let options = ["-quiet", "-volid", "cidata", names, "-output"].map(Path::new);
    judge("genisoimage", "genisoimage", options.into_iter().chain([&*volume, &file]))?;
    Ok(volume)
}
