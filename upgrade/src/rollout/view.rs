//! Where each node is, for people and programs.

use formats::fleet::Phase;

use super::{Drain, Member, Outcome, Rollout, Step, Terms};

/// A node and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its name.
    pub node: String,
    /// Where it is.
    pub stage: Stage,
}

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// It was not begun.
    Waits,
    /// It is being cordoned.
    Cordons,
    /// Pods leave it: how many are left, and why one of them may not go yet.
    Drains(usize, Option<String>),
    /// It is asked, and has not answered yet.
    Asked,
    /// It is at work: what it does, and how much of the image is there in percent.
    Works(Phase, Option<u8>),
    /// It has what it was asked for, and is not Ready, or kubelet has not spoken since the restart.
    Comes,
    /// It is known what came of it, and it is let go.
    Ends(Outcome),
    /// It is done with.
    Ended(Outcome),
}

impl Rollout {
    /// Where each node is, in order.
    pub fn shown(&self) -> Vec<Shown> {
        let of = |name: &String| {
            let stage = self.members.get(name)?.stage(&self.terms);
            Some(Shown { node: name.clone(), stage })
        };
        self.order.iter().filter_map(of).collect()
    }
}

impl Member {
    fn stage(&self, terms: &Terms) -> Stage {
        if let Some(outcome) = &self.outcome {
            let settled = self.left.is_some() || !self.is_marked();
            return if settled {
                Stage::Ended(outcome.clone())
            } else {
                Stage::Ends(outcome.clone())
            };
        }
        match (self.step(terms), &terms.drain) {
            (Step::Fresh, _) if self.changing.is_none() => Stage::Waits,
            (Step::Fresh, _) => Stage::Cordons,
            (Step::Preparing, Drain::Evict(may)) if self.pods.is_some() => {
                let (left, why) = self.remaining(*may);
                Stage::Drains(left, why)
            }
            (Step::Preparing, _) => Stage::Cordons,
            (Step::Asked | Step::Ending, _) => self.at_work(),
        }
    }

    fn at_work(&self) -> Stage {
        let Some(node) = &self.node else { return Stage::Asked };
        let status = node.status().zip(node.asked.as_ref());
        match status.filter(|(status, asked)| status.is_about(asked)) {
            None => Stage::Asked,
            Some((status, _)) if status.phase == Phase::Idle => Stage::Comes,
            Some((status, _)) => Stage::Works(status.phase, status.percent),
        }
    }

    /// In words, for a time limit that is over.
    pub(super) fn where_it_is(&self, terms: &Terms) -> String {
        let ready = self.node.as_ref().map(|node| &node.ready);
        let ready = match ready {
            Some(Err(why)) => format!(", and it is not Ready: {why}"),
            _ => String::new(),
        };
        match self.stage(terms) {
            Stage::Drains(_, Some(why)) => why,
            Stage::Drains(left, None) => format!("{left} pods have not left it"),
            Stage::Asked => format!("its updater has not answered{ready}"),
            Stage::Works(phase, Some(percent)) => {
                format!("it is still {} at {percent} %{ready}", phase.name())
            }
            Stage::Works(phase, None) => format!("it is still {}{ready}", phase.name()),
            Stage::Comes => format!("its kubelet has not spoken since the restart{ready}"),
            Stage::Waits | Stage::Cordons | Stage::Ends(_) | Stage::Ended(_) => {
                "nothing is known of its pods".to_owned()
            }
        }
    }
}
