//! What a version is of, and how much is where in it.

use std::collections::BTreeMap;

use formats::digest::Sha256;

use super::{Bounds, Repository};
use crate::error::Result;
use crate::os_release;

/// Of an `os-release` no more is kept.
const LARGEST_TEXT: usize = 64 * 1024;

impl Repository {
    /// The recipe's name, as the version's `os-release` has it.
    ///
    /// # Errors
    /// As [`Repository::sizes`].
    pub fn image(&self, commit: &Sha256) -> Result<Option<String>> {
        let mut directory = self.directory(&self.commit(commit)?.tree)?;
        let mut path = os_release::PATH.trim_start_matches('/');
        while let Some((name, rest)) = path.split_once('/') {
            let Some((tree, _)) = directory.directories.get(name) else { return Ok(None) };
            directory = self.directory(tree)?;
            path = rest;
        }
        let Some(file) = directory.files.get(path) else { return Ok(None) };
        let mut text = Vec::new();
        self.file(file, |_| {
            Ok(|bytes: &[u8]| {
                let room = LARGEST_TEXT.saturating_sub(text.len());
                text.extend_from_slice(&bytes[..bytes.len().min(room)]);
                Ok(())
            })
        })?;
        let mut fields = os_release::fields(&String::from_utf8_lossy(&text));
        Ok(fields.remove(os_release::IMAGE))
    }

    /// Bytes of each file and link of a commit, by its path with a slash before it. They are as the
    /// repository says: only what is read is compared with its name.
    ///
    /// # Errors
    /// [`Id::DamagedObject`](crate::error::Id::DamagedObject),
    /// [`Id::Read`](crate::error::Id::Read),
    /// [`Id::VersionTooLarge`](crate::error::Id::VersionTooLarge).
    pub fn sizes(&self, commit: &Sha256) -> Result<BTreeMap<String, u64>> {
        let mut sizes = BTreeMap::new();
        let mut bounds = Bounds::new();
        let mut directories = vec![(String::new(), 0, self.commit(commit)?.tree)];
        while let Some((at, depth, tree)) = directories.pop() {
            let directory = self.directory(&tree)?;
            for (name, digest) in &directory.files {
                let path = format!("{at}/{name}");
                bounds.take(self, depth, path.len())?;
                sizes.insert(path, self.stated_size(digest)?);
            }
            for (name, (tree, _)) in &directory.directories {
                let path = format!("{at}/{name}");
                bounds.take(self, depth, path.len())?;
                directories.push((path, depth + 1, *tree));
            }
        }
        Ok(sizes)
    }
}
