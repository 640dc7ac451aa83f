//! Leaving the initramfs: the root takes the place of `/`, what the initramfs held is freed, and
//! the init inside the root takes over this process.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use rustix::fs::statfs;
use rustix::mount::mount_move;
use rustix::process::{chdir, chroot};

use crate::mounts::EARLY;
use crate::sys::{Doing as _, Failure};
use crate::watchdog::{self, Watchdog};

/// Magic numbers of the file systems that an initramfs can be (include/uapi/linux/magic.h).
const RAMFS_MAGIC: u64 = 0x8584_58f6;
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Makes `new_root` the root and becomes `init`, a path inside it, which gets the watchdog.
pub(super) fn switch_root(
    new_root: &Path,
    init: &Path,
    watchdog: Option<Watchdog>,
) -> Result<Infallible, Failure> {
    for entry in EARLY {
        let target = new_root.join(entry.target.trim_start_matches('/'));
        mount_move(entry.target, &target)
            .doing(|| format!("move {} into the root", entry.target))?;
    }
    chdir(new_root).doing(|| "enter the root")?;
    free_initramfs().doing(|| "free the initramfs")?;
    mount_move(".", "/").doing(|| "move the root to /")?;
    chroot(".").doing(|| "change to the root")?;
    chdir("/").doing(|| "enter the root")?;

    #[expect(clippy::disallowed_methods, reason = "exec replaces this process, no child is made")]
    let mut command = std::process::Command::new(init);
    command.env_clear();
    if let Some(watchdog) = watchdog {
        let number = watchdog.hand_over().doing(|| "hand over the watchdog")?;
        command.env(watchdog::VARIABLE, number);
    }
    let error = command.exec();
    Err(Failure::new(format!("start {} in the root", init.display()), error))
}

/// Deletes the files of the initramfs, which would take memory for as long as the machine runs.
/// An image file behind a loop device lives on without its name.
fn free_initramfs() -> io::Result<()> {
    if !is_initramfs(u64::try_from(statfs("/")?.f_type).unwrap_or(0)) {
        return Err(io::Error::other("/ is not an initramfs, nothing is deleted"));
    }
    delete_contents(Path::new("/"), fs::symlink_metadata("/")?.dev())
}

/// Guards the deletion: a program started by mistake on another root must not empty it.
fn is_initramfs(magic: u64) -> bool {
    magic == RAMFS_MAGIC || magic == TMPFS_MAGIC
}

/// Deletes what is in `directory` and on the device `dev`: what is mounted below stays.
fn delete_contents(directory: &Path, dev: u64) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.dev() != dev {
            continue;
        }
        if metadata.is_dir() {
            delete_contents(&path, dev)?;
            // A directory with a mount on it or below it stays.
            let _ = fs::remove_dir(&path);
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn everything_below_is_deleted_and_links_are_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "").unwrap();
        let inside = tempfile::tempdir().unwrap();
        fs::create_dir_all(inside.path().join("lib/modules")).unwrap();
        fs::write(inside.path().join("lib/modules/load-order"), "x").unwrap();
        symlink(outside.path(), inside.path().join("lib/link")).unwrap();

        let dev = fs::symlink_metadata(inside.path()).unwrap().dev();
        delete_contents(inside.path(), dev).unwrap();
        assert_eq!(fs::read_dir(inside.path()).unwrap().count(), 0);
        assert!(outside.path().join("kept").exists());
    }

    #[test]
    fn files_of_another_device_stay() {
        let inside = tempfile::tempdir().unwrap();
        fs::write(inside.path().join("kept"), "").unwrap();
        let dev = fs::symlink_metadata(inside.path()).unwrap().dev();
        delete_contents(inside.path(), dev + 1).unwrap();
        assert!(inside.path().join("kept").exists());
    }

    #[test]
    fn only_a_root_in_memory_counts_as_an_initramfs() {
        for (magic, want) in [
            (RAMFS_MAGIC, true),
            (TMPFS_MAGIC, true),
            (0xef53, false),      // ext4
            (0xe0f5_e1e2, false), // erofs
            (0x794c_7630, false), // overlay
            (0, false),
        ] {
            assert_eq!(is_initramfs(magic), want, "{magic:#x}");
        }
    }
}
