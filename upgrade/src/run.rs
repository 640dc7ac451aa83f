//! An upgrade under way: what [`Rollout`] says is done, and what comes of it is told to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use crate::api::{Api, Refusal, Seen, follow};
use crate::node::{self, Node};
use crate::pods::{self, Pod};
use crate::rollout::{Action, Event, Outcome, Rollout, Shown, Terms};

/// Who can stop an upgrade: from another thread, such as one that waits for signals.
#[derive(Debug, Clone)]
pub struct Stop(UnboundedSender<Message>);

impl Stop {
    /// Nothing more is begun or waited for. What was changed stays.
    pub fn stop(&self) {
        // It may be over.
        let _ = self.0.send(Message::Stop);
    }
}

/// What a person is told.
#[derive(Debug)]
pub enum News<'a> {
    /// Where each node is.
    Shown(&'a [Shown]),
    /// The API server is not heard for now.
    Silence(&'a Refusal),
}

/// How an upgrade ended.
#[derive(Debug)]
pub enum Ended {
    /// All was done that could be: what came of each node, and why it was left marked if it was.
    Over(Vec<(String, Outcome, Option<String>)>),
    /// It was stopped: where each node was.
    Stopped(Vec<Shown>),
}

#[derive(Debug)]
enum Message {
    Event(Box<Event>),
    Silence(Refusal),
    Never(Refusal),
    Stop,
}

impl Message {
    fn of(event: Event) -> Self {
        Self::Event(Box::new(event))
    }
}

/// An upgrade that can be run.
#[derive(Debug)]
pub struct Run {
    api: Api,
    terms: Terms,
    rollout: Rollout,
    sender: UnboundedSender<Message>,
    inbox: UnboundedReceiver<Message>,
}

/// Tasks that end with it.
#[derive(Debug, Default)]
struct Watches(BTreeMap<String, AbortHandle>);

impl Drop for Watches {
    fn drop(&mut self) {
        self.0.values().for_each(AbortHandle::abort);
    }
}

impl Run {
    /// Of these nodes, in this order.
    pub fn new(api: Api, terms: Terms, nodes: impl IntoIterator<Item = String>) -> Self {
        let (sender, inbox) = mpsc::unbounded_channel();
        let rollout = Rollout::new(terms.clone(), nodes);
        Self { api, terms, rollout, sender, inbox }
    }

    /// What stops it.
    pub fn stop(&self) -> Stop {
        Stop(self.sender.clone())
    }

    /// Runs it to its end. To be called in a runtime of one thread or more.
    ///
    /// # Errors
    /// The API server does not let us see nodes or pods.
    pub async fn run(mut self, tell: &mut dyn FnMut(News<'_>)) -> Result<Ended, Refusal> {
        let start = Instant::now();
        let mut pods = Watches::default();
        let mut nodes = Watches::default();
        nodes.0.insert(String::new(), self.watch_nodes());
        let mut shown = Vec::new();
        loop {
            let wake = self.rollout.wake().map_or(Duration::from_secs(3600), |wake| wake);
            let event = match timeout_at(start + wake, self.inbox.recv()).await {
                Ok(Some(Message::Event(event))) => *event,
                Ok(Some(Message::Silence(refusal))) => {
                    tell(News::Silence(&refusal));
                    continue;
                }
                Ok(Some(Message::Never(refusal))) => return Err(refusal),
                // We hold a sender ourselves, so it does not end.
                Ok(Some(Message::Stop) | None) => return Ok(Ended::Stopped(self.rollout.shown())),
                Err(_) => Event::Tick,
            };
            for action in self.rollout.step(event, start.elapsed()) {
                self.perform(action);
            }
            self.watch_pods(&mut pods);
            let now = self.rollout.shown();
            if now != shown {
                tell(News::Shown(&now));
                shown = now;
            }
            if self.rollout.is_over() {
                return Ok(Ended::Over(self.rollout.outcomes()));
            }
        }
    }

    fn watch_nodes(&self) -> AbortHandle {
        let (api, sender) = (self.api.clone(), self.sender.clone());
        let task = async move {
            let tell = |seen: Seen<node::Object>| {
                sender.send(match seen {
                    Seen::All(nodes) => {
                        Message::of(Event::Nodes(nodes.into_iter().map(Node::of).collect()))
                    }
                    Seen::One(node) => Message::of(Event::Node(Node::of(node))),
                    Seen::Gone(node) => Message::of(Event::NodeGone(node.metadata.name)),
                    Seen::Nothing(refusal) => Message::Silence(refusal),
                    Seen::Never(refusal) => Message::Never(refusal),
                })
            };
            follow(api, "/api/v1/nodes", "", |seen| tell(seen).map_err(drop)).await;
        };
        tokio::spawn(task).abort_handle()
    }

    /// Watches the pods of those nodes whose pods are wanted to be known, and of no others.
    fn watch_pods(&self, watches: &mut Watches) {
        let wanted: BTreeSet<_> = self.rollout.drained().map(str::to_owned).collect();
        watches.0.retain(|node, watch| {
            let stays = wanted.contains(node);
            if !stays {
                watch.abort();
            }
            stays
        });
        for node in wanted {
            let name = node.clone();
            watches.0.entry(node).or_insert_with(|| self.watch_pods_of(name));
        }
    }

    fn watch_pods_of(&self, node: String) -> AbortHandle {
        let (api, sender) = (self.api.clone(), self.sender.clone());
        let task = async move {
            let mut known: BTreeMap<String, Pod> = BTreeMap::new();
            let query = format!("fieldSelector=spec.nodeName%3D{node}");
            let tell = |seen: Seen<pods::Object>| {
                let by_uid = |pod: pods::Object| (pod.metadata.uid.clone(), Pod::of(pod));
                match seen {
                    Seen::All(pods) => known = pods.into_iter().map(by_uid).collect(),
                    Seen::One(pod) => known.extend([by_uid(pod)]),
                    Seen::Gone(pod) => _ = known.remove(&pod.metadata.uid),
                    Seen::Nothing(refusal) => {
                        return sender.send(Message::Silence(refusal)).map_err(drop);
                    }
                    Seen::Never(refusal) => {
                        return sender.send(Message::Never(refusal)).map_err(drop);
                    }
                }
                let event = Event::Pods(node.clone(), known.values().cloned().collect());
                sender.send(Message::of(event)).map_err(drop)
            };
            follow(api, "/api/v1/pods", &query, tell).await;
        };
        tokio::spawn(task).abort_handle()
    }

    /// Does it beside all else, and tells what came of it.
    fn perform(&self, action: Action) {
        let (api, terms, sender) = (self.api.clone(), self.terms.clone(), self.sender.clone());
        tokio::spawn(async move {
            let event = match action {
                Action::Evict(node, pod) => {
                    let answer = api.evict(&pod).await;
                    Event::Evicted(node, pod.uid, answer)
                }
                Action::Look(ref change)
                | Action::Cordon(ref change, _)
                | Action::Ask(ref change, _)
                | Action::LetGo(ref change, _) => {
                    Event::Changed(change.node.clone(), api.change(&terms, &action).await)
                }
            };
            // Nobody may listen any more.
            let _ = sender.send(Message::of(event));
        });
    }
}

/// What runs an upgrade: one thread, inside of the command.
#[derive(Debug)]
pub struct Runtime(tokio::runtime::Runtime);

impl Runtime {
    /// Makes one.
    ///
    /// # Errors
    /// The host has no more file descriptors.
    pub fn new() -> std::io::Result<Self> {
        tokio::runtime::Builder::new_current_thread().enable_all().build().map(Self)
    }

    /// Waits for what is asked of an [`Api`] or a [`Run`].
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.0.block_on(work)
    }
}
