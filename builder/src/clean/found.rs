//! What is there: every piece of the store and the caches, with its size and its age.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use formats::digest::Sha256;

use super::{CATEGORIES, Item, ItemId, Kind, Places};
use crate::error::{Context as _, Id, Result};

/// Lists all pieces; `now` is in seconds since 1970.
///
/// # Errors
/// [`Id::Read`]. What vanishes meanwhile is not there.
pub fn items(places: Places<'_>, now: u64) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    for (category, row) in CATEGORIES.iter().enumerate() {
        let directory = row.kind.directory(places);
        let cannot = || format!("cannot read `{}`", directory.display());
        let found = row.kind.pieces(&directory).or_fail(Id::Read, cannot)?;
        for (path, id) in found {
            let cannot = || format!("cannot read `{}`", path.display());
            let Some(Weight { bytes, used }) = weigh(&path).or_fail(Id::Read, cannot)? else {
                continue;
            };
            let age = Duration::from_secs(now.saturating_sub(used));
            items.push(Item { category, path, bytes, age, id });
        }
    }
    Ok(items)
}

impl Kind {
    /// Where the pieces of this kind are.
    pub fn directory(self, places: Places<'_>) -> PathBuf {
        match self {
            Self::Blobs => places.store.join("blobs"),
            Self::Steps => places.store.join("steps"),
            Self::Partials => places.store.join("partial"),
            Self::StoreFiles(name) => places.store.join(name),
            Self::Whole(name) | Self::Entries(name) | Self::Files(name) => places.caches.join(name),
        }
    }

    fn pieces(self, directory: &Path) -> io::Result<Vec<(PathBuf, ItemId)>> {
        let other = |path: PathBuf| (path, ItemId::Other);
        let blob = |path: PathBuf| {
            let id = name(&path).map_or(ItemId::Other, ItemId::Blob);
            (path, id)
        };
        Ok(match self {
            Self::Blobs => {
                let directories = entries(directory)?;
                let lists: io::Result<Vec<_>> = directories.iter().map(|d| entries(d)).collect();
                lists?.concat().into_iter().map(blob).collect()
            }
            Self::Partials => entries(directory)?.into_iter().map(blob).collect(),
            Self::Steps => steps(directory)?,
            Self::StoreFiles(_) | Self::Entries(_) => {
                entries(directory)?.into_iter().map(other).collect()
            }
            Self::Whole(_) => vec![other(directory.to_owned())],
            Self::Files(_) => {
                let mut files = Vec::new();
                walk(directory, &mut |path, metadata| {
                    if !metadata.is_dir() {
                        files.push(other(path.to_owned()));
                    }
                })?;
                files
            }
        })
    }
}

fn steps(directory: &Path) -> io::Result<Vec<(PathBuf, ItemId)>> {
    let mut found = Vec::new();
    for kinds in entries(directory)? {
        let kind = kinds.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for path in entries(&kinds)? {
            let Some(key) = name(&path) else {
                found.push((path, ItemId::Other));
                continue;
            };
            let content = match fs::read(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                content => content?,
            };
            let id = ItemId::Step { kind: kind.clone(), key, names: digests(&content) };
            found.push((path, id));
        }
    }
    Ok(found)
}

/// All digests in a text of whatever form: runs of 64 hexadecimal digits.
pub fn digests(content: &[u8]) -> BTreeSet<Sha256> {
    let runs = content.split(|byte| !byte.is_ascii_hexdigit()).filter(|run| run.len() == 64);
    runs.filter_map(|run| std::str::from_utf8(run).ok()?.parse().ok()).collect()
}

fn name(path: &Path) -> Option<Sha256> {
    path.file_name()?.to_str()?.parse().ok()
}

/// What is in a directory, in order; nothing if it is not there or not a directory.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        read => {
            let paths: io::Result<Vec<_>> =
                read?.map(|entry| entry.map(|entry| entry.path())).collect();
            let mut paths = paths?;
            paths.sort();
            Ok(paths)
        }
    }
}

/// What something takes, and when it was last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Weight {
    bytes: u64,
    used: u64,
}

/// A file, or a directory with all that is in it. A file with several names counts once.
fn weigh(path: &Path) -> io::Result<Option<Weight>> {
    let mut weight = None;
    let mut seen = BTreeSet::new();
    walk(path, &mut |_, metadata| {
        let weight = weight.get_or_insert(Weight { bytes: 0, used: 0 });
        if metadata.nlink() < 2 || metadata.is_dir() || seen.insert(metadata.ino()) {
            weight.bytes += metadata.blocks() * 512;
        }
        weight.used = weight.used.max(u64::try_from(metadata.mtime()).unwrap_or(0));
    })?;
    Ok(weight)
}

/// Shows everything at and below a path, links not followed; what vanishes meanwhile is skipped.
fn walk(path: &Path, seen: &mut impl FnMut(&Path, &Metadata)) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(());
        }
        metadata => metadata?,
    };
    seen(path, &metadata);
    if metadata.is_dir() {
        for entry in entries(path)? {
            walk(&entry, seen)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_found_in_text_of_any_form() {
        let (one, other) = (Sha256::of("1"), Sha256::of("2"));
        let text = format!("{{\"a\":\"{one}\"}} f {other} 12\n0{one} {}", &one.to_string()[1..]);
        assert_eq!(digests(text.as_bytes()), [one, other].into());
        assert_eq!(digests(b""), BTreeSet::new());
    }

    #[test]
    fn a_file_of_two_names_is_weighed_once_and_a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("tree")).unwrap();
        fs::write(path("outside"), vec![1; 1 << 20]).unwrap();
        fs::write(path("tree/one"), vec![1; 100_000]).unwrap();
        let alone = weigh(&path("tree")).unwrap().unwrap().bytes;
        fs::hard_link(path("tree/one"), path("tree/two")).unwrap();
        std::os::unix::fs::symlink(path("outside"), path("tree/link")).unwrap();
        let weight = weigh(&path("tree")).unwrap().unwrap();
        assert!(weight.bytes >= 100_000 && weight.bytes < alone + 65_536, "{weight:?}");
        assert!(weight.used > 1_700_000_000);
        assert_eq!(weigh(&path("none")).unwrap(), None);
    }
}
