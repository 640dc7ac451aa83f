//! The recipe's types. Names in TOML are kebab-case and unknown keys are refused.
//!
//! Paths in a recipe are relative to the file that names them; loading makes them absolute: a
//! field of type `PathBuf` is read through [`host_path`], which asks the deserializer for it under
//! the name [`HOST_PATH`].

mod budget;
mod kata;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use formats::architecture::Architecture;
use serde::{Deserialize, Serialize};

use crate::credentials::Written;

pub use self::budget::{Budget, Bytes, Count, Percent};
pub use self::kata::{Guest, Hypervisor, Kata, UPSTREAM};
pub use self::values::{
    Digest, FileMode, ImageLocation, ImagePath, ImageReference, Mib, Name, Owner, Pattern, Schema,
    Snapshot,
};

/// A whole recipe, after `extends` and profile.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// Version of this schema: 1.
    pub schema: Schema,
    /// Names the image, its directory and its releases.
    pub name: Name,
    /// What is in it, in a sentence.
    #[serde(default)]
    pub description: String,
    /// What the image runs on.
    #[serde(default)]
    pub arch: Architecture,
    /// What `os-release` says.
    pub os: Os,
    /// The kernel, its modules and its command line.
    pub kernel: Kernel,
    /// Packages from a Debian archive.
    pub debian: Debian,
    /// Go programs, by component.
    #[serde(default)]
    pub go: BTreeMap<Name, Go>,
    /// Rust programs of a Cargo workspace, by component.
    #[serde(default)]
    pub cargo: BTreeMap<Name, Cargo>,
    /// Files from the web, by component.
    #[serde(default)]
    pub url: BTreeMap<Name, Url>,
    /// Files and directories from beside the recipe, by component; later names win nothing:
    /// two that give one path conflict unless `replace` lists it.
    #[serde(default)]
    pub local: BTreeMap<Name, Local>,
    /// Pods in virtual machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kata: Option<Kata>,
    /// Container images that lie in the root as archives.
    #[serde(default)]
    pub oci: BTreeMap<Name, Oci>,
    /// Profiles of AppArmor, by component.
    #[serde(default)]
    pub apparmor: BTreeMap<Name, Apparmor>,
    /// Users and groups with fixed ids.
    #[serde(default)]
    pub users: BTreeMap<Name, User>,
    /// What the tree is made of beside packages and programs, and what it may hold.
    #[serde(default)]
    pub tree: TreeRules,
    /// How large the partitions are.
    #[serde(default)]
    pub disk: Disk,
    /// What the image may have at most.
    #[serde(default)]
    pub budget: Budget,
}

impl Recipe {
    /// The Go components of the root and of the container images, each with its place in the
    /// recipe: `go.NAME` or `oci.IMAGE.go.NAME`.
    pub fn all_go(&self) -> impl Iterator<Item = (String, &Go)> {
        let images = self.oci.iter().flat_map(|(image, oci)| {
            oci.go.iter().map(move |(name, go)| (format!("oci.{image}.go.{name}"), go))
        });
        self.go.iter().map(|(name, go)| (format!("go.{name}"), go)).chain(images)
    }

    /// The packages that compile this recipe's Cargo components: none if it has no such component.
    pub fn compilers(&self) -> impl Iterator<Item = &String> {
        let any = self.all_cargo().next().is_some();
        self.debian.compilers.iter().filter(move |_| any)
    }

    /// The Cargo components of the root and of the container images, likewise.
    pub fn all_cargo(&self) -> impl Iterator<Item = (String, &Cargo)> {
        let images = self.oci.iter().flat_map(|(image, oci)| {
            oci.cargo.iter().map(move |(name, cargo)| (format!("oci.{image}.cargo.{name}"), cargo))
        });
        self.cargo.iter().map(|(name, cargo)| (format!("cargo.{name}"), cargo)).chain(images)
    }

    /// All local components by their full names: `local.NAME`, `oci.IMAGE.local.NAME`.
    pub fn all_local(&self) -> impl Iterator<Item = (String, &Local)> {
        let images = self.oci.iter().flat_map(|(image, oci)| {
            oci.local.iter().map(move |(name, local)| (format!("oci.{image}.local.{name}"), local))
        });
        self.local.iter().map(|(name, local)| (format!("local.{name}"), local)).chain(images)
    }
}

/// What `os-release` says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Os {
    /// `ID=`, for programs.
    pub id: Name,
    /// `NAME=`, for people.
    pub name: String,
    /// The image's version, under our own key: `VERSION*` in a UKI's `.osrel` would overrule
    /// the boot loader's order (see `docs/disk.md`).
    pub version: String,
}

/// The kernel, its modules and its command line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Kernel {
    /// The Debian package, or meta-package, that brings `boot/vmlinuz-*` and the modules.
    pub package: String,
    /// Parameters in order, beside those that are always given.
    #[serde(default)]
    pub command_line: Vec<String>,
    /// Modules in the root that every boot loads, by name; what they depend on comes along.
    #[serde(default)]
    pub modules: BTreeSet<String>,
    /// Modules in the root that every boot loads once containerd answers, before the first pod.
    #[serde(default)]
    pub modules_for_pods: BTreeSet<String>,
    /// Modules in the root that are loaded when the kernel asks for them.
    #[serde(default)]
    pub modules_on_demand: BTreeSet<String>,
    /// Of those on demand the ones that are kept uncompressed, with what they depend on.
    #[serde(default)]
    pub modules_uncompressed: BTreeSet<String>,
    /// Modules in the initrd: what it takes to reach the root, loaded in dependency order.
    #[serde(default)]
    pub initrd_modules: BTreeSet<String>,
}

/// Packages from a Debian archive.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Debian {
    /// Suites in order, such as `trixie`, `trixie-updates`, `trixie-security`. A suite that
    /// ends in `-security` is looked for in the mirrors' `debian-security`.
    pub suites: Vec<String>,
    /// Components, such as `main`.
    pub components: Vec<String>,
    /// Fingerprints (40 hexadecimal digits) of the keys whose signature on a suite's release
    /// file is believed; one good signature is enough.
    pub keys: BTreeSet<String>,
    /// A keyring file that holds those keys; without it the host's Debian keyrings are searched.
    #[serde(default, with = "host_path::optional", skip_serializing_if = "Option::is_none")]
    pub keyring: Option<PathBuf>,
    /// The time of a dated archive: release files are believed as of then, and none that was made
    /// later. Without it, as of now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// Packages of the root, by name; their `Depends` and `Pre-Depends` come along.
    #[serde(default)]
    pub packages: BTreeSet<String>,
    /// Packages for building the image only (boot loader, stub): not in the root, and without
    /// their dependencies.
    #[serde(default)]
    pub tools: BTreeSet<String>,
    /// Packages that compile Cargo components: a C compiler called `gcc` and a static C library;
    /// what they need of their dependencies comes along. Nothing of them is in the root but what
    /// the programs were linked with; without Cargo components they are not asked for.
    #[serde(default = "compilers")]
    pub compilers: BTreeSet<String>,
    /// Packages that are left out although something depends on them, each with the reason.
    #[serde(default)]
    pub exclude: BTreeMap<String, String>,
    /// Globs over paths that packages bring and the root does without, such as `/usr/share/doc/**`.
    #[serde(default)]
    pub drop: BTreeSet<String>,
}

/// Debian's names for the C compiler and the C library of a suite, whichever versions it has.
fn compilers() -> BTreeSet<String> {
    ["gcc", "libc6-dev"].map(str::to_owned).into()
}

/// Go programs built from one `go.mod`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Go {
    /// The directory of `go.mod` and `go.sum`; `tool` lines name the programs that may be built.
    #[serde(with = "host_path")]
    pub module: PathBuf,
    /// Build tags.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// `-X` settings stamped into the programs: variable and value. In a value, `{version}`
    /// stands for the version of the module that holds the program, as `go.mod` requires it.
    #[serde(default)]
    pub stamp: BTreeMap<String, String>,
    /// Where each program goes: the package's import path and the path in the image.
    pub programs: BTreeMap<String, ImagePath>,
}

/// Rust programs built from one Cargo workspace, statically linked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cargo {
    /// The directory of the workspace's `Cargo.toml` and `Cargo.lock`.
    #[serde(with = "host_path")]
    pub workspace: PathBuf,
    /// The package.
    pub package: String,
    /// Where each binary goes: its name and the path in the image.
    pub programs: BTreeMap<String, ImagePath>,
}

/// A file from the web.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Url {
    /// Where it can be had.
    pub url: Written,
    /// What it hashes to.
    pub sha256: Digest,
    /// Where it goes: members and directories of the archive by path, or `"."` for the file
    /// itself. Of a release of Kata that is taken which `kata.hypervisor` needs, whatever stands here.
    #[serde(default)]
    pub unpack: BTreeMap<String, ImagePath>,
    /// The mode of all these files; if not said, 0644, or 0755 for what the archive lets its
    /// owner execute in a directory that is taken whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<FileMode>,
}

/// A file or directory from beside the recipe.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Local {
    /// The file, or the directory that is laid over the tree. Files are `root:root`, 0644, or
    /// 0755 if the owner may execute them: nothing else of the host is taken over.
    #[serde(with = "host_path")]
    pub path: PathBuf,
    /// Where it goes.
    pub at: ImagePath,
    /// Other modes than these, by [`Pattern`].
    #[serde(default)]
    pub modes: BTreeMap<Pattern, FileMode>,
    /// Other owners than root, by [`Pattern`].
    #[serde(default)]
    pub owners: BTreeMap<Pattern, Owner>,
}

/// A container image that lies in the root, for the node to import. It is made here, and is then a small
/// root of its own: the paths of its components are paths in the container. Or it is somebody else's, of
/// an archive or of a registry, and is taken as it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Oci {
    /// What it is called.
    pub reference: ImageReference,
    /// Where the archive goes; for an image of somebody else, the index that names its parts, which lie
    /// beside that.
    pub at: ImagePath,
    /// An OCI image layout that has it: a directory, or an archive.
    #[serde(default, with = "host_path::optional", skip_serializing_if = "Option::is_none")]
    pub archive: Option<PathBuf>,
    /// Where a registry has it; what that is is decided when the lock is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<ImageLocation>,
    /// How the layers of an image of somebody else lie in the root.
    #[serde(default, skip_serializing_if = "Layers::are_as_they_are")]
    pub layers: Layers,
    /// The program and its first arguments.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// More arguments, in whose place a pod may give others.
    #[serde(default)]
    pub command: Vec<String>,
    /// Environment variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// `USER[:GROUP]`, names or numbers; empty for root.
    #[serde(default)]
    pub user: String,
    /// Go programs, by component.
    #[serde(default)]
    pub go: BTreeMap<Name, Go>,
    /// Rust programs of a Cargo workspace, by component.
    #[serde(default)]
    pub cargo: BTreeMap<Name, Cargo>,
    /// Files and directories from beside the recipe, by component.
    #[serde(default)]
    pub local: BTreeMap<Name, Local>,
}

/// How layers lie in the root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layers {
    /// As the registry has them, so that the image has the registry's digest.
    #[default]
    AsTheyAre,
    /// Not packed: the first container starts sooner, and the image has a digest of its own.
    Plain,
}

impl Layers {
    fn are_as_they_are(&self) -> bool {
        *self == Self::AsTheyAre
    }
}

impl Oci {
    /// Whether it is somebody else's.
    pub fn is_foreign(&self) -> bool {
        self.archive.is_some() || self.registry.is_some()
    }
}

/// A profile of AppArmor. It lies in the root as the kernel reads it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Apparmor {
    /// The file that holds it as people write it.
    #[serde(with = "host_path")]
    pub profile: PathBuf,
    /// Where it goes, compiled.
    pub at: ImagePath,
}

/// A user with a group of the same name and id.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct User {
    /// User and group id.
    pub id: u32,
    /// Home directory; nothing makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<ImagePath>,
}

/// What the tree is made of beside packages and programs, and what it may hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TreeRules {
    /// Empty directories: mount points and the like.
    #[serde(default)]
    pub directories: BTreeSet<ImagePath>,
    /// Symbolic links: path and target.
    #[serde(default)]
    pub symlinks: BTreeMap<ImagePath, String>,
    /// Paths that a later component may give although an earlier one has given them.
    #[serde(default)]
    pub replace: BTreeSet<ImagePath>,
    /// Makes one file of all certificates that a package brought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// Globs of executables that may be in the root, each with the component it belongs to.
    /// Programs of `go` and `cargo` need no line here.
    #[serde(default)]
    pub executables: BTreeMap<String, String>,
}

/// One file of all certificates, in place of the directory that they came in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CaBundle {
    /// The directory whose `.crt` files (PEM) are joined, in the order of their paths.
    pub from: ImagePath,
    /// The file that takes them all.
    pub at: ImagePath,
}

/// How large the partitions are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Disk {
    /// The EFI system partition.
    pub esp: Mib,
    /// Each of `ROOT-A` and `ROOT-B`.
    pub root: Mib,
    /// `STATE` as it is in the image; the first boot grows it to the disk.
    pub state: Mib,
    /// Each of the two UKI files, padded to this size so that an update can overwrite one.
    pub uki: Mib,
}

impl Default for Disk {
    fn default() -> Self {
        Self { esp: Mib(128), root: Mib(768), state: Mib(64), uki: Mib(40) }
    }
}

/// The name under which a [`host_path`] is read as a newtype; a deserializer that knows it makes
/// the path absolute, others give the text.
pub(super) const HOST_PATH: &str = "orlop::recipe::HostPath";

/// Paths of the building host.
mod host_path {
    use std::fmt;
    use std::path::{Path, PathBuf};

    use serde::de::{Deserializer, Visitor};
    use serde::{Deserialize as _, Serializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        struct Newtype;

        impl<'de> Visitor<'de> for Newtype {
            type Value = PathBuf;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                from: D,
            ) -> Result<PathBuf, D::Error> {
                String::deserialize(from).map(PathBuf::from)
            }
        }

        from.deserialize_newtype_struct(super::HOST_PATH, Newtype)
    }

    pub(super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&path.to_string_lossy())
    }

    /// The same where the key may be left out.
    pub(super) mod optional {
        use super::{Deserializer, Path, PathBuf, Serializer};

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<PathBuf>, D::Error> {
            super::deserialize(from).map(Some)
        }

        pub(in super::super) fn serialize<S: Serializer>(
            path: &Option<impl AsRef<Path>>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match path {
                Some(path) => super::serialize(path.as_ref(), to),
                None => to.serialize_none(),
            }
        }
    }
}
