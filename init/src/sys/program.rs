//! A child that becomes another program, for which its parent does not wait. `std::process` waits
//! until the program is loaded, which reads a disk that may hang; and `rustix` has neither call.
#![expect(unsafe_code, reason = "fork, execve and close_range have no safe wrapper")]

use std::ffi::{CString, c_char, c_uint};
use std::io;
use std::os::fd::RawFd;
use std::ptr;

use rustix::io::Errno;
use rustix::process::Pid;

/// A program, its arguments and its whole environment, the allocations for it done.
#[derive(Debug)]
pub(crate) struct Program {
    // Invariant: each ends with a null pointer, and all others point to the texts of `_texts`, which
    // never change.
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    _texts: Vec<CString>,
}

impl Program {
    /// `exec` is the program and its arguments.
    ///
    /// # Errors
    /// If there is a zero byte in a text.
    pub(crate) fn new<'a>(
        exec: &[String],
        environment: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> io::Result<Self> {
        let mut texts = Vec::new();
        for text in exec {
            texts.push(CString::new(text.as_str())?);
        }
        for (name, value) in environment {
            texts.push(CString::new(format!("{name}={value}"))?);
        }
        // A text stays where it is when its `CString` moves.
        let mut arguments: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        let mut environment = arguments.split_off(exec.len());
        arguments.push(ptr::null());
        environment.push(ptr::null());
        Ok(Self { arguments, environment, _texts: texts })
    }

    /// Makes it the program of the calling process; comes back only if the kernel refuses. One system
    /// call.
    pub(crate) fn execute(&self) -> Errno {
        // SAFETY: needed because `std` allocates before it calls this. Sound because both lists end
        // with a null pointer and their texts with a zero byte, and all of them live in `self`. The
        // first argument is the program; without one it is the null pointer, which the kernel refuses.
        unsafe {
            libc::execve(self.arguments[0], self.arguments.as_ptr(), self.environment.as_ptr());
        }
        last()
    }
}

/// Makes a child that does `child`, and ends with status 1 if that comes back. The parent goes on at
/// once.
///
/// # Errors
/// What fork(2) says.
///
/// # Safety
/// The child is a copy of a process that may have other threads: `child` must make system calls only,
/// and neither allocate, free nor take a lock.
pub(crate) unsafe fn fork(child: impl FnOnce()) -> io::Result<Pid> {
    // SAFETY: needed because nothing else makes a child that we do not wait for. The caller promises
    // what `child` does; `_exit` runs no handler and frees nothing.
    let pid = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            child();
            libc::_exit(1);
        }
        pid
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Pid::from_raw(pid).ok_or_else(|| io::Error::other("impossible process id"))
}

/// Closes all descriptors but the first three and these, which are in order; for a child before its
/// program runs. Linux 5.9; what it cannot close is closed by exec.
pub(crate) fn close_all_but(kept: &[RawFd]) {
    let mut from: c_uint = 3;
    for kept in kept.iter().filter_map(|kept| c_uint::try_from(*kept).ok()) {
        if kept > from {
            close_range(from, kept - 1);
        }
        from = from.max(kept.saturating_add(1));
    }
    close_range(from, c_uint::MAX);
}

fn close_range(first: c_uint, last: c_uint) {
    // SAFETY: needed because neither libc nor rustix has a function for it. Only a child calls this
    // that goes on to use nothing but the descriptors that it kept.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

fn last() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
