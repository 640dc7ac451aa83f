//! The blobs that say what an image is made of: indexes, manifests, configurations.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use formats::digest::Sha256;
use serde::Deserialize;

use crate::images::{CONTENT, LONGEST_DOCUMENT, blob_path};
use crate::root::{Root, read_limited};

/// An index or a manifest, as far as it is of interest.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Document {
    manifests: Vec<Entry>,
    config: Option<Entry>,
    /// Of a manifest, the lowest first.
    pub(super) layers: Vec<Entry>,
}

/// What one says of another blob.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Entry {
    /// `sha256:...`.
    pub(super) digest: String,
    /// In bytes.
    pub(super) size: u64,
}

/// A configuration's own `config` is something else than a manifest's.
#[derive(Debug, Default, Deserialize)]
struct Configuration {
    #[serde(default)]
    rootfs: Layers,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Layers {
    diff_ids: Vec<String>,
}

/// Why a document says nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It has other bytes than its digest says: this one.
    Damaged(String),
    /// It is not of a kind that is understood here, which is nobody's damage. In words.
    Strange(String),
    /// containerd did not say what was asked of it. In words.
    Unanswered(String),
}

/// The manifests that an image's name points to; those of other machines were not pulled.
pub(super) fn manifests(
    root: &Root,
    target: &Entry,
) -> Result<Vec<Result<Document, Unread>>, Unread> {
    let found: Document = read(root, target)?;
    if found.manifests.is_empty() {
        return Ok(vec![Ok(found)]);
    }
    let there = |entry: &&Entry| blob(root, &entry.digest).is_ok_and(|path| path.exists());
    let manifests: Vec<_> = found.manifests.iter().filter(there).collect();
    // One of them was pulled.
    if manifests.is_empty() {
        return Err(Unread::Damaged(target.digest.clone()));
    }
    Ok(manifests.into_iter().map(|entry| read(root, entry)).collect())
}

/// The names of the snapshots of a manifest's layers, the lowest first.
pub(super) fn snapshots(root: &Root, manifest: &Document) -> Result<Vec<String>, Unread> {
    let Some(config) = &manifest.config else { return Ok(Vec::new()) };
    let config: Configuration = read(root, config)?;
    Ok(chain(&config.rootfs.diff_ids))
}

/// `ChainID` of the OCI image specification, config.md.
pub(super) fn chain(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::new();
    for id in diff_ids {
        chain.push(match chain.last() {
            None => id.clone(),
            Some(below) => format!("sha256:{}", Sha256::of(format!("{below} {id}"))),
        });
    }
    chain
}

/// Where a blob lies.
pub(super) fn blob(root: &Root, digest: &str) -> Result<PathBuf, Unread> {
    let path = blob_path(digest).map_err(Unread::Strange)?;
    Ok(root.path(Path::new(CONTENT).join(path)))
}

fn read<D: for<'de> Deserialize<'de>>(root: &Root, entry: &Entry) -> Result<D, Unread> {
    let damaged = || Unread::Damaged(entry.digest.clone());
    let path = blob(root, &entry.digest)?;
    let strange = |error: &dyn std::fmt::Display| {
        Unread::Strange(format!("{} is not understood: {error}", entry.digest))
    };
    let file = File::open(path).map_err(|_| damaged())?;
    let bytes = read_limited(file, LONGEST_DOCUMENT).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => strange(&error),
        _ => damaged(),
    })?;
    if format!("sha256:{}", Sha256::of(&bytes)) != entry.digest {
        return Err(damaged());
    }
    serde_json::from_slice(&bytes).map_err(|error| strange(&error))
}
