//! `cargo xtask kata-check`: that a pod runs in a virtual machine, with a release of Kata as upstream has it.
//! It is for hands: the release has more than a gigabyte, and no test fetches it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::bench::qemu;
use crate::command::{output, program, run, workspace};
use crate::{image, test};

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
    // Older ones than QEMU 10 emulate AMD's virtualization too badly: guests end in the middle.
    let path = qemu::path(Some(qemu::install(&orlop)?))?;
    let mut check = test::named(&["kata-check"]);
    check
        .env("ORLOP", &orlop)
        .env("ORLOP_IMAGE", base)
        .env("ORLOP_KATA_IMAGE", worker)
        .env("PATH", path);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_pins_the_release_that_is_given() {
        let recipe = recipe_of(Path::new("/x/worker.toml"), "ab");
        assert!(recipe.starts_with(
            "schema = 1\nextends = \"/x/worker.toml\"\n[url.kata]\nsha256 = \"ab\"\n"
        ));
    }
}
