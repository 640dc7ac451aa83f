//! What units and root may do, seen from a pod that sees the node's processes. On the shared node.

use anyhow::{Context as _, Result, ensure};
use qemu_tests::{Cluster, Orlop};
use serde_json::json;

use crate::world::{LIMIT, pod, removed, runs, script, world};

/// The field of a process's `status` as text.
fn field<'s>(status: &'s str, name: &str) -> Result<&'s str> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.with_context(|| format!("no {name} in\n{status}"))?.trim())
}

/// The `status` of the one process whose command line begins so.
fn status(cluster: &Cluster, pod: &str, command: &str) -> Result<String> {
    let script = format!(
        "for p in /proc/[0-9]*; do case \"$(tr '\\0' ' ' < $p/cmdline)\" in '{command}'*) \
         cat $p/status; esac; done"
    );
    cluster.exec(pod, &["sh", "-c", &script])
}

/// The options of each mount of a process, `PATH OPTIONS` a line.
fn mounts(cluster: &Cluster, pod: &str, pid: &str) -> Result<String> {
    cluster.exec(pod, &["cut", "-d", " ", "-f", "5,6", &format!("/proc/{pid}/mountinfo")])
}

fn options<'m>(mounts: &'m str, path: &str) -> Result<Vec<&'m str>> {
    // What is mounted last is seen.
    let last = mounts.lines().rev().find_map(|line| line.strip_prefix(path)?.strip_prefix(' '));
    Ok(last.with_context(|| format!("{path} is no mount of\n{mounts}"))?.split(',').collect())
}

pub(crate) fn units_have_the_rights_of_their_files(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let (cluster, node) = (&world.cluster, world.worker(orlop)?);
    let container = json!({
        "command": ["/bin/sh", "-c", "tail -f /dev/null"],
        "securityContext": { "privileged": true },
    });
    let watcher = runs(cluster, &pod("rights", node, container, json!({ "hostPID": true })))?;

    let devices = status(cluster, &watcher, "/usr/lib/orlop/orlop-node devices")?;
    let network = status(cluster, &watcher, "/usr/lib/orlop/init network")?;
    let log = status(cluster, &watcher, "/usr/lib/orlop/init log")?;
    // mknod(2) is 27 and the kernel's log 34; ports, the network, packets, the clock are 10, 12, 13, 25.
    for (status, kept) in [(&devices, 0x4_0800_0000_u64), (&network, 0x0200_3400), (&log, 0)] {
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            ensure!(field(status, set)? == format!("{kept:016x}"), "{set}: {status}");
        }
        ensure!(field(status, "NoNewPrivs")? == "1", "{status}");
        ensure!(field(status, "Seccomp")? == "2", "{status}");
    }
    let of_devices = mounts(cluster, &watcher, field(&devices, "Pid")?)?;
    for (path, want) in
        [("/", "ro"), ("/var", "ro"), ("/run", "ro"), ("/dev", "rw"), ("/tmp", "rw")]
    {
        ensure!(options(&of_devices, path)?.contains(&want), "{path}: {of_devices}");
    }
    // Of what the host has they see what they need.
    for (status, want) in [
        (&network, "dev proc run sys tmp usr / null urandom / sys / hostname"),
        (&log, "dev run tmp usr var / null / /"),
    ] {
        let root = format!("/proc/{}/root", field(status, "Pid")?);
        let look = format!(
            "cd {root} && echo $(ls) / $(ls dev) / $(ls proc 2> /dev/null) / $(ls proc/sys/kernel 2> /dev/null)"
        );
        let seen = cluster.exec(&watcher, &["sh", "-c", &look])?;
        ensure!(seen.trim() == want, "{seen}");
    }

    let kubelet = status(cluster, &watcher, "/usr/bin/kubelet")?;
    ensure!(field(&kubelet, "NoNewPrivs")? == "1", "{kubelet}");
    let namespaces =
        format!("stat -L -c %i /proc/1/ns/mnt /proc/{}/ns/mnt", field(&kubelet, "Pid")?);
    let namespaces = cluster.exec(&watcher, &["sh", "-c", &namespaces])?;
    let namespaces: Vec<_> = namespaces.lines().collect();
    ensure!(namespaces[0] == namespaces[1], "kubelet mounts nothing for pods: {namespaces:?}");

    let of_host = mounts(cluster, &watcher, "1")?;
    for (path, want) in [
        ("/", "ro,nosuid,nodev"),
        ("/var", "rw,nosuid,nodev"),
        ("/run", "rw,nosuid,nodev,noexec"),
        ("/tmp", "rw,nosuid,nodev,noexec"),
        ("/etc", "rw,nosuid,nodev,noexec"),
        ("/dev", "rw,nosuid,noexec"),
        ("/dev/shm", "rw,nosuid,nodev,noexec"),
        ("/proc", "rw,nosuid,nodev,noexec"),
        ("/sys", "rw,nosuid,nodev,noexec"),
    ] {
        let has = options(&of_host, path)?;
        ensure!(want.split(',').all(|option| has.contains(&option)), "{path} {has:?}");
    }
    removed(cluster, &watcher)?;

    // Of all that nothing reaches containers: set-id programs of images and programs of volumes run.
    let ordinary = "set -e; grep NoNewPrivs /proc/self/status; cut -d' ' -f5,6 /proc/self/mountinfo
                  cp /bin/busybox /volume/echo; /volume/echo from a volume; tail -f /dev/null";
    let mut ordinary = script("ordinary", node, ordinary);
    ordinary["spec"]["volumes"] = json!([{ "name": "volume", "emptyDir": {} }]);
    ordinary["spec"]["containers"][0]["volumeMounts"] =
        json!([{ "name": "volume", "mountPath": "/volume" }]);
    let ordinary = runs(cluster, &ordinary)?;
    let log = cluster.log_line(&ordinary, "from a volume", LIMIT)?.join("\n");
    ensure!(log.contains("NoNewPrivs:\t0\n"), "{log}");
    let root = options(&log, "/")?;
    for option in ["nosuid", "nodev", "noexec"] {
        ensure!(!root.contains(&option), "{option}: {log}");
    }
    removed(cluster, &ordinary)
}

/// Each line is what root is refused; the last shows that it is not refused for want of the means.
const REFUSED: &str = "
refused() { if \"$@\" 2> /tmp/why; then echo \"not refused: $*\"; return 1; fi
            grep -q 'not permitted\\|nvalid argument' /tmp/why || { cat /tmp/why; return 1; }; }
set -e
module=$(find /lib/modules -name nls_ascii.ko)
# With another line behind that which says that it is signed, it is not.
(cat \"$module\"; echo) > /tmp/unsigned.ko
refused insmod /tmp/unsigned.ko
refused head -c 1 /dev/mem
refused sh -c 'echo 0 > /proc/sys/kernel/kexec_load_disabled'
refused sh -c 'echo none > /sys/kernel/security/lockdown'
insmod \"$module\" || grep -w ^nls_ascii /proc/modules
";

pub(crate) fn root_is_kept_out_of_the_kernel(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let (cluster, node) = (&world.cluster, world.worker(orlop)?);
    let host = ["dev", "lib/modules", "sys/kernel/security"];
    let mounts: Vec<_> = host
        .iter()
        .enumerate()
        .map(|(at, path)| json!({ "name": format!("v{at}"), "mountPath": format!("/{path}") }))
        .collect();
    let volumes: Vec<_> = host
        .iter()
        .enumerate()
        .map(|(at, path)| json!({ "name": format!("v{at}"), "hostPath": { "path": format!("/{path}") } }))
        .collect();
    let container = json!({
        "command": ["/bin/sh", "-c", "tail -f /dev/null"],
        "securityContext": { "privileged": true },
        "volumeMounts": mounts,
    });
    let spec = json!({ "hostPID": true, "volumes": volumes });
    let root = runs(cluster, &pod("root", node, container, spec))?;
    let level = cluster.exec(&root, &["cat", "/sys/kernel/security/lockdown"])?;
    ensure!(level == "none [integrity] confidentiality\n", "{level}");
    let kexec = cluster.exec(&root, &["cat", "/proc/sys/kernel/kexec_load_disabled"])?;
    ensure!(kexec == "1\n", "{kexec}");
    cluster.exec(&root, &["sh", "-c", REFUSED])?;
    removed(cluster, &root)
}
