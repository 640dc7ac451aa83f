//! An HTTP server for tests: one thread, one scripted answer per request, loopback only.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The whole file with status 200, whatever range was asked for.
    Whole(Vec<u8>),
    /// The part that was asked for with status 206, or all of it.
    Part(Vec<u8>),
    /// As `Part`, but the connection ends when the file is sent up to this position.
    Cut(Vec<u8>, usize),
    /// The connection ends before any answer.
    HangUp,
    /// This status and body.
    Status(u16, &'static str),
    /// Exactly these bytes.
    Raw(Vec<u8>),
    /// These bytes, and then the others again and again until the client has enough.
    Endless(&'static [u8], &'static [u8]),
}

/// A server that answers its requests one after the other from a script; the last answer is
/// given for all further ones. It ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        Self::at("127.0.0.1", script)
    }

    /// The same at another number of this host.
    pub(crate) fn at(host: &str, script: impl IntoIterator<Item = Answer>) -> Self {
        let mut script: Vec<_> = script.into_iter().collect();
        script.reverse();
        let listener = TcpListener::bind((host, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut head = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
                if head.starts_with("QUIT") {
                    return;
                }
                let answer = if script.len() > 1 { script.pop() } else { script.last().cloned() };
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(head.clone());
                // A client that hangs up early is part of some scripts.
                drop(give(&answer.unwrap(), &head, stream));
            }
        });
        Self { address, requests, thread: Some(thread) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// The requests' heads so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            drop(stream.write_all(b"QUIT\r\n\r\n"));
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// An address of this host where nobody listens.
pub(crate) fn nobody() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    format!("http://{}/file", listener.local_addr().unwrap())
}

fn give(answer: &Answer, head: &str, mut stream: TcpStream) -> std::io::Result<()> {
    let asked = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let from = value.strip_prefix("bytes=")?.strip_suffix('-')?;
        if name.eq_ignore_ascii_case("range") { from.parse::<usize>().ok() } else { None }
    });
    let file = |body: &[u8], until: usize, stream: &mut TcpStream| {
        let size = body.len();
        let first = asked.filter(|first| *first < size);
        let (status, from) = match (asked, first) {
            (Some(_), None) => return write!(stream, "{}", head_of(416, 0)),
            (_, Some(from)) => (206, from),
            _ => (200, 0),
        };
        let range = format!("Content-Range: bytes {from}-{}/{size}\r\n\r\n", size - 1);
        let head = head_of(status, size - from);
        let head = if status == 206 {
            head.replacen("\r\n\r\n", &format!("\r\n{range}"), 1)
        } else {
            head
        };
        stream.write_all(head.as_bytes())?;
        stream.write_all(&body[from..until.max(from)])
    };
    match answer {
        Answer::Whole(body) => {
            stream.write_all(head_of(200, body.len()).as_bytes())?;
            stream.write_all(body)
        }
        Answer::Part(body) => file(body, body.len(), &mut stream),
        Answer::Cut(body, until) => file(body, *until, &mut stream),
        Answer::HangUp => Ok(()),
        Answer::Status(status, body) => {
            write!(stream, "{}{body}", head_of(*status, body.len()))
        }
        Answer::Raw(bytes) => stream.write_all(bytes),
        Answer::Endless(head, piece) => {
            let many = piece.repeat(1000);
            stream.write_all(head)?;
            loop {
                stream.write_all(&many)?;
            }
        }
    }
}

fn head_of(status: u16, length: usize) -> String {
    format!("HTTP/1.1 {status} Scripted\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")
}
