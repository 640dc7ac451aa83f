//! How large images and components are, and where in them the bytes are.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::files::FileChange;
use super::side::{Node, Side};
use super::{Change, Pair, both};

/// A size that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SizeChange {
    /// Of what.
    pub name: String,
    /// Bytes on the first side; nothing if it is not there.
    pub before: Option<u64>,
    /// Bytes on the second side.
    pub after: Option<u64>,
}

impl SizeChange {
    /// By how many bytes it grew.
    pub fn growth(&self) -> i64 {
        let bytes = |size: Option<u64>| i64::try_from(size.unwrap_or_default()).unwrap_or(i64::MAX);
        bytes(self.after).saturating_sub(bytes(self.before))
    }
}

/// Where the bytes of a side are: the heaviest group first.
pub type Map = Vec<Group>;

/// What lies together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// A component, or a directory where nobody names components.
    pub name: String,
    /// Bytes of all.
    pub size: u64,
    /// The files, the heaviest first.
    pub files: Vec<Leaf>,
}

/// A file of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Place and path.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// What happened to its content.
    pub change: Option<Change>,
}

/// Sizes of images that both sides tell and that differ.
pub fn images(before: &Side, after: &Side) -> Vec<SizeChange> {
    let changed = both(&before.sizes, &after.sizes)
        .filter(|(_, before, after)| before.is_some() && after.is_some() && before != after);
    changed.map(|(name, before, after)| change(name, before, after)).collect()
}

/// Sizes of components that differ, those that moved most first.
pub fn components(before: &Side, after: &Side) -> Option<Vec<SizeChange>> {
    let (before, after) = (before.components()?, after.components()?);
    let changed = both(&before, &after).filter(|(_, before, after)| before != after);
    let mut changes: Vec<_> =
        changed.map(|(name, before, after)| change(name, before, after)).collect();
    changes.sort_by_key(|change| std::cmp::Reverse(change.growth().unsigned_abs()));
    Some(changes)
}

fn change(name: &str, before: Option<&u64>, after: Option<&u64>) -> SizeChange {
    SizeChange { name: name.to_owned(), before: before.copied(), after: after.copied() }
}

/// The maps of both sides, by components if both have them.
pub fn maps(before: &Side, after: &Side, changes: &[FileChange]) -> Pair<Map> {
    let by_component = before.components().is_some() && after.components().is_some();
    let is_content = |change: &&FileChange| {
        change.change != Change::Changed
            || change.what.iter().any(|what| ["content", "type"].contains(what))
    };
    let changed = changes.iter().filter(is_content);
    let of = |side: &Side| -> Option<Map> {
        let changed: BTreeMap<_, _> = changed
            .clone()
            .flat_map(|change| {
                let paths = [Some(&change.path), change.moved_from.as_ref()];
                let key = |path: &String| ((change.place.clone(), path.clone()), change.change);
                paths.into_iter().flatten().map(key).collect::<Vec<_>>()
            })
            .collect();
        map(side, by_component, &changed)
    };
    Pair { before: of(before), after: of(after) }
}

fn map(
    side: &Side,
    by_component: bool,
    changed: &BTreeMap<(String, String), Change>,
) -> Option<Map> {
    let mut groups: BTreeMap<String, Vec<Leaf>> = BTreeMap::new();
    // Names of one content in one place share their bytes, as hard links do.
    let mut seen = BTreeSet::new();
    for file in side.files.as_ref()? {
        let Node::File { size, sha256 } = file.node else { continue };
        if size == 0 || !seen.insert((file.place.clone(), sha256)) {
            continue;
        }
        let change = changed.get(&(file.place.clone(), file.path.clone())).copied();
        let name = match &file.component {
            Some(component) if by_component => component.clone(),
            _ => directory(&file.path),
        };
        groups.entry(name).or_default().push(Leaf { name: file.shown(), size, change });
    }
    let mut map: Vec<_> = groups
        .into_iter()
        .map(|(name, mut files)| {
            files.sort_by(|one, other| other.size.cmp(&one.size).then(one.name.cmp(&other.name)));
            Group { name, size: files.iter().map(|file| file.size).sum(), files }
        })
        .collect();
    map.sort_by(|one, other| other.size.cmp(&one.size).then(one.name.cmp(&other.name)));
    Some(map)
}

/// The first two parts of a path's directory.
fn directory(path: &str) -> String {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    let depth = parts.len().saturating_sub(1).min(2);
    format!("/{}", parts[..depth].join("/"))
}
