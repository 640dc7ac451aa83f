//! `orlop clean`: what is in the store and the caches, what of it may go, and removing that.
//!
//! Nothing here shapes an output: what is removed costs time to make again. What would cost the
//! network is kept if a lock needs it, be it ever so old: the blobs that locks of this directory
//! name, of those that builds have used with this store, and what compilers have fetched for them.
//! [`found`] lists what is there, [`needed`] what must stay, [`decide`] is a pure function of both.

pub mod found;
pub mod needed;
mod remove;
mod show;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use formats::digest::Sha256;

pub use needed::Needed;
pub use remove::remove;
pub use show::{Outcome, Report};

use crate::step;
use crate::store::ROOTS;

/// What a category consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Blobs of the store.
    Blobs,
    /// Results of steps in the store.
    Steps,
    /// Downloads under way in the store.
    Partials,
    /// Files of the store that are one piece each.
    StoreFiles(&'static str),
    /// A cache that goes as a whole or not at all.
    Whole(&'static str),
    /// A cache whose entries are independent.
    Entries(&'static str),
    /// A cache whose files are independent, down to the last directory.
    Files(&'static str),
}

/// A row of the table of all that grows.
#[derive(Debug, Clone, Copy)]
pub struct Category {
    /// As `--only` takes it.
    pub name: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    /// What it consists of, and its directory.
    pub kind: Kind,
}

const fn category(name: &'static str, what: &'static str, kind: Kind) -> Category {
    Category { name, what, kind }
}

/// Everything that grows. A new cache is a new line here.
pub const CATEGORIES: &[Category] = &[
    category("blobs", "packages, modules, files and results", Kind::Blobs),
    category("steps", "what steps have made of what", Kind::Steps),
    category("partial", "downloads under way", Kind::Partials),
    category("derived", "digests that follow from blobs", Kind::StoreFiles("derived")),
    category("go", "Go modules, unpacked", Kind::Whole("go")),
    category("go-build", "compiled Go packages", Kind::Files("go-build")),
    category("cargo-target", "compiled crates by workspace", Kind::Entries("cargo-target")),
    category("compilers", "compilers of locks, unpacked", Kind::Entries("compilers")),
    category("programs", "programs of clusters", Kind::Entries("programs")),
];

/// Kinds that only remember, and name blobs that they do not need.
const NOTES: &[&str] = &["latest", "output", "output-of", ROOTS];

/// Whether results of this kind can be made again without the network. All others may be what a
/// compiler has fetched.
fn made_again(kind: &str) -> bool {
    step::Kind::ALL.iter().any(|known| known.name() == kind) || NOTES.contains(&kind)
}

/// Something that can be removed on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The index of its category.
    pub category: usize,
    /// Where it is.
    pub path: PathBuf,
    /// What it takes on the disk.
    pub bytes: u64,
    /// How long it was not used, or since it was made.
    pub age: Duration,
    /// What it is in the store.
    pub id: ItemId,
}

/// What the store knows an item by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ItemId {
    /// A blob, or the beginning of one.
    Blob(Sha256),
    /// The result of a step, and the blobs that it names.
    Step {
        /// The kind of step.
        kind: String,
        /// Its key.
        key: Sha256,
        /// Blobs without which it is of no use.
        names: BTreeSet<Sha256>,
    },
    /// None of these.
    Other,
}

/// Whether something stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes.
    Remove,
    /// It was used lately, or belongs to something that was.
    Young,
    /// A lock needs it.
    Needed,
    /// Its category was not asked for.
    NotAsked,
}

/// Decides on each item. `chosen` are the categories that may lose something.
pub fn decide(
    items: &[Item],
    older_than: Duration,
    needed: &Needed,
    chosen: impl Fn(&Category) -> bool,
) -> Vec<Verdict> {
    let asked = |item: &Item| chosen(&CATEGORIES[item.category]);
    let by_age = |item: &Item| if item.age < older_than { Verdict::Young } else { Verdict::Remove };
    let alone = |item: &Item| match &item.id {
        ItemId::Step { kind, key, .. }
            if needed.steps.contains(&(kind.clone(), *key))
                && (kind == ROOTS || !made_again(kind)) =>
        {
            Verdict::Needed
        }
        ItemId::Blob(sha256) if needed.blobs.contains(sha256) => Verdict::Needed,
        _ if !asked(item) => Verdict::NotAsked,
        _ => by_age(item),
    };
    let mut verdicts: Vec<_> = items.iter().map(alone).collect();
    // What a result that stays is made of stays with it.
    let mut held: BTreeSet<Sha256> = BTreeSet::new();
    let mut held_by_need: BTreeSet<Sha256> = BTreeSet::new();
    for (item, verdict) in items.iter().zip(&verdicts) {
        if let (ItemId::Step { kind, names, .. }, true) = (&item.id, *verdict != Verdict::Remove)
            && !NOTES.contains(&kind.as_str())
        {
            held.extend(names);
            if *verdict == Verdict::Needed {
                held_by_need.extend(names);
            }
        }
    }
    for (item, verdict) in items.iter().zip(&mut verdicts) {
        if let ItemId::Blob(sha256) = item.id {
            if held_by_need.contains(&sha256) {
                *verdict = Verdict::Needed;
            } else if *verdict == Verdict::Remove && held.contains(&sha256) {
                *verdict = Verdict::Young;
            }
        }
    }
    verdicts
}

/// Where everything is.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The store.
    pub store: &'a Path,
    /// The directory of all caches.
    pub caches: &'a Path,
}

#[cfg(test)]
mod tests;
