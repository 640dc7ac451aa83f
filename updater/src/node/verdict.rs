//! How this boot was judged, as long as it lasts: a trial is armed in a boot only that was, for before that
//! nobody knows whether what does not answer fails, or has yet to come up.
//!
//! It is in a file in memory, so it says nothing of another boot, and outlasts the process that judges.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::clock::monotonic;
use crate::files::{below, read, replace};

const PATH: &str = "/run/orlop/updater-judged";
/// Bytes of it.
const LONGEST: u64 = 16 * 1024;

/// How it was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It was not yet. Until when it will be, by the time since the kernel started, if somebody is at it.
    NotYet(Option<Duration>),
    /// All that a trial is asked has held.
    Healthy,
    /// It has not in its time: the names of conditions that were given all of it and did not hold.
    Unhealthy(BTreeSet<String>),
}

impl Judgement {
    /// One word for machines.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NotYet(_) => "not-yet",
            Self::Healthy => "healthy",
            Self::Unhealthy(_) => "unhealthy",
        }
    }

    /// Seconds that pass at most until it is judged; `whole` is the time that a boot has for that.
    pub fn seconds_left(&self, whole: Duration) -> u64 {
        match self {
            Self::NotYet(until) => {
                until.map_or(whole, |it| it.saturating_sub(monotonic())).as_secs()
            }
            Self::Healthy | Self::Unhealthy(_) => 0,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::NotYet(until) => format!("until {}\n", until.unwrap_or_default().as_secs()),
            Self::Healthy => "healthy\n".to_owned(),
            Self::Unhealthy(failing) => {
                let names = failing.iter().map(|name| format!(" {name}"));
                format!("unhealthy{}\n", names.collect::<String>())
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        match words.next()? {
            "until" => Some(Self::NotYet(Some(Duration::from_secs(words.next()?.parse().ok()?)))),
            "healthy" => Some(Self::Healthy),
            "unhealthy" => Some(Self::Unhealthy(words.map(str::to_owned).collect())),
            _ => None,
        }
    }
}

/// Remembers it.
///
/// # Errors
/// What the file system says.
pub fn remember(root: &Path, judgement: &Judgement) -> io::Result<()> {
    replace(&below(root, PATH), &judgement.text())
}

/// How this boot was judged, as far as that can be read.
pub fn of(root: &Path) -> Judgement {
    let text = read(&below(root, PATH), LONGEST).ok().flatten();
    text.and_then(|text| Judgement::parse(&text)).unwrap_or(Judgement::NotYet(None))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn how_a_boot_was_judged_is_remembered_and_what_is_damaged_says_not_yet() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(of(root), Judgement::NotYet(None));
        let failing = ["cri", "check:a"].map(str::to_owned).into();
        for judgement in [
            Judgement::NotYet(Some(Duration::from_secs(312))),
            Judgement::Healthy,
            Judgement::Unhealthy(failing),
            Judgement::Unhealthy(BTreeSet::new()),
        ] {
            remember(root, &judgement).unwrap();
            assert_eq!(of(root), judgement);
        }
        for damaged in ["", "until\n", "until x\n", "fine\n"] {
            fs::write(below(root, PATH), damaged).unwrap();
            assert_eq!(of(root), Judgement::NotYet(None), "{damaged}");
        }
    }

    #[test]
    fn how_long_it_takes_at_most_is_known_before_somebody_is_at_it() {
        let whole = Duration::from_secs(300);
        assert_eq!(Judgement::NotYet(None).seconds_left(whole), 300);
        assert_eq!(Judgement::NotYet(Some(Duration::ZERO)).seconds_left(whole), 0);
        let left = Judgement::NotYet(Some(monotonic() + whole)).seconds_left(whole);
        assert!((290..=300).contains(&left), "{left}");
    }
}
