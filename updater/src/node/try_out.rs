//! What is staged is made the next boot: what fails already is looked at, the trial is noted on STATE, and
//! the loader is told, or the kernel is given the next one.

use std::collections::BTreeSet;
use std::time::Duration;

use formats::command_line;
use formats::meta::Release;
use formats::trial::Note;
use formats::uki::Uki;

use super::{Node, seconds};
use crate::cancel::Cancel;
use crate::files::{below, read};
use crate::health::gate::{self, Gate};
use crate::health::{Node as Runs, Prober};
use crate::plan::Asked;
use crate::snapshot;
use crate::steps::{How, StepError};
use crate::trial::kexec::{KexecError, Plan};
use crate::trial::{ended, note, restart, run};
use crate::words::words;

/// How often the node is looked at before a trial: what fails each time is no fault of the release.
const LOOKS: usize = 3;
/// From one look to the next.
const BETWEEN: Duration = Duration::from_secs(2);
/// Bytes of the kernel's command line.
const LONGEST_LINE: u64 = 64 * 1024;

/// What a trial needs beside a staged release.
pub struct Trying<'a> {
    /// Who wants it.
    pub asked: Asked,
    /// The owner lets it be started without the firmware.
    pub kexec: bool,
    /// The owner wants the node Ready before a release is believed.
    pub node_ready: bool,
    /// Asks what the node is like now.
    pub prober: &'a Prober,
    /// Ends the looks.
    pub cancel: &'a Cancel,
    /// What the time is, in seconds since 1970.
    pub now: i64,
    /// Hears what people should know.
    pub told: &'a dyn Fn(&str),
}

impl std::fmt::Debug for Trying<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trying").field("asked", &self.asked).finish_non_exhaustive()
    }
}

/// The next boot is the trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The release that is tried.
    pub version: String,
    /// How PID 1 is to be asked for it.
    pub how: restart::How,
}

impl Node {
    /// Makes the next boot the trial of what is staged.
    ///
    /// # Errors
    /// In words: nothing is staged, what runs is not good to come back to, STATE does not take the note, or
    /// the disk fails. The next boot is then of what runs.
    pub fn try_staged(&mut self, trying: &Trying<'_>) -> Result<Ready, String> {
        let release = self.staged()?.ok_or("no release is staged")?;
        // Of a trial that the power ended between its note and its copy: years later it would be put back.
        snapshot::forget(&self.root)
            .map_err(|error| format!("what an earlier trial has copied cannot go: {error}"))?;
        snapshot::check_room(&self.root).map_err(|error| {
            format!(
                "release {} is not tried, for its trial could not begin: {error}",
                release.version
            )
        })?;
        let kubelet = gate::runs_kubelet(&self.root);
        let note = Note {
            root_hash: release.root_hash,
            from: self.machine.running().root_hash,
            version: release.version.clone(),
            kubelet,
            failed_before: self.failing(kubelet, trying)?,
        };
        // What is found after the trial is to be of the trial.
        if let Err(error) = ended::forget_records(&self.root) {
            (trying.told)(&format!("what an earlier panic has left stays: {error}"));
        }
        let noted = note::write(&self.root, &note);
        noted.map_err(|error| format!("STATE does not take the note of the trial: {error}"))?;
        let armed = self.arm(trying);
        // What is armed by half may start, and is to be known as a trial then.
        if armed.is_err() && self.remembered().is_ok_and(|meta| meta.trial.is_none()) {
            // What is left of it would only cost the next boot a look.
            drop(note::forget(&self.root));
        }
        let how = armed?;
        if let Some(trouble) = self.machine.take_trouble() {
            (trying.told)(&format!("{}; its entry is counted instead", words(&trouble)));
        }
        Ok(Ready { version: release.version, how })
    }

    /// What is staged.
    ///
    /// # Errors
    /// In words: META cannot be read.
    pub fn staged(&mut self) -> Result<Option<Release>, String> {
        let step = |error: StepError| words(&error);
        match self.machine.staged().map_err(step)? {
            Some(mut staged) => staged.release().map_err(step),
            None => Ok(None),
        }
    }

    /// Names of the conditions that fail already.
    fn failing(&self, kubelet: bool, trying: &Trying<'_>) -> Result<BTreeSet<String>, String> {
        let (checks, wrong) = gate::checks(&self.root)
            .map_err(|error| format!("the checks of this image cannot be read: {error}"))?;
        wrong.iter().for_each(|line| (trying.told)(line));
        let runs = Runs { kubelet, node_ready: trying.node_ready };
        let gate = Gate::new(&runs, &checks, &BTreeSet::new());
        let ask = |how: &_, limit| trying.prober.ask(how, limit);
        // Whether somebody asks to stop is looked at below.
        let pause = || trying.cancel.pause(BETWEEN).unwrap_or_default();
        let failing = run::failing(&gate, LOOKS, ask, pause);
        trying.cancel.check().map_err(|cancelled| cancelled.to_string())?;
        let names: BTreeSet<_> = failing.iter().map(ToString::to_string).collect();
        for name in &names {
            (trying.told)(&format!("{name} fails already and will not count"));
        }
        Ok(names)
    }

    fn arm(&mut self, trying: &Trying<'_>) -> Result<restart::How, String> {
        let mut how = (How::Reboot, restart::How::Reboot);
        if trying.kexec {
            match self.load() {
                Ok(()) => how = (How::Kexec, restart::How::Kexec),
                Err(why) => (trying.told)(&format!("{why}; the firmware starts it instead")),
            }
        }
        let staged = self.machine.staged().map_err(|error| words(&error))?;
        let staged = staged.ok_or("no release is staged")?;
        let armed = staged.arm(how.0, trying.asked, seconds(trying.now));
        armed.map_err(|error| words(&error))?;
        Ok(how.1)
    }

    /// Gives the kernel that of the spare slot.
    fn load(&self) -> Result<(), String> {
        let spare = self.parts.slot.other();
        let cannot = |error: std::io::Error| format!("cannot read a UKI: {error}");
        let [own, staged] = [self.parts.slot, spare].map(|slot| self.uki(slot));
        let (own, staged) = (own.map_err(cannot)?, staged.map_err(cannot)?);
        let running = read(&below(&self.root, "/proc/cmdline"), LONGEST_LINE);
        let running = running.map_err(cannot)?.unwrap_or_default();
        let own = Uki::parse(&own).map_err(|error| words(&KexecError::NoUki(error)))?;
        let own = own.text(".cmdline").unwrap_or_default();
        let slot = match spare {
            formats::boot_entries::Slot::A => command_line::Slot::A,
            formats::boot_entries::Slot::B => command_line::Slot::B,
        };
        let plan = Plan::new(&staged, slot, own, &running).map_err(|error| words(&error))?;
        plan.load(&self.root).map_err(|error| words(&error))
    }
}
