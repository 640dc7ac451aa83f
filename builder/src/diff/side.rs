//! One of the two that are compared: all that it tells of itself, as values.

use std::collections::{BTreeMap, BTreeSet};

use formats::architecture::Architecture;
use formats::digest::Sha256;
use serde::Serialize;

use super::boot::Part;
use super::{Head, locks::Locked};
use crate::contents::Library;
use crate::os_release;
use crate::stored::Hex;

/// Where units are.
const UNITS: &str = "/usr/lib/orlop/units/";
/// Where what belongs to a kernel is, below its release.
pub(super) const MODULES: &str = "/usr/lib/modules/";

/// What a side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A directory that `orlop build` made.
    Build,
    /// A version in a repository.
    Commit,
    /// A disk image.
    Disk,
    /// A root image.
    Root,
    /// A lock.
    Lock,
    /// A recipe and its lock.
    Recipe,
}

impl Kind {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Build => "a build",
            Self::Commit => "a commit",
            Self::Disk => "a disk image",
            Self::Root => "a root image",
            Self::Lock => "a lock",
            Self::Recipe => "a recipe with its lock",
        }
    }
}

/// A side. What is nothing, it does not tell.
#[derive(Debug, Clone)]
pub struct Side {
    /// As it was named.
    pub named: String,
    /// What it is.
    pub kind: Kind,
    /// The image's name.
    pub image: Option<String>,
    /// The image's version.
    pub version: Option<String>,
    /// What it runs on.
    pub architecture: Option<Architecture>,
    /// dm-verity's root hash.
    pub root_hash: Option<Sha256>,
    /// Version of each Debian package.
    pub packages: Option<BTreeMap<String, String>>,
    /// What each program was linked with, by place and path. Only a program that says it is here.
    pub programs: Option<BTreeMap<String, Linked>>,
    /// Whether crates and Debian libraries are among that: programs themselves tell modules of Go's.
    pub tells_crates: bool,
    /// All paths.
    pub files: Option<Vec<File>>,
    /// `uname -r`.
    pub release: Option<String>,
    /// The kernel's command line.
    pub command_line: Option<String>,
    /// Parts of the UKI that boots, by the name of their section.
    pub boot: Option<BTreeMap<String, Part>>,
    /// What the kernel was built with.
    pub config: Option<BTreeMap<String, String>>,
    /// Units by name, each as keys with values.
    pub units: Option<BTreeMap<String, BTreeMap<String, String>>>,
    /// Modules that something can ask for.
    pub on_demand: Option<BTreeSet<String>>,
    /// Bytes of the images.
    pub sizes: BTreeMap<&'static str, u64>,
    /// What only a lock has.
    pub lock: Option<Locked>,
}

/// What a program was linked with: kind and name, and the versions, of which crates may have two.
pub type Linked = BTreeMap<(LibraryKind, String), BTreeSet<String>>;

/// What something that was linked in is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LibraryKind {
    /// A Go module, or Go's own library.
    Go,
    /// A crate, or Rust's own library.
    Rust,
    /// A Debian package.
    Deb,
}

/// One path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// `root`, `initrd`, `boot`, or a container image.
    pub place: String,
    /// With a slash before it.
    pub path: String,
    /// Who answers for it.
    pub component: Option<String>,
    /// Permission bits, set-id and sticky bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// What is there.
    pub node: Node,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A link, and where it leads.
    Symlink(String),
    /// A file.
    File {
        /// Bytes.
        size: u64,
        /// What it hashes to.
        sha256: Sha256,
    },
    /// A device or the like.
    Other,
}

impl File {
    /// Bytes of content.
    pub fn size(&self) -> u64 {
        if let Node::File { size, .. } = self.node { size } else { 0 }
    }

    /// Place and path, as a person reads them.
    pub fn shown(&self) -> String {
        if self.place == ROOT { self.path.clone() } else { format!("{}:{}", self.place, self.path) }
    }
}

/// The place that is the root.
pub const ROOT: &str = "root";

impl Side {
    /// One that tells nothing yet.
    pub fn new(named: impl Into<String>, kind: Kind) -> Self {
        Self {
            named: named.into(),
            kind,
            image: None,
            version: None,
            architecture: None,
            root_hash: None,
            packages: None,
            programs: None,
            tells_crates: false,
            files: None,
            release: None,
            command_line: None,
            boot: None,
            config: None,
            units: None,
            on_demand: None,
            sizes: BTreeMap::new(),
            lock: None,
        }
    }

    /// What it is.
    pub fn head(&self) -> Head {
        Head {
            named: self.named.clone(),
            kind: self.kind,
            image: self.image.clone(),
            version: self.version.clone(),
            architecture: self.architecture.map(|of| of.machine().to_owned()),
            root_hash: self.root_hash.map(Hex),
        }
    }

    /// Whether a file of the root is among those whose content is looked at.
    pub fn wants(path: &str) -> bool {
        let of_kernel = path.strip_prefix(MODULES).and_then(|rest| rest.split_once('/'));
        let of_kernel =
            of_kernel.is_some_and(|(_, name)| ["config", "modules.alias"].contains(&name));
        of_kernel
            || path == os_release::PATH
            || (path.starts_with(UNITS) && path.ends_with(".toml"))
    }

    /// Takes the content of what [`Side::wants`], by path: units, the kernel's configuration, what
    /// modules answer to, what the image is called if nobody said it better.
    pub fn read(&mut self, texts: &BTreeMap<String, Vec<u8>>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut units = BTreeMap::new();
        for (path, bytes) in texts {
            let stem = path.strip_prefix(UNITS).and_then(|name| name.strip_suffix(".toml"));
            if let Some(name) = stem {
                units.insert(name.to_owned(), super::units::keys(&text(bytes)));
            }
        }
        self.units = Some(units);
        // A root without the kernel's indexes has no module that could be asked for.
        let aliases = texts.iter().filter(|(path, _)| path.ends_with("/modules.alias"));
        let modules = aliases.flat_map(|(_, bytes)| super::kernel::on_demand(&text(bytes)));
        self.on_demand = Some(modules.collect());
        let of_kernel = texts.iter().find(|(path, _)| path.ends_with("/config"));
        self.config = of_kernel.map(|(_, bytes)| super::kernel::options(&text(bytes)));
        if self.release.is_none() {
            let mut kernels = texts.keys().filter_map(|path| path.strip_prefix(MODULES));
            let release = kernels.find_map(|rest| rest.split_once('/'));
            self.release = release.map(|(release, _)| release.to_owned());
        }
        let said = texts.get(os_release::PATH).map(|bytes| os_release::fields(&text(bytes)));
        let mut said = said.unwrap_or_default();
        self.image = self.image.take().or_else(|| said.remove(os_release::IMAGE));
        self.version = self.version.take().or_else(|| said.remove(os_release::VERSION));
    }

    /// Whether it has container images; nothing if it does not tell.
    pub fn has_container_images(&self) -> Option<bool> {
        self.components()?;
        Some(self.files.iter().flatten().any(|file| file.place.contains('/')))
    }

    /// What it does not tell, in the words of the page. If the other side is known to have no
    /// container images, what is in such is nothing that it could tell.
    pub fn untold(&self, others: Option<bool>) -> Vec<&'static str> {
        // Whoever tells no files says so, and need not say of which.
        let tells = |place: &str| {
            let mut files = self.files.iter().flatten();
            self.files.is_none() || files.any(|file| file.place == place)
        };
        let images =
            self.files.is_none() || self.has_container_images().is_some() || others == Some(false);
        let parts = [
            ("packages", self.packages.is_some()),
            ("modules in programs", self.programs.is_some()),
            ("crates in programs", self.tells_crates),
            ("kernel", self.release.is_some()),
            ("command line", self.command_line.is_some()),
            ("kernel options", self.config.is_some()),
            ("units", self.units.is_some()),
            ("attack surface", self.files.is_some()),
            ("components", self.components().is_some()),
            ("files", self.files.is_some()),
            ("initrd", tells("initrd")),
            ("boot files", tells("boot")),
            ("what is in container images", images),
        ];
        parts.into_iter().filter(|(_, told)| !told).map(|(name, _)| name).collect()
    }

    /// Bytes of each component in all places; nothing if nobody is named.
    pub fn components(&self) -> Option<BTreeMap<String, u64>> {
        let files = self.files.as_ref()?;
        let mut sizes = BTreeMap::new();
        for file in files {
            if let Some(component) = &file.component {
                *sizes.entry(component.clone()).or_insert(0) += file.size();
            }
        }
        (!sizes.is_empty()).then_some(sizes)
    }
}

/// Adds what a program was linked with.
pub fn link(linked: &mut Linked, library: &Library) {
    let kind = match library {
        Library::GoModule { .. } | Library::GoStandard { .. } => LibraryKind::Go,
        Library::Crate { .. } | Library::RustStandard { .. } => LibraryKind::Rust,
        Library::Deb(_) => LibraryKind::Deb,
    };
    let (name, version) = library.named();
    linked.entry((kind, name.to_owned())).or_default().insert(version.to_owned());
}
