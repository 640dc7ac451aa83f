//! Which paths differ, and in what.

use std::collections::BTreeMap;

use serde::Serialize;

use super::side::{File, MODULES, Node, ROOT, Side};
use super::{Change, both};
use crate::stored::Hex;

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileChange {
    /// `root`, `initrd`, `boot`, or a container image.
    pub place: String,
    /// Where it is; on the first side, if it was removed.
    pub path: String,
    /// Where it was, if its directory is named by the kernel's release and that changed.
    pub moved_from: Option<String>,
    /// What happened.
    pub change: Change,
    /// In what it differs: `type`, `content`, `target`, `mode`, `owner`, `xattrs`.
    pub what: Vec<&'static str>,
    /// On the first side.
    pub before: Option<FileState>,
    /// On the second side.
    pub after: Option<FileState>,
}

/// What is at a path of one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileState {
    /// `file`, `directory`, `symlink` or `other`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Permissions in octal digits.
    pub mode: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content.
    pub size: u64,
    /// Digest of a file's content.
    pub sha256: Option<Hex>,
    /// Where a link leads.
    pub target: Option<String>,
    /// Extended attributes, values in hexadecimal digits.
    pub xattrs: BTreeMap<String, String>,
    /// Who answers for it.
    pub component: Option<String>,
}

/// The file of the root that says which version it is of, and its copy in the initrd.
const OS_RELEASE: [(&str, &str); 2] =
    [(ROOT, crate::os_release::PATH), ("initrd", "/etc/initrd-release")];

impl FileChange {
    /// Whether it is the content of what says the version that changed, and nothing else.
    pub(super) fn says_version(&self) -> bool {
        OS_RELEASE.contains(&(self.place.as_str(), self.path.as_str())) && self.what == ["content"]
    }
}

impl FileState {
    fn of(file: &File) -> Self {
        let (kind, sha256, target) = match &file.node {
            Node::Directory => ("directory", None, None),
            Node::Symlink(target) => ("symlink", None, Some(target.clone())),
            Node::File { sha256, .. } => ("file", Some(Hex(*sha256)), None),
            Node::Other => ("other", None, None),
        };
        let hex = |value: &[u8]| value.iter().map(|byte| format!("{byte:02x}")).collect();
        let xattrs = file.xattrs.iter().map(|(name, value)| (name.clone(), hex(value)));
        Self {
            kind,
            mode: format!("{:04o}", file.mode),
            uid: file.uid,
            gid: file.gid,
            size: file.size(),
            sha256,
            target,
            xattrs: xattrs.collect(),
            component: file.component.clone(),
        }
    }
}

/// Paths of both sides that differ, in order. A place that one side does not tell of, such as the
/// initrd of a commit, is left out.
pub fn changes(before: &Side, after: &Side) -> Option<Vec<FileChange>> {
    let (one, other) = (by_key(before)?, by_key(after)?);
    let has = |side: &BTreeMap<(String, String), &File>, place: &str| {
        place == ROOT || side.keys().any(|(known, _)| known == place)
    };
    // A container image may come or go; what lies beside the root may only not be told.
    let told = |place: &str| place.contains('/') || (has(&one, place) && has(&other, place));
    let tells_images = |side: &Side| side.components().is_some();
    let images = tells_images(before) && tells_images(after);
    let mut changes = Vec::new();
    for ((place, _), before, after) in both(&one, &other) {
        let (before, after) = (before.copied(), after.copied());
        let Some(file) = after.or(before) else { continue };
        if !told(place) || (place.contains('/') && !images) {
            continue;
        }
        let what = match (before, after) {
            (Some(before), Some(after)) => differs(before, after),
            _ => Vec::new(),
        };
        let change = match (before, after) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            _ if what.is_empty() => continue,
            _ => Change::Changed,
        };
        let moved = before.filter(|before| before.path != file.path);
        changes.push(FileChange {
            place: place.clone(),
            path: file.path.clone(),
            moved_from: moved.map(|before| before.path.clone()),
            change,
            what,
            before: before.map(FileState::of),
            after: after.map(FileState::of),
        });
    }
    Some(changes)
}

/// Files by place, and path in which the kernel's release is left out: else every module of a newer
/// kernel would be one that went and one that came.
fn by_key(side: &Side) -> Option<BTreeMap<(String, String), &File>> {
    let directory = side.release.as_ref().map(|release| format!("{MODULES}{release}"));
    let key = |file: &File| {
        let below = directory.as_ref().and_then(|prefix| file.path.strip_prefix(prefix.as_str()));
        let below = below.filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let path = below.map_or_else(|| file.path.clone(), |rest| format!("{MODULES}*{rest}"));
        (file.place.clone(), path)
    };
    Some(side.files.as_ref()?.iter().map(|file| (key(file), file)).collect())
}

fn differs(before: &File, after: &File) -> Vec<&'static str> {
    let node = match (&before.node, &after.node) {
        (one, other) if one == other => None,
        (Node::File { .. }, Node::File { .. }) => Some("content"),
        (Node::Symlink(_), Node::Symlink(_)) => Some("target"),
        _ => Some("type"),
    };
    let owner = (before.uid, before.gid) != (after.uid, after.gid);
    let mode = (before.mode != after.mode).then_some("mode");
    let xattrs = (before.xattrs != after.xattrs).then_some("xattrs");
    [node, mode, owner.then_some("owner"), xattrs].into_iter().flatten().collect()
}
