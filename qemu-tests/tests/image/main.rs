//! The images as outside programs see them, and whether the bytes of the base image depend on
//! anything but the recipe, the lock and the store. Needs no QEMU; `cargo xtask test` sets `ORLOP`,
//! `ORLOP_IMAGE` and `ORLOP_NODE_IMAGE`.

mod apparmor;
mod artifacts;
mod modules;
mod published;
mod releases;
mod sboms;
mod versions;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use qemu_tests::disk::{BLOCK, Disk, SECTOR, judge_table};
use qemu_tests::harness::{self, Test, Threads};
use qemu_tests::process::{command, judge, run};
use qemu_tests::store::{Seed, blob, copy_tree, same, seed};
use qemu_tests::{Orlop, workspace};

/// The user that owns nothing.
const NOBODY: u32 = 65534;

const TESTS: &[(&str, Test)] = &[
    ("fsck_erofs_agrees_with_the_root_image", fsck_erofs),
    ("veritysetup_agrees_with_the_root_hash", veritysetup),
    ("veritysetup_refuses_a_root_with_one_flipped_bit", veritysetup_flipped),
    ("sgdisk_agrees_with_the_partition_table", sgdisk),
    ("fsck_vfat_agrees_with_the_esp", fsck_vfat),
    ("e2fsck_agrees_with_state", e2fsck),
    ("gpgv_agrees_with_the_signatures_that_the_lock_believed", gpgv),
    ("both_slots_hold_the_root_image", slots),
    ("the_image_is_as_small_as_we_promise", small),
    ("the_table_of_modules_is_that_of_the_node_image", modules::the_table),
    ("modprobe_finds_each_module_that_is_shipped_and_what_is_built_in", modules::modprobe),
    (
        "the_profile_of_containers_is_the_one_that_containerd_would_make",
        apparmor::containerd_would_make_the_same,
    ),
    ("outside_readers_agree_with_what_a_build_says_of_itself", sboms::judged),
    ("the_reference_client_reads_our_releases_and_we_read_its", releases::judged),
    ("the_reference_client_reads_what_is_published_and_we_verify_its", published::judged),
    ("a_stock_registry_and_its_client_take_and_give_our_releases", artifacts::judged),
    ("the_stock_program_and_libostree_agree_with_the_version_of_an_image", versions::judged),
    ("nothing_changed_means_nothing_written", nothing_changed),
    ("the_number_of_jobs_does_not_shape_a_byte", jobs),
    ("another_place_user_time_and_no_network_give_the_same_bytes", elsewhere),
];

fn main() -> ExitCode {
    harness::main(TESTS, Threads::PerProcessor)
}

fn fsck_erofs(orlop: &Orlop) -> Result<()> {
    judge("fsck.erofs", "erofs-utils", [orlop.image("root.img")]).map(drop)
}

fn verity(orlop: &Orlop, image: &Path) -> Result<()> {
    let root = orlop.report()?.root;
    let mut args = vec![OsString::from("verify"), image.into(), image.into(), root.hash.into()];
    let fixed = ["--no-superblock", "--hash=sha256", "--data-block-size=4096"];
    args.extend(fixed.map(OsString::from));
    args.push("--hash-block-size=4096".into());
    args.push(format!("--salt={}", root.salt).into());
    args.push(format!("--data-blocks={}", root.data_size / BLOCK).into());
    args.push(format!("--hash-offset={}", root.data_size).into());
    judge("veritysetup", "cryptsetup-bin", args).map(drop)
}

fn veritysetup(orlop: &Orlop) -> Result<()> {
    verity(orlop, &orlop.image("root.img"))
}

fn veritysetup_flipped(orlop: &Orlop) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let copy = Disk::copy(&orlop.image("root.img"), &directory.path().join("root.img"))?;
    copy.flip(copy.sectors()? / 2 * SECTOR)?;
    ensure!(verity(orlop, copy.path()).is_err(), "veritysetup accepts a flipped bit");
    Ok(())
}

fn sgdisk(orlop: &Orlop) -> Result<()> {
    judge_table(&orlop.image("disk.raw"))
}

/// Start and size in bytes of a partition, as sfdisk reads the table.
fn partition(orlop: &Orlop, name: &str) -> Result<(u64, u64)> {
    let disk = orlop.image("disk.raw");
    let json = judge("sfdisk", "fdisk", ["--json".as_ref(), disk.as_os_str()])?;
    let table: serde_json::Value = serde_json::from_str(&json)?;
    let partitions = table["partitiontable"]["partitions"].as_array().context("partitions")?;
    let found = partitions.iter().find(|partition| partition["name"] == name);
    let found = found.with_context(|| format!("no partition `{name}`"))?;
    let sectors = |key: &str| found[key].as_u64().context("a number from sfdisk");
    Ok((sectors("start")? * 512, sectors("size")? * 512))
}

/// Copies a partition into a file of its own.
fn extract(orlop: &Orlop, name: &str, to: &Path) -> Result<()> {
    let (start, size) = partition(orlop, name)?;
    let mut disk = File::open(orlop.image("disk.raw"))?;
    disk.seek(SeekFrom::Start(start))?;
    std::io::copy(&mut disk.take(size), &mut File::create(to)?)?;
    Ok(())
}

fn fsck_vfat(orlop: &Orlop) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let esp = directory.path().join("esp");
    extract(orlop, "ESP", &esp)?;
    judge("fsck.vfat", "dosfstools", ["-n".as_ref(), esp.as_os_str()])?;
    // The content as mtools reads it: the UKI that was built, for both slots.
    let uki = fs::read(orlop.image("uki.efi"))?;
    for name in ["2a.efi", "1b.efi"] {
        let (copy, path) = (directory.path().join(name), format!("::EFI/Linux/{name}"));
        let args = ["-i".as_ref(), esp.as_os_str(), path.as_ref(), copy.as_os_str()];
        judge("mcopy", "mtools", args)?;
        ensure!(fs::read(&copy)? == uki, "{name} on the ESP is not uki.efi");
    }
    Ok(())
}

fn e2fsck(orlop: &Orlop) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("state");
    extract(orlop, "STATE", &state)?;
    judge("e2fsck", "e2fsprogs", ["-fn".as_ref(), state.as_os_str()]).map(drop)
}

fn gpgv(orlop: &Orlop) -> Result<()> {
    let lock = fs::read_to_string(workspace().join("recipes/base.lock"))?;
    let digests: Vec<_> =
        lock.lines().filter_map(|line| line.strip_prefix("release = \"")).collect();
    ensure!(digests.len() == 3, "the lock names {} release files, not 3", digests.len());
    for digest in digests {
        let digest = digest.trim_end_matches('"');
        let release = blob(&orlop.store()?, digest);
        let mut args = Vec::<OsString>::new();
        for keyring in [
            "/usr/share/keyrings/debian-archive-keyring.gpg",
            "/usr/share/keyrings/debian-archive-keyring.pgp",
        ] {
            if Path::new(keyring).exists() {
                args.extend(["--keyring", keyring].map(OsString::from));
            }
        }
        args.push(release.into());
        judge("gpgv", "gpgv", args)?;
    }
    Ok(())
}

fn slots(orlop: &Orlop) -> Result<()> {
    let root = fs::read(orlop.image("root.img"))?;
    for slot in ["ROOT-A", "ROOT-B"] {
        let (start, size) = partition(orlop, slot)?;
        ensure!(size >= root.len() as u64, "{slot} is smaller than the root image");
        let mut disk = File::open(orlop.image("disk.raw"))?;
        disk.seek(SeekFrom::Start(start))?;
        let mut held = vec![0; root.len()];
        disk.read_exact(&mut held)?;
        ensure!(held == root, "{slot} does not hold the root image");
    }
    Ok(())
}

/// Bytes are steady, so they may be asserted.
fn small(orlop: &Orlop) -> Result<()> {
    let manifest = fs::read_to_string(orlop.image("manifest.txt"))?;
    let init = manifest.lines().find(|line| line.contains(" /usr/lib/orlop/init "));
    let init = init.and_then(|line| line.rsplit(' ').next()).context("PID 1 in the manifest")?;
    let size = |name: &str| Ok::<_, anyhow::Error>(fs::metadata(orlop.image(name))?.len());
    let report: serde_json::Value = serde_json::from_slice(&fs::read(orlop.image("build.json"))?)?;
    let uki = report["uki-size"].as_u64().context("uki-size in build.json")?;
    let around_the_kernel = uki.saturating_sub(size("vmlinuz")?);
    let packages = report["packages"].as_object().context("packages in build.json")?.len();
    let node = fs::metadata(orlop.node_image()?.join("root.img"))?.len();
    for (what, is, most) in [
        ("bytes of the node's root", node, 150 << 20),
        ("bytes of PID 1", init.parse()?, 2_000_000),
        ("bytes of the UKI beside the kernel", around_the_kernel, 2_500_000),
        ("Debian packages in the root", packages as u64, 12),
    ] {
        ensure!(is > 0 && is <= most, "{is} {what}, at most {most} are promised");
    }
    Ok(())
}

fn nothing_changed(orlop: &Orlop) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let output = directory.path().join("out");
    let build = || {
        let mut command = orlop.command();
        command
            .args(["build", "--offline", "--no-commit"])
            .arg(workspace().join("recipes/base.toml"));
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

fn jobs(orlop: &Orlop) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let store = directory.path().join("store");
    seed(&orlop.store()?, &store, Seed::Compiled)?;
    for jobs in ["1", "2"] {
        let output = directory.path().join(format!("out-{jobs}"));
        let mut command = orlop.command();
        command.arg("--store").arg(&store).args(["build", "--offline", "--no-commit", "-j", jobs]);
        run(command.arg(workspace().join("recipes/base.toml")).arg("-o").arg(&output))?;
        same(orlop.image_directory(), &output)?;
        // The second number must do the work again, not find it done.
        fs::remove_dir_all(store.join("steps/unpack"))?;
        fs::remove_dir_all(store.join("steps/kernel"))?;
    }
    Ok(())
}

/// Everything is compiled and composed again by another user in another directory, with another
/// umask, language and time zone, no network interface and no device but the harmless ones; later,
/// from files whose times are those of the copy, on a machine that seems to be up for longer.
fn elsewhere(orlop: &Orlop) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "this test changes the user: run it as root");
    let directory = tempfile::Builder::new().prefix("orlop-elsewhere-").tempdir()?;
    let home = directory.path();
    let checkout = home.join("another/place");
    copy_tree(&workspace(), &checkout, &["target", ".git", "orlop-out"])?;
    seed(&orlop.store()?, &home.join("store"), Seed::Fetched)?;
    let home_directory = PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?);
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.unwrap_or_else(|| home_directory.join(".cargo"));
    let sysroot = run(command("rustc").arg("--print=sysroot"))?;
    // What compilers have fetched is theirs to read; what they have built is not taken over.
    let lent = [
        (orlop.caches()?.join("go"), home.join("cache/orlop/go")),
        (cargo_home.join("registry"), home.join("cargo/registry")),
        (PathBuf::from(sysroot.trim()), home.join("toolchain")),
    ];
    for (_, at) in &lent {
        fs::create_dir_all(at)?;
    }
    let own = home.join("orlop");
    fs::copy(orlop.program(), &own)?;
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
    let mut command = command("unshare");
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
    same(orlop.image_directory(), &home.join("out"))
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
