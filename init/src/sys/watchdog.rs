//! The time of a watchdog device (`Documentation/watchdog/watchdog-api.rst` of the kernel), and a
//! device that the program before this one had open.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, FromRawFd as _, OwnedFd};

use rustix::ioctl::{Getter, Opcode, Updater, ioctl, opcode};

/// `WDIOC_SETTIMEOUT` and `WDIOC_GETTIMEOUT` of include/uapi/linux/watchdog.h.
const SET_TIMEOUT: Opcode = opcode::read_write::<i32>(b'W', 6);
const GET_TIMEOUT: Opcode = opcode::read::<i32>(b'W', 7);

/// Sets after how many seconds without a sign of life it resets the machine; this is one. Returns
/// what the device has made of it.
///
/// # Errors
/// `EINVAL` if it cannot count to that.
pub fn set_timeout(device: impl AsFd, mut seconds: i32) -> io::Result<i32> {
    // SAFETY: needed because rustix has no such call. Sound because the kernel reads and writes one
    // int, which lives longer than the call.
    unsafe { ioctl(device, Updater::<SET_TIMEOUT, i32>::new(&mut seconds))? };
    Ok(seconds)
}

/// After how many seconds it resets the machine.
///
/// # Errors
/// If this is no watchdog.
pub fn timeout(device: impl AsFd) -> io::Result<i32> {
    // SAFETY: needed because rustix has no such call. Sound because the kernel writes one int,
    // which `Getter` has room for.
    Ok(unsafe { ioctl(device, Getter::<GET_TIMEOUT, i32>::new())? })
}

/// Takes a descriptor that was open when this program began, and that nothing in it uses.
///
/// # Errors
/// If there is none of that number.
pub fn inherited(number: i32) -> io::Result<OwnedFd> {
    // What is closed, or cannot be a descriptor, must not become one.
    std::fs::symlink_metadata(format!("/proc/self/fd/{number}"))?;
    // SAFETY: needed because only a number survives exec. Sound because it is open, as was seen,
    // and the caller says that nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_kernels_header() {
        assert_eq!((SET_TIMEOUT, GET_TIMEOUT), (0xc004_5706, 0x8004_5707));
    }

    #[test]
    fn what_is_no_watchdog_is_refused() {
        let file = tempfile::tempfile().unwrap();
        for error in [set_timeout(&file, 60).unwrap_err(), timeout(&file).unwrap_err()] {
            assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOTTY.raw_os_error()));
        }
        assert!(inherited(-1).is_err());
        assert!(inherited(i32::MAX).is_err());
    }
}
