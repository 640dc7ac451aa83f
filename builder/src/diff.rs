//! What changed between two versions of a node: `orlop diff`. `docs/diff.md` is the page.
//!
//! ```text
//! argument --load--> Side, what one of the two tells
//! Side x Side --compare--> Difference, the value that `--format json` prints
//! Difference --render--> text, Markdown, a page
//! ```
//! [`load`] reads; all the rest is pure. What a side cannot tell is no difference: it is said.

pub mod boot;
pub mod fetch;
pub mod files;
pub mod kernel;
pub mod load;
pub mod locks;
pub mod packages;
pub mod render;
pub mod side;
pub mod sizes;
pub mod surface;
pub mod units;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::error::{Error, Id, Result};
use crate::stored::Hex;
use boot::PartChange;
pub use fetch::Fetch;
use files::FileChange;
use kernel::KernelChange;
use locks::LockChange;
use packages::{LibraryChange, VersionChange};
pub use side::Side;
use sizes::{Map, SizeChange};
use surface::Surface;
use units::UnitChange;

/// A value on both sides; nothing where it is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pair<T> {
    /// Of the first side.
    pub before: Option<T>,
    /// Of the second side.
    pub after: Option<T>,
}

/// What happened to something that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// It is on the second side only.
    Added,
    /// It is on the first side only.
    Removed,
    /// It is on both sides, and not the same.
    Changed,
}

impl Change {
    /// Of what may be on one side or on both; nothing if it is the same on both.
    pub fn of<T: PartialEq>(before: Option<&T>, after: Option<&T>) -> Option<Self> {
        match (before, after) {
            (None, None) => None,
            (None, Some(_)) => Some(Self::Added),
            (Some(_), None) => Some(Self::Removed),
            (Some(before), Some(after)) => (before != after).then_some(Self::Changed),
        }
    }

    /// One word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

/// What a side is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Head {
    /// As it was named.
    pub named: String,
    /// What it is.
    pub kind: side::Kind,
    /// The image's name.
    pub image: Option<String>,
    /// The image's version.
    pub version: Option<String>,
    /// What it runs on.
    pub architecture: Option<String>,
    /// dm-verity's root hash.
    pub root_hash: Option<Hex>,
}

/// What one side, or both, cannot tell, so that it was not compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Untold {
    /// `before` or `after`.
    pub side: &'static str,
    /// What that is.
    pub kind: side::Kind,
    /// What it does not tell.
    pub what: Vec<&'static str>,
}

/// All that changed. A part that is nothing could not be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    /// Whether anything differs, as far as both sides tell.
    pub different: bool,
    /// The first side.
    pub before: Head,
    /// The second side.
    pub after: Head,
    /// What was not compared.
    pub untold: Vec<Untold>,
    /// Debian packages.
    pub packages: Option<Vec<VersionChange>>,
    /// Go modules, crates and libraries inside programs.
    pub libraries: Option<Vec<LibraryChange>>,
    /// The kernel, its modules and its command line.
    pub kernel: KernelChange,
    /// Parts of the UKI.
    pub boot: Option<Vec<PartChange>>,
    /// What PID 1 starts.
    pub units: Option<Vec<UnitChange>>,
    /// What a node can be attacked by.
    pub surface: Option<Vec<Surface>>,
    /// Sizes of the images that changed.
    pub sizes: Vec<SizeChange>,
    /// Sizes of the components that changed.
    pub components: Option<Vec<SizeChange>>,
    /// Paths.
    pub files: Option<Vec<FileChange>>,
    /// What only locks have.
    pub lock: Option<LockChange>,
    /// What a node with the first side would have to fetch.
    pub fetch: Option<Fetch>,
    /// Where the bytes are.
    #[serde(skip)]
    pub map: Pair<Map>,
}

/// Compares two sides.
///
/// # Errors
/// [`Id::OtherArchitecture`]: of such images everything differs and nothing is news.
/// [`Id::NothingCompared`]: no part is told by both.
pub fn compare(before: &Side, after: &Side, fetch: Option<Fetch>) -> Result<Difference> {
    if let (Some(one), Some(other)) = (before.architecture, after.architecture)
        && one != other
    {
        let message = format!(
            "`{}` is for {one} and `{}` is for {other}: no node goes from one to the other",
            before.named, after.named
        );
        return Err(
            Error::new(Id::OtherArchitecture, message).hint("compare images of one architecture")
        );
    }
    let kernel = kernel::changes(before, after);
    let files = files::changes(before, after);
    let map = sizes::maps(before, after, files.as_deref().unwrap_or_default());
    let mut difference = Difference {
        different: false,
        before: before.head(),
        after: after.head(),
        untold: untold(before, after, fetch.is_some()),
        packages: packages::between(before, after),
        libraries: packages::libraries(before, after),
        kernel,
        boot: boot::changes(before, after),
        units: units::changes(before, after),
        surface: surface::changes(before, after),
        sizes: sizes::images(before, after),
        components: sizes::components(before, after),
        files,
        lock: locks::changes(before, after),
        fetch,
        map,
    };
    if !compares(before, after, &difference) {
        let [one, other] =
            [before, after].map(|side| format!("`{}`, {},", side.named, side.kind.words()));
        let message = format!("{one} and {other} tell nothing in common that could be compared");
        return Err(Error::new(Id::NothingCompared, message)
            .hint("a build tells all that there is to compare, of an image or of a lock"));
    }
    difference.different = difference.differs();
    Ok(difference)
}

/// Whether any part was told by both sides, so that no difference means something.
fn compares(before: &Side, after: &Side, difference: &Difference) -> bool {
    let both = |told: fn(&Side) -> bool| told(before) && told(after);
    difference.packages.is_some()
        || difference.libraries.is_some()
        || difference.boot.is_some()
        || difference.units.is_some()
        || difference.files.is_some()
        || difference.lock.is_some()
        || both(|side| side.root_hash.is_some())
        || both(|side| side.release.is_some())
        || both(|side| side.command_line.is_some())
        || both(|side| side.config.is_some())
        || before.sizes.keys().any(|name| after.sizes.contains_key(name))
}

impl Difference {
    fn differs(&self) -> bool {
        fn any<T>(list: Option<&Vec<T>>) -> bool {
            list.is_some_and(|list| !list.is_empty())
        }
        let identities = self.before.root_hash.zip(self.after.root_hash);
        any(self.packages.as_ref())
            || any(self.libraries.as_ref())
            || self.kernel.differs()
            || any(self.boot.as_ref())
            || any(self.units.as_ref())
            || self.surface.iter().flatten().any(Surface::differs)
            || !self.sizes.is_empty()
            || any(self.components.as_ref())
            || any(self.files.as_ref())
            || self.lock.as_ref().is_some_and(LockChange::differs)
            || identities.is_some_and(|(one, other)| one != other)
            || self.version().is_some()
    }

    /// The versions of the image, if both sides tell one and they are not the same.
    pub fn version(&self) -> Option<(&str, &str)> {
        let versions = self.before.version.as_deref().zip(self.after.version.as_deref());
        versions.filter(|(before, after)| before != after)
    }

    /// Whether nothing but what says the version differs, and what follows from that.
    pub fn is_of_version_alone(&self) -> bool {
        fn none<T>(list: Option<&Vec<T>>) -> bool {
            list.is_none_or(Vec::is_empty)
        }
        self.version().is_some()
            && none(self.packages.as_ref())
            && none(self.libraries.as_ref())
            && !self.kernel.differs()
            && none(self.boot.as_ref())
            && none(self.units.as_ref())
            && !self.surface.iter().flatten().any(Surface::differs)
            && self.files.iter().flatten().all(FileChange::says_version)
            && !self.lock.as_ref().is_some_and(LockChange::differs)
    }
}

/// All keys of two maps in order, each with what either has.
fn both<'a, K: Ord, V>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let keys: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    keys.into_iter().map(|key| (key, before.get(key), after.get(key)))
}

/// What each side does not tell, and the other does not make up for.
fn untold(before: &Side, after: &Side, fetch: bool) -> Vec<Untold> {
    let sides = [("before", before, after), ("after", after, before)];
    let mut untold: Vec<_> = sides
        .into_iter()
        .map(|(name, side, other)| Untold {
            side: name,
            kind: side.kind,
            what: side.untold(other.has_container_images()),
        })
        .filter(|untold| !untold.what.is_empty())
        .collect();
    if !fetch && before.root_hash != after.root_hash {
        // Whoever has no image at all says so.
        for untold in untold.iter_mut().filter(|untold| !untold.what.contains(&"files")) {
            untold.what.push("bytes to fetch");
        }
    }
    untold
}

#[cfg(test)]
pub(crate) mod tests;
