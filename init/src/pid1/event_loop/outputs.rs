//! The pipes into which units write. PID 1 keeps the reading ends open and never reads: that is the
//! unit `log`'s, each run of which gets a duplicate of every one.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};

use crate::message::{self, ToUnit};
use crate::unit::{Unit, UnitName};

/// Pipes of one unit at most, which a unit without end can have while there is no `log`.
const MOST: usize = 8;

#[derive(Debug)]
struct Kept {
    unit: UnitName,
    limit: u64,
    pipe: OwnedFd,
    /// The present run of `log` has it.
    given: bool,
}

/// All of them, by number.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    kept: BTreeMap<u32, Kept>,
    next: u32,
}

impl Outputs {
    /// A new pipe for a run of this unit: its number, and its writing end for the process.
    pub(super) fn open(&mut self, unit: &Unit) -> io::Result<(u32, OwnedFd)> {
        let (pipe, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        // Only our end: programs do not expect `EAGAIN` on their standard output.
        rustix::fs::fcntl_setfl(&pipe, rustix::fs::OFlags::NONBLOCK)?;
        let of_unit = self.kept.iter().filter(|(_, kept)| kept.unit == unit.name);
        let (count, oldest) = (of_unit.clone().count(), of_unit.map(|(id, _)| *id).min());
        if let Some(oldest) = oldest.filter(|_| count >= MOST) {
            self.kept.remove(&oldest);
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let (unit, limit) = (unit.name.clone(), unit.log_limit);
        self.kept.insert(id, Kept { unit, limit, pipe, given: false });
        Ok((id, writer))
    }

    /// Nobody writes to it any more, and all is read.
    pub(super) fn close(&mut self, id: u32) {
        self.kept.remove(&id);
    }

    /// A new run of `log` has none.
    pub(super) fn take_back(&mut self) {
        self.kept.values_mut().for_each(|kept| kept.given = false);
    }

    /// Gives `log` what it does not have, as far as there is room in its channel.
    pub(super) fn give(&mut self, log: &OwnedFd) {
        for (&id, kept) in self.kept.iter_mut().filter(|(_, kept)| !kept.given) {
            let (unit, limit) = (kept.unit.to_string(), kept.limit);
            let packet = ToUnit::Output { id, unit, limit }.encode();
            // It is of no use to try the next one if this one finds no room.
            let Ok(true) = message::send_with(log, &packet, kept.pipe.as_fd()) else { return };
            kept.given = true;
        }
    }

    /// Whether something is still to be given.
    pub(super) fn waits(&self) -> bool {
        self.kept.values().any(|kept| !kept.given)
    }
}
