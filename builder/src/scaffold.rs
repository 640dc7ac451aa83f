//! `orlop init`: a new project of a few small files, which extends a recipe of this repository.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use formats::quote;

use crate::durable;
use crate::error::{Context as _, Error, Id, Result};
use crate::recipe;
use crate::recipe::model::Name;
use crate::unfinished::{self, Kind};

/// The recipe that a project extends, below a checkout of this repository.
const BASE: &str = "recipes/node.toml";

/// Makes a project at `directory`, which must not exist or be empty, and returns its files. The
/// project appears whole or not at all.
///
/// It extends `base`; without it, the first `recipes/node.toml` found beside or above one of the
/// paths in `search` (see [`search_paths`]).
///
/// # Errors
/// [`Id::InitInTheWay`], [`Id::InitNoBase`], [`Id::Write`].
pub fn init(directory: &Path, base: Option<&Path>, search: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let base = match base {
        Some(base) => named_base(base)?,
        None => find_base(search)?,
    };
    let target = resolved(directory)?;
    let exists = is_empty_directory(&target, directory)?;
    let files = files(&target, &base);
    let result = if exists { fill(&target, &files) } else { create(&target, &files) };
    result.or_fail(Id::Write, || format!("cannot make the project `{}`", directory.display()))?;
    Ok(files.iter().map(|(path, _)| directory.join(path)).collect())
}

/// Where to look for a checkout: the current directory, then the running program.
pub fn search_paths() -> Vec<PathBuf> {
    [std::env::current_dir(), std::env::current_exe()].into_iter().flatten().collect()
}

fn named_base(base: &Path) -> Result<PathBuf> {
    let file = fs::canonicalize(base).ok().filter(|file| file.is_file());
    file.ok_or_else(|| {
        Error::new(Id::InitNoBase, format!("there is no recipe `{}`", base.display()))
            .hint("`--base` takes the file of a recipe")
    })
}

fn find_base(search: &[PathBuf]) -> Result<PathBuf> {
    let places = search.iter().flat_map(|path| path.ancestors());
    let mut found = places.map(|place| place.join(BASE)).filter(|file| file.is_file());
    found.find_map(|file| fs::canonicalize(file).ok()).ok_or_else(|| {
        Error::new(Id::InitNoBase, format!("there is no `{BASE}` above this directory to extend"))
            .hint("name a recipe with `--base PATH`")
    })
}

/// `directory` without links, though its last part need not exist.
fn resolved(directory: &Path) -> Result<PathBuf> {
    if let Ok(target) = fs::canonicalize(directory) {
        return Ok(target);
    }
    let missing = || format!("cannot make the project `{}`", directory.display());
    let absolute = std::path::absolute(directory).or_fail(Id::Write, missing)?;
    let (Some(parent), Some(Component::Normal(name))) =
        (absolute.parent(), absolute.components().next_back())
    else {
        return Err(Error::new(Id::Write, missing()));
    };
    fs::create_dir_all(parent).or_fail(Id::Write, missing)?;
    Ok(fs::canonicalize(parent).or_fail(Id::Write, missing)?.join(name))
}

fn is_empty_directory(target: &Path, shown: &Path) -> Result<bool> {
    let shown = shown.display();
    let in_the_way = |what: &str| {
        Error::new(Id::InitInTheWay, format!("`{shown}` {what}: nothing is overwritten"))
            .hint("name a directory that does not exist, or an empty one")
    };
    // What an `init` that was killed left there.
    unfinished::clear(target, Kind::Project);
    match fs::read_dir(target).map(Iterator::count) {
        Ok(0) => Ok(true),
        Ok(_) => Err(in_the_way("is not empty")),
        Err(error) if error.kind() == ErrorKind::NotFound && !target.is_symlink() => Ok(false),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Err(in_the_way("is not a directory"))
        }
        Err(error) => Err(in_the_way("cannot be read").caused_by(error)),
    }
}

/// Writes everything beside the target and renames: rename(2) refuses if something has come in
/// the way meanwhile.
fn create(target: &Path, files: &[(&str, String)]) -> std::io::Result<()> {
    let parent = target.parent().unwrap_or(Path::new("/"));
    let beside = unfinished::directory(parent, Kind::Project, 0o777)?;
    write_all(beside.path(), files)?;
    durable::contents(beside.path())?;
    durable::rename(beside.path(), target)?;
    beside.keep();
    Ok(())
}

/// The directory is there already and may be somebody's working directory, so it is not replaced:
/// its entries are moved in, `recipe.toml` last, and taken out again if one fails.
fn fill(target: &Path, files: &[(&str, String)]) -> std::io::Result<()> {
    let inside = unfinished::directory(target, Kind::Project, 0o700)?;
    write_all(inside.path(), files)?;
    durable::contents(inside.path())?;
    let mut names: Vec<_> = files.iter().filter_map(|(path, _)| path.split('/').next()).collect();
    names.sort_by_key(|name| (*name == recipe::FILE_NAME, *name));
    names.dedup();
    for (index, name) in names.iter().enumerate() {
        if let Err(error) = durable::rename(&inside.path().join(name), &target.join(name)) {
            for moved in &names[..index] {
                // The first error is the one to report; what cannot be moved back stays.
                drop(durable::rename(&target.join(moved), &inside.path().join(moved)));
            }
            return Err(error);
        }
    }
    Ok(())
}

fn write_all(directory: &Path, files: &[(&str, String)]) -> std::io::Result<()> {
    for (path, text) in files {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
    }
    Ok(())
}

fn files(target: &Path, base: &Path) -> [(&'static str, String); 4] {
    let directory = target.file_name().unwrap_or_default().to_string_lossy();
    let name = Name::try_from(directory.to_ascii_lowercase())
        .map_or_else(|_| "node".to_owned(), |name| name.to_string());
    let extends = relative(target, base);
    let extends = quote::string(&extends.to_string_lossy());
    let recipe = RECIPE.replace("{name}", &name).replace("{extends}", &extends);
    let readme = README.replace("{name}", &name);
    [
        (recipe::FILE_NAME, recipe),
        ("overlay/etc/containerd/certs.d/registry.example/hosts.toml", HOSTS.to_owned()),
        (".gitignore", "orlop-out/\n".to_owned()),
        ("README.md", readme),
    ]
}

/// The way from `directory` to `file`; both absolute, without links.
fn relative(directory: &Path, file: &Path) -> PathBuf {
    let common = directory.components().zip(file.components()).take_while(|(a, b)| a == b).count();
    let up = directory.components().skip(common).map(|_| Component::ParentDir);
    up.chain(file.components().skip(common)).collect()
}

const RECIPE: &str = r#"# What this image is: everything of the recipe it extends, and what is said here.
# `orlop recipe show` prints the whole, with the line that each value came from.
schema = 1
extends = {extends}
name = "{name}"

[os]
version = "0.1.0"

# Lists are changed, not repeated.
# [kernel]
# modules = { add = ["vxlan"] }
#
# [debian]
# packages = { add = ["iptables"] }

# Files from here, laid over the tree.
[local.overlay]
path = "overlay"
at = "/"

# Chosen by `-p debug`.
[profile.debug.kernel]
command-line = { add = ["orlop.debug"] }
"#;

const HOSTS: &str = r#"# An example of a file from the overlay: how containerd reaches images of `registry.example`.
# It tries the mirror first, then the registry itself.
server = "https://registry.example"

[host."https://mirror.example"]
capabilities = ["pull", "resolve"]
"#;

const README: &str = "# {name}

A node image, built by `orlop` from `recipe.toml`.

| command | what it does |
|---|---|
| `orlop check` | finds what is wrong with the recipe, without building |
| `orlop lock` | pins every package in `orlop.lock`; commit that file |
| `orlop fetch` | brings what the lock names into the store; the last step that needs a network |
| `orlop build` | builds the image into `orlop-out/` |
| `orlop run` | boots it in QEMU, with a pod to show |
| `orlop run --cluster` | boots it as a node of a cluster that is made for it |
| `orlop config example` | prints a node config, which says what a node joins; `orlop run --config` gives it to one |
| `orlop recipe show` | prints the recipe with all that it inherits |

What is below `overlay/` is laid over the image's root.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> PathBuf {
        fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
    }

    fn listing(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_project_is_a_recipe_that_extends_the_base() {
        let directory = tempfile::tempdir().unwrap();
        let project = directory.path().join("Edge-1");
        let files = init(&project, None, &[repository().join("builder/src")]).unwrap();
        assert!(files.iter().all(|file| file.is_file()));
        assert_eq!(listing(&project), [".gitignore", "README.md", "overlay", "recipe.toml"]);
        assert_eq!(listing(directory.path()), ["Edge-1"]);

        let loaded = recipe::load(&project, None).unwrap();
        assert_eq!(loaded.recipe.name.as_str(), "edge-1");
        let base = recipe::load(&repository().join(BASE), None).unwrap();
        assert_eq!(loaded.recipe.debian, base.recipe.debian);
        let mut local = base.recipe.local.clone();
        local.extend(loaded.recipe.local.clone());
        assert_eq!(local.len(), base.recipe.local.len() + 1);
        assert_eq!(loaded.recipe.local, local);
        assert_eq!(loaded.warnings, [""; 0]);
        assert!(crate::lock::path(&loaded).ends_with("Edge-1/orlop.lock"));

        let debug = recipe::load(&project, Some("debug")).unwrap();
        assert!(debug.recipe.kernel.command_line.contains(&"orlop.debug".to_owned()));
        assert_eq!(crate::lock::path(&debug), crate::lock::path(&loaded));
    }

    #[test]
    fn an_empty_directory_is_filled_and_stays_the_same_directory() {
        use std::os::unix::fs::MetadataExt as _;
        let directory = tempfile::tempdir().unwrap();
        let before = fs::metadata(directory.path()).unwrap().ino();
        init(directory.path(), Some(&repository().join(BASE)), &[]).unwrap();
        assert_eq!(fs::metadata(directory.path()).unwrap().ino(), before);
        assert_eq!(
            listing(directory.path()),
            [".gitignore", "README.md", "overlay", "recipe.toml"]
        );
        recipe::load(directory.path(), None).unwrap();
    }

    #[test]
    fn nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "mine").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        for target in [directory.path(), &file, &link] {
            let error = init(target, Some(&repository().join(BASE)), &[]).unwrap_err();
            assert_eq!(error.id(), Id::InitInTheWay, "{}", target.display());
        }
        assert_eq!(fs::read(&file).unwrap(), b"mine");
        assert_eq!(listing(directory.path()), ["file", "link"]);
    }

    #[test]
    fn without_a_recipe_to_extend_nothing_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let project = directory.path().join("project");
        for (base, search) in [
            (None, vec![directory.path().to_owned()]),
            (Some(directory.path().join("none.toml")), vec![repository()]),
        ] {
            let error = init(&project, base.as_deref(), &search).unwrap_err();
            assert_eq!(error.id(), Id::InitNoBase);
        }
        assert_eq!(listing(directory.path()), [""; 0]);
    }

    #[test]
    fn the_way_to_the_base_is_the_shortest() {
        for (directory, file, want) in [
            ("/a/b", "/a/b/r.toml", "r.toml"),
            ("/a/b", "/a/c/r.toml", "../c/r.toml"),
            ("/x", "/a/r.toml", "../a/r.toml"),
        ] {
            assert_eq!(relative(Path::new(directory), Path::new(file)), Path::new(want));
        }
    }
}
