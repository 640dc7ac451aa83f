//! Programs of tests that run side by side take turns: a test waits until it has one of a few turns, so
//! that the machine is neither idle while one long test ends a program nor has more guests than it can run.
//!
//! A test connects to a socket, reads one byte, and has its turn until it hangs up or dies.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// Gives turns while the process runs.
#[derive(Debug)]
pub(super) struct Turns {
    directory: TempDir,
}

/// How many turns are free.
#[derive(Debug)]
struct Free {
    count: Mutex<usize>,
    news: Condvar,
}

impl Turns {
    /// So many at once.
    pub(super) fn new(count: usize) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("orlop-turns-").tempdir()?;
        let socket = directory.path().join("socket");
        let listener = UnixListener::bind(&socket)
            .with_context(|| format!("cannot listen at `{}`", socket.display()))?;
        let free = Arc::new(Free { count: Mutex::new(count), news: Condvar::new() });
        std::thread::spawn(move || {
            // First come, first served: those who wait are in the socket's backlog.
            for test in listener.incoming().flatten() {
                free.take();
                let free = Arc::clone(&free);
                std::thread::spawn(move || {
                    give(test);
                    free.put_back();
                });
            }
        });
        Ok(Self { directory })
    }

    /// Where tests ask for their turn.
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }
}

/// It is this test's turn until it hangs up.
fn give(mut test: UnixStream) {
    // One that has died in the meantime has had its turn.
    if test.write_all(b"1").is_ok() {
        let _ = test.read(&mut [0]);
    }
}

impl Free {
    fn take(&self) {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = self
            .news
            .wait_while(count, |count| *count == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *count -= 1;
    }

    fn put_back(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.news.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Asks as `qemu_tests::harness` does.
    fn ask(socket: &Path) -> UnixStream {
        UnixStream::connect(socket).unwrap()
    }

    fn has_turn(mut test: &UnixStream) -> bool {
        test.set_nonblocking(true).unwrap();
        test.read(&mut [0]).is_ok_and(|read| read == 1)
    }

    #[test]
    fn no_more_than_that_many_have_a_turn_and_who_hangs_up_gives_it_to_the_next() {
        let turns = Turns::new(2).unwrap();
        let wait = |mut test: &UnixStream| test.read_exact(&mut [0]).unwrap();
        let (one, two) = (ask(&turns.socket()), ask(&turns.socket()));
        wait(&one);
        wait(&two);
        let (three, four) = (ask(&turns.socket()), ask(&turns.socket()));
        assert!(!has_turn(&three));
        three.set_nonblocking(false).unwrap();
        drop(one);
        wait(&three);
        assert!(!has_turn(&four));
        // Whoever is killed hangs up as well, also before it had its turn.
        drop((two, four));
        wait(&ask(&turns.socket()));
    }
}
