//! A `local` component that holds what a build writes: the images of one build would be in the
//! root of the next, which grows until it fits no slot, and no two builds would be the same.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Id, Result};
use crate::recipe::Recipe;

/// Checks that no local component holds the output directory, the store or the repository, or is in
/// one of the directories that a build makes.
///
/// # Errors
/// [`Id::LocalCircle`].
pub fn check(
    recipe: &Recipe,
    output: &Path,
    store: &Path,
    repository: Option<&Path>,
) -> Result<()> {
    let (real_output, real_store) = (real(output), real(store));
    let real_repository = repository.map(real);
    for (name, local) in recipe.all_local() {
        let path = real(&local.path);
        let what = if real_output.starts_with(&path) {
            format!("holds the output directory `{}`", output.display())
        } else if path.starts_with(&real_output) {
            format!("is in the output directory `{}`", output.display())
        } else if real_store.starts_with(&path) {
            format!("holds the store `{}`", store.display())
        } else if let Some(real) = &real_repository
            && (real.starts_with(&path) || path.starts_with(real))
        {
            let word = if real.starts_with(&path) { "holds" } else { "is in" };
            let shown = repository.unwrap_or(real).display();
            format!("{word} the repository `{shown}`")
        } else {
            continue;
        };
        let message = format!(
            "`{name}` takes `{}`, which {what}: what a build writes would be in the next one",
            local.path.display()
        );
        return Err(Error::new(Id::LocalCircle, message).hint(
            "move the files of the component into a directory of their own, or name another \
             place with `--output`, `--store` or `--repo`",
        ));
    }
    Ok(())
}

/// Checks that the images and the versions of them are not in each other: each replaces or keeps its
/// directory as a whole.
///
/// # Errors
/// [`Id::OutputInTheWay`].
pub fn apart(output: &Path, repository: &Path) -> Result<()> {
    let (one, other) = (real(output), real(repository));
    if !one.starts_with(&other) && !other.starts_with(&one) {
        return Ok(());
    }
    let message = format!(
        "the images would be in `{}` and their versions in `{}`, one in the other",
        output.display(),
        repository.display()
    );
    let hint = "name directories beside each other with `--output` and `--repo`";
    Err(Error::new(Id::OutputInTheWay, message).hint(hint))
}

/// Without links, as far as the path is there.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut rest: Vec<OsString> = Vec::new();
    for ancestor in path.ancestors() {
        if let Ok(found) = fs::canonicalize(ancestor) {
            return rest.iter().rev().fold(found, |path, name| path.join(name));
        }
        rest.extend(ancestor.file_name().map(ToOwned::to_owned));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_not_there_is_real_as_far_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().canonicalize().unwrap();
        fs::create_dir(top.join("a")).unwrap();
        std::os::unix::fs::symlink("a", top.join("link")).unwrap();
        assert_eq!(real(&top.join("link/none/b")), top.join("a/none/b"));
        assert_eq!(real(&top.join("link")), top.join("a"));
    }
}
