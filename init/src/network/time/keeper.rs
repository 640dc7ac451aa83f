//! When to ask the time servers and what to do with what they say: pure, times in, decisions out.
//!
//! The first measurement steps a clock that is off by more than half a second, as TLS needs it.
//! Later a small difference is slewed, and a large one is believed when it was measured twice: a
//! machine that slept, not one packet that was late.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ask::{Measurement, Silence};

/// Beyond it the clock is stepped, else slewed, in nanoseconds. Slewing goes at 0.5 ms per second.
const STEP: i128 = 500_000_000;
/// A clock that is off by less is good: it is asked about less often.
const GOOD: i128 = 20_000_000;
/// RFC 4330, section 10, allows no less than 15 s.
const SOONEST: Duration = Duration::from_secs(16);
const FIRST: Duration = Duration::from_secs(64);
const LONGEST: Duration = Duration::from_secs(1024);
/// After so many measurements that failed in a row a clock that was right is no longer trusted.
const FAILURES: u32 = 3;

/// What is to be done with the clock, in nanoseconds: forward if positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjustment {
    /// At once.
    Step(i128),
    /// Little by little.
    Slew(i128),
}

/// Keeps the clock right.
#[derive(Debug, Default)]
pub struct Keeper {
    servers: Vec<String>,
    /// Those which do not want to be asked.
    refused: BTreeSet<String>,
    /// When to ask; `None` while an answer is awaited or there is nobody to ask.
    at: Option<Duration>,
    interval: Duration,
    /// A server has told the time once.
    set: bool,
    /// A large difference that was measured once.
    doubt: bool,
    failures: u32,
    /// What the servers said instead of the time.
    silences: Vec<Silence>,
}

impl Keeper {
    /// These are the servers now; new ones are asked at once.
    pub fn servers(&mut self, now: Duration, servers: Vec<String>) {
        if servers == self.servers {
            return;
        }
        self.servers = servers;
        self.refused.clear();
        self.silences.clear();
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

    /// Whom to ask, if it is time.
    pub fn ask(&mut self, now: Duration) -> Option<Vec<String>> {
        self.at.filter(|at| *at <= now)?;
        self.at = None;
        let mut wanted = self.servers.iter().filter(|server| !self.refused.contains(*server));
        let first = wanted.next()?.clone();
        Some(std::iter::once(first).chain(wanted.cloned()).collect())
    }

    /// Takes the answer to [`Keeper::ask`].
    pub fn answered(
        &mut self,
        now: Duration,
        answer: Result<Measurement, Vec<Silence>>,
    ) -> Option<Adjustment> {
        // Nobody is left to be asked, or others were named meanwhile and are due.
        let keep = self.servers.is_empty() || self.at.is_some();
        let (wait, adjustment) = match answer {
            Ok(measured) => self.measured(measured.offset),
            Err(silences) => {
                let refused = silences.iter().filter(|silence| silence.for_good);
                self.refused.extend(refused.map(|silence| silence.server.clone()));
                self.silences = silences;
                self.failures = self.failures.saturating_add(1);
                self.interval = (self.interval * 2).clamp(SOONEST, LONGEST);
                (self.interval, None)
            }
        };
        if !keep {
            self.at = Some(now + wait);
        }
        adjustment
    }

    /// What to do, and when to ask again.
    fn measured(&mut self, offset: i128) -> (Duration, Option<Adjustment>) {
        (self.failures, self.silences) = (0, Vec::new());
        let far = offset.abs() > STEP;
        if far && self.set && !self.doubt {
            self.doubt = true;
            return (SOONEST, None);
        }
        (self.doubt, self.set) = (false, true);
        self.interval = match offset.abs() {
            0..=GOOD => (self.interval * 2).clamp(FIRST, LONGEST),
            _ => FIRST,
        };
        let adjustment = if far { Adjustment::Step(offset) } else { Adjustment::Slew(offset) };
        (self.interval, Some(adjustment))
    }

    /// Whether a server has told the time.
    pub fn is_set(&self) -> bool {
        self.set
    }

    /// Whether there is anybody to ask.
    pub fn has_servers(&self) -> bool {
        !self.servers.is_empty()
    }

    /// What is wrong with the servers: nothing while one of them tells the time.
    pub fn silences(&self) -> &[Silence] {
        if self.set && self.failures < FAILURES { &[] } else { &self.silences }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn measured(offset: i128) -> Result<Measurement, Vec<Silence>> {
        Ok(Measurement { server: "a".to_owned(), offset })
    }

    fn silent(for_good: bool) -> Result<Measurement, Vec<Silence>> {
        let reason = "does not answer".to_owned();
        Err(vec![Silence { server: "a".to_owned(), reason, for_good }])
    }

    fn keeper() -> Keeper {
        let mut keeper = Keeper::default();
        keeper.servers(at(10), names(&["a", "b"]));
        assert_eq!(keeper.ask(at(10)), Some(names(&["a", "b"])));
        keeper
    }

    #[test]
    fn without_servers_nobody_is_asked() {
        let mut keeper = Keeper::default();
        keeper.servers(at(1), Vec::new());
        assert_eq!((keeper.deadline(), keeper.ask(at(9))), (None, None));
        assert!(!keeper.has_servers());
    }

    #[test]
    fn a_clock_that_is_years_off_is_stepped_by_the_first_measurement() {
        let mut keeper = keeper();
        assert_eq!(keeper.ask(at(99)), None, "one question at a time");
        let years = 56 * 31_556_952_000_000_000;
        let step = keeper.answered(at(11), measured(years));
        assert_eq!(step, Some(Adjustment::Step(years)));
        assert!(keeper.is_set());
        assert_eq!(keeper.deadline(), Some(at(11 + 64)));
    }

    #[test]
    fn a_good_clock_is_asked_about_less_and_less_often() {
        let mut keeper = keeper();
        let mut now = at(10);
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert_eq!(keeper.answered(now, measured(5_000)), Some(Adjustment::Slew(5_000)));
            let next = keeper.deadline().unwrap();
            waits.push((next - now).as_secs());
            assert_eq!(keeper.ask(next - at(1)), None);
            assert!(keeper.ask(next).is_some());
            now = next;
        }
        assert_eq!(waits, [64, 128, 256, 512, 1024, 1024, 1024]);
    }

    #[test]
    fn later_a_large_difference_is_believed_when_it_was_seen_twice() {
        let mut keeper = keeper();
        keeper.answered(at(10), measured(0));
        keeper.ask(at(74));
        assert_eq!(keeper.answered(at(74), measured(-2 * STEP)), None);
        assert_eq!(keeper.deadline(), Some(at(74 + 16)));
        keeper.ask(at(90));
        let step = keeper.answered(at(90), measured(-2 * STEP));
        assert_eq!(step, Some(Adjustment::Step(-2 * STEP)));
    }

    #[test]
    fn one_late_packet_does_not_move_the_clock() {
        let mut keeper = keeper();
        keeper.answered(at(10), measured(0));
        keeper.ask(at(74));
        keeper.answered(at(74), measured(2 * STEP));
        keeper.ask(at(90));
        assert_eq!(keeper.answered(at(90), measured(1)), Some(Adjustment::Slew(1)));
        keeper.ask(at(154));
        assert_eq!(keeper.answered(at(154), measured(2 * STEP)), None, "doubted anew");
    }

    #[test]
    fn silent_servers_are_named_until_one_answers_and_asked_again_when_the_network_changes() {
        let mut keeper = keeper();
        keeper.answered(at(13), silent(false));
        assert_eq!(keeper.silences().len(), 1);
        assert_eq!(keeper.deadline(), Some(at(13 + 32)));
        keeper.retry(at(20));
        assert!(keeper.ask(at(20)).is_some());
        keeper.answered(at(21), measured(0));
        assert_eq!(keeper.silences(), []);
        for failures in 1..=3 {
            let now = keeper.deadline().unwrap();
            keeper.ask(now);
            keeper.answered(now, silent(false));
            assert_eq!(keeper.silences().len(), usize::from(failures == 3));
        }
    }

    #[test]
    fn who_does_not_want_to_be_asked_is_not_asked_again() {
        let mut keeper = keeper();
        keeper.answered(at(10), silent(true));
        assert_eq!(keeper.ask(at(100)), Some(names(&["b"])));
        keeper.servers(at(101), names(&["a"]));
        assert_eq!(keeper.ask(at(101)), Some(names(&["a"])), "named anew");
        keeper.answered(at(102), silent(true));
        assert_eq!(keeper.ask(at(500)), None);
        assert_eq!(keeper.deadline(), None);
    }

    #[test]
    fn other_servers_are_asked_at_once_also_while_an_answer_is_awaited() {
        let mut keeper = keeper();
        keeper.servers(at(11), names(&["c"]));
        assert_eq!(keeper.answered(at(12), measured(0)), Some(Adjustment::Slew(0)));
        assert_eq!(keeper.ask(at(12)), Some(names(&["c"])));
        keeper.servers(at(13), Vec::new());
        keeper.answered(at(14), silent(false));
        assert_eq!(keeper.deadline(), None);
    }

    proptest! {
        /// Servers are never asked more often than RFC 4330 allows, whatever they say.
        #[test]
        fn no_answers_lead_to_a_flood(answers in prop::collection::vec(any::<Option<i64>>(), 1..50)) {
            let mut keeper = keeper();
            let mut now = at(10);
            for answer in answers {
                let answer = answer.map_or_else(|| silent(false), |n| measured(n.into()));
                keeper.answered(now, answer);
                let next = keeper.deadline().unwrap();
                prop_assert!(next >= now + SOONEST && next <= now + LONGEST);
                prop_assert!(keeper.ask(next).is_some());
                now = next;
            }
        }
    }
}
