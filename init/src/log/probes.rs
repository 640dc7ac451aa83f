//! Probes: threads which ask units whether they work, for PID 1.
//!
//! A probe sleeps in the kernel until its socket appears (inotify), then asks. Where the kernel
//! gives no event, it asks again after waits that grow. Each exchange has a time limit, so a
//! cancelled probe ends soon even if the other side says nothing, and PID 1 has its answer in time.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use crate::clock::monotonic;
use crate::message::{About, FromUnit};
use crate::question::{HttpTarget, Question};
use crate::thread;

/// Bytes of a version: some fifty.
const LONGEST_VERSION: usize = 4096;
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What is done with a [`FromUnit::Answer`]: called in the probe's thread.
pub(super) type Tell = Arc<dyn Fn(FromUnit) + Send + Sync>;

/// A probe under way; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Probe {
    cancel: Arc<OwnedFd>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        // The counter of an eventfd takes 2^64 - 2 such writes.
        let _ = rustix::io::write(&*self.cancel, &1_u64.to_ne_bytes());
    }
}

impl Probe {
    /// Begins to ask.
    ///
    /// # Errors
    /// If there are no more threads or file descriptors.
    pub(super) fn start(
        unit: String,
        run: u32,
        question: Question,
        limit: Duration,
        tell: Tell,
    ) -> io::Result<Self> {
        let cancel = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let cancelled = Arc::clone(&cancel);
        let (name, about) = (format!("probe {unit}"), About::Run(run));
        let work = move || {
            until_ready(&question, limit, &cancelled, |result| {
                tell(FromUnit::Answer { unit: unit.clone(), about, result });
            });
        };
        thread::start(&name, Box::new(work))?;
        Ok(Self { cancel })
    }
}

/// Asks once, whether a unit that was ready still answers, and tells as [`Probe::start`] does.
///
/// # Errors
/// If there are no more threads.
pub(super) fn ask_once(
    unit: String,
    number: u32,
    question: Question,
    limit: Duration,
    tell: Tell,
) -> io::Result<()> {
    let (name, about) = (format!("probe {unit}"), About::Question(number));
    let work = move || {
        let result = ask(&question, limit);
        tell(FromUnit::Answer { unit, about, result });
    };
    thread::start(&name, Box::new(work)).map(drop)
}

/// Asks until the answer is good or `cancel` is raised. A reason is told once, not each time.
fn until_ready(
    question: &Question,
    limit: Duration,
    cancel: &OwnedFd,
    tell: impl Fn(Result<String, String>),
) {
    let mut wait = FIRST_WAIT;
    let mut last_reason = String::new();
    loop {
        // Before asking: what appears in between must not be missed.
        let watch = question.socket().and_then(|path| Watch::for_path(path).ok());
        match ask(question, limit) {
            Ok(detail) => return tell(Ok(detail)),
            Err(reason) if reason != last_reason => {
                tell(Err(reason.clone()));
                last_reason = reason;
            }
            Err(_) => {}
        }
        // A socket that is not there will be announced; all else must be tried again.
        let absent = question.socket().is_some_and(|path| !path.exists());
        let pause = if absent && watch.is_some() { None } else { Some(wait) };
        match wait_for(cancel.as_fd(), watch.as_ref(), pause) {
            Ok(Woken::Cancelled) | Err(_) => return,
            Ok(Woken::Appeared) => wait = FIRST_WAIT,
            Ok(Woken::TimeOver) => wait = (wait * 2).min(LONGEST_WAIT),
        }
    }
}

/// One question and its answer.
fn ask(question: &Question, limit: Duration) -> Result<String, String> {
    let until = monotonic() + limit;
    match question {
        Question::SocketAnswers(path) => connect(path, limit).map(|_| String::new()),
        Question::CriVersion(path) => {
            let mut client = cri::Client::new(connect(path, limit)?, LONGEST_VERSION);
            let version = client.version(left(until));
            version.map(|version| version.to_string()).map_err(|error| format!("the CRI: {error}"))
        }
        Question::Http200(target) => http_200(target, until),
    }
}

/// What is left until then; never nothing, which would be no limit at all.
fn left(until: Duration) -> Duration {
    until.saturating_sub(monotonic()).max(Duration::from_millis(1))
}

/// Who accepts nobody has a full queue, and there connect(2) waits as long as a send may.
fn connect(path: &Path, limit: Duration) -> Result<UnixStream, String> {
    let connect = || -> io::Result<UnixStream> {
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(limit))?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(UnixStream::from(socket))
    };
    connect().map_err(|error| format!("cannot connect to {}: {error}", path.display()))
}

fn http_200(target: &HttpTarget, until: Duration) -> Result<String, String> {
    let exchange = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&target.address, left(until))?;
        stream.set_write_timeout(Some(left(until)))?;
        let (path, address) = (&target.path, target.address);
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        // The status line is all that counts.
        let mut head = Vec::new();
        let mut buffer = [0; 256];
        while !head.contains(&b'\n') && head.len() < 1024 {
            // Who says a byte now and then has no more time than others.
            stream.set_read_timeout(Some(left(until)))?;
            match stream.read(&mut buffer)? {
                0 => break,
                length => head.extend_from_slice(&buffer[..length]),
            }
        }
        Ok(String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned())
    };
    let line = exchange().map_err(|error| format!("{target}: {error}"))?;
    let mut words = line.split(' ');
    let version = words.next().unwrap_or_default();
    match words.next() {
        Some("200") if version.starts_with("HTTP/1.") => Ok(String::new()),
        _ => Err(format!("{target} answered `{}`", line.chars().take(80).collect::<String>())),
    }
}

/// Tells when something of a name appears in a directory.
struct Watch {
    inotify: OwnedFd,
    name: OsString,
}

impl Watch {
    /// Watches the nearest directory that exists for the next part of `path`.
    fn for_path(path: &Path) -> io::Result<Self> {
        use inotify::{CreateFlags, WatchFlags};
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let events = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let mut part = path;
        loop {
            let (Some(parent), Some(name)) = (part.parent(), part.file_name()) else {
                return Err(io::ErrorKind::NotFound.into());
            };
            match inotify::add_watch(&inotify, parent, events) {
                // It was not there when we tried to watch inside it, and came before this watch.
                Ok(_) if part != path && part.exists() => part = path,
                Ok(_) => return Ok(Self { inotify, name: name.to_owned() }),
                Err(Errno::NOENT) => part = parent,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes the pending events; whether one is about our name, or the directory is gone.
    fn appeared(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut found = false;
        while let Ok(event) = reader.next() {
            let about_us = |name: &std::ffi::CStr| name.to_bytes() == self.name.as_bytes();
            found |= event.file_name().is_none_or(about_us);
        }
        found
    }
}

enum Woken {
    Cancelled,
    Appeared,
    TimeOver,
}

fn wait_for(
    cancel: BorrowedFd<'_>,
    watch: Option<&Watch>,
    limit: Option<Duration>,
) -> io::Result<Woken> {
    let limit = limit.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
    loop {
        let mut fds = vec![PollFd::from_borrowed_fd(cancel, PollFlags::IN)];
        if let Some(watch) = watch {
            fds.push(PollFd::new(&watch.inotify, PollFlags::IN));
        }
        match poll(&mut fds, limit.as_ref()) {
            Ok(0) => return Ok(Woken::TimeOver),
            Ok(_) if !fds[0].revents().is_empty() => return Ok(Woken::Cancelled),
            // Another file in that directory: go on, at worst for the whole time once more.
            Ok(_) if watch.is_some_and(|watch| !watch.appeared()) => {}
            Ok(_) => return Ok(Woken::Appeared),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn tell() -> (Tell, Receiver<FromUnit>) {
        let (sender, receiver) = channel();
        // Without a receiver nobody wants to know any more.
        (Arc::new(move |answer| drop(sender.send(answer))), receiver)
    }

    fn start(question: Question) -> (Probe, Receiver<FromUnit>) {
        let (tell, receiver) = tell();
        (Probe::start("x".to_owned(), 7, question, LIMIT, tell).expect("started"), receiver)
    }

    fn next(receiver: &Receiver<FromUnit>) -> Result<String, String> {
        result(receiver, About::Run(7))
    }

    fn result(receiver: &Receiver<FromUnit>, want: About) -> Result<String, String> {
        let answer = receiver.recv_timeout(Duration::from_secs(60)).expect("an answer");
        let FromUnit::Answer { unit, about, result } = answer else { panic!("{answer:?}") };
        assert_eq!((unit.as_str(), about), ("x", want));
        result
    }

    #[test]
    fn a_socket_is_noticed_when_it_and_its_directories_appear() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("run/containerd/x.sock");
        let (_probe, answers) = start(Question::SocketAnswers(path.clone()));
        let reason = next(&answers).expect_err("there is no socket");
        assert!(reason.contains("No such file"), "{reason}");
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path.with_extension("other"), "").expect("written");
        let _listener = UnixListener::bind(&path).expect("bound");
        loop {
            match next(&answers) {
                Ok(detail) => break assert_eq!(detail, ""),
                // Between bind and listen it may have been refused.
                Err(reason) => assert!(reason.contains("refused"), "{reason}"),
            }
        }
    }

    #[test]
    fn a_stale_socket_is_asked_again_until_somebody_listens() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.sock");
        drop(UnixListener::bind(&path).expect("bound"));
        let (_probe, answers) = start(Question::SocketAnswers(path.clone()));
        let reason = next(&answers).expect_err("nobody listens");
        assert!(reason.contains("refused"), "{reason}");
        std::fs::remove_file(&path).expect("removed");
        let _listener = UnixListener::bind(&path).expect("bound");
        while next(&answers).is_err() {}
    }

    #[test]
    fn a_dropped_probe_ends() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("never.sock");
        let (probe, answers) = start(Question::SocketAnswers(path));
        next(&answers).expect_err("there is no socket");
        drop(probe);
        // The thread owns the only sender.
        let end = answers.recv_timeout(Duration::from_secs(60));
        assert_eq!(end, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn who_accepts_nobody_is_given_up_in_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.sock");
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = socket.expect("a socket");
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).expect("short")).expect("bound");
        rustix::net::listen(&socket, 0).expect("listens");
        let _in_the_queue = UnixStream::connect(&path).expect("one has room");
        let (tell, receiver) = tell();
        let (question, limit) = (Question::SocketAnswers(path), Duration::from_millis(50));
        ask_once("x".to_owned(), 3, question, limit, tell).expect("asked");
        let reason = result(&receiver, About::Question(3)).expect_err("nobody accepts");
        assert!(reason.contains("temporarily unavailable"), "{reason}");
    }

    #[test]
    fn only_status_200_of_http_is_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let server = std::thread::spawn(move || {
            for answer in
                ["HTTP/1.1 500 Internal Server Error\r\n\r\n", "200\n", "HTTP/1.1 200 OK\r\n\r\n"]
            {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut request = [0; 1024];
                let length = stream.read(&mut request).expect("a request");
                assert!(request[..length].starts_with(b"GET /healthz HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).expect("written");
            }
        });
        let (_probe, answers) =
            start(Question::Http200(HttpTarget { address, path: "/healthz".into() }));
        let reason = next(&answers).expect_err("500");
        let want =
            format!("http://{address}/healthz answered `HTTP/1.1 500 Internal Server Error`");
        assert_eq!(reason, want);
        next(&answers).expect_err("no HTTP");
        assert_eq!(next(&answers), Ok(String::new()));
        server.join().expect("the server is content");
    }
}
