//! Looks at images, their layers and their blobs: each of them once, whoever uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::super::layer::{self, Finding};
use super::documents::{self, Document, Entry, Unread};
use super::plan::{Findings, Image, Layer};
use super::runtime::Runtime;
use crate::root::Root;

/// Looks at what is younger than `since`; what was found, and what could not be looked at.
pub(super) fn look(
    runtime: &mut impl Runtime,
    root: &Root,
    since: i64,
) -> Result<(Findings, BTreeSet<String>), String> {
    let images = runtime.images()?;
    let mut look = Look {
        runtime,
        root,
        since,
        directories: BTreeMap::new(),
        compared: BTreeSet::new(),
        findings: Findings::default(),
        untold: BTreeSet::new(),
    };
    for (name, target) in images {
        let target = Entry { digest: target.digest, size: target.size };
        let image = look.image(name, &target);
        look.findings.images.push(image);
    }
    Ok((look.findings, look.untold))
}

struct Look<'a, R> {
    runtime: &'a mut R,
    root: &'a Root,
    since: i64,
    /// Where each snapshot is unpacked; nowhere, if containerd has none of this name.
    directories: BTreeMap<String, Option<PathBuf>>,
    /// Snapshots and blobs that were compared.
    compared: BTreeSet<(String, String)>,
    findings: Findings,
    untold: BTreeSet<String>,
}

impl<R: Runtime> Look<'_, R> {
    fn image(&mut self, name: String, target: &Entry) -> Image {
        let mut image = Image { name, ..Image::default() };
        let manifests = documents::manifests(self.root, target);
        for manifest in manifests.unwrap_or_else(|unread| vec![Err(unread)]) {
            match manifest.and_then(|manifest| self.manifest(&manifest)) {
                Ok(layers) => image.manifests.push(layers),
                Err(Unread::Damaged(digest)) => drop(image.unreadable.insert(digest)),
                Err(Unread::Strange(what)) => {
                    self.untold.insert(format!("cannot look at {}: {what}", image.name));
                }
            }
        }
        image
    }

    fn manifest(&mut self, manifest: &Document) -> Result<Vec<Layer>, Unread> {
        let snapshots = documents::snapshots(self.root, manifest)?;
        self.ask(&snapshots).map_err(Unread::Strange)?;
        let layers = snapshots.into_iter().zip(&manifest.layers);
        let looked_at = layers.map(|(snapshot, entry)| {
            self.layer(&snapshot, entry)?;
            Ok(Layer { snapshot, blob: entry.digest.clone() })
        });
        looked_at.collect()
    }

    /// Asks where these are, each of which lies on the one before it.
    fn ask(&mut self, snapshots: &[String]) -> Result<(), String> {
        for (below, snapshot) in snapshots.iter().enumerate().rev() {
            match self.directories.get(snapshot) {
                // So are those below it.
                Some(Some(_)) => return Ok(()),
                Some(None) => continue,
                None => {}
            }
            // The uppermost that is there tells of all below it.
            if let Some(found) = self.runtime.directories(snapshot)? {
                if found.len() != below + 1 {
                    let count = found.len();
                    return Err(format!("{snapshot} lies on {below} others, in {count} places"));
                }
                for (snapshot, directory) in snapshots.iter().zip(found.iter().rev()) {
                    let directory = self.root.path(directory);
                    self.directories.insert(snapshot.clone(), Some(directory));
                }
                return Ok(());
            }
            self.directories.insert(snapshot.clone(), None);
        }
        Ok(())
    }

    fn layer(&mut self, snapshot: &str, entry: &Entry) -> Result<(), Unread> {
        let path = documents::blob(self.root, &entry.digest)?;
        let digest = entry.digest.trim_start_matches("sha256:").parse();
        let digest: formats::digest::Sha256 = match digest {
            Ok(digest) => digest,
            Err(_) => return Ok(()),
        };
        let directory = self.directories.get(snapshot).cloned().flatten();
        if directory.is_some() {
            self.findings.snapshots.entry(snapshot.to_owned()).or_default();
        }
        if !self.compared.insert((snapshot.to_owned(), entry.digest.clone())) {
            return Ok(());
        }
        let made = directory.as_deref().map_or_else(|| changed(&path), changed);
        let whole = fs::metadata(&path).is_ok_and(|file| file.len() == entry.size);
        let finding = if !whole && directory.is_none() {
            Finding::BadBlob
        } else if made.is_some_and(|made| made < self.since) {
            Finding::Good
        } else {
            layer::check(&path, &digest, directory.as_deref())
        };
        match finding {
            Finding::Good => {}
            Finding::BadBlob => drop(self.findings.bad_blobs.insert(entry.digest.clone())),
            Finding::BadFile(file) => {
                let damage = self.findings.snapshots.entry(snapshot.to_owned()).or_default();
                damage.get_or_insert(format!("{file} of {} is damaged", entry.digest));
            }
        }
        Ok(())
    }
}

/// When a directory of a snapshot was made, or a blob written; the directory itself has the times
/// that its image says.
fn changed(path: &Path) -> Option<i64> {
    let of = if path.ends_with("fs") { path.parent()? } else { path };
    Some(fs::metadata(of).ok()?.ctime())
}
