//! A directory of sources as data: which files there are and what they hold.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use formats::digest::{Hasher, Sha256};

use crate::digest;
use crate::error::{Context as _, Error, Id, Result};

/// The digests of all files below `directory`, by their path in it. Hidden files and directories
/// are left out, and directories for which `skip` says so. Symbolic links are followed to files
/// and not to directories.
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
            if name.starts_with('.') {
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

/// One digest over many facts. Each is preceded by its length, so that no two lists of facts
/// look alike.
#[derive(Debug, Default)]
pub(super) struct Key(Hasher);

impl Key {
    /// A key of the step `name`; `version` changes when the step's code gives other outputs.
    pub(super) fn new(name: &str, version: u32) -> Self {
        let mut key = Self::default();
        key.fact(name);
        key.fact(version.to_string());
        key
    }

    pub(super) fn fact(&mut self, fact: impl AsRef<[u8]>) {
        let fact = fact.as_ref();
        self.0.update((fact.len() as u64).to_le_bytes());
        self.0.update(fact);
    }

    /// A list, which begins with its length.
    pub(super) fn list<T: AsRef<[u8]>>(&mut self, facts: impl ExactSizeIterator<Item = T>) {
        self.fact(facts.len().to_string());
        facts.for_each(|fact| self.fact(fact));
    }

    pub(super) fn finish(self) -> Sha256 {
        self.0.finish()
    }
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read `{}`", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_their_path_whatever_the_order_on_disk() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b/c", "a", "skipped/x", ".hidden", ".git/x", "b/a"] {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let found = digests(directory.path(), |path| path.ends_with("skipped")).unwrap();
        let want = ["a", "b/a", "b/c"].map(|name| (name.to_owned(), Sha256::of(name)));
        assert_eq!(found, BTreeMap::from(want));
    }

    #[test]
    fn facts_do_not_run_into_each_other() {
        let key = |facts: &[&[&str]]| {
            let mut key = Key::new("step", 1);
            facts.iter().for_each(|list| key.list(list.iter()));
            key.finish()
        };
        let lists: [&[&[&str]]; 5] = [
            &[&["ab", "c"]],
            &[&["a", "bc"]],
            &[&["abc"]],
            &[&["ab"], &["c"]],
            &[&[], &["ab", "c"]],
        ];
        for (index, one) in lists.iter().enumerate() {
            for other in &lists[index + 1..] {
                assert_ne!(key(one), key(other), "{one:?} {other:?}");
            }
        }
    }
}
