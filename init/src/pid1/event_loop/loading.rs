//! Programs on their way into memory, which a disk may hold up: nobody waits for them, and what became
//! of each is told to the supervisor.

use rustix::event::epoll;
use rustix::process::{Pid, Signal};

use super::{EventLoop, LOADING, watch};
use crate::process::{self, Loading, Started};
use crate::supervisor::Event;
use crate::unit::UnitName;

/// Which program of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// Its `exec`.
    Exec,
    /// Its `stop-exec`.
    StopExec,
}

/// One that is being loaded.
#[derive(Debug)]
pub(super) struct Load {
    unit: UnitName,
    which: Which,
    pid: Pid,
    loading: Loading,
    /// The pipe into which it will write, as `Outputs` counts them.
    output: Option<u32>,
}

impl EventLoop {
    /// Has [`EventLoop::look_at_what_loads`] called when something became of it.
    pub(super) fn watch_load(
        &mut self,
        unit: &UnitName,
        which: Which,
        started: Started,
        output: Option<u32>,
    ) -> Result<Pid, String> {
        let Started { pid, loading } = started;
        if let Err(error) = watch(&self.epoll, &loading, LOADING, epoll::EventFlags::IN) {
            process::signal(pid, Signal::KILL);
            return Err(format!("cannot watch how it starts: {error}"));
        }
        self.loads.push(Load { unit: unit.clone(), which, pid, loading, output });
        Ok(pid)
    }

    /// Takes what became of programs. To be called before anything that they do is told, for that
    /// comes later.
    pub(super) fn look_at_what_loads(&mut self) {
        while let Some((load, result)) = self.next_that_is_loaded() {
            // A child of ours may have a duplicate for a moment, which would keep it in the set.
            let _ = epoll::delete(&self.epoll, &load.loading);
            let Load { unit, which, pid, output, .. } = load;
            if result.is_err()
                && let Some(output) = output
            {
                self.outputs.close(output);
            }
            match (which, result) {
                (Which::Exec, Ok(())) => self.feed(Event::Spawned { unit, pid }),
                (Which::Exec, Err(reason)) => self.feed(Event::SpawnFailed { unit, reason }),
                (Which::StopExec, Ok(())) => {}
                (Which::StopExec, Err(reason)) => {
                    self.feed(Event::StopSpawnFailed { unit, reason });
                }
            }
        }
    }

    fn next_that_is_loaded(&mut self) -> Option<(Load, Result<(), String>)> {
        let outcome = |(at, load): (usize, &mut Load)| Some((at, load.loading.outcome()?));
        let (at, result) = self.loads.iter_mut().enumerate().find_map(outcome)?;
        Some((self.loads.remove(at), result))
    }
}
