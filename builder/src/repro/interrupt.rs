//! A signal that ends `orlop repro`: the build that is being made ends, too, and what was made, which
//! is gigabytes, goes first.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::emulate_default_handler;

use crate::error::{Context as _, Id, Result};
use crate::signals::{Heard, Signals};

/// How often a directory is removed in which somebody was still writing.
const ATTEMPTS: usize = 10;

/// Watches for signals as long as it lives.
#[derive(Debug)]
pub(super) struct Interrupts {
    /// The group of processes that is building. Who ends this process takes it and never gives it
    /// back, so that nobody tells of a failure that is none.
    group: Arc<Mutex<Option<Pid>>>,
    _signals: Option<Signals>,
}

impl Interrupts {
    /// Removes `directory` before this process ends by a signal. What whoever started it has told it
    /// to pass over, such as `nohup`, is passed over.
    ///
    /// # Errors
    /// [`Id::Read`] if the host has no more file descriptors.
    pub(super) fn watch(directory: &Path) -> Result<Self> {
        let group = Arc::new(Mutex::new(None));
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let heard = |signal: i32| -> (Vec<i32>, Heard) {
            let (group, directory) = (Arc::clone(&group), directory.to_owned());
            let end = move || {
                let group = lock(&group);
                if let Some(group) = *group {
                    // It may have ended.
                    let _ = kill_process_group(group, Signal::KILL);
                }
                for _ in 0..ATTEMPTS {
                    if fs::remove_dir_all(&directory).is_ok() || !directory.exists() {
                        break;
                    }
                }
                drop(emulate_default_handler(signal));
            };
            (Vec::from_iter((!is_ignored(&status, signal)).then_some(signal)), Box::new(end))
        };
        let [interrupt, terminate, hang_up] = [SIGINT, SIGTERM, SIGHUP].map(heard);
        let kinds = [
            (&interrupt.0[..], interrupt.1),
            (&terminate.0[..], terminate.1),
            (&hang_up.0[..], hang_up.1),
        ];
        let signals = Signals::watch(kinds).or_fail(Id::Read, || "cannot watch for signals")?;
        Ok(Self { group, _signals: Some(signals) })
    }

    /// Starts a build, which is the first of a group of processes.
    pub(super) fn start(&self, start: impl FnOnce() -> Result<Child>) -> Result<Child> {
        let mut group = lock(&self.group);
        let child = start()?;
        *group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(child)
    }

    /// Waits for a build that was started.
    ///
    /// # Errors
    /// Those of waitpid(2).
    pub(super) fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let status = child.wait();
        *lock(&self.group) = None;
        status
    }

    /// Returns unless this process is being ended.
    pub(super) fn none_came(&self) {
        drop(lock(&self.group));
    }

    /// Watches for nothing.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self { group: Arc::default(), _signals: None }
    }
}

fn lock(group: &Mutex<Option<Pid>>) -> MutexGuard<'_, Option<Pid>> {
    group.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a signal is passed over (`proc_pid_status(5)`: `SigIgn`, with signal 1 the lowest bit).
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_is_passed_over_is_not_watched() {
        let status = "Name:\tx\nSigIgn:\t0000000000000001\nSigCgt:\t0000000000004002\n";
        assert!(is_ignored(status, SIGHUP));
        assert!(!is_ignored(status, SIGINT) && !is_ignored("", SIGHUP));
    }
}
