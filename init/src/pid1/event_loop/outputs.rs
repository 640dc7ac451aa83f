//! The pipes into which units write. PID 1 keeps the reading ends open and never reads: that is the
//! unit `log`'s, each run of which gets a duplicate of every one.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};

use crate::message::{self, ToUnit};
use crate::unit::{Unit, UnitName};

/// Pipes of one unit at most, which a unit without end can have while there is no `log`.
const MOST: usize = 8;

#[derive(Debug)]
struct Kept {
    id: u32,
    unit: UnitName,
    limit: u64,
    pipe: OwnedFd,
    /// The present run of `log` has it.
    given: bool,
}

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    kept: Vec<Kept>,
    next: u32,
}

impl Outputs {
    /// A new pipe for a run of this unit: its number, and its writing end for the process.
    pub(super) fn open(&mut self, unit: &Unit) -> io::Result<(u32, OwnedFd)> {
        let (pipe, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        // Only our end: programs do not expect `EAGAIN` on their standard output.
        rustix::fs::fcntl_setfl(&pipe, rustix::fs::OFlags::NONBLOCK)?;
        let of_unit = |kept: &&Kept| kept.unit == unit.name;
        if self.kept.iter().filter(of_unit).count() >= MOST
            && let Some(oldest) = self.kept.iter().position(|kept| of_unit(&kept))
        {
            self.kept.remove(oldest);
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let (unit, limit) = (unit.name.clone(), unit.log_limit);
        self.kept.push(Kept { id, unit, limit, pipe, given: false });
        Ok((id, writer))
    }

    /// Nobody writes to it any more, and all is read.
    pub(super) fn close(&mut self, id: u32) {
        self.kept.retain(|kept| kept.id != id);
    }

    /// A new run of `log` has none.
    pub(super) fn take_back(&mut self) {
        self.kept.iter_mut().for_each(|kept| kept.given = false);
    }

    /// Gives `log` what it does not have, as far as there is room in its channel.
    pub(super) fn give(&mut self, log: &OwnedFd) {
        for kept in self.kept.iter_mut().filter(|kept| !kept.given) {
            let (id, unit, limit) = (kept.id, kept.unit.to_string(), kept.limit);
            let packet = ToUnit::Output { id, unit, limit }.encode();
            // It is of no use to try the next one if this one finds no room.
            let Ok(true) = message::send_with(log, &packet, kept.pipe.as_fd()) else { return };
            kept.given = true;
        }
    }

    /// Whether something is still to be given.
    pub(super) fn waits(&self) -> bool {
        self.kept.iter().any(|kept| !kept.given)
    }
}
