//! What a node does by itself, purely: `[update].policy` and its windows, what was seen of the channel, and
//! what the node is at a moment give what is done next, or until when nothing is.
//!
//! [`run()`] is the loop around it, with [`Desk`] for all that it cannot know itself. What holds whatever
//! comes: a release that failed here is never taken, nothing is done while a trial is judged or somebody
//! asks for a release, nor by a clock that is plainly wrong; a slot is filled, a trial armed and the
//! machine restarted in windows only; a restart follows a look at the channel that is a quarter of an hour
//! old at the most; and what was armed is taken back once the channel has it no more.

mod calendar;
mod now;
mod run;
mod spread;

use std::fmt;

use formats::digest::Sha256;
use formats::node_config::{Policy, Update, Window};
use formats::release::Listed;

use crate::eligible::{self, Asked, eligible};
use crate::trust::Verified;
use calendar::Opening;
pub use now::Others;
pub use run::{Bell, Desk, Go, Miss, run};
pub use spread::Spread;

/// The oldest look at the channel that a restart may follow, in seconds: what was withdrawn since is not
/// started.
const FRESH: i64 = 15 * 60;

/// After so long the node is looked at again where a trial or a person holds up the policy.
const SHORT: i64 = 60;

/// The longest time between two tries of what fails again and again, in seconds; the interval if that is
/// longer.
const LONGEST_BACKOFF: i64 = 86_400;

/// What the owner of a node wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How far it goes by itself.
    pub policy: Policy,
    /// When; at any time if there is none.
    pub windows: Vec<Window>,
    /// From one look at the channel to the next, in seconds.
    pub interval: i64,
}

impl From<&Update> for Rules {
    fn from(update: &Update) -> Self {
        Self {
            policy: update.policy,
            windows: update.window.clone(),
            interval: i64::from(update.check_interval.seconds()),
        }
    }
}

/// A node at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What its owner wants.
    pub rules: Rules,
    /// Its own moments.
    pub spread: Spread,
    /// No clock of this image is before that, in seconds since 1970.
    pub floor: i64,
    /// A trial runs and is not judged yet, or the machine goes down.
    pub on_trial: bool,
    /// Whether the next boot is a trial of what is staged.
    pub armed: Armed,
    /// Somebody has asked for a release by its name, and that is not done yet.
    pub asked: bool,
    /// The root hash of what lies in the spare slot, whole.
    pub staged: Option<Sha256>,
    /// Root hashes of images that have failed on it.
    pub failed: Vec<Sha256>,
    /// Root hashes of what a person has given up since the machine started.
    pub given_up: Vec<Sha256>,
}

/// Whether the next boot is a trial, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Armed {
    /// It is none.
    No,
    /// By the policy: it may take that back.
    ByPolicy,
    /// By somebody else, who has yet to restart the machine; or to go back.
    BySomebody,
}

/// A release that may be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its version.
    pub version: String,
    /// The root hash of its image.
    pub root_hash: Sha256,
}

/// What a look at the channel has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This release is for this node, now: the newest that it may take.
    Takes(Candidate),
    /// There is none, with the reason.
    Against(String),
}

impl Verdict {
    /// Of one release of a channel that has `listed`, at `now`, in seconds since 1970.
    pub fn of(verified: &Verified, node: &eligible::Node, listed: &[Listed], now: i64) -> Self {
        let release = &verified.release;
        let taken = eligible(verified, node, listed, Asked::ByPolicy, (now, now));
        match (taken, release.root.hash.parse()) {
            (Ok(()), Ok(root_hash)) => {
                Self::Takes(Candidate { version: release.version.clone(), root_hash })
            }
            (Err(why), _) => Self::Against(format!("the release {}: {why}", release.version)),
            (Ok(()), Err(_)) => Self::Against(format!("the release {} is none", release.version)),
        }
    }
}

/// What the policy remembers, in memory only: each node has its own moments, so those of a fleet that
/// starts at once are apart all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The last look at the channel or, before the first, the beginning. Seconds since 1970.
    attempt: i64,
    /// Looks in a row that have failed.
    misses: u32,
    /// When and what the last good one has seen.
    seen: Option<(i64, Verdict)>,
    /// Tries in a row to take a release that have failed, and when the last one has.
    tries: Option<Tries>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tries {
    release: Sha256,
    count: u32,
    last: i64,
}

impl Past {
    /// Nothing yet: the updater starts, or the clock was set.
    pub fn new(now: i64) -> Self {
        Self { attempt: now, misses: 0, seen: None, tries: None }
    }

    /// A look at the channel has come to an end.
    pub fn looked(&mut self, now: i64, verdict: Verdict) {
        (self.attempt, self.misses) = (now, 0);
        self.seen = Some((now, verdict));
    }

    /// A look at the channel has failed.
    pub fn look_failed(&mut self, now: i64) {
        self.attempt = now;
        self.misses = self.misses.saturating_add(1);
    }

    /// A release was taken a step further.
    pub fn acted(&mut self) {
        self.tries = None;
    }

    /// A release could not be taken a step further.
    pub fn act_failed(&mut self, now: i64, release: &Candidate) {
        let before = self.tries.take().filter(|tries| tries.release == release.root_hash);
        let count = before.map_or(0, |tries| tries.count).saturating_add(1);
        self.tries = Some(Tries { release: release.root_hash, count, last: now });
    }
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Look which release the channel has for this node.
    Check,
    /// Fill the spare slot.
    Stage(Candidate),
    /// Have the next boot be a trial of it, whoever brings that boot about, and say that it is due.
    Arm(Candidate),
    /// Take that back: what is armed is not to be taken any more.
    Disarm,
    /// Start from it on trial, now.
    Upgrade(Candidate),
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This, now.
    Do(Deed),
    /// Nothing until then, in seconds since 1970, unless the node changes.
    Wait(i64, Why),
}

/// Why nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The policy is `manual`.
    Manual,
    /// The clock is before the image was made.
    Clock,
    /// A trial comes first.
    Trial,
    /// Somebody has asked for a release.
    Asked,
    /// There is no release to take.
    Nothing,
    /// There is one, and it is no time for it.
    Window,
    /// The next boot is its trial, and the policy goes no further.
    Armed,
    /// It failed to be taken, and is tried again later.
    Later,
    /// A person has given it up.
    GivenUp,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manual => "the policy is `manual`",
            Self::Clock => "the clock is before this image was made",
            Self::Trial => "a trial is judged first",
            Self::Asked => "somebody has asked for a release, or to go back",
            Self::Nothing => "there is no release to take",
            Self::Window => "a release waits for a window",
            Self::Armed => "a release is tried at the next restart, which is for others to do",
            Self::Later => "a release could not be taken and is tried again later",
            Self::GivenUp => {
                "a person has given up the release, which is not taken again before the machine restarts"
            }
        })
    }
}

/// What a node does next, at `now` in seconds since 1970.
pub fn decide(node: &Node, past: &Past, now: i64) -> Next {
    let Rules { policy, windows, interval } = &node.rules;
    let interval = (*interval).max(SHORT);
    let waits = |seconds, why| Next::Wait(now.saturating_add(seconds), why);
    for (holds, why) in [
        (now < node.floor, Why::Clock),
        (node.on_trial, Why::Trial),
        (node.asked || node.armed == Armed::BySomebody, Why::Asked),
    ] {
        if holds {
            return waits(SHORT, why);
        }
    }
    if *policy == Policy::Manual {
        let armed = node.armed == Armed::ByPolicy;
        return if armed { Next::Do(Deed::Disarm) } else { waits(interval, Why::Manual) };
    }
    // Nobody has looked in the future.
    let attempt = past.attempt.min(now);
    let kept_back = backoff(past.misses, interval);
    let next_look = node.spread.next(attempt.saturating_add(kept_back), interval);
    let opening = calendar::opening(windows, now);
    let turn = turn(&opening, &node.spread, interval);
    // Who waits for a window looks once more at its beginning.
    let by_window = turn.is_some_and(|turn| turn <= now && attempt < turn)
        && matches!(opening, Opening::Open { .. });
    if now >= next_look || by_window {
        return Next::Do(Deed::Check);
    }
    let takes = match &past.seen {
        Some((at, Verdict::Takes(release))) if !node.failed.contains(&release.root_hash) => {
            Some((*at, release))
        }
        _ => None,
    };
    let (given_up, takes) = match takes {
        Some((_, release)) if node.given_up.contains(&release.root_hash) => (true, None),
        takes => (false, takes),
    };
    let is_staged = takes.is_some_and(|(_, release)| node.staged == Some(release.root_hash));
    // Before it has looked, it does not know better.
    if node.armed == Armed::ByPolicy && !is_staged && past.seen.is_some() {
        return Next::Do(Deed::Disarm);
    }
    let Some((seen, release)) = takes else {
        let why = if given_up { Why::GivenUp } else { Why::Nothing };
        return Next::Wait(wake(now, next_look, turn), why);
    };
    if is_staged && node.armed == Armed::ByPolicy && *policy == Policy::Stage {
        return Next::Wait(wake(now, next_look, turn), Why::Armed);
    }
    let is_open = match &opening {
        Opening::Always => true,
        Opening::Open { .. } => turn.is_some_and(|turn| turn <= now),
        Opening::Shut { .. } => false,
    };
    if !is_open {
        return Next::Wait(wake(now, next_look, turn), Why::Window);
    }
    if let Some(tries) = past.tries.as_ref().filter(|it| it.release == release.root_hash) {
        let again = interval.saturating_add(backoff(tries.count, interval));
        let again = tries.last.min(now).saturating_add(again);
        if now < again {
            return Next::Wait(wake(now, next_look, Some(again)), Why::Later);
        }
    }
    match policy {
        _ if !is_staged => Next::Do(Deed::Stage(release.clone())),
        Policy::Stage | Policy::Manual => Next::Do(Deed::Arm(release.clone())),
        Policy::Automatic if (0..=FRESH).contains(&now.saturating_sub(seen)) => {
            Next::Do(Deed::Upgrade(release.clone()))
        }
        // What fails is not tried again before its time.
        Policy::Automatic if past.misses > 0 => Next::Wait(wake(now, next_look, None), Why::Later),
        Policy::Automatic => Next::Do(Deed::Check),
    }
}

/// How much later than by its interval a node tries again after so many failures in a row: nothing, once
/// the interval, three times, and so on up to a day.
fn backoff(failures: u32, interval: i64) -> i64 {
    let doubled = 1_i64.checked_shl(failures.saturating_sub(1).min(31)).unwrap_or(i64::MAX) - 1;
    doubled.saturating_mul(interval).min(LONGEST_BACKOFF.max(interval))
}

/// When a node begins in the window that is open, or in the next one: nodes with one window do not begin at
/// once, nor in its second half. Nothing where there is no window.
fn turn(opening: &Opening, spread: &Spread, interval: i64) -> Option<i64> {
    let (Opening::Open { since, until } | Opening::Shut { since, until }) = opening else {
        return None;
    };
    let length = until.saturating_sub(*since);
    Some(since.saturating_add(spread.share(*since, (length / 2).min(interval))))
}

/// The first of these moments that is not over.
fn wake(now: i64, look: i64, turn: Option<i64>) -> i64 {
    turn.filter(|turn| *turn > now).map_or(look, |turn| turn.min(look)).max(now.saturating_add(1))
}

#[cfg(test)]
mod tests;
