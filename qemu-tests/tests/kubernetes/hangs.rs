//! What hangs is started again: kubelet and containerd by PID 1, PID 1 by the watchdog.

use anyhow::{Context as _, Result, ensure};
use qemu_tests::{Node, Orlop, Setup};
use serde_json::json;

use crate::world::{
    LIMIT, battered, comes_back, ensure_ready, pod, privileged, removed, runs, world,
};

/// A stopped process has its sockets open and answers nobody.
pub(crate) fn daemons_that_hang_are_killed(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let cluster = &world.cluster;
    let mut guard = battered(orlop, &world)?;
    let node = guard.node()?;
    let name = node.name().to_owned();
    let container = json!({ "command": ["tail", "-f", "/dev/null"] });
    let survivor = runs(cluster, &pod("bystander", &name, container, json!({})))?;
    let before = cluster.get(&["pod", &survivor])?["status"]["containerStatuses"].clone();
    for daemon in ["containerd", "kubelet"] {
        let from = node.machine.console().len();
        let stop = privileged("stopper", &name, &format!("kill -STOP $(pidof {daemon})"));
        cluster.apply(&stop.to_string())?;
        let hangs = node.machine.wait_for_line(from, &[daemon, "HANGS"], LIMIT)?;
        let failed = node.machine.wait_for_line(hangs, &[daemon, "hung and was killed"], LIMIT)?;
        node.machine.wait_for_line(failed, &[daemon, "ready"], LIMIT)?;
        // A containerd that was stopped has not seen how it ended.
        cluster.watch(&["pod", "stopper"], LIMIT, "its end is told", |pod| {
            pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed"
        })?;
        removed(cluster, "stopper")?;
        cluster.exec(&survivor, &["true"]).with_context(|| format!("after {daemon} hung"))?;
        let after = cluster.get(&["pod", &survivor])?["status"]["containerStatuses"].clone();
        ensure!(after == before, "{daemon} took a pod with it: {after:#}");
    }
    ensure_ready(cluster, node)?;
    removed(cluster, &survivor)
}

/// The freezer of its control group stops PID 1 as a bug would: it cannot refuse that.
pub(crate) fn a_frozen_pid_1_is_reset(orlop: &Orlop) -> Result<()> {
    const NAME: &str = "frozen";
    let world = world(orlop)?;
    let cluster = &world.cluster;
    let args = ["--reboot", "--", "-device", "i6300esb"];
    let setup = Setup { args: &args, ..world.setup(NAME) };
    let mut node = Node::start(orlop, cluster, &setup)?;
    node.ready(cluster)?;
    let tells = "grep -o 'the watchdog is .*' /proc/1/root/var/log/orlop/init.log; \
                 exec tail -f /dev/null";
    let look = runs(cluster, &privileged("watchdog", NAME, tells))?;
    cluster.log_line(&look, "i6300ESB timer): a reset 60 s", LIMIT)?;
    let seen = cluster.get(&["node", NAME])?;
    let boot = seen["status"]["nodeInfo"]["bootID"].as_str().context("a boot id")?;
    let from = node.machine.console().len();
    let freeze = "echo 1 > /proc/1/root/sys/fs/cgroup/init/cgroup.freeze";
    cluster.apply(&privileged("freezer", NAME, freeze).to_string())?;
    comes_back(cluster, NAME, boot)?;
    let lines = node.machine.console()[from..].join("\n");
    ensure!(!lines.contains("going down"), "it went down by itself:\n{lines}");
    // The watchdog does not turn a power-off into a restart.
    node.power_off().map(drop)
}
