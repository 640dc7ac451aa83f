//! The threads of our processes: each is small, has a name, and is started here.
//!
//! What a thread does comes in a box, for each closure that is handed to the library as it is costs
//! PID 1 some kilobytes of code.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Enough for one question and its answer.
const STACK: usize = 128 * 1024;

/// Starts a thread.
///
/// # Errors
/// If there are no more of them.
pub fn start(name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work)
}
