//! `orlop completions`: a script for the user's shell.

use crate::commands::print;
use crate::error::Result;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

/// Prints the script.
///
/// # Errors
/// [`crate::error::Id::Stdout`].
pub fn run(args: &Args, command: &mut clap::Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "orlop", &mut script);
    print(String::from_utf8_lossy(&script))
}
