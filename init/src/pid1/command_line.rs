//! Reads the kernel command line. What may stand there is in [`formats::command_line`], which
//! `orlop-node` reads too.

use std::io;

use formats::system;

pub use formats::command_line::{CommandLine, CommandLineError, RootSource, Slot};

/// Reads `/proc/cmdline`, which needs `/proc` to be mounted.
///
/// # Errors
/// When it cannot be read; the mistakes on it are in the inner result.
pub fn read() -> io::Result<Result<CommandLine, Vec<CommandLineError>>> {
    std::fs::read_to_string("/proc/cmdline").map(|text| CommandLine::parse(&text))
}

/// The slot that runs, which the initrd has found out: [`system::SLOT`].
///
/// # Errors
/// When it cannot be read, or is none.
pub fn running_slot() -> io::Result<Slot> {
    let text = std::fs::read_to_string(system::SLOT)?;
    Slot::parse(text.trim_end()).ok_or_else(|| io::Error::other("it names no slot"))
}
