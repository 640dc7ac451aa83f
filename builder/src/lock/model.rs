//! The lock's types: what `orlop.lock` holds. `text` says how it is written.

use std::collections::BTreeSet;

use formats::oci::Location;
use formats::tree::Blob;
use serde::Deserialize;

use crate::recipe::model::Digest;
use crate::source::image::Part;

/// The whole lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// What the resolver was asked, one fact a line, sorted.
    pub inputs: Vec<String>,
    /// The release files that were believed, in the recipe's order.
    pub suites: Vec<Suite>,
    /// Debian packages, sorted by name.
    pub packages: Vec<Package>,
    /// Debian packages that compile Cargo components, sorted by name. A package may be here and in
    /// the root as well.
    pub compilers: Vec<Package>,
    /// The Rust compilers that were there, one if all Cargo components are compiled by the same.
    pub rustc: Vec<Rustc>,
    /// Files from the web, sorted by component.
    pub urls: Vec<UrlFile>,
    /// Container images of registries, sorted by component.
    pub images: Vec<Image>,
}

impl Lock {
    /// All packages, for whatever they are: one that is in the root and compiles stands twice.
    pub fn all_packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().chain(&self.compilers)
    }
}

/// A suite's release file, as it was when the lock was made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Suite {
    /// Such as `trixie-security`.
    pub name: String,
    /// Its `Date` field, as written.
    pub date: String,
    /// Fingerprint of the key whose signature was good.
    pub signed_by: String,
    /// The signed file itself, which `orlop lock` keeps in the store: anybody can check again.
    pub release: Digest,
}

/// One Debian package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64` or `all`.
    pub architecture: String,
    /// The source package; licences and security notices go by it.
    pub source: String,
    /// The suite that it was taken from.
    pub suite: String,
    /// `Filename` of the index: the path below a mirror.
    pub path: String,
    /// The `.deb`.
    pub blob: Blob,
    /// In the root, or for building the image only.
    pub role: Role,
    /// Who required it: packages, or `recipe`.
    pub required_by: BTreeSet<String>,
}

/// What a package is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Its files are in the root.
    Root,
    /// It brings the kernel: `vmlinuz` for the UKI, modules for initrd and root.
    Kernel,
    /// It is used to build the image: boot loader, stub.
    Tool,
    /// It compiles programs of the image. Never the role of one of [`Lock::packages`].
    #[serde(skip)]
    Compiler,
}

/// A Rust compiler, as it calls itself: two that do so by the same words make the same programs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rustc {
    /// Such as `rustc 1.95.0 (59807616e 2026-04-14)`.
    pub version: String,
    /// The commit that it was built from.
    pub commit: String,
    /// The host triple.
    pub host: String,
    /// The version of its LLVM.
    pub llvm: String,
}

/// A file from the web.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlFile {
    /// The component's name in the recipe.
    pub component: String,
    /// Where it can be had.
    pub url: String,
    /// What it is.
    pub blob: Blob,
}

/// A container image of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The component's name in the recipe.
    pub component: String,
    /// Where it can be had: as the recipe has it.
    pub location: Location,
    /// What its name stood for when the lock was made, and all that follows from that: index, manifest,
    /// configuration, layers.
    pub parts: Vec<Part>,
}
