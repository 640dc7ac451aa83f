//! What a request means for a node that stands so and has served that.

use formats::fleet::{Asked, Phase};

use super::super::served::{End, Served};
use super::super::{FailedBefore, Spare, Standing};

/// Trials of one release that may be armed without ever being started. The planner of slots has a limit of
/// its own; this one is for the request.
const MOST_ATTEMPTS: u32 = 3;

/// What is to be done about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing; the phase, and the reason for it.
    Rest(Phase, Option<String>),
    /// Nothing yet: another release is on trial.
    OtherTrial,
    /// Remember this, and decide again.
    Keep(Served),
    /// Fill the spare slot.
    Stage(Option<String>, FailedBefore),
    /// Try this version, which lies in the spare slot.
    Arm(String),
}

/// The request is served: its release runs.
pub(super) fn runs(asked: &Asked, standing: &Standing) -> Served {
    let version = Some(standing.version.clone());
    let end = Some(End { phase: Phase::Idle, reason: None });
    Served { asked: asked.clone(), version, end }
}

/// Decides.
pub(super) fn decide(asked: &Asked, last: Option<&Served>, standing: &Standing) -> Decision {
    let served = last.filter(|served| served.covers(asked));
    let is_running = |version: &str| version == standing.version;
    let version = asked.version();
    let runs_it = version.as_ref().is_ok_and(|version| version.is_some_and(is_running))
        || served.and_then(|served| served.version.as_deref()).is_some_and(is_running);
    match (standing.trial, runs_it) {
        (true, true) => return Decision::Rest(Phase::Trial, None),
        (true, false) => return Decision::OtherTrial,
        (false, true) => {
            let known = served
                .is_some_and(|served| matches!(&served.end, Some(end) if end.phase == Phase::Idle));
            return match known {
                true => Decision::Rest(Phase::Idle, None),
                false => Decision::Keep(runs(asked, standing)),
            };
        }
        (false, false) => {}
    }
    let Some(served) = served else {
        return match version {
            Ok(version) => {
                let again = asked.request.is_some();
                let failed_before =
                    if again { FailedBefore::TriedAgain } else { FailedBefore::Refused };
                Decision::Stage(version.map(str::to_owned), failed_before)
            }
            Err(error) => {
                let end = Some(End::of(Phase::Refused, error.to_string()));
                Decision::Keep(Served { asked: asked.clone(), version: None, end })
            }
        };
    };
    let fell_back = standing
        .fallback
        .as_ref()
        .filter(|fallback| served.version.as_ref() == Some(&fallback.version))
        .map(|fallback| fallback.reason.clone());
    match &served.end {
        // It ran here. What came after it is a fall-back only where this node has left it.
        Some(End { phase: Phase::Idle, .. }) => {
            match fell_back.or_else(|| left(served, standing)) {
                Some(reason) => Decision::Rest(Phase::FellBack, Some(reason)),
                None => Decision::Rest(Phase::Idle, None),
            }
        }
        Some(End { phase, reason }) => Decision::Rest(*phase, reason.clone()),
        None => try_it(served, standing, fell_back),
    }
}

/// Why the node has left the release of a request, if it has.
fn left(served: &Served, standing: &Standing) -> Option<String> {
    let version = served.version.as_ref()?;
    let left = standing.failed.iter().rev().find(|failed| failed.version == *version)?;
    Some(left.reason.clone())
}

/// How a request has ended that nobody asks for any more; nothing if it was not tried to its end, and so
/// has none.
pub(super) fn ended(served: &Served, standing: &Standing) -> Option<End> {
    let version = served.version.as_deref()?;
    if version == standing.version {
        return Some(End { phase: Phase::Idle, reason: None });
    }
    let fallback = standing.fallback.as_ref().filter(|fallback| fallback.version == version)?;
    Some(End::of(Phase::FellBack, fallback.reason.clone()))
}

/// The release was to be tried, and another one runs.
fn try_it(served: &Served, standing: &Standing, fell_back: Option<String>) -> Decision {
    let spare =
        standing.spare.as_ref().filter(|spare| served.version.as_ref() == Some(&spare.version));
    let end = match (spare, fell_back) {
        // The power went before it was armed, or the loader did not start it.
        (Some(Spare { version, attempts }), _) if *attempts < MOST_ATTEMPTS => {
            return Decision::Arm(version.clone());
        }
        (_, Some(reason)) => End::of(Phase::FellBack, reason),
        (Some(Spare { attempts, .. }), None) => {
            let reason = format!("its trial was armed {attempts} times and never began");
            End::of(Phase::Failed, reason)
        }
        (None, None) => End::of(Phase::Failed, "it was to be tried, and nothing is known of that"),
    };
    Decision::Keep(Served { end: Some(end), ..served.clone() })
}

#[cfg(test)]
mod tests {
    use formats::digest::Sha256;
    use formats::meta::{Failed, Fallback};

    use super::*;

    fn asked(release: &str, request: Option<&str>) -> Asked {
        Asked { release: release.to_owned(), request: request.map(str::to_owned) }
    }

    fn runs(version: &str) -> Standing {
        let (version, root_hash) = (version.to_owned(), Sha256::of(version));
        let (spare, fallback, failed) = (None, None, Vec::new());
        Standing { version, root_hash, boot_id: None, trial: false, spare, fallback, failed }
    }

    fn served(version: Option<&str>, end: Option<End>) -> Served {
        let version = version.map(str::to_owned);
        Served { asked: asked("2", Some("a")), version, end }
    }

    fn spare(attempts: u32) -> Standing {
        Standing { spare: Some(Spare { version: "2".into(), attempts }), ..runs("1") }
    }

    fn fell_back() -> Standing {
        let root_hash = Sha256::of("2");
        let fallback = Fallback { version: "2".into(), root_hash, time: 1, reason: "bad".into() };
        Standing { fallback: Some(fallback), ..runs("1") }
    }

    fn rest(phase: Phase, reason: &str) -> Decision {
        Decision::Rest(phase, Some(reason.to_owned()).filter(|reason| !reason.is_empty()))
    }

    #[test]
    fn a_new_request_is_staged_and_who_names_it_anew_has_it_tried_again() {
        use FailedBefore::{Refused, TriedAgain};
        let stage =
            |version: Option<&str>, before| Decision::Stage(version.map(str::to_owned), before);
        let done = served(None, Some(End::of(Phase::Failed, "x")));
        for (asked, last, want) in [
            (asked("2", None), None, stage(Some("2"), Refused)),
            (asked("2", Some("a")), None, stage(Some("2"), TriedAgain)),
            (asked("newest", None), None, stage(None, Refused)),
            (asked("2", Some("b")), Some(&done), stage(Some("2"), TriedAgain)),
            (asked("3", None), Some(&done), stage(Some("3"), Refused)),
            (asked("2", Some("a")), Some(&done), rest(Phase::Failed, "x")),
            (asked("2", None), Some(&done), rest(Phase::Failed, "x")),
        ] {
            assert_eq!(decide(&asked, last, &runs("1")), want, "{asked:?} {last:?}");
        }
    }

    #[test]
    fn what_is_no_version_is_refused_and_remembered() {
        let asked = asked("../x", None);
        let Decision::Keep(served) = decide(&asked, None, &runs("1")) else { panic!("taken") };
        assert_eq!(served.end.as_ref().unwrap().phase, Phase::Refused);
        let Decision::Rest(phase, Some(reason)) = decide(&asked, Some(&served), &runs("1")) else {
            panic!("taken")
        };
        assert!(phase == Phase::Refused && reason.starts_with("`../x` is neither"), "{reason}");
    }

    #[test]
    fn what_runs_is_not_asked_for_again() {
        let end = |phase| Some(End { phase, reason: None });
        let newest = Served { asked: asked("newest", None), version: Some("2".into()), end: None };
        for (asked, last) in [(asked("2", Some("a")), None), (asked("newest", None), Some(&newest))]
        {
            let want = super::runs(&asked, &runs("2"));
            assert_eq!(decide(&asked, last, &runs("2")), Decision::Keep(want.clone()));
            assert_eq!(decide(&asked, Some(&want), &runs("2")), rest(Phase::Idle, ""));
        }
        // It was served, ran, and somebody went back, or the loader did.
        let ran = served(Some("2"), end(Phase::Idle));
        let asked = asked("2", Some("a"));
        let left = Failed {
            version: "2".into(),
            root_hash: Sha256::of("2"),
            time: 1,
            reason: "rolled back by hand".into(),
        };
        let by_hand = Standing { failed: vec![left], ..runs("1") };
        let want = rest(Phase::FellBack, "rolled back by hand");
        assert_eq!(decide(&asked, Some(&ran), &by_hand), want);
        assert_eq!(decide(&asked, Some(&ran), &fell_back()), rest(Phase::FellBack, "bad"));
        // Its policy or a person has brought another one, which the node stays with.
        assert_eq!(decide(&asked, Some(&ran), &runs("3")), rest(Phase::Idle, ""));
    }

    #[test]
    fn in_a_trial_nothing_is_begun() {
        let trial = |version| Standing { trial: true, ..runs(version) };
        let (two, three) = (asked("2", None), asked("3", None));
        assert_eq!(decide(&two, None, &trial("2")), rest(Phase::Trial, ""));
        assert_eq!(decide(&three, None, &trial("2")), Decision::OtherTrial);
    }

    #[test]
    fn what_lies_there_is_tried_until_it_has_begun_or_three_times() {
        let (asked, last) = (asked("2", Some("a")), served(Some("2"), None));
        let kept = |phase, reason: &str| {
            Decision::Keep(Served { end: Some(End::of(phase, reason)), ..last.clone() })
        };
        for (standing, want) in [
            (spare(0), Decision::Arm("2".into())),
            (spare(2), Decision::Arm("2".into())),
            (spare(3), kept(Phase::Failed, "its trial was armed 3 times and never began")),
            (fell_back(), kept(Phase::FellBack, "bad")),
            // An older fall-back of the same release: it is tried again.
            (Standing { fallback: fell_back().fallback, ..spare(0) }, Decision::Arm("2".into())),
            (runs("1"), kept(Phase::Failed, "it was to be tried, and nothing is known of that")),
        ] {
            assert_eq!(decide(&asked, Some(&last), &standing), want, "{standing:?}");
        }
    }
}
