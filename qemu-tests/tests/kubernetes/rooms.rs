//! PID 1 only supervises: what reads the network and writes to the disk are processes of their own,
//! and whoever kills them disturbs nobody.

use anyhow::{Context as _, Result, ensure};
use qemu_tests::{Cluster, Orlop};
use serde_json::json;

use crate::world::{LIMIT, battered, ensure_ready, pod, privileged, removed, runs, world};

/// So often each of them is killed.
const TIMES: usize = 20;

/// For each descriptor of a process what it is: a file of STATE, or a socket and its table in /proc.
/// A netlink socket is told with its protocol; 15 is that of uevents.
const DESCRIPTORS: &str = r#"
    state=$(stat -c %d /proc/1/root/var)
    for process in 1 $(cat /proc/1/root/sys/fs/cgroup/network/cgroup.procs) \
                     $(cat /proc/1/root/sys/fs/cgroup/log/cgroup.procs); do
        for file in /proc/$process/fd/*; do
            link=$(readlink $file)
            case $link in
            socket:*)
                inode=${link#socket:[}; inode=${inode%]}
                for table in tcp tcp6 udp udp6 raw raw6 icmp icmp6 packet; do
                    grep -qs " $inode\b" /proc/1/net/$table && echo $process socket $table
                done
                awk -v i=$inode '$10 == i && $2 != 15 { print "netlink" }' /proc/1/net/netlink |
                    while read kind; do echo $process socket $kind; done ;;
            /*) test "$(stat -L -c %d $file)" = $state && echo $process state $link ;;
            esac
        done
        echo $process seen
    done
    true"#;

pub(crate) fn pid_1_has_no_socket_and_no_file_of_state(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let cluster = &world.cluster;
    let node = world.worker(orlop)?;
    let look = runs(cluster, &privileged("look", node, "exec tail -f /dev/null"))?;
    let found = cluster.exec(&look, &["sh", "-c", DESCRIPTORS])?;
    let mut of_pid_1 = found.lines().filter(|line| line.starts_with("1 "));
    ensure!(of_pid_1.clone().count() == 1 && of_pid_1.all(|line| line == "1 seen"), "{found}");
    // What is looked for is seen where it may be.
    ensure!(found.lines().any(|line| line.ends_with(" socket netlink")), "{found}");
    ensure!(found.lines().any(|line| line.ends_with("/orlop/init.log")), "{found}");
    removed(cluster, &look)
}

pub(crate) fn network_and_log_are_killed_and_nobody_notices(orlop: &Orlop) -> Result<()> {
    let world = world(orlop)?;
    let cluster = &world.cluster;
    let mut guard = battered(orlop, &world)?;
    let node = guard.node()?;
    let name = node.name().to_owned();
    let from = node.machine.console().len();

    // It ends if the node is without its address or its name server for a moment.
    let watch = "while ip -4 address show dev eth0 | grep -q 'inet 10.0.2.15/' &&
                       grep -q '^nameserver ' /proc/1/root/etc/resolv.conf &&
                       grep -q \"^10.0.2.15 $0\" /proc/1/root/etc/hosts; do usleep 50000; done";
    let container = json!({
        "image": crate::world::NETWORK,
        "command": ["/bin/sh", "-c", watch, name],
        "securityContext": { "privileged": true },
    });
    let more = json!({ "hostPID": true, "hostNetwork": true });
    let watcher = runs(cluster, &pod("watcher", &name, container, more))?;

    // Each run is another process: the group is empty in between.
    let axe = format!(
        "group() {{ cat /proc/1/root/sys/fs/cgroup/$1/cgroup.procs; }}
         for unit in network log; do
             old=0
             for time in $(seq {TIMES}); do
                 new=$(group $unit)
                 while test -z \"$new\" || test \"$new\" = \"$old\"; do
                     usleep 50000
                     new=$(group $unit)
                 done
                 kill -9 $new
                 old=$new
             done
         done"
    );
    let mut axe = privileged("axe", &name, &axe);
    // A runtime that is slow on a busy machine may be asked to start it more than once.
    axe["spec"]["restartPolicy"] = "OnFailure".into();
    cluster.apply(&axe.to_string())?;
    cluster
        .watch(&["pod", "axe"], LIMIT, "axe ends", |pod| pod["status"]["phase"] == "Succeeded")?;
    removed(cluster, "axe")?;

    for unit in ["network", "log"] {
        let mut line = from;
        for _ in 0..TIMES {
            let failed = format!("] {unit} FAILED: was killed");
            line = node.machine.wait_for_line(line, &[&failed], LIMIT)? + 1;
        }
        node.machine.wait_for_line(line, &[&format!("] {unit} ready")], LIMIT)?;
    }
    let killed = |line: &&String| {
        line.contains("FAILED")
            && !["network", "log"].iter().any(|unit| {
                line.contains(&format!("] {unit} FAILED"))
                    || line.trim_start().starts_with(&format!("unit      {unit} "))
            })
    };
    let other = node.machine.console()[from..].iter().find(killed);
    ensure!(other.is_none(), "{other:?}");
    still_runs(cluster, &watcher)?;
    ensure_ready(cluster, node)?;
    logs_go_on(cluster, &name)?;
    removed(cluster, &watcher)
}

fn still_runs(cluster: &Cluster, pod: &str) -> Result<()> {
    let seen = cluster.get(&["pod", pod])?;
    let status = &seen["status"]["containerStatuses"][0];
    let same = status["ready"] == true && status["restartCount"] == 0;
    ensure!(same, "{:#}", seen["status"]);
    Ok(())
}

/// All that was killed stands in PID 1's log, and what kubelet writes now in its own.
fn logs_go_on(cluster: &Cluster, node: &str) -> Result<()> {
    let logs = "/proc/1/root/var/log/orlop";
    let text = format!(
        "grep -c 'log FAILED: was killed' {logs}/init.log;
         size() {{ stat -c %s {logs}/kubelet.log; }}
         before=$(size); while test $(size) = $before; do usleep 50000; done; echo grows;
         exec tail -f /dev/null"
    );
    let reader = runs(cluster, &privileged("reader", node, &text))?;
    let lines = cluster.log_line(&reader, "grows", LIMIT)?;
    let count = lines.iter().find_map(|line| line.trim().parse::<usize>().ok());
    let count = count.context("grep says a number")?;
    ensure!(count >= TIMES, "{count} of {TIMES} ends are in the log");
    removed(cluster, &reader)
}
