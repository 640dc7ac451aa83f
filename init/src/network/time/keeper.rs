//! When to ask the time servers and what to do with what they say: pure, times in, decisions out.
//!
//! The first time that a majority tells steps a clock that is off by more than half a second, as TLS
//! needs it. Later a small difference is slewed, and a large one is believed when it was measured
//! twice: a machine that slept, not one packet that was late. Once two servers have agreed, one alone
//! does not move the clock far.

use std::collections::BTreeSet;
use std::time::Duration;

use super::ask::{Again, Silence, Survey};
use super::selection::{Agreement, select};
use crate::time;

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
/// When nobody was heard for so long, the kernel is told: as long as RFC 5905 remembers who could be
/// reached, which are eight questions.
const FORGOTTEN: Duration = Duration::from_secs(8 * 1024);
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
    doubt: bool,
    failures: u32,
    trouble: Option<Trouble>,
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
}

impl Keeper {
    /// Of a clock that an earlier run of this program may have set.
    pub fn new(now: Duration, is_set: bool) -> Self {
        Self { set: is_set, heard: is_set.then_some(now), ..Self::default() }
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
                self.failed(now, Trouble::Alone(servers.concat(), offset))
            }
            Some(agreed) => self.measured(now, agreed),
            None if survey.candidates.is_empty() => {
                self.failed(now, Trouble::Silent(survey.silences))
            }
            None => {
                let names = survey.candidates.into_iter().map(|one| one.server);
                self.failed(now, Trouble::Apart(names.collect()))
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

    /// When to ask again, and what the kernel is to be told.
    fn failed(&mut self, now: Duration, trouble: Trouble) -> (Duration, Option<Change>) {
        self.trouble = Some(trouble);
        self.failures = self.failures.saturating_add(1);
        self.interval = (self.interval * 2).clamp(SOONEST, LONGEST);
        let lost = self.heard.take_if(|heard| now.saturating_sub(*heard) >= FORGOTTEN);
        (self.interval, lost.map(|_| Change::Lost))
    }

    /// What to do, and when to ask again.
    fn measured(&mut self, now: Duration, agreed: Agreement) -> (Duration, Option<Change>) {
        let Agreement { offset: by, error, servers } = agreed;
        (self.failures, self.trouble) = (0, None);
        // What may be no difference at all is no reason for a jump.
        let far = by.abs() > STEP.max(error);
        if far && self.set && !self.doubt {
            self.doubt = true;
            return (SOONEST, None);
        }
        (self.doubt, self.set, self.heard) = (false, true, Some(now));
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
            Trouble::Silent(_) | Trouble::Apart(_) => None,
            Trouble::Alone(server, by) => {
                let by = time::difference(*by);
                Some(format!("the time server {server} alone would change the clock by {by}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::network::time::selection::Candidate;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    const ERROR: i128 = 3_000_000;

    fn told(offsets: &[(&str, i128)]) -> Survey {
        let candidate = |&(server, offset): &(&str, i128)| Candidate {
            server: server.to_owned(),
            offset,
            distance: ERROR,
        };
        Survey { candidates: offsets.iter().map(candidate).collect(), silences: Vec::new() }
    }

    fn measured(offset: i128) -> Survey {
        told(&[("a", offset)])
    }

    fn silent(again: Again) -> Survey {
        let reason = "does not answer".to_owned();
        let silences = vec![Silence { server: "a".to_owned(), reason, again }];
        Survey { candidates: Vec::new(), silences }
    }

    fn step(by: i128) -> Option<Change> {
        Some(Change::Step { by, error: ERROR })
    }

    fn slew(by: i128) -> Option<Change> {
        Some(Change::Slew { by, error: ERROR })
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
        assert_eq!(keeper.answered(at(11), measured(years)), step(years));
        assert!(keeper.is_set());
        assert_eq!(keeper.deadline(), Some(at(11 + 64)));
    }

    #[test]
    fn a_good_clock_is_asked_about_less_and_less_often() {
        let mut keeper = keeper();
        let mut now = at(10);
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert_eq!(keeper.answered(now, measured(5_000)), slew(5_000));
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
        assert_eq!(keeper.answered(at(90), measured(-2 * STEP)), step(-2 * STEP));
    }

    #[test]
    fn one_late_packet_does_not_move_the_clock() {
        let mut keeper = keeper();
        keeper.answered(at(10), measured(0));
        keeper.ask(at(74));
        keeper.answered(at(74), measured(2 * STEP));
        keeper.ask(at(90));
        assert_eq!(keeper.answered(at(90), measured(1)), slew(1));
        keeper.ask(at(154));
        assert_eq!(keeper.answered(at(154), measured(2 * STEP)), None, "doubted anew");
    }

    #[test]
    fn silent_servers_are_named_until_one_answers_and_asked_again_when_the_network_changes() {
        let mut keeper = keeper();
        keeper.answered(at(13), silent(Again::Usual));
        let line = "no time server tells the time: a does not answer";
        assert_eq!(keeper.trouble().as_deref(), Some(line));
        assert_eq!(keeper.deadline(), Some(at(13 + 32)));
        keeper.retry(at(20));
        assert!(keeper.ask(at(20)).is_some());
        keeper.answered(at(21), measured(0));
        assert_eq!(keeper.trouble(), None);
        for failures in 1..=3 {
            let now = keeper.deadline().unwrap();
            keeper.ask(now);
            keeper.answered(now, silent(Again::Usual));
            assert_eq!(keeper.trouble().is_some(), failures == 3);
        }
    }

    #[test]
    fn who_does_not_want_to_be_asked_is_not_asked_again() {
        let mut keeper = keeper();
        keeper.answered(at(10), silent(Again::Never));
        assert_eq!(keeper.ask(at(100)), Some(names(&["b"])));
        keeper.servers(at(101), names(&["a"]));
        assert_eq!(keeper.ask(at(101)), Some(names(&["a"])), "named anew");
        keeper.answered(at(102), silent(Again::Never));
        assert_eq!(keeper.ask(at(500)), None);
        assert_eq!(keeper.deadline(), None);
    }

    #[test]
    fn other_servers_are_asked_at_once_also_while_an_answer_is_awaited() {
        let mut keeper = keeper();
        keeper.servers(at(11), names(&["c"]));
        assert_eq!(keeper.answered(at(12), measured(0)), slew(0));
        assert_eq!(keeper.ask(at(12)), Some(names(&["c"])));
        keeper.servers(at(13), Vec::new());
        keeper.answered(at(14), silent(Again::Usual));
        assert_eq!(keeper.deadline(), None);
    }

    #[test]
    fn a_minority_is_outvoted_and_those_who_do_not_agree_are_named() {
        let hours = 7_200_000_000_000;
        let mut keeper = keeper();
        assert_eq!(keeper.answered(at(10), told(&[("a", 5), ("b", hours)])), None);
        let line = "the time servers do not agree: a, b";
        assert_eq!(keeper.trouble().as_deref(), Some(line));
        assert!(!keeper.is_set());
        let next = keeper.deadline().unwrap();
        assert_eq!(next, at(10 + 32));
        keeper.ask(next);
        let three = told(&[("a", 5), ("b", hours), ("c", 5)]);
        assert_eq!(keeper.answered(next, three), slew(5));
        assert_eq!((keeper.trouble(), keeper.is_set()), (None, true));
        assert_eq!(keeper.believed(), "the time servers a, c say");
    }

    #[test]
    fn what_several_have_set_nobody_alone_moves_far() {
        let mut keeper = keeper();
        let mut say = |all: &[(&str, i128)]| {
            let now = keeper.deadline().unwrap_or(at(10));
            keeper.ask(now);
            (keeper.answered(now, told(all)), keeper.trouble())
        };
        let (far, near) = (3 * JUMP, JUMP - STEP);
        assert_eq!(say(&[("a", 0), ("b", 0)]).0, slew(0));
        let line = "the time server a alone would change the clock by +50 minutes";
        for _ in 0..3 {
            assert_eq!(say(&[("a", far)]), (None, Some(line.to_owned())));
        }
        // A machine that slept hears it of several, twice.
        assert_eq!(say(&[("a", far), ("b", far)]), (None, None));
        let (change, trouble) = say(&[("a", far), ("b", far)]);
        assert_eq!((change, trouble), (Some(Change::Step { by: far, error: ERROR }), None));
        assert_eq!([say(&[("a", near)]).0, say(&[("a", near)]).0], [None, step(near)]);
    }

    #[test]
    fn one_server_that_has_set_the_clock_may_set_it_again() {
        let mut keeper = keeper();
        assert_eq!(keeper.answered(at(10), measured(3 * JUMP)), step(3 * JUMP));
        keeper.ask(at(74));
        assert_eq!(keeper.answered(at(74), measured(2 * JUMP)), None);
        keeper.ask(at(90));
        assert_eq!(keeper.answered(at(90), measured(2 * JUMP)), step(2 * JUMP));
    }

    #[test]
    fn a_difference_that_may_be_none_does_not_step_the_clock() {
        let mut keeper = keeper();
        let (by, error) = (2 * STEP, 2 * STEP);
        let candidate = Candidate { server: "a".to_owned(), offset: by, distance: error };
        let survey = Survey { candidates: vec![candidate], silences: Vec::new() };
        assert_eq!(keeper.answered(at(10), survey), Some(Change::Slew { by, error }));
    }

    #[test]
    fn a_clock_that_nobody_was_heard_of_for_long_is_said_to_be_lost_once() {
        let mut keeper = keeper();
        keeper.answered(at(10), measured(0));
        let mut lost = Vec::new();
        while keeper.deadline().unwrap() < at(40_000) {
            let now = keeper.deadline().unwrap();
            keeper.ask(now);
            lost.extend(keeper.answered(now, silent(Again::Usual)).map(|change| (now, change)));
        }
        let [(when, Change::Lost)] = lost[..] else { panic!("{lost:?}") };
        assert!(when >= at(10) + FORGOTTEN && when < at(10) + FORGOTTEN + LONGEST, "{when:?}");
        let now = keeper.deadline().unwrap();
        keeper.ask(now);
        assert_eq!(keeper.answered(now, measured(0)), slew(0));
    }

    #[test]
    fn a_clock_that_an_earlier_run_has_set_is_not_stepped_by_one_measurement() {
        let mut keeper = Keeper::new(at(5), true);
        keeper.servers(at(10), names(&["a"]));
        keeper.ask(at(10));
        assert!(keeper.is_set());
        assert_eq!(keeper.answered(at(10), measured(2 * STEP)), None);
    }

    #[test]
    fn who_wants_to_be_asked_less_often_is() {
        let mut keeper = keeper();
        keeper.answered(at(10), silent(Again::Seldom));
        keeper.servers(at(11), names(&["a"]));
        assert_eq!(keeper.ask(at(11)), Some(names(&["a"])), "named anew");
        let mut now = at(11);
        for wait in [1024, 2048, 4096, 8192, 16_384, 16_384] {
            keeper.answered(now, silent(Again::Seldom));
            let soon = keeper.deadline().unwrap();
            assert_eq!(keeper.ask(soon), None);
            assert_eq!(keeper.deadline(), Some(now + at(wait)));
            now += at(wait);
            assert_eq!(keeper.ask(now), Some(names(&["a"])));
        }
        keeper.answered(now, measured(0));
        let soon = keeper.deadline().unwrap();
        assert_eq!(keeper.ask(soon), None, "also when it answers");
        assert_eq!(keeper.deadline(), Some(now + at(16_384)));
    }

    #[test]
    fn of_a_long_list_so_many_are_asked() {
        let mut keeper = Keeper::default();
        keeper.servers(at(1), (0..20).map(|at| at.to_string()).collect());
        assert_eq!(keeper.ask(at(1)).map(|asked| asked.len()), Some(MOST));
    }

    proptest! {
        /// Servers are never asked more often than RFC 4330 allows, whatever they say.
        #[test]
        fn no_answers_lead_to_a_flood(answers in prop::collection::vec(any::<Option<i64>>(), 1..50)) {
            let mut keeper = keeper();
            let mut now = at(10);
            for answer in answers {
                let answer = answer.map_or_else(|| silent(Again::Usual), |n| measured(n.into()));
                keeper.answered(now, answer);
                let next = keeper.deadline().unwrap();
                prop_assert!(next >= now + SOONEST && next <= now + LONGEST);
                prop_assert!(keeper.ask(next).is_some());
                now = next;
            }
        }
    }
}
