//! Builds that are disturbed: a full disk, an interruption, a twin, a damaged store, a host
//! without compilers. Nothing may be lost, and the next build works. Needs no QEMU.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};
use qemu_tests::harness::{self, Test, Threads};
use qemu_tests::process::{command, run};
use qemu_tests::store::{Seed, blob, same, seed};
use qemu_tests::{Orlop, workspace};
use rustix::process::{Pid, Signal, kill_process};

const TESTS: &[(&str, Test)] = &[
    ("an_interrupted_build_leaves_nothing_and_the_next_one_works", interrupted),
    ("two_builds_at_once_share_a_store", two_at_once),
    ("a_full_disk_is_told_and_nothing_is_lost", full_disk),
    ("a_damaged_blob_is_found_by_store_verify", damaged_blob),
    ("a_truncated_package_in_the_store_is_refused", truncated_package),
    ("a_host_without_rust_is_told_what_to_install", without_rust),
];

fn main() -> ExitCode {
    harness::main(TESTS, Threads::PerProcessor)
}

/// A store of its own for one test, and where it builds to.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new(orlop: &Orlop, how: Seed) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        seed(&orlop.store()?, &directory.path().join("store"), how)?;
        Ok(Self { directory })
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    fn output(&self, name: &str) -> PathBuf {
        self.directory.path().join("images").join(name)
    }

    fn build(&self, orlop: &Orlop, name: &str) -> Command {
        let mut command = orlop.command();
        command.arg("--store").arg(self.store()).args([
            "--progress",
            "json",
            "build",
            "--no-commit",
            "--offline",
        ]);
        command.arg(workspace().join("recipes/base.toml")).arg("-o").arg(self.output(name));
        command
    }
}

/// Runs to an expected failure; returns the exit status and what was written to stderr.
fn fail(command: &mut Command) -> Result<(i32, String)> {
    let output = command.output()?;
    ensure!(!output.status.success(), "`{command:?}` should have failed");
    let code = output.status.code().context("ended by a signal")?;
    Ok((code, String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Interrupts at the first, second, third ... event that the build reports, until it gets through.
fn interrupted(orlop: &Orlop) -> Result<()> {
    let place = Place::new(orlop, Seed::Compiled)?;
    let mut interruptions = 0;
    for after in 1.. {
        let mut command = place.build(orlop, "out");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id())?).context("a process id")?;
        let events = BufReader::new(child.stderr.take().context("stderr")?);
        for (number, line) in events.lines().enumerate() {
            line?;
            if number + 1 == after {
                kill_process(pid, Signal::INT)?;
            }
        }
        if child.wait()?.success() {
            break;
        }
        interruptions += 1;
        ensure!(!place.output("out").exists(), "half an output is there");
    }
    ensure!(interruptions >= 3, "only {interruptions} interruptions: the test tests nothing");
    same(orlop.image_directory(), &place.output("out"))?;
    let left = fs::read_dir(place.output("out").parent().context("parent")?)?.count();
    ensure!(left == 1, "{left} entries beside the output, one was expected");
    Ok(())
}

fn two_at_once(orlop: &Orlop) -> Result<()> {
    let place = Place::new(orlop, Seed::Compiled)?;
    let spawn =
        |name: &str| place.build(orlop, name).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let children = [
        ("one", spawn("one")?),
        ("two", spawn("two")?),
        ("same", spawn("same")?),
        ("same", spawn("same")?),
    ];
    for (name, child) in children {
        let output = child.wait_with_output()?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "the build of `{name}` failed: {stderr}");
    }
    for name in ["one", "two", "same"] {
        same(orlop.image_directory(), &place.output(name))?;
    }
    Ok(())
}

/// The store is on a file system of its own, which is full before the build is done.
fn full_disk(orlop: &Orlop) -> Result<()> {
    let place = Place::new(orlop, Seed::Compiled)?;
    let script = r#"
        set -eu
        mount --make-rprivate /
        mkdir "$PLACE/small"
        size=$(( $(du -sm "$PLACE/store" | cut -f1) + 240 ))
        mount -t tmpfs -o "size=${size}m" none "$PLACE/small"
        cp -r "$PLACE/store" "$PLACE/small/store"
        dd if=/dev/zero of="$PLACE/small/rest" bs=64k 2>/dev/null || true
        status=0
        "$@" || status=$?
        rm "$PLACE/small/rest"
        test ! -e "$PLACE/images/out"
        test -z "$(ls -A "$PLACE/small/store/tmp")"
        "$@" >&2
        exit $status
    "#;
    let mut command = command("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).env("PLACE", place.directory.path());
    command.arg(orlop.program()).arg("--store").arg(place.directory.path().join("small/store"));
    command.args(["build", "--offline", "--no-commit"]).arg(workspace().join("recipes/base.toml"));
    let (code, stderr) = fail(command.arg("-o").arg(place.output("out")))?;
    ensure!(code == 7, "exit status {code}: {stderr}");
    ensure!(stderr.contains("error[E0703]: cannot write to the store"), "{stderr}");
    ensure!(stderr.contains("No space left on device"), "{stderr}");
    same(orlop.image_directory(), &place.output("out"))
}

/// The largest blob of a store.
fn a_blob(store: &Path) -> Result<PathBuf> {
    let lock = fs::read_to_string(workspace().join("recipes/base.lock"))?;
    let digest = lock.lines().find_map(|line| line.strip_prefix("sha256 = \""));
    let digest = digest.context("a sha256 in the lock")?.trim_end_matches('"');
    let path = blob(store, digest);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    Ok(path)
}

fn damaged_blob(orlop: &Orlop) -> Result<()> {
    let place = Place::new(orlop, Seed::Compiled)?;
    let verify = || {
        let mut command = orlop.command();
        command.arg("--store").arg(place.store()).args(["store", "verify"]);
        command
    };
    run(&mut verify())?;
    let path = a_blob(&place.store())?;
    let mut bytes = fs::read(&path)?;
    bytes[100] ^= 1;
    fs::write(&path, bytes)?;
    let (code, stderr) = fail(&mut verify())?;
    ensure!(code == 8, "exit status {code}: {stderr}");
    ensure!(
        stderr.contains("error[E0801]") && stderr.contains(&*path.to_string_lossy()),
        "{stderr}"
    );
    Ok(())
}

fn truncated_package(orlop: &Orlop) -> Result<()> {
    let place = Place::new(orlop, Seed::Compiled)?;
    let path = a_blob(&place.store())?;
    let bytes = fs::read(&path)?;
    fs::write(&path, &bytes[..bytes.len() / 2])?;
    let (code, stderr) = fail(&mut place.build(orlop, "out"))?;
    // What has another size is as good as missing: the next fetch brings it again.
    ensure!(code == 7 && stderr.contains(r#""id":"E0704""#), "exit status {code}: {stderr}");
    ensure!(stderr.contains("orlop fetch"), "{stderr}");
    ensure!(!place.output("out").exists(), "half an output is there");
    fs::write(&path, &bytes)?;
    run(&mut place.build(orlop, "out"))?;
    same(orlop.image_directory(), &place.output("out"))
}

/// Go comes with `fetch`; Rust is the one compiler that a host needs.
fn without_rust(orlop: &Orlop) -> Result<()> {
    let place = Place::new(orlop, Seed::Fetched)?;
    let empty = place.directory.path().join("empty");
    fs::create_dir(&empty)?;
    let (code, stderr) = fail(place.build(orlop, "out").env("PATH", &empty))?;
    ensure!(code == 6, "exit status {code}: {stderr}");
    ensure!(stderr.contains(r#""id":"E0601""#), "{stderr}");
    ensure!(stderr.contains("`rustc` is not on this host"), "{stderr}");
    ensure!(stderr.contains("orlop doctor"), "{stderr}");
    Ok(())
}
