//! The QEMU that boots are measured with: that of Debian 13 on every host, so that the figures of two
//! hosts can be compared. `orlop` locks, verifies, fetches and unpacks its packages.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context as _, Result};

use crate::command::{program, run, workspace};
use crate::image;

const RECIPE: &str = include_str!("qemu.toml");
const PROGRAM: &str = "qemu-system-x86_64";

/// Starts the emulator with its own firmware; what it calls starts it with its own libraries. `$0`
/// is in `bin`, beside `tree`.
const START: &str = r#"#!/bin/sh
tree=$(dirname "$(dirname "$0")")/tree
exec "$tree/start/qemu-system-x86_64" \
    -L "$tree/usr/share/qemu" -L "$tree/usr/share/seabios" "$@"
"#;

/// The directory of its `qemu-system-x86_64`, installed if it is not there yet.
pub(crate) fn install(orlop: &Path) -> Result<PathBuf> {
    let directory = workspace().join("target/qemu");
    fs::create_dir_all(&directory).context("cannot make target/qemu")?;
    let recipe = directory.join("qemu.toml");
    fs::write(&recipe, RECIPE).with_context(|| format!("cannot write {}", recipe.display()))?;
    let lock = image::fetch(orlop, &recipe)?;
    let lock = fs::read_to_string(&lock).with_context(|| format!("no {}", lock.display()))?;
    let (tree, bin) = (directory.join("tree"), directory.join("bin"));
    // The copy of the lock is the last thing that is written.
    let done = bin.join("qemu.lock");
    if fs::read_to_string(&done).ok().as_ref() != Some(&lock) {
        if tree.exists() {
            fs::remove_dir_all(&tree)
                .with_context(|| format!("cannot remove {}", tree.display()))?;
        }
        let mut unpack = program(orlop);
        unpack.args(["store", "unpack", "--start", PROGRAM]).arg(&recipe).arg("-o").arg(&tree);
        run(unpack.stdout(std::io::stderr()))?;
        fs::create_dir_all(&bin)?;
        let start = bin.join(PROGRAM);
        fs::write(&start, START).with_context(|| format!("cannot write {}", start.display()))?;
        fs::set_permissions(&start, fs::Permissions::from_mode(0o755))?;
        fs::write(&done, lock).with_context(|| format!("cannot write {}", done.display()))?;
    }
    Ok(bin)
}

/// The search path of programs, with this directory before all others.
pub(crate) fn path(first: Option<PathBuf>) -> Result<OsString> {
    let others = env::var_os("PATH").unwrap_or_default();
    let directories = first.into_iter().chain(env::split_paths(&others));
    env::join_paths(directories).context("a directory's name does not fit into PATH")
}
