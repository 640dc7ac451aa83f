//! The trial itself, in the release that is tried: `orlop-updater trial`, which the unit `trial` runs.
//!
//! It ends only when the release stays. One that is not healthy asks PID 1 for a restart and waits for
//! it. If this program is not there, hangs or is killed, PID 1 restarts the machine by the unit's
//! `restart-machine-after`; if PID 1 hangs, the watchdog does.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use formats::digest::Sha256;
use formats::health::Condition;
use formats::trial::{Note, Outcome, Verdict};

use crate::clock::monotonic;
use crate::health::gate::{self, How};
use crate::health::{self, Gate, Judge, Node, Prober};
use crate::trial::note;

/// What a trial needs to know.
#[derive(Debug)]
pub struct Setup<'s> {
    /// Where the node's file system begins: `/` but in tests.
    pub root: &'s Path,
    /// The root hash of the release that runs.
    pub own: Sha256,
    /// The trial's time; see [`gate::DEADLINE`].
    pub deadline: Duration,
    /// The owner wants the node Ready before a release is believed.
    pub node_ready: bool,
    /// Who asks.
    pub prober: Arc<Prober>,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The release stays: it was promoted, and the note is forgotten.
    Promoted,
    /// It is not healthy, or could not be promoted: ask PID 1 for a restart with this reason.
    Failed(String),
    /// STATE is full and does not take how it went. That is the node's fault, whatever was found: ask PID 1
    /// for a restart, and the release is staged as before.
    NoRoom(String),
    /// The machine goes down before it was decided.
    Interrupted,
    /// It failed in an earlier boot and runs all the same: somebody chose it. It is not judged again,
    /// or the machine would restart for ever.
    FailedBefore(String),
}

/// What came of judging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The verdict.
    pub verdict: health::Verdict,
    /// What was given all of its time and does not hold.
    pub failing: Vec<Condition>,
}

/// What is heard in a trial.
#[derive(Debug)]
pub enum Heard {
    /// An answer, when it came.
    Answer {
        /// When.
        at: Duration,
        /// To what.
        condition: Condition,
        /// Good, or why not.
        answer: Result<(), String>,
    },
    /// The machine goes down, or this program is asked to end.
    Stop,
}

/// Judges the release that runs, has it promoted if it is healthy, and keeps how it went. Waits until
/// that is decided, for the trial's time at most. `told` is given what is waited for, for people, each
/// time that it changes. `stop` is given to who hears that the machine goes down.
///
/// # Errors
/// STATE fails, and does not take how it went: treat it as a failure.
pub fn run(
    setup: &Setup<'_>,
    stop: impl FnOnce(Sender<Heard>),
    told: &mut dyn FnMut(&str),
    promote: &mut dyn FnMut() -> Result<(), String>,
) -> io::Result<Ended> {
    let Setup { root, own, .. } = *setup;
    let noted = note::noted(root)?.filter(|note| note.root_hash == own);
    let before = note::outcome(root)?.filter(|outcome| outcome.root_hash == own);
    match before {
        // The power went between two steps of an earlier boot.
        Some(Outcome { verdict: Verdict::Healthy, .. }) => return stay(root, own, promote),
        Some(Outcome { verdict: Verdict::Unhealthy, reason, .. }) => {
            return Ok(Ended::FailedBefore(reason));
        }
        Some(Outcome { verdict: Verdict::Interrupted, .. }) | None => {}
    }
    let gate = gate_of(setup, noted.as_ref(), told)?;
    let decided = judge(&gate, &setup.prober, setup.deadline, stop, told);
    let keep = |verdict, reason: &str| {
        note::write_outcome(root, &Outcome { root_hash: own, verdict, reason: reason.to_owned() })
    };
    let no_room = |error: io::Error, found: &str| match is_full(&error) {
        true => Ok(Ended::NoRoom(format!("STATE does not take how it went: {error}; {found}"))),
        false => Err(error),
    };
    match decided.map(|decided| decided.verdict) {
        Some(health::Verdict::Healthy) => {
            match keep(Verdict::Healthy, "all that it was asked was good") {
                Ok(()) => stay(root, own, promote),
                Err(error) => no_room(error, "all that it was asked was good"),
            }
        }
        Some(health::Verdict::Unhealthy(reason)) => match keep(Verdict::Unhealthy, &reason) {
            Ok(()) => Ok(Ended::Failed(reason)),
            Err(error) => no_room(error, &reason),
        },
        Some(health::Verdict::Waiting(_)) | None => {
            // META learns it too.
            if let Err(error) = keep(Verdict::Interrupted, "the machine was told to go down") {
                told(&format!("STATE does not take that the trial was interrupted: {error}"));
            }
            Ok(Ended::Interrupted)
        }
    }
}

/// Whether a file system has refused something because there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Asks all that a gate asks until that is decided, for `deadline` at most; `None` if it was stopped
/// before.
pub fn judge(
    gate: &Gate,
    prober: &Arc<Prober>,
    deadline: Duration,
    stop: impl FnOnce(Sender<Heard>),
    told: &mut dyn FnMut(&str),
) -> Option<Decided> {
    let (heard, ears) = channel();
    stop(heard.clone());
    let judge = Judge::new(gate.wanted(), deadline, monotonic());
    let asking = ask_all(gate, prober, &heard);
    let decided = listen(judge, &ears, told);
    drop(asking);
    decided
}

/// It is healthy, which is on STATE: a power cut from here on costs no second trial.
fn stay(
    root: &Path,
    own: Sha256,
    promote: &mut dyn FnMut() -> Result<(), String>,
) -> io::Result<Ended> {
    if let Err(why) = promote() {
        let reason = format!("it is healthy and cannot be promoted: {why}");
        let outcome =
            Outcome { root_hash: own, verdict: Verdict::Unhealthy, reason: reason.clone() };
        note::write_outcome(root, &outcome)?;
        return Ok(Ended::Failed(reason));
    }
    note::forget(root)?;
    Ok(Ended::Promoted)
}

fn gate_of(
    setup: &Setup<'_>,
    noted: Option<&Note>,
    told: &mut dyn FnMut(&str),
) -> io::Result<Gate> {
    let (checks, wrong) = gate::checks(setup.root)?;
    wrong.iter().for_each(|line| told(line));
    // A release that makes nothing of the node's config must not pass for one that needs no kubelet.
    let kubelet = gate::runs_kubelet(setup.root) || noted.is_some_and(|note| note.kubelet);
    let node = Node { kubelet, node_ready: setup.node_ready };
    let failed_before = noted.map(|note| note.failed_before.clone()).unwrap_or_default();
    let gate = Gate::new(&node, &checks, &failed_before);
    for condition in &gate.excused {
        told(&format!("{condition} failed before the update and does not count"));
    }
    Ok(gate)
}

/// Threads that ask, each its own question, until this is dropped.
#[derive(Debug)]
struct Asking(#[expect(dead_code, reason = "its end is what they hear")] Vec<Sender<()>>);

fn ask_all(gate: &Gate, prober: &Arc<Prober>, heard: &Sender<Heard>) -> Asking {
    let mut ends = Vec::new();
    for asked in &gate.asked {
        let (end, ended) = channel::<()>();
        ends.push(end);
        let (asked, prober, heard) = (asked.clone(), Arc::clone(prober), heard.clone());
        thread::spawn(move || {
            loop {
                let answer = prober.ask(&asked.how, asked.timeout);
                let condition = asked.wanted.condition.clone();
                let answer = Heard::Answer { at: monotonic(), condition, answer };
                let listens = heard.send(answer).is_ok();
                let pause = ended.recv_timeout(asked.interval);
                if !listens || pause == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        });
    }
    Asking(ends)
}

/// `None` if it was stopped before it was decided.
fn listen(mut judge: Judge, ears: &Receiver<Heard>, told: &mut dyn FnMut(&str)) -> Option<Decided> {
    let mut last = String::new();
    loop {
        let now = monotonic();
        match judge.verdict(now) {
            health::Verdict::Waiting(what) if what != last => {
                // Seconds pass, and are no news.
                if what.split(" is good for ").next() != last.split(" is good for ").next() {
                    told(&format!("waits: {what}"));
                }
                last = what;
            }
            health::Verdict::Waiting(_) => {}
            verdict => return Some(Decided { verdict, failing: judge.failing(now) }),
        }
        let pause = judge.next().saturating_sub(monotonic()).max(Duration::from_millis(1));
        match ears.recv_timeout(pause) {
            Ok(Heard::Answer { at, condition, answer }) => judge.take(at, &condition, answer),
            Ok(Heard::Stop) => return None,
            Err(RecvTimeoutError::Timeout) => {}
            // Nobody asks: only its time is left.
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

/// How a node is before an update: which conditions fail in each of `rounds` looks. One that holds once is
/// no excuse. `pause` waits between two looks, and says whether to go on.
pub fn failing(
    gate: &Gate,
    rounds: usize,
    mut ask: impl FnMut(&How, Duration) -> Result<(), String>,
    mut pause: impl FnMut() -> bool,
) -> Vec<Condition> {
    let mut left: Vec<_> = gate.asked.iter().collect();
    for round in 0..rounds {
        if left.is_empty() || (round > 0 && !pause()) {
            break;
        }
        left.retain(|asked| ask(&asked.how, asked.timeout).is_err());
    }
    left.into_iter().map(|asked| asked.wanted.condition.clone()).collect()
}

#[cfg(test)]
mod tests;
