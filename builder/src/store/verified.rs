//! Which blobs this process has read and found right, so that none is hashed twice in one command.
//!
//! What is remembered is the file that was read, not its name: whoever changes it, or puts another
//! in its place, changes its inode or the time of its last change, which nobody can put back. Then
//! it is hashed again. What was only written is not remembered: to be read once is what shows that
//! it can be.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, PoisonError};

use formats::digest::Sha256;

/// What a file is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// The files of blobs that were found right, as they were before they were read.
#[derive(Debug, Default)]
pub(super) struct Verified(Mutex<BTreeMap<Sha256, Identity>>);

impl Verified {
    pub(super) fn is(&self, sha256: &Sha256, file: Identity) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(sha256) == Some(&file)
    }

    pub(super) fn note(&self, sha256: Sha256, file: Identity) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(sha256, file);
    }
}
