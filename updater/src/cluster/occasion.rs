//! What is worth an Event on the Node object: steps between two answers of the node. It is so decided by
//! what the object said before, and a node that starts again tells nothing twice.

use formats::fleet::{Fallback, Phase, Status};

/// The type of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Occasion {
    /// The type.
    pub(super) kind: Kind,
    /// One word for machines.
    pub(super) reason: &'static str,
    /// A line for people.
    pub(super) message: String,
}

/// What has happened when the answer was `before`, if there was one, and is `now`.
pub(super) fn between(before: Option<&Status>, now: &Status) -> Option<Occasion> {
    if let Some(Fallback { version, reason, .. }) = &now.fallback
        && before.and_then(|before| before.fallback.as_ref()) != now.fallback.as_ref()
    {
        let message = format!("release {version} was left, and {} runs: {reason}", now.version);
        return Some(Occasion { kind: Kind::Warning, reason: "UpdateFellBack", message });
    }
    let phase = before.map(|before| before.phase);
    let same = before.is_some_and(|before| {
        (before.phase, &before.release, &before.request) == (now.phase, &now.release, &now.request)
    });
    if same {
        return None;
    }
    let asked = now.release.as_deref().unwrap_or("of unknown version");
    let runs = &now.version;
    let why = now.reason.as_deref().unwrap_or("no reason is known");
    let lies_there = |phase| matches!(phase, Some(Phase::Staged | Phase::Restarting));
    let (kind, reason, message) = match now.phase {
        Phase::Staged | Phase::Restarting if !lies_there(phase) => {
            (Kind::Normal, "UpdateStaged", format!("release {asked} lies in the spare slot"))
        }
        Phase::Trial if phase != Some(Phase::Trial) => {
            (Kind::Normal, "UpdateTrial", format!("release {runs} is on trial"))
        }
        Phase::Idle if was_tried(before, now) => {
            (Kind::Normal, "UpdatePromoted", format!("release {runs} is healthy and stays"))
        }
        Phase::Refused => {
            (Kind::Warning, "UpdateRefused", format!("release {asked} is refused: {why}"))
        }
        Phase::Failed => {
            (Kind::Warning, "UpdateFailed", format!("release {asked} could not be staged: {why}"))
        }
        Phase::FellBack => {
            let message = format!("release {asked} was left, and {runs} runs: {why}");
            (Kind::Warning, "UpdateFellBack", message)
        }
        _ => return None,
    };
    Some(Occasion { kind, reason, message })
}

/// Whether what runs now was on trial, or about to be when it was last heard of.
fn was_tried(before: Option<&Status>, now: &Status) -> bool {
    before.is_some_and(|before| match before.phase {
        Phase::Trial => before.version == now.version,
        Phase::Staged | Phase::Restarting => {
            before.version != now.version
                && (&before.release, &before.request) == (&now.release, &now.request)
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use formats::digest::Sha256;
    use formats::fleet::Asked;

    use super::*;

    fn status(runs: &str, phase: Phase, release: &str) -> Status {
        let asked = Asked { release: release.to_owned(), request: None };
        Status::new(runs, Sha256::of(runs), phase).about(&asked)
    }

    #[test]
    fn each_step_of_an_update_is_told_once() {
        use Phase::{Failed, FellBack, Idle, Refused, Restarting, Staged, Staging, Trial};
        let step = |(runs, phase): (&str, Phase), (now, then): (&str, Phase)| {
            let occasion = between(Some(&status(runs, phase, "2")), &status(now, then, "2"));
            occasion.map(|occasion| occasion.reason)
        };
        for (before, now, want) in [
            (("1", Idle), ("1", Staging), None),
            (("1", Staging), ("1", Staged), Some("UpdateStaged")),
            (("1", Staging), ("1", Restarting), Some("UpdateStaged")),
            (("1", Staged), ("1", Restarting), None),
            (("1", Restarting), ("2", Trial), Some("UpdateTrial")),
            (("2", Trial), ("2", Idle), Some("UpdatePromoted")),
            // Nobody was told of the trial, for the API server was away.
            (("1", Restarting), ("2", Idle), Some("UpdatePromoted")),
            (("1", Restarting), ("1", FellBack), Some("UpdateFellBack")),
            (("2", Trial), ("1", FellBack), Some("UpdateFellBack")),
            (("1", FellBack), ("1", FellBack), None),
            (("1", Staging), ("1", Refused), Some("UpdateRefused")),
            (("1", Staging), ("1", Failed), Some("UpdateFailed")),
            (("1", Failed), ("1", Failed), None),
            (("1", Failed), ("1", Idle), None),
            (("2", Idle), ("2", Idle), None),
            (("1", Restarting), ("1", Idle), None),
        ] {
            assert_eq!(step(before, now), want, "{before:?} {now:?}");
        }
    }

    #[test]
    fn who_asks_again_is_told_again() {
        let failed = |request: &str| {
            let asked = Asked { release: "2".into(), request: Some(request.into()) };
            Status::new("1", Sha256::of("1"), Phase::Failed).about(&asked)
        };
        assert!(between(Some(&failed("a")), &failed("b")).is_some());
        assert_eq!(between(Some(&failed("a")), &failed("a")), None);
    }

    #[test]
    fn a_node_that_never_answered_tells_what_is_bad_and_no_more() {
        for (_, phase) in Phase::ALL {
            let bad = between(None, &status("1", phase, "2")).map(|occasion| occasion.kind);
            assert_eq!(bad == Some(Kind::Warning), phase.is_bad(), "{phase:?}");
        }
        assert_eq!(between(None, &status("1", Phase::Idle, "2")), None);
    }

    #[test]
    fn a_fall_back_is_told_once_whoever_had_asked() {
        let left = Fallback { version: "2".into(), reason: "no DHCP".into(), time: 1 };
        let with = |phase, fallback: Option<&Fallback>| Status {
            reason: Some("no DHCP".into()),
            fallback: fallback.cloned(),
            ..status("1", phase, "newest")
        };
        let fell = with(Phase::FellBack, Some(&left));
        for before in [None, Some(with(Phase::Restarting, None)), Some(with(Phase::Idle, None))] {
            let told = between(before.as_ref(), &fell).map(|occasion| occasion.message);
            assert_eq!(told.as_deref(), Some("release 2 was left, and 1 runs: no DHCP"));
        }
        // Nobody had asked: its policy had the node try the release.
        let own = with(Phase::Idle, Some(&left));
        assert!(between(Some(&with(Phase::Idle, None)), &own).is_some());
        assert_eq!(between(Some(&own), &own), None);
        let later = Fallback { time: 2, ..left };
        assert!(between(Some(&fell), &with(Phase::FellBack, Some(&later))).is_some());
    }
}
