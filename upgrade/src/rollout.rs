//! What an upgrade of nodes does next, purely: what was seen of the cluster and what came of earlier
//! actions give a list of actions. All that must outlive the command stands on the Node objects
//! ([`Mark`]), so whoever begins anew from what is seen there goes on where another was cut off.
//!
//! Where the newest release is wanted and no channel is known, each node is asked first which one that is for
//! it, and one that runs it is not touched. A node goes through: cordoned and marked; its pods evicted; asked for the release, with its version and
//! boot noted in the mark; judged by its own status, its boot and whether it is Ready; uncordoned, unless
//! it was cordoned before, and the mark gone. After the first failure no further node is asked: those that
//! were are waited for, those that were only cordoned are let go. A node that is on its way to another
//! release is left to whoever asked it for that.

mod advance;
mod drain;
mod judge;
mod terms;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::mark::Mark;
use crate::node::Node;
use crate::pods::Pod;
use drain::Eviction;
pub(crate) use drain::refusal;

pub use terms::{Drain, Terms};
pub use view::{Shown, Stage};

/// Something that was seen, or that came of an action. Times are since the beginning of the command.
#[derive(Debug, Clone)]
pub enum Event {
    /// All nodes of the cluster.
    Nodes(Vec<Node>),
    /// A node that is new or has changed.
    Node(Node),
    /// A node that is no more.
    NodeGone(String),
    /// All pods of a node that [`Rollout::drained`] names.
    Pods(String, Vec<Pod>),
    /// What came of a change of a node.
    Changed(String, Changed),
    /// What came of an eviction: the node, the pod's uid.
    Evicted(String, String, Answer),
    /// Time has passed.
    Tick,
}

/// What came of a change of a node.
#[derive(Debug, Clone)]
pub enum Changed {
    /// It is made.
    To(Node),
    /// It is not: the node is not any more what it was thought to be, but this.
    Conflict(Node),
    /// It is not; it may be tried again after this time.
    Later(Duration, String),
    /// It is refused.
    Never(String),
}

/// What came of an eviction.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The pod goes, or is gone.
    Goes,
    /// It may not go now; it may be asked for again after this time.
    Later(Duration, String),
    /// It is refused.
    Never(String),
}

/// Something to be done. A change is made only if the node is still at the revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask a node which release is the newest for it: nothing else changes.
    Look(Change),
    /// Cordon a node and write the mark, in one change.
    Cordon(Change, Mark),
    /// Ask a node for the release, and note that in the mark, in one change.
    Ask(Change, Mark),
    /// Take the mark away, and uncordon the node if the flag says so, in one change.
    LetGo(Change, Uncordon),
    /// Evict a pod from a node.
    Evict(String, PodName),
}

/// Which state of which node is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The node.
    pub node: String,
    /// The state of its object.
    pub revision: String,
}

/// Whether a node is uncordoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uncordon {
    /// It is.
    Yes,
    /// It was cordoned before the upgrade, and stays so.
    No,
}

/// Which pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Another of this name is left alone.
    pub uid: String,
}

/// What came of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It runs what it was asked for.
    Upgraded {
        /// What it ran before; empty if nobody knows any more.
        from: String,
        /// What it runs.
        to: String,
    },
    /// It ran it already.
    Already(String),
    /// Nothing was asked of it, because another one failed.
    NotBegun,
    /// It was tried, and the node went back.
    FellBack(String),
    /// The node did not take it, or could not stage it.
    NotTaken(String),
    /// Its pods do not leave it.
    PodsRemain(String),
    /// It was asked, and does not come back.
    Lost(String),
    /// The API server does not let us.
    Forbidden(String),
    /// Another call is bringing it to another release.
    Elsewhere(String),
}

impl Outcome {
    /// Whether no further node is begun after it.
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Upgraded { .. } | Self::Already(_) | Self::NotBegun)
    }
}

/// The upgrade of some nodes.
#[derive(Debug)]
pub struct Rollout {
    terms: Terms,
    /// In which order they are begun.
    order: Vec<String>,
    members: BTreeMap<String, Member>,
    /// Nodes that an upgrade is at which are none of ours.
    others: BTreeSet<String>,
    /// Whether no further node is asked.
    stopping: bool,
    now: Duration,
}

/// One of the nodes.
#[derive(Debug, Default)]
struct Member {
    /// As it was seen last; `None` if it is not there.
    node: Option<Node>,
    /// Its pods, while it is drained.
    pods: Option<Vec<Pod>>,
    /// By the uid of the pod.
    evictions: BTreeMap<String, Eviction>,
    /// Whether a change of it is on its way.
    changing: Option<Changing>,
    /// When a change may be tried again, and why not before.
    retry: Option<(Duration, String)>,
    /// Since when it is asked which release is the newest for it.
    looking: Option<Duration>,
    /// What it has answered.
    newest: Option<String>,
    /// Since when it is in the step that it is in.
    since: Option<(Step, Duration)>,
    /// What came of it.
    outcome: Option<Outcome>,
    /// Why it was left as it is, marked.
    left: Option<String>,
}

/// Which change is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Changing {
    Cordon,
    Other,
}

/// Where a node is, by what its object says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// No upgrade is at it.
    Fresh,
    /// It is marked, and not yet asked for what we want.
    Preparing,
    /// It is asked.
    Asked,
    /// It is known what came of it.
    Ending,
}

impl Rollout {
    /// Of these nodes, in this order.
    pub fn new(terms: Terms, nodes: impl IntoIterator<Item = String>) -> Self {
        let order: Vec<_> = nodes.into_iter().collect();
        let members = order.iter().map(|name| (name.clone(), Member::default())).collect();
        let (others, now) = (BTreeSet::new(), Duration::ZERO);
        Self { terms, order, members, others, stopping: false, now }
    }

    /// Takes in what happened, and says what to do.
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Action> {
        self.now = now.max(self.now);
        self.take(event);
        self.advance()
    }

    /// Whether there is nothing more to do or to wait for.
    pub fn is_over(&self) -> bool {
        self.members.values().all(|member| match &member.outcome {
            Some(_) => member.changing.is_none() && (member.left.is_some() || !member.is_marked()),
            None => self.stopping && member.changing.is_none() && !member.is_marked(),
        })
    }

    /// What came of each node, in order, and why it was left marked if it was.
    pub fn outcomes(&self) -> Vec<(String, Outcome, Option<String>)> {
        let of = |name: &String| {
            let member = self.members.get(name)?;
            let outcome = member.outcome.clone().unwrap_or(Outcome::NotBegun);
            Some((name.clone(), outcome, member.left.clone()))
        };
        self.order.iter().filter_map(of).collect()
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Nodes(nodes) => {
                self.others.clear();
                let there: BTreeSet<_> = nodes.iter().map(|node| node.name.clone()).collect();
                nodes.into_iter().for_each(|node| self.see(node));
                for (name, member) in &mut self.members {
                    if !there.contains(name) {
                        member.node = None;
                    }
                }
            }
            Event::Node(node) => self.see(node),
            Event::NodeGone(name) => {
                self.others.remove(&name);
                if let Some(member) = self.members.get_mut(&name) {
                    member.node = None;
                }
            }
            Event::Pods(name, pods) => {
                if let Some(member) = self.members.get_mut(&name) {
                    member.evictions.retain(|uid, _| pods.iter().any(|pod| pod.uid == *uid));
                    member.pods = Some(pods);
                }
            }
            Event::Changed(name, changed) => self.changed(&name, changed),
            Event::Evicted(name, uid, answer) => {
                if let Some(member) = self.members.get_mut(&name) {
                    member.evicted(&uid, answer, self.now);
                }
            }
            Event::Tick => {}
        }
    }

    fn see(&mut self, node: Node) {
        let Some(member) = self.members.get_mut(&node.name) else {
            if node.mark.is_some() {
                self.others.insert(node.name);
            } else {
                self.others.remove(&node.name);
            }
            return;
        };
        // What came of a change is known before the watch tells of what was before it.
        if !member.node.as_ref().is_some_and(|known| node.is_before(known)) {
            member.node = Some(node);
        }
    }

    fn changed(&mut self, name: &str, changed: Changed) {
        let Some(member) = self.members.get_mut(name) else { return };
        member.changing = None;
        member.retry = None;
        match changed {
            Changed::To(node) | Changed::Conflict(node) => self.see(node),
            Changed::Later(after, why) => member.retry = Some((self.now + after, why)),
            Changed::Never(why) => {
                member.left = member.is_marked().then(|| why.clone());
                member.outcome.get_or_insert(Outcome::Forbidden(why));
            }
        }
    }
}

impl Member {
    fn is_marked(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.mark.is_some())
    }
}

#[cfg(test)]
mod tests;
