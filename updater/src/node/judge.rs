//! Each boot is judged, not only a trial: once all that a trial is asked has held, META knows that what
//! runs is good to come back to, and the loader's count begins anew. A boot that is not healthy stays as
//! it is, unless it is a trial that nobody noted: somebody chose a release in the loader that was never
//! healthy here.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use formats::health::Condition;

use super::verdict::{self, Judgement};
use super::{Node, lock};
use crate::clock::monotonic;
use crate::facts;
use crate::health::gate::{self, Gate};
use crate::health::{Node as Runs, Prober, Verdict};
use crate::plan::{Health, Unhealthy};
use crate::trial::command::Settings;
use crate::trial::{restart, run};
use crate::words::words;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// A release that was on trial stays: its version.
    Promoted(String),
    /// What runs is healthy, and was before.
    Healthy,
    /// It was a trial and is not healthy; PID 1 is asked for a restart.
    Left(String),
}

/// Judges this boot, for as long as it takes. `say` is given lines for people.
///
/// # Errors
/// In words: the checks cannot be read, or META or the disk fail.
pub fn judge(
    root: &Path,
    settings: &Settings,
    prober: &Arc<Prober>,
    say: &mut dyn FnMut(&str),
) -> Result<Judged, String> {
    let (checks, wrong) = gate::checks(root)
        .map_err(|error| format!("the checks of this image cannot be read: {error}"))?;
    wrong.iter().for_each(|line| say(line));
    let mut told = false;
    if let Judgement::NotYet(_) = verdict::of(root) {
        // What is remembered of an earlier process of this boot says more.
        remember(root, &Judgement::NotYet(Some(monotonic() + settings.deadline)))?;
    }
    loop {
        let runs = Runs { kubelet: gate::runs_kubelet(root), node_ready: settings.node_ready };
        let gate = Gate::new(&runs, &checks, &BTreeSet::new());
        let decided = run::judge(&gate, prober, settings.deadline, |_| {}, &mut |_| {});
        let Some(run::Decided { verdict, failing }) = decided else { continue };
        match verdict {
            Verdict::Healthy => return healthy(root),
            Verdict::Unhealthy(reason) => match unhealthy(root, &reason, &failing)? {
                Unhealthy::Reboot => {
                    say(&format!("the release is not healthy: {reason}"));
                    let asked = format!("the trial has failed: {reason}");
                    restart::ask(root, restart::How::Reboot, &asked)
                        .map_err(|error| format!("cannot ask PID 1 for a restart: {error}"))?;
                    return Ok(Judged::Left(reason));
                }
                // There is nothing better to go to.
                Unhealthy::Stay if !told => {
                    told = true;
                    say(&format!("this node is not healthy, and nothing is updated: {reason}"));
                }
                Unhealthy::Stay => {}
            },
            Verdict::Waiting(_) => {}
        }
    }
}

fn open(root: &Path) -> Result<Node, String> {
    Node::open(root, &facts::read(root)?)
}

fn healthy(root: &Path) -> Result<Judged, String> {
    let _lock = lock(root)?;
    match open(root)?.found_healthy()? {
        Health::Promoted(release) => Ok(Judged::Promoted(release.version)),
        Health::Kept => Ok(Judged::Healthy),
    }
}

fn unhealthy(root: &Path, reason: &str, failing: &[Condition]) -> Result<Unhealthy, String> {
    let _lock = lock(root)?;
    let failing = failing.iter().map(ToString::to_string).collect();
    remember(root, &Judgement::Unhealthy(failing))?;
    open(root)?.machine().unhealthy(reason).map_err(|error| words(&error))
}

fn remember(root: &Path, judgement: &Judgement) -> Result<(), String> {
    verdict::remember(root, judgement)
        .map_err(|error| format!("cannot keep how this boot is judged: {error}"))
}
