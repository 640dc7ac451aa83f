//! Which crates a program was made of. `Cargo.lock` knows all that any package of the workspace may
//! need on any platform; what was compiled for this program and this target, Cargo tells itself.
//! <https://doc.rust-lang.org/cargo/reference/external-tools.html#json-messages>
//!
//! A crate that the workspace brings itself (`cargo vendor`) is compiled as it lies there. Whether it
//! is still what was put there, the list beside it says that Cargo goes by; the digest of its archive
//! is nobody's then, for nobody has seen the archive.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use formats::digest::Sha256;
use serde::{Deserialize, Serialize};

use super::seen::Digests;
use crate::cargo_workspace::Lockfile;
use crate::error::Result;
use crate::source::{State, files};
use crate::stored::Hex;

/// The list of a crate's files that Cargo goes by.
const LIST: &str = ".cargo-checksum.json";

/// A crate that was compiled for a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Used {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The registry that it came from, as `Cargo.lock` names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The git repository that it came from, and its commit after a `#`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<String>,
    /// What its archive hashes to, if that is what was compiled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Hex>,
    /// Whether it is as it came from there. What has no registry and no repository is the
    /// workspace's own.
    pub state: State,
    /// Where it is now.
    pub part: Part,
}

/// What became of a crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// It was linked into the program.
    Linked,
    /// It ran while the program was compiled: a build script, a macro, or what they need.
    Building,
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<String>,
}

/// A workspace, as far as it says what its crates are.
pub(super) struct Sources<'a> {
    /// Its directory.
    pub(super) root: &'a Path,
    /// Its lock.
    pub(super) lock: &'a Lockfile,
    /// Its directories of crates, relative to it.
    pub(super) vendored: &'a [PathBuf],
    /// All its files.
    pub(super) files: &'a Digests,
}

/// The crates that `cargo build` says it has compiled, or had, in the order of their names. What it
/// puts below `outputs` is for the target.
///
/// # Errors
/// [`Id::Read`](crate::error::Id::Read).
pub(super) fn crates(messages: &[u8], outputs: &Path, sources: &Sources<'_>) -> Result<Vec<Used>> {
    let mut found: BTreeMap<(String, String, String), (Part, PathBuf)> = BTreeMap::new();
    for line in messages.split(|byte| *byte == b'\n') {
        let Ok(message) = serde_json::from_slice::<Message>(line) else { continue };
        let package = message.package_id.as_deref().and_then(package);
        let (Some(package), "compiler-artifact") = (package, message.reason.as_str()) else {
            continue;
        };
        let linked = message.filenames.iter().any(|file| Path::new(file).starts_with(outputs));
        let part = if linked { Part::Linked } else { Part::Building };
        let (known, _) = found.entry(package).or_insert((part, message.manifest_path));
        *known = part.min(*known);
    }
    let used = found.into_iter().map(|((name, version, source), (part, manifest))| {
        sources.crate_of(name, version, &source, &manifest, part)
    });
    used.collect()
}

impl Sources<'_> {
    fn crate_of(
        &self,
        name: String,
        version: String,
        source: &str,
        manifest: &Path,
        part: Part,
    ) -> Result<Used> {
        let (mut registry, mut git, mut sha256) = (None, None, None);
        if source.starts_with("git+") {
            let commit = self.lock.commit(&name, &version, source);
            git = Some(commit.map_or(source.to_owned(), |commit| format!("{source}#{commit}")));
        } else if !source.starts_with("path+") {
            let mut locked = self.lock.crates.iter();
            let locked = locked.find(|one| {
                (one.name.as_str(), one.version.as_str(), one.source.as_str())
                    == (&name, &version, source)
            });
            registry = Some(source.to_owned());
            sha256 = locked.map(|one| one.sha256);
        }
        let directory = manifest.parent().and_then(|path| path.strip_prefix(self.root).ok());
        let vendored = directory.filter(|directory| {
            let of_the_workspace = registry.is_some() || git.is_some();
            of_the_workspace && self.vendored.iter().any(|place| directory.starts_with(place))
        });
        let mut state = State::Whole;
        if let Some(directory) = vendored {
            if !self.is_as_listed(directory, sha256)? {
                state = State::Changed;
            }
            sha256 = None;
        }
        Ok(Used { name, version, registry, git, sha256: sha256.map(Hex), state, part })
    }

    /// Whether a directory holds the files of its list and no others, and the list is that of the
    /// archive which the lock names.
    fn is_as_listed(&self, directory: &Path, archive: Option<Sha256>) -> Result<bool> {
        #[derive(Deserialize)]
        struct List {
            files: BTreeMap<String, String>,
            package: Option<String>,
        }
        let list = files::text(&self.root.join(directory).join(LIST))?;
        let Ok(list) = serde_json::from_str::<List>(&list) else { return Ok(false) };
        let start = format!("{}/", directory.display());
        let here = self.files.range(start.clone()..).map_while(|(path, digest)| {
            path.strip_prefix(&start).map(|path| (path.to_owned(), digest.to_string()))
        });
        let here = here.filter(|(path, _)| path != LIST);
        let archive = archive.map(|digest| digest.to_string());
        Ok(here.collect::<BTreeMap<_, _>>() == list.files && list.package == archive)
    }
}

/// Name, version and source in a package id: `SOURCE#NAME@VERSION`, or `SOURCE#VERSION` where the
/// source ends in the name.
/// <https://doc.rust-lang.org/cargo/reference/pkgid-spec.html>
fn package(id: &str) -> Option<(String, String, String)> {
    let (source, fragment) = id.rsplit_once('#')?;
    let (name, version) = fragment.split_once('@').or_else(|| {
        let path = source.split('?').next()?;
        Some((path.rsplit('/').next()?, fragment))
    })?;
    Some((name.to_owned(), version.to_owned(), source.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cargo_workspace::{CRATES_IO, Crate, GitCrate};

    fn locked(name: &str, source: &str) -> Crate {
        Crate {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            source: source.to_owned(),
            sha256: Sha256::of(name),
        }
    }

    fn message(id: &str, manifest: &str, file: &str) -> String {
        let value = serde_json::json!({
            "reason": "compiler-artifact",
            "package_id": id,
            "manifest_path": manifest,
            "filenames": [format!("/t/{file}")],
            "fresh": true,
        });
        value.to_string()
    }

    #[test]
    fn what_is_for_the_target_is_linked_and_all_else_ran_here() {
        let id = |name: &str| format!("{CRATES_IO}#{name}@1.0.0");
        let messages = [
            message(&id("both"), "/c/both/Cargo.toml", "node/deps/libboth.rlib"),
            message(&id("both"), "/c/both/Cargo.toml", "triple/node/deps/libboth.rlib"),
            message(&id("macros"), "/c/macros/Cargo.toml", "node/deps/libmacros.so"),
            message("path+file:///w/own#0.1.0", "/w/own/Cargo.toml", "triple/node/own"),
            message("path+file:///w/dir#other@0.2.0", "/w/dir/Cargo.toml", "triple/node/libo.rlib"),
            format!(r#"{{"reason":"build-script-executed","package_id":"{}"}}"#, id("none")),
            "words of a program that is no Cargo".to_owned(),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let lock = Lockfile { crates: vec![locked("both", CRATES_IO)], ..Lockfile::default() };
        let sources =
            Sources { root: Path::new("/w"), lock: &lock, vendored: &[], files: &BTreeMap::new() };
        let used =
            crates(messages.join("\n").as_bytes(), Path::new("/t/triple"), &sources).unwrap();
        let told: Vec<_> = used
            .iter()
            .map(|one| (one.name.as_str(), one.version.as_str(), one.part, one.sha256))
            .collect();
        assert_eq!(
            told,
            [
                ("both", "1.0.0", Part::Linked, Some(Hex(Sha256::of("both")))),
                ("macros", "1.0.0", Part::Building, None),
                ("other", "0.2.0", Part::Linked, None),
                ("own", "0.1.0", Part::Linked, None),
            ]
        );
        assert_eq!(used[0].registry.as_deref(), Some(CRATES_IO));
        assert_eq!((&used[2].registry, &used[2].git), (&None, &None));
    }

    /// `[patch]` puts a directory of the workspace in the place of a crate, and two registries may
    /// have crates of one name and version.
    #[test]
    fn a_crate_has_the_registry_and_the_checksum_of_its_own_source_only() {
        let other = "sparse+https://r.example/";
        let lock = Lockfile {
            crates: vec![
                locked("one", CRATES_IO),
                Crate { sha256: Sha256::of("o"), ..locked("one", other) },
            ],
            git: vec![GitCrate {
                name: "two".to_owned(),
                version: "1.0.0".to_owned(),
                source: "git+https://g.example/two?rev=0a#0a0b".to_owned(),
            }],
        };
        let sources =
            Sources { root: Path::new("/w"), lock: &lock, vendored: &[], files: &BTreeMap::new() };
        let told = |id: &str| {
            let text = message(id, "/c/x/Cargo.toml", "triple/libx.rlib");
            let used = crates(text.as_bytes(), Path::new("/t/triple"), &sources).unwrap().remove(0);
            (used.registry, used.git, used.sha256)
        };
        let registry =
            |source: &str, of: &str| (Some(source.to_owned()), None, Some(Hex(Sha256::of(of))));
        assert_eq!(told(&format!("{CRATES_IO}#one@1.0.0")), registry(CRATES_IO, "one"));
        assert_eq!(told(&format!("{other}#one@1.0.0")), registry(other, "o"));
        assert_eq!(told("path+file:///w/one#1.0.0"), (None, None, None));
        assert_eq!(
            told("git+https://g.example/two?rev=0a#1.0.0"),
            (None, Some("git+https://g.example/two?rev=0a#0a0b".to_owned()), None)
        );
    }

    #[test]
    fn a_crate_that_the_workspace_brings_is_whole_if_its_files_are_those_of_its_list() {
        let workspace = tempfile::tempdir().unwrap();
        let directory = workspace.path().join("vendor/one");
        fs::create_dir_all(&directory).unwrap();
        let archive = Sha256::of("one").to_string();
        let digest = Sha256::of("code").to_string();
        let good = serde_json::json!({ "files": { "src/lib.rs": digest }, "package": archive });
        let state = |list: &str, files: &[(&str, &str)]| {
            fs::write(directory.join(LIST), list).unwrap();
            let at = |name: &str| format!("vendor/one/{name}");
            let mut digests = Digests::from([(at(LIST), Sha256::of(list))]);
            digests.extend(files.iter().map(|(name, text)| (at(name), Sha256::of(text))));
            digests.insert("vendor/one-more/src/lib.rs".to_owned(), Sha256::of("other"));
            let sources = Sources {
                root: workspace.path(),
                lock: &Lockfile { crates: vec![locked("one", CRATES_IO)], git: Vec::new() },
                vendored: &[PathBuf::from("vendor")],
                files: &digests,
            };
            let manifest = directory.join("Cargo.toml");
            let id = format!("{CRATES_IO}#one@1.0.0");
            let text = message(&id, manifest.to_str().unwrap(), "triple/libone.rlib");
            let used = crates(text.as_bytes(), Path::new("/t/triple"), &sources).unwrap().remove(0);
            // Whatever the directory says of itself, nobody has seen the archive.
            assert_eq!(used.sha256, None);
            used.state
        };
        assert_eq!(state(&good.to_string(), &[("src/lib.rs", "code")]), State::Whole);
        let without_list = serde_json::json!({ "files": {}, "package": archive });
        let other = serde_json::json!({ "files": { "src/lib.rs": digest }, "package": digest });
        for (list, files) in [
            (good.to_string(), &[("src/lib.rs", "patched")][..]),
            (good.to_string(), &[("src/lib.rs", "code"), ("build.rs", "more")]),
            (good.to_string(), &[]),
            (without_list.to_string(), &[("src/lib.rs", "code")]),
            (other.to_string(), &[("src/lib.rs", "code")]),
            ("{}".to_owned(), &[("src/lib.rs", "code")]),
        ] {
            assert_eq!(state(&list, files), State::Changed, "{list} {files:?}");
        }
    }
}
