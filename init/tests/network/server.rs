//! A server of a test, in a thread of its own until it is dropped.

use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};

pub(crate) struct Running {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// `take` is called whenever there is something to read.
    pub(crate) fn start<S: AsFd + Send + 'static>(
        socket: S,
        mut take: impl FnMut(&S) + Send + 'static,
    ) -> Self {
        let (reader, stop) = rustix::pipe::pipe().expect("a pipe");
        let thread = std::thread::spawn(move || {
            loop {
                let mut fds =
                    [PollFd::new(&socket, PollFlags::IN), PollFd::new(&reader, PollFlags::IN)];
                poll(&mut fds, None).expect("polled");
                if !fds[1].revents().is_empty() {
                    return;
                }
                take(&socket);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = rustix::io::write(self.stop.as_fd(), b"x");
        self.thread.take().map(JoinHandle::join);
    }
}
