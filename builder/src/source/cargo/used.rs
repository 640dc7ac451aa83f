//! Which crates a program was made of. `Cargo.lock` knows all that any package of the workspace may
//! need on any platform; what was compiled for this program and this target, Cargo tells itself.
//! <https://doc.rust-lang.org/cargo/reference/external-tools.html#json-messages>

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cargo_workspace::Lockfile;
use crate::stored::Hex;

/// A crate that was compiled for a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Used {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The registry that it came from, as `Cargo.lock` names it; none if it is of the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// What its archive hashes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Hex>,
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
    filenames: Vec<String>,
}

/// The crates that `cargo build` says it has compiled, or had, in the order of their names. What it
/// puts below `outputs` is for the target.
pub(super) fn crates(messages: &[u8], outputs: &Path, lock: &Lockfile) -> Vec<Used> {
    let mut parts: BTreeMap<(String, String), Part> = BTreeMap::new();
    for line in messages.split(|byte| *byte == b'\n') {
        let Ok(message) = serde_json::from_slice::<Message>(line) else { continue };
        let package = message.package_id.as_deref().and_then(package);
        let (Some(package), "compiler-artifact") = (package, message.reason.as_str()) else {
            continue;
        };
        let linked = message.filenames.iter().any(|file| Path::new(file).starts_with(outputs));
        let part = if linked { Part::Linked } else { Part::Building };
        let known = parts.entry(package).or_insert(part);
        *known = part.min(*known);
    }
    let used = |((name, version), part)| {
        let mut locked = lock.crates.iter();
        let locked = locked.find(|one| (&one.name, &one.version) == (&name, &version));
        let registry = locked.map(|one| one.source.clone());
        Used { registry, sha256: locked.map(|one| Hex(one.sha256)), name, version, part }
    };
    parts.into_iter().map(used).collect()
}

/// Name and version in a package id: `SOURCE#NAME@VERSION`, or `SOURCE#VERSION` where the source
/// ends in the name.
/// <https://doc.rust-lang.org/cargo/reference/pkgid-spec.html>
fn package(id: &str) -> Option<(String, String)> {
    let (source, fragment) = id.rsplit_once('#')?;
    let (name, version) = fragment.split_once('@').or_else(|| {
        let path = source.split('?').next()?;
        Some((path.rsplit('/').next()?, fragment))
    })?;
    Some((name.to_owned(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use formats::digest::Sha256;

    use super::*;
    use crate::cargo_workspace::{CRATES_IO, Crate};

    #[test]
    fn what_is_for_the_target_is_linked_and_all_else_ran_here() {
        let id = |name: &str| format!("{CRATES_IO}#{name}@1.0.0");
        let message = |id: &str, file: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"{id}","filenames":["/t/{file}"],"fresh":true}}"#
            )
        };
        let messages = [
            message(&id("both"), "node/deps/libboth.rlib"),
            message(&id("both"), "triple/node/deps/libboth.rlib"),
            message(&id("macros"), "node/deps/libmacros.so"),
            message("path+file:///w/own#0.1.0", "triple/node/own"),
            message("path+file:///w/dir#other@0.2.0", "triple/node/deps/libother.rlib"),
            format!(r#"{{"reason":"build-script-executed","package_id":"{}"}}"#, id("none")),
            "words of a program that is no Cargo".to_owned(),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let sha256 = Sha256::of("both");
        let (name, version, source) = ("both".to_owned(), "1.0.0".to_owned(), CRATES_IO.to_owned());
        let lock = Lockfile {
            crates: vec![Crate { name, version, source, sha256 }],
            ..Lockfile::default()
        };
        let used = crates(messages.join("\n").as_bytes(), Path::new("/t/triple"), &lock);
        let told: Vec<_> = used
            .iter()
            .map(|one| (one.name.as_str(), one.version.as_str(), one.part, one.sha256))
            .collect();
        assert_eq!(
            told,
            [
                ("both", "1.0.0", Part::Linked, Some(Hex(sha256))),
                ("macros", "1.0.0", Part::Building, None),
                ("other", "0.2.0", Part::Linked, None),
                ("own", "0.1.0", Part::Linked, None),
            ]
        );
        assert_eq!(used[0].registry.as_deref(), Some(CRATES_IO));
    }
}
