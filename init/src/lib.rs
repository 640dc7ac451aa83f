//! OrlopOS's own processes, as a library so that tests can drive their parts in processes of their
//! own. One binary, three rooms: [`pid1`] is what PID 1 runs, [`network`] and [`mod@log`] what the two
//! units run that are built into it; what is beside them is shared. `docs/init.md` describes it.

pub mod applets;
pub mod clock;
pub mod log;
pub mod message;
pub mod network;
pub mod outside;
pub mod pid1;
pub mod question;
pub mod sys;
pub mod thread;
pub mod time;

pub use network::{connectivity, net};
pub use pid1::{
    command_line, configure, console, disks, event_loop, initrd, marks, memory, modules, mounts,
    power, process, root, sandbox, shutdown, state, supervisor, sysctl, unit, watchdog,
};

use std::io;
use std::process::ExitCode;

/// How a unit of this binary ends, and why if that is a failure.
fn told(unit: &str, result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(&format!("{unit} ends: {error}"));
            ExitCode::FAILURE
        }
    }
}
