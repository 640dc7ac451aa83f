//! Signals as calls of functions, for as long as a value lives.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::thread;

use signal_hook::low_level::{pipe, unregister};

/// What is to be done for each signal that comes.
pub type Heard = Box<dyn Fn() + Send>;

/// Watches for signals for as long as it lives. Afterwards they do nothing: the library that catches
/// them does not give them back.
#[derive(Debug)]
pub struct Signals {
    ids: Vec<signal_hook::SigId>,
    streams: Vec<UnixStream>,
}

impl Signals {
    /// Each entry has numbers of signals, and what is called, in a thread, for each that comes.
    ///
    /// # Errors
    /// There are no more file descriptors, or a signal cannot be caught.
    pub fn watch<const N: usize>(kinds: [(&[i32], Heard); N]) -> io::Result<Self> {
        let mut signals = Self { ids: Vec::new(), streams: Vec::new() };
        for (numbers, heard) in kinds {
            let (ours, theirs) = UnixStream::pair()?;
            for &number in numbers {
                signals.ids.push(pipe::register(number, theirs.try_clone()?)?);
            }
            signals.streams.push(ours.try_clone()?);
            // Ends when `drop` shuts the stream down.
            thread::spawn(move || listen(ours, &heard));
        }
        Ok(signals)
    }
}

fn listen(mut stream: UnixStream, heard: &Heard) {
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(count) => (0..count).for_each(|_| heard()),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for &id in &self.ids {
            unregister(id);
        }
        for stream in &self.streams {
            // It cannot fail on an open socket.
            drop(stream.shutdown(std::net::Shutdown::Both));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use signal_hook::consts::{SIGURG, SIGWINCH};
    use signal_hook::low_level::raise;

    use super::*;

    #[test]
    fn each_signal_calls_its_own_function_once() {
        let (sender, heard) = mpsc::channel();
        let tell = |what: &'static str| -> Heard {
            let sender = sender.clone();
            Box::new(move || sender.send(what).unwrap())
        };
        let kinds = [(&[SIGWINCH][..], tell("window")), (&[SIGURG], tell("urgent"))];
        let signals = Signals::watch(kinds).unwrap();
        for (signal, want) in [(SIGURG, "urgent"), (SIGWINCH, "window"), (SIGURG, "urgent")] {
            raise(signal).unwrap();
            assert_eq!(heard.recv().unwrap(), want);
        }
        drop((signals, sender));
        assert!(heard.recv().is_err(), "the threads have ended and were told nothing more");
    }
}
