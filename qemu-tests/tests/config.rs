//! Where a node takes its config from, each place with a real guest: volumes, an address, and the
//! copy that it keeps. (`fw_cfg` is what `orlop run --config` and the tests with a cluster use.)
//!
//! Needs `ORLOP` and `ORLOP_IMAGE`; `cargo xtask test` builds an image and sets both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use qemu_tests::disk::Disk;
use qemu_tests::harness::{self, Test, Threads};
use qemu_tests::process::judge;
use qemu_tests::web::Web;
use qemu_tests::{Boot, Ended, Orlop};

/// What a boot may take without KVM on a busy machine.
const BOOT: Duration = Duration::from_secs(15 * 60);
/// What the node keeps on STATE, which is mounted at `/var`.
const LAST_GOOD: &str = "/lib/orlop/node.toml";

const TESTS: &[(&str, Test)] = &[
    ("a_config_is_read_from_a_volume_and_kept", a_volume),
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
        let ended = boot(orlop, &disk).until("cri").args(&["--", "-drive", &drive]).run(BOOT)?;
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
    let ended = boot(orlop, &disk).until("cri").run(BOOT)?;
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
