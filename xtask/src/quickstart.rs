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
    setup::install(&orlop, &[Purpose::Build, Purpose::Run], false)?;
    step(
        3,
        "build a Kubernetes node: Debian's kernel, containerd, kubelet and CNI plugins from Go modules",
    );
    let directory = image::build(&orlop, "node")?;
    step(4, "boot it under UEFI in QEMU until kubelet runs a pod, then power it off");
    run(program(&orlop).arg("run").arg(&directory).args(["--until", "pod"]))?;

    let shown = |path: &std::path::Path| {
        path.strip_prefix(workspace())
            .map_or_else(|_| path.display().to_string(), |path| path.display().to_string())
    };
    let (orlop, directory) = (shown(&orlop), shown(&directory));
    println!(
        "\nThe image is {directory}/disk.raw. What to try next, from {}:\n",
        workspace().display()
    );
    for (command, what) in [
        (format!("{orlop} run {directory}"), "boot it and watch; Ctrl-C powers it off"),
        (format!("{orlop} run --cluster {directory}"), "a control plane beside it, which it joins"),
        (format!("{orlop} inspect {directory}"), "what is in it"),
        (format!("{orlop} recipe show recipes/node.toml"), "what it was made from"),
        (format!("{orlop} init my-node"), "a recipe of your own"),
        ("cargo xtask test".to_owned(), "all tests"),
    ] {
        println!("  {command:<54} {what}");
    }
    Ok(())
}
