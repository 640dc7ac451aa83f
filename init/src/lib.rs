//! PID 1 of OrlopOS, as a library so that tests can drive its parts in processes of their own.
//! `docs/init.md` describes what it does; [`supervisor`] is its brain and [`event_loop`] its body.

pub mod applets;
pub mod clock;
pub mod command_line;
pub mod configure;
pub mod connectivity;
pub mod console;
pub mod diagnosis;
pub mod disks;
pub mod event_loop;
pub mod first_pod;
pub mod identity;
pub mod initrd;
pub mod log;
pub mod marks;
pub mod memory;
pub mod modules;
pub mod mounts;
pub mod net;
pub mod outside;
pub mod power;
pub mod process;
pub mod readiness;
pub mod root;
pub mod rotated_file;
pub mod shutdown;
pub mod state;
pub mod supervisor;
pub mod sys;
pub mod sysctl;
pub mod time;
pub mod unit;
