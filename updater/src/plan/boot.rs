//! What each boot does: at its start, when it was found healthy or not, and at its orderly end.

use formats::meta::{Fallback, Meta, Method, Phase, Release, Staged, Trial, shortened};

use super::names::{above, armed, is_top};
use super::{Action, MOST_ATTEMPTS, Plan, State};

/// What kind of boot this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Boot {
    /// Of a version that is known, or the first one of a disk.
    Ordinary,
    /// Of a version that was never healthy here, while the other slot is good: to be judged in time, and
    /// left if it is not healthy.
    Trial(Trial),
    /// A newer version was left, which is noticed now and is said once.
    FellBack(Fallback),
    /// A trial was armed, but has not failed: it was not begun, or was shut down in good order. It is
    /// staged as before.
    NotJudged(Staged),
    /// A trial was found healthy, and its promotion was cut off: it was completed now. If it is not
    /// what runs, the next boot is from it.
    Promoted(Release),
}

/// What a healthy boot amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The trial is promoted.
    Promoted(Release),
    /// The version that runs stays.
    Kept,
}

/// What an unhealthy boot leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unhealthy {
    /// It was a trial: a reboot leads back to the other slot.
    Reboot,
    /// There is nothing better: the node stays up.
    Stay,
}

const NO_WORD: &str =
    "it ended before it was found healthy and left no word: panic, hang, reset or power cut";
const BEFORE: &str = "it ended before its updater ran: panic, hang, reset or power cut";
const INTERRUPTED: &str = "it was shut down twice before it was found healthy";
const NEVER: &str = "its trial was armed several times and never began";
const USED_UP: &str = "it was not healthy in any of its last boots";

impl State {
    /// The start of a boot, before anything is judged. `word` is why a trial ended, if it has left one.
    pub fn start(&self, now: u64, word: Option<&str>) -> Plan<Boot> {
        let mut plan = match self.meta.trial.clone() {
            Some(trial) if self.is_trial() && trial.phase == Phase::Healthy => {
                self.promoted(trial, Boot::Promoted)
            }
            Some(trial) if self.is_trial() => self.begin(trial),
            Some(trial) if trial.slot == self.running.slot => {
                // Another image than the one that was tried lies in this slot: somebody put it there.
                let meta = Meta { trial: None, staged: None, ..self.meta.clone() };
                Plan { actions: self.remember(meta).into_iter().collect(), outcome: Boot::Ordinary }
            }
            Some(trial) => self.without_trial(trial, now, word),
            None => self.without_record(now),
        };
        // What the loader has not taken back would start the same entry for ever. Last, for whoever is
        // cut off before it is in a trial that META knows or that is noticed as one.
        plan.actions.extend(self.one_shot.is_some().then_some(Action::NotOnce));
        plan
    }

    /// The trial runs. However it was started, the next boot is of the other slot.
    fn begin(&self, trial: Trial) -> Plan<Boot> {
        let trial = Trial { phase: Phase::Begun, ..trial };
        let meta = Meta { trial: Some(trial.clone()), staged: None, ..self.meta.clone() };
        let mut actions: Vec<_> = self.remember(meta).into_iter().collect();
        // Somebody put it on top, or the loader could not take back the attempt that it had.
        let own = self.names[trial.slot.index()];
        if is_top(self.names, trial.slot) && !own.is_used_up() {
            actions.extend(self.name(above(self.names, trial.slot.other())));
        }
        Plan { actions, outcome: Boot::Trial(trial) }
    }

    /// The other slot runs although there is a trial.
    fn without_trial(&self, trial: Trial, now: u64, word: Option<&str>) -> Plan<Boot> {
        let name = self.names[trial.slot.index()];
        let waits = match trial.method {
            Method::OneShot => self.one_shot.is_some(),
            Method::Counted => !name.is_used_up(),
            Method::Kexec | Method::Chosen => false,
        };
        let reason = match &trial.phase {
            Phase::Healthy => return self.promoted(trial, Boot::Promoted),
            Phase::Unhealthy(reason) => Some(reason.as_str()),
            Phase::Begun => Some(word.unwrap_or(NO_WORD)),
            Phase::Interrupted if trial.attempts >= 2 => Some(INTERRUPTED),
            Phase::Interrupted => None,
            Phase::Armed if !waits => Some(word.unwrap_or(BEFORE)),
            // Counted entries say themselves whether they were started.
            Phase::Arming if trial.method == Method::Counted && !waits => Some(BEFORE),
            Phase::Armed | Phase::Arming if trial.attempts >= MOST_ATTEMPTS => Some(NEVER),
            Phase::Armed | Phase::Arming => None,
        };
        match reason {
            Some(reason) => {
                let mut plan = self.fall_back(&trial.release, reason, now);
                plan.actions.push(Action::Unlist(trial.slot));
                plan
            }
            None => {
                let Trial { slot, release, attempts, .. } = trial;
                let staged = Staged { slot, release, attempts };
                let (trial, kept) = (None, Some(staged.clone()));
                let meta = Meta { trial, staged: kept, ..self.meta.clone() };
                let mut actions: Vec<_> = self.remember(meta).into_iter().collect();
                actions.extend(self.name(above(self.names, self.running.slot)));
                Plan { actions, outcome: Boot::NotJudged(staged) }
            }
        }
    }

    /// No trial is known of.
    fn without_record(&self, now: u64) -> Plan<Boot> {
        let (slot, other) = (self.running.slot, self.spare());
        let good = self.good(other).cloned();
        let left = !is_top(self.names, slot) && self.names[other.index()].is_used_up();
        match good {
            // A good version went bad, and the loader has left it.
            Some(release) if left => self.fall_back(&release, USED_UP, now),
            Some(_) if !self.new && !self.is_proven() => {
                let release = self.running_release();
                let (attempts, method, phase) = (1, Method::Chosen, Phase::Begun);
                self.begin(Trial { slot, release, since: now, attempts, method, phase })
            }
            // Left at an earlier boot, which was cut off.
            None if left => {
                let names = self.name(above(self.names, slot));
                Plan { actions: names.into_iter().collect(), outcome: Boot::Ordinary }
            }
            _ => Plan { actions: Vec::new(), outcome: Boot::Ordinary },
        }
    }

    /// The other slot's release failed, and this one is all there is.
    fn fall_back(&self, release: &Release, reason: &str, now: u64) -> Plan<Boot> {
        let mut meta = self.meta.clone();
        let Release { version, root_hash, .. } = release.clone();
        let fallback = Fallback { version, root_hash, time: now, reason: shortened(reason) };
        meta.add_failed(release, now, reason);
        meta.good[self.spare().index()] = None;
        meta.fallback = Some(fallback.clone());
        meta.trial = None;
        meta.staged = None;
        let mut actions: Vec<_> = self.remember(meta).into_iter().collect();
        actions.extend(self.name(above(self.names, self.running.slot)));
        Plan { actions, outcome: Boot::FellBack(fallback) }
    }

    /// A promotion from where it was found healthy, whichever slot runs: every part can be done again.
    fn promoted<T>(&self, trial: Trial, outcome: fn(Release) -> T) -> Plan<T> {
        let Trial { slot, release, .. } = trial.clone();
        let mut meta = self.meta.clone();
        meta.epoch = meta.epoch.max(release.epoch);
        meta.good[slot.index()] = Some(release.clone());
        meta.failed.retain(|failed| failed.root_hash != release.root_hash);
        meta.staged = None;
        meta.fallback = None;
        meta.trial = Some(Trial { phase: Phase::Healthy, ..trial });
        let mut actions: Vec<_> = self.remember(meta.clone()).into_iter().collect();
        let pair = if meta.good(slot.other()).is_some() { armed } else { above };
        actions.extend(self.name(pair(self.names, slot)));
        meta.trial = None;
        actions.push(Action::Remember(Box::new(meta)));
        Plan { actions, outcome: outcome(release) }
    }

    /// What runs was found healthy: a trial is promoted, all else is armed anew, so that it falls to the
    /// other slot if it is not healthy later. The files must have been read if
    /// [`Self::healthy_wants_contents`].
    pub fn healthy(&self) -> Plan<Health> {
        if let Some(trial) = self.meta.trial.clone().filter(|_| self.is_trial()) {
            return self.promoted(trial, Health::Promoted);
        }
        let (slot, other) = (self.running.slot, self.spare());
        let mut meta = self.meta.clone();
        let release = self.running_release();
        if self.new {
            // A disk as the builder makes it has one image in both slots.
            let same = self.contents[other.index()].filter(|content| {
                self.listed[other.index()] && content.root_hash == Some(release.root_hash)
            });
            meta.good[other.index()] =
                same.map(|content| Release { uki: content.digest, ..release.clone() });
        }
        meta.epoch = meta.epoch.max(release.epoch);
        // Whoever leaves it by hand does so although it is healthy.
        if self.goes_back().is_none() {
            meta.failed.retain(|failed| failed.root_hash != release.root_hash);
        }
        let both = meta.good(other).is_some();
        meta.good[slot.index()] = Some(release);
        let mut actions: Vec<_> = self.remember(meta).into_iter().collect();
        let mut names = self.names;
        if is_top(names, slot) && both {
            names = armed(names, slot);
        } else {
            names[slot.index()] = names[slot.index()].uncounted();
        }
        if both && is_top(names, slot) {
            // The last resort is not counted: it would run out by boots that were cut off.
            names[other.index()] = names[other.index()].uncounted();
        }
        actions.extend(self.name(names));
        Plan { actions, outcome: Health::Kept }
    }

    /// What runs was released with this epoch, which no image says itself: what is gone back to later must
    /// not seem older than it is.
    pub fn released(&self, epoch: u64) -> Plan<()> {
        let mut meta = self.meta.clone();
        let slot = self.running.slot.index();
        let own = meta.good[slot].as_mut();
        if let Some(own) = own.filter(|own| own.root_hash == self.running.root_hash) {
            own.epoch = own.epoch.max(epoch);
            meta.epoch = meta.epoch.max(epoch);
        }
        // A disk on which nothing was remembered stays one: its first healthy boot looks at both slots.
        let news = (meta != self.meta).then(|| Action::Remember(Box::new(meta)));
        Plan { actions: news.into_iter().collect(), outcome: () }
    }

    /// Whether [`Self::healthy`] needs what the files hold: once for each version.
    pub fn healthy_wants_contents(&self) -> bool {
        self.new || self.start_wants_contents()
    }

    /// Whether [`Self::start`] needs what the files hold: where this version was neither found good
    /// nor begun as a trial. Nothing is known of a new disk, so nothing is compared there, and its
    /// first boot need not read two files of 40 MiB.
    pub fn start_wants_contents(&self) -> bool {
        !self.new && !self.is_proven() && !self.is_trial()
    }

    /// What runs was found unhealthy, with the reason.
    pub fn unhealthy(&self, reason: &str) -> Plan<Unhealthy> {
        let trial = self.meta.trial.clone().filter(|_| self.is_trial());
        let Some(trial) = trial.filter(|trial| trial.phase != Phase::Healthy) else {
            return Plan { actions: Vec::new(), outcome: Unhealthy::Stay };
        };
        let trial = Trial { phase: Phase::Unhealthy(shortened(reason)), ..trial };
        let meta = Meta { trial: Some(trial), ..self.meta.clone() };
        let actions = self.remember(meta).into_iter().collect();
        Plan { actions, outcome: Unhealthy::Reboot }
    }

    /// The node is shut down in good order. A trial that was not judged by then has not failed, once.
    pub fn stopping(&self) -> Plan<()> {
        let trial = self.meta.trial.clone().filter(|_| self.is_trial());
        let actions = match trial.filter(|trial| trial.phase == Phase::Begun) {
            Some(trial) => {
                let trial = Trial { phase: Phase::Interrupted, ..trial };
                let meta = Meta { trial: Some(trial), ..self.meta.clone() };
                self.remember(meta).into_iter().collect()
            }
            None => Vec::new(),
        };
        Plan { actions, outcome: () }
    }

    /// This boot is a trial and could not begin, for a reason that is the node's and not the release's: the
    /// next boot is of the other slot, and finds what it was to try staged as before. It is said in words
    /// that the release there knows, whatever its version: of a trial that may not have been armed. Each
    /// counts as an attempt, so that it comes to an end.
    pub fn put_off(&self) -> Plan<()> {
        let trial = self.meta.trial.clone().filter(|_| self.is_trial());
        let judged = |it: &Trial| matches!(it.phase, Phase::Healthy | Phase::Unhealthy(_));
        let Some(trial) = trial.filter(|trial| !judged(trial)) else {
            return Plan { actions: Vec::new(), outcome: () };
        };
        let mut actions = Vec::new();
        if is_top(self.names, trial.slot) {
            actions.extend(self.name(above(self.names, trial.slot.other())));
        }
        // A counted entry would say by itself that it was started.
        let trial = Trial { method: Method::OneShot, phase: Phase::Arming, ..trial };
        actions.extend(self.remember(Meta { trial: Some(trial), ..self.meta.clone() }));
        Plan { actions, outcome: () }
    }

    /// A trial could not be armed in this way, or not to the end: what is staged is as it was. The loader
    /// first, for what it may start META has to know.
    pub fn unarmed(&self) -> Plan<()> {
        let waits = |it: &Trial| matches!(it.phase, Phase::Arming | Phase::Armed);
        let trial = self.meta.trial.clone().filter(|it| it.slot == self.spare() && waits(it));
        let Some(trial) = trial else {
            return Plan { actions: Vec::new(), outcome: () };
        };
        let Trial { slot, release, attempts, .. } = trial;
        let staged = Staged { slot, release, attempts: attempts.saturating_sub(1) };
        let meta = Meta { trial: None, staged: Some(staged), ..self.meta.clone() };
        let mut actions: Vec<_> = self.one_shot.iter().map(|_| Action::NotOnce).collect();
        actions.extend(self.name(above(self.names, self.running.slot)));
        actions.extend(self.remember(meta));
        Plan { actions, outcome: () }
    }
}
