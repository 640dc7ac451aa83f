//! Reads the manifests of a Cargo workspace: which directories one package is built from.
//!
//! `cargo metadata` would know too, and would cost a process each time to find that nothing has
//! changed. What is read here is the part of the format that leads to directories:
//! <https://doc.rust-lang.org/cargo/reference/specifying-dependencies.html>.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::error::{Context as _, Error, Id, Result};
use crate::source::files;

/// The directories of a package and of all workspace packages that it depends on, relative to
/// the workspace, sorted.
///
/// # Errors
/// [`Id::Read`]; [`Id::CargoPackage`] if the workspace has no such package, a manifest is not
/// understood, or a dependency lies outside the workspace.
pub(super) fn directories(workspace: &Path, package: &str) -> Result<Vec<PathBuf>> {
    let root = manifest(workspace)?;
    let members = members(workspace, &root)?;
    let Some(directory) = members.get(package) else {
        let names: Vec<_> = members.keys().map(|name| format!("`{name}`")).collect();
        let message = format!("the workspace `{}` has no package `{package}`", workspace.display());
        return Err(
            Error::new(Id::CargoPackage, message).hint(format!("it has {}", names.join(", ")))
        );
    };
    let shared = table(&root, &["workspace", "dependencies"]);
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.clone()];
    for (_, patches) in table(&root, &["patch"]).into_iter().flatten() {
        for (_, patch) in patches.as_table().into_iter().flatten() {
            waiting.extend(path_of(patch).map(|path| workspace.join(path)));
        }
    }
    while let Some(directory) = waiting.pop() {
        let relative = inside(workspace, &directory)?;
        if found.contains_key(&relative) {
            continue;
        }
        let manifest = manifest(&directory)?;
        for (name, dependency) in dependencies(&manifest) {
            if inherits(dependency) {
                let shared = shared.and_then(|shared| shared.get(name));
                waiting.extend(shared.and_then(path_of).map(|path| workspace.join(path)));
            } else {
                waiting.extend(path_of(dependency).map(|path| directory.join(path)));
            }
        }
        found.insert(relative, ());
    }
    Ok(found.into_keys().collect())
}

/// The directories of the workspace's packages, by package.
fn members(workspace: &Path, root: &Table) -> Result<BTreeMap<String, PathBuf>> {
    let mut directories = vec![workspace.to_owned()];
    let listed = table(root, &["workspace"]).and_then(|table| table.get("members"));
    for member in listed.and_then(Value::as_array).into_iter().flatten() {
        match member.as_str().map(|member| (member, member.strip_suffix("/*"))) {
            Some((_, Some(parent))) => {
                let entries = files::entries(&workspace.join(parent))?;
                let packages = entries.into_iter().map(|(_, path)| path);
                directories.extend(packages.filter(|path| path.join("Cargo.toml").is_file()));
            }
            Some((member, None)) => directories.push(workspace.join(member)),
            None => {}
        }
    }
    let mut members = BTreeMap::new();
    for directory in directories {
        let manifest = manifest(&directory)?;
        let name = table(&manifest, &["package"]).and_then(|package| package.get("name"));
        if let Some(name) = name.and_then(Value::as_str) {
            members.insert(name.to_owned(), directory);
        }
    }
    Ok(members)
}

fn manifest(directory: &Path) -> Result<Table> {
    let path = directory.join("Cargo.toml");
    files::text(&path)?
        .parse()
        .or_fail(Id::CargoPackage, || format!("cannot understand `{}`", path.display()))
}

/// What the package is built with: `dev-dependencies` are for its tests alone.
fn dependencies(manifest: &Table) -> impl Iterator<Item = (&String, &Value)> {
    let targets = table(manifest, &["target"]).into_iter().flatten();
    let tables = targets.filter_map(|(_, target)| target.as_table()).chain([manifest]);
    tables
        .flat_map(|within| ["dependencies", "build-dependencies"].map(|kind| within.get(kind)))
        .flatten()
        .filter_map(Value::as_table)
        .flatten()
}

fn inherits(dependency: &Value) -> bool {
    dependency.get("workspace").and_then(Value::as_bool) == Some(true)
}

fn path_of(dependency: &Value) -> Option<&str> {
    dependency.get("path").and_then(Value::as_str)
}

fn table<'a>(within: &'a Table, keys: &[&str]) -> Option<&'a Table> {
    keys.iter().try_fold(within, |table, key| table.get(*key)?.as_table())
}

fn inside(workspace: &Path, directory: &Path) -> Result<PathBuf> {
    let real = |path: &Path| {
        path.canonicalize().or_fail(Id::Read, || format!("cannot read `{}`", path.display()))
    };
    let directory = real(directory)?;
    directory.strip_prefix(real(workspace)?).map(Path::to_owned).map_err(|_| {
        let message =
            format!("`{}` is outside the workspace `{}`", directory.display(), workspace.display());
        Error::new(Id::CargoPackage, message).hint("move the package into the workspace")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn workspace(manifests: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in manifests {
            let path = directory.path().join(path);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("Cargo.toml"), text).unwrap();
        }
        directory
    }

    fn names(workspace: &Path, package: &str) -> Result<Vec<String>> {
        let directories = directories(workspace, package)?;
        Ok(directories.iter().map(|path| path.to_str().unwrap().to_owned()).collect())
    }

    const ROOT: &str = "[workspace]\nmembers = ['init', 'libs/*']\n\
        [workspace.dependencies]\nformats = { path = 'libs/formats' }\nserde = '1'\n\
        [patch.crates-io]\nserde = { path = 'vendor/serde' }\n";

    #[test]
    fn all_ways_to_name_a_path_lead_to_its_directory() {
        let directory = workspace(&[
            ("", ROOT),
            (
                "init",
                "[package]\nname = 'init'\n[dependencies]\nformats.workspace = true\nserde = '1'\n\
                 [target.'cfg(unix)'.dependencies]\nunix = { path = '../libs/unix' }\n\
                 [dev-dependencies]\ntesting = { path = '../libs/testing' }\n",
            ),
            (
                "libs/formats",
                "[package]\nname = 'formats'\n[build-dependencies.gen]\npath = '../gen'\n",
            ),
            ("libs/gen", "[package]\nname = 'gen'\n"),
            ("libs/testing", "[package]\nname = 'testing'\n"),
            ("libs/unix", "[package]\nname = 'unix'\n[dependencies]\nserde.workspace = true\n"),
            ("vendor/serde", "[package]\nname = 'serde'\n"),
        ]);
        fs::create_dir(directory.path().join("libs/no-package")).unwrap();
        let want = ["init", "libs/formats", "libs/gen", "libs/unix", "vendor/serde"];
        assert_eq!(names(directory.path(), "init").unwrap(), want);
        assert_eq!(names(directory.path(), "gen").unwrap(), ["libs/gen", "vendor/serde"]);
    }

    #[test]
    fn what_leads_nowhere_is_named() {
        let directory = workspace(&[
            ("w", "[workspace]\nmembers = ['a', 'b']\n[package]\nname = 'root'\n"),
            ("w/a", "[package]\nname = 'a'\n[dependencies]\no = { path = '../../outside' }\n"),
            ("w/b", "[package]\nname = 'b'\n[dependencies]\no = { path = '../absent' }\n"),
            ("outside", "[package]\nname = 'o'\n"),
            ("broken", "[package"),
        ]);
        let path = directory.path().join("w");
        let error = names(&path, "c").unwrap_err();
        assert_eq!(error.id(), Id::CargoPackage);
        assert_eq!(error.hints(), ["it has `a`, `b`, `root`"]);
        assert!(names(&path, "a").unwrap_err().to_string().contains("is outside the workspace"));
        assert_eq!(names(&path, "b").unwrap_err().id(), Id::Read);
        let error = names(&directory.path().join("broken"), "c").unwrap_err();
        assert_eq!(error.id(), Id::CargoPackage);
        assert_eq!(names(&path, "root").unwrap(), [""]);
    }

    #[test]
    fn this_workspace_is_understood() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert_eq!(names(workspace, "init").unwrap(), ["cri", "formats", "init"]);
    }
}
