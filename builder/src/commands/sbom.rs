//! `orlop sbom` and `orlop provenance`: what a build has written about itself.

use std::path::PathBuf;

use crate::arguments::Global;
use crate::build::artifact::Kind;
use crate::build::written;
use crate::commands::print;
use crate::error::{Error, Id, Result};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A directory that `orlop build` made
    build: PathBuf,
    /// SPDX 2.3 or CycloneDX 1.6
    #[arg(long, value_name = "FORMAT", default_value = "spdx")]
    format: Format,
}

/// The form of an SBOM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// SPDX 2.3, JSON.
    Spdx,
    /// CycloneDX 1.6, JSON.
    Cyclonedx,
}

/// Arguments of `orlop provenance`.
#[derive(Debug, clap::Args)]
pub struct ProvenanceArgs {
    /// A directory that `orlop build` made
    build: PathBuf,
}

/// Prints the SBOM.
///
/// # Errors
/// Those of [`written::file`]; [`Id::NoJson`], [`Id::Stdout`].
pub fn run(args: &Args, global: &Global) -> Result<()> {
    let kind = match args.format {
        Format::Spdx => Kind::Spdx,
        Format::Cyclonedx => Kind::CycloneDx,
    };
    show(&args.build, kind, global, "an SBOM")
}

/// Prints the provenance.
///
/// # Errors
/// As [`run`].
pub fn provenance(args: &ProvenanceArgs, global: &Global) -> Result<()> {
    show(&args.build, Kind::Provenance, global, "a provenance")
}

fn show(build: &std::path::Path, kind: Kind, global: &Global, what: &str) -> Result<()> {
    if global.json {
        let message = format!("{what} is JSON of a form that others have laid down");
        return Err(Error::new(Id::NoJson, message).hint("leave out `--json`"));
    }
    let text = written::file(build, kind)?;
    print(String::from_utf8_lossy(&text))
}
