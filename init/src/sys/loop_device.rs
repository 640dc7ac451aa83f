//! A file as a block device: `LOOP_CTL_GET_FREE`, `LOOP_CONFIGURE` (include/uapi/linux/loop.h).
//! For a root image that came inside the initramfs: device-mapper wants a block device.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use formats::loop_device::{Access, Config, LOOP_CONFIGURE, LOOP_CTL_GET_FREE};
use rustix::ioctl::{Setter, ioctl};

use super::block::ReturnsNumber;

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
    let fd = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
    let config = Config::new(fd, 4096, Access::ReadOnly, b"");
    // SAFETY: as above; the kernel only reads `config`, whose layout is the header's (a test pins
    // its size), and takes its own reference to the file behind the descriptor.
    unsafe { ioctl(&device, Setter::<LOOP_CONFIGURE, Config>::new(config))? };
    Ok(path)
}
