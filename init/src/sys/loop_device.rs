//! A file as a block device: `LOOP_CTL_GET_FREE`, `LOOP_CONFIGURE` (include/uapi/linux/loop.h).
//! For a root image that came inside the initramfs: device-mapper wants a block device.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::PathBuf;

use rustix::ioctl::{Opcode, Setter, ioctl};

use super::block::ReturnsNumber;

const LOOP_CTL_GET_FREE: Opcode = 0x4c82;
const LOOP_CONFIGURE: Opcode = 0x4c0a;
const LO_FLAGS_READ_ONLY: u32 = 1;

/// `struct loop_config` with its `struct loop_info64`.
#[repr(C)]
#[derive(Debug)]
struct Config {
    fd: u32,
    block_size: u32,
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// Puts `file` behind a free loop device, read-only and in blocks of 4 KiB. The device keeps the
/// file's data alive, even when its name is deleted, until the machine stops.
///
/// # Errors
/// When the `loop` module is not loaded or the kernel refuses the file.
pub fn attach_read_only(file: &File) -> io::Result<PathBuf> {
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    // SAFETY: needed because rustix has no loop calls. Sound because nothing but the number of
    // the call is passed, and the answer is the return value.
    let number = unsafe { ioctl(&control, ReturnsNumber::<LOOP_CTL_GET_FREE>)? };
    let path = PathBuf::from(format!("/dev/loop{number}"));
    let device = File::open(&path)?;
    let config = read_only(file.as_raw_fd())?;
    // SAFETY: as above; the kernel only reads `config`, whose layout is the header's (a test pins
    // its size), and takes its own reference to the file behind the descriptor.
    unsafe { ioctl(&device, Setter::<LOOP_CONFIGURE, Config>::new(config))? };
    Ok(path)
}

fn read_only(fd: RawFd) -> io::Result<Config> {
    Ok(Config {
        fd: u32::try_from(fd).map_err(io::Error::other)?,
        block_size: 4096,
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: LO_FLAGS_READ_ONLY,
        file_name: [0; 64],
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
        reserved: [0; 8],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_has_the_size_and_offsets_of_the_kernels_header() {
        assert_eq!(size_of::<Config>(), 8 + 232 + 64);
        assert_eq!(std::mem::offset_of!(Config, flags), 8 + 52);
        assert_eq!(std::mem::offset_of!(Config, init), 8 + 216);
    }
}
