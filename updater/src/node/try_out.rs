//! What is staged is made the next boot: what fails already is looked at, the trial is noted on STATE, and
//! the loader is told, or the kernel is given the next one.

use std::collections::BTreeSet;
use std::time::Duration;

use formats::command_line;
use formats::health::Condition;
use formats::meta::Release;
use formats::trial::Note;
use formats::uki::Uki;

use super::verdict::{self, Judgement};
use super::{Node, seconds};
use crate::cancel::Cancel;
use crate::files::{below, read};
use crate::health::gate::{self, Gate};
use crate::health::{Node as Runs, Prober};
use crate::plan::Asked;
use crate::protocol::Failed;
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
    /// The time in which a boot is judged: what has failed for so long fails.
    pub deadline: Duration,
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
    /// In words: nothing is staged, this boot is not judged yet, what runs is not good to come back to, STATE
    /// does not take the note, or the disk fails. The next boot is then of what runs.
    pub fn try_staged(&mut self, trying: &Trying<'_>) -> Result<Ready, Failed> {
        let release = self.staged()?.ok_or("no release is staged")?;
        let known = self.known_to_fail(&release, trying)?;
        let running = self.machine.running().root_hash;
        if snapshot::is_due(&self.root, running).map_err(|error| words(&error))? {
            return Err(format!(
                "release {} is not tried, for databases of before an earlier trial are not put back yet: \
                 restart, which tries it again",
                release.version
            )
            .into());
        }
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
            from: running,
            version: release.version.clone(),
            kubelet,
            failed_before: self.failing(kubelet, &known, trying)?,
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

    /// Looks again what a trial that is armed excuses, shortly before the restart: what holds by now counts.
    ///
    /// # Errors
    /// In words: the looks were cancelled, or STATE does not take the note. The trial is as it was.
    pub fn look_again(&mut self, armed: &Release, trying: &Trying<'_>) -> Result<(), Failed> {
        let known = self.known_to_fail(armed, trying)?;
        let cannot = |what: &str, error: std::io::Error| {
            format!("STATE does not {what} the note of the trial: {error}")
        };
        let noted = note::noted(&self.root).map_err(|error| cannot("give", error))?;
        let Some(mut note) = noted.filter(|note| note.root_hash == armed.root_hash) else {
            return Ok(());
        };
        let failing = self.failing(note.kubelet, &known, trying)?;
        if failing != note.failed_before {
            note.failed_before = failing;
            note::write(&self.root, &note).map_err(|error| cannot("take", error))?;
        }
        Ok(())
    }

    /// Names of the conditions that were judged to fail in this boot.
    fn known_to_fail(
        &self,
        release: &Release,
        trying: &Trying<'_>,
    ) -> Result<BTreeSet<String>, Failed> {
        let judgement = verdict::of(&self.root);
        match judgement {
            Judgement::Healthy => Ok(BTreeSet::new()),
            Judgement::Unhealthy(failing) => Ok(failing),
            Judgement::NotYet(_) if trying.asked == Asked::PersonAnyway => Ok(BTreeSet::new()),
            Judgement::NotYet(_) => {
                let seconds = judgement.seconds_left(trying.deadline);
                Err(Failed::later(format!(
                    "release {} is not tried yet, for this boot is not judged yet, and what does not answer \
                     may only not have come up: ask again in {seconds} s at the latest",
                    release.version
                )))
            }
        }
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

    /// Names of the conditions that fail already: those of which that is known, if they still do, and what
    /// else fails as long as a boot is judged. A unit that is down for a moment is no excuse for a release.
    fn failing(
        &self,
        kubelet: bool,
        known: &BTreeSet<String>,
        trying: &Trying<'_>,
    ) -> Result<BTreeSet<String>, String> {
        let (checks, wrong) = gate::checks(&self.root)
            .map_err(|error| format!("the checks of this image cannot be read: {error}"))?;
        wrong.iter().for_each(|line| (trying.told)(line));
        let runs = Runs { kubelet, node_ready: trying.node_ready };
        let gate = Gate::new(&runs, &checks, &BTreeSet::new());
        let ask = |how: &_, limit| trying.prober.ask(how, limit);
        // Whether somebody asks to stop is looked at below.
        let pause = || trying.cancel.pause(BETWEEN).is_ok();
        let fail = |gate: Gate, looks| run::failing(&gate, looks, ask, pause);
        let mut failing = fail(gate.excusable(|_| true), LOOKS);
        let is_known = |condition: &Condition| known.contains(&condition.to_string());
        let news: Vec<_> = failing.iter().filter(|it| !is_known(it)).cloned().collect();
        if !news.is_empty() {
            let seconds = trying.deadline.as_secs();
            for name in &news {
                (trying.told)(&format!(
                    "{name} fails, and did not when this boot was judged: it has {seconds} s to come back"
                ));
            }
            failing.retain(is_known);
            let looks = trying.deadline.as_secs().div_ceil(BETWEEN.as_secs()).saturating_add(1);
            let looks = usize::try_from(looks).unwrap_or(usize::MAX);
            failing.extend(fail(gate.excusable(|it| news.contains(it)), looks));
        }
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
