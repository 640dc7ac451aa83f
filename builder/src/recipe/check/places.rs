//! Whether two lines of a recipe want one path of the image, or a path that cannot be.
//!
//! What packages and overlay directories bring is not known here: compose finds those conflicts.

use std::collections::BTreeMap;

use formats::tree::TreePath;

use super::super::model::{ImagePath, Recipe};
use super::Check;

/// A line that puts something at a path.
struct Line {
    /// The key of the path or of the program.
    keys: Vec<String>,
    directory: bool,
}

pub(super) fn check(check: &mut Check<'_>, recipe: &Recipe) {
    let mut taken: BTreeMap<TreePath, Line> = BTreeMap::new();
    for (path, line) in lines(recipe) {
        let keys: Vec<_> = line.keys.iter().map(String::as_str).collect();
        if let Some(link) = link_above(recipe, path) {
            let target = &recipe.tree.symlinks[&link];
            let message = format!("`{}` lies behind the link `{}` to `{target}`", path.0, link.0);
            wrong(check, &keys, path, message).hint =
                Some("name the path without the link".to_owned());
        }
        match taken.get(&path.0) {
            Some(first) if first.directory && line.directory => {}
            Some(first) if !recipe.tree.replace.contains(path) => {
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
        if let Some((above, by)) = files.find(|(_, by)| !by.directory && !by.is_link()) {
            let keys: Vec<_> = line.keys.iter().map(String::as_str).collect();
            let message = format!("`{path}` cannot be: `{}` puts a file at `{above}`", by.name());
            wrong(check, &keys, &ImagePath(path.clone()), message);
        }
    }
}

impl Line {
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

/// All lines that put something somewhere, in the order of the model.
fn lines(recipe: &Recipe) -> Vec<(&ImagePath, Line)> {
    let mut lines = Vec::new();
    let mut add = |path, directory, keys: &[&str]| {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        lines.push((path, Line { keys, directory }));
    };
    for path in &recipe.tree.directories {
        add(path, true, &["tree", "directories"]);
    }
    for path in recipe.tree.symlinks.keys() {
        add(path, false, &["tree", "symlinks", &path.0.to_string()]);
    }
    for (name, go) in &recipe.go {
        for (program, path) in &go.programs {
            add(path, false, &["go", name.as_str(), "programs", program]);
        }
    }
    for (name, cargo) in &recipe.cargo {
        for (program, path) in &cargo.programs {
            add(path, false, &["cargo", name.as_str(), "programs", program]);
        }
    }
    for (name, url) in &recipe.url {
        for (member, path) in &url.unpack {
            add(path, false, &["url", name.as_str(), "unpack", member]);
        }
    }
    for (name, local) in &recipe.local {
        add(&local.at, !local.path.is_file(), &["local", name.as_str(), "at"]);
    }
    lines
}

/// The link of this recipe that `path` leads through.
fn link_above(recipe: &Recipe, path: &ImagePath) -> Option<ImagePath> {
    std::iter::successors(path.0.parent(), TreePath::parent)
        .map(ImagePath)
        .find(|above| recipe.tree.symlinks.contains_key(above))
}
