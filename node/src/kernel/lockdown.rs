//! Keeping root, and so every privileged pod, out of the running kernel: kernel_lockdown(7) and
//! `kernel.kexec_load_disabled` (`Documentation/admin-guide/sysctl/kernel.rst`).
//!
//! It is not on the kernel's command line, for then all modules of the boot would be checked for
//! their signatures, which takes seconds and which dm-verity has vouched for
//! (docs/decisions/0009-modules-without-their-signature.md).

use std::fs::OpenOptions;
use std::io::{self, Write as _};

use formats::node_config::{Lockdown, Security};

use crate::root::Root;

/// What the node config leaves open, a word a line; its absence says: nothing.
pub(crate) const LEFT_OPEN: &str = "/run/orlop/kernel-left-open";
const LOCKDOWN: &str = "lockdown";
const KEXEC: &str = "kexec";

/// All levels, that which holds in brackets: `none [integrity] confidentiality`.
const LEVEL: &str = "/sys/kernel/security/lockdown";
const KEXEC_DISABLED: &str = "/proc/sys/kernel/kexec_load_disabled";
/// Our own file and the kernel's are short.
const LIMIT: u64 = 4096;

/// The text of [`LEFT_OPEN`]; `None` if nothing is left open.
pub(crate) fn left_open(security: Security) -> Option<String> {
    let lockdown = (security.lockdown == Lockdown::None).then_some(LOCKDOWN);
    let kexec = security.kexec.then_some(KEXEC);
    let words: Vec<_> = [lockdown, kexec].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join("\n") + "\n")
}

/// Whether the kernel is locked down already; it cannot be opened before the next boot.
pub(crate) fn is_raised(root: &Root) -> bool {
    text(root, LEVEL).is_ok_and(|level| !level.is_empty() && !level.contains("[none]"))
}

/// Closes what the node config does not leave open; and what could not be closed.
pub(super) fn raise(root: &Root) -> Vec<String> {
    // One that cannot be read leaves nothing open.
    let open = text(root, LEFT_OPEN).unwrap_or_default();
    let left_open = |word: &str| open.lines().any(|line| line == word);
    let mut troubles = Vec::new();
    if !left_open(LOCKDOWN)
        && !is_raised(root)
        && let Err(error) = write(root, LEVEL, "integrity")
    {
        troubles.push(format!("the kernel is not locked down: {LEVEL}: {error}"));
    }
    if !left_open(KEXEC)
        && let Err(error) = write(root, KEXEC_DISABLED, "1")
    {
        troubles.push(format!("another kernel can be started: {KEXEC_DISABLED}: {error}"));
    }
    troubles
}

fn text(root: &Root, path: &str) -> io::Result<String> {
    let bytes = root.read(path, LIMIT)?.unwrap_or_default();
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// In place: it is the kernel's file.
fn write(root: &Root, path: &str, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(root.path(path))?.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::{Keep, PUBLIC};

    /// The kernel's files, and ours.
    fn node(level: &str, security: Security) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        let left_open = left_open(security);
        let files = [(LEVEL, Some(level)), (KEXEC_DISABLED, Some("0"))];
        for (path, text) in files.into_iter().chain([(LEFT_OPEN, left_open.as_deref())]) {
            if let Some(text) = text {
                root.write(path, text.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
            }
        }
        (directory, root)
    }

    const NONE: &str = "[none] integrity confidentiality\n";
    const OPEN: Security = Security { lockdown: Lockdown::None, kexec: true };

    #[test]
    fn what_the_config_does_not_leave_open_is_closed() {
        // A file takes what is written at its beginning, the kernel takes it as a whole.
        let integrity = "integritytegrity confidentiality\n";
        for (security, level, kexec) in [
            (Security::default(), integrity, "1"),
            (Security { kexec: true, ..Security::default() }, integrity, "0"),
            (Security { lockdown: Lockdown::None, kexec: false }, NONE, "1"),
            (OPEN, NONE, "0"),
        ] {
            let (_directory, root) = node(NONE, security);
            assert_eq!(raise(&root), [""; 0]);
            let found = [LEVEL, KEXEC_DISABLED].map(|path| text(&root, path).unwrap());
            assert_eq!(found, [level, kexec], "{security:?}");
        }
    }

    #[test]
    fn a_kernel_that_is_locked_down_is_left_so() {
        let level = "none integrity [confidentiality]\n";
        let (_directory, root) = node(level, Security::default());
        assert!(is_raised(&root));
        assert_eq!(raise(&root), [""; 0]);
        assert_eq!(text(&root, LEVEL).unwrap(), level);
    }

    #[test]
    fn a_kernel_that_cannot_be_closed_is_told() {
        let (_directory, root) = node(NONE, Security::default());
        for path in [LEVEL, KEXEC_DISABLED] {
            root.remove(path).unwrap();
        }
        assert!(!is_raised(&root));
        let absent = "No such file or directory (os error 2)";
        let want = [
            format!("the kernel is not locked down: {LEVEL}: {absent}"),
            format!("another kernel can be started: {KEXEC_DISABLED}: {absent}"),
        ];
        assert_eq!(raise(&root), want);
    }
}
