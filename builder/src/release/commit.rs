//! Which commit of the repository of versions has the tree of a build: by the root hash that each commit
//! says.

use std::path::Path;

use crate::build::written;
use crate::error::{Error, Id, Result};
use crate::progress::Progress;
use crate::repository::Repository;

/// The commit that `named` names, or the newest with the root image of `build` if it names none. Nothing if
/// there is no such commit, or no repository at `root`.
///
/// # Errors
/// [`Id::ReleaseTerms`] if the commit that is named is of another image; those of [`Repository::open`],
/// [`Repository::resolve`] and [`Repository::history`] if one is named; those of reading the build.
pub fn of(
    build: &Path,
    root: &Path,
    named: Option<&str>,
    progress: &Progress,
) -> Result<Option<String>> {
    let hash = written::report(build)?.root.hash.0.to_string();
    let Some(named) = named else {
        // Versions are kept by who wants to.
        if !root.join("config").exists() {
            return Ok(None);
        }
        return newest(&Repository::open(root, progress)?, &hash, progress);
    };
    let repository = Repository::open(root, progress)?;
    let commit = repository.resolve(named)?;
    let said = repository.history(commit, 1)?.into_iter().next().and_then(|it| it.root_hash);
    if said.as_deref() == Some(hash.as_str()) {
        return Ok(Some(commit.to_string()));
    }
    let message = format!("the commit {commit} is not of the root image of `{}`", build.display());
    Err(Error::new(Id::ReleaseTerms, message).hint(match said {
        Some(said) => format!("its root hash is {said}, and that of the build {hash}"),
        None => "it does not say which root hash it has".to_owned(),
    }))
}

fn newest(repository: &Repository, hash: &str, progress: &Progress) -> Result<Option<String>> {
    let refs = repository.refs();
    refs.damaged.iter().for_each(|one| progress.warn(one.warning()));
    let mut found = None;
    for head in refs.named.into_values() {
        let versions = match repository.history(head, usize::MAX) {
            Ok(versions) => versions,
            Err(error) => {
                progress.warn(error.chain());
                continue;
            }
        };
        let ours = versions.into_iter().find(|it| it.root_hash.as_deref() == Some(hash));
        found = found.max(ours.map(|it| (it.timestamp, it.commit.0.to_string())));
    }
    Ok(found.map(|(_, commit)| commit))
}
