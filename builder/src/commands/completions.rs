//! `orlop completions`: a script for the user's shell.

use crate::arguments::Global;
use crate::commands::print;
use crate::error::{Error, Id, Result};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

/// Prints the script.
///
/// # Errors
/// [`Id::NoJson`], [`Id::Stdout`].
pub fn run(args: &Args, global: &Global, command: &mut clap::Command) -> Result<()> {
    if global.json {
        return Err(
            Error::new(Id::NoJson, "a completion script has no JSON").hint("leave out `--json`")
        );
    }
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "orlop", &mut script);
    print(String::from_utf8_lossy(&script))
}
