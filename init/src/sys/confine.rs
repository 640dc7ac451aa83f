//! What a child does to itself before its program runs: mounts of its own, fewer capabilities, a
//! seccomp filter. `rustix` lacks some of it, and calls for the rest what allocates or is unsafe.
//!
//! All of these are for a child between fork and exec: one system call each, no allocation, no lock.
#![expect(unsafe_code, reason = "these system calls have no safe wrapper")]

use std::ffi::CStr;

use libc::{c_ulong, sock_filter, sock_fprog};
use rustix::io::Errno;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives this process mounts of its own, at first the same as before.
///
/// # Errors
/// Without `CAP_SYS_ADMIN`.
pub(crate) fn unshare_mounts() -> Result<(), Errno> {
    // SAFETY: needed because rustix counts this as unsafe for the sake of another flag, which takes
    // descriptors from other threads. Sound because only mounts are unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
}

/// Makes a mount and all below it read-only, in this process's mounts only (Linux 5.12).
///
/// # Errors
/// What `mount_setattr` says.
pub(crate) fn read_only_below(path: &CStr) -> Result<(), Errno> {
    let attributes = attributes(libc::MOUNT_ATTR_RDONLY, 0);
    set_attributes(path, libc::AT_RECURSIVE as u32, &attributes)
}

/// Makes one mount writable again, as far as its file system is.
///
/// # Errors
/// What `mount_setattr` says.
pub(crate) fn writable(path: &CStr) -> Result<(), Errno> {
    set_attributes(path, 0, &attributes(0, libc::MOUNT_ATTR_RDONLY))
}

fn attributes(set: u64, clear: u64) -> libc::mount_attr {
    libc::mount_attr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 }
}

fn set_attributes(path: &CStr, flags: u32, attributes: &libc::mount_attr) -> Result<(), Errno> {
    let size = size_of::<libc::mount_attr>();
    let pointer: *const libc::mount_attr = attributes;
    // SAFETY: needed because neither libc nor rustix has a function for it. Sound because both
    // pointers are to live values that the kernel only reads, and the size is that of the second.
    let result = unsafe {
        libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, path.as_ptr(), flags, pointer, size)
    };
    if result == 0 { Ok(()) } else { Err(last()) }
}

/// Takes a capability from all programs that this process will ever run.
///
/// # Errors
/// [`Errno::INVAL`] if the kernel has none of this number.
pub(crate) fn drop_from_bounding_set(capability: u8) -> Result<(), Errno> {
    let capability = c_ulong::from(capability);
    // SAFETY: needed because rustix has it for those capabilities only that it knows. Sound because
    // no pointer is passed.
    let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(last()) }
}

/// Has the kernel ask this program about each system call from now on. The process must have set
/// `no_new_privs`.
///
/// # Errors
/// What `prctl` says: [`Errno::INVAL`] if the program is none.
pub(crate) fn install_filter(program: &[sock_filter]) -> Result<(), Errno> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let pointer: *const sock_fprog = &raw const program;
    // SAFETY: needed because rustix has no filters. Sound because the kernel copies the program and
    // writes to none of it; it lives through the call and has as many instructions as it says.
    let result = unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, c_ulong::from(libc::SECCOMP_MODE_FILTER), pointer)
    };
    if result == 0 { Ok(()) } else { Err(last()) }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
