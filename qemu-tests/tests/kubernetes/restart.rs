//! The node goes down and comes back: in order, and without warning.

use anyhow::{Context as _, Result, ensure};
use qemu_tests::disk::Disk;
use qemu_tests::{Cluster, Node, Orlop, Setup};
use serde_json::{Value, json};

use crate::world::{LIMIT, comes_back, pod, privileged, runs, script, world};

const NAME: &str = "phoenix";
/// Of another node.
const HOOKED: &str = "hooked";

/// What stays through any restart, and what changes with each.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    uid: String,
    machine: String,
    boot: String,
    /// Certificates that were asked for with the bootstrap token.
    joins: usize,
}

fn identity(cluster: &Cluster) -> Result<Identity> {
    let node = cluster.get(&["node", NAME])?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a string");
    let requests = cluster.get(&["csr"])?;
    let requests = requests["items"].as_array().context("a list")?;
    let joins = requests.iter().filter(|request| joins(cluster, request)).count();
    Ok(Identity {
        uid: text(&node["metadata"]["uid"])?,
        machine: text(&node["status"]["nodeInfo"]["machineID"])?,
        boot: text(&node["status"]["nodeInfo"]["bootID"])?,
        joins,
    })
}

/// Whether a request was made with the bootstrap token for this node. Its subject stands inside,
/// in DER: the name is a string of its own.
fn joins(cluster: &Cluster, request: &Value) -> bool {
    let spec = &request["spec"];
    let by_token = spec["username"].as_str().is_some_and(|u| u.starts_with("system:bootstrap:"));
    let name = request["metadata"]["name"].as_str().unwrap_or_default();
    let describe = || cluster.kubectl(["describe", "csr", name]).unwrap_or_default();
    by_token && describe().contains(&format!("system:node:{NAME}"))
}

pub(crate) fn a_reboot_and_a_power_cut(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let cluster = &world.cluster;
    let directory = tempfile::tempdir()?;
    let image = orlop.node_image()?.join("disk.raw");
    let disk = Disk::copy(&image, &directory.path().join("disk.raw"))?;
    disk.grow(6 << 30)?;
    let setup = Setup { disk: Some(disk.path()), args: &["--reboot"], ..world.setup(NAME) };

    let mut node = Node::start(orlop, cluster, &setup)?;
    node.ready(cluster)?;
    let container = json!({ "command": ["tail", "-f", "/dev/null"] });
    let always = json!({ "restartPolicy": "Always" });
    let pod = runs(cluster, &pod("stays", NAME, container, always))?;
    runs(cluster, &script("beside", NAME, "tail -f /dev/null"))?;
    let used = used(&cluster.exec(&pod, &["cat", "/proc/meminfo"])?)?;
    orlop.measured(format!("memory used with two pods: {used} kB (MemTotal - MemAvailable)"));
    let first = identity(cluster)?;
    ensure!(first.joins == 1, "{first:?}");

    // As kured asks for it, which looks for its file where Debian has it: `SIGRTMIN+5` to PID 1.
    let from = node.machine.console().len();
    let restart = "test \"$(readlink /proc/1/root/var/run)\" = /run && \
        echo 'a release is staged' > /proc/1/root/run/orlop/shutdown-reason && kill -39 1";
    cluster.apply(&privileged("restart", NAME, restart).to_string())?;
    let told = node.machine.wait_for_line(from, &["] a release is staged"], LIMIT)?;
    let down = node.machine.wait_for_line(told, &["] going down to restart"], LIMIT)?;
    node.machine.wait_for_line(down, &["all stopped, restart now"], LIMIT)?;
    let second = back(cluster, &first, &pod, 1)?;

    node.machine.cut_power();
    let mut node = Node::start(orlop, cluster, &setup)?;
    let third = back(cluster, &second, &pod, 2)?;
    ensure!(third.boot != first.boot);
    let console = node.machine.console().join("\n");
    for word in ["fsck", "EXT4-fs error", "corrupt"] {
        ensure!(!console.contains(word), "{word}: {console}");
    }

    node.power_off()?;
    let state = disk.judge()?;
    ensure!(disk.ext4(&state)?.is_clean, "STATE was not unmounted");
    Ok(())
}

/// Each hook leaves a word on STATE, before its container's signal, and none holds the node: all
/// pods have an hour, the node gives 20 s.
pub(crate) fn hooks_run_when_a_node_goes_down(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let cluster = &world.cluster;
    let directory = tempfile::tempdir()?;
    let image = orlop.node_image()?.join("disk.raw");
    let disk = Disk::copy(&image, &directory.path().join("disk.raw"))?;
    disk.grow(6 << 30)?;
    let kubelet = "shutdownGracePeriod = \"20s\"\n";
    let setup = Setup { disk: Some(disk.path()), kubelet, ..world.setup(HOOKED) };
    let mut node = Node::start(orlop, cluster, &setup)?;
    node.ready(cluster)?;
    for pod in hooked() {
        runs(cluster, &pod)?;
    }
    let ended = node.power_off()?;
    let state = disk.judge()?;
    for name in ["polite", "stubborn", "server", "hangs", "behind", "ends"] {
        let want = if name == "polite" { "hook\nsignal\n" } else { "ran\n" };
        let kept = disk.read(&state, &format!("/mnt/kept/{name}"))?;
        // `debugfs` tells its version too.
        let told = kept.split_inclusive('\n').filter(|line| !line.starts_with("debugfs "));
        ensure!(told.collect::<String>() == want, "{name} left {kept:?}");
    }
    let log = disk.read(&state, "/log/orlop/images.log")?;
    ensure!(log.contains("the preStop hook of container default/hangs/main failed"), "{log}");
    ensure!(log.contains("orlop-node: stopped "), "{log}");
    let late = ended.console.iter().find(|line| line.contains("its stop-exec did not end"));
    ensure!(late.is_none(), "PID 1 had to kill it: {late:?}");
    Ok(())
}

/// A pod with an hour to end in, which mounts a directory of STATE.
fn keeping(name: &str, command: &str, hook: Value) -> Value {
    let container = json!({
        "command": ["/bin/sh", "-c", command],
        "lifecycle": { "preStop": hook },
        "volumeMounts": [{ "name": "kept", "mountPath": "/kept" }],
    });
    let more = json!({
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 3600,
        "volumes": [{
            "name": "kept", "hostPath": { "path": "/mnt/kept", "type": "DirectoryOrCreate" },
        }],
    });
    pod(name, HOOKED, container, more)
}

fn shell(script: &str) -> Value {
    json!({ "exec": { "command": ["/bin/sh", "-c", script] } })
}

/// Pods whose hooks leave a word behind, and such as would hold a shutdown for an hour.
fn hooked() -> [Value; 6] {
    // Its file says what was first, hook or signal.
    let polite = "trap 'echo signal >> /kept/polite; exit' TERM; while :; do sleep 1; done";
    let stubborn = "trap '' TERM; while :; do sleep 100; done";
    let server = "mkdir -p /www/cgi-bin && cd /www/cgi-bin && \
        printf '#!/bin/sh\\necho ran >> /kept/server\\necho Content-Type: text/plain\\necho\\n' > bye && chmod +x bye && \
        trap exit TERM; httpd -f -p 8080 -h /www & wait";
    let bye = json!({ "httpGet": { "path": "/cgi-bin/bye", "port": 8080 } });
    [
        keeping("polite", polite, shell("echo hook >> /kept/polite")),
        keeping("stubborn", stubborn, shell("echo ran >> /kept/stubborn; yes | head -c 3000000")),
        keeping("server", server, bye),
        keeping("hangs", "tail -f /dev/null", shell("echo ran >> /kept/hangs; sleep 100000")),
        // Its end comes at once, that of what it wrote to does not.
        keeping("behind", "tail -f /dev/null", shell("echo ran >> /kept/behind; sleep 100000 &")),
        // It ends its own container.
        keeping(
            "ends",
            "until test -e /tmp/end; do sleep 1; done",
            shell("echo ran >> /kept/ends; touch /tmp/end; sleep 100000"),
        ),
    ]
}

/// What `free` calls used.
fn used(meminfo: &str) -> Result<u64> {
    let value = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
    };
    let (total, free) = (value("MemTotal:"), value("MemAvailable:"));
    total.zip(free).map(|(total, free)| total - free).context("/proc/meminfo")
}

/// Waits until the node is Ready after another boot with its pod running again.
fn back(cluster: &Cluster, before: &Identity, pod: &str, restarts: u64) -> Result<Identity> {
    comes_back(cluster, NAME, &before.boot)?;
    cluster.watch(&["pod", pod], LIMIT, "the pod comes back", |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        status["ready"] == true && status["restartCount"].as_u64() >= Some(restarts)
    })?;
    let after = identity(cluster)?;
    let same = after.uid == before.uid && after.machine == before.machine;
    ensure!(same && after.joins == before.joins, "{before:?} became {after:?}");
    Ok(after)
}
