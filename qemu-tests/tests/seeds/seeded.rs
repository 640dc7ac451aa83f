//! Pods whose images the node had from the start.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use qemu_tests::registry::{Content, Registry};
use qemu_tests::{Cluster, Node, Orlop, Setup};
use serde_json::json;

use crate::world::{BUSYBOX, world};

/// What a step may take on a busy machine without KVM.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// A pod without an API server, on a node that has no link to anybody.
pub(crate) fn without_a_network(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("node.toml");
    // It writes to the console that it is there.
    let pod = |name: &str, image: &str| {
        let script = format!("echo '<2>seeded-{name}-runs' > /dev/kmsg; tail -f /dev/null");
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name },
            "spec": { "containers": [{
                "name": "main",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/sh", "-c", script],
                "securityContext": { "privileged": true },
            }] },
        });
        format!("{name} = '''\n{pod}\n'''\n")
    };
    let repository = BUSYBOX.split_once(':').map_or(BUSYBOX, |(repository, _)| repository);
    let pods =
        [pod("by-name", BUSYBOX), pod("by-digest", &format!("{repository}@{}", world.digest))];
    std::fs::write(
        &config,
        format!(
            "schema = 1\nhostname = \"alone\"\n\
             [network.links.eth0]\naddresses = [\"10.0.2.15/24\"]\ngateways = [\"10.0.2.2\"]\n\
             [cni]\nbridge = \"10.88.0.0/16\"\n[kubernetes]\nstandalone = true\n\
             [kubernetes.static-pods]\n{}",
            pods.concat()
        ),
    )?;
    let boot = orlop.boot_other(&world.image).args(&["--direct", "--no-network", "--config"]);
    // A card that no cable is in.
    let boot = boot.path(&config).args(&["--", "-device", "virtio-net-pci,romfile="]);
    let mut machine = boot.start()?;
    for name in ["by-name", "by-digest"] {
        let line = format!("seeded-{name}-runs");
        machine.wait_for_line(0, &[&line], LIMIT).with_context(|| machine.so_far())?;
    }
    machine.press_power_button()?;
    let ended = machine.finish(LIMIT)?;
    ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());
    for mark in ["cri-answers", "kubelet-healthy", "pod-running"] {
        if let Some(seconds) = ended.mark(mark) {
            orlop.measured(format!("without a network: {mark} at {seconds:.2} s"));
        }
    }
    Ok(())
}

/// A DaemonSet on three nodes that boot at once. The registry is there, and has the image, and counts.
pub(crate) fn three_nodes_at_once(orlop: &Orlop) -> Result<()> {
    const NODES: [&str; 3] = ["one", "two", "three"];
    let world = world(orlop)?;
    let cluster = Cluster::start(orlop, &[])?;
    let registry = Registry::serve(Content::default()).context("cannot serve a registry")?;
    cluster.wait(&["serviceaccount/default", "--for=create"], LIMIT)?;
    let container = |name: &str, image: &str| {
        json!({
            "name": name,
            "image": image,
            "command": ["/bin/sh", "-c", "echo here; tail -f /dev/null"],
        })
    };
    let repository = BUSYBOX.split_once(':').map_or(BUSYBOX, |(repository, _)| repository);
    let daemons = json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": "daemon" },
        "spec": {
            "selector": { "matchLabels": { "app": "daemon" } },
            "template": {
                "metadata": { "labels": { "app": "daemon" } },
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "tolerations": [{ "operator": "Exists" }],
                    "containers": [
                        container("tag", BUSYBOX),
                        container("digest", &format!("{repository}@{}", world.digest)),
                    ],
                },
            },
        },
    });
    cluster.apply(&daemons.to_string())?;
    let start = |name: &&'static str| {
        let setup = Setup { registry: Some(registry.port()), ..Setup::new(name) };
        Node::start_image(orlop, &world.image, &cluster, &setup)
    };
    let mut nodes: Vec<_> = NODES.iter().map(start).collect::<Result<_>>()?;
    for node in &mut nodes {
        node.ready(&cluster)?;
    }
    cluster.watch(&["daemonset", "daemon"], LIMIT, "all daemons are ready", |set| {
        set["status"]["numberReady"] == NODES.len()
    })?;
    let asked = registry.asked();
    ensure!(asked == 0, "the registry was asked {asked} times");
    // Whoever has the image from the root has not pulled it: no event says so.
    let events = cluster.kubectl(["get", "events", "-o", "jsonpath={.items[*].reason}"])?;
    let words: Vec<_> = events.split_whitespace().collect();
    ensure!(!words.contains(&"Pulling"), "{events}");
    ensure!(words.contains(&"Started"), "{events}");
    let (mib, kib) = (world.layer >> 20, world.layer >> 10 & 1023);
    orlop.measured(format!(
        "three nodes at once: a layer of {mib}.{:02} MiB, {asked} requests",
        kib * 100 / 1024
    ));
    Ok(())
}
