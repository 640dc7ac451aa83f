//! What people must read before it happens: it cannot wait until this program has ended and PID 1
//! shows what it said.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::fs::OFlags;

use crate::root::Root;

const CONSOLE: &str = "/dev/console";

/// Writes a line to the console, if there is one that takes it.
pub(crate) fn say(root: &Root, line: &str) {
    // A console may be stopped for ever.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let console = OpenOptions::new().append(true).custom_flags(flags).open(root.path(CONSOLE));
    // The log gets it too; who has no console reads that.
    let _ = console.and_then(|mut console| writeln!(console, "*** {line}"));
}
