//! A cluster's own pod network: flannel comes as a DaemonSet, puts its plugin and its configuration
//! on two nodes that share a cable, and pods of both reach each other, also after a reboot. The
//! daemon is flannel's packages under a main program of ours.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use qemu_tests::{Cluster, Node, Orlop, Setup};
use serde_json::{Value, json};

use crate::world::{LIMIT, World, comes_back, pod, privileged, runs, world};

/// The two nodes, each with the last byte of its address and the third of its pods' addresses.
const NODES: [(&str, u8); 2] = [("east", 1), ("west", 2)];

const NAMESPACE: &str = "kube-flannel";

pub(crate) fn pods_of_two_nodes_reach_each_other(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let cluster = &world.cluster;
    let directory = tempfile::tempdir()?;
    let [east, west] = NODES;
    let mut nodes = [
        start(orlop, &world, directory.path(), east, west)?,
        start(orlop, &world, directory.path(), west, east)?,
    ];

    for (name, number) in NODES {
        cluster.wait(&[&format!("node/{name}"), "--for=create"], LIMIT)?;
        let range = format!("10.244.{number}.0/24");
        let patch = json!({ "spec": { "podCIDR": range, "podCIDRs": [range] } });
        cluster.kubectl(["patch", "node", name, "--patch", &patch.to_string()])?;
    }
    cluster.apply(&manifest(cluster)?)?;
    for (node, (name, _)) in nodes.iter_mut().zip(NODES) {
        node.ready(cluster)?;
        let serve = format!(
            "mkdir -p /www && echo this is {name} > /www/index.html && httpd -f -p 8080 -h /www"
        );
        let container = json!({
            "command": ["/bin/sh", "-c", serve],
            "ports": [{ "containerPort": 8080, "hostPort": 30090 }],
        });
        let always = json!({ "restartPolicy": "Always" });
        runs(cluster, &pod(&server(name), name, container, always))?;
    }
    reach_each_other(cluster)?;
    daemons_run(cluster, 0)?;

    let mut before = Vec::new();
    for (node, (name, _)) in nodes.iter_mut().zip(NODES) {
        let boot = cluster.get(&["node", name])?["status"]["nodeInfo"]["bootID"].clone();
        before.push((node.machine.console().len(), boot));
        let restart = privileged(&format!("restart-{name}"), name, "kill -INT 1");
        cluster.apply(&restart.to_string())?;
    }
    for (node, (from, _)) in nodes.iter_mut().zip(&before) {
        node.machine.wait_for_line(*from, &["all stopped, restart now"], LIMIT)?;
    }
    for ((name, _), (_, boot)) in NODES.into_iter().zip(before) {
        comes_back(cluster, name, boot.as_str().context("a boot has an id")?)?;
        cluster.watch(&["pod", &server(name)], LIMIT, "its pod runs again", |pod| {
            let status = &pod["status"]["containerStatuses"][0];
            status["ready"] == true && status["restartCount"].as_u64() >= Some(1)
        })?;
    }
    reach_each_other(cluster)?;
    daemons_run(cluster, 1)?;
    for (name, _) in NODES {
        cluster.kubectl(["delete", "node", name, "--wait=false"])?;
    }
    Ok(())
}

/// Each node has its daemon, which has begun anew so often: once with each boot, else never.
fn daemons_run(cluster: &Cluster, restarts: u64) -> Result<()> {
    let daemons = cluster.get(&["pods", "--namespace", NAMESPACE])?;
    let daemons = daemons["items"].as_array().context("a list")?;
    ensure!(daemons.len() == NODES.len(), "{daemons:#?}");
    for daemon in daemons {
        let name = daemon["metadata"]["name"].as_str().context("a pod has a name")?;
        let count = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
        let of = ["pod", name, "--namespace", NAMESPACE];
        let daemon = cluster.watch(&of, LIMIT, "the daemon is ready", |pod| {
            pod["status"]["containerStatuses"][0]["ready"] == true && count(pod) >= Some(restarts)
        })?;
        ensure!(count(&daemon) == Some(restarts), "{:#}", daemon["status"]);
    }
    Ok(())
}

/// The pod on a node that answers.
fn server(node: &str) -> String {
    format!("in-the-{node}")
}

/// A node with a second card, whose cable leads to the other node.
fn start(
    orlop: &Orlop,
    world: &World,
    directory: &Path,
    (name, number): (&str, u8),
    (other, _): (&str, u8),
) -> Result<Node> {
    let end = |name: &str| directory.join(name).display().to_string();
    let cable = format!(
        "dgram,id=cable,local.type=unix,local.path={},remote.type=unix,remote.path={}",
        end(name),
        end(other)
    );
    let card = format!("virtio-net-pci,netdev=cable,mac=52:54:00:07:00:0{number},romfile=");
    let address = format!("172.31.7.{number}");
    let setup = Setup {
        kubernetes: &format!("labels = {{ network = \"flannel\" }}\nnode-ip = \"{address}\"\n"),
        tables: &format!("[network.links.eth1]\naddresses = [\"{address}/24\"]\n"),
        bridge: false,
        address: &address,
        args: &["--reboot", "--", "-netdev", &cable, "-device", &card],
        ..world.setup(name)
    };
    Node::start(orlop, &world.cluster, &setup)
}

/// Each pod asks the other by its own address, and by the host port of the other's node.
fn reach_each_other(cluster: &Cluster) -> Result<()> {
    let [east, west] = NODES;
    for ((asks, _), (name, number)) in [(east, west), (west, east)] {
        let pod = cluster.get(&["pod", &server(name)])?;
        let address = pod["status"]["podIP"].as_str().context("a pod has an address")?;
        ensure!(address.starts_with(&format!("10.244.{number}.")), "{name}: {address}");
        for address in [format!("{address}:8080"), format!("172.31.7.{number}:30090")] {
            let ask = format!("timeout 60 wget -q -O - http://{address}/");
            let page = cluster.exec(&server(asks), &["sh", "-c", &ask])?;
            ensure!(page == format!("this is {name}\n"), "{address}: {page}");
        }
    }
    Ok(())
}

/// What installs flannel, from the image `registry.test/flannel:1`.
fn manifest(cluster: &Cluster) -> Result<String> {
    let server = cluster.facts.guest_server.strip_prefix("https://").context("an address")?;
    let (host, port) = server.rsplit_once(':').context("a port")?;
    Ok(include_str!("flannel.yaml").replace("SERVER-HOST", host).replace("SERVER-PORT", port))
}
