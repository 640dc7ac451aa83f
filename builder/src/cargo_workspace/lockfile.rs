//! `Cargo.lock`: which crates a workspace is built with, and what each must hash to.
//! <https://doc.rust-lang.org/cargo/guide/cargo-toml-vs-cargo-lock.html>

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use formats::digest::Sha256;
use toml::{Table, Value};

use crate::error::{Context as _, Error, Id, Result};

/// How the lock names the registry that every Cargo knows.
pub const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The crates of a workspace that are not its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lockfile {
    /// Those of registries.
    pub crates: Vec<Crate>,
    /// Those of git repositories.
    pub git: Vec<GitCrate>,
}

/// A crate of a git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitCrate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The repository with what is wanted of it, and after a `#` the commit.
    pub source: String,
}

/// A crate of a registry. Its file is the archive that the registry hands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The registry, as the lock names it.
    pub source: String,
    /// What its archive hashes to.
    pub sha256: Sha256,
}

impl Lockfile {
    /// Reads `Cargo.lock` in `directory`.
    ///
    /// # Errors
    /// [`Id::Read`]; [`Id::CargoPackage`] if it is not understood.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("Cargo.lock");
        let text = fs::read_to_string(&path)
            .or_fail(Id::Read, || format!("cannot read `{}`", path.display()))?;
        Self::parse(&text)
            .or_fail(Id::CargoPackage, || format!("cannot understand `{}`", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let table: Table = text.parse().or_fail(Id::CargoPackage, || "it is not TOML")?;
        // Where the first version of the format keeps checksums.
        let metadata = table.get("metadata").and_then(Value::as_table);
        let mut lock = Self::default();
        for package in table.get("package").and_then(Value::as_array).into_iter().flatten() {
            let word = |key: &str| package.get(key).and_then(Value::as_str);
            let (Some(name), Some(version)) = (word("name"), word("version")) else {
                return Err(Error::new(Id::CargoPackage, "a package has no name or version"));
            };
            let Some(source) = word("source") else { continue };
            if source.starts_with("git+") {
                let (name, version) = (name.to_owned(), version.to_owned());
                lock.git.push(GitCrate { name, version, source: source.to_owned() });
                continue;
            }
            let key = format!("checksum {name} {version} ({source})");
            let older = || metadata?.get(&key)?.as_str();
            let checksum = word("checksum").or_else(older).and_then(|text| text.parse().ok());
            let sha256 = checksum.ok_or_else(|| {
                let message = format!("`{name} {version}` has no checksum of 64 digits");
                Error::new(Id::CargoPackage, message)
            })?;
            // Both become parts of paths.
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_+.".contains(c);
            if !name.chars().chain(version.chars()).all(plain) {
                let message = format!("`{name} {version}` is not the name of a crate");
                return Err(Error::new(Id::CargoPackage, message));
            }
            let (name, version) = (name.to_owned(), version.to_owned());
            lock.crates.push(Crate { name, version, source: source.to_owned(), sha256 });
        }
        Ok(lock)
    }

    /// The commit of a crate of a git repository, which Cargo calls by `source`.
    pub fn commit(&self, name: &str, version: &str, source: &str) -> Option<&str> {
        let mut commits = self.git.iter().filter_map(|one| {
            let (repository, commit) = one.source.rsplit_once('#')?;
            let same = (one.name.as_str(), one.version.as_str(), repository);
            (same == (name, version, source)).then_some(commit)
        });
        commits.next()
    }

    /// The registry of a crate that is not of the one that every Cargo knows.
    pub fn other_registry(&self, name: &str) -> Option<&str> {
        let mut others = self.crates.iter().filter(|one| one.source != CRATES_IO);
        others.find(|one| one.name == name).map(|one| index(&one.source))
    }

    /// The crates by registry.
    pub fn by_source(&self) -> BTreeMap<&str, Vec<&Crate>> {
        let mut sources: BTreeMap<&str, Vec<&Crate>> = BTreeMap::new();
        for one in &self.crates {
            sources.entry(&one.source).or_default().push(one);
        }
        sources
    }
}

/// The address of a registry's index as a configuration names it.
pub fn index(source: &str) -> &str {
    source.strip_prefix("registry+").unwrap_or(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_versions_of_the_format_give_the_same_crates() {
        let digest = Sha256::of("a");
        let new = format!(
            "version = 4\n[[package]]\nname = 'own'\nversion = '0.1.0'\n\
             [[package]]\nname = 'a'\nversion = '1.0.0+x'\nsource = '{CRATES_IO}'\n\
             checksum = '{digest}'\n"
        );
        let old = format!(
            "[[package]]\nname = 'a'\nversion = '1.0.0+x'\nsource = '{CRATES_IO}'\n\
             [metadata]\n'checksum a 1.0.0+x ({CRATES_IO})' = '{digest}'\n"
        );
        let lock = Lockfile::parse(&new).unwrap();
        assert_eq!(lock.crates.len(), 1);
        assert_eq!(lock.crates[0].sha256, digest);
        assert_eq!(Lockfile::parse(&old).unwrap(), lock);
    }

    #[test]
    fn a_crate_of_a_repository_has_the_commit_that_is_locked() {
        let source = "git+https://git.example/a?branch=next";
        let text =
            format!("[[package]]\nname = 'a'\nversion = '1.0.0'\nsource = '{source}#0123abcd'\n");
        let lock = Lockfile::parse(&text).unwrap();
        assert_eq!(lock.commit("a", "1.0.0", source), Some("0123abcd"));
        for (name, version, source) in
            [("b", "1.0.0", source), ("a", "1.0.1", source), ("a", "1.0.0", CRATES_IO)]
        {
            assert_eq!(lock.commit(name, version, source), None);
        }
    }

    #[test]
    fn a_crate_without_checksum_or_with_a_path_for_a_name_is_refused() {
        for package in [
            format!("name = 'a'\nversion = '1.0.0'\nsource = '{CRATES_IO}'"),
            format!("name = 'a'\nversion = '1.0.0'\nsource = '{CRATES_IO}'\nchecksum = 'x'"),
            format!(
                "name = '../a'\nversion = '1.0.0'\nsource = 'sparse+https://r.example/'\n\
                 checksum = '{}'",
                Sha256::of("a")
            ),
            "version = '1.0.0'".to_owned(),
        ] {
            let error = Lockfile::parse(&format!("[[package]]\n{package}\n")).unwrap_err();
            assert_eq!(error.id(), Id::CargoPackage, "{package}");
        }
    }

    #[test]
    fn this_repositorys_own_lock_is_understood() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let lock = Lockfile::read(root).unwrap();
        assert!(lock.crates.iter().any(|one| one.name == "toml"), "{lock:?}");
        assert_eq!(lock.by_source().keys().collect::<Vec<_>>(), [&CRATES_IO]);
    }
}
