//! What PID 1 runs: both stages of the boot, the supervisor, and the way down. Nothing in here waits
//! for a disk or the network once units run.

pub mod built_in;
pub mod command_line;
pub mod configure;
pub mod console;
pub mod disks;
pub mod event_loop;
pub mod floor;
pub mod identity;
pub mod initrd;
pub mod marks;
pub mod memory;
pub mod modules;
pub mod mounts;
pub mod power;
pub mod process;
pub mod root;
pub mod shutdown;
pub mod state;
pub mod supervisor;
pub mod sysctl;
pub mod unit;
pub mod watchdog;
