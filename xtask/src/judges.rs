//! Judges that come as libraries of Python: the official schemas of SBOMs, and what others read them
//! with. They go into a directory of their own below `target`; nothing of the host is changed.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::command::{program, run, workspace};

/// Which libraries, each with its version.
const REQUIREMENTS: &str = "qemu-tests/judges/requirements.txt";

/// Where they are; the tests look there.
fn directory() -> PathBuf {
    workspace().join("target/judges")
}

/// Whether they are there in the versions that are wanted.
fn are_there() -> Result<bool> {
    let wanted = fs::read(workspace().join(REQUIREMENTS)).context(REQUIREMENTS)?;
    Ok(fs::read(directory().join("installed.txt")).is_ok_and(|there| there == wanted))
}

/// Installs them, unless they are there.
pub(crate) fn install(dry_run: bool) -> Result<()> {
    if are_there()? {
        return Ok(());
    }
    let place = directory();
    eprintln!("missing: what {REQUIREMENTS} names, for `{}`", place.display());
    if dry_run {
        return Ok(());
    }
    run(program("python3").args(["-m", "venv", "--clear"]).arg(&place))?;
    let mut pip = program(place.join("bin/python"));
    run(pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "-r", REQUIREMENTS]))?;
    let wanted = workspace().join(REQUIREMENTS);
    fs::copy(wanted, place.join("installed.txt")).context("the judges' list")?;
    Ok(())
}

/// That they are there, for tests that may not install anything.
pub(crate) fn require() -> Result<()> {
    if !are_there()? {
        bail!("the judges of SBOMs are not in `target/judges`: `cargo xtask setup` installs them");
    }
    Ok(())
}
