//! Judges that no package of the host brings: the official schemas of SBOMs and what others read them
//! with, and the reference implementation of TUF, which are libraries of Python, a reader of versions by
//! libostree's Rust library, and a registry with a client of its own, which are programs of Go. They go
//! into a directory of their own below `target`; nothing of the host is changed.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::command::{cargo, program, run, workspace};

/// Which libraries, each with its version.
const REQUIREMENTS: &str = "qemu-tests/judges/requirements.txt";

/// The reader of versions, a workspace of its own.
const READER: &str = "qemu-tests/judges/ostree";

/// A registry and its client, a module of Go.
const REGISTRY: &str = "qemu-tests/judges/oci";

/// What the judges are made of.
const SOURCES: [&str; 6] = [
    REQUIREMENTS,
    "qemu-tests/judges/ostree/Cargo.lock",
    "qemu-tests/judges/ostree/src/main.rs",
    "qemu-tests/judges/oci/go.mod",
    "qemu-tests/judges/oci/go.sum",
    "qemu-tests/judges/oci/registry/main.go",
];

/// Where they are; the tests look there.
fn directory() -> PathBuf {
    workspace().join("target/judges")
}

/// What those that are wanted are made of, in one text.
fn wanted() -> Result<Vec<u8>> {
    let mut wanted = Vec::new();
    for source in SOURCES {
        wanted.extend(fs::read(workspace().join(source)).context(source)?);
    }
    Ok(wanted)
}

/// Whether those are there that are wanted.
fn are_there() -> Result<bool> {
    let wanted = wanted()?;
    Ok(fs::read(directory().join("installed.txt")).is_ok_and(|there| there == wanted))
}

/// Installs them, unless they are there.
pub(crate) fn install(dry_run: bool) -> Result<()> {
    if are_there()? {
        return Ok(());
    }
    let place = directory();
    eprintln!(
        "missing: what {REQUIREMENTS}, {READER} and {REGISTRY} name, for `{}`",
        place.display()
    );
    if dry_run {
        return Ok(());
    }
    run(program("python3").args(["-m", "venv", "--clear"]).arg(&place))?;
    let mut pip = program(place.join("bin/python"));
    run(pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "-r", REQUIREMENTS]))?;
    let manifest = workspace().join(READER).join("Cargo.toml");
    let mut reader = cargo();
    reader.args(["build", "--quiet", "--locked", "--manifest-path"]).arg(manifest);
    run(reader.arg("--target-dir").arg(place.join("ostree")))?;
    let registry = place.join("oci");
    fs::create_dir_all(&registry).context("the place of the registry")?;
    let mut go = program("go");
    go.current_dir(workspace().join(REGISTRY)).args(["build", "-mod=readonly", "-trimpath"]);
    go.args(["-buildvcs=false", "-ldflags=-s", "-o"]).arg(&registry);
    // A host whose Go is older fetches the one that the module names.
    go.args(["./registry", "oras.land/oras/cmd/oras"]).env("GOTOOLCHAIN", "auto");
    run(go.env("GOWORK", "off").env("CGO_ENABLED", "0"))?;
    fs::write(place.join("installed.txt"), wanted()?).context("the judges' list")?;
    Ok(())
}

/// That they are there, for tests that may not install anything.
pub(crate) fn require() -> Result<()> {
    if !are_there()? {
        bail!("the judges are not in `target/judges`: `cargo xtask setup` installs them");
    }
    Ok(())
}
