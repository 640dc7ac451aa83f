//! The node that runs, as its commands and units need it: the disk it came from ([`parts`]), the steps of
//! [`crate::steps`] on it, and what each boot has to do once ([`boot`]). Whoever changes something holds
//! the [`Lock`]: the units `databases`, `trial` and `updater` are processes of their own.

pub mod boot;
pub mod judge;
mod loader;
mod next;
pub mod parts;
mod stage;
mod status;
mod try_out;
pub mod verdict;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use formats::boot_entries::Slot;
use formats::digest::Sha256;
use formats::meta::{Meta, Release};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::device::{Access, DirectDevice, FileDevice};
use crate::facts::Facts;
use crate::files::below;
use crate::firmware::Firmware;
use crate::plan::{Health, Running};
use crate::steps::{Machine, Partitions};
use crate::trial::oneshot::Variables;
use crate::words::words;
pub use next::Next;
pub use parts::Parts;
pub use stage::{Came, GiveWay, Staging};
pub use status::Place;
pub use try_out::{Ready, Trying};
pub use verdict::Judgement;

/// Who holds a lock on this file changes the slots, and nobody else.
const LOCK: &str = "/run/orlop/updater.lock";

/// The right to change the slots. It ends with this value, and with the process.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

/// Waits until nobody else changes the slots.
///
/// # Errors
/// In words: the lock cannot be had at all.
pub fn lock(root: &Path) -> Result<Lock, String> {
    let path = below(root, LOCK);
    let cannot = |error: io::Error| format!("cannot lock `{}`: {error}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(cannot)?;
    let file = File::options().create(true).append(true).open(&path).map_err(cannot)?;
    loop {
        match flock(&file, FlockOperation::LockExclusive) {
            Ok(()) => return Ok(Lock(file)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(cannot(error.into())),
        }
    }
}

/// The firmware of a node: its variables, or why there are none.
#[derive(Debug)]
pub struct Variable(Result<Variables, String>);

impl Variable {
    /// Of the machine that runs the node below `root`.
    fn of(root: &Path) -> Self {
        if root != Path::new("/") {
            return Self(Err("a node that is looked at from outside has no firmware".to_owned()));
        }
        Self(Variables::open().map_err(|error| words(&error)))
    }
}

impl Firmware for Variable {
    fn one_shot(&self) -> io::Result<Option<String>> {
        self.0.as_ref().map_or(Ok(None), Firmware::one_shot)
    }

    fn set_one_shot(&mut self, id: &str) -> io::Result<()> {
        let none = |why: &mut String| io::Error::new(io::ErrorKind::Unsupported, why.clone());
        self.0.as_mut().map_err(none)?.set_one_shot(id)
    }

    fn clear_one_shot(&mut self) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), Firmware::clear_one_shot)
    }
}

/// A node with two slots.
#[derive(Debug)]
pub struct Node {
    root: PathBuf,
    parts: Parts,
    machine: Machine<Partitions, Variable>,
}

impl Node {
    /// Opens the slots of the node whose file system begins at `root`: `/` but in tests, where there are
    /// no EFI variables.
    ///
    /// # Errors
    /// In words: it has none, or they cannot be read.
    pub fn open(root: &Path, facts: &Facts) -> Result<Self, String> {
        let parts = parts::find(root).map_err(|error| words(&error))?;
        let Parts { slot, esp, meta, spare_root, .. } = parts.clone();
        let disks = Partitions::open(esp, meta, spare_root).map_err(|error| words(&error))?;
        let running = Running {
            slot,
            image: facts.node.image.clone(),
            architecture: facts.node.architecture.clone(),
            version: facts.node.version.clone(),
            root_hash: facts.node.running,
            // What META has of this image is more.
            epoch: 0,
        };
        let machine = Machine::open(disks, Variable::of(root), running);
        let machine = machine.map_err(|error| words(&error))?;
        Ok(Self { root: root.to_owned(), parts, machine })
    }

    /// The steps.
    pub fn machine(&mut self) -> &mut Machine<Partitions, Variable> {
        &mut self.machine
    }

    /// The slot that runs.
    pub fn slot(&self) -> Slot {
        self.parts.slot
    }

    /// The highest epoch that this node ever was in, and the images that have failed on it.
    ///
    /// # Errors
    /// In words: META cannot be read, so nothing may be updated.
    pub fn known(&mut self) -> Result<(u64, Vec<Sha256>), String> {
        let meta = self.machine.record().map_err(|error| words(&error))?;
        Ok((meta.epoch, meta.failed.iter().map(|failed| failed.root_hash).collect()))
    }

    /// What META has.
    ///
    /// # Errors
    /// In words: it cannot be read.
    pub fn remembered(&mut self) -> Result<Meta, String> {
        self.machine.record().cloned().map_err(|error| words(&error))
    }

    /// Goes back to the release of before, at the next boot.
    ///
    /// # Errors
    /// In words: there is none, or it cannot be arranged.
    pub fn roll_back(&mut self, now: i64) -> Result<Release, String> {
        self.machine.roll_back(seconds(now)).map_err(|error| words(&error))
    }

    /// Whether what runs is no trial and was not found healthy here, in this boot or an earlier one.
    ///
    /// # Errors
    /// In words: META cannot be read.
    pub fn is_yet_to_be_proven(&mut self) -> Result<bool, String> {
        let (slot, running) = (self.slot(), self.machine.running().root_hash);
        let meta = self.remembered()?;
        let is_proven = meta.good(slot).is_some_and(|good| good.root_hash == running);
        Ok(meta.trial.is_none() && !is_proven)
    }

    /// This boot was found healthy: META learns it (steps 6 and 7), and whoever is about to arm a trial.
    ///
    /// # Errors
    /// In words: META, the disk or the file for others fails.
    pub fn found_healthy(&mut self) -> Result<Health, String> {
        let health = self.machine.healthy().map_err(|error| words(&error))?;
        verdict::remember(&self.root, &Judgement::Healthy)
            .map_err(|error| format!("cannot keep that this boot is healthy: {error}"))?;
        Ok(health)
    }

    /// Begins the records anew, of which none can be read.
    ///
    /// # Errors
    /// In words: something else is wrong with them than that they are damaged, or META cannot be written.
    pub fn renew_records(&mut self) -> Result<(), String> {
        self.machine.renew_record().map_err(|error| words(&error))
    }

    fn running_image(&self) -> io::Result<FileDevice> {
        FileDevice::new(File::open(&self.parts.running)?)
    }

    /// The UKI file of a slot, whole.
    fn uki(&self, slot: Slot) -> io::Result<Vec<u8>> {
        let extent = self.machine.uki_extent(slot);
        let length = usize::try_from(extent.length).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        let device = DirectDevice::open(&self.parts.esp, Access::Read)?;
        crate::device::Device::read_at(&device, extent.offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// A time as META has it.
fn seconds(now: i64) -> u64 {
    u64::try_from(now).unwrap_or(0)
}
