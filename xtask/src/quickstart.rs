//! From a fresh machine to a node that has booted.

use anyhow::Result;

use crate::command::{program, run, workspace};
use crate::image;
use crate::setup::{self, Purpose};

pub(crate) fn run_all() -> Result<()> {
    let step = |number: u32, what: &str| eprintln!("\n[{number}/4] {what}");
    step(1, "build `orlop`, the image builder");
    let orlop = image::orlop()?;
    step(2, "install what this host lacks to build and run images");
    setup::install(&[Purpose::Build, Purpose::Run], false)?;
    step(
        3,
        "build the base image: Debian's kernel and runc, containerd and CNI plugins from Go modules",
    );
    let directory = image::build(&orlop, "base")?;
    step(4, "boot it under UEFI in QEMU until containerd answers, then power it off");
    run(program(&orlop).arg("run").arg(&directory).args(["--until", "cri"]))?;

    let shown = |path: &std::path::Path| {
        path.strip_prefix(workspace())
            .map_or_else(|_| path.display().to_string(), |path| path.display().to_string())
    };
    let (orlop, directory) = (shown(&orlop), shown(&directory));
    println!(
        "\nThe image is {directory}/disk.raw. What to try next, from {}:\n\n  \
         {orlop} run {directory}               boot it and watch; Ctrl-C powers it off\n  \
         {orlop} inspect {directory}/disk.raw  what is in it\n  \
         {orlop} recipe show recipes/base.toml what it was made from\n  \
         {orlop} init my-node                  a recipe of your own\n  \
         cargo xtask test                      all tests",
        workspace().display()
    );
    Ok(())
}
