//! What PID 1 runs: both stages of the boot, the supervisor, and the way down. Once units run, nothing
//! in here waits for STATE or the network; what starts a program waits for the root.

pub mod built_in;
pub mod command_line;
pub mod configure;
pub mod console;
pub mod disks;
pub mod event_loop;
pub mod floor;
pub mod identity;
pub mod initrd;
pub mod last_words;
pub mod marks;
pub mod memory;
pub mod modules;
pub mod mounts;
pub mod power;
pub mod process;
pub mod root;
pub mod sandbox;
pub mod shutdown;
pub mod state;
pub mod supervisor;
pub mod sysctl;
pub mod trial;
pub mod unit;
pub mod watchdog;
