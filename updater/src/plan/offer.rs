//! Step 0: whether a release is for this node, before anything is touched. What depends on the channel, such as
//! from which release on it is reached, is in [`crate::eligible`].

use formats::boot_entries::Slot;
use formats::digest::Sha256;
use formats::incoming::Root;
use formats::meta::{Meta, Release};
use formats::verity::tree_size;

use super::State;

/// A release that somebody wants on the node. Its metadata was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The image's name.
    pub image: String,
    /// Its architecture.
    pub architecture: String,
    /// Its version.
    pub version: String,
    /// Its epoch.
    pub epoch: u64,
    /// Its root image.
    pub root: Root,
    /// The digest of its UKI file.
    pub uki: Sha256,
    /// Bytes of its UKI file.
    pub uki_size: u64,
}

impl Offer {
    /// Bytes of the root image with its hash tree.
    pub fn slot_size(&self) -> u64 {
        self.root.size.saturating_add(tree_size(self.root.blocks()))
    }

    /// As it is remembered.
    pub fn release(&self) -> Release {
        Release {
            version: self.version.clone(),
            root_hash: self.root.hash,
            uki: self.uki,
            epoch: self.epoch,
        }
    }
}

/// Who wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The node's own policy: what failed before is not taken again.
    Policy,
    /// Somebody who has named it to many nodes: what failed before is not taken again.
    Fleet,
    /// A person, who may want again what failed.
    Person,
    /// A person who accepts that what runs may not be healthy, so that there may be nothing good to fall
    /// back to.
    PersonAnyway,
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is another image.
    #[error("the release is of image `{offered}`, and this node has `{own}`")]
    Image {
        /// The release's.
        offered: String,
        /// The node's.
        own: String,
    },
    /// It is for other machines.
    #[error("the release is for {offered}, and this node is {own}")]
    Architecture {
        /// The release's.
        offered: String,
        /// The node's.
        own: String,
    },
    /// It is what runs.
    #[error("the node runs release {0} already")]
    Runs(String),
    /// It is older than what is allowed.
    #[error("the release has epoch {offered}, and this node takes none below {least}")]
    Epoch {
        /// The release's.
        offered: u64,
        /// The node's.
        least: u64,
    },
    /// It failed before.
    #[error(
        "release {version} failed on this node before and is not tried again by itself: {reason}"
    )]
    Failed {
        /// Which.
        version: String,
        /// Why.
        reason: String,
    },
    /// No image has this size.
    #[error("the release has a root image of {0} bytes, which none has")]
    RootSize(u64),
    /// The slot is too small.
    #[error("the release takes {needed} bytes of a root slot, and this node's have {available}")]
    RootTooLarge {
        /// The release's.
        needed: u64,
        /// The node's.
        available: u64,
    },
    /// The UKI has another size than the files of this disk.
    #[error("the release has a UKI of {offered} bytes, and this node's have {own}")]
    UkiSize {
        /// The release's.
        offered: u64,
        /// The node's.
        own: u64,
    },
    /// Another one waits for its trial.
    #[error("release {0} is armed: first restart to try it, or give it up by `cancel`")]
    Armed(String),
    /// A trial is judged first.
    #[error("release {0} is on trial: it is judged first")]
    OnTrial(String),
    /// Somebody goes back with the next boot.
    #[error(
        "the node goes back to release {0} at the next restart: first restart, or give that up by \
         `cancel`"
    )]
    GoesBack(String),
    /// What runs was never healthy: nothing good would be left.
    #[error(
        "this version was not found healthy yet, and the other slot would be lost: wait until it is, \
         the log of `updater` says what is lacking; or go back by `rollback`"
    )]
    NotHealthy,
    /// The UKI of what runs is damaged.
    #[error("the UKI of slot {0}, which runs, is damaged: the other one is needed")]
    RunningUki(Slot),
    /// There is nothing to arm or to cancel.
    #[error("no release is staged")]
    NothingStaged,
    /// There is nothing to go back to.
    #[error("there is nothing to go back to: slot {0} holds no version that was healthy here")]
    NothingGood(Slot),
    /// There is no other release to go back to.
    #[error(
        "there is nothing to go back to: slot {0} holds the release that runs, as on a new disk"
    )]
    SameRelease(Slot),
    /// The UKI of the other slot is damaged.
    #[error("the UKI of slot {0} is damaged")]
    OtherUki(Slot),
}

impl State {
    /// Whether a release may be taken into the spare slot, of `slot_size` bytes, whose UKI file has
    /// `uki_size`. The file of the running slot must have been read.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn check(
        &self,
        offer: &Offer,
        asked: Asked,
        slot_size: u64,
        uki_size: u64,
    ) -> Result<(), Refusal> {
        self.check_offer(offer, asked, slot_size, uki_size)?;
        self.check_running(asked)
    }

    /// Of that what the release itself is asked, whatever stands in the slots.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn check_offer(
        &self,
        offer: &Offer,
        asked: Asked,
        slot_size: u64,
        uki_size: u64,
    ) -> Result<(), Refusal> {
        let (own, meta) = (&self.running, &self.meta);
        let pair = |offered: &str, own: &str| (offered.to_owned(), own.to_owned());
        if offer.image != own.image {
            let (offered, own) = pair(&offer.image, &own.image);
            return Err(Refusal::Image { offered, own });
        }
        if offer.architecture != own.architecture {
            let (offered, own) = pair(&offer.architecture, &own.architecture);
            return Err(Refusal::Architecture { offered, own });
        }
        if offer.root.hash == own.root_hash {
            return Err(Refusal::Runs(own.version.clone()));
        }
        let least = meta.epoch.max(own.epoch);
        if offer.epoch < least {
            return Err(Refusal::Epoch { offered: offer.epoch, least });
        }
        check_failed(meta, offer, asked)?;
        if !offer.root.has_a_size() {
            return Err(Refusal::RootSize(offer.root.size));
        }
        if offer.slot_size() > slot_size {
            let needed = offer.slot_size();
            return Err(Refusal::RootTooLarge { needed, available: slot_size });
        }
        if offer.uki_size != uki_size {
            return Err(Refusal::UkiSize { offered: offer.uki_size, own: uki_size });
        }
        Ok(())
    }

    /// That the next boot is of what runs: no release is on trial or waits for it, and nobody goes back.
    ///
    /// # Errors
    /// [`Refusal::OnTrial`], [`Refusal::Armed`], [`Refusal::GoesBack`].
    pub fn check_stays(&self) -> Result<(), Refusal> {
        self.check_no_trial()?;
        self.goes_back().map_or(Ok(()), |to| Err(Refusal::GoesBack(to.version.clone())))
    }

    /// That no release is on trial or waits for it.
    pub(super) fn check_no_trial(&self) -> Result<(), Refusal> {
        let Some(trial) = &self.meta.trial else { return Ok(()) };
        let version = trial.release.version.clone();
        Err(if self.is_trial() { Refusal::OnTrial(version) } else { Refusal::Armed(version) })
    }

    /// That what runs can be fallen back to, so that the other slot may be written. Its UKI must have been
    /// read.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn check_running(&self, asked: Asked) -> Result<(), Refusal> {
        self.check_stays()?;
        if !self.is_proven() && asked != Asked::PersonAnyway {
            return Err(Refusal::NotHealthy);
        }
        let slot = self.running.slot;
        let content = self.contents[slot.index()];
        let good = self.good(slot).filter(|_| self.is_proven());
        let whole = content.is_some_and(|content| {
            content.root_hash == Some(self.running.root_hash)
                && good.is_none_or(|good| good.uki == content.digest)
        });
        if self.listed[slot.index()] && whole { Ok(()) } else { Err(Refusal::RunningUki(slot)) }
    }
}

fn check_failed(meta: &Meta, offer: &Offer, asked: Asked) -> Result<(), Refusal> {
    match meta.failure(&offer.root.hash) {
        Some(failed) if matches!(asked, Asked::Policy | Asked::Fleet) => {
            Err(Refusal::Failed { version: failed.version.clone(), reason: failed.reason.clone() })
        }
        _ => Ok(()),
    }
}
