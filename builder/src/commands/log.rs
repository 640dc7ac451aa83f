//! `orlop log`: the versions of a repository.

use crate::arguments::{Global, RepositoryArgs};
use crate::commands::{print, print_json, shown};
use crate::error::Result;
use crate::repository::{History, Repository};

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

/// Prints the versions, the newest first.
///
/// # Errors
/// Those of [`Repository::resolve`] and [`Repository::history`].
pub fn run(args: &Args, global: &Global) -> Result<()> {
    let repository = Repository::open(&args.repository.repo)?;
    let limit = args.limit.unwrap_or(usize::MAX);
    let heads = match &args.named {
        Some(named) => vec![(named.clone(), repository.resolve(named)?)],
        None => {
            let refs = repository.refs()?.into_iter();
            refs.map(|(name, commit)| (name.to_string(), commit)).collect()
        }
    };
    let histories = heads.into_iter().map(|(name, head)| {
        let versions = repository.history(head, limit)?;
        Ok((name, versions))
    });
    let histories: Vec<(String, Vec<History>)> = histories.collect::<Result<_>>()?;
    if global.json {
        let refs = histories
            .iter()
            .map(|(name, versions)| serde_json::json!({ "name": name, "versions": versions }));
        let refs: Vec<_> = refs.collect();
        let repository = shown(repository.root());
        return print_json(&serde_json::json!({ "repository": repository, "refs": refs }));
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
