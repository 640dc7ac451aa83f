//! configfs, by which drivers of storage and of gadgets are set up.

use std::io;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsmount, fsopen,
    move_mount,
};

pub(super) const PLACE: &str = "/sys/kernel/config";

/// Mounts it. It is a module: its mount point is not there before it is loaded, and opening the file
/// system by name loads it. A kernel without it is well.
pub(super) fn mount() -> io::Result<()> {
    let file_system = match fsopen("configfs", FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::NODEV) => return Ok(()),
        other => other?,
    };
    fsconfig_create(&file_system)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(&file_system, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(move_mount(&mount, "", CWD, PLACE, flags)?)
}
