//! The `orlop` binary and the base image that tests and benchmarks work with.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::command::{cargo, cargo_test, program, run, workspace};
use crate::judges;

/// Builds `orlop` as users have it, and says where it is.
pub(crate) fn orlop() -> Result<PathBuf> {
    run(cargo().args(["build", "--quiet", "--release", "--package", "builder"]))?;
    Ok(target().join("release/orlop"))
}

/// Builds what the tests of the workspace are, of which `orlop` is one, and says where it is: the same
/// program, with its assertions and checks of numbers. Whoever runs the tests has it anyway, and need
/// not build all crates a second time.
pub(crate) fn orlop_of_tests() -> Result<PathBuf> {
    run(cargo_test().args(["--quiet", "--workspace", "--no-run"]))?;
    Ok(target().join("debug/orlop"))
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program that builds them, if not the one that users have
    #[arg(long)]
    orlop: Option<PathBuf>,
    /// Install the judges too, as `setup` does
    #[arg(long)]
    judges: bool,
}

/// Builds all that tests work with.
pub(crate) fn run_all(args: &Args) -> Result<()> {
    let orlop = args.orlop.clone().map_or_else(orlop, Ok)?;
    for name in ["base", "node"] {
        println!("{}", build(&orlop, name)?.display());
    }
    if args.judges {
        judges::install(false)?;
    }
    Ok(())
}

/// Where the image of `recipes/NAME.toml` is, once it is built.
pub(crate) fn path(name: &str) -> PathBuf {
    workspace().join("target/images").join(name)
}

/// Locks (if there is no lock that fits), fetches and builds `recipes/NAME.toml`.
pub(crate) fn build(orlop: &Path, name: &str) -> Result<PathBuf> {
    let recipe = workspace().join(format!("recipes/{name}.toml"));
    fetch(orlop, &recipe)?;
    let output = path(name);
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
