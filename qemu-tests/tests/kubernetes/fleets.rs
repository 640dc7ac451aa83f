//! What engines that bring releases to fleets need of a node: the Job of system-upgrade-controller and
//! kured's DaemonSet, by the manifests of `docs/fleets.md`.

use anyhow::{Context as _, Result, ensure};
use qemu_tests::disk::Disk;
use qemu_tests::{Cluster, Node, Orlop, Setup, fleets};
use serde_json::{Value, json};

use crate::world::{BUSYBOX, LIMIT, comes_back, pod, privileged, runs, world};

const NAME: &str = "herded";

pub(crate) fn a_job_reaches_the_node_and_kured_restarts_it(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let cluster = &world.cluster;
    let directory = tempfile::tempdir()?;
    let image = orlop.node_image()?.join("disk.raw");
    let disk = Disk::copy(&image, &directory.path().join("disk.raw"))?;
    disk.grow(6 << 30)?;
    let setup = Setup { disk: Some(disk.path()), args: &["--reboot"], ..world.setup(NAME) };
    let mut node = Node::start(orlop, cluster, &setup)?;
    node.ready(cluster)?;

    let report = std::fs::read(orlop.node_image()?.join("build.json"))?;
    let report: Value = serde_json::from_slice(&report)?;
    job(cluster, report["version"].as_str().context("a version")?)?;

    // A container as it comes may not: AppArmor keeps it from the node's processes.
    let try_it = "kill -39 1 || echo it is refused; tail -f /dev/null";
    let container = json!({ "command": ["/bin/sh", "-c", try_it] });
    let confined = runs(cluster, &pod("confined", NAME, container, json!({ "hostPID": true })))?;
    cluster.log_line(&confined, "it is refused", LIMIT)?;

    let before = cluster.get(&["node", NAME])?["status"]["nodeInfo"]["bootID"].clone();
    let before = before.as_str().context("a boot has an id")?;
    let from = node.machine.console().len();
    kured(cluster)?;
    let told = node.machine.wait_for_line(from, &["] a release is staged"], LIMIT)?;
    let down = node.machine.wait_for_line(told, &["] going down to restart"], LIMIT)?;
    node.machine.wait_for_line(down, &["all stopped, restart now"], LIMIT)?;
    comes_back(cluster, NAME, before)?;
    // It lies in memory: the same pod does not ask again.
    let pods = cluster.get(&["pods", "--selector", "name=kured"])?;
    let pod = pods["items"][0]["metadata"]["name"].as_str().context("a pod of kured")?;
    cluster.watch(&["pod", pod], LIMIT, "kured comes back", |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        status["ready"] == true && status["restartCount"].as_u64() >= Some(1)
    })?;
    cluster.log_line(pod, "no restart is due", LIMIT)?;
    ensure!(pods["items"].as_array().is_some_and(|pods| pods.len() == 1), "{pods}");
    node.power_off()?;
    Ok(())
}

/// The Job of a plan for what the node runs, without what drains: the node's client, in an image that every
/// node has, reaches its unit as root, and there is nothing to do.
fn job(cluster: &Cluster, version: &str) -> Result<()> {
    let plan = fleets::plan(cluster)?;
    let mut job = fleets::job(&plan, NAME, BUSYBOX)?;
    let pod = &mut job["spec"]["template"]["spec"];
    pod["initContainers"] = json!([]);
    for env in pod["containers"][0]["env"].as_array_mut().context("variables")? {
        if env["name"] == "SYSTEM_UPGRADE_PLAN_LATEST_VERSION" {
            env["value"] = version.into();
        }
    }
    let name = job["metadata"]["name"].as_str().context("a name")?.to_owned();
    cluster.apply(&job.to_string())?;
    let space = ["--namespace", "system-upgrade"];
    let limit = format!("--timeout={}s", LIMIT.as_secs());
    let wait = ["wait", &format!("job/{name}"), "--for=condition=Complete", &limit];
    cluster.kubectl([&space[..], &wait].concat()).with_context(|| {
        let told = cluster.kubectl([&space[..], &["describe", "pods"]].concat());
        told.unwrap_or_else(|error| error.to_string())
    })?;
    // It is done because the node said that it runs that, and not for want of a question.
    let said = cluster.kubectl([&space[..], &["logs", &format!("job/{name}")]].concat())?;
    ensure!(!said.contains("staged") && !said.contains("restarts"), "{said}");
    Ok(())
}

/// The DaemonSet of the page, in which a shell does what kured does on a node: it looks for its file and
/// signals PID 1.
fn kured(cluster: &Cluster) -> Result<()> {
    let due = "echo 'a release is staged' | tee /proc/1/root/run/orlop/shutdown-reason \
               > /proc/1/root/run/reboot-required";
    cluster.apply(&privileged("due", NAME, due).to_string())?;
    let ended = "--for=jsonpath={.status.phase}=Succeeded";
    cluster.wait(&["pod/due", ended], LIMIT)?;
    let place = tempfile::tempdir()?;
    let file = place.path().join("manifest");
    std::fs::write(&file, fleets::manifest("DaemonSet")?)?;
    let words = ["create", "--dry-run=client", "-o", "json", "-f"].map(AsRef::as_ref);
    let text = cluster.kubectl(words.into_iter().chain([file.as_os_str()]))?;
    let mut set: Value = serde_json::from_str(&text)?;
    set["metadata"]["namespace"] = "default".into();
    let pod = &mut set["spec"]["template"]["spec"];
    pod["nodeSelector"] = json!({ "kubernetes.io/hostname": NAME });
    pod["tolerations"] = json!([{ "operator": "Exists" }]);
    let container = &mut pod["containers"][0];
    let act = "if test -e /sentinel/reboot-required; then kill -39 1; else echo no restart is due; fi; \
               exec tail -f /dev/null";
    container["image"] = BUSYBOX.into();
    container["command"] = json!(["/bin/sh", "-c", act]);
    container["args"] = json!([]);
    cluster.kubectl(["create", "serviceaccount", "kured"])?;
    cluster.apply(&set.to_string())
}
