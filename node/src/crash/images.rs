//! What containerd has of images, looked at after a power cut, and made good: a snapshot that is
//! not as its blob says goes, and containerd unpacks it again when a container needs it; an image
//! with a damaged blob goes, and is imported or pulled again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cri::containerd::Descriptor;
use cri::{Client, Transport};
use formats::digest::Sha256;
use serde::Deserialize;

use super::layer::{self, Finding};
use crate::images::{LONGEST_DOCUMENT, QUESTION, blob_path};
use crate::root::Root;

/// Where containerd keeps blobs.
const CONTENT: &str = "/var/lib/containerd/io.containerd.content.v1.content";
/// The name of our view of a snapshot, which is there for a moment.
const VIEW: &str = "orlop-after-crash";
/// To stop what runs no more, and to take its network down.
const STOP: Duration = Duration::from_secs(60);

/// What is asked of containerd.
pub(crate) trait Runtime {
    fn images(&mut self) -> Result<Vec<(String, Descriptor)>, String>;
    fn delete_image(&mut self, name: &str) -> Result<(), String>;
    fn delete_blob(&mut self, digest: &str) -> Result<(), String>;
    /// The directories of a snapshot and of those below it, the uppermost first.
    fn directories(&mut self, snapshot: &str) -> Result<Option<Vec<String>>, String>;
    fn remove_snapshot(&mut self, snapshot: &str) -> Result<(), String>;
    /// Removes the pods of earlier boots: they hold snapshots, and run no more.
    fn remove_pods(&mut self) -> Result<(), String>;
}

impl<T: Transport> Runtime for Client<T> {
    fn images(&mut self) -> Result<Vec<(String, Descriptor)>, String> {
        Client::images(self, QUESTION).map_err(|error| format!("cannot list the images: {error}"))
    }

    fn delete_image(&mut self, name: &str) -> Result<(), String> {
        Client::delete_image(self, name, QUESTION).map_err(|error| error.to_string())
    }

    fn delete_blob(&mut self, digest: &str) -> Result<(), String> {
        Client::delete_blob(self, digest, QUESTION).map_err(|error| error.to_string())
    }

    fn directories(&mut self, snapshot: &str) -> Result<Option<Vec<String>>, String> {
        // There may be one of a run that was cut off.
        let view = Client::remove_snapshot(self, VIEW, QUESTION)
            .and_then(|()| self.view_snapshot(VIEW, snapshot, QUESTION))
            .and_then(|view| Client::remove_snapshot(self, VIEW, QUESTION).map(|()| view));
        view.map_err(|error| format!("cannot look at the snapshot {snapshot}: {error}"))
    }

    fn remove_snapshot(&mut self, snapshot: &str) -> Result<(), String> {
        Client::remove_snapshot(self, snapshot, QUESTION).map_err(|error| error.to_string())
    }

    fn remove_pods(&mut self) -> Result<(), String> {
        let told = |error: cri::Error| error.to_string();
        for sandbox in self.sandboxes(QUESTION).map_err(told)? {
            let pod = |error: cri::Error| {
                format!("cannot remove pod {}/{}: {error}", sandbox.namespace, sandbox.name)
            };
            self.stop_sandbox(&sandbox.id, STOP).map_err(pod)?;
            self.remove_sandbox(&sandbox.id, STOP).map_err(pod)?;
        }
        Ok(())
    }
}

/// An index or a manifest, as far as it is of interest.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Document {
    manifests: Vec<Entry>,
    config: Option<Entry>,
    layers: Vec<Entry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Layers {
    diff_ids: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Entry {
    digest: String,
    size: u64,
}

/// A configuration's own `config` is something else than a manifest's.
#[derive(Debug, Default, Deserialize)]
struct Configuration {
    #[serde(default)]
    rootfs: Layers,
}

/// What is to be made good.
#[derive(Debug, Default)]
struct Damage {
    /// Names of images, and the blob that is damaged.
    images: BTreeMap<String, String>,
    /// Snapshots, each behind those that lie on it, and what is wrong.
    snapshots: Vec<(String, String)>,
    /// What could not be looked at.
    untold: Vec<String>,
}

/// Looks at what is younger than `since` (seconds since 1970), and makes good what is damaged; says
/// what was done, a line each.
pub(crate) fn make_good(runtime: &mut impl Runtime, root: &Root, since: i64) -> Vec<String> {
    let damage = match look(runtime, root, since) {
        Ok(damage) => damage,
        Err(error) => return vec![format!("cannot look at images after the power cut: {error}")],
    };
    let mut lines = damage.untold;
    if damage.snapshots.is_empty() && damage.images.is_empty() {
        lines.push("the last boot did not end in order; all images are whole".to_owned());
        return lines;
    }
    if !damage.snapshots.is_empty() {
        lines.extend(runtime.remove_pods().err());
    }
    for (snapshot, what) in damage.snapshots {
        lines.push(match runtime.remove_snapshot(&snapshot) {
            Ok(()) => format!("{what}: it will be unpacked again"),
            Err(error) => format!("{what}, and its snapshot cannot be removed: {error}"),
        });
    }
    for (name, digest) in damage.images {
        // The file, too: containerd would take it for the blob when it comes again.
        let removed = runtime.delete_image(&name).and_then(|()| runtime.delete_blob(&digest));
        let removed = removed.and_then(|()| {
            let path = blob(root, &digest)?;
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.to_string()),
                _ => Ok(()),
            }
        });
        lines.push(match removed {
            Ok(()) => format!("{name} was damaged ({digest}) and is removed: it is fetched again"),
            Err(error) => format!("{name} is damaged ({digest}) and cannot be removed: {error}"),
        });
    }
    lines
}

fn look(runtime: &mut impl Runtime, root: &Root, since: i64) -> Result<Damage, String> {
    let mut damage = Damage::default();
    let mut seen = BTreeSet::new();
    for (name, target) in runtime.images()? {
        let entry = Entry { digest: target.digest, size: target.size };
        let manifests = match manifests(root, &entry) {
            Ok(manifests) => manifests,
            Err(digest) => {
                damage.images.insert(name, digest);
                continue;
            }
        };
        for manifest in manifests {
            if let Err(digest) = layers(runtime, root, since, &manifest, &mut seen, &mut damage) {
                damage.images.insert(name.clone(), digest);
            }
        }
    }
    Ok(damage)
}

/// The layers of an image; the blob that is damaged and needed.
fn layers(
    runtime: &mut impl Runtime,
    root: &Root,
    since: i64,
    manifest: &Document,
    seen: &mut BTreeSet<String>,
    damage: &mut Damage,
) -> Result<(), String> {
    let Some(config) = &manifest.config else { return Ok(()) };
    let config: Configuration = document(root, config)?;
    let snapshots = chain(&config.rootfs.diff_ids);
    let mut directories = Vec::new();
    // The uppermost that is there tells of all below it.
    for snapshot in snapshots.iter().rev() {
        match runtime.directories(snapshot) {
            Ok(Some(found)) => {
                directories = found;
                break;
            }
            Ok(None) => {}
            Err(error) => {
                damage.untold.push(error);
                return Ok(());
            }
        }
    }
    directories.reverse();
    let (mut bad, mut needed) = (None, None);
    for (number, (snapshot, entry)) in snapshots.iter().zip(&manifest.layers).enumerate() {
        let path = blob(root, &entry.digest).map_err(|_| entry.digest.clone())?;
        let directory = directories.get(number).map(|directory| root.path(directory));
        let made = directory.as_deref().map_or_else(|| changed(&path), changed);
        let whole = fs::metadata(&path).is_ok_and(|file| file.len() == entry.size);
        let finding = match entry.digest.trim_start_matches("sha256:").parse() {
            _ if !whole && directory.is_none() => Finding::BadBlob,
            _ if made.is_some_and(|made| made < since) || !seen.insert(snapshot.clone()) => {
                Finding::Good
            }
            Ok(digest) => layer::check(&path, &digest, directory.as_deref()),
            Err(_) => Finding::Good,
        };
        match finding {
            Finding::Good => {}
            // What is unpacked needs it no more, unless something below is not as it should be.
            Finding::BadBlob => needed = needed.or(Some(entry.digest.clone())),
            Finding::BadFile(file) => {
                bad = bad.or(Some((number, format!("{file} of {} is damaged", entry.digest))));
            }
        }
    }
    if let Some((number, what)) = bad {
        let above = directories.len().min(snapshots.len());
        let gone = snapshots.get(number..above).unwrap_or_default();
        damage.snapshots.extend(gone.iter().rev().map(|key| (key.clone(), what.clone())));
    } else if !directories.is_empty() {
        return Ok(());
    }
    needed.map_or(Ok(()), Err)
}

/// When a directory of a snapshot was made, or a blob written; the directory itself has the times
/// that its image says.
fn changed(path: &Path) -> Option<i64> {
    let of = if path.ends_with("fs") { path.parent()? } else { path };
    Some(fs::metadata(of).ok()?.ctime())
}

/// The manifests that an image's name points to; those of other machines were not pulled. Else the
/// digest of what is damaged.
fn manifests(root: &Root, target: &Entry) -> Result<Vec<Document>, String> {
    let found: Document = document(root, target)?;
    if found.manifests.is_empty() {
        return Ok(vec![found]);
    }
    let there = found
        .manifests
        .iter()
        .filter(|entry| blob(root, &entry.digest).is_ok_and(|path| path.exists()));
    there.map(|entry| document(root, entry)).collect()
}

/// Reads a blob that describes others, if it is whole; else its digest.
fn document<D: for<'de> Deserialize<'de>>(root: &Root, entry: &Entry) -> Result<D, String> {
    let read = || {
        let path = blob(root, &entry.digest).ok()?;
        let file = fs::File::open(path).ok()?;
        let bytes = crate::root::read_limited(file, LONGEST_DOCUMENT).ok()?;
        let whole = format!("sha256:{}", Sha256::of(&bytes)) == entry.digest;
        whole.then_some(())?;
        serde_json::from_slice(&bytes).ok()
    };
    read().ok_or_else(|| entry.digest.clone())
}

fn blob(root: &Root, digest: &str) -> Result<PathBuf, String> {
    Ok(root.path(Path::new(CONTENT).join(blob_path(digest)?)))
}

/// The names of the snapshots of an image (`ChainID` of the OCI image specification, config.md).
fn chain(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::new();
    for id in diff_ids {
        chain.push(match chain.last() {
            None => id.clone(),
            Some(below) => format!("sha256:{}", Sha256::of(format!("{below} {id}"))),
        });
    }
    chain
}

#[cfg(test)]
mod tests;
