//! A directory of sources as data: which files there are and what they hold.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use formats::digest::Sha256;

use crate::digest;
use crate::error::{Context as _, Error, Id, Result};

/// The digests of all files below `directory`, by their path in it. Hidden ones are files as all
/// others: programs include them. Only `.git` is left out, and directories for which `skip` says
/// so. Symbolic links are followed to files and not to directories.
///
/// # Errors
/// [`Id::Read`], also for a name that is not UTF-8.
pub(super) fn digests(
    directory: &Path,
    skip: impl Fn(&Path) -> bool,
) -> Result<BTreeMap<String, Sha256>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![(directory.to_owned(), String::new())];
    while let Some((directory, prefix)) = waiting.pop() {
        for (name, path) in entries(&directory)? {
            if name == ".git" {
                continue;
            }
            let meta = fs::symlink_metadata(&path).or_fail(Id::Read, || cannot_read(&path))?;
            let inner = format!("{prefix}{name}");
            if meta.is_dir() {
                if !skip(&path) {
                    waiting.push((path, format!("{inner}/")));
                }
            } else if meta.is_file() || path.is_file() {
                found.insert(inner, digest::of_file(&path, |_| ())?);
            }
        }
    }
    Ok(found)
}

/// Whether a symbolic link below `directory` leads to a directory: what [`digests`] has not seen.
///
/// # Errors
/// [`Id::Read`], also for a name that is not UTF-8.
pub(super) fn has_link_to_directory(directory: &Path) -> Result<bool> {
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for (name, path) in entries(&directory)? {
            let meta = fs::symlink_metadata(&path).or_fail(Id::Read, || cannot_read(&path))?;
            if meta.is_symlink() && path.is_dir() {
                return Ok(true);
            }
            if meta.is_dir() && name != ".git" {
                waiting.push(path);
            }
        }
    }
    Ok(false)
}

/// The entries of a directory with their names, sorted by them.
///
/// # Errors
/// [`Id::Read`], also for a name that is not UTF-8.
pub(super) fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).or_fail(Id::Read, || cannot_read(directory))? {
        let path = entry.or_fail(Id::Read, || cannot_read(directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
            let message = format!("the name of `{}` is not UTF-8", path.display());
            Error::new(Id::Read, message).hint("rename the file")
        })?;
        entries.push((name.to_owned(), path));
    }
    entries.sort();
    Ok(entries)
}

/// The whole text of a file.
///
/// # Errors
/// [`Id::Read`].
pub(super) fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).or_fail(Id::Read, || cannot_read(path))
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read `{}`", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_their_path_whatever_the_order_on_disk_and_hidden_ones_too() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b/c", "a", "skipped/x", ".hidden", ".dir/x", ".git/x", "b/.git", "b/a"] {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let found = digests(directory.path(), |path| path.ends_with("skipped")).unwrap();
        let want = [".dir/x", ".hidden", "a", "b/a", "b/c"]
            .map(|name| (name.to_owned(), Sha256::of(name)));
        assert_eq!(found, BTreeMap::from(want));
    }
}
