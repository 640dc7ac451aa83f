//! Releases whose kubelet is bad, on a node of a cluster whose owner wants it Ready: the node comes back
//! to what it ran, and so do its pods.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use qemu_tests::releases::{Bad, Base, Releases, Variant};
use qemu_tests::{Cluster, Orlop};
use serde_json::{Value, json};

use crate::bad::Patient;
use crate::server::Server;
use crate::world::seen_by_guests;

/// What a step in the cluster may take on a busy machine without KVM.
const LIMIT: Duration = Duration::from_secs(15 * 60);
const NAME: &str = "tried";
/// A pod that the node config brings, by the name that the API server has it by, and one of the cluster's.
const PODS: [&str; 2] = ["static-tried", "other"];

/// The same container for both. The image is part of the root.
const CONTAINERS: &str =
    r#"[{ "name": "main", "image": "orlop.dev/pause:1", "imagePullPolicy": "Never" }]"#;

/// kubelet that ends, and one that runs and never makes the node Ready.
pub(crate) fn left(orlop: &Orlop) -> Result<()> {
    let releases = Releases::new(orlop)?;
    let first = releases.build(orlop, &Variant::new(Base::Node, "1.1"))?;
    let bad = [Bad::KubeletEnds, Bad::NeverReady];
    let server = Server::start(&releases.site());
    let channel = seen_by_guests(&server)?;
    let cluster = Cluster::start(orlop, &[])?;
    cluster.wait(&["serviceaccount/default", "--for=create"], LIMIT)?;

    let update = releases.config(&channel, "deadline = 240\nnode-ready = true\n")?;
    let mut patient = Patient::new(orlop, &first, &(joins(&cluster) + &update))?;
    cluster.wait(&[&format!("node/{NAME}"), "--for=condition=Ready"], LIMIT)?;
    cluster.apply(&pod(PODS[1]).to_string())?;
    for (number, bad) in bad.into_iter().enumerate() {
        let release = bad.variant(&format!("2.{number}"), "")?;
        let release = releases.release(orlop, &release)?;
        let [fixed, other] = PODS.map(|pod| runs(&cluster, pod, None));
        let before = [fixed?, other?];
        patient.falls_back(bad, &release).with_context(|| format!("{bad:?}"))?;
        for (pod, container) in PODS.iter().zip(before) {
            runs(&cluster, pod, Some(&container)).with_context(|| format!("after {bad:?}"))?;
        }
    }
    patient.ends()
}

/// A node config that joins the cluster, but for the update.
fn joins(cluster: &Cluster) -> String {
    let facts = &cluster.facts;
    let (server, token, ca) = (&facts.guest_server, &facts.token, &facts.ca);
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "static" },
        "spec": { "containers": containers() },
    });
    format!(
        "hostname = \"{NAME}\"\n\
         [kubernetes]\nserver = \"{server}\"\ntoken = \"{token}\"\nca = '''\n{ca}'''\n\
         [kubernetes.static-pods]\nstatic = '''\n{pod}\n'''\n\
         [cni]\nbridge = \"10.88.0.0/16\"\n"
    )
}

fn containers() -> Value {
    serde_json::from_str(CONTAINERS).unwrap_or_default()
}

fn pod(name: &str) -> Value {
    // The node is away for longer than a pod may wait that does not say so.
    let tolerations = json!([{ "operator": "Exists" }]);
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": {
            "containers": containers(), "automountServiceAccountToken": false,
            "tolerations": tolerations,
        },
    })
}

/// Waits until a pod is ready, in another container than this one, and says in which.
fn runs(cluster: &Cluster, name: &str, before: Option<&str>) -> Result<String> {
    let container = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        let id = status["containerID"].as_str().filter(|_| status["ready"] == true);
        id.map(str::to_owned)
    };
    // A pod that the node config brings is at the API server some time after it runs.
    cluster.wait(&[&format!("pod/{name}"), "--for=create"], LIMIT)?;
    let is_another = |pod: &Value| {
        let now = container(pod);
        now.is_some() && now.as_deref() != before
    };
    let pod = cluster.watch(&["pod", name], LIMIT, "the pod runs", is_another)?;
    ensure!(pod["spec"]["nodeName"] == NAME, "{pod:#}");
    container(&pod).context("it is ready")
}
