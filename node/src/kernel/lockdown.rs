//! Keeping root, and so every privileged pod, out of the running kernel: kernel_lockdown(7) and
//! `kernel.kexec_load_disabled` (`Documentation/admin-guide/sysctl/kernel.rst`).
//!
//! It is not on the kernel's command line, for then all modules of the boot would be checked for
//! their signatures, which takes seconds and which dm-verity has vouched for
//! (docs/decisions/0009-modules-without-their-signature.md).

use std::fs::OpenOptions;
use std::io::{self, Write as _};

use formats::node_config::{Lockdown, Security, Weakening};

use crate::root::{Keep, PUBLIC, Root};

/// What the node config leaves open, a word a line; its absence says: nothing.
pub(crate) const LEFT_OPEN: &str = "/run/orlop/kernel-left-open";
const LOCKDOWN: &str = "lockdown";
const KEXEC: &str = "kexec";

/// How [`raise`] has gone by [`LEFT_OPEN`]: what it has left open, a word a line, and [`FOUND_LOCKED`]
/// if that was nothing it could decide. Absent until then.
const PREPARED: &str = "/run/orlop/kernel-prepared";
/// The kernel was locked down before: Debian's does so by itself where Secure Boot is on.
const FOUND_LOCKED: &str = "locked-before";

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
fn is_raised(root: &Root) -> bool {
    text(root, LEVEL).is_ok_and(|level| !level.is_empty() && !level.contains("[none]"))
}

/// What the config gives up, `weakened`, as far as it really is so, and what is given up in spite of
/// it: what [`raise`] has done holds until the next boot. To be asked when [`LEFT_OPEN`] is as the
/// config says, for what it said before then counts if it was read.
pub(crate) fn told(root: &Root, security: Security, weakened: Vec<Weakening>) -> Vec<String> {
    let prepared = text(root, PREPARED).ok().filter(|_| root.path(PREPARED).exists());
    let has = |word: &str| prepared.as_deref().is_some_and(|text| is_in(text, word));
    let raised = is_raised(root);
    let line = |weakening: Weakening| match weakening.key.as_str() {
        "security.lockdown" if raised && prepared.is_some() && !has(FOUND_LOCKED) => {
            "the kernel is locked down until the next boot: `security.lockdown` came late"
                .to_owned()
        }
        "security.lockdown" if raised => "`security.lockdown` is `none`, and the kernel is locked \
            down all the same: it was when it started, as Secure Boot of the firmware has it"
            .to_owned(),
        "security.kexec" if text(root, KEXEC_DISABLED).is_ok_and(|text| text.trim() == "1") => {
            "no other kernel can be started until the next boot: `security.kexec` came late"
                .to_owned()
        }
        _ => weakening.line,
    };
    let mut lines: Vec<String> = weakened.into_iter().map(line).collect();
    if security.lockdown != Lockdown::None && has(LOCKDOWN) && !raised {
        let late = "the kernel is open to privileged pods until the next boot: `security.lockdown` \
                    came late";
        lines.push(late.to_owned());
    }
    if !security.kexec && has(KEXEC) {
        let late = "privileged pods may start another kernel until the next boot: `security.kexec` \
                    came late";
        lines.push(late.to_owned());
    }
    lines
}

fn is_in(text: &str, word: &str) -> bool {
    text.lines().any(|line| line == word)
}

/// Decides what is left open, by the node config of now, and notes it. A config that comes at this
/// moment has written before it looks at what is noted, and this notes before it looks again: one of
/// the two sees the other.
fn decide(root: &Root) -> io::Result<String> {
    let noted = text(root, PREPARED)?;
    let ours = root.path(PREPARED).exists() && !is_in(&noted, FOUND_LOCKED);
    let found = if is_raised(root) && !ours { format!("{FOUND_LOCKED}\n") } else { String::new() };
    // One that cannot be read leaves nothing open.
    let wanted = || text(root, LEFT_OPEN).unwrap_or_default();
    let mut open = wanted();
    loop {
        root.write(PREPARED, format!("{found}{open}").as_bytes(), PUBLIC, Keep::ThisBoot)?;
        let now = wanted();
        if now == open {
            return Ok(open);
        }
        open = now;
    }
}

/// Closes what the node config does not leave open; and what could not be closed.
pub(super) fn raise(root: &Root) -> Vec<String> {
    let mut troubles = Vec::new();
    let open = decide(root).unwrap_or_else(|error| {
        troubles.push(format!("cannot note how the kernel was closed: {PREPARED}: {error}"));
        text(root, LEFT_OPEN).unwrap_or_default()
    });
    let left_open = |word: &str| is_in(&open, word);
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
    use formats::node_config::NodeConfig;

    use super::*;

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

    const CAME_LATE: [&str; 2] = [
        "the kernel is locked down until the next boot: `security.lockdown` came late",
        "no other kernel can be started until the next boot: `security.kexec` came late",
    ];

    fn told_of(root: &Root, security: Security) -> Vec<String> {
        let text = left_open(security);
        match text {
            Some(text) => {
                root.write(LEFT_OPEN, text.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
            }
            None => root.remove(LEFT_OPEN).unwrap(),
        }
        let weakened = NodeConfig { security, ..NodeConfig::default() }.weakened();
        told(root, security, weakened)
    }

    /// The kernel's own files take what is written, ours is made of it: the brackets move.
    fn raise_as_the_kernel_does(root: &Root) {
        assert_eq!(raise(root), [""; 0]);
        if text(root, LEVEL).unwrap().starts_with("integrity") {
            let level = b"none [integrity] confidentiality\n";
            root.write(LEVEL, level, PUBLIC, Keep::ThisBoot).unwrap();
        }
    }

    #[test]
    fn a_config_that_comes_late_is_told_what_holds_until_the_next_boot() {
        let open: Vec<String> = NodeConfig { security: OPEN, ..NodeConfig::default() }
            .weakened()
            .into_iter()
            .map(|weakening| weakening.line)
            .collect();
        // Closed, then wanted open.
        let (_directory, root) = node(NONE, Security::default());
        assert_eq!(told_of(&root, OPEN), open, "it is not closed yet");
        assert_eq!(told_of(&root, Security::default()), [""; 0]);
        raise_as_the_kernel_does(&root);
        assert_eq!(told_of(&root, Security::default()), [""; 0]);
        assert_eq!(told_of(&root, OPEN), CAME_LATE);
        // The unit may run again.
        raise_as_the_kernel_does(&root);
        assert_eq!(told_of(&root, OPEN), CAME_LATE);

        // Open, then wanted closed.
        let (_directory, root) = node(NONE, OPEN);
        assert_eq!(told_of(&root, Security::default()), [""; 0], "it will be closed in time");
        assert_eq!(told_of(&root, OPEN), open);
        raise_as_the_kernel_does(&root);
        assert_eq!(told_of(&root, OPEN), open);
        let late = [
            "the kernel is open to privileged pods until the next boot: `security.lockdown` came late",
            "privileged pods may start another kernel until the next boot: `security.kexec` came late",
        ];
        assert_eq!(told_of(&root, Security::default()), late);
        assert_eq!(
            told_of(&root, Security { kexec: true, ..Security::default() }),
            [&open[1], late[0]]
        );
    }

    #[test]
    fn a_kernel_that_secure_boot_holds_is_not_said_to_be_open_nor_late() {
        let locked = "none [integrity] confidentiality\n";
        let only_lockdown = Security { lockdown: Lockdown::None, kexec: false };
        let held = "`security.lockdown` is `none`, and the kernel is locked down all the same: it was \
                    when it started, as Secure Boot of the firmware has it";
        for first in [Security::default(), only_lockdown] {
            let (_directory, root) = node(locked, first);
            assert_eq!(told_of(&root, only_lockdown), [held]);
            told_of(&root, first);
            for _ in 0..2 {
                assert_eq!(raise(&root), [""; 0]);
                assert_eq!(told_of(&root, only_lockdown), [held]);
                assert_eq!(told_of(&root, Security::default()), [""; 0]);
            }
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
