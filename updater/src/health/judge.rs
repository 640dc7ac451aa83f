//! The judge of a trial: answers and times in, a verdict out.

use std::time::Duration;

use formats::health::Condition;

/// Between two good answers of a condition that has to hold for a while. With a longer gap nobody knows
/// what was in between, and it begins anew.
pub const LONGEST_GAP: Duration = Duration::from_secs(5);

/// Characters of a reason: it becomes a line of the screen.
const LONGEST_REASON: usize = 300;

/// What has to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What.
    pub condition: Condition,
    /// It must have held once so long after the beginning; else the release is bad.
    pub deadline: Option<Duration>,
    /// How long it has to hold in a row.
    pub steady: Duration,
}

/// What is thought of a release at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet; what is waited for.
    Waiting(String),
    /// All that has to hold does.
    Healthy,
    /// It does not work; why.
    Unhealthy(String),
}

/// Judges a trial. Times are monotonic, from any beginning.
#[derive(Debug, Clone)]
pub struct Judge {
    began: Duration,
    deadline: Duration,
    items: Vec<Item>,
    decided: Option<Verdict>,
}

#[derive(Debug, Clone)]
struct Item {
    wanted: Wanted,
    answer: Answer,
    /// It has held once.
    held: bool,
}

#[derive(Debug, Clone)]
enum Answer {
    None,
    Bad { reason: String, at: Duration },
    Good { since: Duration, last: Duration },
}

impl Item {
    fn holds(&self, now: Duration) -> bool {
        let Answer::Good { since, last } = self.answer else { return false };
        let steady = self.wanted.steady;
        steady.is_zero() || last - since >= steady && now.saturating_sub(last) <= LONGEST_GAP
    }

    /// What it lacks.
    fn lacks(&self) -> String {
        let condition = &self.wanted.condition;
        match &self.answer {
            Answer::None => format!("{condition} has not answered"),
            Answer::Bad { reason, .. } => format!("{condition}: {reason}"),
            Answer::Good { since, last } => {
                let (has, steady) = ((*last - *since).as_secs(), self.wanted.steady.as_secs());
                format!("{condition} is good for {has} s of {steady}")
            }
        }
    }
}

impl Judge {
    /// Of a trial that begins now and ends, whatever is lacking then, after `deadline`.
    pub fn new(wanted: Vec<Wanted>, deadline: Duration, began: Duration) -> Self {
        let item = |wanted| Item { wanted, answer: Answer::None, held: false };
        Self { began, deadline, items: wanted.into_iter().map(item).collect(), decided: None }
    }

    /// Takes in what a condition's question had for an answer at `now`. One about nothing that is
    /// wanted, and one that is older than what is known, changes nothing.
    pub fn take(&mut self, now: Duration, condition: &Condition, answer: Result<(), String>) {
        let asked = |item: &&mut Item| item.wanted.condition == *condition;
        let Some(item) = self.items.iter_mut().find(asked) else { return };
        let (known, since) = match item.answer {
            Answer::None => (None, now),
            Answer::Bad { at, .. } => (Some(at), now),
            Answer::Good { since, last } => {
                let in_a_row = now.saturating_sub(last) <= LONGEST_GAP;
                (Some(last), if in_a_row { since } else { now })
            }
        };
        if known.is_some_and(|known| known > now) {
            return;
        }
        item.answer = match answer {
            Ok(()) => Answer::Good { since, last: now },
            Err(reason) => Answer::Bad { reason: shortened(&reason), at: now },
        };
        item.held |= item.holds(now);
    }

    /// The verdict at `now`. What is decided once stays.
    pub fn verdict(&mut self, now: Duration) -> Verdict {
        if let Some(decided) = &self.decided {
            return decided.clone();
        }
        let verdict = self.decide(now);
        if !matches!(verdict, Verdict::Waiting(_)) {
            self.decided = Some(verdict.clone());
        }
        verdict
    }

    fn decide(&self, now: Duration) -> Verdict {
        let passed = now.saturating_sub(self.began);
        let is_late = |item: &&Item| {
            !item.held && item.wanted.deadline.is_some_and(|deadline| passed >= deadline)
        };
        if let Some(item) = self.items.iter().find(is_late) {
            let after = item.wanted.deadline.unwrap_or_default().as_secs();
            return Verdict::Unhealthy(format!("{} after {after} s", item.lacks()));
        }
        let lacking: Vec<_> =
            self.items.iter().filter(|item| !item.holds(now)).map(Item::lacks).collect();
        match lacking.is_empty() {
            // What comes right at last comes too late.
            _ if passed >= self.deadline => {
                let lacking = if lacking.is_empty() {
                    "nobody looked in time".to_owned()
                } else {
                    lacking.join("; ")
                };
                Verdict::Unhealthy(format!("{lacking} after {} s", self.deadline.as_secs()))
            }
            true => Verdict::Healthy,
            false => Verdict::Waiting(lacking.join("; ")),
        }
    }

    /// What was given all of its time by `now` and does not hold: after a verdict that came before the end,
    /// what else does not hold may yet have come.
    pub fn failing(&self, now: Duration) -> Vec<Condition> {
        let passed = now.saturating_sub(self.began);
        let is_over = |item: &&Item| {
            let own = item.wanted.deadline.filter(|_| !item.held);
            passed >= own.map_or(self.deadline, |own| own.min(self.deadline))
        };
        let failing = self.items.iter().filter(|item| !item.holds(now)).filter(is_over);
        failing.map(|item| item.wanted.condition.clone()).collect()
    }

    /// When the verdict may change without an answer, at the latest.
    pub fn next(&self) -> Duration {
        let own = |item: &Item| item.wanted.deadline.filter(|_| !item.held);
        let first = self.items.iter().filter_map(own).min();
        self.began + first.map_or(self.deadline, |first| first.min(self.deadline))
    }
}

/// One line, not too long.
fn shortened(reason: &str) -> String {
    let line = reason.split(char::is_control).filter(|part| !part.is_empty());
    line.collect::<Vec<_>>().join(" ").chars().take(LONGEST_REASON).collect()
}

#[cfg(test)]
mod tests;
