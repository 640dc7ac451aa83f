//! When the node's answer is written: at once where something has changed that people wait for, seldom
//! where it is progress, later and later where the API server does not take it. A thousand nodes that fetch
//! at once so cost an API server no more than their leases do.

use std::time::Duration;

use formats::fleet::Status;

use crate::client::retry::Patience;

/// Percent that are worth an answer of their own.
const STEP: u8 = 5;
/// Less than that is worth one after so long.
const SELDOM: Duration = Duration::from_secs(10);
/// No two answers about progress are nearer.
const APART: Duration = Duration::from_secs(2);
/// Who overwrites the answer hears it again after so long, and not at once: it may be somebody who does so
/// each time, or news that are older than the answer.
const OVERWRITTEN: Duration = Duration::from_secs(60);

/// After failures.
pub(super) const PATIENCE: Patience = Patience {
    tries: u32::MAX,
    first: Duration::from_secs(1),
    most: Duration::from_secs(60),
    told: Duration::from_secs(300),
};

/// What was answered, and when.
#[derive(Debug, Clone, Default)]
pub(super) struct Reporter {
    /// What the object says, as far as is known.
    on_object: Option<Status>,
    /// What was written last, and when. Times are monotonic.
    written: Option<(Status, Duration)>,
    /// Failures in a row, and when the last one was.
    failed: Option<(u32, Duration)>,
    /// Differs from node to node.
    seed: u64,
}

impl Reporter {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// The object says so.
    pub(super) fn seen(&mut self, status: Option<Status>) {
        self.on_object = status;
    }

    /// What people know by now.
    pub(super) fn known(&self) -> Option<&Status> {
        self.written.as_ref().map(|(status, _)| status).or(self.on_object.as_ref())
    }

    /// It was written.
    pub(super) fn wrote(&mut self, status: Status, now: Duration) {
        self.on_object = Some(status.clone());
        self.written = Some((status, now));
        self.failed = None;
    }

    /// It could not be written.
    pub(super) fn failed(&mut self, now: Duration) {
        let count = self.failed.map_or(0, |(count, _)| count);
        self.failed = Some((count.saturating_add(1), now));
    }

    /// When `wanted` is to be written; nothing if that is not needed.
    pub(super) fn due(&self, wanted: &Status) -> Option<Duration> {
        if self.on_object.as_ref() == Some(wanted) {
            return None;
        }
        let due = match &self.written {
            Some((written, at)) if written == wanted => *at + OVERWRITTEN,
            Some((written, at)) if is_progress(written, wanted) => {
                let percent = |status: &Status| status.percent.unwrap_or(0);
                match percent(wanted).abs_diff(percent(written)) {
                    0 => return None,
                    step if step >= STEP => *at + APART,
                    _ => *at + SELDOM,
                }
            }
            _ => Duration::ZERO,
        };
        let again = self.failed.map(|(count, at)| {
            at + PATIENCE.delay(count, self.seed, None).unwrap_or(PATIENCE.most)
        });
        Some(due.max(again.unwrap_or_default()))
    }
}

/// Whether two answers differ by nothing but how far it is.
fn is_progress(one: &Status, other: &Status) -> bool {
    let still = |status: &Status| Status { percent: None, fetched: None, ..status.clone() };
    still(one) == still(other)
}

#[cfg(test)]
mod tests {
    use formats::digest::Sha256;
    use formats::fleet::Phase;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn status(phase: Phase, percent: Option<u8>) -> Status {
        Status { percent, ..Status::new("1", Sha256::of("1"), phase) }
    }

    #[test]
    fn progress_is_written_seldom_and_what_people_wait_for_at_once() {
        let staging = |percent| status(Phase::Staging, Some(percent));
        let mut reporter = Reporter::new(7);
        assert_eq!(reporter.due(&staging(0)), Some(s(0)));
        reporter.wrote(staging(0), s(100));
        assert_eq!(reporter.due(&staging(0)), None);
        assert_eq!(reporter.due(&staging(4)), Some(s(110)));
        assert_eq!(reporter.due(&staging(5)), Some(s(102)));
        let fetched = Status { fetched: Some(1 << 30), ..staging(0) };
        assert_eq!(reporter.due(&fetched), None, "nothing to see");
        assert_eq!(reporter.due(&status(Phase::Staged, None)), Some(s(0)));
    }

    #[test]
    fn an_image_costs_a_bounded_number_of_answers() {
        for pace in [1, 60, 600_u64] {
            let (mut reporter, mut answers) = (Reporter::new(1), 0);
            for second in 0..pace * 100 {
                let percent = u8::try_from(second / pace).unwrap();
                let wanted = status(Phase::Staging, Some(percent));
                if reporter.due(&wanted).is_some_and(|due| due <= s(second)) {
                    reporter.wrote(wanted, s(second));
                    answers += 1;
                }
            }
            assert!((20..=100).contains(&answers), "{answers} answers at {pace} s for a percent");
        }
    }

    #[test]
    fn what_is_not_taken_is_written_later_and_later_up_to_a_minute() {
        let mut reporter = Reporter::new(3);
        let wanted = status(Phase::Idle, None);
        let mut now = s(1000);
        for most in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            reporter.failed(now);
            let due = reporter.due(&wanted).unwrap();
            assert!(due >= now + s(most) / 2 && due <= now + s(most), "{due:?}");
            now = due;
        }
        reporter.wrote(wanted, now);
        assert_eq!(reporter.due(&status(Phase::Trial, None)), Some(s(0)));
    }

    #[test]
    fn who_overwrites_the_answer_does_not_make_the_node_hurry() {
        let mut reporter = Reporter::new(3);
        let wanted = status(Phase::Idle, None);
        reporter.seen(Some(wanted.clone()));
        assert_eq!(reporter.due(&wanted), None, "an earlier boot has written it");
        reporter.wrote(wanted.clone(), s(10));
        reporter.seen(None);
        assert_eq!(reporter.due(&wanted), Some(s(70)));
    }
}
