//! The simulation of a fleet: an example of `updater`, for it runs what a node runs, and this program
//! links none of that.

use std::ffi::OsString;

use anyhow::Result;

use crate::command::{cargo, run};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Those of the simulation: `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

pub(crate) fn run_fleet(args: &Args) -> Result<()> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", "updater"]);
    run(command.args(["--example", "simulate-fleet", "--"]).args(&args.args))
}
