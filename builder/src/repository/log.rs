//! The versions of a ref, the newest first, as far back as they are kept.

use formats::digest::Sha256;
use formats::ostree::{Commit, Kind, Name, Value};
use serde::Serialize;

use super::Repository;
use super::version::{DISK_SIZE, KERNEL, LOCK, ROOT_HASH, ROOT_SIZE, UKI_SIZE, VERSION};
use crate::error::Result;
use crate::figures::bytes;
use crate::stored::Hex;
use crate::visible::visible;

/// A version as it is told. What a commit of somebody else does not say is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct History {
    /// The commit.
    pub commit: Hex,
    /// The version before it; it may have been pruned.
    pub parent: Option<Hex>,
    /// One line.
    pub subject: String,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// The image's version.
    pub version: Option<String>,
    /// `uname -r`.
    pub kernel: Option<String>,
    /// dm-verity's.
    pub root_hash: Option<String>,
    /// Digest of the lock.
    pub lock: Option<String>,
    /// Bytes of the root image with its hash tree.
    pub root_size: Option<u64>,
    /// Bytes of the UKI before padding.
    pub uki_size: Option<u64>,
    /// Bytes of the disk.
    pub disk_size: Option<u64>,
}

impl Repository {
    /// Up to `limit` versions from `head` back.
    ///
    /// # Errors
    /// [`Id::DamagedObject`](crate::error::Id::DamagedObject),
    /// [`Id::Read`](crate::error::Id::Read).
    pub fn history(&self, head: Sha256, limit: usize) -> Result<Vec<History>> {
        let commits = self.chain(head, limit)?.into_iter();
        Ok(commits.map(|(digest, commit)| History::of(digest, &commit)).collect())
    }

    /// Up to `limit` commits from `head` back. One that is not there was pruned, or never pulled.
    pub(super) fn chain(&self, head: Sha256, limit: usize) -> Result<Vec<(Sha256, Commit)>> {
        let mut commits = Vec::new();
        let mut next = Some(head);
        while let Some(digest) = next
            && commits.len() < limit
            && (commits.is_empty() || self.has(&Name { digest, kind: Kind::Commit }))
        {
            let commit = self.commit(&digest)?;
            next = commit.parent;
            commits.push((digest, commit));
        }
        Ok(commits)
    }
}

impl History {
    fn of(digest: Sha256, commit: &Commit) -> Self {
        let text = |key: &str| match commit.metadata.get(key) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        };
        let number = |key: &str| text(key).and_then(|text| text.parse().ok());
        Self {
            commit: Hex(digest),
            parent: commit.parent.map(Hex),
            subject: commit.subject.clone(),
            timestamp: commit.timestamp,
            version: text(VERSION),
            kernel: text(KERNEL),
            root_hash: text(ROOT_HASH),
            lock: text(LOCK),
            root_size: number(ROOT_SIZE),
            uki_size: number(UKI_SIZE),
            disk_size: number(DISK_SIZE),
        }
    }

    /// Some lines for people.
    pub fn text(&self) -> String {
        let mut lines = vec![format!("commit {}", self.commit.0)];
        let mut say = |name: &str, value: Option<String>| {
            lines.extend(value.map(|value| format!("    {name:<9} {value}")));
        };
        // What another program has committed may say anything.
        let shown = |text: &Option<String>| text.as_deref().map(visible);
        say("subject", Some(visible(&self.subject)));
        say("version", shown(&self.version));
        say("kernel", shown(&self.kernel));
        say("root hash", shown(&self.root_hash));
        say("lock", shown(&self.lock));
        say("root", self.root_size.map(bytes));
        say("UKI", self.uki_size.map(bytes));
        lines.join("\n") + "\n"
    }
}
