//! Lays the components' nodes over one another and remembers who brought what.
//!
//! Two components that give one path conflict, unless they give the same (kind, content, mode,
//! owner and attributes) or the recipe lists the path in `replace`. All conflicts are told at once.

use std::collections::{BTreeMap, BTreeSet};

use formats::tree::{Kind, Node, Tree, TreePath};

use crate::error::{Error, Id, Result};

/// A tree and where each of its paths comes from.
#[derive(Debug, Default)]
pub struct Layers {
    tree: Tree,
    owners: BTreeMap<TreePath, String>,
    replace: BTreeSet<TreePath>,
    replaced: BTreeSet<TreePath>,
    conflicts: Vec<String>,
    cures: BTreeSet<String>,
}

impl Layers {
    /// An empty tree. `replace` lists the paths that a later component may give again.
    pub fn new(replace: BTreeSet<TreePath>) -> Self {
        Self { replace, ..Self::default() }
    }

    /// Lays one component over what is there. What cannot be where the component has it is
    /// collected for [`Layers::finish`].
    pub fn add(&mut self, owner: &str, nodes: impl IntoIterator<Item = (TreePath, Node)>) {
        for (path, node) in nodes {
            self.add_one(owner, path, node);
        }
    }

    fn add_one(&mut self, owner: &str, path: TreePath, node: Node) {
        if let (Some(there), Some(first)) = (self.tree.get(&path), self.owners.get(&path)) {
            if *there == node {
                return;
            }
            if self.replace.contains(&path) {
                self.replaced.insert(path.clone());
            } else {
                let conflict = conflict(&path, (there, first), (&node, owner));
                self.conflicts.push(conflict);
                self.cures.insert(REPLACE.to_owned());
                return;
            }
        }
        let above = std::iter::successors(path.parent(), TreePath::parent);
        let blocked = above.into_iter().find_map(|above| match &self.tree.get(&above)?.kind {
            Kind::Directory => None,
            kind => Some((above, kind)),
        });
        if let Some((above, kind)) = blocked {
            let first = self.owners.get(&above).map_or("nobody", String::as_str);
            let what = match kind {
                Kind::Symlink(target) => {
                    self.cures.insert(format!(
                        "{above} is a link to `{target}`: what is below it belongs where it leads"
                    ));
                    "a link"
                }
                _ => {
                    self.cures.insert(format!(
                        "drop {above} or what is below it: it cannot be a file and a directory"
                    ));
                    "a file"
                }
            };
            self.conflicts
                .push(format!("{path} from {owner} lies behind {above}, {what} from {first}"));
            return;
        }
        match self.tree.insert(path.clone(), node) {
            Ok(()) => drop(self.owners.insert(path, owner.to_owned())),
            // It has children of others.
            Err(error) => {
                self.cures.insert(format!(
                    "drop what is below {path}: it cannot be a directory and something else"
                ));
                self.conflicts.push(format!("{path} cannot come from {owner}: {error}"));
            }
        }
    }

    /// Whether `owner` may make what belongs at `path` of the finished tree: not if somebody gives
    /// the path who may by `replace`. Who may not is a conflict.
    pub fn leaves(&mut self, path: &TreePath, owner: &str) -> bool {
        let Some(first) = self.owners.get(path) else { return true };
        if self.replace.contains(path) {
            self.replaced.insert(path.clone());
        } else {
            self.conflicts.push(format!("{path} comes from {first} and from {owner}"));
            self.cures.insert(REPLACE.to_owned());
        }
        false
    }

    /// The tree that grew, with the owner of each path, and what is worth a look.
    ///
    /// # Errors
    /// [`Id::TreeConflict`] with every conflict.
    pub fn finish(self) -> Result<(Tree, BTreeMap<TreePath, String>, Vec<String>)> {
        if !self.conflicts.is_empty() {
            let message = format!("components conflict:\n  {}", self.conflicts.join("\n  "));
            let error = Error::new(Id::TreeConflict, message);
            return Err(self.cures.into_iter().fold(error, Error::hint));
        }
        let idle = self.replace.difference(&self.replaced);
        let warnings =
            idle.map(|path| format!("`[tree] replace` lists {path}: nothing conflicts there"));
        Ok((self.tree, self.owners, warnings.collect()))
    }
}

/// The cure for what two components give.
const REPLACE: &str = "list the path in `[tree] replace` if the later one is right";

/// What two components give, as far as it differs.
fn conflict(path: &TreePath, one: (&Node, &str), two: (&Node, &str)) -> String {
    let ((first, from), (second, and_from)) = (one, two);
    let told = |node: &Node| match &node.kind {
        Kind::Symlink(target) => format!("a link to `{target}`"),
        kind => {
            let what = if *kind == Kind::Directory { "a directory" } else { "a file" };
            let Node { mode, uid, gid, .. } = node;
            let owner =
                if (*uid, *gid) == (0, 0) { String::new() } else { format!(" of {uid}:{gid}") };
            format!("{what} of mode {mode:04o}{owner}")
        }
    };
    match (told(first), told(second)) {
        (one, two) if one == two => format!("{path} comes from {from} and from {and_from}"),
        (one, two) => format!("{path} is {one} from {from} and {two} from {and_from}"),
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
        layers.add("runc", [(path("usr/bin/runc"), file("runc"))]);
        layers.add("overlay", [(path("etc/motd"), file("hello"))]);
        let (tree, owners, warnings) = layers.finish().unwrap();
        assert_eq!(tree.get(&path("etc/motd")), Some(&file("hello")));
        assert_eq!(owners[&path("usr/bin/runc")], "runc");
        assert!(warnings.is_empty());
    }

    #[test]
    fn two_files_at_one_path_conflict_and_all_conflicts_are_told() {
        let mut layers = Layers::default();
        layers.add("one", [(path("a"), file("1")), (path("b"), file("1"))]);
        layers.add("two", [(path("a"), file("2")), (path("b"), file("2"))]);
        let error = layers.finish().unwrap_err();
        assert_eq!(error.id(), Id::TreeConflict);
        assert_eq!(
            error.to_string(),
            "components conflict:\n  /a comes from one and from two\n  /b comes from one and from two"
        );
    }

    #[test]
    fn the_same_node_twice_is_no_conflict() {
        let mut layers = Layers::default();
        for owner in ["one", "two"] {
            let nodes = [(path("usr"), Node::directory(0o755)), (path("a"), file("1"))];
            layers.add(owner, nodes);
        }
        let (tree, owners, _) = layers.finish().unwrap();
        assert_eq!(tree.get(&path("usr")), Some(&Node::directory(0o755)));
        assert_eq!(owners[&path("a")], "one");
    }

    #[test]
    fn a_directory_that_differs_is_a_conflict_like_a_file_unless_it_may_be_replaced() {
        let nodes = |mode, uid| [(path("d"), Node { uid, ..Node::directory(mode) })];
        let lay = |replace: &[&str]| {
            let mut layers = Layers::new(replace.iter().map(|text| path(text)).collect());
            layers.add("one", nodes(0o755, 0));
            layers.add("one", [(path("d/x"), file("x"))]);
            layers.add("two", nodes(0o700, 0));
            layers.add("three", nodes(0o700, 5));
            layers.finish()
        };
        assert_eq!(
            lay(&[]).unwrap_err().to_string(),
            "components conflict:\n  \
             /d is a directory of mode 0755 from one and a directory of mode 0700 from two\n  \
             /d is a directory of mode 0755 from one and a directory of mode 0700 of 5:0 from three"
        );
        let (tree, owners, _) = lay(&["d"]).unwrap();
        assert_eq!(tree.get(&path("d")).unwrap().uid, 5);
        assert_eq!(owners[&path("d")], "three");
        assert_eq!(tree.get(&path("d/x")), Some(&file("x")));
    }

    #[test]
    fn a_directory_that_nobody_gave_takes_the_mode_of_who_gives_it() {
        let mut layers = Layers::default();
        layers.add("one", [(path("d/x"), file("x"))]);
        layers.add("two", [(path("d"), Node::directory(0o700))]);
        let (tree, ..) = layers.finish().unwrap();
        assert_eq!(tree.get(&path("d")), Some(&Node::directory(0o700)));
    }

    #[test]
    fn replace_lets_the_later_one_win_and_an_idle_one_is_told() {
        let mut layers = Layers::new([path("a"), path("b")].into());
        layers.add("one", [(path("a"), file("1"))]);
        layers.add("two", [(path("a"), file("2"))]);
        let (tree, owners, warnings) = layers.finish().unwrap();
        assert_eq!(tree.get(&path("a")), Some(&file("2")));
        assert_eq!(owners[&path("a")], "two");
        assert_eq!(warnings, ["`[tree] replace` lists /b: nothing conflicts there"]);
    }

    #[test]
    fn all_that_is_in_the_way_is_told_at_once_with_the_cure() {
        let mut layers = Layers::new([path("full")].into());
        let link = |target: &str| Node::symlink(target);
        layers.add("recipe", [(path("lib"), link("usr/lib")), (path("bin"), link("usr/bin"))]);
        layers.add("one", [(path("file"), file("1")), (path("full/x"), file("x"))]);
        layers.add("one", [(path("full"), Node::directory(0o755))]);
        layers.add(
            "two",
            [
                (path("lib/a"), file("a")),
                (path("lib/b"), file("b")),
                (path("bin"), link("../usr/bin")),
                (path("file/x"), file("x")),
                (path("full"), file("x")),
            ],
        );
        let error = layers.finish().unwrap_err();
        assert_eq!(
            error.to_string(),
            "components conflict:\n  \
             /lib/a from two lies behind /lib, a link from recipe\n  \
             /lib/b from two lies behind /lib, a link from recipe\n  \
             /bin is a link to `usr/bin` from recipe and a link to `../usr/bin` from two\n  \
             /file/x from two lies behind /file, a file from one\n  \
             /full cannot come from two: /full is a directory that is not empty"
        );
        assert_eq!(
            error.hints(),
            [
                "/lib is a link to `usr/lib`: what is below it belongs where it leads",
                "drop /file or what is below it: it cannot be a file and a directory",
                "drop what is below /full: it cannot be a directory and something else",
                "list the path in `[tree] replace` if the later one is right",
            ]
        );
    }

    #[test]
    fn what_is_made_of_the_finished_tree_gives_way_to_who_may_replace_it() {
        let leave = |replace: &[&str]| {
            let mut layers = Layers::new(replace.iter().map(|text| path(text)).collect());
            layers.add("one", [(path("bundle"), file("1"))]);
            assert!(layers.leaves(&path("other"), "ca-bundle"));
            assert!(!layers.leaves(&path("bundle"), "ca-bundle"));
            layers.finish().map(|(_, _, warnings)| warnings)
        };
        assert_eq!(leave(&["bundle"]).unwrap(), [""; 0]);
        assert_eq!(
            leave(&[]).unwrap_err().to_string(),
            "components conflict:\n  /bundle comes from one and from ca-bundle"
        );
    }
}
