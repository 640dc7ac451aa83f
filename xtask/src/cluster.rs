//! A Kubernetes control plane by hand: builds `orlop` and becomes `orlop cluster`, which says how
//! to use it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};

use crate::command::{line, program};
use crate::image;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Options of `orlop cluster`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
    options: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = program(image::orlop()?);
    command.arg("cluster").args(&args.options);
    eprintln!("$ {}", line(&command));
    // Ctrl-C on the terminal is for all its processes: in between, we would end before it has
    // cleaned up.
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start `{}`", line(&command)))
}
