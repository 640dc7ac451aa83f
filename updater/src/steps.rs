//! Does what [`crate::plan`] decides, on devices. Types say which step comes next:
//!
//! ```text
//! Machine --take--> Spare --staged--> Staged --arm--> Armed, then a boot
//! Machine --start--> Trial --promote--> Promoted
//! ```
//!
//! Each action is on the disk before the next begins, so a power cut leaves one that another start of
//! the machine goes on from.

mod arm;
mod partitions;
mod spare;
mod trial;
mod uki;

use std::io;

use formats::boot_entries::Slot;
use formats::meta::{Meta, MetaError};

use crate::device::Device;
use crate::esp::{Esp, EspError};
use crate::firmware::Firmware;
use crate::meta::{Store, StoreError};
use crate::plan::{Action, Asked, Boot, Health, Offer, Plan, Refusal, Running, State, Unhealthy};
use crate::words::words;

pub use arm::{Armed, How};
pub use partitions::Partitions;
pub use spare::{Spare, SpareError, Staged, Take};
pub use trial::{Promoted, Start, Trial};

/// What of the disk is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The EFI system partition.
    Esp,
    /// The partition of a slot's root image.
    Root(Slot),
}

/// The partitions of a node, as its updater has opened them.
pub trait Disks {
    /// A partition of which sectors are written.
    type Device: Device;
    /// The partition of a root slot, which is filled.
    type Root: Device;
    /// A partition that is read past every cache.
    type Uncached: Device;

    /// The EFI system partition. Best without a cache: a sector is then written by one write.
    fn esp(&mut self) -> &mut Self::Device;

    /// The same, to read.
    fn esp_to_read(&self) -> &Self::Device;

    /// `META`.
    fn meta(&mut self) -> &mut Self::Device;

    /// The partition of the root slot that does not run.
    fn spare_root(&mut self) -> &mut Self::Root;

    /// Opens a partition so that what is read comes from the medium and from no cache. All that was
    /// written was flushed before.
    ///
    /// # Errors
    /// It cannot be opened so.
    fn uncached(&self, place: Place) -> io::Result<Self::Uncached>;
}

/// A step was not done.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// It may not be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The EFI system partition is not ours, or fails.
    #[error(transparent)]
    Esp(#[from] EspError),
    /// `META` fails.
    #[error(transparent)]
    Meta(#[from] StoreError),
    /// What was remembered cannot be read, so nothing may be updated.
    #[error("what this node remembers of its updates cannot be read")]
    Unrecorded(#[source] StoreError),
    /// A trial was armed by half, and that could not be taken back.
    #[error(
        "{}; the trial is armed by half, for this fails too: {}; ask once more, or give it up by `cancel`",
        words(.failed.as_ref()), words(.undo.as_ref())
    )]
    HalfArmed {
        /// Why it was not armed.
        failed: Box<StepError>,
        /// Why it stays so.
        undo: Box<StepError>,
    },
    /// A device fails.
    #[error("cannot {0}")]
    Io(String, #[source] io::Error),
    /// The firmware's variable fails.
    #[error("cannot {0} the boot loader's variable `LoaderEntryOneShot`")]
    Firmware(&'static str, #[source] io::Error),
}

/// A node, as its updater sees it.
#[derive(Debug)]
pub struct Machine<D, F> {
    pub(crate) disks: D,
    pub(crate) firmware: F,
    pub(crate) running: Running,
    pub(crate) esp: Esp,
    store: Result<Store, Option<StoreError>>,
    trouble: Option<StepError>,
}

impl<D: Disks, F: Firmware> Machine<D, F> {
    /// Looks at the node and changes nothing. Records that cannot be read are no error yet: the node
    /// boots all the same, see [`Self::record`].
    ///
    /// # Errors
    /// The EFI system partition is not ours or cannot be read: nothing can be updated here.
    pub fn open(mut disks: D, firmware: F, running: Running) -> Result<Self, StepError> {
        let esp = Esp::find(disks.esp_to_read())?;
        let store = Store::read(disks.meta()).map_err(Some);
        Ok(Self { disks, firmware, running, esp, store, trouble: None })
    }

    /// What is remembered.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn record(&mut self) -> Result<&Meta, StepError> {
        self.store().map(|store| store.meta())
    }

    /// What went wrong without being in the way of the last step, to be told once.
    pub fn take_trouble(&mut self) -> Option<StepError> {
        self.trouble.take()
    }

    /// That the spare slot may be written, whatever for: before something is fetched for it.
    ///
    /// # Errors
    /// [`StepError::Refused`], and what fails.
    pub fn check(&mut self, asked: Asked) -> Result<(), StepError> {
        let state = self.state(&[self.running.slot])?;
        Ok(state.check_running(asked)?)
    }

    /// That a release is for this node, whatever the spare slot is for.
    ///
    /// # Errors
    /// [`StepError::Refused`], and what fails.
    pub fn check_offer(&mut self, offer: &Offer, asked: Asked) -> Result<(), StepError> {
        let (size, uki_size) = (self.disks.spare_root().size(), self.esp.uki_size());
        Ok(self.state(&[])?.check_offer(offer, asked, size, uki_size)?)
    }

    /// What runs.
    pub fn running(&self) -> &Running {
        &self.running
    }

    /// The names of the entries, that of slot A first.
    ///
    /// # Errors
    /// The directory cannot be read, or is not ours.
    pub fn entries(&self) -> Result<[formats::boot_entries::Name; 2], StepError> {
        Ok(self.esp.directory(self.disks.esp_to_read())?.names())
    }

    /// Bytes of the root slot that does not run.
    pub fn spare_size(&mut self) -> u64 {
        self.disks.spare_root().size()
    }

    /// Where the UKI of a slot stands on the EFI system partition.
    pub fn uki_extent(&self, slot: Slot) -> formats::fat::Extent {
        self.esp.uki(slot)
    }

    /// Its devices and variables again.
    pub fn into_parts(self) -> (D, F) {
        (self.disks, self.firmware)
    }

    fn store(&mut self) -> Result<&mut Store, StepError> {
        let damaged = || StoreError::Meta(MetaError::BothDamaged);
        match &mut self.store {
            Ok(store) => Ok(store),
            // The first who asks gets what was found, others what it comes to.
            Err(error) => Err(StepError::Unrecorded(error.take().unwrap_or_else(damaged))),
        }
    }

    /// The state to decide upon, with the contents of these slots' UKIs.
    pub(crate) fn state(&mut self, read: &[Slot]) -> Result<State, StepError> {
        let store = self.store()?;
        let (meta, new) = (store.meta().clone(), store.is_new());
        let device = self.disks.esp_to_read();
        let names = self.esp.directory(device)?.names();
        let mut listed = [false; 2];
        let mut contents = [None; 2];
        for slot in Slot::BOTH {
            let extent = self.esp.uki(slot);
            let cannot = |error| StepError::Io(format!("read the UKI of slot {slot}"), error);
            let is_listed = uki::is_listed(device, extent);
            let content = read.contains(&slot).then(|| uki::content(device, extent));
            if slot == self.running.slot {
                listed[slot.index()] = is_listed.map_err(cannot)?;
                contents[slot.index()] = content.transpose().map_err(cannot)?;
            } else {
                // What the loader cannot read either is nothing to start, and writing may mend it.
                listed[slot.index()] = is_listed.unwrap_or(false);
                contents[slot.index()] = content.and_then(Result::ok);
            }
        }
        // Firmware that does not say what it holds keeps nothing that could be relied on: a trial then goes
        // by a counted entry.
        let one_shot = self.firmware.one_shot().unwrap_or_else(|error| {
            self.trouble = Some(StepError::Firmware("read", error));
            None
        });
        let running = self.running.clone();
        Ok(State { running, meta, new, names, one_shot, listed, contents })
    }

    /// Does the actions of a plan, each of which is on the disk before the next.
    pub(crate) fn perform<T>(&mut self, plan: Plan<T>) -> Result<T, StepError> {
        for action in plan.actions {
            self.act(action)?;
        }
        Ok(plan.outcome)
    }

    fn act(&mut self, action: Action) -> Result<(), StepError> {
        match action {
            Action::Remember(meta) => {
                self.store()?;
                let Ok(store) = &mut self.store else { return Ok(()) };
                Ok(store.write(self.disks.meta(), &meta)?)
            }
            Action::Name(names) => {
                let directory = self.esp.directory(self.disks.esp_to_read())?.renamed(&names);
                let written = self.esp.write(self.disks.esp(), &directory);
                let cannot = "write the directory of boot entries";
                written.map_err(|error| StepError::Io(cannot.to_owned(), error))
            }
            Action::Unlist(slot) => {
                let extent = self.esp.uki(slot);
                let zeroed = uki::unlist(self.disks.esp(), extent);
                zeroed
                    .map_err(|error| StepError::Io(format!("clear the UKI of slot {slot}"), error))
            }
            Action::Once(id) => {
                self.firmware
                    .set_one_shot(&id)
                    .map_err(|error| StepError::Firmware("set", error))?;
                // Firmware that has no room may say nothing.
                match self.firmware.one_shot() {
                    Ok(Some(held)) if held == id => Ok(()),
                    Ok(_) => {
                        let error = io::Error::other("the firmware did not keep it");
                        Err(StepError::Firmware("set", error))
                    }
                    Err(error) => Err(StepError::Firmware("read", error)),
                }
            }
            Action::NotOnce => {
                // The loader has mostly taken it back itself: what it leaves is told, and in nobody's way.
                if let Err(error) = self.firmware.clear_one_shot() {
                    self.trouble = Some(StepError::Firmware("remove", error));
                }
                Ok(())
            }
        }
    }

    /// Begins a boot. To be called once in each, before anything is judged; whoever starts again in the
    /// same boot goes on with [`Self::resume`]. `word` is why a trial ended, as far as it has said.
    ///
    /// # Errors
    /// See [`StepError`].
    pub fn start(&mut self, now: u64, word: Option<&str>) -> Result<Start<'_, D, F>, StepError> {
        let state = self.state(&[])?;
        let state = if state.start_wants_contents() { self.state(&Slot::BOTH)? } else { state };
        let boot = self.perform(state.start(now, word))?;
        Ok(match boot {
            Boot::Trial(_) => Start::Trial(Trial::new(self)),
            boot => Start::Boot(boot),
        })
    }

    /// The trial that this boot is, if it is one, without beginning it.
    ///
    /// # Errors
    /// See [`StepError`].
    pub fn resume(&mut self) -> Result<Option<Trial<'_, D, F>>, StepError> {
        let trial = self.state(&[])?.is_on_trial();
        Ok(trial.then(|| Trial::new(self)))
    }

    /// What runs was found healthy. A trial is promoted, all else is armed anew.
    ///
    /// # Errors
    /// See [`StepError`].
    pub fn healthy(&mut self) -> Result<Health, StepError> {
        if let Err(error) = self.store() {
            // Nothing is known of the other slot, so this one is not to fall to it.
            let directory = self.esp.directory(self.disks.esp_to_read())?;
            let name = directory.entry(self.running.slot).name;
            if name.count().is_some() {
                self.act(Action::Name(directory.renamed(&[name.uncounted()]).names()))?;
            }
            return Err(error);
        }
        let state = self.state(&[])?;
        let state = if state.healthy_wants_contents() { self.state(&Slot::BOTH)? } else { state };
        let health = self.perform(state.healthy())?;
        // A record that was damaged is made whole again of the other one.
        let meta = Box::new(self.record()?.clone());
        self.act(Action::Remember(meta))?;
        Ok(health)
    }

    /// What runs was found unhealthy. Only a trial leads to a reboot.
    ///
    /// # Errors
    /// See [`StepError`].
    pub fn unhealthy(&mut self, reason: &str) -> Result<Unhealthy, StepError> {
        let plan = self.state(&[])?.unhealthy(reason);
        self.perform(plan)
    }

    /// The node is shut down in good order: a trial that was not judged yet has not failed by that.
    ///
    /// # Errors
    /// See [`StepError`].
    pub fn stopping(&mut self) -> Result<(), StepError> {
        let plan = self.state(&[])?.stopping();
        self.perform(plan)
    }

    /// Remembers the epoch that what runs was released with.
    ///
    /// # Errors
    /// See [`StepError`].
    pub fn released(&mut self, epoch: u64) -> Result<(), StepError> {
        let plan = self.state(&[])?.released(epoch);
        self.perform(plan)
    }

    /// What the next boot goes back to, because somebody said so.
    ///
    /// # Errors
    /// See [`StepError`].
    pub fn goes_back(&mut self) -> Result<Option<formats::meta::Release>, StepError> {
        Ok(self.state(&[])?.goes_back().cloned())
    }

    /// Gives up what is staged or armed, or that the node goes back.
    ///
    /// # Errors
    /// See [`StepError`].
    pub fn cancel(&mut self) -> Result<(), StepError> {
        let plan = self.state(&[])?.cancel()?;
        self.perform(plan)
    }

    /// Makes the next boot that of the other slot, if what it holds was good.
    ///
    /// # Errors
    /// See [`StepError`].
    pub fn roll_back(&mut self, now: u64) -> Result<formats::meta::Release, StepError> {
        let plan = self.state(&Slot::BOTH)?.roll_back(now)?;
        self.perform(plan)
    }

    /// Begins the records anew when both are damaged, because a person says so: what failed and what the
    /// other slot holds is forgotten, and the epoch is that of what runs.
    ///
    /// # Errors
    /// They are not damaged, but fail or were written by a later updater; or they cannot be written.
    pub fn renew_record(&mut self) -> Result<(), StepError> {
        match Store::read(self.disks.meta()) {
            Err(StoreError::Meta(MetaError::BothDamaged)) => {}
            Err(error) => return Err(StepError::Unrecorded(error)),
            Ok(_) => return Ok(()),
        }
        let mut store = Store::anew();
        let meta = Meta { epoch: self.running.epoch, ..Meta::default() };
        store.write(self.disks.meta(), &meta)?;
        self.store = Ok(store);
        Ok(())
    }
}
