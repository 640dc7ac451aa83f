//! What can end a cluster: a process of it that ends, or somebody who asks.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use rustix::fs::{FileType, fstat};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Context as _, Id, Result};
use crate::signals::{Heard, Signals};

/// Something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A process has ended.
    Ended(&'static str),
    /// The cluster shall end: by a signal, or because whoever started it is gone.
    Interrupted,
}

/// Where events come together. SIGINT, SIGTERM and SIGHUP are events as long as it lives.
#[derive(Debug)]
pub struct Events {
    sender: Sender<Event>,
    inbox: Receiver<Event>,
    _signals: Signals,
}

/// Whether the end of standard input is an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// It is, if it is a pipe or a socket: somebody holds its other end.
    Watched,
    /// It is not.
    Ignored,
}

impl Events {
    /// Begins to watch for signals.
    ///
    /// # Errors
    /// [`Id::ClusterStart`] if the host has no more file descriptors.
    pub fn watch(stdin: Stdin) -> Result<Self> {
        let (sender, inbox) = mpsc::channel();
        let interrupt = || -> Heard {
            let sender = sender.clone();
            Box::new(move || {
                // Nobody listens any more if the cluster is being stopped.
                let _ = sender.send(Event::Interrupted);
            })
        };
        let signals = Signals::watch([(&[SIGINT, SIGTERM, SIGHUP], interrupt())])
            .or_fail(Id::ClusterStart, || "cannot watch for signals")?;
        if stdin == Stdin::Watched && is_held(&io::stdin()) {
            let ended = interrupt();
            // It ends with the program: nothing can take it out of its read.
            thread::spawn(move || {
                wait_for_end(io::stdin().lock());
                ended();
            });
        }
        Ok(Self { sender, inbox, _signals: signals })
    }

    /// For those who tell what happens.
    pub fn sender(&self) -> &Sender<Event> {
        &self.sender
    }

    /// Waits for the next event.
    pub fn next(&self) -> Event {
        // We hold a sender ourselves, so it cannot end.
        self.inbox.recv().unwrap_or(Event::Interrupted)
    }

    /// Waits for the next event, but not for ever.
    pub fn next_within(&self, time: Duration) -> Option<Event> {
        match self.inbox.recv_timeout(time) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Event::Interrupted),
        }
    }

    /// Stops watching for signals. What has come and what processes tell can still be read.
    pub fn without_signals(self) -> Receiver<Event> {
        self.inbox
    }
}

/// Whether somebody holds the other end.
fn is_held(file: &impl std::os::fd::AsFd) -> bool {
    fstat(file).is_ok_and(|meta| {
        matches!(FileType::from_raw_mode(meta.st_mode), FileType::Fifo | FileType::Socket)
    })
}

fn wait_for_end(mut stream: impl io::Read) {
    let mut buffer = [0; 256];
    loop {
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_another_end_is_watched() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(is_held(&reader) && is_held(&writer));
        assert!(!is_held(&std::fs::File::open("/dev/null").unwrap()));
        assert!(!is_held(&tempfile::tempfile().unwrap()));
    }

    #[test]
    fn the_end_of_a_pipe_is_seen_whatever_was_written_before() {
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, &[b'x'; 1000]).unwrap();
        drop(writer);
        wait_for_end(reader);
    }
}
