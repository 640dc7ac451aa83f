//! Growing a mounted ext4: `EXT4_IOC_RESIZE_FS` (fs/ext4/ext4.h; in uapi since Linux 6.1).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

const EXT4_IOC_RESIZE_FS: Opcode = opcode::write::<u64>(b'f', 16);

/// Grows the mounted ext4 which holds the open directory to `blocks` of its own blocks. The call
/// returns when it is done; the journal makes a power cut in the middle harmless.
///
/// # Errors
/// `EINVAL` when the device is too small; `EPERM` without `CAP_SYS_RESOURCE`.
pub fn resize(directory: impl AsFd, blocks: u64) -> io::Result<()> {
    // SAFETY: needed because rustix has no such call. Sound because the kernel only reads one
    // 64-bit number, which `Setter` holds for the length of the call.
    unsafe { ioctl(directory, Setter::<EXT4_IOC_RESIZE_FS, u64>::new(blocks))? };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_the_one_of_the_kernels_header() {
        assert_eq!(EXT4_IOC_RESIZE_FS, 0x4008_6610);
    }

    #[test]
    fn a_directory_of_another_file_system_is_refused() {
        let proc = std::fs::File::open("/proc/self").unwrap();
        let error = resize(&proc, 1).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOTTY.raw_os_error()));
    }
}
