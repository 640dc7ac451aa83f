//! The spare slot: taken, staged, armed, given up. And going back to the other slot by hand.

use formats::boot_entries::Slot;
use formats::meta::{Meta, Method, Phase, Release, Staged, Trial};

use super::names::{above, armed, is_top, once};
use super::offer::{Asked, Offer, Refusal};
use super::{Action, Plan, State};

/// Why what runs is not taken again by itself once somebody went back.
const BY_HAND: &str = "rolled back by hand";

/// What becomes of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The spare slot is ours to write.
    Spare(Slot),
    /// The release lies in it already, whole and verified.
    Staged(Slot),
}

impl State {
    /// Takes the spare slot for a release that was checked. From then on only the running slot is good,
    /// so its entry stands on top and is not counted before the other one is destroyed.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn take(
        &self,
        offer: &Offer,
        asked: Asked,
        slot_size: u64,
        uki_size: u64,
    ) -> Result<Plan<Taken>, Refusal> {
        self.check(offer, asked, slot_size, uki_size)?;
        let slot = self.spare();
        let staged = self.meta.staged.as_ref();
        let same = staged.is_some_and(|it| it.slot == slot && it.release == offer.release());
        let whole = self.contents[slot.index()].is_some_and(|it| it.digest == offer.uki);
        if same && whole && self.listed[slot.index()] {
            return Ok(Plan { actions: Vec::new(), outcome: Taken::Staged(slot) });
        }
        let mut meta = self.meta.clone();
        meta.good[slot.index()] = None;
        meta.staged = None;
        let mut actions: Vec<_> = self.remember(meta).into_iter().collect();
        actions.extend(self.name(above(self.names, self.running.slot)));
        actions.push(Action::Unlist(slot));
        Ok(Plan { actions, outcome: Taken::Spare(slot) })
    }

    /// The spare slot was filled and read back, its UKI written and verified.
    pub fn filled(&self, release: Release) -> Plan<()> {
        let staged = Staged { slot: self.spare(), release, attempts: 0 };
        let meta = Meta { staged: Some(staged), ..self.meta.clone() };
        Plan { actions: self.remember(meta).into_iter().collect(), outcome: () }
    }

    /// Arms the trial of what is staged. META says so before anything can start it.
    ///
    /// # Errors
    /// [`Refusal::NothingStaged`], and what keeps the running slot from being fallen back to.
    pub fn arm(&self, method: Method, asked: Asked, now: u64) -> Result<Plan<Trial>, Refusal> {
        let slot = self.spare();
        self.check_running(asked)?;
        let staged = self.meta.staged.clone().filter(|it| it.slot == slot);
        let Staged { release, attempts, .. } = staged.ok_or(Refusal::NothingStaged)?;
        let whole = self.contents[slot.index()].is_some_and(|it| it.digest == release.uki);
        if !whole || !self.listed[slot.index()] {
            return Err(Refusal::OtherUki(slot));
        }
        let attempts = attempts.saturating_add(1);
        let phase = Phase::Arming;
        let arming = Trial { slot, release, since: now, attempts, method, phase };
        let armed = Trial { phase: Phase::Armed, ..arming.clone() };
        let remember = |trial: Trial| {
            let meta = Meta { trial: Some(trial), staged: None, ..self.meta.clone() };
            Action::Remember(Box::new(meta))
        };
        let mut actions: Vec<_> =
            self.name(above(self.names, self.running.slot)).into_iter().collect();
        actions.push(remember(arming));
        match method {
            Method::OneShot => actions.push(Action::Once(self.names[slot.index()].id())),
            Method::Counted => actions.push(Action::Name(once(self.names, slot))),
            Method::Kexec | Method::Chosen => {}
        }
        actions.push(remember(armed.clone()));
        Ok(Plan { actions, outcome: armed })
    }

    /// Gives up what is staged or armed, or that the node goes back.
    ///
    /// # Errors
    /// There is nothing, or it runs or was found healthy already.
    pub fn cancel(&self) -> Result<Plan<()>, Refusal> {
        let slot = self.spare();
        let mut actions = Vec::new();
        match &self.meta.trial {
            Some(trial) if trial.slot != slot || trial.phase == Phase::Healthy => {
                return Err(Refusal::OnTrial(trial.release.version.clone()));
            }
            Some(trial) => {
                // Whoever is cut off here finds a trial that may not have been armed, not one that failed.
                let trial = Trial { phase: Phase::Arming, ..trial.clone() };
                let meta = Meta { trial: Some(trial), ..self.meta.clone() };
                actions.extend(self.remember(meta));
                actions.extend(self.one_shot.is_some().then_some(Action::NotOnce));
                actions.extend(self.name(above(self.names, self.running.slot)));
            }
            None if self.goes_back().is_some() => return Ok(self.stay()),
            None if self.meta.staged.is_none() => return Err(Refusal::NothingStaged),
            None => {}
        }
        let meta = Meta { trial: None, staged: None, ..self.meta.clone() };
        actions.push(Action::Remember(Box::new(meta)));
        actions.push(Action::Unlist(slot));
        Ok(Plan { actions, outcome: () })
    }

    /// Goes back to what was good in the other slot, by the next boot. Both files must have been read.
    /// What runs now is not taken again by itself.
    ///
    /// # Errors
    /// There is nothing good, it is the same, too old or damaged, or a trial is under way.
    pub fn roll_back(&self, now: u64) -> Result<Plan<Release>, Refusal> {
        let slot = self.spare();
        self.check_no_trial()?;
        let good = self.good(slot).cloned().ok_or(Refusal::NothingGood(slot))?;
        if good.root_hash == self.running.root_hash {
            return Err(Refusal::SameRelease(slot));
        }
        if good.epoch < self.meta.epoch {
            return Err(Refusal::Epoch { offered: good.epoch, least: self.meta.epoch });
        }
        let whole = self.contents[slot.index()].is_some_and(|content| content.digest == good.uki);
        if !whole || !self.listed[slot.index()] {
            return Err(Refusal::OtherUki(slot));
        }
        let mut meta = self.meta.clone();
        meta.add_failed(&self.running_release(), now, BY_HAND);
        let mut actions: Vec<_> = self.remember(meta).into_iter().collect();
        // The one that is left can be fallen back to if it was healthy.
        let pair = if self.is_proven() { armed } else { above };
        actions.extend(self.name(pair(self.names, slot)));
        Ok(Plan { actions, outcome: good })
    }

    /// What [`Self::roll_back`] has made the next boot, if that is still to come: its entry stands on top,
    /// and what runs is left by hand. Of an entry that somebody has chosen in the loader it says the same,
    /// for the same follows.
    pub fn goes_back(&self) -> Option<&Release> {
        let (own, slot) = (self.running.slot, self.spare());
        let left =
            self.meta.failure(&self.running.root_hash).is_some_and(|it| it.reason == BY_HAND);
        let starts = !is_top(self.names, own)
            && !self.names[slot.index()].is_used_up()
            && self.listed[slot.index()];
        self.good(slot).filter(|_| self.meta.trial.is_none() && left && starts)
    }

    /// Takes [`Self::roll_back`] back. The entries first: whoever is cut off here has a mark too many, which
    /// the next healthy boot removes.
    fn stay(&self) -> Plan<()> {
        let mut actions: Vec<_> =
            self.name(above(self.names, self.running.slot)).into_iter().collect();
        let mut meta = self.meta.clone();
        meta.failed.retain(|failed| failed.root_hash != self.running.root_hash);
        actions.extend(self.remember(meta));
        Plan { actions, outcome: () }
    }
}
