//! A pod in a virtual machine, with a release of Kata as upstream has it: what `cargo xtask kata-check` runs.
//! It takes QEMU 10 or later, whose emulated processor has AMD's virtualization; KVM is not needed.
//!
//! Needs `ORLOP`, `ORLOP_IMAGE` and `ORLOP_KATA_IMAGE`, a build of `recipes/worker.toml`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use qemu_tests::harness::{self, Test, Threads};
use qemu_tests::images::{add, busybox};
use qemu_tests::registry::{Content, Registry};
use qemu_tests::{Cluster, Node, Orlop, Setup};
use serde_json::{Value, json};

/// What each step may take where two machines are emulated, one within the other.
const LIMIT: Duration = Duration::from_secs(30 * 60);
const BUSYBOX: &str = "registry.test/busybox:1";
const NODE: &str = "sandboxes";
/// Outside of a virtual machine: what a pod in one is compared with, and what looks for what it leaves.
const HOST: &str = "host";
const GUEST: &str = "guest";

const TESTS: &[(&str, Test)] =
    &[("a_pod_runs_in_a_virtual_machine_and_leaves_nothing_behind", a_pod_in_a_virtual_machine)];

fn main() -> ExitCode {
    harness::main(TESTS, Threads::One)
}

fn a_pod_in_a_virtual_machine(orlop: &Orlop) -> Result<()> {
    let image = std::env::var_os("ORLOP_KATA_IMAGE").map(PathBuf::from);
    let image = image.context("`ORLOP_KATA_IMAGE` is not set: `cargo xtask kata-check` sets it")?;
    let cluster = Cluster::start(orlop, &[])?;
    let mut content = Content::default();
    add(&mut content, BUSYBOX, "/bin/sh", &busybox()?)?;
    let registry = Registry::serve(content).context("cannot serve a registry")?;
    let setup = Setup {
        registry: Some(registry.port()),
        kubelet: "runtimeRequestTimeout = \"30m\"\n",
        args: &["--accel", "tcg", "--memory", "6 GiB", "--", "-cpu", "max"],
        ..Setup::new(NODE)
    };
    let mut node = Node::start_image(orlop, &image, &cluster, &setup)?;
    node.ready(&cluster)?;

    // The node has found out that it can, and its label is what the class selects.
    let label = "--for=jsonpath={.metadata.labels.orlop\\.dev/kata}=true";
    cluster.wait(&[&format!("node/{NODE}"), label], LIMIT)?;
    let recipe = qemu_tests::workspace().join("recipes/worker.toml");
    let mut manifests = orlop.command();
    let class = qemu_tests::process::run(manifests.args(["manifests", "kata"]).arg(recipe))?;
    cluster.apply(&class)?;

    runs(&cluster, &pod(HOST, None))?;
    let before = left(&cluster)?;
    runs(&cluster, &pod(GUEST, Some("kata")))?;

    // A kernel of its own, and its own boot.
    let in_pod =
        |pod: &str, command: &[&str]| cluster.exec(pod, command).map(|out| out.trim().to_owned());
    let kernels = [HOST, GUEST].map(|pod| in_pod(pod, &["uname", "-rv"]));
    let [host, guest] = kernels;
    let (host, guest) = (host?, guest?);
    ensure!(host != guest, "both have the kernel {host}");
    // Network, both ways.
    let address = |pod: &str| -> Result<String> {
        let pod = cluster.get(&["pod", pod])?;
        Ok(pod["status"]["podIP"].as_str().context("a pod has an address")?.to_owned())
    };
    for (from, to) in [(HOST, GUEST), (GUEST, HOST)] {
        in_pod(from, &["ping", "-c", "3", "-w", "60", &address(to)?])
            .with_context(|| format!("from {from} to {to}"))?;
    }
    // A volume: what the init container wrote is there, and can be written.
    ensure!(in_pod(GUEST, &["cat", "/volume/file"])? == "from before");
    in_pod(GUEST, &["sh", "-c", "echo after > /volume/file && grep -q after /volume/file"])?;
    let log = cluster.kubectl(["logs", GUEST])?;
    ensure!(log.contains("it runs"), "the log is {log:?}");

    cluster.kubectl(["delete", "pod", GUEST, "--wait", "--timeout=1800s"])?;
    let after = left(&cluster)?;
    ensure!(after == before, "it has left something:\n{after}\nbefore there was\n{before}");
    node.power_off()?;
    cluster.stop()
}

/// A pod; one without a class sees the node's processes, mounts and links.
fn pod(name: &str, class: Option<&str>) -> Value {
    let mut container = json!({
        "name": "c", "image": BUSYBOX,
        "command": ["/bin/sh", "-c", "echo it runs; tail -f /dev/null"],
        "volumeMounts": [{ "name": "volume", "mountPath": "/volume" }],
    });
    let mut spec = json!({
        "nodeName": NODE,
        "terminationGracePeriodSeconds": 0,
        "volumes": [{ "name": "volume", "emptyDir": {} }],
        "initContainers": [{
            "name": "before", "image": BUSYBOX,
            "command": ["/bin/sh", "-c", "echo from before > /volume/file"],
            "volumeMounts": [{ "name": "volume", "mountPath": "/volume" }],
        }],
    });
    match class {
        Some(class) => {
            spec["runtimeClassName"] = class.into();
            container["resources"] = json!({ "limits": { "memory": "128Mi", "cpu": "1" } });
        }
        None => {
            spec["hostPID"] = true.into();
            container["securityContext"] = json!({ "privileged": true });
        }
    }
    spec["containers"] = json!([container]);
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec })
}

fn runs(cluster: &Cluster, pod: &Value) -> Result<()> {
    let name = pod["metadata"]["name"].as_str().context("a pod has a name")?;
    cluster.apply(&pod.to_string())?;
    let ready = cluster.wait(&[&format!("pod/{name}"), "--for=condition=Ready"], LIMIT);
    ready.with_context(|| {
        let events = cluster.kubectl(["describe", "pod", name]);
        events.unwrap_or_else(|error| error.to_string())
    })
}

/// What a sandbox has on the node: programs of Kata, mounts of the shim, links, network namespaces, control
/// groups; each line without what is counted on.
fn left(cluster: &Cluster) -> Result<String> {
    let script = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -E '^/opt/kata' | \
                  cut -d' ' -f1; done; \
                  grep -E 'kata|/run/vc' /proc/1/mounts; \
                  ls /proc/1/root/sys/class/net | grep -E '^(tap|veth)' | wc -l; \
                  ls /proc/1/root/run/netns 2>/dev/null | wc -l; \
                  ls /proc/1/root/run/kata /proc/1/root/run/vc/vm 2>/dev/null; \
                  find /proc/1/root/sys/fs/cgroup -type d | grep -c -E 'pod|kata'";
    let lines = cluster.exec(HOST, &["sh", "-c", script])?;
    Ok(lines)
}
