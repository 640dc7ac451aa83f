//! How much a version may have before nobody looks at it further. A tree of few objects can have more
//! paths than fit into any memory, for a directory may be named many times: 60 directories that each
//! have the next one twice are 2⁶⁰ paths.

use super::Repository;
use crate::error::{Error, Id, Result};

/// Directories within directories: libostree's own limit.
const DEEPEST: usize = 256;

/// Paths of a version. A node has some hundred, a desktop of Debian some hundred thousand.
const MOST_PATHS: u64 = 1 << 20;

/// Bytes of what is kept in memory for the paths: their names, targets and extended attributes.
const MOST_BYTES: u64 = 256 << 20;

/// What is left of it.
#[derive(Debug)]
pub struct Bounds {
    paths: u64,
    bytes: u64,
}

impl Bounds {
    /// For one version.
    pub fn new() -> Self {
        Self { paths: MOST_PATHS, bytes: MOST_BYTES }
    }

    /// Takes a path that is so many directories deep and for which so many bytes are kept.
    ///
    /// # Errors
    /// [`Id::VersionTooLarge`].
    pub fn take(&mut self, repository: &Repository, depth: usize, bytes: usize) -> Result<()> {
        let what = if depth > DEEPEST {
            format!("more than {DEEPEST} directories within each other")
        } else if self.paths == 0 {
            format!("more than {MOST_PATHS} paths")
        } else if let Some(left) = self.bytes.checked_sub(bytes as u64) {
            self.paths -= 1;
            self.bytes = left;
            return Ok(());
        } else {
            format!("more than {} of names and attributes", crate::figures::bytes(MOST_BYTES))
        };
        let message = format!("a version in `{}` has {what}", repository.root.display());
        Err(Error::new(Id::VersionTooLarge, message).hint("no image is like that"))
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::new()
    }
}
