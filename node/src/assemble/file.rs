//! One file of a node as it is to be.

use crate::root::{PUBLIC, SECRET};

/// A file to be written.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    /// Where, from the node's root.
    pub path: String,
    /// Permissions: [`PUBLIC`] or [`SECRET`].
    pub mode: u32,
    /// All of it.
    pub content: String,
}

impl File {
    pub(super) fn public(path: impl Into<String>, content: impl Into<String>) -> Self {
        Self { path: path.into(), mode: PUBLIC, content: content.into() }
    }

    pub(super) fn secret(path: impl Into<String>, content: impl Into<String>) -> Self {
        Self { path: path.into(), mode: SECRET, content: content.into() }
    }
}
