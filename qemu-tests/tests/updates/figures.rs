//! What an upgrade costs a node, for `cargo xtask bench upgrade`: bytes, blocks, memory and processor of the
//! updater, and the time without pods beside that of a plain restart. Judges nothing.

use std::env;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use qemu_tests::Orlop;
use qemu_tests::releases::{Base, Released, Releases, Variant};
use serde_json::{Value, json};

use crate::node::{LIMIT, Node, Running};
use crate::server::Server;
use crate::world::seen_by_guests;

/// The recipe of the node that is upgraded, if it is not the one under test.
const FROM: &str = "ORLOP_BENCH_UPGRADE_FROM";
/// Where the figures go, as JSON.
const TO: &str = "ORLOP_BENCH_UPGRADE_TO";

/// A pod that says when the node works again, and what a trial by kexec takes.
const NODE: &str = r#"
[network.links.eth0]
dhcp = true

[cni]
bridge = "10.88.0.0/16"

[security]
lockdown = "none"
kexec = true

[kubernetes]
standalone = true

[kubernetes.static-pods]
pod = """
apiVersion: v1
kind: Pod
metadata:
  name: pod
spec:
  containers:
    - name: pause
      image: orlop.dev/pause:1
      imagePullPolicy: Never
"""
"#;

/// The boot mark of the first container of a pod.
const POD: &str = "pod-running";
/// The size of a block of the root image, bytes.
const BLOCK: usize = 4096;

/// Takes all of them.
pub(crate) fn take(orlop: &Orlop) -> Result<()> {
    let releases = Releases::new(orlop)?;
    let from = env::var_os(FROM).map(PathBuf::from);
    let older = Variant::new(Base::Node, "1.1");
    let older = match &from {
        Some(recipe) => older.of(recipe),
        None => older,
    };
    let newer = Variant::new(Base::Node, "1.2");
    let again = newer.clone().version("1.3").file("/usr/share/orlop-test", "one file more\n");
    let mut images = Vec::new();
    for (variant, deltas) in [(older, 0), (newer, 1), (again, 0)] {
        let release = releases.build(orlop, &variant)?;
        releases.publish(orlop, &release, 0, deltas)?;
        images.push(release);
    }
    let [first, second, third] = &images[..] else { bail!("there are three releases") };
    let server = Server::start(&releases.site());
    let channel = seen_by_guests(&server)?;
    let config =
        |more: &str| releases.config(&channel, more).map(|update| format!("{update}{NODE}"));

    let mut node = Node::new(first, &config("deadline = 540\n")?)?;
    let mut on = node.start(orlop)?;
    on.boots(first)?;
    on.is_healthy(first)?;
    // Both slots of a new disk have the same image.
    let by_delta = stage(&mut on, first, second)?;
    let by_firmware = upgrade(&mut on, second)?;
    let by_blocks = stage(&mut on, first, third)?;
    let before = on.machine.qemu_cpu_seconds()?;
    let off = on.power_off_and_tell()? - before;
    node.configure(&config("deadline = 540\nkexec = true\n")?)?;

    let mut on = node.start(orlop)?;
    let pods = on.machine.wait_for_mark_after(POD, 0, LIMIT)?;
    let restart = json!({
        "qemu-cpu-seconds": off + on.machine.qemu_cpu_seconds()?,
        "guest-seconds-until-pod": pods,
    });
    on.boots(second)?;
    on.is_healthy(second)?;
    let by_kexec = upgrade(&mut on, third)?;
    on.power_off()?;

    let report = json!({
        "from": from.map_or_else(|| "the same node".to_owned(), |path| path.display().to_string()),
        "by-delta": by_delta,
        "by-blocks": by_blocks,
        "restart": restart,
        "upgrade": by_firmware,
        "upgrade-by-kexec": by_kexec,
    });
    for (part, figures) in report.as_object().into_iter().flatten() {
        orlop.measured(format!("{part}: {figures}"));
    }
    if let Some(path) = env::var_os(TO) {
        std::fs::write(&path, format!("{report:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Brings a release to the spare slot, which has another one.
fn stage(on: &mut Running, there: &Released, to: &Released) -> Result<Value> {
    let before = updater(on, "cpu.stat")?;
    let came = on.done(&json!({ "do": "stage", "version": to.version }))?;
    ensure!(came["staged"] == *to.version, "{came}");
    let seconds = (updater(on, "cpu.stat")? - before) as f64 / 1e6;
    Ok(json!({
        "way": came["way"],
        "fetched-bytes": came["fetched"],
        "uki-fetched-bytes": came["uki-fetched"],
        "written-blocks": came["written"],
        "changed-blocks": changed_blocks(there, to)?,
        "updater-guest-cpu-seconds": seconds,
        "updater-peak-memory-bytes": peak_memory(on)?,
        "updater-peak-memory-with-cache-bytes": updater(on, "memory.peak")?,
    }))
}

/// The most memory that the updater's process has had, in bytes: what the kernel keeps for it of files that
/// were read is not counted.
fn peak_memory(on: &mut Running) -> Result<u64> {
    let processes = on.agent.request("read /sys/fs/cgroup/updater/cgroup.procs", LIMIT)?;
    let [process] = &processes[..] else { bail!("the updater's processes are {processes:?}") };
    let status = on.agent.request(&format!("read /proc/{process}/status"), LIMIT)?;
    let peak = status.iter().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|text| text.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("a process has a peak")?.trim().parse()?;
    Ok(kib << 10)
}

/// A figure of the updater's control group: microseconds of processors, or bytes of memory.
fn updater(on: &mut Running, file: &str) -> Result<u64> {
    let text = on.agent.request(&format!("read /sys/fs/cgroup/updater/{file}"), LIMIT)?;
    let first = text.first().with_context(|| format!("`{file}` is empty"))?;
    let number = first.rsplit(' ').next().unwrap_or_default();
    number.parse().with_context(|| format!("`{file}` says `{first}`"))
}

/// How many blocks of a slot differ between two root images: what has to be written at least.
fn changed_blocks(from: &Released, to: &Released) -> Result<usize> {
    let read = |release: &Released| std::fs::read(release.image.join("root.img"));
    let (from, to) = (read(from)?, read(to)?);
    let old = |index: usize| from.get(index * BLOCK..(index + 1) * BLOCK);
    Ok(to.chunks(BLOCK).enumerate().filter(|&(index, block)| old(index) != Some(block)).count())
}

/// Tries what was staged, until a pod runs again.
fn upgrade(on: &mut Running, to: &Released) -> Result<Value> {
    let pods = on.machine.marks_of(POD);
    let before = on.machine.qemu_cpu_seconds()?;
    on.restarts(&json!({ "do": "upgrade" }))?;
    let seconds = on.machine.wait_for_mark_after(POD, pods, LIMIT)?;
    let cost = on.machine.qemu_cpu_seconds()? - before;
    on.boots(to)?;
    let slots = on.is_healthy(to)?;
    ensure!(slots["fell-back"].is_null(), "{slots:#}");
    Ok(json!({ "qemu-cpu-seconds": cost, "guest-seconds-until-pod": seconds }))
}
