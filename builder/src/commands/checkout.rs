//! `orlop checkout`: the files of a version, as files of this host.

use std::path::PathBuf;

use crate::arguments::{Global, RepositoryArgs};
use crate::commands::{print, print_json, shown};
use crate::error::Result;
use crate::progress::Progress;
use crate::repository::Repository;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A ref, or the first digits of a commit
    #[arg(value_name = "VERSION")]
    named: String,
    /// The directory to make
    output: PathBuf,
    #[command(flatten)]
    repository: RepositoryArgs,
}

/// Writes the files, and prints the directory.
///
/// # Errors
/// Those of [`Repository::resolve`] and [`Repository::checkout`].
pub fn run(args: &Args, global: &Global, progress: &Progress) -> Result<()> {
    let repository = Repository::open(&args.repository.repo, progress)?;
    let commit = repository.resolve(&args.named)?;
    let task = progress.task("checkout", None);
    let paths = repository.checkout(&commit, &args.output)?;
    task.done(format!("{paths} paths of {commit}"));
    if global.json {
        return print_json(&serde_json::json!({
            "output": shown(&args.output),
            "commit": commit.to_string(),
            "paths": paths,
        }));
    }
    print(args.output.display().to_string())
}
