//! What stands against an upgrade before anything is changed, and what would be done: pure, over what the
//! API server and the channel say.

use formats::fleet::Phase;

use crate::budgets::Budget;
use crate::known::{Bytes, Known};
use crate::node::Node;
use crate::pods::{Fate, Losses, Pod};
use crate::rollout::{Drain, Terms, refusal};
use crate::skew;

/// What the cluster is, and what is wanted of it.
#[derive(Debug)]
pub struct Question<'a> {
    /// What is wanted.
    pub terms: &'a Terms,
    /// Of which nodes, in order.
    pub names: &'a [String],
    /// All nodes.
    pub nodes: &'a [Node],
    /// All pods.
    pub pods: &'a [Pod],
    /// All budgets.
    pub budgets: &'a [Budget],
    /// The API server's version.
    pub server: &'a str,
    /// The release, if a channel was named.
    pub known: Option<&'a Known>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What stands against it.
    pub problems: Vec<Problem>,
    /// What is worth a look.
    pub warnings: Vec<String>,
    /// What would be done with each node, in order.
    pub plan: Vec<Planned>,
}

/// Something that stands against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of thing.
    pub kind: Kind,
    /// In words.
    pub text: String,
    /// What cures it.
    pub cure: String,
}

/// Kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no such node, or it is in no state to be upgraded.
    Unfit,
    /// The release does not fit the node or the cluster.
    Release,
    /// Pods would be lost, or would never leave.
    Pods,
    /// Other nodes are being upgraded, or this one to another release.
    Busy,
}

/// What would be done with a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its name.
    pub node: String,
    /// What it runs, if it says so.
    pub from: Option<String>,
    /// What is done.
    pub does: Does,
    /// Whether it is cordoned before, and stays so.
    pub stays_cordoned: bool,
    /// Pods that are evicted, as `NAMESPACE/NAME`.
    pub evicted: Vec<String>,
    /// How many pods stay until it goes down.
    pub staying: usize,
    /// What it will fetch, where that can be said.
    pub bytes: Option<Bytes>,
}

/// What is done with a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Nothing: it runs the release.
    Nothing,
    /// It is upgraded.
    Upgrades,
    /// What an earlier call began is gone on with.
    GoesOn,
}

/// Looks at all of it.
pub fn check(question: &Question<'_>) -> Checked {
    let mut checked = Checked { problems: Vec::new(), warnings: Vec::new(), plan: Vec::new() };
    checked.skew(question);
    for name in question.names {
        match question.nodes.iter().find(|node| node.name == *name) {
            Some(node) => checked.node(question, node),
            None => checked.problem(
                Kind::Unfit,
                format!("there is no node `{name}`"),
                "`orlop upgrade --status` shows all".to_owned(),
            ),
        }
    }
    let works = |planned: &&Planned| planned.does != Does::Nothing;
    if checked.plan.iter().any(|planned| works(&planned)) {
        checked.others(question);
    }
    checked
}

impl Checked {
    fn problem(&mut self, kind: Kind, text: String, cure: String) {
        self.problems.push(Problem { kind, text, cure });
    }

    fn skew(&mut self, question: &Question<'_>) {
        let Some(known) = question.known else {
            self.warnings.push(
                "no channel was named: what the release is, and whether its kubelet fits the API \
                 server, each node decides"
                    .to_owned(),
            );
            return;
        };
        let version = &known.release.version;
        match &known.kubelet {
            None => self.warnings.push(format!(
                "the SBOM of {version} names no kubelet: whether it fits the API server {} is not known",
                question.server
            )),
            Some(kubelet) => {
                if let Some(objection) = skew::objection(kubelet, question.server) {
                    self.problem(
                        Kind::Release,
                        format!("the release {version} does not fit the cluster: {objection}"),
                        "upgrade the control plane first, or take another release".to_owned(),
                    );
                }
            }
        }
    }

    fn node(&mut self, question: &Question<'_>, node: &Node) {
        let Question { terms, known, .. } = question;
        let name = &node.name;
        if let Some(Err(why)) = &node.mark {
            let mark = crate::mark::MARK;
            self.problem(
                Kind::Unfit,
                format!("node `{name}`: {why}"),
                format!("`kubectl annotate node {name} {mark}-` takes it away"),
            );
            return;
        }
        if let Some(release) = node.mark().and_then(|mark| mark.elsewhere(node, &terms.release)) {
            let mark = crate::mark::MARK;
            self.problem(
                Kind::Busy,
                format!("another call is bringing node `{name}` to {release}"),
                format!(
                    "`--to {release}` goes on with that; if it is to be given up, `kubectl annotate node \
                     {name} {mark}- {}-` and `kubectl uncordon {name}`",
                    formats::fleet::RELEASE
                ),
            );
            return;
        }
        let version = node.status().map(|status| status.version.clone());
        let mut planned = Planned {
            node: name.clone(),
            from: version,
            does: Does::Upgrades,
            stays_cordoned: node.mark().map_or(node.unschedulable, |mark| !mark.cordoned),
            evicted: Vec::new(),
            staying: 0,
            bytes: None,
        };
        match &node.status {
            None => self.problem(
                Kind::Unfit,
                format!("node `{name}` has no `orlop.dev/status`: no updater of Orlop runs there"),
                "leave it out".to_owned(),
            ),
            Some(Err(why)) => self.problem(
                Kind::Unfit,
                format!("node `{name}`: {why}"),
                "its updater is of another version: upgrade it on the node".to_owned(),
            ),
            Some(Ok(_)) => {}
        }
        let done = terms.version().is_some_and(|version| node.runs(version));
        if done || node.mark.is_some() {
            planned.does = if node.mark.is_some() { Does::GoesOn } else { Does::Nothing };
        } else {
            self.ready(node);
        }
        if !done {
            planned.bytes = known.map(|known| known.bytes(node.root_hash()));
            self.release(*known, node);
            if let Drain::Evict(may) = terms.drain
                && node.mark().is_none_or(|mark| mark.asked.is_none())
            {
                self.pods(question, node, may, &mut planned);
            }
        }
        self.plan.push(planned);
    }

    fn ready(&mut self, node: &Node) {
        let name = &node.name;
        if let Err(why) = &node.ready {
            self.problem(
                Kind::Unfit,
                format!("node `{name}` is not Ready: {why}"),
                "a node that is not well is no measure of a release: mend it, or leave it out"
                    .to_owned(),
            );
        }
        let Some(status) = node.status() else { return };
        if let (Phase::Trial, version) = (status.phase, &status.version) {
            self.warnings.push(format!("node `{name}` tries {version} at this moment"));
        }
    }

    fn release(&mut self, known: Option<&Known>, node: &Node) {
        let name = &node.name;
        let version = node.status().map(|status| status.version.as_str());
        let objection = known.and_then(|known| known.objection(version, &node.architecture));
        if let Some(objection) = objection {
            self.problem(
                Kind::Release,
                format!("node `{name}` cannot take the release: {objection}"),
                "take another release for it first, or leave it out".to_owned(),
            );
        }
        let failed = node.status().and_then(|status| status.fallback.as_ref());
        if let (Some(fallback), Some(known)) = (failed, known)
            && fallback.version == known.release.version
        {
            let (version, reason) = (&fallback.version, &fallback.reason);
            self.warnings.push(format!(
                "node `{name}` fell back from {version} before, and tries it again: {reason}"
            ));
        }
    }

    fn pods(&mut self, question: &Question<'_>, node: &Node, may: Losses, planned: &mut Planned) {
        let name = &node.name;
        for pod in question.pods.iter().filter(|pod| pod.node == *name) {
            let fate = pod.fate(may);
            if let Some(why) = refusal(pod, fate) {
                let cure = match fate {
                    Fate::Data => "`--delete-emptydir-data` says that it may go",
                    _ => "`--force` says that it may go for good",
                };
                self.problem(Kind::Pods, format!("node `{name}`: {why}"), cure.to_owned());
            }
            match fate {
                Fate::Stays => planned.staying += 1,
                Fate::Evicted => {
                    planned.evicted.push(pod.id());
                    self.budgets(question.budgets, node, pod);
                }
                Fate::Leaving | Fate::Data | Fate::Unmanaged => {}
            }
        }
        planned.evicted.sort();
    }

    fn budgets(&mut self, budgets: &[Budget], node: &Node, pod: &Pod) {
        let (name, id) = (&node.name, pod.id());
        let covering: Vec<_> = budgets.iter().filter(|budget| budget.covers(pod)).collect();
        if let [one, other, ..] = &covering[..] {
            let (one, other) = (one.id(), other.id());
            self.problem(
                Kind::Pods,
                format!(
                    "node `{name}`: pod {id} is under two budgets for disruptions, {one} and {other}, \
                     and the API server evicts no such pod"
                ),
                "have one budget for it".to_owned(),
            );
            return;
        }
        let budget = covering.first();
        if let Some((budget, why)) = budget.and_then(|b| Some((b, b.objection()?))) {
            let budget = budget.id();
            self.warnings.push(format!(
                "node `{name}`: pod {id} will be waited for, the budget {budget} allows no eviction \
                 now: {why}"
            ));
        }
    }

    fn others(&mut self, question: &Question<'_>) {
        let others = question.nodes.iter().filter(|node| node.mark.is_some());
        let others = others.filter(|node| !question.names.contains(&node.name));
        let names: Vec<_> = others.map(|node| node.name.as_str()).collect();
        let most = question.terms.max_unavailable;
        if names.len() >= most {
            let names = names.join(", ");
            self.problem(
                Kind::Busy,
                format!(
                    "an upgrade is at other nodes already, and at most {most} may be unavailable: {names}"
                ),
                "name them too, and what was begun there is gone on with; or raise `--max-unavailable`"
                    .to_owned(),
            );
        }
    }
}

#[cfg(test)]
mod tests;
