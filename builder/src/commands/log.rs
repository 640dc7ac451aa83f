//! `orlop log`: the versions of a repository.

use crate::arguments::{Global, RepositoryArgs};
use crate::commands::{print, print_json, shown};
use crate::error::Result;
use crate::progress::Progress;
use crate::repository::{Damaged, Repository};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A ref, or the first digits of a commit [default: all refs]
    #[arg(value_name = "VERSION")]
    named: Option<String>,
    /// Show so many of each, the newest
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    repository: RepositoryArgs,
}

/// Prints the versions, the newest first. A ref that cannot be followed is said, and the others are
/// printed.
///
/// # Errors
/// Those of [`Repository::resolve`] and [`Repository::history`].
pub fn run(args: &Args, global: &Global, progress: &Progress) -> Result<()> {
    let repository = Repository::open(&args.repository.repo, progress)?;
    let limit = args.limit.unwrap_or(usize::MAX);
    let (mut histories, mut damaged) = (Vec::new(), Vec::new());
    if let Some(named) = &args.named {
        let head = repository.resolve(named)?;
        histories.push((named.clone(), repository.history(head, limit)?));
    } else {
        let refs = repository.refs();
        damaged = refs.damaged;
        for (name, head) in refs.named {
            match repository.history(head, limit) {
                Ok(versions) => histories.push((name.to_string(), versions)),
                Err(error) => damaged.push(Damaged::new(name.as_str(), &error)),
            }
        }
    }
    damaged.iter().for_each(|one| progress.warn(one.warning()));
    if global.json {
        let refs = histories
            .iter()
            .map(|(name, versions)| serde_json::json!({ "name": name, "versions": versions }));
        let refs: Vec<_> = refs.collect();
        let repository = shown(repository.root());
        return print_json(&serde_json::json!({
            "repository": repository, "refs": refs, "damaged": damaged,
        }));
    }
    let mut text = String::new();
    for (name, versions) in &histories {
        text += &format!("{name}\n\n");
        for version in versions {
            text += &format!("{}\n", version.text());
        }
    }
    print(text)
}
