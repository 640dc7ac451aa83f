//! What is in a build: every file with who answers for it, every package, module and crate with its
//! version. One value, `contents.json`, that SBOMs, comparisons and budgets are made of.
//!
//! Pure data: [`crate::build::contents`] gathers it. What of a program is said comes from the program
//! itself (Go) or from the compiler that made it (Rust), not from what `go.mod` or `Cargo.lock`
//! wish for.

pub mod elf;
pub mod purl;

use std::collections::BTreeMap;

use formats::architecture::Architecture;
use formats::go_build_info::BuildInfo;
use serde::{Deserialize, Serialize};

use crate::build::report::ReportError;
use crate::cargo_workspace::CRATES_IO;
use crate::error::{Error, Id, Result};
pub use crate::source::State;
use crate::source::deb::contents::Source;
use crate::stored::Hex;

/// The version of the shape of `contents.json`. Fields may come without a new one.
pub const SCHEMA: u32 = 1;

/// The content of `contents.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Contents {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The recipe's name.
    pub image: String,
    /// The recipe's version.
    pub version: String,
    /// What the system is called.
    pub system: String,
    /// What it runs on.
    pub architecture: Architecture,
    /// Who answers for files, by a name such as `deb/crun` or `go/containerd`.
    pub components: BTreeMap<String, Component>,
    /// What programs were linked with, by a name such as `go/golang.org/x/net@v0.50.0`.
    pub libraries: BTreeMap<String, Library>,
    /// The texts of licences that SPDX has no name for, by the name that they have here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub licences: BTreeMap<String, String>,
    /// All files, sorted by place and path.
    pub files: Vec<File>,
}

/// Who answers for files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Component {
    /// A Debian package.
    Deb(Deb),
    /// Go programs of the recipe.
    Go,
    /// Rust programs of the recipe.
    Cargo,
    /// A file from the web.
    Url {
        /// Where it is.
        url: String,
        /// What it hashes to.
        sha256: Hex,
    },
    /// Files from beside the recipe.
    Local,
    /// A container image.
    Oci {
        /// What it is called.
        reference: String,
    },
    /// A profile of AppArmor.
    Apparmor,
    /// Files that the builder makes from the recipe.
    Made,
}

/// A Debian package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Deb {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64` or `all`.
    pub architecture: String,
    /// The source package.
    pub source: String,
    /// The version of that, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_version: Option<String>,
    /// Other source packages of which parts are in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub built_using: Vec<Source>,
    /// The suite that it was taken from.
    pub suite: String,
    /// What the `.deb` hashes to.
    pub sha256: Hex,
    /// The licences of all its files as an SPDX expression, if its file `copyright` says so in a
    /// form for machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
}

impl Deb {
    /// The source package that advisories name, with its version where that is known. Of packages
    /// that were signed, such as the kernel's, it is the one which the signed files are of: the
    /// source package `linux-signed-amd64` is a list of signatures, and its advisories are those of
    /// `linux`.
    pub fn advised(&self) -> (&str, Option<&str>) {
        let is_signed = self.source.split('-').any(|word| word == "signed");
        match self.built_using.as_slice() {
            [only] if is_signed => (only.name.as_str(), Some(only.version.as_str())),
            _ => (self.source.as_str(), self.source_version.as_deref()),
        }
    }

    /// Source packages of which parts are in it, beside [`Deb::advised`].
    pub fn parts(&self) -> impl Iterator<Item = &Source> {
        let (advised, _) = self.advised();
        self.built_using.iter().filter(move |source| source.name != advised)
    }

    /// Debian's name of the release that it is of.
    pub fn release(&self) -> &str {
        self.suite.split('-').next().unwrap_or(&self.suite)
    }
}

/// What a program was linked with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Library {
    /// A Go module, as the program itself says.
    GoModule {
        /// Its path.
        name: String,
        /// Such as `v1.2.3`.
        version: String,
        /// `h1:` and the digest that `go.sum` has; empty if it is not checked.
        sum: String,
        /// Changed if a directory stood in for it.
        #[serde(default, skip_serializing_if = "State::is_whole")]
        state: State,
    },
    /// Go's own library.
    GoStandard {
        /// Such as `1.26.1`.
        version: String,
    },
    /// A crate, as Cargo said when it made the program.
    Crate {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// The registry, as `Cargo.lock` names it, without what may be a secret or a path of the
        /// host ([`purl::public`]).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        registry: Option<String>,
        /// The git repository in the same way, and after a `#` the commit. With neither it is of the
        /// program's own workspace.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        git: Option<String>,
        /// What its archive hashes to, if that is what was compiled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<Hex>,
        /// Changed if the workspace has files of it that are others.
        #[serde(default, skip_serializing_if = "State::is_whole")]
        state: State,
    },
    /// Rust's own library.
    RustStandard {
        /// Such as `1.95.0`.
        version: String,
    },
    /// A Debian package that was linked in.
    Deb(Deb),
}

impl Library {
    /// Its name and version, as they are shown.
    pub fn named(&self) -> (&str, &str) {
        match self {
            Self::GoModule { name, version, .. } | Self::Crate { name, version, .. } => {
                (name, version)
            }
            Self::GoStandard { version } => ("Go standard library", version),
            Self::RustStandard { version } => ("Rust standard library", version),
            Self::Deb(deb) => (&deb.name, &deb.version),
        }
    }

    /// What a Go program says that it was linked with. The module that the build was started in is
    /// the program's own, if it has no version.
    pub fn of_go(info: &BuildInfo) -> Vec<Self> {
        let standard = info.go.split(' ').find_map(|word| word.strip_prefix("go"));
        let version = standard.unwrap_or(&info.go).to_owned();
        let main = info.main.iter().filter(|module| is_version(&module.effective().version));
        let modules = main.chain(&info.modules).map(|module| {
            let effective = module.effective();
            // A directory has no version, and its path is one of the host that built it.
            let here = !is_version(&effective.version);
            let (known, state) = match here {
                true => (module, State::Changed),
                false => (effective, State::Whole),
            };
            let sum = if here { String::new() } else { known.sum.clone() };
            let (name, version) = (known.path.clone(), known.version.clone());
            Self::GoModule { name, version, sum, state }
        });
        modules.chain([Self::GoStandard { version }]).collect()
    }

    /// The name under which [`Contents::libraries`] has it. Two libraries of one name and version
    /// that are not the same have two.
    pub fn id(&self) -> String {
        let (name, version) = self.named();
        match self {
            Self::GoModule { state: State::Whole, .. } => format!("go/{name}@{version}"),
            Self::GoModule { .. } => format!("go/{name}@{version} (changed)"),
            Self::Deb(_) => format!("deb/{name}@{version}"),
            Self::GoStandard { version } => format!("go-standard@{version}"),
            Self::RustStandard { version } => format!("rust-standard@{version}"),
            Self::Crate { registry, git, state, .. } => {
                let from = match (registry.as_deref().or(git.as_deref()), state) {
                    (Some(CRATES_IO), State::Whole) => String::new(),
                    (Some(CRATES_IO), State::Changed) => " (changed)".to_owned(),
                    (Some(from), State::Whole) => format!(" ({from})"),
                    (Some(from), State::Changed) => format!(" ({from}, changed)"),
                    (None, _) => " (own)".to_owned(),
                };
                format!("cargo/{name}@{version}{from}")
            }
        }
    }
}

/// Whether this is how a module of the world is versioned.
fn is_version(text: &str) -> bool {
    text.starts_with('v')
}

/// One path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct File {
    /// Where it is: `root`, `initrd`, `boot` (what UKI and ESP are put together of), or the name of
    /// a container image, such as `oci/pause`.
    pub place: String,
    /// Its path there, with a slash before it.
    pub path: String,
    /// Who answers for it. A directory may have nobody.
    pub component: Option<String>,
    /// Permissions in octal digits, such as `0755`.
    pub mode: String,
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// What it is.
    #[serde(flatten)]
    pub kind: Kind,
    /// What it was linked with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub libraries: Vec<String>,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Kind {
    /// A directory.
    Directory,
    /// A link.
    Symlink {
        /// Where it leads.
        target: String,
    },
    /// A file.
    File {
        /// Bytes.
        size: u64,
        /// Its digest.
        sha256: Hex,
        /// Its digest for SPDX, which wants this one.
        sha1: String,
    },
}

impl File {
    /// Whether it is a file that somebody may execute.
    pub fn is_executable(&self) -> bool {
        let mode = u16::from_str_radix(&self.mode, 8).unwrap_or_default();
        matches!(self.kind, Kind::File { .. }) && mode & 0o111 != 0
    }
}

impl Contents {
    /// Reads `contents.json`.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn parse(text: &[u8]) -> Result<Self, ReportError> {
        #[derive(Deserialize)]
        struct Head {
            schema: u32,
        }
        let not_ours = |error| ReportError::NotAReport(Some(error));
        let Head { schema } = serde_json::from_slice(text).map_err(not_ours)?;
        if schema > SCHEMA {
            return Err(ReportError::Newer(schema));
        }
        serde_json::from_slice(text).map_err(not_ours)
    }

    /// Checks that every file has somebody who answers for it, and every program of ours says what
    /// it is made of.
    ///
    /// # Errors
    /// [`Id::Orphan`] with all that nobody answers for.
    pub fn check(&self) -> Result<()> {
        let mut orphans = Vec::new();
        for file in &self.files {
            let shown = match file.place.as_str() {
                "root" => file.path.clone(),
                place => format!("{} of {place}", file.path),
            };
            let component = file.component.as_ref().and_then(|id| self.components.get(id));
            let is_directory = file.kind == Kind::Directory;
            match component {
                None if !is_directory => orphans.push(format!("{shown} is from nobody")),
                Some(Component::Go | Component::Cargo)
                    if file.is_executable() && file.libraries.is_empty() =>
                {
                    orphans.push(format!("{shown} does not say what it is made of"));
                }
                _ => {}
            }
            for id in file.libraries.iter().filter(|id| !self.libraries.contains_key(*id)) {
                orphans.push(format!("{shown} is made of `{id}`, which nobody knows"));
            }
        }
        if orphans.is_empty() {
            return Ok(());
        }
        let message =
            format!("nobody answers for what is in the image:\n  {}", orphans.join("\n  "));
        Err(Error::new(Id::Orphan, message))
    }

    /// The files that a component answers for.
    pub fn files_of<'a>(&'a self, component: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.component.as_deref() == Some(component))
    }
}

#[cfg(test)]
pub(crate) mod tests;
