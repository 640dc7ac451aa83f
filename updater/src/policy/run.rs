//! The loop: asks what comes next and has it done, until it is to end. All that it cannot know or do
//! itself, the time included, is behind [`Desk`].

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{Candidate, Deed, Next, Node, Past, Verdict, Why, decide};

/// The node is looked at again after so long, whatever was decided: its config, what is staged and what is
/// on trial change without a word.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// When somebody else is at it, or the node cannot be looked at, again after so long.
const PAUSE: Duration = Duration::from_secs(60);

/// A clock that goes wrong by more than this, in seconds, was set.
const DRIFT: i64 = 60;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// Somebody else is at it: nobody has failed.
    Busy,
    /// It has failed, in words.
    Failed(String),
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// With the next turn.
    On,
    /// No further.
    End,
}

/// What the policy stands on: the rest of the updater. Each call may take its time.
pub trait Desk {
    /// What the clock says, in seconds since 1970.
    fn now(&self) -> i64;

    /// Time that nobody sets.
    fn monotonic(&self) -> Duration;

    /// The node as it is.
    ///
    /// # Errors
    /// In words: it cannot be told, so nothing is done.
    fn node(&mut self) -> Result<Node, String>;

    /// Looks at the channel.
    ///
    /// # Errors
    /// [`Miss`].
    fn check(&mut self) -> Result<Verdict, Miss>;

    /// Fills the spare slot with this release, if policy may take it at this moment
    /// ([`Asked::ByPolicy`](crate::eligible::Asked)).
    ///
    /// # Errors
    /// [`Miss`].
    fn stage(&mut self, release: &Candidate) -> Result<(), Miss>;

    /// Arms the trial of what is staged, if it is this release, and leaves the file by which others hear
    /// that a restart is due.
    ///
    /// # Errors
    /// [`Miss`].
    fn arm(&mut self, release: &Candidate) -> Result<(), Miss>;

    /// Takes back what [`Self::arm`] has done.
    ///
    /// # Errors
    /// [`Miss`].
    fn disarm(&mut self) -> Result<(), Miss>;

    /// Arms the trial of what is staged, if it is this release, and has the machine restarted.
    ///
    /// # Errors
    /// [`Miss`].
    fn upgrade(&mut self, release: &Candidate) -> Result<(), Miss>;

    /// Waits, or until something has changed.
    fn wait(&mut self, time: Duration) -> Go;

    /// Something for people. Nothing is said twice in a row.
    fn say(&mut self, text: &str);
}

/// Does what the policy wants, until [`Desk::wait`] says otherwise.
pub fn run(desk: &mut impl Desk) {
    let mut past = Past::new(desk.now());
    let mut said = String::new();
    let mut clock = (desk.now(), desk.monotonic());
    loop {
        let (now, passed) = (desk.now(), desk.monotonic().saturating_sub(clock.1));
        let due = clock.0.saturating_add(i64::try_from(passed.as_secs()).unwrap_or(i64::MAX));
        // A fleet whose clocks are set at once must not look at once.
        if now.abs_diff(due) > DRIFT.unsigned_abs() {
            past = Past::new(now);
        }
        clock = (now, desk.monotonic());
        let (text, time) = match desk.node() {
            Err(why) => (why, PAUSE),
            Ok(node) => match decide(&node, &past, now) {
                Next::Wait(until, why) => {
                    let seconds = u64::try_from(until.saturating_sub(now)).unwrap_or(0).max(1);
                    (words(why, &past), Duration::from_secs(seconds))
                }
                Next::Do(deed) => match carry_out(desk, &mut past, &deed) {
                    // What comes next depends on what came of it, and that is seen at once.
                    Ok(()) => (String::new(), Duration::ZERO),
                    // It is backed off from by what is remembered of it.
                    Err(Miss::Failed(why)) if deed != Deed::Disarm => (why, Duration::ZERO),
                    Err(Miss::Failed(why)) => (why, PAUSE),
                    Err(Miss::Busy) => (String::new(), PAUSE),
                },
            },
        };
        if !text.is_empty() && text != said {
            desk.say(&text);
            said = text;
        }
        if desk.wait(time.min(LONGEST_WAIT)) == Go::End {
            return;
        }
    }
}

fn words(why: Why, past: &Past) -> String {
    match (&past.seen, why) {
        (Some((_, Verdict::Against(against))), Why::Nothing) => format!("{why}: {against}"),
        (
            Some((_, Verdict::Takes(release))),
            Why::Window | Why::Armed | Why::Later | Why::GivenUp,
        ) => {
            format!("{why}: {}", release.version)
        }
        // That it has not looked yet is no news.
        (None, Why::Nothing) => String::new(),
        _ => why.to_string(),
    }
}

fn carry_out(desk: &mut impl Desk, past: &mut Past, deed: &Deed) -> Result<(), Miss> {
    let (what, release, done) = match deed {
        Deed::Check => {
            return match desk.check() {
                Ok(verdict) => {
                    past.looked(desk.now(), verdict);
                    Ok(())
                }
                Err(miss) => {
                    if let Miss::Failed(_) = miss {
                        past.look_failed(desk.now());
                    }
                    Err(miss)
                }
            };
        }
        Deed::Disarm => {
            return match desk.disarm() {
                Ok(()) => {
                    desk.say("what was staged by policy is not started any more");
                    Ok(())
                }
                Err(miss) => Err(miss),
            };
        }
        Deed::Stage(release) => ("staged", release, desk.stage(release)),
        Deed::Arm(release) => ("armed", release, desk.arm(release)),
        Deed::Upgrade(release) => ("started on trial", release, desk.upgrade(release)),
    };
    match done {
        Ok(()) => {
            past.acted();
            desk.say(&format!("the release {} is {what} by policy", release.version));
            Ok(())
        }
        Err(Miss::Failed(why)) => {
            past.act_failed(desk.now(), release);
            Err(Miss::Failed(format!("the release {} is not {what}: {why}", release.version)))
        }
        Err(Miss::Busy) => Err(Miss::Busy),
    }
}

/// What wakes a loop that waits, and ends it.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    rung: bool,
    ended: bool,
}

impl Bell {
    /// One that nobody has rung.
    pub fn new() -> Self {
        Self::default()
    }

    /// Something has changed: whoever waits looks again.
    pub fn ring(&self) {
        self.tell(|state| state.rung = true);
    }

    /// Whoever waits ends, now and from now on.
    pub fn end(&self) {
        self.tell(|state| state.ended = true);
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        let (state, condition) = &*self.0;
        change(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
        condition.notify_all();
    }

    /// Waits for so long, or until it is rung: for [`Desk::wait`].
    pub fn wait(&self, time: Duration) -> Go {
        let (state, condition) = &*self.0;
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = |state: &mut State| !state.rung && !state.ended;
        let (mut state, _) = condition
            .wait_timeout_while(state, time, quiet)
            .unwrap_or_else(PoisonError::into_inner);
        state.rung = false;
        if state.ended { Go::End } else { Go::On }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn who_waits_is_woken_by_the_bell_and_ends_with_it() {
        let bell = Bell::new();
        bell.ring();
        let hour = Duration::from_secs(3600);
        // It was rung before anybody waited.
        assert_eq!(bell.wait(hour), Go::On);
        let other = bell.clone();
        let waits = thread::spawn(move || (other.wait(hour), other.wait(hour)));
        bell.ring();
        // Whether the first wait or the second sees it, the end ends both.
        bell.end();
        assert_eq!(waits.join().unwrap().1, Go::End);
        assert_eq!(bell.wait(Duration::ZERO), Go::End);
    }
}
