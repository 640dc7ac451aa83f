//! What a node makes of what an earlier boot has left: after a power cut, under another name, with
//! other settings.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use formats::node_config::EXAMPLE;
use qemu_tests::disk::Disk;
use qemu_tests::random::Random;
use qemu_tests::{Cluster, Machine, Node, Orlop, Setup};
use serde_json::{Value, json};

use crate::world::{LIMIT, SHARING, comes_back, pod, privileged, runs, script, world};

/// How many times the power is cut.
fn cuts() -> Result<u32> {
    match std::env::var("ORLOP_TEST_CUTS") {
        Ok(cuts) => cuts.parse().context("`ORLOP_TEST_CUTS` is no number"),
        Err(_) => Ok(if std::env::var_os("ORLOP_TEST_FULL").is_some() { 20 } else { 3 }),
    }
}

/// On a first boot or a later one, before the pod runs or after: always comes back to a running
/// pod.
pub(crate) fn any_power_cut(orlop: &Orlop) -> Result<()> {
    let mut random = Random::new()?;
    orlop.measured(format!("power cuts by {}", random.told()));
    let directory = tempfile::tempdir()?;
    let config = directory.path().join("node.toml");
    std::fs::write(&config, EXAMPLE)?;
    let mut disk = directory.path().join("0.raw");
    let boot = |disk: &Path| -> Result<Machine> {
        let boot = orlop.boot_other(orlop.node_image()?).args(&["--direct", "--config"]);
        let mut machine = boot.path(&config).disk(disk).start()?;
        machine.wait_for_mark("root-init-start", LIMIT)?;
        Ok(machine)
    };
    for cut in 0..cuts()? {
        // The first boot does what no other does: it unpacks.
        if cut > 0 && random.below(3) == 0 {
            std::fs::remove_file(&disk)?;
            disk = directory.path().join(format!("{cut}.raw"));
        }
        let mut machine = boot(&disk)?;
        let after_pod = random.below(3) > 0;
        if after_pod {
            machine.wait_for_mark("pod-running", LIMIT).with_context(|| format!("cut {cut}"))?;
        }
        let moment = Duration::from_millis(random.below(if after_pod { 60_000 } else { 15_000 }));
        let from = machine.console().len();
        let word = machine.wait_for_line(from, &["orlop", "panicked"], moment);
        ensure!(word.is_err(), "PID 1 panicked{}", machine.so_far());
        orlop.measured(format!("cut {cut}: {moment:?} later, pod: {after_pod}"));
        machine.cut_power();
    }
    let mut machine = boot(&disk)?;
    machine.wait_for_mark("pod-running", LIMIT)?;
    ensure!(!machine.so_far().contains("FAILED"), "a unit failed{}", machine.so_far());
    machine.cut_power();
    Ok(())
}

/// The first card leads nowhere but to the API server; the way out is by the second.
const TWO_CARDS: &str = "[network.links.eth0]\ndhcp = false\naddresses = [\"10.0.2.15/24\"]\n";
const SECOND_CARD: [&str; 5] =
    ["--", "-netdev", "user,id=second,net=10.0.3.0/24", "-device", "virtio-net-pci,netdev=second"];

/// As a disk does that loses what it promised: files of a layer are empty, kubelet's state is not
/// what kubelet wrote.
const DAMAGE: &str = "cd /proc/1/root/var/lib && \
    cd containerd/io.containerd.snapshotter.v1.overlayfs/snapshots && \
    for file in */fs/pause */fs/share/base; do : > $file; done && cd /proc/1/root/var/lib && \
    : > kubelet/allocated_pods_state; echo '{}' > kubelet/memory_manager_state; \
    echo broken > kubelet/cpu_manager_state; sync; touch /tmp/done; tail -f /dev/null";

/// Reads the file of the layer that two images share.
fn reader(name: &str, node: &str, image: &str) -> Value {
    let read = "test -s /share/base && exec tail -f /dev/null";
    pod(name, node, json!({ "image": image, "command": ["/bin/sh", "-c", read] }), json!({}))
}

fn address(cluster: &Cluster, node: &str) -> Result<String> {
    let node = cluster.get(&["node", node])?;
    let addresses = node["status"]["addresses"].as_array().context("addresses")?;
    let own = addresses.iter().find(|address| address["type"] == "InternalIP");
    Ok(own.and_then(|own| own["address"].as_str()).context("an InternalIP")?.to_owned())
}

fn boot_id(node: &Value) -> String {
    node["status"]["nodeInfo"]["bootID"].as_str().unwrap_or_default().to_owned()
}

/// One disk, three boots: damaged and cut; renamed, with another policy; without a name.
pub(crate) fn what_an_earlier_boot_left(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let cluster = &world.cluster;
    let directory = tempfile::tempdir()?;
    let disk = Disk::copy(&orlop.node_image()?.join("disk.raw"), &directory.path().join("d.raw"))?;
    disk.grow(4 << 30)?;
    let setup = |name| Setup {
        disk: Some(disk.path()),
        tables: TWO_CARDS,
        args: &SECOND_CARD,
        ..world.setup(name)
    };

    let mut node = Node::start(orlop, cluster, &setup("before"))?;
    node.ready(cluster)?;
    ensure!(address(cluster, "before")? == "10.0.3.15", "{}", address(cluster, "before")?);
    for (number, image) in SHARING.iter().enumerate() {
        runs(cluster, &reader(&format!("reads-{number}"), "before", image))?;
    }
    let mut vandal = privileged("vandal", "before", DAMAGE);
    let done = json!({ "exec": { "command": ["test", "-e", "/tmp/done"] }, "periodSeconds": 1 });
    vandal["spec"]["containers"][0]["readinessProbe"] = done;
    runs(cluster, &vandal)?;
    node.machine.cut_power();

    let kubelet = "cpuManagerPolicy = \"static\"\n";
    let mut node = Node::start(orlop, cluster, &Setup { kubelet, ..setup("after") })?;
    for words in [
        &["allocated_pods_state", "damaged"][..],
        &["cpu_manager_state", "damaged"],
        &["`before`", "is `after` now"],
        &["pause of sha256:", "is damaged", "unpacked again"],
        &["share/base of sha256:", "is damaged", "unpacked again"],
    ] {
        node.machine.wait_for_line(0, words, LIMIT)?;
    }
    node.ready(cluster)?;
    runs(cluster, &script("again", "after", "tail -f /dev/null"))?;
    for (number, image) in SHARING.iter().enumerate() {
        runs(cluster, &reader(&format!("reads-again-{number}"), "after", image))?;
    }
    let stays = |line: &&String| line.contains("cannot be removed");
    let stays = node.machine.console().iter().find(stays).cloned();
    ensure!(stays.is_none(), "{stays:?}");
    let before = boot_id(&cluster.get(&["node", "after"])?);
    node.power_off()?;

    // The policy has changed back, and nobody says a name.
    let unnamed = Setup { named: false, ..setup("after") };
    let mut node = Node::start(orlop, cluster, &unnamed)?;
    node.machine.wait_for_line(0, &["policy `static`", "`none`"], LIMIT)?;
    comes_back(cluster, "after", &before)?;
    if address(cluster, "after")? != "10.0.3.15" {
        bail!("the node's address is {} now", address(cluster, "after")?);
    }
    Ok(())
}
