//! Layout tests of the worker: a release of Kata as far as its layout goes, in an image. containerd takes the
//! file that the builder makes for it, and says so to a node; a node without virtualization says that in one
//! line and is a node as any other. That a pod runs is shown by hand: `cargo xtask kata-check`.

#[path = "../../builder/tests/shared/kata_release.rs"]
#[expect(dead_code, reason = "the builder's tests need more of it")]
mod kata_release;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use formats::digest::Sha256;
use formats::tree::{Kind, TreePath};
use qemu_tests::disk::Disk;
use qemu_tests::harness::{self, Test, Threads};
use qemu_tests::process::{command, run};
use qemu_tests::store::blob;
use qemu_tests::{Orlop, workspace};
use tempfile::TempDir;

use kata_release::MadeRelease;

/// What a boot may take without KVM on a busy machine.
const BOOT: Duration = Duration::from_secs(15 * 60);
/// Nobody listens there: the file is in the store before anybody asks.
const ADDRESS: &str = "http://127.0.0.1:9/kata-static.tar.zst";
/// What the unit writes, on STATE.
const LOG: &str = "/log/orlop/kata.log";

const TESTS: &[(&str, Test)] = &[
    ("containerd_takes_what_the_builder_tells_it_of_kata", containerd_takes_it),
    ("a_worker_says_in_one_line_that_it_cannot_run_virtual_machines", a_worker_without_kvm),
];

/// Those that `--full` runs too.
const LONG: &[(&str, Test)] =
    &[("a_worker_with_virtualization_finds_all_that_guests_need", a_worker_with_kvm)];

fn main() -> ExitCode {
    harness::main(&harness::with_long(TESTS, LONG), Threads::Guests)
}

/// An image of the worker with the made release.
struct Worker {
    directory: TempDir,
}

impl Worker {
    fn build(orlop: &Orlop) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        let packed = MadeRelease::new().pack();
        fs::write(at("release"), &packed)?;
        run(orlop.command().args(["store", "add"]).arg(at("release")))?;
        let (sha256, parent) = (Sha256::of(&packed), workspace().join("recipes/worker.toml"));
        let recipe = format!(
            "schema = 1\nextends = {parent:?}\n[url.kata]\nurl = \"{ADDRESS}\"\nsha256 = \"{sha256}\"\n"
        );
        fs::write(at("worker.toml"), recipe)?;
        // The node's, with one file more: nothing is asked of the archives.
        let lock = fs::read_to_string(workspace().join("recipes/node.lock"))?;
        let lock = lock.replacen(
            "inputs = [\n",
            &format!("inputs = [\n    \"url kata {ADDRESS} {sha256}\",\n"),
            1,
        );
        let lock = format!(
            "{lock}\n[[url]]\ncomponent = \"kata\"\nurl = \"{ADDRESS}\"\nsha256 = \"{sha256}\"\nsize = {}\n",
            packed.len()
        );
        fs::write(at("worker.lock"), lock)?;
        let mut build = orlop.command();
        build.args(["build", "--offline", "--locked", "--no-commit"]).arg(at("worker.toml"));
        run(build.arg("-o").arg(at("image")))?;
        Ok(Self { directory })
    }

    fn image(&self) -> std::path::PathBuf {
        self.directory.path().join("image")
    }

    /// A file of the image, copied out of the store.
    fn copy(&self, orlop: &Orlop, path: &str, to: &Path) -> Result<()> {
        let tree =
            formats::manifest::parse(&fs::read_to_string(self.image().join("manifest.txt"))?)?;
        let node =
            tree.get(&TreePath::new(path)?).with_context(|| format!("there is no {path}"))?;
        let Kind::File(content) = &node.kind else { anyhow::bail!("{path} is no file") };
        fs::copy(blob(&orlop.store()?, &content.sha256.to_string()), to)?;
        fs::set_permissions(to, fs::Permissions::from_mode(u32::from(node.mode)))?;
        Ok(())
    }
}

/// The judge is containerd itself, the program of the image.
fn containerd_takes_it(orlop: &Orlop) -> Result<()> {
    let worker = Worker::build(orlop)?;
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("conf.d"))?;
    worker.copy(orlop, "/usr/bin/containerd", &at("containerd"))?;
    worker.copy(orlop, "/etc/containerd/conf.d/kata.toml", &at("conf.d/kata.toml"))?;
    worker.copy(orlop, "/etc/containerd/config.toml", &at("config.toml"))?;
    let config = fs::read_to_string(at("config.toml"))?;
    let here = at("conf.d").display().to_string();
    let moved = config.replace("/etc/containerd/conf.d", &here);
    ensure!(moved != config, "the configuration of the base imports nothing");
    fs::write(at("config.toml"), moved)?;
    let mut containerd = command(at("containerd"));
    let dump = run(containerd.arg("--config").arg(at("config.toml")).args(["config", "dump"]))?;
    for part in [
        // Both: one handler does not take the place of the other.
        "containerd.runtimes.runc]",
        "containerd.runtimes.kata]",
        "runtime_path = '/opt/kata/runtime-rs/bin/containerd-shim-kata-v2'",
        "ConfigPath = '/opt/kata/share/defaults/kata-containers/runtime-rs/configuration-qemu-runtime-rs.toml'",
        "BinaryName = '/usr/bin/crun'",
        "default_runtime_name = 'runc'",
    ] {
        ensure!(dump.contains(part), "`containerd config dump` has no {part}:\n{dump}");
    }
    Ok(())
}

/// Boots the worker on a processor of this model, waits for `words` on its console if there are some, and
/// returns what the unit has written.
fn booted(orlop: &Orlop, processor: &str, words: &[&str]) -> Result<String> {
    let worker = Worker::build(orlop)?;
    let directory = tempfile::tempdir()?;
    let disk = Disk::copy(&worker.image().join("disk.raw"), &directory.path().join("disk.raw"))?;
    let options = ["--accel", "tcg", "--direct", "--", "-cpu", processor];
    let mut machine = orlop.boot_other(&worker.image()).disk(disk.path()).args(&options).start()?;
    machine.wait_for_mark("unit:kata:ready", BOOT)?;
    if !words.is_empty() {
        machine.wait_for_line(0, words, BOOT)?;
    }
    machine.press_power_button()?;
    let ended = machine.finish(BOOT)?;
    ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());
    if words.is_empty() {
        ensure!(!ended.console_says(&["virtual machine (Kata)"]), "{}", ended.tail());
    }
    let partitions = disk.judge()?;
    disk.read(&partitions, LOG)
}

fn a_worker_without_kvm(orlop: &Orlop) -> Result<()> {
    let words =
        ["no pod can run in a virtual machine (Kata): the processor shows no virtualization"];
    // A model of Intel's, whose virtualization QEMU does not emulate. Of `max` without `svm` QEMU 7.2 breaks
    // programs: the link of `/proc/self/exe` reads as something else.
    let log = booted(orlop, "Skylake-Client,cx16=off", &words)?;
    // CRI's `Status`, as the unit has asked for it.
    ensure!(log.contains("containerd has the handlers") && log.contains("kata"), "{log}");
    Ok(())
}

/// QEMU emulates AMD's virtualization: modules are loaded by a kernel that is locked down, and devices opened.
fn a_worker_with_kvm(orlop: &Orlop) -> Result<()> {
    let log = booted(orlop, "max,erms=off,fsrm=off,cx16=off", &[])?;
    ensure!(log.contains("containerd has the handlers"), "{log}");
    ensure!(!log.contains("no pod can run"), "{log}");
    Ok(())
}
