//! Telling the kernel that a partition has grown: `BLKPG` (include/uapi/linux/blkpg.h).
//!
//! `BLKRRPART` would read the whole table again, but the kernel refuses it while any partition of
//! the disk is in use, and ours always is: the root lies on the same disk.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, Setter, ioctl, opcode};

const BLKPG: Opcode = opcode::none(0x12, 105);
const BLKPG_RESIZE_PARTITION: i32 = 3;

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
#[derive(Debug)]
struct Argument {
    op: i32,
    flags: i32,
    datalen: i32,
    data: *mut c_void,
}

/// `struct blkpg_partition`; the two names are unused by the kernel.
#[repr(C)]
#[derive(Debug)]
struct Partition {
    start: i64,
    length: i64,
    pno: i32,
    devname: [u8; 64],
    volname: [u8; 64],
}

/// Sets the length of partition `number` of the open disk, in bytes, as the kernel sees it. The
/// start must be what it was. Works while the partition is mounted; writes nothing to the disk.
///
/// # Errors
/// `EBUSY` when it would overlap another one, `EINVAL` when the start differs, `ENXIO` when there
/// is no such partition.
pub fn resize_partition(
    disk: impl AsFd,
    number: i32,
    start_bytes: i64,
    length_bytes: i64,
) -> io::Result<()> {
    let mut partition = Partition {
        start: start_bytes,
        length: length_bytes,
        pno: number,
        devname: [0; 64],
        volname: [0; 64],
    };
    let argument = Argument {
        op: BLKPG_RESIZE_PARTITION,
        flags: 0,
        datalen: i32::try_from(size_of::<Partition>()).map_err(io::Error::other)?,
        data: (&raw mut partition).cast(),
    };
    // SAFETY: needed because rustix has no BLKPG. Sound because both structures have the layout
    // of blkpg.h (a test pins their sizes), and `partition` outlives the call, which keeps no
    // pointer to it.
    unsafe { ioctl(disk, Setter::<BLKPG, Argument>::new(argument))? };
    Ok(())
}

/// An ioctl whose whole answer is the return value, called with an integer or nothing.
#[derive(Debug)]
pub(super) struct ReturnsNumber<const OPCODE: Opcode>;

// SAFETY: needed because rustix has no pattern for ioctls that answer by their return value.
// Sound because no pointer is passed, so the kernel has nothing to read or write.
unsafe impl<const OPCODE: Opcode> Ioctl for ReturnsNumber<OPCODE> {
    type Output = i32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        OPCODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_layout_of_the_kernels_header() {
        assert_eq!(size_of::<Argument>(), 24);
        assert_eq!(size_of::<Partition>(), 152);
        assert_eq!(BLKPG, 0x1269);
    }

    #[test]
    fn something_that_is_no_disk_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let error = resize_partition(&file, 1, 0, 4096).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOTTY.raw_os_error()));
    }
}
