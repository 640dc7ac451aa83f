//! The two daemons whose environment comes from the node config, when another config has come while
//! they run: they are asked to end, and PID 1 starts them anew. Containers outlive that.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use crate::root::Root;

/// A control group that PID 1 makes for a unit, and the unit's program: shims and containers may be
/// in the group as well.
const DAEMONS: &[(&str, &str)] = &[
    ("/sys/fs/cgroup/kubelet/cgroup.procs", "/usr/bin/kubelet"),
    ("/sys/fs/cgroup/runtime/cgroup.procs", "/usr/bin/containerd"),
];

/// Asks those that run to end. One that has not started yet will start with what is new.
pub(crate) fn restart(root: &Root) {
    for pid in running(root) {
        // One that has ended meanwhile is as good.
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn running(root: &Root) -> Vec<Pid> {
    let mut running = Vec::new();
    for (group, program) in DAEMONS {
        let members = fs::read_to_string(root.path(group)).unwrap_or_default();
        for pid in members.lines().filter_map(|line| line.trim().parse::<i32>().ok()) {
            // Not its `exe`, which only who may trace a process can read.
            let runs = fs::read(root.path(format!("/proc/{pid}/cmdline"))).unwrap_or_default();
            if runs.split(|byte| *byte == 0).next() == Some(program.as_bytes()) {
                running.extend(Pid::from_raw(pid));
            }
        }
    }
    running
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::{Keep, PUBLIC};

    #[test]
    fn the_daemons_are_told_from_what_else_is_in_their_groups() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        assert_eq!(running(&root), []);
        for (file, text) in [
            ("/sys/fs/cgroup/runtime/cgroup.procs", "10\n11\n12\n"),
            ("/sys/fs/cgroup/kubelet/cgroup.procs", "20\n"),
        ] {
            root.write(file, text.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
        }
        for (pid, program) in
            [(10, "containerd"), (11, "containerd-shim-runc-v2"), (12, "kubelet"), (20, "kubelet")]
        {
            let line = format!("/usr/bin/{program}\0--an\0argument\0");
            let file = format!("/proc/{pid}/cmdline");
            root.write(file, line.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
        }
        let running: Vec<_> = running(&root).iter().map(|pid| pid.as_raw_nonzero().get()).collect();
        assert_eq!(running, [20, 10]);
    }
}
