//! Kernel settings which a container node needs, and what for.

use std::path::Path;

use crate::log;

/// Below `/proc/sys`.
const SETTINGS: [(&str, &str); 10] = [
    // Pods reach each other and the world through the node.
    ("net/ipv4/ip_forward", "1"),
    // Our own links take what routers announce all the same: `net::link` sets `accept_ra` to 2.
    ("net/ipv6/conf/all/forwarding", "1"),
    // What kubelet's `protectKernelDefaults` asks for.
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
    // The most there is, as kubelet takes the number of processes that pods may have from it: with
    // the default, of a small machine, a node of many pods would run out.
    ("kernel/pid_max", "4194304"),
    // Kubelet and containerd watch many files; the default of 128 instances runs out.
    ("fs/inotify/max_user_instances", "8192"),
];

/// Writes all settings below `root`, `/proc/sys`. One that cannot be set is logged: the node
/// still runs, less well.
pub fn apply(root: &Path) {
    for (name, value) in SETTINGS {
        if let Err(error) = write_existing(&root.join(name), value) {
            log::warn(&format!("cannot set {name} to {value}: {error}"));
        }
    }
}

/// Shows only errors of the kernel and ours on the console, which is for the screen; all of it
/// stays in the kernel's ring. Level 4 of syslog(2): only what is more urgent is shown.
pub fn quiet_console(root: &Path) {
    if let Err(error) = write_existing(&root.join("kernel/printk"), "4") {
        log::warn(&format!("cannot quieten the console: {error}"));
    }
}

fn write_existing(path: &Path, value: &str) -> std::io::Result<()> {
    let file = std::fs::File::options().write(true).open(path)?;
    rustix::io::write(file, value.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exists_is_set_and_what_does_not_is_passed_over() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(root.path().join("vm")).expect("made");
        std::fs::write(root.path().join("vm/overcommit_memory"), "0").expect("written");
        let forwarding = root.path().join("net/ipv6/conf/all/forwarding");
        std::fs::create_dir_all(forwarding.parent().expect("a path")).expect("made");
        std::fs::write(&forwarding, "0").expect("written");
        apply(root.path());
        // Pods may have IPv6 whatever the node's own links have.
        assert_eq!(std::fs::read_to_string(&forwarding).expect("readable"), "1");
        let read = std::fs::read_to_string(root.path().join("vm/overcommit_memory"));
        assert_eq!(read.expect("readable"), "1");
        assert!(!root.path().join("vm/panic_on_oom").exists());
    }
}
