//! Signals as a file descriptor. `rustix` has no signal masks and no `signalfd`, so this is libc.
//!
//! PID 1 handles no signal asynchronously: all it cares for are blocked and read in the event
//! loop. The mask is inherited by threads, which is wanted, and by child processes, which is not:
//! they call [`unblock_all`] between fork and exec.
#![expect(unsafe_code, reason = "signal masks, signalfd and kill(-1) have no safe wrapper")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, FromRawFd as _, OwnedFd};

use rustix::io::Errno;

/// The size of `struct signalfd_siginfo` (`include/uapi/linux/signalfd.h`), fixed by the kernel.
const SIGINFO_SIZE: usize = 128;

/// What PID 1 listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// `SIGCHLD`: a child has ended, maybe several.
    Child,
    /// `SIGTERM`: power off.
    Terminate,
    /// `SIGINT`: Ctrl-Alt-Del, restart.
    Interrupt,
    /// `SIGPWR`: the power is failing, power off.
    Power,
    /// `SIGUSR1`: show the whole state on the console.
    User1,
    /// `SIGRTMIN+n`, by which the init of others is asked to go down (systemd(1), "Signals").
    RealTime(u8),
}

/// `SIGRTMIN` of who asks us: the kernel's first is 32, of which the C library of GNU takes two. A
/// program with another library sends the same numbers, for it means that init's.
const FIRST_REAL_TIME: libc::c_int = 34;

const LISTENED: [(libc::c_int, Signal); 13] = [
    (FIRST_REAL_TIME + 3, Signal::RealTime(3)),
    (FIRST_REAL_TIME + 4, Signal::RealTime(4)),
    (FIRST_REAL_TIME + 5, Signal::RealTime(5)),
    (FIRST_REAL_TIME + 6, Signal::RealTime(6)),
    (FIRST_REAL_TIME + 13, Signal::RealTime(13)),
    (FIRST_REAL_TIME + 14, Signal::RealTime(14)),
    (FIRST_REAL_TIME + 15, Signal::RealTime(15)),
    (FIRST_REAL_TIME + 16, Signal::RealTime(16)),
    (libc::SIGCHLD, Signal::Child),
    (libc::SIGTERM, Signal::Terminate),
    (libc::SIGINT, Signal::Interrupt),
    (libc::SIGPWR, Signal::Power),
    (libc::SIGUSR1, Signal::User1),
];

/// Blocks the signals of [`Signal`] in this thread and those it starts later, and returns a
/// non-blocking descriptor from which they are [`read`]. Call it before any thread is started.
///
/// # Errors
/// What `pthread_sigmask` or `signalfd` say.
pub fn block_and_open() -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: needed because no crate of ours offers masks. `sigemptyset` initialises the set
    // before anything reads it; all signal numbers are valid constants; the pointers are to a
    // live local. `signalfd` returns a new descriptor which nobody else owns, or -1.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for (number, _) in LISTENED {
            libc::sigaddset(set.as_mut_ptr(), number);
        }
        let error = libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// All signals that are pending, in the kernel's order; empty if there are none.
///
/// # Errors
/// What `read` says.
pub fn read(signals: impl AsFd) -> io::Result<Vec<Signal>> {
    let mut found = Vec::new();
    let mut buffer = [0_u8; 8 * SIGINFO_SIZE];
    loop {
        match rustix::io::read(&signals, &mut buffer) {
            Ok(length) => found.extend(
                buffer[..length]
                    .chunks_exact(SIGINFO_SIZE)
                    .filter_map(|info| info.first_chunk::<4>())
                    .filter_map(|number| known(u32::from_ne_bytes(*number))),
            ),
            Err(Errno::AGAIN) => return Ok(found),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Empties the signal mask. For a child between fork and exec: makes one system call, neither
/// allocates nor takes a lock.
///
/// # Errors
/// What `pthread_sigmask` says.
pub fn unblock_all() -> io::Result<()> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: needed for the reason above. The set is initialised before it is read and lives
    // through the call; `pthread_sigmask` is async-signal-safe (signal-safety(7)).
    let error = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut())
    };
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// Lets SIGPIPE end the program that this process becomes, as programs expect: Rust has it ignored,
/// which they would inherit. For a child between fork and exec, as [`unblock_all`].
///
/// # Errors
/// What `signal` says.
pub fn end_by_broken_pipe() -> io::Result<()> {
    // SAFETY: needed for the reason above. No handler of ours is installed, and `signal` is
    // async-signal-safe (signal-safety(7)).
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends a signal to every process but ourselves. Only PID 1 may do this: for anyone else it
/// means the end of the session that called it.
///
/// # Errors
/// `PermissionDenied` if we are not PID 1; [`Errno::SRCH`] if there is no other process.
pub fn send_to_all(signal: rustix::process::Signal) -> io::Result<()> {
    if std::process::id() != 1 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // SAFETY: needed because rustix's `Pid` cannot be -1. `kill` touches no memory of ours, and
    // Linux leaves out the caller and PID 1 (kill(2)).
    let result = unsafe { libc::kill(-1, signal.as_raw()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn known(number: u32) -> Option<Signal> {
    let number = libc::c_int::try_from(number).ok()?;
    LISTENED.iter().find(|(listened, _)| *listened == number).map(|&(_, signal)| signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pid_1_may_signal_everyone() {
        let error = send_to_all(rustix::process::Signal::CONT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn the_kernels_numbers_become_our_signals() {
        assert_eq!(known(17), Some(Signal::Child));
        assert_eq!(known(15), Some(Signal::Terminate));
        // What kured sends, and who asks for it at once.
        assert_eq!(known(39), Some(Signal::RealTime(5)));
        assert_eq!(known(49), Some(Signal::RealTime(15)));
        assert_eq!(known(36), None);
        assert_eq!(FIRST_REAL_TIME, libc::SIGRTMIN());
        assert_eq!(known(0), None);
        assert_eq!(known(u32::MAX), None);
    }
}
