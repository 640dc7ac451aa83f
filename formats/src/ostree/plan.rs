//! From a tree to the objects of its directories. Those of its files are named by who has read
//! them.

use std::collections::BTreeMap;

use super::{Attributes, Directory, FileHeader, Kind, Name};
use crate::digest::Sha256;
use crate::tree::{self, Node, Tree, TreePath};

/// The objects of a tree, decided and not yet written. Made only by [`Plan::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<'a> {
    // Invariant: `objects` holds every directory's objects, those of the root under these names.
    tree: Sha256,
    meta: Sha256,
    objects: BTreeMap<Name, Object<'a>>,
}

/// What an object is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object<'a> {
    /// These bytes: of a directory.
    Bytes(Vec<u8>),
    /// This file or link, with its content.
    Node(&'a Node),
}

impl<'a> Plan<'a> {
    /// Plans the objects of `tree`. `files` gives the name of the object of each file and link.
    ///
    /// # Errors
    /// Those of `files`.
    pub fn new<E>(
        tree: &'a Tree,
        mut files: impl FnMut(&'a Node, FileHeader) -> Result<Sha256, E>,
    ) -> Result<Self, E> {
        let mut objects = BTreeMap::new();
        let mut made: BTreeMap<TreePath, Directory> = BTreeMap::new();
        // Backwards, whatever is in a directory comes before the directory.
        let nodes: Vec<_> = tree.iter().collect();
        let mut root = None;
        for (path, node) in nodes.into_iter().rev() {
            let parent = path.parent();
            let name = path.name().to_owned();
            if let Some(header) = FileHeader::of(node) {
                let digest = files(node, header)?;
                objects.insert(Name { digest, kind: Kind::File }, Object::Node(node));
                if let Some(parent) = parent {
                    made.entry(parent).or_default().files.insert(name, digest);
                }
                continue;
            }
            debug_assert_eq!(node.kind, tree::Kind::Directory);
            let directory = made.remove(path).unwrap_or_default();
            let Node { mode, uid, gid, xattrs, .. } = node;
            let meta = Attributes::of_directory(*mode, *uid, *gid, xattrs.clone()).encode();
            let mut add = |kind, bytes: Vec<u8>| {
                let digest = Sha256::of(&bytes);
                objects.insert(Name { digest, kind }, Object::Bytes(bytes));
                digest
            };
            let pair = (add(Kind::Directory, directory.encode()), add(Kind::DirectoryMeta, meta));
            match parent {
                Some(parent) => {
                    made.entry(parent).or_default().directories.insert(name, pair);
                }
                None => root = Some(pair),
            }
        }
        let (tree, meta) = root.expect("a tree has its root");
        Ok(Self { tree, meta, objects })
    }

    /// What is in the root directory.
    pub fn tree(&self) -> Sha256 {
        self.tree
    }

    /// Owner and mode of the root directory.
    pub fn meta(&self) -> Sha256 {
        self.meta
    }

    /// All objects but the commit's, by name.
    pub fn objects(&self) -> &BTreeMap<Name, Object<'a>> {
        &self.objects
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::tree::Blob;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    fn plan(tree: &Tree) -> Plan<'_> {
        let digest = |_: &Node, header: FileHeader| Ok::<_, Infallible>(header.digest_alone());
        Plan::new(tree, digest).unwrap_or_else(|never| match never {})
    }

    #[test]
    fn names_lead_from_the_root_to_every_file() {
        let mut tree = Tree::new();
        let file = Node::file(Blob { sha256: Sha256::of("x"), size: 1 }, 0o644);
        for text in ["usr/bin/a", "usr/bin/b", "usr-local/c", "d"] {
            tree.insert(path(text), file.clone()).unwrap();
        }
        tree.insert(path("bin"), Node::symlink("usr/bin")).unwrap();
        tree.insert(path("tmp"), Node::directory(0o1777)).unwrap();
        let plan = plan(&tree);
        let directory = |digest: Sha256| {
            let name = Name { digest, kind: Kind::Directory };
            let Object::Bytes(bytes) = &plan.objects()[&name] else { panic!("{name}") };
            Directory::parse(bytes).unwrap()
        };
        let root = directory(plan.tree());
        assert_eq!(root.files.keys().collect::<Vec<_>>(), ["bin", "d"]);
        assert_eq!(root.directories.keys().collect::<Vec<_>>(), ["tmp", "usr", "usr-local"]);
        assert_eq!(directory(root.directories["tmp"].0), Directory::default());
        assert_ne!(root.directories["tmp"].1, plan.meta());
        assert_eq!(root.directories["usr"].1, plan.meta(), "one object for all that are alike");
        let usr = directory(root.directories["usr"].0);
        let bin = directory(usr.directories["bin"].0);
        assert_eq!(bin.files.keys().collect::<Vec<_>>(), ["a", "b"]);
        let files = plan.objects().keys().filter(|name| name.kind == Kind::File);
        assert_eq!(files.count(), 2, "one file four times, and a link");
    }

    #[test]
    fn the_order_of_names_is_that_of_bytes_and_not_of_paths() {
        let mut tree = Tree::new();
        for text in ["a/x", "a-b", "a.b", "a0"] {
            tree.insert(path(text), Node::symlink("x")).unwrap();
        }
        let plan = plan(&tree);
        let name = Name { digest: plan.tree(), kind: Kind::Directory };
        let Object::Bytes(bytes) = &plan.objects()[&name] else { panic!("no bytes") };
        let root = Directory::parse(bytes).unwrap();
        assert_eq!(root.files.keys().collect::<Vec<_>>(), ["a-b", "a.b", "a0"]);
    }
}
