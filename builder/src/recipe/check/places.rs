//! Whether two lines of a recipe want one path of the image, or a path that cannot be.
//!
//! What packages and overlay directories bring is not known here: compose finds those conflicts.

use std::collections::BTreeMap;

use formats::tree::TreePath;

use super::super::model::{Cargo, Go, ImagePath, Local, Name, Recipe, TreeRules};
use super::Check;

/// A line that puts something at a path.
struct Line {
    /// The key of the path or of the program.
    keys: Vec<String>,
    what: What,
}

/// What a line puts there, as far as it can be known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    File,
    Directory,
    Either,
}

pub(super) fn check(check: &mut Check<'_>, recipe: &Recipe) {
    check_lines(check, &recipe.tree, lines(recipe));
    // Each image is a tree of its own, without what the recipe has for the root.
    for (name, image) in &recipe.oci {
        let mut lines = Vec::new();
        components(&mut lines, &["oci", name.as_str()], &image.go, &image.cargo, &image.local);
        check_lines(check, &TreeRules::default(), lines);
    }
}

fn check_lines(check: &mut Check<'_>, rules: &TreeRules, lines: Vec<(&ImagePath, Line)>) {
    let mut taken: BTreeMap<TreePath, Line> = BTreeMap::new();
    for (path, line) in lines {
        let keys: Vec<_> = line.keys.iter().map(String::as_str).collect();
        if let Some(link) = link_above(rules, path) {
            let target = &rules.symlinks[&link];
            let message = format!("`{}` lies behind the link `{}` to `{target}`", path.0, link.0);
            wrong(check, &keys, path, message).hint =
                Some("name the path without the link".to_owned());
        }
        match taken.get(&path.0) {
            Some(first) if first.may_share_with(&line) => {}
            Some(first) if !rules.replace.contains(path) => {
                let message = format!("`{}` is given twice, by `{}` too", path.0, first.name());
                wrong(check, &keys, path, message).hint =
                    Some("if the later one shall win, list the path in `tree.replace`".to_owned());
            }
            _ => {
                taken.insert(path.0.clone(), line);
            }
        }
    }
    for (path, line) in &taken {
        let above = std::iter::successors(path.parent(), TreePath::parent);
        let mut files = above.filter_map(|above| Some((above.clone(), taken.get(&above)?)));
        if let Some((above, by)) = files.find(|(_, by)| by.what == What::File && !by.is_link()) {
            let keys: Vec<_> = line.keys.iter().map(String::as_str).collect();
            let message = format!("`{path}` cannot be: `{}` puts a file at `{above}`", by.name());
            wrong(check, &keys, &ImagePath(path.clone()), message);
        }
    }
}

impl Line {
    fn new(directory: bool, keys: &[&str]) -> Self {
        let what = if directory { What::Directory } else { What::File };
        Self { keys: keys.iter().map(|key| (*key).to_owned()).collect(), what }
    }

    /// Several lines may fill one directory, if at least one of them says that it is one.
    fn may_share_with(&self, other: &Self) -> bool {
        let known = self.what == What::Directory || other.what == What::Directory;
        known && self.what != What::File && other.what != What::File
    }

    fn name(&self) -> String {
        self.keys.join(".")
    }

    fn is_link(&self) -> bool {
        self.keys.get(1).is_some_and(|key| key == "symlinks")
    }
}

fn wrong<'c>(
    check: &'c mut Check<'_>,
    keys: &[&str],
    path: &ImagePath,
    message: String,
) -> &'c mut super::Problem {
    if keys == ["tree", "directories"] {
        let path = path.0.to_string();
        return check.wrong_item(keys, &path, message);
    }
    if keys.starts_with(&["tree", "symlinks"]) {
        return check.wrong_key(keys, message);
    }
    check.wrong(keys, message)
}

/// All lines that put something somewhere in the root, in the order of the model.
fn lines(recipe: &Recipe) -> Vec<(&ImagePath, Line)> {
    let mut lines = Vec::new();
    for path in &recipe.tree.directories {
        lines.push((path, Line::new(true, &["tree", "directories"])));
    }
    for path in recipe.tree.symlinks.keys() {
        lines.push((path, Line::new(false, &["tree", "symlinks", &path.0.to_string()])));
    }
    components(&mut lines, &[], &recipe.go, &recipe.cargo, &recipe.local);
    for (name, url) in &recipe.url {
        for (member, path) in &url.unpack {
            // Which members are directories, the archive alone knows.
            let what = match member.as_str() {
                "." => What::File,
                member if member.ends_with('/') => What::Directory,
                _ => What::Either,
            };
            let keys = ["url", name.as_str(), "unpack", member].map(str::to_owned);
            lines.push((path, Line { keys: keys.to_vec(), what }));
        }
    }
    for (name, image) in &recipe.oci {
        lines.push((&image.at, Line::new(false, &["oci", name.as_str(), "at"])));
    }
    lines
}

/// Lines of the components of the root, or of the image at `keys`.
fn components<'r>(
    lines: &mut Vec<(&'r ImagePath, Line)>,
    keys: &[&str],
    go: &'r BTreeMap<Name, Go>,
    cargo: &'r BTreeMap<Name, Cargo>,
    local: &'r BTreeMap<Name, Local>,
) {
    let programs = go.iter().map(|(name, go)| ("go", name, &go.programs));
    let programs =
        programs.chain(cargo.iter().map(|(name, cargo)| ("cargo", name, &cargo.programs)));
    for (kind, name, programs) in programs {
        for (program, path) in programs {
            let keys = [keys, &[kind, name.as_str(), "programs", program]].concat();
            lines.push((path, Line::new(false, &keys)));
        }
    }
    for (name, local) in local {
        let keys = [keys, &["local", name.as_str(), "at"]].concat();
        lines.push((&local.at, Line::new(!local.path.is_file(), &keys)));
    }
}

/// The link of these rules that `path` leads through.
fn link_above(rules: &TreeRules, path: &ImagePath) -> Option<ImagePath> {
    std::iter::successors(path.0.parent(), TreePath::parent)
        .map(ImagePath)
        .find(|above| rules.symlinks.contains_key(above))
}
