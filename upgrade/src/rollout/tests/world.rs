//! A model of a cluster: an API server with revisions, kubelets, updaters, pods and a budget. It asserts
//! at each change what must hold at every moment.

use std::collections::BTreeMap;
use std::time::Duration;

use formats::digest::Sha256;
use formats::fleet::{Asked, Looked, NEWEST, Phase, Status};

use crate::mark::Mark;
use crate::node::Node;
use crate::pods::{Fate, Losses, Owner, Pod};
use crate::rollout::{Action, Answer, Changed, Drain, Event, Terms, Uncordon};

/// How a node takes an upgrade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Well, with a pod that leaves when it is evicted.
    Good,
    /// The same, and it was cordoned before.
    Cordoned,
    /// The same, and its pod may go only after a while.
    Busy,
    /// The same, and it takes many steps.
    Slow,
    /// It runs the release already.
    Done,
    /// It tries the release and goes back.
    FallsBack,
    /// It does not take the release.
    Refuses,
    /// Its pod never may go.
    Blocked,
    /// It goes down and never comes back.
    Lost,
}

impl Manner {
    pub(super) const ALL: [Self; 9] = [
        Self::Good,
        Self::Cordoned,
        Self::Busy,
        Self::Slow,
        Self::Done,
        Self::FallsBack,
        Self::Refuses,
        Self::Blocked,
        Self::Lost,
    ];

    pub(super) fn is_good(self) -> bool {
        matches!(self, Self::Good | Self::Cordoned | Self::Busy | Self::Slow | Self::Done)
    }
}

/// A change of a node.
type Done = Box<dyn FnOnce(&mut Node)>;

#[derive(Debug)]
struct Machine {
    manner: Manner,
    /// Its object.
    node: Node,
    pods: Vec<Pod>,
    /// How often an eviction was refused.
    refused: u32,
    /// Which boot it is in, whatever its object says.
    boot: u32,
    /// The request that is served.
    served: Option<Asked>,
    /// How far it is with that.
    progress: u32,
}

#[derive(Debug)]
pub(super) struct World {
    machines: BTreeMap<String, Machine>,
    revision: u64,
    most: usize,
    /// What nodes are asked for.
    release: String,
    /// What they are asked when they are asked what is the newest for them.
    question: String,
    told: Vec<Event>,
    pub(super) now: Duration,
}

pub(super) fn terms(request: &str, most: usize) -> Terms {
    Terms {
        release: "1.2".to_owned(),
        request: request.to_owned(),
        max_unavailable: most,
        drain: Drain::Evict(Losses::default()),
        drain_limit: Duration::from_secs(200),
        node_limit: Duration::from_secs(1000),
    }
}

/// A node as it is before anything happens.
pub(super) fn node(name: &str, manner: Manner) -> Node {
    let version = if manner == Manner::Done { "1.2" } else { "1.1" };
    Node {
        name: name.to_owned(),
        revision: "1".to_owned(),
        unschedulable: manner == Manner::Cordoned,
        ready: Ok(()),
        boot_id: format!("{name} 0"),
        kubelet: "v1.36.3".to_owned(),
        architecture: "amd64".to_owned(),
        asked: None,
        look: None,
        status: Some(Ok(Status::new(version, Sha256::from_bytes([1; 32]), Phase::Idle))),
        mark: None,
    }
}

fn pod(node: &str, name: &str, owner: Owner) -> Pod {
    Pod {
        namespace: "n".to_owned(),
        name: name.to_owned(),
        uid: format!("{node} {name}"),
        node: node.to_owned(),
        labels: BTreeMap::new(),
        owner,
        has_data: false,
        is_finished: false,
        is_leaving: false,
    }
}

impl World {
    pub(super) fn new(manners: &[Manner], most: usize) -> Self {
        let machine = |(index, manner): (usize, &Manner)| {
            let name = format!("node-{index}");
            let pods =
                vec![pod(&name, "web", Owner::Controller), pod(&name, "proxy", Owner::DaemonSet)];
            let node = node(&name, *manner);
            let (manner, served) = (*manner, None);
            (name, Machine { manner, node, pods, refused: 0, boot: 0, served, progress: 0 })
        };
        let machines = manners.iter().enumerate().map(machine).collect();
        let (release, question) = ("1.2".to_owned(), String::new());
        let (told, now) = (Vec::new(), Duration::ZERO);
        Self { machines, revision: 1, most, release, question, told, now }
    }

    /// A call of this name asks for the newest release, of which nodes know themselves.
    pub(super) fn asked_for_the_newest(&mut self, question: &str) -> Terms {
        (self.release, self.question) = (NEWEST.to_owned(), question.to_owned());
        Terms { release: NEWEST.to_owned(), ..terms(question, self.most) }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.machines.keys().cloned().collect()
    }

    pub(super) fn objects(&self) -> Vec<Node> {
        self.machines.values().map(|machine| machine.node.clone()).collect()
    }

    pub(super) fn pods_of(&self, name: &str) -> Vec<Pod> {
        self.machines[name].pods.clone()
    }

    /// Another one after each change of anything.
    pub(super) fn moment(&self) -> (u64, usize) {
        let pods = self.machines.values().flat_map(|machine| &machine.pods);
        (self.revision, pods.map(|pod| 1 + usize::from(pod.is_leaving)).sum())
    }

    /// What a watch would tell now.
    pub(super) fn news(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.told)
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Node)) -> Node {
        self.revision += 1;
        let machine = self.machines.get_mut(name).unwrap();
        change(&mut machine.node);
        machine.node.revision = self.revision.to_string();
        let node = machine.node.clone();
        self.told.push(Event::Node(node.clone()));
        self.hold();
        node
    }

    /// What must hold at every moment.
    fn hold(&self) {
        let marked = self.machines.values().filter(|machine| machine.node.mark.is_some());
        assert!(marked.count() <= self.most, "{self:#?}");
        for machine in self.machines.values() {
            let Machine { manner, node, .. } = machine;
            let stays = *manner == Manner::Cordoned;
            assert!(!stays || node.unschedulable, "what was cordoned before is not any more");
            assert!(stays || !node.unschedulable || node.mark.is_some(), "a cordon without a mark");
        }
    }

    /// Does what the rollout wants, and says what the API server answers.
    pub(super) fn perform(&mut self, action: &Action) -> Event {
        let (change, done): (_, Done) = match action {
            Action::Evict(node, pod) => {
                let answer = self.evict(node, &pod.uid);
                return Event::Evicted(node.clone(), pod.uid.clone(), answer);
            }
            Action::Look(change) => {
                let question = self.question.clone();
                (change, Box::new(move |node| node.look = Some(question)))
            }
            Action::Cordon(change, mark) => {
                let mark = mark.clone();
                (
                    change,
                    Box::new(move |node| {
                        node.unschedulable = true;
                        node.mark = Some(Ok(mark));
                    }),
                )
            }
            Action::Ask(change, mark) => (change, self.ask(&change.node, mark.clone())),
            Action::LetGo(change, uncordon) => {
                let uncordon = *uncordon;
                let machine = &self.machines[&change.node];
                // What kubelet said in an earlier boot says nothing of the node in this one.
                let boot = format!("{} {}", change.node, machine.boot);
                assert_eq!(machine.node.boot_id, boot, "let go too early: {machine:#?}");
                (
                    change,
                    Box::new(move |node| {
                        node.mark = None;
                        if uncordon == Uncordon::Yes {
                            node.unschedulable = false;
                        }
                    }),
                )
            }
        };
        let name = change.node.clone();
        if self.machines[&name].node.revision != change.revision {
            return Event::Changed(
                name.clone(),
                Changed::Conflict(self.machines[&name].node.clone()),
            );
        }
        let node = self.change(&name, done);
        Event::Changed(name, Changed::To(node))
    }

    fn ask(&self, name: &str, mark: Mark) -> Done {
        let machine = &self.machines[name];
        assert!(machine.node.unschedulable && machine.node.mark.is_some(), "asked before a cordon");
        let stays = |pod: &Pod| pod.fate(Losses::default()) == Fate::Stays;
        assert!(machine.pods.iter().all(stays), "asked before its pods have gone");
        let request = mark.asked.as_ref().unwrap().request.clone();
        let release = self.release.clone();
        Box::new(move |node| {
            node.asked = Asked::read(Some(&release), Some(&request));
            node.mark = Some(Ok(mark));
        })
    }

    fn evict(&mut self, name: &str, uid: &str) -> Answer {
        let now = self.now;
        let machine = self.machines.get_mut(name).unwrap();
        let there = machine.pods.iter().any(|pod| pod.uid == uid && !pod.is_leaving);
        assert!(machine.node.unschedulable || !there, "evicted without a cordon");
        machine.refused += 1;
        let refuses = match machine.manner {
            Manner::Blocked => true,
            Manner::Busy => machine.refused <= 3,
            _ => false,
        };
        if refuses {
            let wait = Duration::from_secs(1 + now.as_secs() % 5);
            return Answer::Later(wait, "the budget allows none".to_owned());
        }
        for pod in machine.pods.iter_mut().filter(|pod| pod.uid == uid) {
            pod.is_leaving = true;
        }
        Answer::Goes
    }

    /// One machine does its next step.
    pub(super) fn live(&mut self, choice: usize) {
        let (index, rest) = (choice % self.machines.len(), choice / self.machines.len());
        let name = self.machines.keys().nth(index).unwrap().clone();
        let machine = self.machines.get_mut(&name).unwrap();
        machine.pods.retain(|pod| !pod.is_leaving);
        let kubelet = format!("{name} {}", machine.boot);
        let down = machine.manner == Manner::Lost && machine.progress > 2;
        // kubelet speaks at other times than the updater.
        if rest.is_multiple_of(3) && machine.node.boot_id != kubelet && !down {
            self.change(&name, |node| {
                node.boot_id = kubelet;
                node.ready = Ok(());
            });
            return;
        }
        // Who asks only what is the newest hears it at once.
        let known = machine.node.status().and_then(|status| status.looked.clone());
        let question = machine.node.look.clone().filter(|look| {
            machine.manner != Manner::Lost && known.is_none_or(|looked| looked.look != *look)
        });
        if let Some(look) = question {
            let silent = machine.manner == Manner::Refuses;
            let newest = (!silent).then(|| "1.2".to_owned());
            let reason = silent.then(|| "its channel is empty".to_owned());
            self.change(&name, |node| {
                if let Some(Ok(status)) = &mut node.status {
                    status.looked = Some(Looked { look, newest, reason });
                }
            });
            return;
        }
        let asked = machine.node.asked.clone();
        if asked != machine.served {
            machine.served = asked;
            machine.progress = 0;
        }
        let Some(asked) = machine.served.clone() else { return };
        self.serve(&name, &asked);
    }

    fn serve(&mut self, name: &str, asked: &Asked) {
        let machine = self.machines.get_mut(name).unwrap();
        machine.progress += 1;
        let slow = if machine.manner == Manner::Slow { 10 } else { 1 };
        let (manner, step) = (machine.manner, machine.progress / slow);
        let from = machine.node.status().unwrap().version.clone();
        let looked = machine.node.status().unwrap().looked.clone();
        let boot =
            machine.boot + u32::from(matches!((manner, step), (_, 3) | (Manner::FallsBack, 4)));
        let status = |version: &str, phase| {
            let boot_id = Some(format!("{name} {boot}"));
            let status = Status::new(version, Sha256::from_bytes([1; 32]), phase);
            Some(Ok(Status { boot_id, looked: looked.clone(), ..status }.about(asked)))
        };
        let new = match (manner, step) {
            (Manner::Refuses, 1) => {
                let mut status =
                    Status::new(from, Sha256::from_bytes([1; 32]), Phase::Refused).about(asked);
                status.reason = Some("of another image".to_owned());
                Some(Ok(status))
            }
            (Manner::Refuses, _) => return,
            // It runs already.
            (_, 1) if from == "1.2" => status("1.2", Phase::Idle),
            (_, 1) => status(&from, Phase::Staging),
            (_, 2) if from != "1.2" => status(&from, Phase::Restarting),
            (Manner::Lost, _) => return,
            (_, 3) if from != "1.2" => {
                machine.boot += 1;
                let phase = status("1.2", Phase::Trial);
                self.change(name, |node| node.status = phase);
                return;
            }
            (Manner::FallsBack, 4) => {
                machine.boot += 1;
                let reason = Some("the CRI does not answer".to_owned());
                status("1.1", Phase::FellBack).map(|it| it.map(|it| Status { reason, ..it }))
            }
            (_, 4) => status("1.2", Phase::Idle),
            _ => return,
        };
        self.change(name, |node| node.status = new);
    }
}
