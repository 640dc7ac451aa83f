//! When to ask the time servers and what to do with what they say: pure, times in, decisions out.
//!
//! The first time that a majority tells steps a clock that is off by more than half a second, as TLS
//! needs it. Later a small difference is slewed, and a large one is believed when a second measurement
//! finds the same: a machine that slept, not one packet that was late. Once two servers have agreed,
//! one alone does not move the clock far, also after this program was started again ([`Known`]).

mod known;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use super::ask::{Again, Silence, Survey};
use super::selection::{Agreement, select};
use crate::time;

pub use known::Known;

/// Beyond it the clock is stepped, else slewed, in nanoseconds. Slewing goes at 0.5 ms per second.
const STEP: i128 = 500_000_000;
/// A clock that is off by less is good: it is asked about less often.
const GOOD: i128 = 20_000_000;
/// Further than this nobody alone moves a clock that several have set, in nanoseconds. ntpd has the
/// same limit for all of them together.
const JUMP: i128 = 1_000_000_000_000;
/// RFC 4330, section 10, allows no less than 15 s.
const SOONEST: Duration = Duration::from_secs(16);
const FIRST: Duration = Duration::from_secs(64);
const LONGEST: Duration = Duration::from_secs(1024);
/// Who says so again and again is asked this seldom in the end.
const MOST_SELDOM: Duration = Duration::from_secs(16_384);
/// After so many measurements that failed in a row a clock that was right is no longer trusted.
const FAILURES: u32 = 3;
/// When nobody was heard for so long, the kernel is told, whether somebody was asked or not: as long as RFC 5905 remembers who could be
/// reached, which are eight questions.
const FORGOTTEN: Duration = Duration::from_secs(8 * 1024);
/// Two measurements of one difference may differ by a thousandth of the time between them, besides what
/// each may be off: the kernel slews by half of that (`MAX_TICKADJ` of kernel/time/ntp.c), and no
/// machine's crystal is off by the other half.
const DRIFT: u128 = 1000;
/// Servers that are asked at most.
const MOST: usize = 8;

/// What is to be done with the clock, in nanoseconds: forward if positive. `error` is how far it may
/// be off when that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// At once.
    Step {
        /// So far.
        by: i128,
        /// How far that may be off.
        error: i128,
    },
    /// Little by little.
    Slew {
        /// So far.
        by: i128,
        /// How far that may be off.
        error: i128,
    },
    /// Nothing, and nobody knows any more how good it is.
    Lost,
}

/// Keeps the clock right.
#[derive(Debug, Default)]
pub struct Keeper {
    servers: Vec<String>,
    /// Those which do not want to be asked.
    refused: BTreeSet<String>,
    /// Those which do not want to be asked before a time, nor sooner after each answer.
    seldom: Vec<Seldom>,
    /// When to ask; `None` while an answer is awaited or there is nobody to ask.
    at: Option<Duration>,
    interval: Duration,
    /// Servers have told the time once.
    set: bool,
    /// Several of them.
    agreed: bool,
    /// When they last have; the kernel is told when that is too long ago.
    heard: Option<Duration>,
    /// Those that were believed last.
    believed: Vec<String>,
    /// A large difference that was measured once.
    doubt: Option<Doubt>,
    failures: u32,
    trouble: Option<Trouble>,
}

/// A large difference that nobody has confirmed yet, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    at: Duration,
    offset: i128,
    /// How far that may be off.
    error: i128,
}

impl Doubt {
    /// Whether another measurement, which is a later one, may have found the same.
    fn is_confirmed_by(self, other: Self) -> bool {
        let between = other.at.saturating_sub(self.at).as_nanos() / DRIFT;
        let allowed = (self.error + other.error).saturating_add_unsigned(between);
        (other.offset - self.offset).abs() <= allowed
    }
}

/// A server that wants to be asked less often.
#[derive(Debug)]
struct Seldom {
    server: String,
    pause: Duration,
    /// Not before.
    until: Duration,
}

/// Why there is no time.
#[derive(Debug)]
enum Trouble {
    /// What the servers said instead.
    Silent(Vec<Silence>),
    /// These tell times, and no majority tells the same.
    Apart(Vec<String>),
    /// One alone says that the clock is far off.
    Alone(String, i128),
    /// These say that it is far off, and each time by how much else.
    Unsteady(Vec<String>),
}

impl Keeper {
    /// Of a clock that an earlier run of this program may have set. `is_set` is what the kernel says
    /// of it: also that somebody else keeps it.
    pub fn new(known: Known, is_set: bool) -> Self {
        let Known { set, agreed, heard } = known;
        Self { set: set || is_set, agreed, heard, ..Self::default() }
    }

    /// What the next run of this program should know.
    pub fn known(&self) -> Known {
        Known { set: self.set, agreed: self.agreed, heard: self.heard }
    }

    /// These are the servers now; new ones are asked at once.
    pub fn servers(&mut self, now: Duration, servers: Vec<String>) {
        if servers == self.servers {
            return;
        }
        self.servers = servers;
        self.refused.clear();
        self.seldom.clear();
        self.trouble = None;
        self.failures = 0;
        self.interval = SOONEST;
        self.at = (!self.servers.is_empty()).then_some(now);
    }

    /// The network has changed: who could not be reached may be now.
    pub fn retry(&mut self, now: Duration) {
        if self.failures > 0 && self.at.is_some() {
            (self.at, self.interval) = (Some(now), SOONEST);
        }
    }

    /// When [`Keeper::ask`] should be called.
    pub fn deadline(&self) -> Option<Duration> {
        self.at
    }

    /// When [`Keeper::forget`] should be called, whether there is a network or not.
    pub fn forgets_at(&self) -> Option<Duration> {
        self.heard.map(|heard| heard.saturating_add(FORGOTTEN))
    }

    /// What the kernel is to be told, once, when nobody was heard for too long.
    pub fn forget(&mut self, now: Duration) -> Option<Change> {
        let lost = self.heard.take_if(|heard| now.saturating_sub(*heard) >= FORGOTTEN);
        lost.map(|_| Change::Lost)
    }

    /// Whom to ask, if it is time.
    pub fn ask(&mut self, now: Duration) -> Option<Vec<String>> {
        self.at.filter(|at| *at <= now)?;
        let willing = || self.servers.iter().filter(|server| !self.refused.contains(*server));
        let until = |server: &String| {
            let seldom = self.seldom.iter().find(|seldom| seldom.server == *server);
            seldom.map_or(now, |seldom| seldom.until)
        };
        let due = willing().filter(|server| until(server) <= now);
        let due: Vec<String> = due.take(MOST).cloned().collect();
        let later = willing().map(until).min();
        self.at = later.filter(|_| due.is_empty());
        (!due.is_empty()).then_some(due)
    }

    /// Takes the answers to [`Keeper::ask`].
    pub fn answered(&mut self, now: Duration, survey: Survey) -> Option<Change> {
        // Nobody is left to be asked, or others were named meanwhile and are due.
        let keep = self.servers.is_empty() || self.at.is_some();
        self.obey(now, &survey);
        let agreement = select(&survey.candidates);
        let (wait, change) = match agreement {
            Some(Agreement { offset, servers, .. })
                if offset.abs() > JUMP && self.agreed && servers.len() == 1 =>
            {
                (self.failed(Trouble::Alone(servers.concat(), offset)), None)
            }
            Some(agreed) => self.measured(now, agreed),
            None if survey.candidates.is_empty() => {
                (self.failed(Trouble::Silent(survey.silences)), None)
            }
            None => {
                let names = survey.candidates.into_iter().map(|one| one.server);
                (self.failed(Trouble::Apart(names.collect())), None)
            }
        };
        if !keep {
            self.at = Some(now + wait);
        }
        change
    }

    /// What servers say of being asked again.
    fn obey(&mut self, now: Duration, survey: &Survey) {
        for silence in &survey.silences {
            let server = silence.server.clone();
            match silence.again {
                Again::Usual => {}
                Again::Never => drop(self.refused.insert(server)),
                Again::Seldom => {
                    let known = self.seldom.iter().position(|seldom| seldom.server == server);
                    let before = known.map(|at| self.seldom.swap_remove(at).pause);
                    let pause = (before.unwrap_or_default() * 2).clamp(LONGEST, MOST_SELDOM);
                    self.seldom.push(Seldom { server, pause, until: now + pause });
                }
            }
        }
        for seldom in &mut self.seldom {
            if survey.candidates.iter().any(|candidate| candidate.server == seldom.server) {
                seldom.until = now + seldom.pause;
            }
        }
    }

    /// When to ask again.
    fn failed(&mut self, trouble: Trouble) -> Duration {
        self.trouble = Some(trouble);
        self.failures = self.failures.saturating_add(1);
        self.interval = (self.interval * 2).clamp(SOONEST, LONGEST);
        self.interval
    }

    /// What to do, and when to ask again.
    fn measured(&mut self, now: Duration, agreed: Agreement) -> (Duration, Option<Change>) {
        let Agreement { offset: by, error, servers } = agreed;
        // What may be no difference at all is no reason for a jump.
        let far = by.abs() > STEP.max(error);
        if far && self.set {
            let found = Doubt { at: now, offset: by, error };
            match self.doubt.replace(found) {
                Some(before) if before.is_confirmed_by(found) => {}
                Some(_) => return (self.failed(Trouble::Unsteady(servers)), None),
                None => {
                    (self.failures, self.trouble, self.interval) = (0, None, SOONEST);
                    return (SOONEST, None);
                }
            }
        }
        (self.failures, self.trouble) = (0, None);
        (self.doubt, self.set, self.heard) = (None, true, Some(now));
        self.agreed |= servers.len() > 1;
        self.believed = servers;
        self.interval = match by.abs() {
            0..=GOOD => (self.interval * 2).clamp(FIRST, LONGEST),
            _ => FIRST,
        };
        let change = if far { Change::Step { by, error } } else { Change::Slew { by, error } };
        (self.interval, Some(change))
    }

    /// Whether servers have told the time.
    pub fn is_set(&self) -> bool {
        self.set
    }

    /// Those that were believed last, in words.
    pub fn believed(&self) -> String {
        match &self.believed[..] {
            [one] => format!("the time server {one} says"),
            several => format!("the time servers {} say", several.join(", ")),
        }
    }

    /// Whether there is anybody to ask.
    pub fn has_servers(&self) -> bool {
        !self.servers.is_empty()
    }

    /// What is wrong with the servers: nothing while they tell the time.
    pub fn trouble(&self) -> Option<String> {
        let is_bad = !self.set || self.failures >= FAILURES;
        match self.trouble.as_ref()? {
            Trouble::Silent(silences) if is_bad => {
                let silences: Vec<String> = silences.iter().map(ToString::to_string).collect();
                Some(format!("no time server tells the time: {}", silences.join("; ")))
            }
            Trouble::Apart(servers) if is_bad => {
                Some(format!("the time servers do not agree: {}", servers.join(", ")))
            }
            Trouble::Unsteady(servers) if is_bad => {
                let servers = servers.join(", ");
                Some(format!(
                    "the time servers tell another time whenever they are asked: {servers}"
                ))
            }
            Trouble::Silent(_) | Trouble::Apart(_) | Trouble::Unsteady(_) => None,
            Trouble::Alone(server, by) => {
                let by = time::difference(*by);
                Some(format!("the time server {server} alone would change the clock by {by}"))
            }
        }
    }
}
