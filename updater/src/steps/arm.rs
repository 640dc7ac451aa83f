//! The trial of what is staged: armed, taken back, put off.

use std::io;

use formats::boot_entries::Slot;
use formats::meta::{self, Method};

use super::{Disks, Machine, Staged, StepError};
use crate::firmware::Firmware;
use crate::plan::{Action, Asked};

/// The next boot is the trial, if it is a boot by this method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Armed {
    /// What is remembered of it; its method says how to boot.
    pub trial: meta::Trial,
}

/// How a trial shall be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By a reboot: the loader's variable, or a counted entry where the firmware keeps none.
    Reboot,
    /// By kexec, without the firmware.
    Kexec,
}

impl<D: Disks, F: Firmware> Staged<'_, D, F> {
    /// Arms the trial (step 5). Where the firmware does not keep the loader's variable the entry itself
    /// is made to start once. What fails on the way is taken back.
    ///
    /// # Errors
    /// See [`StepError`]; what is staged is as it was, but for [`StepError::HalfArmed`].
    pub fn arm(self, how: How, asked: Asked, now: u64) -> Result<Armed, StepError> {
        let machine = self.machine;
        let armed = match how {
            How::Kexec => machine.arm(Method::Kexec, asked, now),
            How::Reboot => match machine.arm(Method::OneShot, asked, now) {
                Err(StepError::Firmware(what, error)) => {
                    machine.trouble = Some(StepError::Firmware(what, error));
                    machine.arm_counted(asked, now)
                }
                armed => armed,
            },
        };
        match armed {
            Ok(trial) => Ok(Armed { trial }),
            Err(refused @ StepError::Refused(_)) => Err(refused),
            Err(failed) => Err(match machine.unarm() {
                Ok(()) => failed,
                Err(undo) => StepError::HalfArmed { failed: failed.into(), undo: undo.into() },
            }),
        }
    }
}

impl<D: Disks, F: Firmware> Machine<D, F> {
    fn arm(&mut self, method: Method, asked: Asked, now: u64) -> Result<meta::Trial, StepError> {
        let plan = self.state(&Slot::BOTH)?.arm(method, asked, now)?;
        self.perform(plan)
    }

    /// The firmware has not kept its variable. What it may keep all the same starts the same trial.
    fn arm_counted(&mut self, asked: Asked, now: u64) -> Result<meta::Trial, StepError> {
        let plan = self.state(&[])?.unarmed();
        self.perform(plan)?;
        self.arm(Method::Counted, asked, now)
    }

    /// Takes back a trial that was armed, or was to be: afterwards the loader starts what runs, and what
    /// is staged is as it was.
    ///
    /// # Errors
    /// See [`StepError`]. META has the trial then, whatever the loader starts.
    pub fn unarm(&mut self) -> Result<(), StepError> {
        if self.record()?.trial.is_none() {
            return Ok(());
        }
        for action in self.state(&[])?.unarmed().actions {
            let is_variable = action == Action::NotOnce;
            self.act(action)?;
            // That it cannot be removed is otherwise in nobody's way.
            if is_variable && let Ok(Some(_)) = self.firmware.one_shot() {
                let kept = || StepError::Firmware("remove", io::Error::other("it is still there"));
                return Err(self.trouble.take().unwrap_or_else(kept));
            }
        }
        Ok(())
    }

    /// This boot is a trial that cannot begin, by no fault of the release.
    ///
    /// # Errors
    /// See [`StepError`].
    pub fn put_off(&mut self) -> Result<(), StepError> {
        let plan = self.state(&[])?.put_off();
        self.perform(plan)
    }
}
