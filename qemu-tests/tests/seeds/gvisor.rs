//! A pod in gVisor's sandbox, through the real API: what it sees, and what it can do.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use qemu_tests::process::run;
use qemu_tests::registry::{Content, Registry};
use qemu_tests::{Cluster, Node, Orlop, Setup};
use serde_json::{Value, json};

use crate::world::{BUSYBOX, world};

/// What a step in the cluster may take on a busy machine without KVM.
const LIMIT: Duration = Duration::from_secs(10 * 60);
/// The node.
const NODE: &str = "sandbox";

/// A pod of one container, of the image that the node brings.
fn pod(name: &str, class: Option<&str>, script: &str, more: Value) -> Value {
    let mut spec = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 2,
        "containers": [{
            "name": "main",
            "image": BUSYBOX,
            "command": ["/bin/sh", "-c", script],
            "volumeMounts": [
                { "name": "scratch", "mountPath": "/scratch" },
                { "name": "settings", "mountPath": "/settings" },
            ],
        }],
        "volumes": [
            { "name": "scratch", "emptyDir": {} },
            { "name": "settings", "configMap": { "name": "settings" } },
        ],
    });
    if let Some(class) = class {
        spec["runtimeClassName"] = class.into();
    }
    if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
        spec.extend(more);
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec })
}

fn runs(cluster: &Cluster, pod: &Value) -> Result<()> {
    let name = pod["metadata"]["name"].as_str().context("a name")?;
    cluster.apply(&pod.to_string())?;
    let ready = cluster.wait(&[&format!("pod/{name}"), "--for=condition=Ready"], LIMIT);
    ready.with_context(|| {
        let events = cluster.kubectl(["describe", "pod", name]);
        events.unwrap_or_else(|error| error.to_string())
    })
}

fn address(cluster: &Cluster, name: &str) -> Result<String> {
    let pod = cluster.get(&["pod", name])?;
    Ok(pod["status"]["podIP"].as_str().context("an address")?.to_owned())
}

pub(crate) fn a_pod_in_a_sandbox(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let cluster = Cluster::start(orlop, &[])?;
    let registry = Registry::serve(Content::default()).context("cannot serve a registry")?;
    cluster.wait(&["serviceaccount/default", "--for=create"], LIMIT)?;
    let classes = run(orlop.command().args(["manifests", "gvisor"]))?;
    cluster.apply(&classes)?;
    let settings = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "settings" },
        "data": { "word": "configured" },
    });
    cluster.apply(&settings.to_string())?;
    let setup = Setup { registry: Some(registry.port()), ..Setup::new(NODE) };
    let mut node = Node::start_image(orlop, &world.image, &cluster, &setup)?;
    node.ready(&cluster)?;

    let handlers = cluster.get(&["node", NODE])?["status"]["runtimeHandlers"].clone();
    let has = |name: &str| {
        handlers.as_array().is_some_and(|all| all.iter().any(|one| one["name"] == name))
    };
    ensure!(has("runc") && has("runsc"), "{handlers}");

    let serve = "echo served-by-$HOSTNAME > /scratch/index.html; echo serving; \
                 exec httpd -f -p 8080 -h /scratch";
    runs(&cluster, &pod("inside", Some("gvisor"), serve, json!({})))?;
    runs(&cluster, &pod("outside", None, serve, json!({})))?;

    // Its kernel is another one; the other pod's is the node's.
    let log = cluster.exec("inside", &["dmesg"])?;
    ensure!(log.contains("gVisor"), "{log}");
    let kernel = |pod: &str| cluster.exec(pod, &["uname", "-r"]);
    let (inside, outside) = (kernel("inside")?, kernel("outside")?);
    ensure!(inside != outside && outside.contains("amd64"), "{inside} and {outside}");

    // Exec with its exit status, logs, volumes.
    ensure!(cluster.exec("inside", &["sh", "-c", "exit 7"]).is_err());
    cluster.log_line("inside", "serving", LIMIT)?;
    ensure!(cluster.exec("inside", &["cat", "/settings/word"])?.trim() == "configured");
    cluster.exec("inside", &["sh", "-c", "echo kept > /scratch/file"])?;
    ensure!(cluster.exec("inside", &["cat", "/scratch/file"])?.trim() == "kept");

    // The network in both directions.
    for (from, to) in [("inside", "outside"), ("outside", "inside")] {
        let page = format!("http://{}:8080/", address(&cluster, to)?);
        let page = cluster.exec(from, &["wget", "-q", "-O", "-", &page])?;
        ensure!(page.trim() == format!("served-by-{to}"), "{from} got {page} of {to}");
    }

    // What the sandbox takes is counted with the pod.
    let overhead = cluster.get(&["pod", "inside"])?["spec"]["overhead"].clone();
    ensure!(overhead["memory"] == "64Mi", "{overhead}");

    // After it is deleted nothing of it is left; a pod that sees the host says so.
    let host = json!({ "hostPID": true });
    runs(&cluster, &pod("watcher", None, "tail -f /dev/null", host))?;
    // Names of programs alone: the watcher's own words hold none of them.
    let count = "cat /proc/[0-9]*/comm | grep -c '^[r]unsc\\|^[e]xe$' || true";
    let processes = || cluster.exec("watcher", &["sh", "-c", count]);
    let before = processes()?;
    ensure!(before.trim() != "0", "no process of the sandbox is seen");
    cluster.kubectl(["delete", "pod", "inside", "--wait", "--timeout=300s"])?;
    let after = processes()?;
    ensure!(after.trim() == "0", "{after} processes of the sandbox are left of {before}");
    ensure!(cluster.exec("outside", &["true"]).is_ok(), "the other pod lives on");

    // A class that no node has is refused where it is asked for.
    let refused = cluster.apply(&pod("other", Some("unknown"), serve, json!({})).to_string());
    ensure!(refused.is_err_and(|error| error.to_string().contains("unknown")));
    ensure!(registry.asked() == 0, "the registry was asked");
    node.power_off().map(drop)
}
