//! What the next restart is for: the trial of a release, or the way back. And what somebody who was killed
//! while he arranged that has left.

use formats::meta::{Phase, Release};

use super::Node;
use crate::steps::StepError;
use crate::trial::{note, restart};
use crate::words::words;

/// What the next restart is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The trial of this release.
    Trial(Release),
    /// The way back to this one, by hand.
    Back(Release),
}

impl Next {
    /// A line for who looks after restarts.
    pub fn told(&self) -> String {
        match self {
            Self::Trial(release) => format!("{} is staged", release.version),
            Self::Back(release) => format!("the node goes back to {}", release.version),
        }
    }
}

impl Node {
    /// What the next restart is for, if it is for anything.
    ///
    /// # Errors
    /// In words: META or the entries cannot be read.
    pub fn waits_for(&mut self) -> Result<Option<Next>, String> {
        if let Some(release) = self.armed()? {
            return Ok(Some(Next::Trial(release)));
        }
        Ok(self.goes_back()?.map(Next::Back))
    }

    /// What is armed and does not run.
    ///
    /// # Errors
    /// In words: META cannot be read.
    pub fn armed(&mut self) -> Result<Option<Release>, String> {
        self.waits_in(&Phase::Armed)
    }

    /// What the node goes back to at the next restart, because somebody has said so.
    ///
    /// # Errors
    /// In words: META or the entries cannot be read.
    pub fn goes_back(&mut self) -> Result<Option<Release>, String> {
        self.machine.goes_back().map_err(|error| words(&error))
    }

    /// Brings to its end what was cut off: a trial that was armed by half is staged again, and others hear
    /// that a restart is due. Called with the lock, so nobody is at it.
    ///
    /// # Errors
    /// In words: the disk, the firmware or the file for others fails.
    pub fn settle(&mut self) -> Result<(), String> {
        if let Some(Release { version, .. }) = self.waits_in(&Phase::Arming)? {
            self.machine.unarm().map_err(|error| {
                let why = words(&error);
                format!("release {version} is armed by half, and that cannot be taken back: {why}")
            })?;
            // What is left of it would only cost the next boot a look.
            drop(note::forget(&self.root));
        }
        match self.waits_for()? {
            Some(next) => restart::require(&self.root, &next.told())
                .map_err(|error| format!("others are not told that a restart is due: {error}")),
            None => Ok(()),
        }
    }

    /// Gives up what is staged or armed, or that the node goes back; what it was, in words. The file for
    /// others goes first: if nothing follows, [`Self::settle`] makes it again.
    ///
    /// # Errors
    /// In words: there is nothing, it runs already, or the disk fails.
    pub fn give_up(&mut self) -> Result<String, String> {
        let meta = self.remembered()?;
        let next = self.waits_for()?;
        if next.is_some() {
            restart::no_longer_required(&self.root).map_err(|error| {
                format!("others would still think that a restart is due: {error}")
            })?;
        }
        if let Err(error) = self.machine.cancel() {
            let why = words(&error);
            return Err(self.settle().err().map_or(why.clone(), |more| format!("{why}; {more}")));
        }
        if let Some(Next::Back(Release { version, .. })) = next {
            return Ok(format!("the way back to release {version}"));
        }
        drop(note::forget(&self.root));
        let trial = meta.trial.map(|trial| trial.release);
        let release = trial.or(meta.staged.map(|staged| staged.release));
        Ok(format!("release {}", release.map(|it| it.version).unwrap_or_default()))
    }

    /// What is to be tried and does not run, if its trial has come so far.
    fn waits_in(&mut self, phase: &Phase) -> Result<Option<Release>, String> {
        let running = self.machine.running().root_hash;
        let meta = self.machine.record().map_err(|error: StepError| words(&error))?;
        let trial = meta.trial.as_ref().filter(|it| it.phase == *phase);
        Ok(trial.map(|it| it.release.clone()).filter(|it| it.root_hash != running))
    }
}
