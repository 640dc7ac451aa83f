//! The `orlop` binary and the base image that tests and benchmarks work with.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::command::{cargo, program, run, workspace};

/// Builds `orlop` as users have it, and says where it is.
pub(crate) fn orlop() -> Result<PathBuf> {
    run(cargo().args(["build", "--quiet", "--release", "--package", "builder"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), PathBuf::from);
    Ok(target.join("release/orlop"))
}

/// Locks (if there is no lock that fits), fetches and builds `recipes/NAME.toml`.
pub(crate) fn build(orlop: &Path, name: &str) -> Result<PathBuf> {
    let recipe = workspace().join(format!("recipes/{name}.toml"));
    fetch(orlop, &recipe)?;
    let output = workspace().join("target/images").join(name);
    step(program(orlop).args(["build", "--no-commit"]).arg(&recipe).arg("-o").arg(&output))?;
    Ok(output)
}

/// Locks a recipe, if there is no lock that fits, and fetches what the lock names. Returns the lock.
pub(crate) fn fetch(orlop: &Path, recipe: &Path) -> Result<PathBuf> {
    let check = program(orlop).arg("check").arg(recipe).output();
    let locked = check.is_ok_and(|output| output.status.success());
    let lock = recipe.with_extension("lock");
    if !locked || !lock.exists() {
        step(program(orlop).arg("lock").arg(recipe))?;
    }
    step(program(orlop).arg("fetch").arg(recipe))?;
    Ok(lock)
}

/// Runs it for what it makes. Standard output is for our own result.
fn step(command: &mut Command) -> Result<()> {
    run(command.stdout(std::io::stderr()))
}
