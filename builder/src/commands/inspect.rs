//! `orlop inspect`: what an image holds.

use std::path::PathBuf;

use crate::arguments::Global;
use crate::commands::{print, print_json};
use crate::error::Result;
use crate::image::inspect;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A disk image, a UKI, a root image, or a directory that `orlop build` made
    image: PathBuf,
}

/// Prints the summary.
///
/// # Errors
/// Those of [`inspect::inspect`].
pub fn run(args: &Args, global: &Global) -> Result<()> {
    let summary = inspect::inspect(&args.image)?;
    if global.json { print_json(&summary) } else { print(summary.to_string()) }
}
