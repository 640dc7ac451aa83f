//! Certificates that the cluster signs for a node after it has joined.

use anyhow::{Context as _, Result, ensure};
use qemu_tests::process::{command, run};
use qemu_tests::{Node, Orlop, Setup};
use serde_json::json;

use crate::world::{LIMIT, pod, removed, runs, script, world};

/// The control plane signs for four minutes, so kubelet asks for the next certificate soon.
pub(crate) fn the_client_certificate_is_rotated(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let (cluster, node) = (&world.cluster, world.worker(orlop)?);
    let by_node = format!("system:node:{node}");
    let selector =
        ["csr", "--field-selector", "spec.signerName=kubernetes.io/kube-apiserver-client-kubelet"];
    cluster.watch(&selector, LIMIT, "a request by the node itself", |request| {
        request["spec"]["username"] == by_node.as_str()
            && request["status"]["certificate"].is_string()
    })?;
    // It works with the new one: a pod still comes and goes.
    let pod = runs(cluster, &script("rotated", node, "tail -f /dev/null"))?;
    removed(cluster, &pod)
}

/// Nobody approves such a request by himself: the test does what an administrator does.
pub(crate) fn a_serving_certificate_by_the_cluster(orlop: &Orlop) -> Result<()> {
    const NAME: &str = "server-tls";
    const PKI: &str = "/var/lib/kubelet/pki";
    let pair = format!("{PKI}/kubelet-server-current.pem");
    let world = world(orlop)?;
    let cluster = &world.cluster;
    let kubernetes = "serving-certificate = \"bootstrap\"\n";
    let mut node = Node::start(orlop, cluster, &Setup { kubernetes, ..world.setup(NAME) })?;
    node.ready(cluster)?;

    let by_node = format!("system:node:{NAME}");
    let selector = ["csr", "--field-selector", "spec.signerName=kubernetes.io/kubelet-serving"];
    let request = cluster.watch(&selector, LIMIT, "a request of the node", |request| {
        request["spec"]["username"] == by_node.as_str()
    })?;
    let request = request["metadata"]["name"].as_str().context("a request has a name")?;
    cluster.kubectl(["certificate", "approve", request])?;

    // kubelet itself runs the probe, which takes no certificate. What follows does. The path is the
    // node's own, for the file is a link.
    let container = json!({
        "command": ["/bin/sh", "-c", "tail -f /dev/null"],
        "volumeMounts": [{ "name": "pki", "mountPath": PKI }],
        "readinessProbe": { "exec": { "command": ["test", "-s", pair] }, "periodSeconds": 1 },
    });
    let pki = json!({ "name": "pki", "hostPath": { "path": PKI } });
    let pod = runs(cluster, &pod("server-tls", NAME, container, json!({ "volumes": [pki] })))?;
    let pair = cluster.exec(&pod, &["cat", &pair])?;

    let place = tempfile::tempdir().context("cannot make a temporary directory")?;
    let (ca, certificate) = (place.path().join("ca"), place.path().join("certificate"));
    std::fs::write(&ca, &cluster.facts.ca)?;
    std::fs::write(&certificate, pair)?;
    run(command("openssl")
        .args(["verify", "-purpose", "sslserver", "-CAfile"])
        .args([&ca, &certificate]))?;
    let names = run(command("openssl")
        .args(["x509", "-noout", "-ext", "subjectAltName", "-in"])
        .arg(&certificate))?;
    ensure!(names.contains("DNS:server-tls") && names.contains("10.0.2.15"), "{names}");
    removed(cluster, &pod)
}
