//! `orlop commit`: a build that is there becomes a version, as `orlop build` would have made it.

use std::fs;
use std::path::{Path, PathBuf};

use formats::manifest;
use formats::tree::Tree;

use crate::arguments::{Global, VersionArgs};
use crate::build::artifact::Kind;
use crate::build::written;
use crate::commands::{build, print, print_json, shown};
use crate::error::{Context as _, Error, Id, Result};
use crate::progress::Progress;
use crate::repository::{self, Version};
use crate::settings::{Settings, processors};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A directory that `orlop build` made
    build: PathBuf,
    #[command(flatten)]
    version: VersionArgs,
}

/// Commits, and prints the commit.
///
/// # Errors
/// [`Id::NotOurImage`], [`Id::DamagedImage`]; those of committing: contents come from the store.
pub fn run(args: &Args, global: &Global, settings: &Settings, progress: &Progress) -> Result<()> {
    let report = written::report(&args.build)?;
    let tree = tree(&args.build)?;
    let store = settings.store_to("commit from")?;
    // `.` and the like have no name, and nothing beside it can be named.
    let beside = || {
        let cannot = || format!("cannot find `{}`", args.build.display());
        let build = fs::canonicalize(&args.build).or_fail(Id::Read, cannot)?;
        let same = args.build.file_name().is_some();
        let build = if same { &args.build } else { &build };
        Ok::<_, Error>(build.with_file_name(repository::DIRECTORY))
    };
    let place = args.version.repo.clone().map_or_else(beside, Ok)?;
    let version = Version { tree: &tree, report: &report, channel: &args.version.channel };
    let committed = build::commit(&place, &version, &store, processors(), progress)
        .map_err(|error| contents_missing(error, &args.build))?;
    if global.json {
        return print_json(&serde_json::json!({
            "repository": shown(&place),
            "version": committed,
        }));
    }
    print(committed.commit.0.to_string())
}

/// The root, by the manifest that the report vouches for.
fn tree(directory: &Path) -> Result<Tree> {
    let bytes = written::file(directory, Kind::Manifest)?;
    let damaged = || {
        let path = directory.join(Kind::Manifest.file_name());
        Error::new(Id::DamagedImage, format!("`{}` is damaged", path.display()))
    };
    let text = std::str::from_utf8(&bytes).map_err(|error| damaged().caused_by(error))?;
    manifest::parse(text).map_err(|error| damaged().caused_by(error))
}

fn contents_missing(error: Error, build: &Path) -> Error {
    if error.id() != Id::StoreMissing {
        return error;
    }
    let build = build.display();
    error.hint(format!("`--store DIR` names the store that `{build}` was built from"))
}
