//! One `Cargo.toml`: the part of the format that leads to other directories and to programs.
//! <https://doc.rust-lang.org/cargo/reference/manifest.html>

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use toml::{Table, Value};

use crate::error::{Context as _, Id, Result};

/// A manifest that was read.
#[derive(Debug, Clone)]
pub(super) struct Manifest(Table);

/// A dependency, as far as it may lie in a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dependency<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    value: &'a Value,
}

/// What a dependency is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The package and its build script.
    Build,
    /// Its tests alone.
    Development,
}

/// Tables of dependencies. The spellings with `_` are old, and Cargo still reads them.
const TABLES: [(&str, Kind); 5] = [
    ("dependencies", Kind::Build),
    ("build-dependencies", Kind::Build),
    ("build_dependencies", Kind::Build),
    ("dev-dependencies", Kind::Development),
    ("dev_dependencies", Kind::Development),
];

impl Manifest {
    /// Reads the manifest in `directory`.
    ///
    /// # Errors
    /// [`Id::Read`]; [`Id::CargoPackage`] if it is not TOML.
    pub(super) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("Cargo.toml");
        let text = fs::read_to_string(&path)
            .or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?;
        let table = text
            .parse()
            .or_fail(Id::CargoPackage, || format!("cannot understand `{}`", path.display()))?;
        Ok(Self(table))
    }

    /// The name of the package, if it is one and not the root of a workspace alone.
    pub(super) fn package(&self) -> Option<&str> {
        self.table(&["package"])?.get("name")?.as_str()
    }

    /// Where `package.workspace` says that the root of the workspace is.
    pub(super) fn root_pointer(&self) -> Option<&str> {
        self.table(&["package"])?.get("workspace")?.as_str()
    }

    /// Whether it is the root of a workspace.
    pub(super) fn is_root(&self) -> bool {
        self.table(&["workspace"]).is_some()
    }

    /// A list of `[workspace]`, such as `members`.
    pub(super) fn list(&self, key: &str) -> Vec<&str> {
        let list = self.table(&["workspace"]).and_then(|table| table.get(key));
        let list = list.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).collect()
    }

    /// A profile that programs can be built with.
    pub(super) fn has_profile(&self, name: &str) -> bool {
        self.table(&["profile", name]).is_some()
    }

    /// All dependencies, on every platform.
    pub(super) fn dependencies(&self) -> impl Iterator<Item = Dependency<'_>> {
        let targets = self.table(&["target"]).into_iter().flatten();
        let within = targets.filter_map(|(_, target)| target.as_table()).chain([&self.0]);
        within.flat_map(|within| TABLES.map(|(table, kind)| (within.get(table), kind))).flat_map(
            |(table, kind)| {
                let entries = table.and_then(Value::as_table).into_iter().flatten();
                entries.map(move |(name, value)| Dependency { name, kind, value })
            },
        )
    }

    /// Where a dependency of `[workspace.dependencies]` lies, if in a directory.
    pub(super) fn shared_path(&self, name: &str) -> Option<&str> {
        path(self.table(&["workspace", "dependencies"])?.get(name)?)
    }

    /// Directories that `[patch]` and `[replace]` name.
    pub(super) fn patches(&self) -> impl Iterator<Item = &str> {
        let registries = self.table(&["patch"]).into_iter().flatten();
        let tables = registries.filter_map(|(_, patches)| patches.as_table());
        tables.chain(self.table(&["replace"])).flatten().filter_map(|(_, patch)| path(patch))
    }

    /// Registries that dependencies name, each with the crate that is wanted of it.
    pub(super) fn registries(&self) -> impl Iterator<Item = (&str, &str)> {
        let shared = self.table(&["workspace", "dependencies"]).into_iter().flatten();
        let shared = shared.map(|(name, value)| (name.as_str(), value));
        let own = self.dependencies().map(|dependency| (dependency.name, dependency.value));
        shared.chain(own).filter_map(|(name, value)| {
            let package = value.get("package").and_then(Value::as_str).unwrap_or(name);
            Some((value.get("registry")?.as_str()?, package))
        })
    }

    /// Whether anything of it stands in the root of its workspace.
    pub(super) fn inherits(&self) -> bool {
        let fields = self.table(&["package"]).into_iter().flatten();
        fields.map(|(_, value)| value).chain(self.0.get("lints")).any(inherits)
            || self.dependencies().any(|dependency| dependency.is_inherited())
    }

    /// The programs of the package in `directory`, as `cargo build --bin` knows them: those that
    /// are listed, and those found by their place which no listed one has the name or file of.
    pub(super) fn programs(&self, directory: &Path) -> BTreeSet<String> {
        let listed = self.0.get("bin").and_then(Value::as_array);
        let words = |key: &str| -> BTreeSet<&str> {
            let listed = listed.into_iter().flatten();
            listed.filter_map(|program| program.get(key)?.as_str()).collect()
        };
        let (names, files) = (words("name"), words("path"));
        let mut programs: BTreeSet<_> = names.iter().map(|name| (*name).to_owned()).collect();
        if self.finds_programs(listed.is_some()) {
            let found = found_programs(directory, self.package().unwrap_or_default());
            let others = found.into_iter().filter(|(_, file)| !files.contains(file.as_str()));
            programs.extend(others.map(|(name, _)| name));
        }
        programs
    }

    /// Whether Cargo looks for programs beside those that are listed. In the first edition, which
    /// is that of a package that names none, it does so only if there is no list.
    fn finds_programs(&self, listed: bool) -> bool {
        let Some(package) = self.table(&["package"]) else { return false };
        if let Some(told) = package.get("autobins").and_then(Value::as_bool) {
            return told;
        }
        let edition = package.get("edition");
        let first = edition.is_none_or(|edition| edition.as_str() == Some("2015"));
        !first || !listed
    }

    fn table(&self, keys: &[&str]) -> Option<&Table> {
        keys.iter().try_fold(&self.0, |table, key| table.get(*key)?.as_table())
    }
}

impl<'a> Dependency<'a> {
    /// Where it lies, if in a directory.
    pub(super) fn path(&self) -> Option<&'a str> {
        path(self.value)
    }

    /// Whether it stands in the root of the workspace.
    pub(super) fn is_inherited(&self) -> bool {
        inherits(self.value)
    }
}

/// Programs by their place in the package: name and file.
fn found_programs(directory: &Path, package: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if directory.join("src/main.rs").is_file() {
        found.push((package.to_owned(), "src/main.rs".to_owned()));
    }
    for entry in fs::read_dir(directory.join("src/bin")).into_iter().flatten().flatten() {
        let Ok(file) = entry.file_name().into_string() else { continue };
        match file.strip_suffix(".rs") {
            _ if file.starts_with('.') => {}
            Some(name) if entry.path().is_file() => {
                found.push((name.to_owned(), format!("src/bin/{file}")));
            }
            _ if entry.path().join("main.rs").is_file() => {
                found.push((file.clone(), format!("src/bin/{file}/main.rs")));
            }
            _ => {}
        }
    }
    found
}

fn path(dependency: &Value) -> Option<&str> {
    dependency.get("path")?.as_str()
}

fn inherits(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}
