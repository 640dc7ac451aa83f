//! How much is where in a version, without reading a file.

use std::collections::BTreeMap;

use formats::digest::Sha256;

use super::Repository;
use crate::error::Result;

impl Repository {
    /// Bytes of each file and link of a commit, by its path with a slash before it. They are as the
    /// repository says: only what is read is compared with its name.
    ///
    /// # Errors
    /// [`Id::DamagedObject`](crate::error::Id::DamagedObject),
    /// [`Id::Read`](crate::error::Id::Read).
    pub fn sizes(&self, commit: &Sha256) -> Result<BTreeMap<String, u64>> {
        let mut sizes = BTreeMap::new();
        let mut directories = vec![(String::new(), self.commit(commit)?.tree)];
        while let Some((at, tree)) = directories.pop() {
            let directory = self.directory(&tree)?;
            for (name, digest) in &directory.files {
                sizes.insert(format!("{at}/{name}"), self.stated_size(digest)?);
            }
            let below = directory.directories.iter();
            directories.extend(below.map(|(name, (tree, _))| (format!("{at}/{name}"), *tree)));
        }
        Ok(sizes)
    }
}
