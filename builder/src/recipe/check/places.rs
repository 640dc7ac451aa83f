//! Whether two lines of a recipe want one path of the image, or a path that cannot be. What an
//! overlay's directory holds counts as its line's.
//!
//! What packages bring is not known here: compose finds those conflicts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use formats::tree::TreePath;

use super::super::model::{Cargo, Go, ImagePath, Local, Name, Recipe, TreeRules};
use super::Check;
use crate::digest;
use crate::kata;
use crate::source::local::{self, FoundKind};

/// A line that puts something at a path.
struct Line {
    /// The key of the path or of the program.
    keys: Vec<String>,
    what: What,
}

/// What it puts there, as far as it is known.
#[derive(Clone, PartialEq, Eq)]
enum What {
    /// Mode, user and group.
    Directory(u16, (u32, u32)),
    /// Its target.
    Link(String),
    /// A file of an overlay: where it is, mode, user and group.
    Overlay(PathBuf, u16, (u32, u32)),
    /// A file that is made or fetched.
    File,
    /// A directory or a file, as an archive has it.
    Either,
}

/// What is made whatever the recipe says, and the table that shapes it.
const MADE: [(&str, &str); 4] = [
    ("/etc/group", "users"),
    ("/etc/passwd", "users"),
    ("/usr/lib/orlop/time-floor", "debian"),
    ("/usr/lib/os-release", "os"),
];

pub(super) fn check(check: &mut Check<'_>, recipe: &Recipe) {
    let lines = lines(check, recipe);
    check_lines(check, &recipe.tree, lines);
    // Each image is a tree of its own, without what the recipe has for the root.
    for (name, image) in &recipe.oci {
        let mut lines = Vec::new();
        let keys = ["oci", name.as_str()];
        components(check, &mut lines, &keys, &image.go, &image.cargo, &image.local);
        check_lines(check, &TreeRules::default(), lines);
    }
}

fn check_lines(check: &mut Check<'_>, rules: &TreeRules, lines: Vec<(ImagePath, Line)>) {
    let mut taken: BTreeMap<TreePath, Line> = BTreeMap::new();
    // By line and link: the first path, and how many more.
    let mut behind: BTreeMap<(Vec<String>, ImagePath), (ImagePath, usize)> = BTreeMap::new();
    for (path, line) in lines {
        let keys: Vec<_> = line.keys.iter().map(String::as_str).collect();
        if path.0 == TreePath::ROOT && !matches!(line.what, What::Directory(..) | What::Either) {
            wrong(check, &keys, &path, "`/` is a directory, and always there".to_owned());
            continue;
        }
        if let Some(link) = link_above(rules, &path) {
            behind
                .entry((line.keys.clone(), link))
                .and_modify(|(_, more)| *more += 1)
                .or_insert((path, 0));
            continue;
        }
        match taken.get(&path.0) {
            Some(first) if first.what.agrees(&line.what) => {}
            Some(first) if !rules.replace.contains(&path) => {
                let message = format!("`{}` is given twice, by `{}` too", path.0, first.name());
                wrong(check, &keys, &path, message).hint =
                    Some("if the later one shall win, list the path in `tree.replace`".to_owned());
            }
            _ => {
                taken.insert(path.0.clone(), line);
            }
        }
    }
    for ((keys, link), (path, more)) in behind {
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let target = &rules.symlinks[&link];
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        let message = format!("`{}`{more} lies behind the link `{}` to `{target}`", path.0, link.0);
        wrong(check, &keys, &path, message).hint =
            Some("name the path without the link".to_owned());
    }
    for (path, line) in &taken {
        let above = std::iter::successors(path.parent(), TreePath::parent);
        let mut files = above.filter_map(|above| Some((above.clone(), taken.get(&above)?)));
        // Of the links, those of `tree.symlinks` were told already.
        let in_the_way = |by: &Line| match by.what {
            What::Directory(..) | What::Either => false,
            What::Link(_) => by.keys[0] != "tree",
            What::Overlay(..) | What::File => true,
        };
        if let Some((above, by)) = files.find(|(_, by)| in_the_way(by)) {
            let keys: Vec<_> = line.keys.iter().map(String::as_str).collect();
            let what = if matches!(by.what, What::Link(_)) { "a link" } else { "a file" };
            let message = format!("`{path}` cannot be: `{}` puts {what} at `{above}`", by.name());
            wrong(check, &keys, &ImagePath(path.clone()), message);
        }
    }
}

impl What {
    const DIRECTORY: Self = Self::Directory(0o755, (0, 0));

    /// Whether the two are the same thing; files are read only if nothing else tells.
    fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Overlay(one, mode, owner), Self::Overlay(two, other_mode, other_owner)) => {
                let content = |path| digest::of_file(path, |_| ()).ok();
                (mode, owner) == (other_mode, other_owner) && content(one) == content(two)
            }
            // Several lines may fill one directory, if at least one of them says that it is one.
            (Self::Directory(..), Self::Either) | (Self::Either, Self::Directory(..)) => true,
            // Two programs at one path are never meant to be one.
            (Self::File | Self::Either, _) => false,
            (one, two) => one == two,
        }
    }
}

impl Line {
    fn new(what: What, keys: &[&str]) -> Self {
        Self { keys: keys.iter().map(|key| (*key).to_owned()).collect(), what }
    }

    fn name(&self) -> String {
        self.keys.join(".")
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

/// All lines that put something somewhere in the root, in the order in which they are laid.
fn lines(check: &mut Check<'_>, recipe: &Recipe) -> Vec<(ImagePath, Line)> {
    let mut lines = Vec::new();
    for path in &recipe.tree.directories {
        lines.push((path.clone(), Line::new(What::DIRECTORY, &["tree", "directories"])));
    }
    for (path, target) in &recipe.tree.symlinks {
        let keys = ["tree", "symlinks", &path.0.to_string()];
        lines.push((path.clone(), Line::new(What::Link(target.clone()), &keys)));
    }
    let made = |path: &str| ImagePath(TreePath::new(path).unwrap_or(TreePath::ROOT));
    for (path, table) in MADE {
        lines.push((made(path), Line::new(What::File, &[table])));
    }
    let link = What::Link("../usr/lib/os-release".to_owned());
    lines.push((made("/etc/os-release"), Line::new(link, &["os"])));
    components(check, &mut lines, &[], &recipe.go, &recipe.cargo, &BTreeMap::new());
    for (name, url) in &recipe.url {
        for (member, path) in &url.unpack {
            // Which members are directories, the archive alone knows.
            let what = match member.as_str() {
                "." => What::File,
                member if member.ends_with('/') => What::DIRECTORY,
                _ => What::Either,
            };
            let keys = ["url", name.as_str(), "unpack", member];
            lines.push((path.clone(), Line::new(what, &keys)));
        }
    }
    if let Some(at) = recipe.kata.as_ref().map(|kata| &kata.at) {
        lines.push((at.clone(), Line::new(What::Either, &["kata", "at"])));
        for path in kata::made() {
            lines.push((made(path), Line::new(What::File, &["kata"])));
        }
    }
    let none = (BTreeMap::new(), BTreeMap::new());
    components(check, &mut lines, &[], &none.0, &none.1, &recipe.local);
    for (name, image) in &recipe.oci {
        let line = Line::new(What::File, &["oci", name.as_str(), "at"]);
        lines.push((image.at.clone(), line));
    }
    for (name, profile) in &recipe.apparmor {
        let line = Line::new(What::File, &["apparmor", name.as_str(), "at"]);
        lines.push((profile.at.clone(), line));
    }
    if let Some(bundle) = &recipe.tree.ca_bundle {
        let line = Line::new(What::File, &["tree", "ca-bundle", "at"]);
        lines.push((bundle.at.clone(), line));
        if bundle.from.0 == TreePath::ROOT {
            let keys = ["tree", "ca-bundle", "from"];
            check.wrong(&keys, "`tree.ca-bundle.from` goes, and `/` must stay");
        }
    }
    lines
}

/// Lines of the components of the root, or of the image at `keys`.
fn components(
    check: &mut Check<'_>,
    lines: &mut Vec<(ImagePath, Line)>,
    keys: &[&str],
    go: &BTreeMap<Name, Go>,
    cargo: &BTreeMap<Name, Cargo>,
    local: &BTreeMap<Name, Local>,
) {
    let programs = go.iter().map(|(name, go)| ("go", name, &go.programs));
    let programs =
        programs.chain(cargo.iter().map(|(name, cargo)| ("cargo", name, &cargo.programs)));
    for (kind, name, programs) in programs {
        for (program, path) in programs {
            let keys = [keys, &[kind, name.as_str(), "programs", program]].concat();
            lines.push((path.clone(), Line::new(What::File, &keys)));
        }
    }
    for (name, local) in local {
        overlay(check, lines, &[keys, &["local", name.as_str()]].concat(), local);
    }
}

/// What a `local` component puts where; what it cannot is noted.
fn overlay(
    check: &mut Check<'_>,
    lines: &mut Vec<(ImagePath, Line)>,
    keys: &[&str],
    local: &Local,
) {
    // That it is not there was told.
    if !local.path.exists() {
        return;
    }
    let found = match local::scan(local) {
        Ok(found) => found,
        Err(error) => {
            let problem = check.wrong(&[keys, &["path"]].concat(), error.chain());
            problem.hint = error.hints().first().cloned();
            return;
        }
    };
    let mut whole = 0;
    let part = if local.path.is_dir() { "path" } else { "at" };
    let keys = [keys, &[part]].concat();
    for (path, found) in found {
        let what = match found.kind {
            FoundKind::Directory => What::Directory(found.mode, found.owner),
            FoundKind::Symlink(target) => What::Link(target),
            FoundKind::File { path, size } => {
                whole += size;
                What::Overlay(path, found.mode, found.owner)
            }
        };
        lines.push((ImagePath(path), Line::new(what, &keys)));
    }
    let slot = check.loaded.recipe.disk.root;
    if whole > slot.bytes() {
        let message = format!(
            "`{}` has {} MiB of files, and a slot has {slot}",
            local.path.display(),
            whole.div_ceil(1 << 20)
        );
        check.wrong(&keys, message).hint = Some("raise `root` in `[disk]`".to_owned());
    }
}

/// The link of these rules that `path` leads through.
fn link_above(rules: &TreeRules, path: &ImagePath) -> Option<ImagePath> {
    std::iter::successors(path.0.parent(), TreePath::parent)
        .map(ImagePath)
        .find(|above| rules.symlinks.contains_key(above))
}
