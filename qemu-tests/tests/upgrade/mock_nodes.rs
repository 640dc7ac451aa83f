//! A mock: nodes without a machine. Each is a Node object with the parts of kubelet and of the updater
//! that `orlop upgrade` meets: heartbeats, pods that run and end, and the annotations by which a node is
//! asked for a release and answers. What a real node does is shown elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use formats::digest::Sha256;
use formats::fleet::{self, Asked, Fallback, Phase, Status};
use formats::moment::Moment;
use qemu_tests::Cluster;
use serde_json::{Value, json};

use crate::api::{Api, Proxy};

/// What the nodes run at first.
pub(crate) const OLD: &str = "1.1";
/// Between two heartbeats: the control plane gives a node up after 50 s of silence.
const BEAT: Duration = Duration::from_secs(10);

/// How a node takes a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Well.
    Good,
    /// It is cordoned before anything begins, and takes it well.
    Cordoned,
    /// It tries it and goes back.
    FallsBack,
    /// It does not take it.
    Refuses,
}

/// Nodes under way. Dropped, they and their pods are gone.
pub(crate) struct MockNodes {
    shared: Arc<Shared>,
    /// Ends the heartbeats when it is dropped.
    beats: Option<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
    /// Ends the watches when it is dropped.
    proxy: Option<Proxy>,
    pub(crate) api: Api,
}

struct Shared {
    api: Api,
    manners: BTreeMap<String, Manner>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Nodes that stop half-way through staging until they may go on.
    held: BTreeSet<String>,
    /// Pods that are healthy, by uid.
    healthy: BTreeSet<String>,
    /// The fewest that were, since the first time that there were as many as were wanted.
    fewest: Option<usize>,
    /// Nodes with the mark of an upgrade.
    marked: BTreeSet<String>,
    /// The most that were at once.
    most_marked: usize,
    ends: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MockNodes {
    /// Makes nodes of these names. All are Ready, and known to the control plane's controllers, when this
    /// returns; they have the label `fleet` with this value.
    pub(crate) fn start(cluster: &Cluster, fleet: &str, nodes: &[(&str, Manner)]) -> Result<Self> {
        let proxy = Proxy::start(cluster)?;
        let api = proxy.api;
        let manners = nodes.iter().map(|(name, manner)| ((*name).to_owned(), *manner)).collect();
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { api, manners, state, changed });
        for (name, manner) in nodes {
            make(api, fleet, name, *manner)?;
        }
        let (beats, ends) = mpsc::channel::<()>();
        let mut threads = Vec::new();
        let ours = Arc::clone(&shared);
        threads.push(thread::spawn(move || {
            for beat in 1.. {
                for name in ours.manners.keys() {
                    // A server that is going down is asked no more.
                    drop(heartbeat(api, name, beat));
                }
                if ends.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        }));
        let ours = Arc::clone(&shared);
        threads.push(thread::spawn(move || drop(run_pods(&ours))));
        let (ours, label) = (Arc::clone(&shared), fleet.to_owned());
        threads.push(thread::spawn(move || drop(count_marks(&ours, &label))));
        for name in shared.manners.keys() {
            let (ours, name) = (Arc::clone(&shared), name.clone());
            threads.push(thread::spawn(move || drop(run_node(&ours, &name))));
        }
        let nodes = Self { shared, beats: Some(beats), threads, proxy: Some(proxy), api };
        nodes.settle(cluster)?;
        Ok(nodes)
    }

    /// Waits until the controllers have done with nodes that are new or were uncordoned: no taint is left but that of a cordon.
    ///
    /// As kubelet does, a node says again how it is while it waits. The controller takes the first taint
    /// away when the node changes and only then: where it read the node before the change before, nothing
    /// but a next change makes it look again.
    pub(crate) fn settle(&self, cluster: &Cluster) -> Result<()> {
        let end = Instant::now() + crate::LIMIT;
        for name in self.shared.manners.keys() {
            let mut beat = 0;
            while let Err(error) = settled(cluster, name) {
                if Instant::now() > end {
                    return Err(error);
                }
                beat += 1;
                let mut status = kubelet(name, 0, true);
                status["status"]["conditions"][0]["lastHeartbeatTime"] = time(beat).into();
                self.api.good("PATCH", &format!("{}/status", path(name)), &status)?;
            }
        }
        Ok(())
    }

    /// From now on this node stops half-way through staging.
    pub(crate) fn hold(&self, name: &str) {
        self.shared.state().held.insert(name.to_owned());
    }

    /// It goes on.
    pub(crate) fn go_on(&self, name: &str) {
        self.shared.state().held.remove(name);
        self.shared.changed.notify_all();
    }

    /// The fewest pods with the label `app` that were healthy at once, once there had been two.
    pub(crate) fn fewest_healthy(&self) -> Option<usize> {
        self.shared.state().fewest
    }

    /// The most nodes that had the mark of an upgrade at once.
    pub(crate) fn most_marked(&self) -> usize {
        self.shared.state().most_marked
    }

    /// A Node object.
    pub(crate) fn node(&self, name: &str) -> Result<Value> {
        self.api.get(&path(name))
    }
}

impl Drop for MockNodes {
    fn drop(&mut self) {
        for name in self.shared.manners.keys() {
            drop(self.api.call("DELETE", &path(name), &Value::Null));
        }
        self.shared.state().ends = true;
        self.shared.changed.notify_all();
        drop((self.beats.take(), self.proxy.take()));
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Waits until a new node has no taint but that of a cordon, for as long as three heartbeats.
fn settled(cluster: &Cluster, name: &str) -> Result<Value> {
    cluster.watch(&["node", name], 3 * BEAT, "a new node settles", |node| {
        let taints = node["spec"]["taints"].as_array();
        let ours = |taint: &Value| taint["key"] == "node.kubernetes.io/unschedulable";
        let cordoned = node["spec"]["unschedulable"] == true;
        let taints: Vec<_> = taints.into_iter().flatten().collect();
        taints.iter().all(|taint| ours(taint)) && taints.len() == usize::from(cordoned)
    })
}

fn path(name: &str) -> String {
    format!("/api/v1/nodes/{name}")
}

fn text(version: &str) -> Status {
    Status::new(version, Sha256::of(version), Phase::Idle)
}

fn boot_id(name: &str, boot: u32) -> String {
    let hash = Sha256::of(format!("{name} {boot}")).to_string();
    format!("{}-{}-{}-{}-{}", &hash[..8], &hash[8..12], &hash[12..16], &hash[16..20], &hash[20..32])
}

/// What kubelet says of itself in a boot.
fn kubelet(name: &str, boot: u32, ready: bool) -> Value {
    let (status, reason) =
        if ready { ("True", "KubeletReady") } else { ("False", "KubeletNotReady") };
    let message = if ready { "kubelet is ready" } else { "kubelet has just started" };
    json!({ "status": {
        "capacity": { "cpu": "4", "memory": "8Gi", "pods": "110" },
        "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "110" },
        "conditions": [{
            "type": "Ready", "status": status, "reason": reason, "message": message,
        }],
        "nodeInfo": {
            "bootID": boot_id(name, boot), "kubeletVersion": "v1.36.3", "architecture": "amd64",
            "osImage": "a mock", "kernelVersion": "6.12", "containerRuntimeVersion": "mock://1",
            "kubeProxyVersion": "", "machineID": name, "operatingSystem": "linux", "systemUUID": name,
        },
    }})
}

fn make(api: Api, fleet: &str, name: &str, manner: Manner) -> Result<()> {
    let labels = json!({ "fleet": fleet, "kubernetes.io/hostname": name });
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name, "labels": labels, "annotations": { fleet::STATUS: text(OLD).text() },
        },
        "spec": { "unschedulable": manner == Manner::Cordoned },
    });
    api.good("POST", "/api/v1/nodes", &node)?;
    api.good("PATCH", &format!("{}/status", path(name)), &kubelet(name, 0, true))?;
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": name },
        "spec": { "holderIdentity": name, "leaseDurationSeconds": 40 },
    });
    // One of an earlier node of this name is as good.
    api.call("POST", LEASES, &lease)?;
    heartbeat(api, name, 0)
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// The time of a heartbeat. That it rises is all that matters of it.
fn time(beat: i64) -> String {
    Moment::at(2_000_000_000 + beat).rfc3339()
}

fn heartbeat(api: Api, name: &str, beat: i64) -> Result<()> {
    let renewed = json!({ "spec": { "renewTime": time(beat).replace('Z', ".000000Z") } });
    api.good("PATCH", &format!("{LEASES}/{name}"), &renewed).map(drop)
}

/// kubelet's part for all pods of all nodes.
fn run_pods(shared: &Shared) -> Result<()> {
    let api = shared.api;
    for event in api.watch("/api/v1/pods", "")? {
        let (kind, pod) = (&event["type"], &event["object"]);
        let of = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if !shared.manners.contains_key(node) {
            continue;
        }
        let leaves = pod["metadata"]["deletionTimestamp"].is_string();
        let path = format!("/api/v1/namespaces/{}/pods/{}", of("namespace"), of("name"));
        let conditions = pod["status"]["conditions"].as_array();
        let ready = conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        if pod["metadata"]["labels"]["app"].is_string() {
            let mut state = shared.state();
            if ready && !leaves && *kind != "DELETED" {
                state.healthy.insert(of("uid"));
            } else {
                state.healthy.remove(&of("uid"));
            }
            let healthy = state.healthy.len();
            state.fewest = match state.fewest {
                None => (healthy == 2).then_some(2),
                Some(fewest) => Some(fewest.min(healthy)),
            };
        }
        if *kind == "DELETED" {
            continue;
        }
        if leaves {
            let now = json!({ "gracePeriodSeconds": 0 });
            // It may have gone meanwhile.
            api.call("DELETE", &path, &now)?;
        } else if !ready {
            let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
                .map(|name| json!({ "type": name, "status": "True" }));
            let running = json!({ "status": { "phase": "Running", "conditions": conditions } });
            api.call("PATCH", &format!("{path}/status"), &running)?;
        }
    }
    Ok(())
}

/// Counts the nodes with the mark of an upgrade: by one watch of all of them, for what different watches tell
/// comes in no order.
fn count_marks(shared: &Shared, fleet: &str) -> Result<()> {
    let query = format!("labelSelector=fleet%3D{fleet}");
    for event in shared.api.watch("/api/v1/nodes", &query)? {
        let metadata = &event["object"]["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        let mut state = shared.state();
        if metadata["annotations"]["orlop.dev/cordoned-by-upgrade"].is_string() {
            state.marked.insert(name.to_owned());
        } else {
            state.marked.remove(name);
        }
        state.most_marked = state.most_marked.max(state.marked.len());
    }
    Ok(())
}

/// The updater's part, and kubelet's at a restart.
fn run_node(shared: &Shared, name: &str) -> Result<()> {
    let api = shared.api;
    let mut updater = Updater { shared, name, boot: 0, version: OLD.to_owned(), fallback: None };
    let mut served = None;
    for event in api.watch("/api/v1/nodes", &format!("fieldSelector=metadata.name%3D{name}"))? {
        let annotations = &event["object"]["metadata"]["annotations"];
        let asked =
            Asked::read(annotations[fleet::RELEASE].as_str(), annotations[fleet::REQUEST].as_str());
        if asked.is_some() && asked != served {
            served.clone_from(&asked);
            updater.serve(&asked.context("it is there")?)?;
        }
    }
    Ok(())
}

struct Updater<'a> {
    shared: &'a Shared,
    name: &'a str,
    boot: u32,
    version: String,
    fallback: Option<Fallback>,
}

impl Updater<'_> {
    fn serve(&mut self, asked: &Asked) -> Result<()> {
        let Ok(Some(version)) = asked.version() else { return Ok(()) };
        if version == self.version {
            return self.say(asked, Phase::Idle, None, None);
        }
        let manner = self.shared.manners.get(self.name).context("it is one of ours")?;
        if *manner == Manner::Refuses {
            return self.say(asked, Phase::Refused, None, Some("it is of another image"));
        }
        self.say(asked, Phase::Staging, Some(0), None)?;
        self.say(asked, Phase::Staging, Some(42), None)?;
        let held = |state: &mut State| state.held.contains(self.name) && !state.ends;
        drop(self.shared.changed.wait_while(self.shared.state(), held));
        self.say(asked, Phase::Staging, Some(100), None)?;
        self.say(asked, Phase::Restarting, None, None)?;
        let old = std::mem::replace(&mut self.version, version.to_owned());
        self.restart(false)?;
        self.say(asked, Phase::Trial, None, None)?;
        if *manner == Manner::FallsBack {
            let reason = "the CRI does not answer";
            self.version = old;
            self.fallback =
                Some(Fallback { version: version.to_owned(), reason: reason.to_owned(), time: 1 });
            self.restart(true)?;
            return self.say(asked, Phase::FellBack, None, Some(reason));
        }
        // The updater may be quicker than kubelet.
        self.say(asked, Phase::Idle, None, None)?;
        self.kubelet(true)
    }

    fn restart(&mut self, ready: bool) -> Result<()> {
        self.boot += 1;
        self.kubelet(ready)
    }

    fn kubelet(&self, ready: bool) -> Result<()> {
        let status = kubelet(self.name, self.boot, ready);
        let path = format!("{}/status", path(self.name));
        self.shared.api.good("PATCH", &path, &status).map(drop)
    }

    fn say(
        &self,
        asked: &Asked,
        phase: Phase,
        percent: Option<u8>,
        reason: Option<&str>,
    ) -> Result<()> {
        let mut status = text(&self.version).about(asked);
        status.phase = phase;
        status.percent = percent;
        status.reason = reason.map(str::to_owned);
        status.fallback.clone_from(&self.fallback);
        let patch = json!({ "metadata": { "annotations": { fleet::STATUS: status.text() } } });
        self.shared.api.good("PATCH", &path(self.name), &patch).map(drop)
    }
}
