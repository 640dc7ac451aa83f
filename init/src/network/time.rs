//! The node's clock, set by time servers (SNTP). [`keeper`] decides when to ask whom and what to do
//! with the answers, [`selection`] which of them are believed; [`ask`] is the exchange itself, in a
//! thread, for it waits.

pub mod ask;
pub mod keeper;
pub mod selection;
pub mod sntp;

use std::io;

use crate::sys::adjust;
use keeper::Change;

/// The clock that is kept; a test has one of its own.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// No server is believed that says an earlier time, in nanoseconds since 1970: the image's own.
    pub floor: i128,
    /// A time server has set it already: an earlier run of this program has asked.
    pub is_set: bool,
    /// Does to it what follows from the servers' answers.
    pub change: fn(&Change) -> io::Result<()>,
}

impl Clock {
    /// The kernel's.
    pub fn of_the_kernel(floor: i128) -> Self {
        Self { floor, is_set: adjust::is_synchronised(), change }
    }
}

/// Also tells the kernel how good its clock is: who asks it (adjtimex(2)) hears that, and only a
/// clock that is good is written to the hardware's, by the kernel itself (`sync_hw_clock` of
/// kernel/time/ntp.c).
fn change(change: &Change) -> io::Result<()> {
    match *change {
        Change::Step { by, error } => {
            adjust::step(by)?;
            adjust::synchronised(error, 0)
        }
        Change::Slew { by, error } => {
            adjust::slew(by)?;
            adjust::synchronised(error + by.abs(), by.abs())
        }
        Change::Lost => adjust::unsynchronised(),
    }
}
