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

/// What a look has brought.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) findings: Findings,
    /// What is not understood, a line each.
    pub(super) strange: BTreeSet<String>,
    /// What containerd did not answer, a line each: the look is not at its end.
    pub(super) unanswered: BTreeSet<String>,
}

/// Looks at what is younger than `since`.
pub(super) fn look(runtime: &mut impl Runtime, root: &Root, since: i64) -> Result<Seen, String> {
    let images = runtime.images()?;
    let mut look = Look {
        runtime,
        root,
        since,
        directories: BTreeMap::new(),
        compared: BTreeSet::new(),
        proven: BTreeSet::new(),
        unproven: BTreeMap::new(),
        seen: Seen::default(),
    };
    for (name, target) in images {
        let target = Entry { digest: target.digest, size: target.size };
        let image = look.image(name, &target);
        look.seen.findings.images.push(image);
    }
    Ok(look.end())
}

struct Look<'a, R> {
    runtime: &'a mut R,
    root: &'a Root,
    since: i64,
    /// Where each snapshot is unpacked; nowhere, if containerd has none of this name.
    directories: BTreeMap<String, Option<PathBuf>>,
    /// Snapshots and blobs that were compared.
    compared: BTreeSet<(String, String)>,
    /// Snapshots that are as a blob says which is whole.
    proven: BTreeSet<String>,
    /// Snapshots whose blob is damaged, so nothing says whether they are whole, and that blob.
    unproven: BTreeMap<String, String>,
    seen: Seen,
}

impl<R: Runtime> Look<'_, R> {
    fn end(mut self) -> Seen {
        for (snapshot, blob) in self.unproven {
            // Another image may have the same layer in another blob, which is whole.
            if !self.proven.contains(&snapshot) {
                let damage = self.seen.findings.snapshots.entry(snapshot).or_default();
                damage.get_or_insert(format!(
                    "{blob} is damaged, so nothing says whether what was unpacked of it is whole"
                ));
            }
        }
        self.seen
    }

    fn image(&mut self, name: String, target: &Entry) -> Image {
        let mut image = Image { name, ..Image::default() };
        let manifests = documents::manifests(self.root, target);
        for manifest in manifests.unwrap_or_else(|unread| vec![Err(unread)]) {
            match manifest.and_then(|manifest| self.manifest(&manifest)) {
                Ok(layers) => image.manifests.push(layers),
                Err(Unread::Damaged(digest)) => drop(image.unreadable.insert(digest)),
                Err(Unread::Strange(what)) => {
                    self.seen.strange.insert(format!("cannot look at {}: {what}", image.name));
                }
                Err(Unread::Unanswered(what)) => {
                    self.seen.unanswered.insert(format!("cannot look at {}: {what}", image.name));
                }
            }
        }
        image
    }

    fn manifest(&mut self, manifest: &Document) -> Result<Vec<Layer>, Unread> {
        let snapshots = documents::snapshots(self.root, manifest)?;
        self.ask(&snapshots)?;
        let layers = snapshots.into_iter().zip(&manifest.layers);
        let looked_at = layers.map(|(snapshot, entry)| {
            self.layer(&snapshot, entry)?;
            Ok(Layer { snapshot, blob: entry.digest.clone() })
        });
        looked_at.collect()
    }

    /// Asks where these are, each of which lies on the one before it.
    fn ask(&mut self, snapshots: &[String]) -> Result<(), Unread> {
        for (below, snapshot) in snapshots.iter().enumerate().rev() {
            match self.directories.get(snapshot) {
                // So are those below it.
                Some(Some(_)) => return Ok(()),
                Some(None) => continue,
                None => {}
            }
            // The uppermost that is there tells of all below it.
            let found = self.runtime.directories(snapshot).map_err(Unread::Unanswered)?;
            if let Some(found) = found {
                if found.len() != below + 1 {
                    let count = found.len();
                    let what = format!("{snapshot} lies on {below} others, in {count} places");
                    return Err(Unread::Strange(what));
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
            self.seen.findings.snapshots.entry(snapshot.to_owned()).or_default();
        }
        if !self.compared.insert((snapshot.to_owned(), entry.digest.clone())) {
            return Ok(());
        }
        let made = directory.as_deref().map_or_else(|| changed(&path), changed);
        let whole = fs::metadata(&path).is_ok_and(|file| file.len() == entry.size);
        let finding = if !whole && directory.is_none() {
            Finding::BadBlob
        } else if made.is_some_and(|made| made < self.since) {
            // What is unpacked counts, and it is on the disk.
            return Ok(());
        } else {
            layer::check(&path, &digest, directory.as_deref())
        };
        let snapshot = snapshot.to_owned();
        match finding {
            Finding::Good => drop(self.proven.insert(snapshot)),
            Finding::BadBlob => {
                if directory.is_some() {
                    self.unproven.insert(snapshot, entry.digest.clone());
                }
                self.seen.findings.bad_blobs.insert(entry.digest.clone());
            }
            Finding::BadFile(file) => {
                let damage = self.seen.findings.snapshots.entry(snapshot).or_default();
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
