//! What pods and accidents do to a node, and that it stays one. The node is shared by these tests,
//! one after the other.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use qemu_tests::process::run;
use qemu_tests::{Cluster, Node, Orlop};
use serde_json::{Value, json};

use crate::world::{LIMIT, battered, ensure_ready, pod, privileged, removed, runs, script, world};

/// A web server that is started again whenever it ends.
fn survivor(node: &str) -> Value {
    let container = json!({ "command": ["tail", "-f", "/dev/null"] });
    pod("survivor", node, container, json!({ "restartPolicy": "Always" }))
}

/// Kills by name from a pod that sees the node's processes. The pod's own shim may be among them.
fn kill(cluster: &Cluster, node: &str, programs: &[&str]) -> Result<()> {
    let names = programs.join(" ");
    // All tests share a namespace, and another one has an axe.
    let name = format!("axe-{node}");
    let axe = privileged(&name, node, &format!("kill -9 $(pidof {names})"));
    cluster.apply(&axe.to_string())?;
    // It ends well, or with its shim.
    cluster.watch(&["pod", &name], LIMIT, "axe ends", |pod| {
        matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
    })?;
    removed(cluster, &name)
}

/// How often the container was restarted, and which one it is.
fn container(pod: &Value) -> Option<(u64, &str)> {
    let status = &pod["status"]["containerStatuses"][0];
    Some((status["restartCount"].as_u64()?, status["containerID"].as_str()?))
}

/// Does something to the node that these tests share: with the cluster, the node and its name.
fn on_a_node(
    orlop: &Orlop,
    harm: impl FnOnce(&Cluster, &mut Node, &str) -> Result<()>,
) -> Result<()> {
    let world = world(orlop)?;
    let mut guard = battered(orlop, &world)?;
    let node = guard.node()?;
    let name = node.name().to_owned();
    harm(&world.cluster, node, &name)
}

/// The same, and no daemon of the node ends of it.
fn stays_in_its_pod(
    orlop: &Orlop,
    harm: impl FnOnce(&Cluster, &mut Node, &str) -> Result<()>,
) -> Result<()> {
    on_a_node(orlop, |cluster, node, name| {
        let from = node.machine.console().len();
        harm(cluster, node, name)?;
        let failed = node.machine.console()[from..].iter().find(|line| line.contains("FAILED"));
        ensure!(failed.is_none(), "{failed:?}");
        Ok(())
    })
}

pub(crate) fn killed_daemons_come_back(orlop: &Orlop) -> Result<()> {
    on_a_node(orlop, killed_daemons)
}

fn killed_daemons(cluster: &Cluster, node: &mut Node, name: &str) -> Result<()> {
    let pod = runs(cluster, &survivor(name))?;
    let before = cluster.get(&["pod", &pod])?;

    // Daemons alone take no pod with them.
    for daemon in ["containerd", "kubelet"] {
        let from = node.machine.console().len();
        kill(cluster, name, &[daemon])?;
        let failed = node.machine.wait_for_line(from, &[daemon, "FAILED"], LIMIT)?;
        node.machine.wait_for_line(failed, &[daemon, "ready"], LIMIT)?;
        cluster.exec(&pod, &["true"]).with_context(|| format!("after {daemon} was killed"))?;
        let after = cluster.get(&["pod", &pod])?;
        ensure!(container(&after) == container(&before), "{daemon} took a pod with it: {after:#}");
    }
    // A shim takes its pod's containers with it, and they come back; so after all at once.
    let shim = "containerd-shim-runc-v2";
    let mut last = before;
    for programs in [&[shim][..], &["containerd", "kubelet", shim]] {
        kill(cluster, name, programs)?;
        let old = container(&last).map(|(_, id)| id.to_owned());
        last = cluster.watch(&["pod", &pod], LIMIT, "the pod comes back", |pod| {
            let status = &pod["status"]["containerStatuses"][0];
            status["ready"] == true && container(pod).map(|(_, id)| id.to_owned()) != old
        })?;
    }
    cluster.exec(&pod, &["true"])?;
    ensure_ready(cluster, node)?;
    removed(cluster, &pod)
}

pub(crate) fn a_fork_bomb_stays_in_its_pod(orlop: &Orlop) -> Result<()> {
    stays_in_its_pod(orlop, |cluster, node, name| {
        // The shell says when the kernel has refused a fork to it.
        let text = "bomb() { bomb | bomb & }; bomb; exec tail -f /dev/null";
        let bomb = runs(cluster, &script("bomb", name, text))?;
        cluster.log_line(&bomb, "can't fork", LIMIT)?;
        // Meanwhile others start and are reached.
        let other = runs(cluster, &script("spared", name, "tail -f /dev/null"))?;
        cluster.exec(&other, &["true"])?;
        ensure_ready(cluster, node)?;
        for pod in [bomb, other] {
            removed(cluster, &pod)?;
        }
        Ok(())
    })
}

pub(crate) fn a_memory_hog_stays_in_its_pod(orlop: &Orlop) -> Result<()> {
    stays_in_its_pod(orlop, |cluster, node, name| {
        // No limit of its own: only the node's protects the daemons.
        let container = json!({ "command": ["tail", "/dev/zero"] });
        cluster.apply(&pod("hog", name, container, json!({})).to_string())?;
        let last = cluster
            .watch(&["pod", "hog"], LIMIT, "hog ends", |pod| pod["status"]["phase"] == "Failed")?;
        let status = &last["status"];
        let killed = status["containerStatuses"][0]["state"]["terminated"]["reason"] == "OOMKilled";
        ensure!(killed || status["reason"] == "Evicted", "{status:#}");
        removed(cluster, "hog")?;
        node.ready(cluster)?;
        Ok(())
    })
}

pub(crate) fn a_pod_that_fills_the_disk_is_evicted(orlop: &Orlop) -> Result<()> {
    stays_in_its_pod(orlop, |cluster, node, name| {
        let fill = script("fill", name, "dd if=/dev/zero of=/fill bs=1M; tail -f /dev/null");
        cluster.apply(&fill.to_string())?;
        cluster.watch(&["pod", "fill"], LIMIT, "fill is evicted", |pod| {
            pod["status"]["reason"] == "Evicted"
        })?;
        let node_name = format!("node/{name}");
        cluster.wait(&[&node_name, "--for=condition=DiskPressure=True"], LIMIT)?;
        removed(cluster, "fill")?;
        // The pressure goes with the pod.
        cluster.wait(&[&node_name, "--for=condition=DiskPressure=False"], LIMIT)?;
        node.ready(cluster)?;
        let after = runs(cluster, &script("after", name, "tail -f /dev/null"))?;
        removed(cluster, &after)?;
        Ok(())
    })
}

/// The kernel is asked to believe that it has found some (`ext4_attr_store`, fs/ext4/sysfs.c).
pub(crate) fn damage_on_state_is_told(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let cluster = &world.cluster;
    let mut node = Node::start(orlop, cluster, &world.setup("scratched"))?;
    node.ready(cluster)?;
    let find = "for at in /sys/fs/ext4/*/trigger_fs_error; do echo test > $at; done; sleep 600";
    cluster.apply(&privileged("scratch", "scratched", find).to_string())?;
    let told = ["the kernel has found damage on STATE", "restart the node"];
    node.machine.wait_for_line(0, &told, LIMIT)?;
    Ok(())
}

pub(crate) fn a_failing_unit_is_shown(orlop: &Orlop) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    let recipes = qemu_tests::workspace().join("recipes");
    let units = at("overlay/usr/lib/orlop/units");
    std::fs::create_dir_all(&units)?;
    std::fs::write(
        units.join("broken.toml"),
        "exec = [\"/usr/bin/containerd\", \"--nonsense\"]\n\
         restart = { policy = \"always\", backoff-min = \"1s\", backoff-max = \"2s\" }\n\
         ready = \"started\"\ndeadline = \"60s\"\ncgroup = \"/broken\"\n",
    )?;
    let base = recipes.join("node.toml");
    let recipe = format!(
        "schema = 1\nname = \"broken\"\nextends = \"{}\"\n[local.broken]\npath = \"overlay\"\nat = \"/\"\n",
        base.display()
    );
    std::fs::write(at("broken.toml"), recipe)?;
    // The same packages: the node's lock is this recipe's.
    std::fs::copy(recipes.join("node.lock"), at("broken.lock"))?;
    run(orlop.command().arg("build").arg(at("broken.toml")).arg("-o").arg(at("image")))?;

    let mut machine = orlop.boot_other(&at("image")).args(&["--direct"]).start()?;
    let deadline = Duration::from_secs(900);
    machine.wait_for_line(0, &["broken", "FAILED", "status 1"], deadline)?;
    // Its own words, in the screen; the others go on.
    machine.wait_for_line(0, &["|", "nonsense"], deadline)?;
    machine.wait_for_mark("pod-running", deadline)?;
    machine.press_power_button()?;
    let ended = machine.finish(deadline)?;
    ensure!(ended.code == 0, "`orlop run` ended with {}{}", ended.code, ended.tail());
    Ok(())
}
