//! What this program may have of the processors, beside the other units of the node.

use std::fs;
use std::io;

use crate::root::Root;

/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// Lets this program's control group have only what nobody else wants (`cpu.idle` of the kernel's
/// `Documentation/admin-guide/cgroup-v2.rst`), or its usual share.
///
/// # Errors
/// If the group cannot be told, or is the root's, which has no share: then nothing has changed.
pub(super) fn only_what_is_left(root: &Root, only: bool) -> io::Result<()> {
    let groups = root.read("/proc/self/cgroup", 4096)?.unwrap_or_default();
    let group = own_group(&groups).ok_or(io::ErrorKind::NotFound)?;
    let file = root.path(format!("{GROUPS}{group}/cpu.idle"));
    // No file of ours: it is there, or the kernel has none.
    let mut file = fs::OpenOptions::new().write(true).open(file)?;
    io::Write::write_all(&mut file, if only { b"1" } else { b"0" })
}

/// The path of the second hierarchy, in which all units are (`cgroups(7)`).
fn own_group(groups: &[u8]) -> Option<&str> {
    let groups = std::str::from_utf8(groups).ok()?;
    groups.lines().find_map(|line| line.strip_prefix("0::")).filter(|group| *group != "/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::{Keep, PUBLIC};

    #[test]
    fn the_group_of_the_program_has_what_is_left_until_it_is_told_otherwise() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let put = |path: &str, text: &str| {
            root.write(path, text.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
        };
        only_what_is_left(&root, true).unwrap_err();
        put("/proc/self/cgroup", "4:memory:/x\n0::/devices\n");
        only_what_is_left(&root, true).unwrap_err();
        assert!(!root.path("/sys/fs/cgroup/devices/cpu.idle").exists());
        put("/sys/fs/cgroup/devices/cpu.idle", "0");
        for (only, want) in [(true, "1"), (false, "0")] {
            only_what_is_left(&root, only).unwrap();
            let now = root.read("/sys/fs/cgroup/devices/cpu.idle", 9).unwrap().unwrap();
            assert_eq!(now, want.as_bytes());
        }
    }

    #[test]
    fn the_root_s_group_and_one_of_the_first_kind_are_none() {
        for groups in [&b"0::/\n"[..], b"4:cpu:/x\n", b"", b"\xff0::/x\n"] {
            assert_eq!(own_group(groups), None, "{groups:?}");
        }
        assert_eq!(own_group(b"0::/kubepods/x\n"), Some("/kubepods/x"));
    }
}
