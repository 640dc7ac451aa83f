//! Profiles of AppArmor: text that the parser of Debian's package `apparmor` compiles while the image
//! is made. A node has no compiler: it gives the kernel what lies in its root.
//!
//! The language is that of apparmor.d(5), what comes out is what the kernel reads
//! (`security/apparmor/policy_unpack.c`). What the kernel of the suite can restrict the package knows,
//! so nothing of this host's is asked.

use std::fs;
use std::path::Path;

use formats::architecture::Architecture;
use formats::digest::Sha256;
use formats::tree::{Blob, TreePath};

use super::{Caches, files};
use crate::error::{Context as _, Error, Id, Result};
use crate::lock::Lock;
use crate::lock::model::{Package, Role};
use crate::process::Command;
use crate::recipe::model::Apparmor;
use crate::source::caches::scratch;
use crate::source::deb::extract;
use crate::start::Start;
use crate::step::Inputs;
use crate::store::Store;

/// The package that brings the parser, among `[debian] tools`.
pub const PACKAGE: &str = "apparmor";
/// What the parser links: it is in the root, for all that is not static there links it too.
const LIBRARY: &str = "libc6";
const PARSER: &str = "usr/sbin/apparmor_parser";
/// Where `<...>` of a profile leads.
const INCLUDED: &str = "etc/apparmor.d";
/// What the kernel of the suite can restrict.
const FEATURES: &str = "usr/share/apparmor-features/features";

/// A parser of the lock.
#[derive(Debug)]
pub struct Parser<'a> {
    architecture: Architecture,
    packages: [&'a Package; 2],
}

impl<'a> Parser<'a> {
    /// The one that the lock has.
    ///
    /// # Errors
    /// [`Id::Compilers`] if it has none.
    pub fn find(architecture: Architecture, lock: &'a Lock) -> Result<Self> {
        let find = |name: &str, role: Role, hint: &str| {
            let found = lock.packages.iter().find(|p| p.name == name && p.role == role);
            found.ok_or_else(|| {
                let message = format!("profiles of AppArmor need the package `{name}`");
                Error::new(Id::Compilers, message).hint(hint)
            })
        };
        let parser = find(PACKAGE, Role::Tool, "add it to `[debian] tools`")?;
        let library = find(LIBRARY, Role::Root, "add it to `[debian] packages`")?;
        Ok(Self { architecture, packages: [parser, library] })
    }

    /// What shapes the compiled form of a profile.
    pub fn inputs(&self, profile: &Profile) -> Inputs {
        Inputs::new()
            .with_all("deb", self.packages.iter().map(|package| package.blob.sha256))
            .with("profile", Sha256::of(&profile.text))
    }

    /// Compiles a profile.
    ///
    /// # Errors
    /// Those of [`extract::all`]; [`Id::ToolFailed`] with what the parser says of the profile.
    pub fn compile(&self, profile: &Profile, store: &Store, caches: &Caches) -> Result<Blob> {
        let scratch = scratch(&caches.compilers)?;
        let directory = scratch.path().canonicalize();
        let directory = directory.or_fail(Id::Write, || "no directory to unpack to".to_owned())?;
        let tree = directory.join("tree");
        let text = directory.join("profile");
        fs::create_dir(&tree)
            .and_then(|()| fs::write(&text, &profile.text))
            .or_fail(Id::Write, || format!("cannot write to `{}`", directory.display()))?;
        let libraries = self.architecture.libraries();
        let wanted = |path: &TreePath| {
            let below = |top: &str| path.as_str().starts_with(top);
            [PARSER, INCLUDED, FEATURES, libraries].into_iter().any(below)
        };
        extract::all(&self.packages, store, &tree, &wanted)?;
        let start = Start {
            architecture: self.architecture,
            directory: &tree,
            libraries: &[libraries],
            program: PARSER,
            before: &[],
            behind: &[],
        };
        // A file of the host's, or a kernel's own words, would otherwise be asked for.
        let command = Command::new("/bin/sh")
            .env_clear()
            .args(["-c", &start.script()?, PACKAGE, "--config-file", "/dev/null"])
            .arg("--base")
            .arg(tree.join(INCLUDED))
            .arg("--kernel-features")
            .arg(tree.join(FEATURES))
            .args(["--skip-cache", "--skip-kernel-load", "--Werror", "--stdout"])
            .arg(text);
        let compiled = command.run().map_err(|error| error.within(profile.cannot()))?;
        store.put_bytes(&compiled)
    }
}

/// A profile as people write it.
#[derive(Debug)]
pub struct Profile {
    name: String,
    text: String,
}

impl Profile {
    /// Reads the profile of a component.
    ///
    /// # Errors
    /// [`Id::Read`]; [`Id::Compilers`] if it would take in a file of this host.
    pub fn read(component: &Apparmor) -> Result<Self> {
        Self::new(&component.profile, files::text(&component.profile)?)
    }

    fn new(path: &Path, text: String) -> Result<Self> {
        let profile = Self { name: path.display().to_string(), text };
        let outside = |(_, line): &(usize, &str)| names_file_of_host(line);
        if let Some((index, line)) = profile.text.lines().enumerate().find(outside) {
            let message = format!("line {}, `{}`, takes in a file of this host", index + 1, line);
            let error = Error::new(Id::Compilers, message)
                .hint("name one of the package's, as in `abi <abi/3.0>,`");
            return Err(error.within(profile.cannot()));
        }
        Ok(profile)
    }

    fn cannot(&self) -> String {
        format!("cannot compile `{}`", self.name)
    }
}

/// Whether a line takes in a file that is not below [`INCLUDED`]: what follows `abi`, `include` and
/// `include if exists` is a path there if it stands in `<>` (apparmor.d(5)).
fn names_file_of_host(line: &str) -> bool {
    // A comment begins with `#`, and `#include` is none.
    let words = line.split_whitespace();
    let mut words = words.take_while(|word| !word.starts_with('#') || word.starts_with("#include"));
    while let Some(word) = words.next() {
        let word = word.trim_start_matches('#');
        let Some(rest) = word.strip_prefix("include").or_else(|| word.strip_prefix("abi")) else {
            continue;
        };
        let path = match rest {
            "" => words.find(|word| !["if", "exists"].contains(word)).unwrap_or_default(),
            rest if rest.starts_with(['<', '"', '/']) => rest,
            // A name that only begins like this.
            _ => continue,
        };
        if !path.starts_with('<') || path.contains("..") {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests;
