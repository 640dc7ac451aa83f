//! kexec_file_load(2).
#![expect(unsafe_code, reason = "kexec_file_load(2) has no safe wrapper")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// Loads a kernel and its initrd to be started by `reboot(LINUX_REBOOT_CMD_KEXEC)`.
///
/// # Errors
/// What the kernel says.
pub(crate) fn load(kernel: impl AsFd, initrd: impl AsFd, command_line: &CStr) -> io::Result<()> {
    let (kernel, initrd) = (kernel.as_fd().as_raw_fd(), initrd.as_fd().as_raw_fd());
    // With its zero.
    let length = command_line.to_bytes_with_nul().len();
    let flags: libc::c_ulong = 0;
    // SAFETY: needed because neither `rustix` nor the C library has the call. Sound because both
    // descriptors are open, and the kernel reads `length` bytes of a text that lives longer.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel,
            initrd,
            length,
            command_line.as_ptr(),
            flags,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
