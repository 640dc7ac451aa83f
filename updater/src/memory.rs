//! How much memory the unit takes of its node. Its process is small, but it reads two slots of the disk, and
//! what the kernel keeps of them would take the place of what pods have read.

use std::fs;
use std::io;
use std::path::Path;

use crate::files::{below, read};

/// Bytes of the control group, with what the kernel keeps for it of files and devices, from which on the
/// kernel takes back what nobody needs (`memory.high`, Documentation/admin-guide/cgroup-v2.rst). The least
/// that is above what a delta takes; 128 MiB is what the unit is to stay below.
const HIGH: u64 = 112 << 20;
/// Bytes of `/proc/self/cgroup`.
const LONGEST: u64 = 4096;

/// Keeps the control group that this process is in below [`HIGH`]. Nothing is done where there is none.
///
/// # Errors
/// The kernel does not take it.
pub(crate) fn keep_low(root: &Path) -> io::Result<()> {
    let text = read(&below(root, "/proc/self/cgroup"), LONGEST)?.unwrap_or_default();
    // Of the unified hierarchy (cgroups(7)); the root of it has no limit.
    let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let limit = below(root, "/sys/fs/cgroup").join(own).join("memory.high");
    if own.is_empty() || !limit.exists() {
        return Ok(());
    }
    fs::write(limit, HIGH.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_that_of_the_own_control_group() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        keep_low(root).expect("there is no control group");
        for path in ["proc/self", "sys/fs/cgroup/updater"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        let own = |text| fs::write(root.join("proc/self/cgroup"), text).unwrap();
        let limits = ["sys/fs/cgroup/memory.high", "sys/fs/cgroup/updater/memory.high"];
        let limits = limits.map(|path| root.join(path));
        limits.iter().for_each(|limit| fs::write(limit, "max").unwrap());
        let read = || limits.clone().map(|limit| fs::read_to_string(limit).unwrap());
        own("0::/\n");
        keep_low(root).unwrap();
        assert_eq!(read(), ["max", "max"]);
        own("1:cpu:/x\n0::/updater\n");
        keep_low(root).unwrap();
        assert_eq!(read(), ["max", "117440512"]);
    }
}
