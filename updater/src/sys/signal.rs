//! Real-time signals, which `rustix` keeps to itself because C libraries use some of them.
#![expect(unsafe_code, reason = "kill(2) of a real-time signal has no safe wrapper")]

use std::io;

/// Sends `SIGRTMIN+number` of the GNU C library to a process: the kernel's first is 32, of which that
/// library takes two.
///
/// # Errors
/// What kill(2) says.
pub(crate) fn send_real_time(pid: i32, number: u8) -> io::Result<()> {
    const FIRST: libc::c_int = 34;
    // SAFETY: needed because `rustix` sends named signals only. Sound because the call touches no
    // memory.
    let result = unsafe { libc::kill(pid, FIRST + libc::c_int::from(number)) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_signalled_who_is_not_there() {
        // Above what the kernel counts to.
        let error = send_real_time(i32::MAX, 5).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }
}
