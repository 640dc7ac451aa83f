//! The partition `META`: what an updater must not forget, in two records of which at least one is
//! whole at any moment. `docs/disk.md` has the layout.
//!
//! A record is written only while the other one is whole, so a power cut costs at most the one under
//! way. What a later updater has added is kept by an earlier one that writes, or refused if it says so.

mod fields;
mod record;

use crate::boot_entries::Slot;
use crate::digest::Sha256;

pub use fields::Unknown;
pub use record::{Found, choose};

/// Bytes of a record.
pub const RECORD: usize = 8192;

/// Where the two records stand in the partition, in bytes: far apart, for flash loses whole blocks.
pub const OFFSETS: [u64; 2] = [0, 512 << 10];

/// How many releases that failed are remembered; the oldest is forgotten first.
pub const MOST_FAILED: usize = 16;

/// Bytes of a version.
pub const MOST_VERSION: usize = 64;

/// Bytes of a reason; what is longer is cut.
pub const MOST_REASON: usize = 200;

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// No release of a lower one is taken. Never falls.
    pub epoch: u64,
    /// What was healthy last in each slot, slot A first; nothing where a slot is written anew.
    pub good: [Option<Release>; 2],
    /// Releases that are not tried again by themselves, the oldest first.
    pub failed: Vec<Failed>,
    /// What lies in the spare slot, whole and verified.
    pub staged: Option<Staged>,
    /// The trial under way.
    pub trial: Option<Trial>,
    /// Why the node fell back last; gone with the next promotion.
    pub fallback: Option<Fallback>,
    /// What a later updater wrote, which is kept.
    pub unknown: Vec<Unknown>,
}

/// A release in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its version: at most [`MOST_VERSION`] bytes.
    pub version: String,
    /// dm-verity's root hash of its image: what tells two releases apart.
    pub root_hash: Sha256,
    /// The digest of its UKI file.
    pub uki: Sha256,
    /// Its epoch.
    pub epoch: u64,
}

/// A release that is not tried again by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Its version.
    pub version: String,
    /// Its root hash.
    pub root_hash: Sha256,
    /// When it failed, in seconds since 1970.
    pub time: u64,
    /// Why, for people.
    pub reason: String,
}

/// A release that lies in the spare slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// Which slot.
    pub slot: Slot,
    /// What it is.
    pub release: Release,
    /// How often its trial was armed.
    pub attempts: u32,
}

/// A trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Which slot is tried.
    pub slot: Slot,
    /// What lies in it.
    pub release: Release,
    /// When it was armed, in seconds since 1970.
    pub since: u64,
    /// How often its trial was armed, this time included.
    pub attempts: u32,
    /// How it is started.
    pub method: Method,
    /// How far it has come.
    pub phase: Phase,
}

/// How a trial is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The loader starts its entry once: `LoaderEntryOneShot`.
    OneShot,
    /// Its entry stands above the other one with one attempt.
    Counted,
    /// The running kernel starts its kernel.
    Kexec,
    /// Somebody chose its entry in the loader.
    Chosen,
}

/// How far a trial has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// About to be armed: the loader may know of it or not.
    Arming,
    /// The next boot is it.
    Armed,
    /// It runs.
    Begun,
    /// It was shut down in good order before it was judged.
    Interrupted,
    /// It was found unhealthy, with the reason.
    Unhealthy(String),
    /// It was found healthy: its promotion is under way.
    Healthy,
}

/// Why a node runs an older release than it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// The version that it fell back from.
    pub version: String,
    /// The root hash of that.
    pub root_hash: Sha256,
    /// When it was noticed, in seconds since 1970.
    pub time: u64,
    /// Why, for people.
    pub reason: String,
}

/// The records cannot be believed or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// No record is whole, and the partition is not empty.
    #[error("both records of META are damaged")]
    BothDamaged,
    /// A newer form.
    #[error("META has form {0}, which a later updater wrote; {known} is known here", known = record::FORM)]
    Form(u16),
    /// A field that must be understood.
    #[error("META has field {0}, which a later updater wrote and which must not be passed over")]
    Field(u16),
    /// The checksum is right and the content is not.
    #[error("META has a wrong {0}")]
    Content(&'static str),
    /// More than a record holds.
    #[error("what META must hold takes {0} bytes, and a record has {RECORD}")]
    TooLarge(usize),
}

impl Meta {
    /// What was healthy last in a slot.
    pub fn good(&self, slot: Slot) -> Option<&Release> {
        self.good[slot.index()].as_ref()
    }

    /// Why a release is not tried again by itself.
    pub fn failure(&self, root_hash: &Sha256) -> Option<&Failed> {
        self.failed.iter().rev().find(|failed| failed.root_hash == *root_hash)
    }

    /// Remembers that a release failed. It is remembered once, with the last reason.
    pub fn add_failed(&mut self, release: &Release, time: u64, reason: &str) {
        self.failed.retain(|failed| failed.root_hash != release.root_hash);
        if self.failed.len() >= MOST_FAILED {
            self.failed.drain(..=self.failed.len() - MOST_FAILED);
        }
        let Release { version, root_hash, .. } = release.clone();
        self.failed.push(Failed { version, root_hash, time, reason: shortened(reason) });
    }

    /// The bytes of a record with this number: [`RECORD`] of them.
    ///
    /// # Errors
    /// [`MetaError::TooLarge`], which only fields of a later updater can bring about.
    pub fn record(&self, sequence: u64) -> Result<Vec<u8>, MetaError> {
        record::encode(self, sequence)
    }
}

/// A reason as it is kept: one line, cut where it is too long.
pub fn shortened(reason: &str) -> String {
    let line = reason.replace(char::is_control, " ");
    let end = (0..=MOST_REASON.min(line.len())).rev().find(|at| line.is_char_boundary(*at));
    line[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests;
