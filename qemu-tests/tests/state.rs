//! STATE that is damaged, and what a node does with it, each with a real guest.
//!
//! Needs `ORLOP`, `ORLOP_IMAGE` and `ORLOP_NODE_IMAGE`; `cargo xtask test` builds the images and
//! sets them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use formats::digest::Sha256;
use formats::node_config::{EXAMPLE, FIRMWARE_NAME};
use qemu_tests::disk::Disk;
use qemu_tests::harness::{self, Test, Threads};
use qemu_tests::process::run;
use qemu_tests::{Boot, Ended, Orlop, workspace};

/// What a boot may take without KVM on a busy machine.
const BOOT: Duration = Duration::from_secs(15 * 60);
/// What the node keeps on STATE, which is mounted at `/var`.
const LAST_GOOD: &str = "/lib/orlop/node.toml";
const GIB: u64 = 1 << 30;
/// How far apart copies of the superblock can lie at least.
const GROUP: u64 = 128 << 20;

const TESTS: &[(&str, Test)] = &[
    ("a_damaged_superblock_of_state_is_mended_by_its_copy", mended),
    ("a_state_of_zeros_is_told_and_made_anew_by_the_owner_s_word_once", made_anew_by_word),
    ("a_state_of_zeros_is_made_anew_if_the_config_says_so", made_anew_by_config),
    ("a_copy_of_the_disk_does_not_become_the_node_s", copied),
    ("without_state_the_network_is_there_and_kubelet_is_not", without_state),
    ("a_trial_that_nobody_judges_is_given_up_and_no_other_boot_is", nobody_judges),
];

fn main() -> ExitCode {
    harness::main(TESTS, Threads::Guests)
}

/// A disk that STATE can grow on, and a node config.
struct Place {
    directory: tempfile::TempDir,
    disk: Disk,
}

impl Place {
    fn new(image: &Path) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let disk = Disk::copy(&image.join("disk.raw"), &directory.path().join("disk.raw"))?;
        disk.grow(4 * GIB)?;
        Ok(Self { directory, disk })
    }

    /// With an empty `config` it is given none.
    fn boot(&self, orlop: &Orlop, image: &Path, config: &str, words: &str) -> Result<Boot> {
        let boot = orlop.boot_other(image).args(&["--direct", "--no-config"]);
        let line = fs::read_to_string(image.join("cmdline"))?;
        let line = format!("{} console=ttyS0 {words}", line.trim());
        let boot = boot.disk(self.disk.path()).args(&["--", "-append", &line]);
        if config.is_empty() {
            return Ok(boot);
        }
        let file = self.directory.path().join("node.toml");
        fs::write(&file, config)?;
        let item = format!("name={FIRMWARE_NAME},file={}", file.display());
        Ok(boot.args(&["-fw_cfg", &item]))
    }

    /// Boots until all units are there, the CRI among them, with and without STATE, and the screen says
    /// so.
    fn whole(&self, orlop: &Orlop, config: &str, words: &str) -> Result<Ended> {
        let boot = self.boot(orlop, orlop.image_directory(), config, words)?;
        let ended = boot.run_whole(BOOT)?;
        ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());
        Ok(ended)
    }

    /// Zeros where STATE's superblock and all its copies are, and around them.
    fn zero_state(&self) -> Result<()> {
        let state = self.disk.partition("STATE")?;
        for group in 0..state.size().div_ceil(GROUP) {
            let length = (state.size() - group * GROUP).min(1 << 20);
            self.disk.zero(state.offset() + group * GROUP, length)?;
        }
        Ok(())
    }

    fn kept(&self) -> Result<String> {
        self.disk.read(&self.disk.judge()?, LAST_GOOD)
    }
}

fn says(ended: &Ended, words: &[&str]) -> Result<()> {
    ensure!(ended.console_says(words), "{words:?} is not told{}", ended.tail());
    Ok(())
}

fn config(name: &str) -> String {
    format!("schema = 1\nhostname = \"{name}\"\n")
}

fn mended(orlop: &Orlop) -> Result<()> {
    let place = Place::new(orlop.image_directory())?;
    place.whole(orlop, &config("first"), "")?;
    let state = place.disk.partition("STATE")?;
    place.disk.zero(state.offset() + 1024, 1024)?;
    // The copy on STATE is used.
    let ended = place.whole(orlop, "", "")?;
    says(&ended, &["its superblock was damaged; the copy of group 1 is in its place"])?;
    says(&ended, &["hostname", "first"])?;
    ensure!(!ended.console_says(&["/var is in memory"]), "{}", ended.tail());
    ensure!(place.kept()?.contains("first"), "it has kept:\n{}", place.kept()?);
    let ended = place.whole(orlop, &config("first"), "")?;
    ensure!(!ended.console_says(&["superblock"]), "it is mended still{}", ended.tail());
    Ok(())
}

fn made_anew_by_word(orlop: &Orlop) -> Result<()> {
    let place = Place::new(orlop.image_directory())?;
    place.whole(orlop, &config("first"), "")?;
    place.zero_state()?;
    let ended = place.whole(orlop, &config("second"), "")?;
    says(&ended, &["/var is in memory and lost with a restart", "no copy of it is good"])?;
    says(&ended, &["hostname", "second"])?;

    let ended = place.whole(orlop, &config("third"), "orlop.state=reset")?;
    says(&ended, &["*** `orlop.state=reset`", "is made anew in 10 seconds", "is lost"])?;
    ensure!(!ended.console_says(&["/var is in memory"]), "{}", ended.tail());
    ensure!(place.kept()?.contains("third"), "it has kept:\n{}", place.kept()?);
    let ext4 = place.disk.ext4(&place.disk.partition("STATE")?)?;
    ensure!(ext4.size > GIB && ext4.is_clean, "it was not grown: {ext4:?}");

    // The word still stands there: what is new must not be lost with each boot.
    let ended = place.whole(orlop, "", "orlop.state=reset")?;
    says(&ended, &["`orlop.state=reset` was followed in an earlier boot: take it off"])?;
    says(&ended, &["hostname", "third"])
}

fn made_anew_by_config(orlop: &Orlop) -> Result<()> {
    let place = Place::new(orlop.image_directory())?;
    let config = format!("{}state.when-damaged = \"reset\"\n", config("first"));
    place.whole(orlop, &config, "")?;
    place.zero_state()?;
    // It starts again by itself, which ends this guest.
    let boot = place.boot(orlop, orlop.image_directory(), &config, "")?;
    let ended = boot.run(BOOT)?;
    says(&ended, &["*** `state.when-damaged = \"reset\"`", "is made anew in 10 seconds"])?;
    says(&ended, &["all stopped, restart now"])?;
    let ended = place.whole(orlop, &config, "")?;
    ensure!(!ended.console_says(&["/var is in memory"]), "{}", ended.tail());
    ensure!(place.kept()?.contains("first"), "it has kept:\n{}", place.kept()?);
    Ok(())
}

/// As somebody can write it who is given a volume: the same image, found before the node's own disk.
fn copied(orlop: &Orlop) -> Result<()> {
    let image = orlop.image_directory();
    let (ours, theirs) = (Place::new(image)?, Place::new(image)?);
    ours.whole(orlop, &config("ours"), "")?;
    theirs.whole(orlop, &config("theirs"), "")?;
    let beside = || -> Result<Ended> {
        let drive = format!("if=none,id=copy,format=raw,file={}", theirs.disk.path().display());
        let nvme = ["-drive", &drive, "-device", "nvme,drive=copy,serial=copy"];
        let boot = ours.boot(orlop, image, "", "")?.args(&nvme);
        let ended = boot.run_whole(BOOT)?;
        ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());
        ensure!(!ended.console_says(&["hostname", "theirs"]), "it is theirs{}", ended.tail());
        Ok(ended)
    };
    let ended = beside()?;
    says(&ended, &["more than one partition is named `STATE`: nvme0n1p5, vda5; remove a disk"])?;
    // What only has the name of the root is passed over.
    for slot in ["ROOT-A", "ROOT-B"] {
        let root = theirs.disk.partition(slot)?;
        theirs.disk.zero(root.offset(), 1 << 20)?;
    }
    let state = theirs.disk.partition("STATE")?;
    theirs.disk.zero(state.offset(), 1 << 20)?;
    says(&beside()?, &["more than one partition is named `STATE`"])?;
    // Without the copy all is as it was.
    says(&ours.whole(orlop, "", "")?, &["hostname", "ours"])
}

fn without_state(orlop: &Orlop) -> Result<()> {
    let image = orlop.node_image()?;
    let place = Place::new(image)?;
    place.zero_state()?;
    let mut machine = place.boot(orlop, image, EXAMPLE, "")?.start()?;
    machine.wait_for_mark("cri-answers", BOOT)?;
    machine.wait_for_line(0, &["eth0", "10.0.2.15"], BOOT)?;
    machine.wait_for_line(0, &["kubelet not wanted"], BOOT)?;
    machine.wait_for_line(0, &["without STATE kubelet does not run"], BOOT)?;
    machine.press_power_button()?;
    let ended = machine.finish(BOOT)?;
    ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());
    Ok(())
}

/// An image whose judge of a trial always fails, and is waited for a minute.
fn with_a_bad_judge(orlop: &Orlop, directory: &Path) -> Result<PathBuf> {
    let at = |name: &str| directory.join(name);
    let recipes = workspace().join("recipes");
    let units = at("overlay/usr/lib/orlop/units");
    fs::create_dir_all(&units)?;
    fs::write(
        units.join("judge.toml"),
        "exec = [\"/usr/lib/orlop/orlop-node\", \"nonsense\"]\n\
         only-if-exists = \"/run/orlop/trial\"\nready = \"exit\"\n\
         restart = { policy = \"on-failure\", backoff-min = \"1s\", backoff-max = \"5s\" }\n\
         cgroup = \"/judge\"\ndeadline = \"30s\"\nrestart-machine-after = \"1m\"\n",
    )?;
    let recipe = format!(
        "schema = 1\nname = \"judge\"\nextends = \"{}\"\n[local.judge]\npath = \"overlay\"\nat = \"/\"\n",
        recipes.join("base.toml").display()
    );
    fs::write(at("judge.toml"), recipe)?;
    // The same packages: the base image's lock is this recipe's.
    fs::copy(recipes.join("base.lock"), at("judge.lock"))?;
    let image = at("image");
    run(orlop
        .command()
        .args(["build", "--no-commit"])
        .arg(at("judge.toml"))
        .arg("-o")
        .arg(&image))?;
    Ok(image)
}

/// PID 1 sees by the note on STATE whether its root is on trial; nothing else has to work.
fn nobody_judges(orlop: &Orlop) -> Result<()> {
    const NOTE: &str = "/lib/orlop/trial";
    let directory = tempfile::tempdir()?;
    let image = with_a_bad_judge(orlop, directory.path())?;
    let line = fs::read_to_string(image.join("cmdline"))?;
    let hash = line.split_whitespace().find_map(|word| word.strip_prefix("orlop.roothash="));
    let hash = hash.context("a root hash")?;
    let place = Place::new(&image)?;
    let state = place.disk.partition("STATE")?;

    place.disk.write_file(&state, NOTE, &format!("{hash}\nfrom = \"nothing\"\n"))?;
    let ended = place.boot(orlop, &image, "", "")?.run(BOOT)?;
    says(&ended, &["judge FAILED"])?;
    says(&ended, &["judge was not ready in 60.0 s: the machine is restarted"])?;
    says(&ended, &["all stopped, restart now"])?;

    let state = place.disk.partition("STATE")?;
    place.disk.write_file(&state, NOTE, &format!("{}\n", Sha256::of("another")))?;
    let mut machine = place.boot(orlop, &image, "", "")?.start()?;
    machine.wait_for_line(0, &["judge not wanted: there is no /run/orlop/trial"], BOOT)?;
    machine.press_power_button()?;
    let ended = machine.finish(BOOT)?;
    says(&ended, &["all stopped, power off now"])
}
