//! Shuts a unit in, as the table `sandbox` of its file says. Everything is made ready before the
//! fork; the child itself carries it out, between fork and exec, and tells its parent by one byte
//! which key the kernel refused.

mod calls;
mod filter;
mod visible;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use libc::sock_filter;
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::sys::confine;
use crate::unit::{AbsolutePath, Sandbox};
use visible::Place;

/// What is done, in its order; each is the key that asks for it. The byte in the pipe counts them.
const STEPS: [&str; 6] =
    ["visible", "writable", "private-tmp", "capabilities", "no-new-privileges", "system-calls"];
const VISIBLE: u8 = 0;
const WRITABLE: u8 = 1;
const PRIVATE_TMP: u8 = 2;
const CAPABILITIES: u8 = 3;
const NO_NEW_PRIVILEGES: u8 = 4;
const SYSTEM_CALLS: u8 = 5;

/// Beyond the numbers that a set of 64 bits can have; the kernel says earlier that there are no
/// more.
const CAPABILITIES_END: u8 = 64;

/// A sandbox for one child, its allocations done.
#[derive(Debug)]
pub struct Prepared {
    mounts: bool,
    private_tmp: bool,
    visible: Option<Vec<Place>>,
    writable: Option<Vec<CString>>,
    capabilities: Option<u64>,
    no_new_privileges: bool,
    filter: Vec<sock_filter>,
    /// Where the child says which step failed; closed by its exec.
    failed: OwnedFd,
}

/// The parent's end: what the child has to say.
#[derive(Debug)]
pub struct Report(OwnedFd);

impl Prepared {
    /// Makes everything ready.
    ///
    /// # Errors
    /// If there is no pipe to be had.
    pub fn new(sandbox: &Sandbox) -> io::Result<(Self, Report)> {
        let (report, failed) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let path = |path: &AbsolutePath| c_string(&path.0);
        let filter = sandbox.system_calls.map(filter::program);
        let prepared = Self {
            mounts: sandbox.has_mounts(),
            private_tmp: sandbox.private_tmp,
            visible: sandbox.visible.as_deref().map(visible::places),
            writable: sandbox.writable.as_ref().map(|paths| paths.iter().map(path).collect()),
            capabilities: sandbox.capabilities.map(|set| set.0),
            // Without it the kernel takes a filter only from who may administer it.
            no_new_privileges: sandbox.no_new_privileges || filter.is_some(),
            filter: filter.unwrap_or_default(),
            failed,
        };
        Ok((prepared, Report(report)))
    }

    /// Shuts the calling process in, for good. For a child between fork and exec: system calls only,
    /// no allocation, no lock.
    ///
    /// # Errors
    /// What the kernel said; [`Report::refused`] then tells the parent to what.
    pub fn enter(&mut self) -> io::Result<()> {
        self.carry_out().map_err(|(step, error)| {
            // If that fails too, the parent has the kernel's answer without the key.
            let _ = rustix::io::write(self.failed.as_fd(), &[step]);
            error.into()
        })
    }

    fn carry_out(&mut self) -> Result<(), (u8, Errno)> {
        let at = |step: u8| move |error: Errno| (step, error);
        if self.mounts {
            self.own_mounts()?;
        }
        if self.private_tmp {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            mount(c"tmpfs", c"/tmp", c"tmpfs", flags, c"mode=1777,size=16m")
                .map_err(at(PRIVATE_TMP))?;
        }
        if let Some(kept) = self.capabilities {
            keep_only(kept).map_err(at(CAPABILITIES))?;
        }
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true).map_err(at(NO_NEW_PRIVILEGES))?;
        }
        if !self.filter.is_empty() {
            let own = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
            filter::for_process(&mut self.filter, own);
            confine::install_filter(&self.filter).map_err(at(SYSTEM_CALLS))?;
        }
        Ok(())
    }

    /// Mounts that the host does not see. They follow the host's: what kubelet unmounts must be gone
    /// here as well, or its disk would stay busy.
    fn own_mounts(&self) -> Result<(), (u8, Errno)> {
        let first = match (&self.visible, &self.writable) {
            (Some(_), _) => VISIBLE,
            (None, Some(_)) => WRITABLE,
            (None, None) => PRIVATE_TMP,
        };
        confine::unshare_mounts().map_err(|error| (first, error))?;
        let follow = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change(c"/", follow).map_err(|error| (first, error))?;
        if let Some(places) = &self.visible {
            visible::root_of(places).map_err(|error| (VISIBLE, error))?;
        }
        if let Some(writable) = &self.writable {
            only_writable(writable).map_err(|error| (WRITABLE, error))?;
        }
        Ok(())
    }
}

/// The one descriptor that the child needs for it.
impl AsFd for Prepared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.failed.as_fd()
    }
}

fn only_writable(writable: &[CString]) -> Result<(), Errno> {
    // A mount can be read-only, a directory cannot: so each is made a mount first.
    for path in writable {
        passed_over(mount_bind(path.as_c_str(), path.as_c_str()))?;
    }
    confine::read_only_below(c"/")?;
    for path in writable {
        passed_over(confine::writable(path))?;
    }
    Ok(())
}

/// A unit's paths hold no zero byte: [`AbsolutePath`] checks.
fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// A place that is not there needs no rights.
fn passed_over(done: Result<(), Errno>) -> Result<(), Errno> {
    match done {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Takes all other capabilities from the bounding set, so that no program has them again, and from
/// the process.
fn keep_only(kept: u64) -> Result<(), Errno> {
    for number in (0..CAPABILITIES_END).filter(|number| kept & (1 << number) == 0) {
        match confine::drop_from_bounding_set(number) {
            Ok(()) => {}
            // The kernel knows no more.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    let mut sets = rustix::thread::capabilities(None)?;
    sets.permitted &= CapabilitySet::from_bits_retain(kept);
    let now = CapabilitySets {
        effective: sets.permitted,
        permitted: sets.permitted,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, now)
}

impl Report {
    /// The key of the sandbox that the child could not obey, if that is why there is none.
    pub fn refused(self) -> Option<&'static str> {
        let mut step = [0];
        File::from(self.0).read_exact(&mut step).ok()?;
        STEPS.get(usize::from(step[0])).copied()
    }
}
