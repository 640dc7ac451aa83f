//! What is done with each node next.

use std::time::Duration;

use super::drain::{Drained, Eviction};
use super::judge::judge;
use super::{Action, Change, Changing, Drain, Member, Outcome, Rollout, Step, Terms, Uncordon};
use crate::mark::{Mark, Request};
use crate::node::Node;

/// How long a node may take to say which release is the newest for it: it may have to ask its channel again.
const LOOK_LIMIT: Duration = Duration::from_secs(600);

/// What a node needs that no upgrade is at.
enum Need {
    /// To be upgraded.
    Upgrade,
    /// Nothing: it runs this version.
    Nothing(String),
    /// To be asked which release is the newest for it.
    Look,
    /// To answer that.
    Answer,
    /// It cannot say: why.
    Unknown(String),
}

impl Rollout {
    pub(super) fn advance(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        // What is under way first: it may end in a failure, after which none is begun.
        for name in &self.order {
            let Some(member) = self.members.get_mut(name) else { continue };
            member.judge(&self.terms, self.now);
            self.stopping |= member.outcome.as_ref().is_some_and(Outcome::is_failure);
        }
        for name in &self.order {
            let Some(member) = self.members.get_mut(name) else { continue };
            member.go_on(&self.terms, self.stopping, self.now, &mut actions);
            self.stopping |= member.outcome.as_ref().is_some_and(Outcome::is_failure);
        }
        self.begin(&mut actions);
        actions
    }

    /// How many nodes are unavailable, or are about to be.
    fn taken(&self) -> usize {
        let takes =
            |member: &&Member| member.is_marked() || member.changing == Some(Changing::Cordon);
        self.members.values().filter(takes).count() + self.others.len()
    }

    fn begin(&mut self, actions: &mut Vec<Action>) {
        for index in 0..self.order.len() {
            let room = self.taken() < self.terms.max_unavailable;
            let Some(member) = self.members.get_mut(&self.order[index]) else { continue };
            if self.stopping || member.outcome.is_some() || member.step(&self.terms) != Step::Fresh
            {
                continue;
            }
            let Some(node) = &member.node else { continue };
            match member.need(node, &self.terms, self.now) {
                Need::Upgrade => {}
                Need::Nothing(version) => {
                    member.outcome = Some(Outcome::Already(version));
                    continue;
                }
                Need::Look => {
                    if member.changing.is_none() && !member.waits(self.now) {
                        actions.push(Action::Look(Change::of(node)));
                        member.changing = Some(Changing::Other);
                    }
                    continue;
                }
                Need::Answer => {
                    member.looking.get_or_insert(self.now);
                    continue;
                }
                Need::Unknown(why) => {
                    member.outcome = Some(Outcome::NotTaken(why));
                    self.stopping = true;
                    continue;
                }
            }
            if !room || member.changing.is_some() || member.waits(self.now) {
                continue;
            }
            if let Err(why) = &node.ready {
                member.outcome = Some(Outcome::Lost(format!("it is not Ready any more: {why}")));
                self.stopping = true;
                continue;
            }
            let mark = Mark { cordoned: !node.unschedulable, asked: None };
            actions.push(Action::Cordon(Change::of(node), mark));
            member.changing = Some(Changing::Cordon);
        }
    }

    /// When there may be something to do even if nothing happens.
    pub fn wake(&self) -> Option<Duration> {
        let limits = &self.terms;
        let times = self.members.values().filter(|member| member.left.is_none());
        let times = times.flat_map(|member| {
            let retry = member.retry.as_ref().map(|(time, _)| *time);
            let limit = member.since.and_then(|(step, since)| Some(since + limits.limit(step)?));
            let asked = member.looking.filter(|_| member.outcome.is_none());
            [retry, member.next_eviction(self.now), limit, asked.map(|since| since + LOOK_LIMIT)]
        });
        times.flatten().filter(|time| *time > self.now).min()
    }

    /// The nodes whose pods have to be told of.
    pub fn drained(&self) -> impl Iterator<Item = &str> {
        let members = self.members.iter();
        let preparing = members.filter(|(_, member)| {
            let cordoned = member.node.as_ref().is_some_and(|node| node.unschedulable);
            cordoned && member.outcome.is_none() && member.step(&self.terms) == Step::Preparing
        });
        let wanted = preparing.filter(|_| self.terms.drain != Drain::Leave);
        wanted.map(|(name, _)| name.as_str())
    }
}

impl Terms {
    fn limit(&self, step: Step) -> Option<Duration> {
        match step {
            Step::Fresh => None,
            Step::Preparing => Some(self.drain_limit),
            Step::Asked | Step::Ending => Some(self.node_limit),
        }
    }
}

impl Change {
    fn of(node: &Node) -> Self {
        Self { node: node.name.clone(), revision: node.revision.clone() }
    }
}

impl Member {
    /// What it needs. Where no version is known, it is for the node to say what is the newest for it.
    fn need(&self, node: &Node, terms: &Terms, now: Duration) -> Need {
        let known = terms.version().or(self.newest.as_deref());
        let version = match (known, node.looked(&terms.request)) {
            (Some(version), _) => version,
            (None, Some(looked)) => {
                let why = looked.reason.clone().unwrap_or_else(|| "it does not say why".to_owned());
                return Need::Unknown(why);
            }
            (None, None) if node.look.as_ref() != Some(&terms.request) => return Need::Look,
            (None, None) => {
                let late = self.looking.is_some_and(|since| now >= since + LOOK_LIMIT);
                let why = "it does not answer which release is the newest for it";
                return if late { Need::Unknown(why.to_owned()) } else { Need::Answer };
            }
        };
        if node.runs(version) { Need::Nothing(version.to_owned()) } else { Need::Upgrade }
    }

    pub(super) fn step(&self, terms: &Terms) -> Step {
        let Some(node) = self.node.as_ref().filter(|node| node.mark.is_some()) else {
            return Step::Fresh;
        };
        if self.outcome.is_some() {
            return Step::Ending;
        }
        match self.request(node, terms) {
            Some(_) => Step::Asked,
            None => Step::Preparing,
        }
    }

    /// What this node was asked for, if it is what we want.
    fn request<'a>(&self, node: &'a Node, terms: &Terms) -> Option<&'a Request> {
        let (request, asked) = (node.mark()?.asked.as_ref()?, node.asked.as_ref()?);
        let ours = asked.release == terms.release;
        (ours && asked.request.as_deref() == Some(&request.request)).then_some(request)
    }

    pub(super) fn waits(&self, now: Duration) -> bool {
        self.retry.as_ref().is_some_and(|(time, _)| *time > now)
    }

    /// Whether it is in a step for longer than it may be.
    fn is_late(&self, terms: &Terms, now: Duration) -> bool {
        let limit = self.since.and_then(|(step, since)| Some((since, terms.limit(step)?)));
        limit.is_some_and(|(since, limit)| now.saturating_sub(since) >= limit)
    }

    /// Finds out what came of it, if that can be said.
    pub(super) fn judge(&mut self, terms: &Terms, now: Duration) {
        if self.outcome.is_some() {
            return self.enter(terms, now);
        }
        self.enter(terms, now);
        // Once it has answered, whoever asks it after us takes nothing of that away.
        let looked = self.node.as_ref().and_then(|node| node.looked(&terms.request));
        if let Some(newest) = looked.and_then(|looked| looked.newest.as_ref()) {
            self.newest.get_or_insert_with(|| newest.clone());
        }
        let Some(node) = &self.node else {
            let gone = self.since.is_some().then(|| "there is no such node any more".to_owned());
            self.outcome = gone.clone().map(Outcome::Lost);
            self.left = gone;
            return;
        };
        let step = self.step(terms);
        let elsewhere = node.mark().and_then(|mark| mark.elsewhere(node, &terms.release));
        self.outcome = match (step, &node.mark) {
            (_, Some(Err(why))) => Some(Outcome::Forbidden(why.clone())),
            _ if elsewhere.is_some() => elsewhere.map(on_its_way).map(Outcome::Elsewhere),
            (Step::Asked, _) => {
                let request = self.request(node, terms);
                request.and_then(|request| judge(terms, node, request))
            }
            (Step::Preparing, _) => {
                let version = terms.version().filter(|version| node.runs(version));
                version.map(|version| Outcome::Already(version.to_owned()))
            }
            _ => None,
        };
        if let (Step::Asked, None, true) = (step, &self.outcome, self.is_late(terms, now)) {
            let why = self.where_it_is(terms);
            self.left = Some(why.clone());
            self.outcome = Some(Outcome::Lost(why));
        }
        if let Some(Outcome::Elsewhere(why)) = &self.outcome {
            self.left = Some(why.clone());
        }
        if let Some(Err(why)) = self.node.as_ref().and_then(|node| node.mark.as_ref()) {
            self.left = Some(why.clone());
        }
        self.enter(terms, now);
    }

    /// Notes since when it is in its step.
    fn enter(&mut self, terms: &Terms, now: Duration) {
        let step = self.step(terms);
        if self.since.is_none_or(|(before, _)| before != step) && self.node.is_some() {
            self.since = Some((step, now));
            if step != Step::Preparing {
                self.pods = None;
                self.evictions.retain(|_, eviction| eviction.is_on_its_way());
            }
        }
    }

    /// Does what comes next with a node that an upgrade is at.
    pub(super) fn go_on(
        &mut self,
        terms: &Terms,
        stopping: bool,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        if self.changing.is_some() || self.waits(now) || self.left.is_some() {
            return;
        }
        match self.step(terms) {
            Step::Fresh | Step::Asked => {}
            Step::Preparing if stopping => {
                self.outcome = Some(Outcome::NotBegun);
                self.enter(terms, now);
                self.let_go(terms, now, actions);
            }
            Step::Preparing => self.prepare(terms, now, actions),
            Step::Ending => self.let_go(terms, now, actions),
        }
    }

    fn prepare(&mut self, terms: &Terms, now: Duration, actions: &mut Vec<Action>) {
        let Some((node, mark)) = self.node.as_ref().and_then(|node| Some((node, node.mark()?)))
        else {
            return;
        };
        if !node.unschedulable {
            // Somebody has uncordoned it meanwhile, so that is what it shall be in the end.
            let mark = Mark { cordoned: true, asked: None };
            actions.push(Action::Cordon(Change::of(node), mark));
            self.changing = Some(Changing::Cordon);
            self.pods = None;
            return;
        }
        let asked = Request {
            request: terms.request.clone(),
            from: node.status().map(|status| status.version.clone()).unwrap_or_default(),
            boot_id: node.boot_id.clone(),
        };
        let mark = Mark { cordoned: mark.cordoned, asked: Some(asked) };
        let ask = Action::Ask(Change::of(node), mark);
        let name = node.name.clone();
        let drained = match terms.drain {
            Drain::Leave => Drained::Yes,
            Drain::Evict(may) => self.drain(may, now),
        };
        match drained {
            Drained::Yes => {
                actions.push(ask);
                self.changing = Some(Changing::Other);
            }
            Drained::NotYet(_) if self.is_late(terms, now) => {
                self.outcome = Some(Outcome::PodsRemain(self.where_it_is(terms)));
                self.enter(terms, now);
                self.let_go(terms, now, actions);
            }
            Drained::NotYet(pods) => {
                for pod in pods {
                    self.evictions.insert(pod.uid.clone(), Eviction::Asked);
                    actions.push(Action::Evict(name.clone(), pod));
                }
            }
            Drained::Never(why) => {
                self.outcome = Some(Outcome::PodsRemain(why));
                self.enter(terms, now);
                self.let_go(terms, now, actions);
            }
        }
    }

    fn let_go(&mut self, terms: &Terms, now: Duration, actions: &mut Vec<Action>) {
        let Some((node, mark)) = self.node.as_ref().and_then(|node| Some((node, node.mark()?)))
        else {
            return;
        };
        // Somebody has taken it over meanwhile, and lets it go when he is done.
        if let Some(release) = mark.elsewhere(node, &terms.release) {
            self.left = Some(on_its_way(release));
            return;
        }
        // Whoever is evicted goes to another node, and so only while this one is cordoned.
        if self.evictions.values().any(Eviction::is_on_its_way) {
            return;
        }
        // A node that was not restarted is as ready as it was before.
        let restarted = matches!(
            self.outcome,
            Some(Outcome::Upgraded { .. } | Outcome::FellBack(_) | Outcome::Already(_))
        );
        // One that was tried and left has restarted, and kubelet's word of before that stands until it says
        // something new.
        let asked =
            mark.asked.as_ref().filter(|_| matches!(self.outcome, Some(Outcome::FellBack(_))));
        let silent =
            asked.is_some_and(|asked| asked.boot_id == node.boot_id || !node.kubelet_has_spoken());
        let against = match &node.ready {
            Err(why) if restarted => Some(format!("it is not Ready: {why}")),
            _ => silent.then(|| "its kubelet has not spoken since the restart".to_owned()),
        };
        if against.is_some() {
            if self.is_late(terms, now) {
                self.left = against;
            }
            return;
        }
        let uncordon = if mark.cordoned { Uncordon::Yes } else { Uncordon::No };
        actions.push(Action::LetGo(Change::of(node), uncordon));
        self.changing = Some(Changing::Other);
    }
}

fn on_its_way(release: &str) -> String {
    format!("another call is bringing it to {release}")
}
