//! Lays the components' nodes over one another and remembers who brought what.
//!
//! Two components that give one path conflict, unless they agree (both a directory with the same
//! mode and owner, or exactly the same node) or the recipe lists the path in `replace`.

use std::collections::{BTreeMap, BTreeSet};

use formats::tree::{Kind, Node, Tree, TreePath};

use crate::error::{Context as _, Error, Id, Result};

/// A tree and where each of its paths comes from.
#[derive(Debug, Default)]
pub struct Layers {
    tree: Tree,
    owners: BTreeMap<TreePath, String>,
    replace: BTreeSet<TreePath>,
    replaced: BTreeSet<TreePath>,
    conflicts: Vec<String>,
}

impl Layers {
    /// An empty tree. `replace` lists the paths that a later component may give again.
    pub fn new(replace: BTreeSet<TreePath>) -> Self {
        Self { replace, ..Self::default() }
    }

    /// Lays one component over what is there.
    ///
    /// # Errors
    /// [`Id::TreeConflict`] if a path cannot be where the component has it. Conflicts between
    /// files are collected for [`Layers::finish`], so that all are shown at once.
    pub fn add(
        &mut self,
        owner: &str,
        nodes: impl IntoIterator<Item = (TreePath, Node)>,
    ) -> Result<()> {
        for (path, node) in nodes {
            if let (Some(there), Some(first)) = (self.tree.get(&path), self.owners.get(&path)) {
                let both_directories =
                    there.kind == Kind::Directory && node.kind == Kind::Directory;
                if *there == node || (both_directories && first != owner) {
                    continue;
                }
                if self.replace.contains(&path) {
                    self.replaced.insert(path.clone());
                } else {
                    self.conflicts.push(format!("{path} comes from {first} and from {owner}"));
                    continue;
                }
            }
            self.owners.insert(path.clone(), owner.to_owned());
            self.tree
                .insert(path, node)
                .or_fail(Id::TreeConflict, || format!("cannot lay {owner} over the tree"))?;
        }
        Ok(())
    }

    /// The tree that grew, with the owner of each path.
    ///
    /// # Errors
    /// [`Id::TreeConflict`] with every conflict.
    pub fn finish(self) -> Result<(Tree, BTreeMap<TreePath, String>, Vec<String>)> {
        if !self.conflicts.is_empty() {
            let message = format!("components conflict:\n  {}", self.conflicts.join("\n  "));
            return Err(Error::new(Id::TreeConflict, message)
                .hint("list the path in `[tree] replace` if the later one is right"));
        }
        let idle = self.replace.difference(&self.replaced);
        let warnings =
            idle.map(|path| format!("`[tree] replace` lists {path}: nothing conflicts there"));
        Ok((self.tree, self.owners, warnings.collect()))
    }
}

#[cfg(test)]
mod tests {
    use formats::digest::Sha256;
    use formats::tree::Blob;

    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    fn file(content: &str) -> Node {
        Node::file(Blob { sha256: Sha256::of(content), size: content.len() as u64 }, 0o644)
    }

    #[test]
    fn the_owner_of_each_path_is_remembered() {
        let mut layers = Layers::default();
        layers.add("runc", [(path("usr/bin/runc"), file("runc"))]).unwrap();
        layers.add("overlay", [(path("etc/motd"), file("hello"))]).unwrap();
        let (tree, owners, warnings) = layers.finish().unwrap();
        assert_eq!(tree.get(&path("etc/motd")), Some(&file("hello")));
        assert_eq!(owners[&path("usr/bin/runc")], "runc");
        assert!(warnings.is_empty());
    }

    #[test]
    fn two_files_at_one_path_conflict_and_all_conflicts_are_told() {
        let mut layers = Layers::default();
        layers.add("one", [(path("a"), file("1")), (path("b"), file("1"))]).unwrap();
        layers.add("two", [(path("a"), file("2")), (path("b"), file("2"))]).unwrap();
        let error = layers.finish().unwrap_err();
        assert_eq!(error.id(), Id::TreeConflict);
        assert_eq!(
            error.to_string(),
            "components conflict:\n  /a comes from one and from two\n  /b comes from one and from two"
        );
    }

    #[test]
    fn the_same_node_twice_and_shared_directories_are_no_conflict() {
        let mut layers = Layers::default();
        layers.add("one", [(path("usr"), Node::directory(0o755)), (path("a"), file("1"))]).unwrap();
        layers.add("two", [(path("usr"), Node::directory(0o700)), (path("a"), file("1"))]).unwrap();
        let (tree, owners, _) = layers.finish().unwrap();
        assert_eq!(tree.get(&path("usr")), Some(&Node::directory(0o755)));
        assert_eq!(owners[&path("a")], "one");
    }

    #[test]
    fn replace_lets_the_later_one_win_and_an_idle_one_is_told() {
        let mut layers = Layers::new([path("a"), path("b")].into());
        layers.add("one", [(path("a"), file("1"))]).unwrap();
        layers.add("two", [(path("a"), file("2"))]).unwrap();
        let (tree, owners, warnings) = layers.finish().unwrap();
        assert_eq!(tree.get(&path("a")), Some(&file("2")));
        assert_eq!(owners[&path("a")], "two");
        assert_eq!(warnings, ["`[tree] replace` lists /b: nothing conflicts there"]);
    }

    #[test]
    fn a_file_where_a_directory_is_needed_is_named() {
        let mut layers = Layers::default();
        layers.add("one", [(path("lib"), Node::symlink("usr/lib"))]).unwrap();
        let error = layers.add("two", [(path("lib/x"), file("x"))]).unwrap_err();
        assert_eq!(
            error.chain(),
            "cannot lay two over the tree: /lib cannot hold /lib/x: it is not a directory"
        );
    }
}
