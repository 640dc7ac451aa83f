//! A release comes into the spare slot: its UKI into memory first, so that a release which is no good is
//! refused before anything is touched; then the image, by the cheapest way; then the steps.

use std::io::Cursor;

use formats::boot_entries::Slot;
use formats::command_line;
use formats::digest::Sha256;
use formats::incoming::Root;
use formats::release::Release;
use formats::uki::Uki;
use formats::verity::{Verity, tree_size};

use super::Node;
use crate::device::{Device as _, MemoryDevice};
use crate::plan::{Asked, Offer, Refusal};
use crate::protocol::Failed;
use crate::steps::{StepError, Take};
use crate::transport::{Arrived, Progress, Running, Wanted, fetch_image};
use crate::trust::Channel;
use crate::words::words;

/// Gives up what is armed.
pub type GiveWay<'a> = dyn Fn(&mut Node) -> Result<(), String> + 'a;

/// What a release needs to come: where it is, who wants it, and who hears how far it is.
pub struct Staging<'a> {
    /// Where its files are.
    pub channel: &'a Channel<'a>,
    /// Who wants it.
    pub asked: Asked,
    /// Another release is armed and gives way to this one: does that, once all is checked that can be
    /// without a slot.
    pub gives_way: Option<&'a GiveWay<'a>>,
    /// Hears of the root image.
    pub told: &'a dyn Fn(Progress),
}

impl std::fmt::Debug for Staging<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staging").field("asked", &self.asked).finish_non_exhaustive()
    }
}

/// How a release came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// It was staged already.
    There,
    /// Now.
    Now {
        /// The root image.
        root: Arrived,
        /// The UKI.
        uki: Arrived,
    },
}

impl Node {
    /// Brings a release, whose metadata was verified, into the spare slot. When this returns well it is on
    /// the disk, read back, and may be tried.
    ///
    /// # Errors
    /// In words. Nothing in the spare slot can be booted then, unless another release was armed and stays so;
    /// and another call goes on.
    pub fn stage(&mut self, release: &Release, staging: &Staging<'_>) -> Result<Came, Failed> {
        let root = release.root().map_err(|error| words(&error))?;
        if let Some(uki) = self.staged_uki(root.hash)? {
            let offer = offer(release, root.clone(), uki)?;
            let took = self.machine.take(offer, staging.asked).map_err(refused)?;
            if let Take::Staged(_) = took {
                return Ok(Came::There);
            }
        }
        if staging.gives_way.is_none() {
            self.machine.check(staging.asked).map_err(refused)?;
        }
        let wanted = Wanted::root(release).map_err(|error| words(&error))?;
        let (needed, available) = (wanted.size(), self.machine.spare_size());
        if needed > available {
            return Err(Refusal::RootTooLarge { needed, available }.to_string().into());
        }
        let (uki, came) = self.fetch_uki(release, root.hash, staging.channel)?;
        let offer = offer(release, root, Sha256::of(&uki))?;
        if let Some(give_way) = staging.gives_way {
            self.machine.check_offer(&offer, staging.asked).map_err(refused)?;
            give_way(self)?;
        }
        let image = self.running_image();
        let image = image.map_err(|error| format!("cannot open the image that runs: {error}"))?;
        let running = self.machine.running().root_hash;
        let took = self.machine.take(offer, staging.asked).map_err(refused)?;
        let Take::Spare(mut spare) = took else { return Ok(Came::There) };
        let running = Running { hash: running, size: image.size(), device: &image };
        let arrived =
            fetch_image(staging.channel, &wanted, Some(running), spare.root(), staging.told);
        let arrived = arrived.map_err(|error| words(&error))?;
        spare.stage(&mut Cursor::new(uki)).map_err(|error| words(&error))?;
        Ok(Came::Now { root: arrived, uki: came })
    }

    /// The digest of the UKI of what is staged, if that is this image.
    fn staged_uki(&mut self, root_hash: Sha256) -> Result<Option<Sha256>, String> {
        let meta = self.machine.record().map_err(|error| words(&error))?;
        let staged = meta.staged.as_ref().filter(|it| it.release.root_hash == root_hash);
        Ok(staged.map(|staged| staged.release.uki))
    }

    /// The UKI of a release, of the size that this disk has room for.
    fn fetch_uki(
        &self,
        release: &Release,
        root_hash: Sha256,
        channel: &Channel<'_>,
    ) -> Result<(Vec<u8>, Arrived), String> {
        let wanted = Wanted::uki(release).map_err(|error| words(&error))?;
        let (offered, own) = (wanted.root.size, self.machine.uki_extent(Slot::A).length);
        if offered != own {
            return Err(Refusal::UkiSize { offered, own }.to_string());
        }
        let running = self.uki(self.parts.slot).ok().and_then(Whole::of);
        let running = running.as_ref().map(Whole::image);
        let size = offered.saturating_add(tree_size(wanted.root.blocks()));
        let cannot = |error: std::io::Error| format!("cannot hold the UKI in memory: {error}");
        let mut memory = MemoryDevice::new(size).map_err(cannot)?;
        let arrived = fetch_image(channel, &wanted, running, &mut memory, &|_| {});
        let arrived = arrived.map_err(|error| format!("the UKI: {}", words(&error)))?;
        let mut uki = memory.into_bytes();
        uki.truncate(usize::try_from(offered).unwrap_or(usize::MAX));
        names_its_root(&uki, root_hash)?;
        Ok((uki, arrived))
    }
}

/// That a UKI starts the root image of its release, and no other: what was put together wrongly and
/// signed all the same would cost a trial.
fn names_its_root(uki: &[u8], root_hash: Sha256) -> Result<(), String> {
    let parsed = Uki::parse(uki).map_err(|error| format!("the UKI of the release: {error}"))?;
    let line = parsed.text(".cmdline").unwrap_or_default();
    match command_line::root_hash(line) {
        Ok(Some(hash)) if hash == root_hash => Ok(()),
        Ok(Some(hash)) => Err(format!(
            "the UKI of the release starts the root {hash}, and the release has {root_hash}"
        )),
        Ok(None) => Err("the UKI of the release names no root on its command line".to_owned()),
        Err(error) => Err(format!("the UKI of the release: {error}")),
    }
}

/// A UKI in memory as an image from which another one is made.
struct Whole {
    hash: Sha256,
    memory: MemoryDevice,
}

impl Whole {
    /// Its root hash is that of a hash tree whose salt is the beginning of its digest
    /// (docs/releases-format.md).
    fn of(bytes: Vec<u8>) -> Option<Self> {
        let mut salt = [0; 16];
        salt.copy_from_slice(&Sha256::of(&bytes).as_bytes()[..16]);
        let hash = Verity::of(&salt, &bytes).ok()?.root_hash;
        Some(Self { hash, memory: bytes.into() })
    }

    fn image(&self) -> Running<'_> {
        Running { hash: self.hash, size: self.memory.size(), device: &self.memory }
    }
}

/// What a step says. That what runs was not found healthy yet passes.
fn refused(error: StepError) -> Failed {
    let why = words(&error);
    match error {
        StepError::Refused(Refusal::NotHealthy) => Failed::later(why),
        _ => why.into(),
    }
}

fn offer(release: &Release, root: Root, uki: Sha256) -> Result<Offer, String> {
    Ok(Offer {
        image: release.image.clone(),
        architecture: release.architecture.clone(),
        version: release.version.clone(),
        epoch: release.epoch,
        root,
        uki,
        uki_size: release.uki().map_err(|error| words(&error))?.size,
    })
}
