//! A root file system as data: a sorted manifest of paths over content-addressed blobs.
//!
//! Nothing on the building host ever has the owners or modes that stand here. Times are not part
//! of a tree: every writer is given one epoch for all paths.

use std::collections::BTreeMap;
use std::fmt;

use crate::digest::Sha256;

/// A path inside the tree: relative, `/`-separated UTF-8, without empty, `.` or `..` parts.
/// The root itself is the empty path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(String);

/// The text cannot be a [`TreePath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a path inside the tree")]
pub struct TreePathError(String);

impl TreePath {
    /// The root directory.
    pub const ROOT: Self = Self(String::new());

    /// Accepts what archives write: `usr/bin`, `/usr/bin`, `./usr/bin/`, `.`.
    ///
    /// # Errors
    /// A `..` part, an empty part, a NUL byte, a part above 255 bytes.
    pub fn new(text: &str) -> Result<Self, TreePathError> {
        let error = || TreePathError(text.to_owned());
        let inner = text.strip_prefix("./").or_else(|| text.strip_prefix('/')).unwrap_or(text);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.is_empty() || inner == "." {
            return if text.is_empty() { Err(error()) } else { Ok(Self::ROOT) };
        }
        let good = |part: &str| {
            !matches!(part, "" | "." | "..") && part.len() <= 255 && !part.contains('\0')
        };
        if inner.split('/').all(good) { Ok(Self(inner.to_owned())) } else { Err(error()) }
    }

    /// The path without a leading `/`; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part; empty for the root.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, name)| name)
    }

    /// The directory that holds this path; nothing holds the root.
    pub fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        Some(Self(self.0.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned())))
    }

    /// This path with one more part.
    ///
    /// # Errors
    /// `name` is not one valid part.
    pub fn join(&self, name: &str) -> Result<Self, TreePathError> {
        if self.0.is_empty() { Self::new(name) } else { Self::new(&format!("{}/{name}", self.0)) }
    }
}

impl fmt::Display for TreePath {
    /// With a leading `/`, as a person writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

/// The content of a regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Blob {
    /// What the content hashes to: its name in the store.
    pub sha256: Sha256,
    /// Bytes.
    pub size: u64,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory: its children are the paths below it.
    Directory,
    /// A regular file. Two files with one blob share their blocks in the image.
    File(Blob),
    /// A symbolic link to this target, which is not interpreted here.
    Symlink(String),
}

/// One path's inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, set-id and sticky bits: at most `0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes by full name, such as `security.capability`.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Node {
    /// A directory `root:root`.
    pub const fn directory(mode: u16) -> Self {
        Self { kind: Kind::Directory, mode, uid: 0, gid: 0, xattrs: BTreeMap::new() }
    }

    /// A regular file `root:root`.
    pub const fn file(blob: Blob, mode: u16) -> Self {
        Self { kind: Kind::File(blob), mode, uid: 0, gid: 0, xattrs: BTreeMap::new() }
    }

    /// A symbolic link `root:root`.
    pub fn symlink(target: impl Into<String>) -> Self {
        let kind = Kind::Symlink(target.into());
        Self { kind, mode: 0o777, uid: 0, gid: 0, xattrs: BTreeMap::new() }
    }
}

/// The whole tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    // Invariant: holds the root, and the parent of every path is a directory in the map.
    nodes: BTreeMap<TreePath, Node>,
}

/// The tree cannot take this path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Something that is not a directory stands where a directory is needed.
    #[error("{path} cannot hold {child}: it is not a directory")]
    ParentIsNoDirectory {
        /// What is in the way.
        path: TreePath,
        /// What should have been added.
        child: TreePath,
    },
    /// A directory with children would be replaced by something else.
    #[error("{path} is a directory that is not empty")]
    DirectoryNotEmpty {
        /// That directory.
        path: TreePath,
    },
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: BTreeMap::from([(TreePath::ROOT, Node::directory(0o755))]) }
    }
}

impl Tree {
    /// A tree of nothing but its root directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `node` at `path`, in place of what stood there; parents that are missing are made as
    /// `root:root` directories of mode 0755.
    ///
    /// # Errors
    /// See [`TreeError`].
    pub fn insert(&mut self, path: TreePath, node: Node) -> Result<(), TreeError> {
        let mut missing = Vec::new();
        let mut above = path.parent();
        while let Some(parent) = above {
            match self.nodes.get(&parent) {
                Some(Node { kind: Kind::Directory, .. }) => break,
                Some(_) => {
                    return Err(TreeError::ParentIsNoDirectory { path: parent, child: path });
                }
                None => {
                    above = parent.parent();
                    missing.push(parent);
                }
            }
        }
        if node.kind != Kind::Directory && self.children(&path).next().is_some() {
            return Err(TreeError::DirectoryNotEmpty { path });
        }
        for parent in missing {
            self.nodes.insert(parent, Node::directory(0o755));
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    /// Takes away `path` and all below it; the root itself only loses its children.
    pub fn remove(&mut self, path: &TreePath) {
        let below = |candidate: &TreePath| {
            path.as_str().is_empty()
                || candidate == path
                || candidate
                    .as_str()
                    .strip_prefix(path.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        self.nodes.retain(|candidate, _| *candidate == TreePath::ROOT || !below(candidate));
    }

    /// The inode at `path`, links not followed.
    pub fn get(&self, path: &TreePath) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// All paths in byte order of their text, the root first.
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Node)> {
        self.nodes.iter()
    }

    /// The direct children of a directory, in byte order of their names.
    pub fn children<'a>(
        &'a self,
        directory: &'a TreePath,
    ) -> impl Iterator<Item = (&'a TreePath, &'a Node)> {
        let prefix =
            if directory.0.is_empty() { String::new() } else { format!("{}/", directory.0) };
        let start = TreePath(prefix.clone());
        self.nodes.range(start..).take_while(move |(path, _)| path.0.starts_with(&prefix)).filter(
            move |(path, _)| {
                **path != *directory
                    && path.0[path
                        .0
                        .len()
                        .min(directory.0.len() + usize::from(!directory.0.is_empty()))..]
                        .find('/')
                        .is_none()
            },
        )
    }

    /// How many paths there are, the root included.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is nothing but the root.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    #[test]
    fn archive_spellings_name_one_path() {
        for text in ["usr/bin", "/usr/bin", "./usr/bin", "./usr/bin/"] {
            assert_eq!(path(text).as_str(), "usr/bin");
        }
        for text in [".", "./", "/"] {
            assert_eq!(path(text), TreePath::ROOT);
        }
    }

    #[test]
    fn a_path_cannot_leave_the_tree() {
        for text in ["", "..", "usr/../etc", "//etc", "usr//bin", "a\0b", &"n".repeat(256)] {
            assert_eq!(TreePath::new(text), Err(TreePathError(text.to_owned())), "{text:?}");
        }
    }

    #[test]
    fn missing_parents_are_made() {
        let mut tree = Tree::new();
        tree.insert(path("usr/bin/init"), Node::symlink("x")).unwrap();
        let paths: Vec<_> = tree.iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(paths, ["/", "/usr", "/usr/bin", "/usr/bin/init"]);
    }

    #[test]
    fn children_are_direct_ones_only() {
        let mut tree = Tree::new();
        for text in ["usr/bin/init", "usr/lib", "usr-local", "usr.d/x"] {
            tree.insert(path(text), Node::symlink("x")).unwrap();
        }
        let names = |directory: &TreePath| {
            tree.children(directory).map(|(path, _)| path.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&TreePath::ROOT), ["usr", "usr-local", "usr.d"]);
        assert_eq!(names(&path("usr")), ["bin", "lib"]);
    }

    #[test]
    fn a_file_is_no_directory() {
        let mut tree = Tree::new();
        tree.insert(path("etc"), Node::symlink("x")).unwrap();
        let error = tree.insert(path("etc/hosts"), Node::symlink("x")).unwrap_err();
        assert_eq!(error.to_string(), "/etc cannot hold /etc/hosts: it is not a directory");
    }

    #[test]
    fn a_full_directory_is_not_replaced_by_a_file() {
        let mut tree = Tree::new();
        tree.insert(path("etc/hosts"), Node::symlink("x")).unwrap();
        let error = tree.insert(path("etc"), Node::symlink("x")).unwrap_err();
        assert_eq!(error, TreeError::DirectoryNotEmpty { path: path("etc") });
    }

    #[test]
    fn removing_takes_all_below_and_nothing_beside() {
        let mut tree = Tree::new();
        for text in ["usr/share/doc/a", "usr/share/docs"] {
            tree.insert(path(text), Node::symlink("x")).unwrap();
        }
        tree.remove(&path("usr/share/doc"));
        let paths: Vec<_> = tree.iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(paths, ["/", "/usr", "/usr/share", "/usr/share/docs"]);
    }
}
