//! A node at a moment, of its config, of what it is and of what it remembers.

use formats::meta::{Meta, Phase};
use formats::node_config::Update;

use super::{Armed, Node, Rules, Spread};
use crate::eligible;

/// What others have done to a node, which neither its config nor META tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Others {
    /// [`Node::asked`].
    pub asked: bool,
    /// A trial that is armed was armed by the policy, or nobody wants it any more.
    pub armed_by_policy: bool,
    /// Somebody has arranged that the next boot goes back.
    pub goes_back: bool,
    /// The machine goes down.
    pub going_down: bool,
}

impl Node {
    /// The node with this config, whose image was made at `floor`, in seconds since 1970, and of which nobody
    /// has given up anything.
    pub fn of(
        update: &Update,
        floor: i64,
        is: &eligible::Node,
        meta: &Meta,
        others: Others,
    ) -> Self {
        let trial = meta.trial.as_ref();
        // The same words stand there until the boot that is the trial has changed them.
        let runs = trial.is_some_and(|trial| trial.release.root_hash == is.running);
        let waits =
            trial.is_some_and(|it| matches!(it.phase, Phase::Arming | Phase::Armed)) && !runs;
        let in_slot = meta.staged.as_ref().map(|staged| &staged.release);
        let in_slot = in_slot.or_else(|| trial.filter(|_| waits).map(|trial| &trial.release));
        Self {
            rules: Rules::from(update),
            spread: Spread::of(&is.machine_id),
            floor,
            on_trial: others.going_down || (trial.is_some() && !waits),
            armed: match (waits, others.armed_by_policy) {
                _ if others.goes_back => Armed::BySomebody,
                (false, _) => Armed::No,
                (true, true) => Armed::ByPolicy,
                (true, false) => Armed::BySomebody,
            },
            asked: others.asked,
            staged: in_slot.map(|release| release.root_hash),
            failed: meta.failed.iter().map(|failed| failed.root_hash).collect(),
            given_up: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use formats::boot_entries::Slot;
    use formats::digest::Sha256;
    use formats::meta::{Method, Release, Staged, Trial};

    use super::*;

    fn release(name: &str) -> Release {
        let root_hash = Sha256::of(name);
        Release { version: name.to_owned(), root_hash, uki: root_hash, epoch: 0 }
    }

    fn trial(name: &str, phase: Phase) -> Meta {
        let (slot, method) = (Slot::B, Method::OneShot);
        let trial = Trial { slot, release: release(name), since: 0, attempts: 1, method, phase };
        Meta { trial: Some(trial), ..Meta::default() }
    }

    #[test]
    fn what_is_remembered_says_what_is_staged_armed_and_tried() {
        let is = eligible::Node {
            image: "node".to_owned(),
            architecture: "here".to_owned(),
            version: "1".to_owned(),
            running: Sha256::of("1"),
            epoch: 0,
            failed: Vec::new(),
            machine_id: "0123".to_owned(),
        };
        let of = |meta: &Meta, others| {
            let node = Node::of(&Update::default(), 7, &is, meta, others);
            (node.staged, node.armed, node.on_trial)
        };
        let nobody = Others::default();
        let policy = Others { armed_by_policy: true, ..nobody };
        let down = Others { going_down: true, ..nobody };
        let back = Others { goes_back: true, ..nobody };
        let staged = Staged { slot: Slot::B, release: release("2"), attempts: 0 };
        let staged = Meta { staged: Some(staged), ..Meta::default() };
        let two = Some(Sha256::of("2"));
        for (meta, others, want) in [
            (Meta::default(), policy, (None, Armed::No, false)),
            (Meta::default(), down, (None, Armed::No, true)),
            (Meta::default(), back, (None, Armed::BySomebody, false)),
            (staged, policy, (two, Armed::No, false)),
            (trial("2", Phase::Arming), nobody, (two, Armed::BySomebody, false)),
            (trial("2", Phase::Armed), nobody, (two, Armed::BySomebody, false)),
            (trial("2", Phase::Armed), policy, (two, Armed::ByPolicy, false)),
            // This boot is the trial, and is not noted as begun yet.
            (trial("1", Phase::Armed), policy, (None, Armed::No, true)),
            (trial("1", Phase::Begun), policy, (None, Armed::No, true)),
            (trial("1", Phase::Healthy), nobody, (None, Armed::No, true)),
            // A fall-back that is not noted yet: its start does that, and nothing is done before.
            (trial("2", Phase::Begun), nobody, (None, Armed::No, true)),
        ] {
            assert_eq!(of(&meta, others), want, "{meta:?} {others:?}");
        }
        let mut meta = Meta::default();
        meta.add_failed(&release("2"), 1, "no");
        let node = Node::of(&Update::default(), 7, &is, &meta, nobody);
        assert_eq!((node.failed, node.floor), (vec![Sha256::of("2")], 7));
    }
}
