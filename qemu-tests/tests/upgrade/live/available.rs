//! The pods that an upgrade moves about: a Deployment with a budget, of which every change is seen as it
//! comes, and a DaemonSet, whose pods stay where they are.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, bail, ensure};
use qemu_tests::Cluster;
use serde_json::{Value, json};

use super::node::LIMIT;
use crate::api::Proxy;

/// How many pods the Deployment has.
const PODS: usize = 3;
/// How many of them its budget keeps.
pub(crate) const LEAST: usize = 2;
/// The image of all of them.
pub(crate) const IMAGE: &str = "registry.test/busybox:1";
/// A watch lasts longer than any test.
const FOR_EVER: &str = "timeoutSeconds=86400";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

/// Makes them, and waits until all run and the budget is counted.
pub(crate) fn start(cluster: &Cluster) -> Result<()> {
    for object in objects() {
        cluster.apply(&object.to_string())?;
    }
    cluster.watch(&["daemonset", "stays"], LIMIT, "each node has its pod", |set| {
        let status = &set["status"];
        status["numberReady"] == 2 && status["desiredNumberScheduled"] == 2
    })?;
    cluster.wait(&["deployment/web", "--for=condition=Available"], LIMIT)?;
    cluster.watch(&["poddisruptionbudget", "web"], LIMIT, "the budget is counted", |budget| {
        let status = &budget["status"];
        status["currentHealthy"] == PODS && status["desiredHealthy"] == LEAST
    })?;
    Ok(())
}

fn objects() -> [Value; 3] {
    let (web, stays) = (json!({ "app": "web" }), json!({ "app": "stays" }));
    let spread = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": { "matchLabels": web },
    }]);
    let serve = "trap exit TERM; mkdir -p /www && httpd -f -p 8080 -h /www & wait";
    let probe = json!({ "tcpSocket": { "port": 8080 }, "periodSeconds": 3, "timeoutSeconds": 10 });
    let pod = |labels: &Value, container: Value, more: Value| {
        let mut spec = json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 10,
            "containers": [container],
        });
        if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
            spec.extend(more);
        }
        json!({ "metadata": { "labels": labels }, "spec": spec })
    };
    let shell = |script: &str, more: Value| {
        let mut container =
            json!({ "name": "main", "image": IMAGE, "command": ["/bin/sh", "-c", script] });
        if let (Value::Object(container), Value::Object(more)) = (&mut container, more) {
            container.extend(more);
        }
        container
    };
    let server = shell(serve, json!({ "readinessProbe": probe }));
    let daemon = shell("trap exit TERM; tail -f /dev/null & wait", json!({}));
    [
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
            "spec": {
                "replicas": PODS,
                "selector": { "matchLabels": web },
                "template": pod(&web, server, json!({ "topologySpreadConstraints": spread })),
            },
        }),
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "web" },
            "spec": { "minAvailable": LEAST, "selector": { "matchLabels": web } },
        }),
        json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "stays" },
            "spec": {
                "selector": { "matchLabels": stays },
                "template": pod(&stays, daemon, json!({})),
            },
        }),
    ]
}

/// The pod of the DaemonSet on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Daemon {
    name: String,
    /// By its digest.
    image: String,
    /// Another one after each boot. kubelet's count of restarts goes back with the databases.
    container: String,
}

impl Daemon {
    fn of(pod: &Value) -> Option<Self> {
        let status = pod["status"]["containerStatuses"].get(0)?;
        Some(Self {
            name: pod["metadata"]["name"].as_str()?.to_owned(),
            image: status["imageID"].as_str()?.to_owned(),
            container: status["containerID"].as_str()?.to_owned(),
        })
    }

    pub(crate) fn on(cluster: &Cluster, node: &str) -> Result<Self> {
        let of = format!("--field-selector=spec.nodeName={node}");
        let pods = cluster.get(&["pods", "--selector=app=stays", &of])?;
        let pods = pods["items"].as_array().context("a list")?;
        let [pod] = &pods[..] else { bail!("{} pods of the DaemonSet on {node}", pods.len()) };
        Self::of(pod).with_context(|| format!("{pod:#}"))
    }

    /// Waits until it runs after one more boot: the same pod, with the same image.
    pub(crate) fn runs_again(&self, cluster: &Cluster) -> Result<Self> {
        let pod = cluster.watch(&["pod", &self.name], LIMIT, "it runs again", |pod| {
            let again = Self::of(pod).is_some_and(|it| it.container != self.container);
            again && pod["status"]["containerStatuses"][0]["ready"] == true
        })?;
        let again = Self::of(&pod).context("it runs")?;
        ensure!(again.image == self.image, "{self:?} became {again:?}");
        Ok(again)
    }
}

/// Counts the pods of the Deployment that are ready and not about to leave, and hears how many the Deployment
/// says are available.
pub(crate) struct Available {
    seen: Arc<Mutex<Seen>>,
    proxy: Proxy,
    threads: [JoinHandle<()>; 2],
}

#[derive(Debug, Default)]
struct Seen {
    /// By uid.
    ready: BTreeSet<String>,
    /// The fewest, since the first time that there were all: those that were counted, those that were told.
    fewest: [Option<usize>; 2],
    /// A watch that ended before the test did.
    ended: bool,
}

impl Seen {
    fn count(&mut self, which: usize, now: usize) {
        self.fewest[which] = match self.fewest[which] {
            None => (now == PODS).then_some(PODS),
            Some(fewest) => Some(fewest.min(now)),
        };
    }

    fn pod(&mut self, event: &Value) {
        let pod = &event["object"];
        let uid = pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let mut ready = conditions.filter(|it| it["type"] == "Ready" && it["status"] == "True");
        let stays = event["type"] != "DELETED" && pod["metadata"]["deletionTimestamp"].is_null();
        if stays && ready.next().is_some() {
            self.ready.insert(uid);
        } else {
            self.ready.remove(&uid);
        }
        self.count(0, self.ready.len());
    }

    fn deployment(&mut self, event: &Value) {
        let told = event["object"]["status"]["availableReplicas"].as_u64().unwrap_or(0);
        self.count(1, usize::try_from(told).unwrap_or(usize::MAX));
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Available {
    /// From now on.
    pub(crate) fn watch(cluster: &Cluster) -> Result<Self> {
        let (seen, proxy) = (Arc::<Mutex<Seen>>::default(), Proxy::start(cluster)?);
        let follow = |path: &str, query: &str, take: fn(&mut Seen, &Value)| -> Result<_> {
            let events = proxy.api.watch(path, &format!("{query}&{FOR_EVER}"))?;
            let seen = Arc::clone(&seen);
            Ok(std::thread::spawn(move || {
                events.for_each(|event| take(&mut lock(&seen), &event));
                lock(&seen).ended = true;
            }))
        };
        let pods = "/api/v1/namespaces/default/pods";
        let threads = [
            follow(pods, "labelSelector=app%3Dweb", Seen::pod)?,
            follow(DEPLOYMENTS, "fieldSelector=metadata.name%3Dweb", Seen::deployment)?,
        ];
        Ok(Self { seen, proxy, threads })
    }

    /// The fewest that were ready at once, and the fewest that were told to be available.
    pub(crate) fn end(self) -> Result<(usize, usize)> {
        let Self { seen, proxy, threads } = self;
        let [ready, told] = {
            let seen = lock(&seen);
            ensure!(!seen.ended, "a watch has ended by itself");
            seen.fewest
        };
        drop(proxy);
        threads.into_iter().for_each(|thread| drop(thread.join()));
        ready.zip(told).context("there were never as many pods as there shall be")
    }
}
