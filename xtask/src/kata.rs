//! `cargo xtask kata-check`: that a pod runs in a virtual machine, with a release of Kata as upstream has it.
//! It is for hands: the release has more than a gigabyte, and no test fetches it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::command::{output, program, run, workspace};
use crate::{image, test};

/// The first QEMU whose emulation of AMD's virtualization holds a guest to its end.
const LEAST_QEMU: u32 = 10;

/// What is different on a machine that is emulated: each guest starts in the time that an emulator within an
/// emulator takes.
const SETTINGS: &str = "\
[hypervisor.qemu]
default_memory = 512

[agent.kata]
reconnect_timeout_ms = 600000
create_container_timeout = 900
";

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The release, such as `kata-static-4.2.0-amd64.tar.zst`
    #[arg(long, value_name = "FILE")]
    payload: PathBuf,
}

pub(crate) fn run_check(args: &Args) -> Result<()> {
    let version = output(program("qemu-system-x86_64").arg("--version"))?;
    let major = major(&version).with_context(|| format!("QEMU says `{version}` of itself"))?;
    ensure!(major >= LEAST_QEMU, "QEMU {LEAST_QEMU} or later is needed, and here is {major}");
    // Programs are run in the checkout.
    let payload = std::path::absolute(&args.payload)?;
    let orlop = image::orlop()?;
    // It prints the digest of what it has taken.
    let added = output(program(&orlop).args(["store", "add"]).arg(payload))?;
    let sha256 = added.split_whitespace().next().context("`orlop store add` says no digest")?;
    let place = workspace().join("target/kata-check");
    fs::create_dir_all(&place)?;
    fs::write(place.join("settings.toml"), SETTINGS)?;
    let recipe = place.join("worker.toml");
    fs::write(&recipe, recipe_of(&workspace().join("recipes/worker.toml"), sha256))?;
    image::fetch(&orlop, &recipe)?;
    let worker = place.join("image");
    run(program(&orlop).args(["build", "--no-commit"]).arg(&recipe).arg("-o").arg(&worker))?;
    let base = image::build(&orlop, "base")?;
    let mut check = test::named(&["kata-check"]);
    check.env("ORLOP", &orlop).env("ORLOP_IMAGE", base).env("ORLOP_KATA_IMAGE", worker);
    run(&mut check)
}

/// The worker with this release in place of the one that it pins.
fn recipe_of(worker: &Path, sha256: &str) -> String {
    let at = "/opt/kata/share/defaults/kata-containers/runtime-rs/config.d/50-check.toml";
    format!(
        "schema = 1\nextends = {worker:?}\n[url.kata]\nsha256 = \"{sha256}\"\n\
         [local.kata-check]\npath = \"settings.toml\"\nat = \"{at}\"\n"
    )
}

/// Out of `QEMU emulator version 10.0.3 (Debian 1:10.0.3+ds-0+deb13u1)`.
fn major(version: &str) -> Option<u32> {
    let number = version.split(" version ").nth(1)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_qemu_are_read() {
        for (text, want) in [
            ("QEMU emulator version 10.0.3 (Debian 1:10.0.3+ds-0+deb13u1)\nCopyright", Some(10)),
            ("QEMU emulator version 7.2.15 (Debian 1:7.2+dfsg-7)", Some(7)),
            ("bash: not found", None),
        ] {
            assert_eq!(major(text), want, "{text}");
        }
    }

    #[test]
    fn the_recipe_pins_the_release_that_is_given() {
        let recipe = recipe_of(Path::new("/x/worker.toml"), "ab");
        assert!(recipe.starts_with(
            "schema = 1\nextends = \"/x/worker.toml\"\n[url.kata]\nsha256 = \"ab\"\n"
        ));
    }
}
