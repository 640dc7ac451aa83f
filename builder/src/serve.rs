//! A small server of files by HTTP/1.1 (RFC 9110, RFC 9112), for trying releases: GET and HEAD,
//! ranges, conditions, a thread for each connection. What it serves is a [`Site`]; that of a
//! directory is [`Directory`].
//!
//! It is not made for the Internet: there is no TLS, and nobody is asked who they are. But whoever
//! can reach it is bounded in what it takes: by the size of a request, by time, by pace, and by the
//! number of connections.

mod conditions;
mod connection;
mod directory;
mod path;
mod range;
mod request;
mod response;
mod status;

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use directory::Directory;
pub use path::SitePath;
pub use status::Status;

use crate::error::{Error, Id, Result};

/// What is served.
pub trait Site: fmt::Debug + Send + Sync {
    /// Looks for what has this path.
    ///
    /// # Errors
    /// The status to answer with instead.
    fn find(&self, path: &SitePath) -> Result<Found, Status>;
}

/// Something that has a path.
#[derive(Debug)]
pub struct Found {
    /// Its bytes.
    pub content: Content,
    /// How many.
    pub size: u64,
    /// What no other content of this path ever has, of visible ASCII without quotes.
    pub tag: String,
    /// When it was last changed: seconds since 1970.
    pub modified: u64,
    /// The media type.
    pub media: &'static str,
}

/// Where the bytes of an answer come from.
#[derive(Debug)]
pub enum Content {
    /// From a file, which is read as it is sent.
    File(File),
    /// From memory.
    Bytes(Arc<[u8]>),
}

impl Content {
    /// Reads what is at `offset`; nothing at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read_at(buffer, offset),
            Self::Bytes(bytes) => {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let rest = &bytes[offset..];
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
        }
    }
}

/// What a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// So many connections at once; others wait until one ends.
    pub connections: usize,
    /// For a request to arrive, from its first byte or from the connection.
    pub request: Duration,
    /// For the next request of a connection to begin.
    pub idle: Duration,
    /// For an answer to begin to flow; after that it must have `pace` on average.
    pub answer: Duration,
    /// Bytes a second.
    pub pace: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            request: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            answer: Duration::from_secs(30),
            pace: 1024,
        }
    }
}

/// An answer that was given, for the log. Shown on one line of visible ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Who has asked.
    pub client: SocketAddr,
    /// Method and target, as far as they were understood.
    pub asked: String,
    /// The answer.
    pub status: Status,
    /// How many bytes of its body were sent.
    pub sent: u64,
    /// How many it has.
    pub length: u64,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, asked, status, sent, length } = self;
        write!(f, "{client} {asked} {} {sent}", status.code())?;
        if sent == length { Ok(()) } else { write!(f, " of {length}") }
    }
}

/// Where lines of the log go.
pub type Log = Box<dyn Fn(&Line) + Send + Sync>;

/// Seconds since 1970.
pub type Clock = fn() -> u64;

/// A socket that listens; nobody is answered yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens at this address; port 0 is any that is free.
    ///
    /// # Errors
    /// [`Id::CannotListen`].
    pub fn bind(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).and_then(|listener| {
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        });
        listener.map_err(|error| {
            let message = format!("cannot listen at {address}");
            Error::new(Id::CannotListen, message)
                .caused_by(error)
                .hint("`--listen 127.0.0.1:0` takes any port that is free")
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers, until what is returned is dropped.
    pub fn start(
        self,
        site: impl Site + 'static,
        limits: Limits,
        clock: Clock,
        log: Log,
    ) -> Running {
        let shared = Shared {
            listener: self.listener,
            site: Box::new(site),
            limits,
            clock,
            log,
            open: Mutex::default(),
            changed: Condvar::new(),
        };
        let shared = Arc::new(shared);
        let accepting = Arc::clone(&shared);
        let thread = thread::spawn(move || accept(&accepting));
        Running { shared, thread: Some(thread), address: self.address }
    }
}

/// A server that answers. Dropped, it ends, and all its connections with it.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    address: SocketAddr,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut open = self.shared.open();
        open.ending = true;
        for stream in open.streams.values() {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(open);
        self.shared.changed.notify_all();
        // Whoever waits in accept(2) is woken by this.
        let _ = rustix::net::shutdown(&self.shared.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        let mut open = self.shared.open();
        while !open.streams.is_empty() {
            open = self.shared.changed.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What all threads of a server have.
struct Shared {
    listener: TcpListener,
    site: Box<dyn Site>,
    limits: Limits,
    clock: Clock,
    log: Log,
    open: Mutex<Open>,
    /// Of `open`.
    changed: Condvar,
}

/// Connections that are open.
#[derive(Debug, Default)]
struct Open {
    ending: bool,
    next: u64,
    streams: HashMap<u64, Arc<TcpStream>>,
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for a connection; false if there will be none.
    fn wait_for_room(&self) -> bool {
        let mut open = self.open();
        while !open.ending && open.streams.len() >= self.limits.connections {
            open = self.changed.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
        !open.ending
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("site", &self.site).finish_non_exhaustive()
    }
}

/// A connection's place among those that are open.
struct Place {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.open().streams.remove(&self.number);
        self.shared.changed.notify_all();
    }
}

/// After accept(2) has failed, which is for want of memory or descriptors.
const PAUSE: Duration = Duration::from_millis(100);

fn accept(shared: &Arc<Shared>) {
    while shared.wait_for_room() {
        let Ok((stream, client)) = shared.listener.accept() else {
            if !shared.open().ending {
                thread::sleep(PAUSE);
            }
            continue;
        };
        let stream = Arc::new(stream);
        let mut open = shared.open();
        if open.ending {
            return;
        }
        let number = open.next;
        open.next += 1;
        open.streams.insert(number, Arc::clone(&stream));
        drop(open);
        let place = Place { shared: Arc::clone(shared), number };
        // Where there is no thread to be had, the connection ends.
        drop(
            thread::Builder::new().spawn(move || connection::serve(&place.shared, &stream, client)),
        );
    }
}

/// Reads a request and makes the answer to it, for whoever hunts for panics: the answer has one
/// head, and no more of the content than there is.
pub(crate) fn judge(bytes: &[u8]) {
    let Ok(Some(head)) = request::parse(bytes) else { return };
    let Ok(request) = &head.request else { return };
    let content = Content::Bytes([0; 100].into());
    let (tag, media) = ("1-64-0.0".to_owned(), "application/json");
    let found = Found { content, size: 100, tag, modified: 784_111_777, media };
    let answer = response::Answer::to(request, &found, 784_111_877, response::Then::GoOn);
    assert_eq!(answer.head.find("\r\n\r\n"), Some(answer.head.len() - 4));
    let parts = answer.body.iter().filter_map(|piece| match piece {
        response::Piece::Content(range) => Some(range.end - range.start),
        response::Piece::Text(_) => None,
    });
    assert!(parts.sum::<u64>() <= 100);
}

#[cfg(test)]
mod tests;
