//! How PID 1 is asked to go down, with a reason that its console shows, and the file by which others
//! hear that a restart is due.

use std::fs;
use std::io;
use std::path::Path;

use formats::system::{REBOOT_REQUIRED, SHUTDOWN_REASON};

use crate::files::below;
use crate::sys::signal;

/// How the machine starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By its firmware.
    Reboot,
    /// By the kernel that was loaded ([`super::kexec`]); by its firmware if there is none.
    Kexec,
}

impl How {
    /// The number behind `SIGRTMIN`, as systemd(1) has it ("Signals").
    fn signal(self) -> u8 {
        match self {
            Self::Reboot => 5,
            Self::Kexec => 6,
        }
    }
}

/// How a trial that is armed starts: by the kernel that is loaded, if there is one.
pub fn loaded(root: &Path) -> How {
    if super::kexec::is_loaded(root) { How::Kexec } else { How::Reboot }
}

/// Asks PID 1 for an orderly restart. `reason` is a line for people.
///
/// # Errors
/// PID 1 cannot be asked. That the reason cannot be left is no failure.
pub fn ask(root: &Path, how: How, reason: &str) -> io::Result<()> {
    leave_reason(root, reason);
    // A directory of a test has no PID 1 of its own.
    if root != Path::new("/") {
        return Err(io::ErrorKind::Unsupported.into());
    }
    signal::send_real_time(1, how.signal())
}

fn leave_reason(root: &Path, reason: &str) {
    let line: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let path = below(root, SHUTDOWN_REASON);
    // It lies in memory, and who reads it goes on without.
    let _ = fs::create_dir_all(path.parent().unwrap_or(&path));
    let _ = fs::write(path, line + "\n");
}

/// Says that a restart is due, to kured for example. `reason` is a line for people.
///
/// # Errors
/// What the file system says.
pub fn require(root: &Path, reason: &str) -> io::Result<()> {
    let path = below(root, REBOOT_REQUIRED);
    fs::create_dir_all(path.parent().unwrap_or(&path))?;
    fs::write(path, format!("{reason}\n"))
}

/// Says that none is due any more.
///
/// # Errors
/// What the file system says.
pub fn no_longer_required(root: &Path) -> io::Result<()> {
    match fs::remove_file(below(root, REBOOT_REQUIRED)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_one_line_whatever_is_in_it() {
        let root = tempfile::tempdir().unwrap();
        leave_reason(root.path(), "1.2 is not healthy:\n\u{1b}[2Jkubelet");
        let text = fs::read_to_string(below(root.path(), SHUTDOWN_REASON)).unwrap();
        assert_eq!(text, "1.2 is not healthy:  [2Jkubelet\n");
    }

    #[test]
    fn a_machine_that_is_not_ours_is_not_restarted() {
        let root = tempfile::tempdir().unwrap();
        let error = ask(root.path(), How::Reboot, "no").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn the_signals_are_those_of_systemd() {
        assert_eq!([How::Reboot, How::Kexec].map(How::signal), [5, 6]);
    }

    #[test]
    fn a_restart_is_required_until_it_is_not() {
        let root = tempfile::tempdir().unwrap();
        no_longer_required(root.path()).unwrap();
        require(root.path(), "1.2 is staged").unwrap();
        let path = below(root.path(), REBOOT_REQUIRED);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1.2 is staged\n");
        no_longer_required(root.path()).unwrap();
        assert!(!path.exists());
    }
}
