//! What `status` says of the slots.

use formats::boot_entries::Slot;
use formats::digest::Sha256;
use formats::fleet;
use formats::meta::{Fallback, Meta, Phase, Release, Trial};
use serde_json::{Value, json};

use super::Node;
use crate::words::words;

impl Node {
    /// What runs, what is staged or tried, what failed. That META cannot be read is part of it, for the
    /// node runs all the same.
    pub fn status(&mut self) -> Value {
        let running = self.slot();
        let entries = self.machine.entries();
        let entries = entries.map(|names| names.map(|name| name.to_string()));
        let mut value = match self.machine.record() {
            Ok(meta) => of(meta, running),
            Err(error) => json!({ "unknown": words(&error) }),
        };
        if let Some(members) = value.as_object_mut() {
            members.insert("running".to_owned(), json!(letter(running)));
            match entries {
                Ok(names) => members.insert("entries".to_owned(), json!(names)),
                Err(error) => members.insert("entries-unknown".to_owned(), json!(words(&error))),
            };
        }
        value
    }
}

/// Where a node is on its way, in the words of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Of what it does now.
    pub phase: fleet::Phase,
    /// The version of what waits for its trial.
    pub staged: Option<String>,
    /// What it fell back from last.
    pub fallback: Option<fleet::Fallback>,
    /// The version that the next restart goes back to, because somebody has said so.
    pub rollback: Option<String>,
}

impl Place {
    /// Of what META has, on a node that runs this root, goes back or not, and is told to go down or not.
    pub fn of(meta: &Meta, running: Sha256, back: Option<&Release>, goes_down: bool) -> Self {
        let trial = meta.trial.as_ref();
        let runs = trial.is_some_and(|trial| trial.release.root_hash == running);
        let waits = trial.filter(|_| !runs).map(|trial| &trial.release);
        let in_slot = meta.staged.as_ref().map(|staged| &staged.release);
        let phase = match (trial.is_some(), in_slot, &meta.fallback) {
            (true, ..) if runs => fleet::Phase::Trial,
            (true, ..) if goes_down => fleet::Phase::Restarting,
            (false, ..) if back.is_some() && goes_down => fleet::Phase::Restarting,
            (true, ..) => fleet::Phase::Staged,
            (false, Some(_), _) => fleet::Phase::Staged,
            (false, None, Some(_)) => fleet::Phase::FellBack,
            (false, None, None) => fleet::Phase::Idle,
        };
        let staged = in_slot.or(waits).map(|release| release.version.clone());
        let rollback = back.map(|release| release.version.clone());
        Self { phase, staged, fallback: meta.fallback.as_ref().map(Into::into), rollback }
    }
}

fn letter(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "a",
        Slot::B => "b",
    }
}

fn of(meta: &Meta, running: Slot) -> Value {
    let fallback = meta.fallback.as_ref().map(|Fallback { version, reason, time, .. }| {
        json!({ "version": version, "reason": reason, "time": time })
    });
    let failed: Vec<_> = meta
        .failed
        .iter()
        .map(|it| json!({ "version": it.version, "root-hash": it.root_hash.to_string(), "reason": it.reason, "time": it.time }))
        .collect();
    json!({
        "healthy": meta.good(running).map(release),
        "other": meta.good(running.other()).map(release),
        "staged": meta.staged.as_ref().map(|staged| release(&staged.release)),
        "trial": meta.trial.as_ref().map(trial),
        "fell-back": fallback,
        "failed": failed,
        "epoch": meta.epoch,
    })
}

fn release(release: &Release) -> Value {
    json!({ "version": release.version, "root-hash": release.root_hash.to_string() })
}

fn trial(trial: &Trial) -> Value {
    let (phase, why) = match &trial.phase {
        Phase::Arming => ("arming", None),
        Phase::Armed => ("armed", None),
        Phase::Begun => ("begun", None),
        Phase::Interrupted => ("interrupted", None),
        Phase::Unhealthy(why) => ("unhealthy", Some(why)),
        Phase::Healthy => ("healthy", None),
    };
    json!({
        "slot": letter(trial.slot), "version": trial.release.version,
        "root-hash": trial.release.root_hash.to_string(),
        "phase": phase, "reason": why, "attempts": trial.attempts,
    })
}
