//! What to do next, purely: a state of the node and an event give a list of actions, each of which is
//! on the disk before the next begins. The table of steps, with what a power cut does to each, is in
//! `docs/updates.md`.
//!
//! Two rules keep a node bootable. An entry is counted only while the other slot is good, for counting
//! means falling to it. And a slot is written only while the running one is good, stands on top, and is
//! not counted.

mod boot;
mod names;
mod offer;
mod spare;

use formats::boot_entries::{Name, Slot};
use formats::digest::Sha256;
use formats::meta::{Meta, Phase, Release};

pub use boot::{Boot, Health, Unhealthy};
pub use offer::{Asked, Offer, Refusal};
pub use spare::Taken;

/// Trials of one release that may be armed without ever being started.
const MOST_ATTEMPTS: u32 = 3;

/// The system that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The slot whose root is mounted.
    pub slot: Slot,
    /// The image's name.
    pub image: String,
    /// Its architecture.
    pub architecture: String,
    /// Its version.
    pub version: String,
    /// The root hash of its image, by which the kernel verifies it.
    pub root_hash: Sha256,
    /// Its epoch.
    pub epoch: u64,
}

/// What was read of a UKI file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Its digest.
    pub digest: Sha256,
    /// The root hash on its command line.
    pub root_hash: Option<Sha256>,
}

/// All that a decision depends on.
#[derive(Debug, Clone)]
pub struct State {
    /// What runs.
    pub running: Running,
    /// What is remembered.
    pub meta: Meta,
    /// Whether nothing was ever remembered.
    pub new: bool,
    /// The names of the entries, that of slot A first.
    pub names: [Name; 2],
    /// What `LoaderEntryOneShot` holds.
    pub one_shot: Option<String>,
    /// Whether the loader lists the file of a slot: whether it begins as a program does.
    pub listed: [bool; 2],
    /// What the files hold, where they were read.
    pub contents: [Option<Content>; 2],
}

/// One change of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Remember this, in both records.
    Remember(Box<Meta>),
    /// Give the entries these names, by one write.
    Name([Name; 2]),
    /// Zero the first sector of a slot's UKI: the loader lists it no more.
    Unlist(Slot),
    /// Have the loader start an entry once.
    Once(String),
    /// Have it start none.
    NotOnce,
}

/// Actions in order, and what they amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<T> {
    /// What is done, one after the other.
    pub actions: Vec<Action>,
    /// What it means.
    pub outcome: T,
}

impl State {
    /// The slot that does not run.
    pub fn spare(&self) -> Slot {
        self.running.slot.other()
    }

    fn good(&self, slot: Slot) -> Option<&Release> {
        self.meta.good(slot)
    }

    /// Whether what runs was found healthy before.
    fn is_proven(&self) -> bool {
        let good = self.good(self.running.slot);
        good.is_some_and(|good| good.root_hash == self.running.root_hash)
    }

    /// Whether this boot is a trial that is not judged yet.
    pub fn is_on_trial(&self) -> bool {
        let judged = self.meta.trial.as_ref().map(|trial| &trial.phase);
        self.is_trial() && matches!(judged, Some(Phase::Begun | Phase::Arming | Phase::Armed))
    }

    /// Whether what runs is on trial.
    fn is_trial(&self) -> bool {
        self.meta.trial.as_ref().is_some_and(|trial| {
            trial.slot == self.running.slot && trial.release.root_hash == self.running.root_hash
        })
    }

    /// What runs, as it is remembered.
    fn running_release(&self) -> Release {
        let Running { slot, version, root_hash, epoch, .. } = &self.running;
        let content = self.contents[slot.index()].map(|content| content.digest);
        let known = self.good(*slot).filter(|good| good.root_hash == *root_hash);
        Release {
            version: version.clone(),
            root_hash: *root_hash,
            uki: content.or_else(|| known.map(|good| good.uki)).unwrap_or_else(|| Sha256::of([])),
            // No image says its own: what it was released with is remembered.
            epoch: known.map_or(*epoch, |good| good.epoch.max(*epoch)),
        }
    }

    /// To remember `meta`, if that is anything new.
    fn remember(&self, meta: Meta) -> Option<Action> {
        (meta != self.meta || self.new).then(|| Action::Remember(Box::new(meta)))
    }

    /// To give the entries `names`, if they have others.
    fn name(&self, names: [Name; 2]) -> Option<Action> {
        (names != self.names).then_some(Action::Name(names))
    }
}

#[cfg(test)]
mod tests;
