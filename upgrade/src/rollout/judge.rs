//! What a node that was asked for a release says of it.

use formats::fleet::Phase;

use super::{Outcome, Terms};
use crate::mark::Request;
use crate::node::Node;

/// The verdict.
pub(super) fn judge(terms: &Terms, node: &Node, request: &Request) -> Option<Outcome> {
    let (status, asked) = (node.status()?, node.asked.as_ref()?);
    if !status.is_about(asked) {
        return None;
    }
    let reason = || status.reason.clone().unwrap_or_else(|| "it does not say why".to_owned());
    match status.phase {
        Phase::FellBack => Some(Outcome::FellBack(reason())),
        Phase::Refused | Phase::Failed => Some(Outcome::NotTaken(reason())),
        Phase::Idle => {
            if terms.version().is_some_and(|version| version != status.version) {
                let runs = format!("it says that it is done, and runs {}", status.version);
                return Some(Outcome::NotTaken(runs));
            }
            let (from, to) = (request.from.clone(), status.version.clone());
            // kubelet's word of before the restart stands until it says something new.
            let restarted = node.boot_id != request.boot_id && node.kubelet_has_spoken();
            match (from == to, restarted && node.ready.is_ok()) {
                (true, _) => Some(Outcome::Already(to)),
                (false, true) => Some(Outcome::Upgraded { from, to }),
                (false, false) => None,
            }
        }
        _ => None,
    }
}
