//! Disks as volumes, and what drivers of storage expect of the host. All on the shared node.

use anyhow::{Context as _, Result, ensure};
use qemu_tests::{Cluster, Orlop};
use serde_json::{Value, json};

use crate::world::{LIMIT, pod, removed, runs, world};

/// A pod that sees the node's devices, mounts and files below `/host`.
fn watcher(name: &str, node: &str, propagation: &str) -> Value {
    let mounts = ["dev", "proc", "sys", "run"].map(|path| {
        json!({ "name": path, "mountPath": format!("/host/{path}"), "mountPropagation": "HostToContainer" })
    });
    let shared =
        json!({ "name": "shared", "mountPath": "/shared", "mountPropagation": propagation });
    let mounts: Vec<_> = mounts.into_iter().chain([shared]).collect();
    let volume = |name: &str, path: &str, kind: &str| json!({ "name": name, "hostPath": { "path": path, "type": kind } });
    let volumes: Vec<_> = ["dev", "proc", "sys", "run"]
        .map(|path| volume(path, &format!("/{path}"), "Directory"))
        .into_iter()
        .chain([volume("shared", "/run/shared-by-tests", "DirectoryOrCreate")])
        .collect();
    let container = json!({
        "command": ["/bin/sh", "-c", "tail -f /dev/null"],
        "securityContext": { "privileged": true },
        "volumeMounts": mounts,
    });
    pod(name, node, container, json!({ "hostPID": true, "volumes": volumes }))
}

/// Waits in a pod until a command succeeds.
fn until(cluster: &Cluster, pod: &str, command: &str) -> Result<String> {
    let script =
        format!("i=0; until {command}; do i=$((i+1)); [ $i -lt 300 ] || exit 1; sleep 1; done");
    cluster.exec(pod, &["sh", "-c", &script]).with_context(|| {
        let look = cluster
            .exec(pod, &["sh", "-c", "cd /host/dev/disk && ls -lR; cat /host/proc/partitions"]);
        look.unwrap_or_else(|error| error.to_string())
    })
}

/// A volume of the node at this path, with the claim for it.
fn claim(cluster: &Cluster, name: &str, node: &str, mode: &str, path: &str) -> Result<()> {
    let mut local = json!({ "path": path });
    if mode == "Filesystem" {
        local["fsType"] = "ext4".into();
    }
    let hosts = json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": [node] });
    let common = |more: Value| {
        let mut spec = json!({
            "accessModes": ["ReadWriteOnce"], "volumeMode": mode, "storageClassName": name,
        });
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("another").clone());
        spec
    };
    let size = json!({ "storage": "64Mi" });
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": name },
        "spec": common(json!({
            "capacity": size, "local": local, "persistentVolumeReclaimPolicy": "Retain",
            "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [hosts] }] } },
        })),
    });
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name },
        "spec": common(json!({ "volumeName": name, "resources": { "requests": size } })),
    });
    cluster.apply(&volume.to_string())?;
    cluster.apply(&claim.to_string())
}

pub(crate) fn plugged_in_disks_are_volumes(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let (cluster, node) = (&world.cluster, world.worker(orlop)?);
    let host = runs(cluster, &watcher("disk-watcher", node, "None"))?;

    world.plugs.plug_in(0, "virtio-blk-pci", "vol-block")?;
    let by_id = "/dev/disk/by-id/virtio-vol-block";
    until(cluster, &host, &format!("[ -b /host{by_id} ]"))?;
    claim(cluster, "block", node, "Block", by_id)?;
    let volumes = json!({ "volumes": [
        { "name": "disk", "persistentVolumeClaim": { "claimName": "block" } },
    ]});
    let container = json!({
        "command": ["/bin/sh", "-c", "tail -f /dev/null"],
        "volumeDevices": [{ "name": "disk", "devicePath": "/dev/xvda" }],
    });
    let block = runs(cluster, &pod("block", node, container, volumes))?;
    let write = "echo written by a pod | dd of=/dev/xvda bs=512 conv=sync,fsync 2>/dev/null";
    cluster.exec(&block, &["sh", "-c", write])?;
    let read = format!("head -c 16 /host{by_id}");
    ensure!(cluster.exec(&host, &["sh", "-c", &read])? == "written by a pod");
    // kubelet holds it for as long as the pod lives.
    let held = "cat /host/sys/block/loop*/loop/backing_file 2>/dev/null | grep -q kubelet";
    until(cluster, &host, held)?;
    removed(cluster, &block)?;
    until(cluster, &host, &format!("! ({held})"))?;

    world.plugs.plug_in(1, "nvme", "vol0fs")?;
    let by_id = "/dev/disk/by-id/nvme-QEMU_NVMe_Ctrl_vol0fs";
    until(cluster, &host, &format!("[ -b /host{by_id} ]"))?;
    claim(cluster, "fs", node, "Filesystem", by_id)?;
    let mounting = |name: &str, script: &str| {
        let container = json!({
            "command": ["/bin/sh", "-c", script],
            "volumeMounts": [{ "name": "disk", "mountPath": "/data" }],
        });
        let volumes = json!({ "volumes": [
            { "name": "disk", "persistentVolumeClaim": { "claimName": "fs" } },
        ]});
        pod(name, node, container, volumes)
    };
    // kubelet makes the file system the first time, and finds it the second.
    let first = runs(cluster, &mounting("fs-first", "echo kept > /data/file; tail -f /dev/null"))?;
    let mounts = cluster.exec(&first, &["cat", "/proc/mounts"])?;
    ensure!(mounts.contains(" /data ext4 "), "{mounts}");
    // And it has a name by what is on it now.
    let uuid = "ls -l /host/dev/disk/by-uuid | grep -q nvme";
    until(cluster, &host, uuid)?;
    removed(cluster, &first)?;
    let second = runs(cluster, &mounting("fs-second", "cat /data/file; tail -f /dev/null"))?;
    cluster.log_line(&second, "kept", LIMIT)?;
    removed(cluster, &second)?;

    // Names go with their disks.
    for (serial, name) in
        [("vol-block", "virtio-vol-block"), ("vol0fs", "nvme-QEMU_NVMe_Ctrl_vol0fs")]
    {
        world.plugs.pull_out(serial)?;
        until(cluster, &host, &format!("! [ -L /host/dev/disk/by-id/{name} ]"))?;
    }
    until(cluster, &host, &format!("! ({uuid})"))?;
    removed(cluster, &host)
}

pub(crate) fn the_host_has_what_drivers_expect(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let (cluster, node) = (&world.cluster, world.worker(orlop)?);
    let host = runs(cluster, &watcher("sharer", node, "Bidirectional"))?;
    let sh = |pod: &str, script: &str| cluster.exec(pod, &["sh", "-c", script]);

    let mounts = sh(&host, "cut -d' ' -f2,3 /host/proc/1/mounts")?;
    for want in [
        "/sys/fs/bpf bpf",
        "/sys/kernel/debug debugfs",
        "/sys/kernel/tracing tracefs",
        "/sys/kernel/config configfs",
        "/sys/fs/fuse/connections fusectl",
        "/sys/fs/pstore pstore",
        "/dev/hugepages hugetlbfs",
        "/sys/kernel/security securityfs",
    ] {
        ensure!(mounts.lines().any(|line| line == want), "{want} is not in\n{mounts}");
    }
    // Modules come when a node is opened; their nodes and modes are there before.
    let modes = sh(&host, "cd /host/dev; stat -c '%n %a %t:%T' fuse net/tun loop-control")?;
    ensure!(modes == "fuse 666 a:e5\nnet/tun 666 a:c8\nloop-control 600 a:ed\n", "{modes}");
    sh(&host, "exec 3<>/host/dev/net/tun")?;
    ensure!(sh(&host, "stat -c %a /host/dev/net/tun")? == "666\n");

    // What one pod mounts, the host and another pod see, until it is gone.
    let other = runs(cluster, &watcher("seer", node, "HostToContainer"))?;
    sh(&host, "mkdir -p /shared/m && mount -t tmpfs pods /shared/m && echo seen > /shared/m/file")?;
    ensure!(sh(&other, "cat /shared/m/file")? == "seen\n");
    let on_host = "grep -q ' /run/shared-by-tests/m tmpfs ' /host/proc/1/mounts";
    sh(&other, on_host)?;
    sh(&host, "umount /shared/m")?;
    sh(&other, &format!("! ({on_host}) && ! [ -e /shared/m/file ]"))?;
    removed(cluster, &other)?;
    removed(cluster, &host)?;

    let capacity = &cluster.get(&["node", node])?["status"]["capacity"];
    ensure!(capacity["hugepages-2Mi"] == "32Mi", "{capacity}");
    let container = json!({
        "command": ["/bin/sh", "-c", "tail -f /dev/null"],
        "resources": {
            "limits": { "hugepages-2Mi": "8Mi", "memory": "32Mi", "cpu": "100m" },
        },
        "volumeMounts": [{ "name": "pages", "mountPath": "/pages" }],
    });
    let volumes = json!({ "volumes": [
        { "name": "pages", "emptyDir": { "medium": "HugePages-2Mi" } },
    ]});
    let user = runs(cluster, &pod("large-pages", node, container, volumes))?;
    ensure!(sh(&user, "cat /sys/fs/cgroup/hugetlb.2MB.max")?.trim() == (8 << 20).to_string());
    sh(&user, "grep -q ' /pages hugetlbfs ' /proc/mounts && truncate -s 4M /pages/file")?;
    removed(cluster, &user)
}
