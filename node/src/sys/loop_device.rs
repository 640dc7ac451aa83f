//! Files and disks as loop devices (loop(4), `include/uapi/linux/loop.h`).
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

pub(crate) use formats::loop_device::Access;
use formats::loop_device::{Config, LOOP_CLR_FD, LOOP_CONFIGURE, LOOP_CTL_GET_FREE};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, NoArg, Opcode, Setter, ioctl};

/// Others look for a free device too; each time somebody else was faster there is one less to try.
const MOST_TRIES: usize = 64;

/// The number of a device that nothing is behind.
///
/// # Errors
/// When the kernel has no loop devices.
pub(crate) fn free() -> io::Result<u32> {
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    // SAFETY: needed because rustix has no loop calls. Sound because nothing but the number of
    // the call is passed, and the answer is the return value.
    Ok(unsafe { ioctl(&control, GetFree)? })
}

/// Puts a file or disk behind a free device, which lasts until [`detach`].
///
/// # Errors
/// When the kernel has no loop devices or refuses the file.
pub(crate) fn attach(path: &Path, access: Access) -> io::Result<PathBuf> {
    let write = access == Access::ReadWrite;
    let file = OpenOptions::new().read(true).write(write).open(path)?;
    let config = config(&file, path, access)?;
    let mut error = Errno::BUSY;
    for _ in 0..MOST_TRIES {
        let node = PathBuf::from(format!("/dev/loop{}", free()?));
        let device = OpenOptions::new().read(true).write(write).open(&node)?;
        match configure(&device, config.clone()) {
            Ok(()) => return Ok(node),
            Err(Errno::BUSY) => {}
            Err(other) => {
                error = other;
                break;
            }
        }
    }
    Err(error.into())
}

fn config(file: &File, path: &Path, access: Access) -> io::Result<Config> {
    let fd = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
    Ok(Config::new(fd, 0, access, path.as_os_str().as_bytes()))
}

fn configure(device: impl AsFd, config: Config) -> Result<(), Errno> {
    // SAFETY: needed because rustix has no loop calls. Sound because the kernel only reads
    // `config`, whose layout is the header's, and takes its own reference to the file behind the
    // descriptor, which is open while this runs.
    unsafe { ioctl(device, Setter::<LOOP_CONFIGURE, Config>::new(config)) }
}

/// Takes what is behind a device away; if it is in use the kernel does so when it no longer is.
///
/// # Errors
/// When it is no loop device or nothing is behind it.
pub(crate) fn detach(node: &Path) -> io::Result<()> {
    let device = File::open(node)?;
    // SAFETY: needed because rustix has no loop calls. Sound because nothing but the number of
    // the call is passed.
    unsafe { ioctl(&device, NoArg::<LOOP_CLR_FD>::new())? };
    Ok(())
}

/// A call whose answer is its return value.
struct GetFree;

// SAFETY: the call takes no argument, so the pointer is null, and its output is a number.
unsafe impl Ioctl for GetFree {
    type Output = u32;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut rustix::ffi::c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(
        out: IoctlOutput,
        _: *mut rustix::ffi::c_void,
    ) -> rustix::io::Result<u32> {
        u32::try_from(out).map_err(|_| Errno::RANGE)
    }
}
