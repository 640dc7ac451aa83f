//! A boot that is judged.

use formats::meta::Release;

use super::{Disks, Machine, StepError};
use crate::firmware::Firmware;
use crate::plan::{Boot, Health, Unhealthy};

/// How a boot begins.
#[derive(Debug)]
pub enum Start<'m, D, F> {
    /// It is a trial, to be judged in time.
    Trial(Trial<'m, D, F>),
    /// Any other, never [`Boot::Trial`].
    Boot(Boot),
}

/// The version that runs is on trial. If it is neither promoted nor judged, the next boot is of the
/// other slot.
#[derive(Debug)]
pub struct Trial<'m, D, F> {
    machine: &'m mut Machine<D, F>,
}

/// The version that runs starts from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promoted(pub Release);

impl<'m, D: Disks, F: Firmware> Trial<'m, D, F> {
    pub(super) fn new(machine: &'m mut Machine<D, F>) -> Self {
        Self { machine }
    }

    /// It was found healthy: META first, then one write makes it the one that starts (step 6).
    ///
    /// # Errors
    /// See [`StepError`]. Called again in this boot or begun by the next one, it goes on.
    pub fn promote(self) -> Result<Promoted, StepError> {
        match self.machine.healthy()? {
            Health::Promoted(release) => Ok(Promoted(release)),
            Health::Kept => Err(crate::plan::Refusal::NothingStaged.into()),
        }
    }

    /// It was found unhealthy: remembers the reason. The next boot is of the other slot.
    ///
    /// # Errors
    /// See [`StepError`]. The next boot is of the other slot all the same, with less of a reason.
    pub fn fail(self, reason: &str) -> Result<Unhealthy, StepError> {
        self.machine.unhealthy(reason)
    }
}
