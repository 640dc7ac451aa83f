//! The base image as outside programs see it, and whether its bytes depend on anything but the
//! recipe, the lock and the store. Needs no QEMU; `cargo xtask test` sets `ORLOP` and
//! `ORLOP_IMAGE`.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use qemu_tests::command::{Setting, program, run, workspace};
use qemu_tests::store::{Seed, copy_tree, same, seed};

/// The user that owns nothing.
const NOBODY: u32 = 65534;

fn main() {
    let arguments = Arguments::from_args();
    let test = |name: &str, test: fn(&Setting) -> Result<()>| {
        Trial::test(name, move || {
            let setting = Setting::from_environment()?;
            test(&setting).map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    let trials = vec![
        test("fsck_erofs_agrees_with_the_root_image", fsck_erofs),
        test("veritysetup_agrees_with_the_root_hash", veritysetup),
        test("veritysetup_refuses_a_root_with_one_flipped_byte", veritysetup_flipped),
        test("sgdisk_agrees_with_the_partition_table", sgdisk),
        test("fsck_vfat_agrees_with_the_esp", fsck_vfat),
        test("e2fsck_agrees_with_state", e2fsck),
        test("gpgv_agrees_with_the_signatures_that_the_lock_believed", gpgv),
        test("both_slots_hold_the_root_image", slots),
        test("nothing_changed_means_nothing_written", nothing_changed),
        test("the_number_of_jobs_does_not_shape_a_byte", jobs),
        test("another_place_user_time_and_no_network_give_the_same_bytes", elsewhere),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn fsck_erofs(setting: &Setting) -> Result<()> {
    run(program("fsck.erofs").arg(setting.image("root.img"))).map(drop)
}

fn verity(setting: &Setting, image: &Path) -> Result<()> {
    let report = setting.report()?;
    let root = &report["root"];
    let text = |key: &str| root[key].as_str().context("a text in build.json").map(str::to_owned);
    let data_size = root["data-size"].as_u64().context("data-size in build.json")?;
    let mut command = program("veritysetup");
    command.arg("verify").arg(image).arg(image).arg(text("hash")?);
    command.args(["--no-superblock", "--hash=sha256", "--data-block-size=4096"]);
    command.args(["--hash-block-size=4096", &format!("--salt={}", text("salt")?)]);
    command.arg(format!("--data-blocks={}", data_size / 4096));
    command.arg(format!("--hash-offset={data_size}"));
    run(&mut command).map(drop)
}

fn veritysetup(setting: &Setting) -> Result<()> {
    verity(setting, &setting.image("root.img"))
}

fn veritysetup_flipped(setting: &Setting) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let copy = directory.path().join("root.img");
    fs::copy(setting.image("root.img"), &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o644))?;
    let mut file = File::options().read(true).write(true).open(&copy)?;
    let middle = file.metadata()?.len() / 2;
    let mut byte = [0];
    file.seek(SeekFrom::Start(middle))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(middle))?;
    std::io::Write::write_all(&mut file, &[byte[0] ^ 1])?;
    drop(file);
    ensure!(verity(setting, &copy).is_err(), "veritysetup accepts a flipped byte");
    Ok(())
}

fn sgdisk(setting: &Setting) -> Result<()> {
    let said = run(program("sgdisk").arg("-v").arg(setting.image("disk.raw")))?;
    ensure!(said.contains("No problems found"), "sgdisk says: {said}");
    Ok(())
}

/// Start and size in bytes of a partition, as sfdisk reads the table.
fn partition(setting: &Setting, name: &str) -> Result<(u64, u64)> {
    let json = run(program("sfdisk").arg("--json").arg(setting.image("disk.raw")))?;
    let table: serde_json::Value = serde_json::from_str(&json)?;
    let partitions = table["partitiontable"]["partitions"].as_array().context("partitions")?;
    let found = partitions.iter().find(|partition| partition["name"] == name);
    let found = found.with_context(|| format!("no partition `{name}`"))?;
    let sectors = |key: &str| found[key].as_u64().context("a number from sfdisk");
    Ok((sectors("start")? * 512, sectors("size")? * 512))
}

/// Copies a partition into a file of its own.
fn extract(setting: &Setting, name: &str, to: &Path) -> Result<()> {
    let (start, size) = partition(setting, name)?;
    let mut disk = File::open(setting.image("disk.raw"))?;
    disk.seek(SeekFrom::Start(start))?;
    std::io::copy(&mut disk.take(size), &mut File::create(to)?)?;
    Ok(())
}

fn fsck_vfat(setting: &Setting) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let esp = directory.path().join("esp");
    extract(setting, "ESP", &esp)?;
    run(program("fsck.vfat").arg("-n").arg(&esp))?;
    // The content as mtools reads it: the UKI that was built, zeros behind it.
    let copy = directory.path().join("uki");
    run(program("mcopy").arg("-i").arg(&esp).arg("::EFI/Linux/2a.efi").arg(&copy))?;
    let (on_disk, built) = (fs::read(&copy)?, fs::read(setting.image("uki.efi"))?);
    ensure!(on_disk.starts_with(&built), "2a.efi on the ESP is not uki.efi");
    ensure!(
        on_disk[built.len()..].iter().all(|byte| *byte == 0),
        "2a.efi is not padded with zeros"
    );
    Ok(())
}

fn e2fsck(setting: &Setting) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("state");
    extract(setting, "STATE", &state)?;
    run(program("e2fsck").arg("-fn").arg(&state)).map(drop)
}

fn gpgv(setting: &Setting) -> Result<()> {
    let lock = fs::read_to_string(workspace().join("recipes/base.lock"))?;
    let digests: Vec<_> =
        lock.lines().filter_map(|line| line.strip_prefix("release = \"")).collect();
    ensure!(digests.len() == 3, "the lock names {} release files, not 3", digests.len());
    for digest in digests {
        let digest = digest.trim_end_matches('"');
        let release = setting.store()?.join("blobs").join(&digest[..2]).join(digest);
        let mut command = program("gpgv");
        for keyring in [
            "/usr/share/keyrings/debian-archive-keyring.gpg",
            "/usr/share/keyrings/debian-archive-keyring.pgp",
        ] {
            if Path::new(keyring).exists() {
                command.args(["--keyring", keyring]);
            }
        }
        run(command.arg(&release))?;
    }
    Ok(())
}

fn slots(setting: &Setting) -> Result<()> {
    let root = fs::read(setting.image("root.img"))?;
    for slot in ["ROOT-A", "ROOT-B"] {
        let (start, size) = partition(setting, slot)?;
        ensure!(size >= root.len() as u64, "{slot} is smaller than the root image");
        let mut disk = File::open(setting.image("disk.raw"))?;
        disk.seek(SeekFrom::Start(start))?;
        let mut held = vec![0; root.len()];
        disk.read_exact(&mut held)?;
        ensure!(held == root, "{slot} does not hold the root image");
    }
    Ok(())
}

fn nothing_changed(setting: &Setting) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let output = directory.path().join("out");
    let build = || {
        let mut command = program(&setting.orlop);
        command.args(["build", "--offline"]).arg(workspace().join("recipes/base.toml"));
        run(command.arg("-o").arg(&output).arg("--explain"))
    };
    let first = build()?;
    ensure!(
        first.lines().last() == Some(&output.display().to_string()),
        "the last line is the output"
    );
    let before = fs::metadata(output.join("disk.raw"))?.modified()?;
    let second = build()?;
    ensure!(
        fs::metadata(output.join("disk.raw"))?.modified()? == before,
        "the disk was written again"
    );
    let steps = second.lines().filter(|line| !line.starts_with('/'));
    for step in steps {
        ensure!(step.ends_with("remembered"), "not remembered: {step}");
    }
    Ok(())
}

fn jobs(setting: &Setting) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let store = directory.path().join("store");
    seed(&setting.store()?, &store, Seed::Compiled)?;
    for jobs in ["1", "2"] {
        let output = directory.path().join(format!("out-{jobs}"));
        let mut command = program(&setting.orlop);
        command.arg("--store").arg(&store).args(["build", "--offline", "-j", jobs]);
        run(command.arg(workspace().join("recipes/base.toml")).arg("-o").arg(&output))?;
        same(&setting.images, &output)?;
        // The second number must do the work again, not find it done.
        fs::remove_dir_all(store.join("steps/unpack"))?;
        fs::remove_dir_all(store.join("steps/kernel"))?;
    }
    Ok(())
}

/// Everything is compiled and composed again by another user in another directory, with another
/// umask, language and time zone, no network interface, no device but the harmless ones, and a
/// clock that is years away.
fn elsewhere(setting: &Setting) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "this test changes the user: run it as root");
    let directory = tempfile::Builder::new().prefix("orlop-elsewhere-").tempdir()?;
    let home = directory.path();
    let checkout = home.join("another/place");
    copy_tree(&workspace(), &checkout, &["target", ".git", "orlop-out"])?;
    seed(&setting.store()?, &home.join("store"), Seed::Fetched)?;
    let home_directory = PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?);
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.unwrap_or_else(|| home_directory.join(".cargo"));
    let sysroot = run(program("rustc").arg("--print=sysroot"))?;
    // What compilers have fetched is theirs to read; what they have built is not taken over.
    let lent = [
        (setting.caches()?.join("go"), home.join("cache/orlop/go")),
        (cargo_home.join("registry"), home.join("cargo/registry")),
        (PathBuf::from(sysroot.trim()), home.join("toolchain")),
    ];
    for (_, at) in &lent {
        fs::create_dir_all(at)?;
    }
    let own = home.join("orlop");
    fs::copy(&setting.orlop, &own)?;
    give_away(home)?;

    let script = r#"
        set -eu
        mount --make-rprivate /
        mkdir -p "$PLACE/dev"
        mount -t tmpfs none "$PLACE/dev"
        for device in null zero full random urandom; do
            touch "$PLACE/dev/$device"
            mount --bind "/dev/$device" "$PLACE/dev/$device"
        done
        mount --rbind "$PLACE/dev" /dev
        while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done
        shift
        test ! -e /dev/loop0 && test ! -e /dev/loop-control
        umask 077
        exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs "$@"
    "#;
    let mut command = program("unshare");
    command.args(["--net", "--mount", "--time", "--boottime=100000", "sh", "-c", script, "sh"]);
    for (from, at) in &lent {
        command.arg(from).arg(at);
    }
    command.arg("--").arg(&own).arg("--store").arg(home.join("store")).args([
        "build",
        "--offline",
        "-j",
        "1",
    ]);
    command.arg(checkout.join("recipes/base.toml")).arg("-o").arg(home.join("out"));
    command.env_clear();
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", home.join("toolchain/bin").display()));
    command.env("HOME", home).env("PLACE", home).env("TMPDIR", home);
    command.env("XDG_CACHE_HOME", home.join("cache")).env("CARGO_HOME", home.join("cargo"));
    command.env("TZ", "Pacific/Kiritimati").env("LC_ALL", "tr_TR.UTF-8").env("LANG", "tr_TR.UTF-8");
    run(command.current_dir(home))?;
    same(&setting.images, &home.join("out"))
}

/// Makes everything below `directory` the property of nobody, and removable.
fn give_away(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            give_away(&path)?;
        }
        std::os::unix::fs::lchown(&path, Some(NOBODY), Some(NOBODY))?;
    }
    chown(directory, Some(NOBODY), Some(NOBODY))?;
    Ok(())
}
