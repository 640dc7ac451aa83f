//! What the kernel offers and `rustix` lacks, each in a small file with a safe surface.
//!
//! These files and the one which starts processes are the only ones of PID 1 that may say
//! `unsafe`; every block answers why it is needed and why it is sound.

pub mod adjust;
pub mod block;
pub(crate) mod confine;
pub mod dm;
pub mod ext4;
pub mod loop_device;
pub mod packet;
pub(crate) mod program;
pub mod signals;
pub mod uevent;
pub mod watchdog;

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::Timespec;

/// Something that the kernel refused: what we were about to do, and its answer.
#[derive(Debug)]
pub struct Failure {
    doing: String,
    source: io::Error,
}

impl Failure {
    /// `doing` completes the sentence "cannot ...".
    pub fn new(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { doing: doing.into(), source: source.into() }
    }

    /// The kernel's answer.
    pub fn errno(&self) -> Option<Errno> {
        Errno::from_io_error(&self.source)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.source)
    }
}

impl std::error::Error for Failure {}

/// Says what was being done when a system call failed.
pub trait Doing<T> {
    /// `doing` completes the sentence "cannot ..."; it is only made when there is an error.
    ///
    /// # Errors
    /// The same error, with its purpose.
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T, Failure> {
        self.map_err(|source| Failure::new(doing(), source))
    }
}

/// A duration in the form that `poll` takes; one too long for it is cut, not wrapped.
pub fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Puts a file in the place of another. A reader sees the old one or the new one; after a loss of
/// power it is one of the two as well.
///
/// # Errors
/// What the file system says.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_could_not_be_done_and_the_kernels_answer() {
        let refused: Result<(), _> = Err(rustix::io::Errno::NODEV);
        let failure = refused.doing(|| "mount erofs on /root").unwrap_err();
        assert_eq!(
            failure.to_string(),
            "cannot mount erofs on /root: No such device (os error 19)"
        );
    }

    #[test]
    fn a_wait_that_is_too_long_for_the_kernel_is_cut() {
        assert_eq!(timespec(Duration::MAX).tv_sec, i64::MAX);
        assert_eq!(timespec(Duration::from_millis(1500)).tv_nsec, 500_000_000);
    }
}
