//! Whether a unit that was ready still answers: when it is asked, and when it has been silent for so
//! long that it hangs.
//!
//! A restart costs a node that is merely short of memory or disk more than patience does, so a hang
//! doubles the patience with the next one.

use std::time::Duration;

use crate::unit::Liveness;

/// A run that gives a good answer after so long is as patient with the next hang as its file says.
const FORGIVEN: Duration = Duration::from_secs(30 * 60);
/// How often patience doubles: eight times as many failures are the most.
const DOUBLINGS: u32 = 3;

/// What has become of the questions to one unit.
#[derive(Debug, Default)]
pub(super) struct Answers {
    asking: Asking,
    /// Since when this run is ready.
    ready: Duration,
    /// Counts the questions of all runs, so that a late answer is known as such.
    number: u32,
    /// Questions in a row without a good answer.
    failed: u32,
    /// Hangs in the recent past.
    hangs: u32,
}

#[derive(Debug, Default)]
enum Asking {
    /// It is not ready, or goes down, or is being killed.
    #[default]
    Nothing,
    /// The next question is due then.
    Later(Duration),
    /// An answer must be there by then, and the next question is due.
    Now { until: Duration, next: Duration },
}

/// Why a unit is killed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hang {
    pub(super) failures: u32,
    pub(super) reason: String,
}

/// What is to be done when a deadline has passed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Ask the question of this number.
    Ask(u32),
    /// It hangs.
    Hangs(Hang),
}

impl Answers {
    /// The unit has become ready.
    pub(super) fn begin(&mut self, now: Duration, probe: &Liveness) {
        (self.ready, self.failed) = (now, 0);
        self.asking = Asking::Later(now + probe.interval);
    }

    /// Nobody wants to know any more.
    pub(super) fn end(&mut self) {
        self.asking = Asking::Nothing;
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.asking {
            Asking::Nothing => None,
            Asking::Later(until) | Asking::Now { until, .. } => Some(until),
        }
    }

    /// To be called when [`Answers::deadline`] has passed.
    pub(super) fn turn(&mut self, now: Duration, probe: &Liveness) -> Option<Turn> {
        match self.asking {
            Asking::Nothing => None,
            Asking::Later(_) => {
                self.number = self.number.wrapping_add(1);
                let (until, next) = (now + probe.timeout, now + probe.interval);
                self.asking = Asking::Now { until, next };
                Some(Turn::Ask(self.number))
            }
            Asking::Now { next, .. } => {
                self.asking = Asking::Later(next);
                let reason = format!("no answer in {} s", probe.timeout.as_secs());
                self.failed(reason, probe).map(Turn::Hangs)
            }
        }
    }

    /// Only the answer to the last question counts, and only in time.
    pub(super) fn answered(
        &mut self,
        now: Duration,
        number: u32,
        result: Result<(), String>,
        probe: &Liveness,
    ) -> Option<Hang> {
        let Asking::Now { next, .. } = self.asking else { return None };
        if number != self.number {
            return None;
        }
        self.asking = Asking::Later(next);
        match result {
            Ok(()) => {
                self.failed = 0;
                if now.saturating_sub(self.ready) >= FORGIVEN {
                    self.hangs = 0;
                }
                None
            }
            Err(reason) => self.failed(reason, probe),
        }
    }

    fn failed(&mut self, reason: String, probe: &Liveness) -> Option<Hang> {
        self.failed += 1;
        let patience = probe.failures.saturating_mul(1 << self.hangs.min(DOUBLINGS));
        (self.failed >= patience).then(|| {
            self.asking = Asking::Nothing;
            self.hangs = self.hangs.saturating_add(1);
            Hang { failures: self.failed, reason }
        })
    }
}
