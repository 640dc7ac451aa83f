//! `orlop prune`: old versions go.

use std::num::NonZeroUsize;

use crate::arguments::{Global, RepositoryArgs};
use crate::commands::{print, print_json, shown};
use crate::error::Result;
use crate::figures;
use crate::progress::Progress;
use crate::repository::{Pruned, Repository};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep so many versions of each ref, the newest
    #[arg(long, value_name = "N")]
    keep: NonZeroUsize,
    /// Say what would go, and remove nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    repository: RepositoryArgs,
}

/// Prunes, and says what went.
///
/// # Errors
/// Those of [`Repository::prune`].
pub fn run(args: &Args, global: &Global, progress: &Progress) -> Result<()> {
    let repository = Repository::open_to_prune(&args.repository.repo, progress)?;
    let pruned = repository.prune(args.keep.get(), args.dry_run)?;
    let Pruned { kept, commits, objects, bytes, damaged } = pruned;
    damaged.iter().for_each(|one| progress.warn(one.warning()));
    if !damaged.is_empty() {
        progress.warn("versions that such a ref may have named stay, however old they are");
    }
    if global.json {
        return print_json(&serde_json::json!({
            "repository": shown(repository.root()),
            "dry-run": args.dry_run,
            "kept": kept,
            "commits": commits,
            "objects": objects,
            "bytes": bytes,
            "damaged": damaged,
        }));
    }
    let size = figures::bytes(bytes);
    let word = if args.dry_run { "would go" } else { "went" };
    print(format!("{commits} versions {word}, {kept} stay: {objects} objects of {size} {word}"))
}
