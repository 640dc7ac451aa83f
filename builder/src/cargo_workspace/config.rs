//! The workspace's own `.cargo/config.toml`: the one configuration that may shape a program. It is
//! read as a whole by Cargo; here only for what leads to other files.
//! <https://doc.rust-lang.org/cargo/reference/config.html>

use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::error::{Context as _, Error, Id, Result};

/// A configuration that was read; empty if there is none.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The file.
    pub path: Option<PathBuf>,
    table: Table,
}

/// Tables that say where crates come from and how they are reached, which shapes no program: the
/// lock has their checksums.
const HARMLESS: [&str; 15] = [
    "alias",
    "cache",
    "cargo-new",
    "credential-alias",
    "doc",
    "future-incompat-report",
    "http",
    "install",
    "net",
    "registries",
    "registry",
    "resolver",
    "source",
    "term",
    "test",
];

impl Config {
    /// Reads the configuration of the workspace in `root`.
    ///
    /// # Errors
    /// [`Id::Read`]; [`Id::CargoPackage`] if it is not understood, or takes in other files.
    pub fn read(root: &Path) -> Result<Self> {
        let config = Self::find(root)?;
        let name = config.path.as_deref().unwrap_or(root).display().to_string();
        for (key, what) in [("include", "other configuration"), ("paths", "other packages")] {
            if config.table.contains_key(key) {
                let message = format!("`{key}` in `{name}` takes in {what}");
                return Err(Error::new(Id::CargoPackage, message)
                    .hint("write it into this file, or use `[patch]`"));
            }
        }
        Ok(config)
    }

    fn find(directory: &Path) -> Result<Self> {
        // The name without suffix is old; Cargo prefers it.
        let names = ["config", "config.toml"].map(|name| directory.join(".cargo").join(name));
        let Some(path) = names.into_iter().find(|path| path.is_file()) else {
            return Ok(Self::default());
        };
        let text = fs::read_to_string(&path)
            .or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?;
        let table = text
            .parse()
            .or_fail(Id::CargoPackage, || format!("cannot understand `{}`", path.display()))?;
        Ok(Self { path: Some(path), table })
    }

    /// Whether it has this profile.
    pub fn has_profile(&self, name: &str) -> bool {
        self.table(&["profile", name]).is_some()
    }

    /// Directories and archives of crates that stand in for registries, as `cargo vendor` sets
    /// them up: Cargo then takes nothing from anywhere else.
    pub fn vendored(&self) -> Vec<&str> {
        let sources = self.table(&["source"]).into_iter().flatten();
        let places = sources.flat_map(|(_, source)| {
            ["directory", "local-registry"].map(|key| source.get(key).and_then(Value::as_str))
        });
        places.flatten().collect()
    }

    /// Directories that `[patch]` names.
    pub fn patches(&self) -> impl Iterator<Item = &str> {
        let registries = self.table(&["patch"]).into_iter().flatten();
        let patches = registries.filter_map(|(_, patches)| patches.as_table()).flatten();
        patches.filter_map(|(_, patch)| patch.get("path")?.as_str())
    }

    /// Whether it says where compilers put what they make on the way.
    pub fn has_build_directory(&self) -> bool {
        self.table(&["build"]).is_some_and(|build| build.contains_key("build-dir"))
    }

    /// Whether it defines the registry of this name.
    pub fn has_registry(&self, name: &str) -> bool {
        self.table(&["registries", name]).is_some_and(|registry| registry.contains_key("index"))
    }

    fn table(&self, keys: &[&str]) -> Option<&Table> {
        keys.iter().try_fold(&self.table, |table, key| table.get(*key)?.as_table())
    }
}

/// The one directory whose configuration Cargo cannot be kept from reading, wherever it is started,
/// must have none that shapes a program.
///
/// # Errors
/// [`Id::CargoConfig`].
pub fn check_top(top: &Path) -> Result<()> {
    let config = Config::find(top)?;
    let (Some(path), Some(key)) =
        (&config.path, config.table.keys().find(|key| !HARMLESS.contains(&key.as_str())))
    else {
        return Ok(());
    };
    let message =
        format!("`{key}` in `{}` would shape every Rust program on this host", path.display());
    Err(Error::new(Id::CargoConfig, message)
        .hint("move the file to another directory and name that one in `CARGO_HOME`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(".cargo")).unwrap();
        fs::write(directory.path().join(".cargo/config.toml"), text).unwrap();
        directory
    }

    #[test]
    fn what_leads_to_other_files_is_known_or_refused() {
        let directory = with(
            "[source.crates-io]\nreplace-with = 'vendored'\n[source.vendored]\n\
             directory = 'vendor'\n[patch.crates-io]\nserde = { path = 'patched/serde' }\n\
             [profile.node]\n[registries.corp]\nindex = 'sparse+https://r.example/'\n",
        );
        let config = Config::read(directory.path()).unwrap();
        assert_eq!(config.vendored(), ["vendor"]);
        assert_eq!(config.patches().collect::<Vec<_>>(), ["patched/serde"]);
        assert!(config.has_profile("node") && !config.has_profile("release"));
        assert!(config.has_registry("corp") && !config.has_registry("other"));
        for text in ["include = 'other.toml'", "paths = ['../serde']", "[source"] {
            assert_eq!(Config::read(with(text).path()).unwrap_err().id(), Id::CargoPackage);
        }
        let none = tempfile::tempdir().unwrap();
        assert_eq!(Config::read(none.path()).unwrap().path, None);
    }

    #[test]
    fn a_configuration_that_cannot_be_shut_out_must_shape_nothing() {
        let good = with("[http]\nproxy = 'p'\n[source.crates-io]\nreplace-with = 'mirror'\n");
        check_top(good.path()).unwrap();
        for text in ["[env]\nBY = 'me'", "[profile.node]\nopt-level = 0", "include = 'x'"] {
            let error = check_top(with(text).path()).unwrap_err();
            assert_eq!(error.id(), Id::CargoConfig, "{text}");
        }
    }
}
