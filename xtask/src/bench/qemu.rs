//! The QEMU that boots are measured with: that of Debian 13 on every host, so that the figures of two
//! hosts can be compared. `orlop` locks, verifies and fetches its packages; here they are unpacked.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::command::{output, program, run, workspace};
use crate::image;

const RECIPE: &str = include_str!("qemu.toml");

/// Starts the emulator with its own libraries and firmware. `$0` is in `bin`, beside `usr`.
const START: &str = r#"#!/bin/sh
usr=$(dirname "$(dirname "$0")")/usr
exec "$usr/lib64/ld-linux-x86-64.so.2" --library-path "$usr/lib/x86_64-linux-gnu" \
    "$usr/bin/qemu-system-x86_64" -L "$usr/share/qemu" -L "$usr/share/seabios" "$@"
"#;

#[derive(Debug, Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    sha256: String,
    role: String,
}

/// The directory of its `qemu-system-x86_64`, installed if it is not there yet.
pub(crate) fn install(orlop: &Path) -> Result<PathBuf> {
    let directory = workspace().join("target/qemu");
    fs::create_dir_all(&directory).context("cannot make target/qemu")?;
    let recipe = directory.join("qemu.toml");
    fs::write(&recipe, RECIPE).with_context(|| format!("cannot write {}", recipe.display()))?;
    let lock = image::fetch(orlop, &recipe)?;
    let lock = fs::read_to_string(&lock).with_context(|| format!("no {}", lock.display()))?;
    let tree = directory.join("tree");
    // The copy of the lock is the last thing that is written.
    let done = tree.join("qemu.lock");
    if fs::read_to_string(&done).ok().as_ref() != Some(&lock) {
        unpack(orlop, &lock, &tree)?;
        fs::write(&done, lock).with_context(|| format!("cannot write {}", done.display()))?;
    }
    Ok(tree.join("bin"))
}

fn unpack(orlop: &Path, lock: &str, tree: &Path) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    let lock: Lock = toml::from_str(lock).context("cannot read the lock of QEMU")?;
    let store = output(program(orlop).args(["store", "path"]))?;
    for package in lock.package.iter().filter(|package| package.role == "root") {
        let (head, _) = package.sha256.split_at_checked(2).context("the lock has no digest")?;
        let blob = Path::new(store.trim()).join("blobs").join(head).join(&package.sha256);
        run(program("dpkg-deb").arg("--extract").arg(blob).arg(tree))?;
    }
    let start = tree.join("bin/qemu-system-x86_64");
    fs::create_dir_all(tree.join("bin"))?;
    fs::write(&start, START).with_context(|| format!("cannot write {}", start.display()))?;
    fs::set_permissions(&start, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
