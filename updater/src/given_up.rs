//! What a person has given up: the policy does not take it again by itself, or `cancel` would be undone at its
//! next turn. It is in a file in memory, as long as the machine runs; who asks for the release by its name
//! takes it back.

use std::fs;
use std::io;
use std::path::Path;

use formats::digest::Sha256;

use crate::files::{below, read};

const PATH: &str = "/run/orlop/updater-given-up";
/// Bytes of it.
const LONGEST: u64 = 64 * 1024;

/// Remembers that a person has given up this release.
///
/// # Errors
/// It does not: then the policy may take it again.
pub(crate) fn remember(root: &Path, version: &str, root_hash: &Sha256) -> io::Result<()> {
    let mut all = all(root);
    all.retain(|(_, hash)| hash != root_hash);
    all.push((version.to_owned(), *root_hash));
    write(root, &all)
}

/// Somebody asks for it by its name: what was given up is not any more.
///
/// # Errors
/// It stays so.
pub(crate) fn forget(root: &Path, root_hash: &Sha256) -> io::Result<()> {
    let mut all = all(root);
    let before = all.len();
    all.retain(|(_, hash)| hash != root_hash);
    if all.len() == before { Ok(()) } else { write(root, &all) }
}

/// Versions and root hashes of what was given up, the last one last.
pub(crate) fn all(root: &Path) -> Vec<(String, Sha256)> {
    let text = read(&below(root, PATH), LONGEST).ok().flatten().unwrap_or_default();
    let one = |line: &str| {
        let (hash, version) = line.split_once(' ')?;
        Some((version.to_owned(), hash.parse().ok()?))
    };
    text.lines().filter_map(one).collect()
}

fn write(root: &Path, all: &[(String, Sha256)]) -> io::Result<()> {
    let path = below(root, PATH);
    fs::create_dir_all(path.parent().unwrap_or(&path))?;
    let lines = all.iter().map(|(version, hash)| format!("{hash} {version}\n"));
    fs::write(path, lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_gives_up_is_remembered_until_somebody_names_it() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let (one, other) = (Sha256::of("1"), Sha256::of("2"));
        assert_eq!(all(root), []);
        forget(root, &one).unwrap();
        remember(root, "1", &one).unwrap();
        remember(root, "2", &other).unwrap();
        remember(root, "1", &one).unwrap();
        assert_eq!(all(root), [("2".to_owned(), other), ("1".to_owned(), one)]);
        forget(root, &one).unwrap();
        assert_eq!(all(root), [("2".to_owned(), other)]);
    }
}
