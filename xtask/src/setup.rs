//! Installs what the host lacks. `orlop doctor` knows what that is; we only ask apt for it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::command::{output, program};
use crate::image;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Say what would be installed, and install nothing
    #[arg(long)]
    dry_run: bool,
}

/// What a tool is for, as `orlop doctor --json` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Purpose {
    /// `orlop build`.
    Build,
    /// `orlop run`.
    Run,
    /// The tests of this repository.
    Test,
    /// Works without it.
    Optional,
}

#[derive(Debug, Deserialize)]
struct Doctor {
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    state: String,
    purpose: Purpose,
    package: Option<String>,
}

/// Installs everything, the judges of the tests included.
pub(crate) fn run_all() -> Result<()> {
    install(&image::orlop()?, &[Purpose::Build, Purpose::Run, Purpose::Test], false)
}

pub(crate) fn run(args: &Args) -> Result<()> {
    install(&image::orlop()?, &[Purpose::Build, Purpose::Run, Purpose::Test], args.dry_run)
}

/// Installs what is missing for these purposes.
pub(crate) fn install(orlop: &Path, purposes: &[Purpose], dry_run: bool) -> Result<()> {
    // doctor's exit status says that something is missing, which is why we ask.
    let text =
        output(program("sh").args(["-c", "\"$0\" doctor --json || test $? = 6"]).arg(orlop))?;
    let doctor: Doctor =
        serde_json::from_str(&text).context("cannot read `orlop doctor --json`")?;
    let wanted = |row: &&Row| row.state != "ok" && purposes.contains(&row.purpose);
    let missing: Vec<_> = doctor.rows.iter().filter(wanted).collect();
    if missing.is_empty() {
        eprintln!("this host has all that is needed");
        return Ok(());
    }
    for row in &missing {
        let package = row.package.as_deref().unwrap_or("none that we know");
        eprintln!("missing: {:<24} for {:?}, package {package}", row.name, row.purpose);
    }
    let packages: BTreeSet<_> = missing.iter().filter_map(|row| row.package.as_deref()).collect();
    let packages: Vec<_> = packages.into_iter().collect();
    if packages.is_empty() {
        bail!("no package brings what is missing");
    }
    if dry_run {
        println!("{}", packages.join(" "));
        return Ok(());
    }
    let root = rustix::process::geteuid().is_root();
    let apt = |arguments: &[&str]| {
        let mut command = if root {
            program("apt-get")
        } else {
            let mut sudo = program("sudo");
            sudo.arg("apt-get");
            sudo
        };
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        command
    };
    if output(program("sh").args(["-c", "command -v apt-get || true"]))?.trim().is_empty() {
        bail!("this host has no apt-get: install by hand what provides {}", packages.join(", "));
    }
    crate::command::run(&mut apt(&["update", "-qq"]))?;
    let mut install = apt(&["install", "-y", "-qq", "--no-install-recommends"]);
    install.args(&packages);
    crate::command::run(&mut install)
}
