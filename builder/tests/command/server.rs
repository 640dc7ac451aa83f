//! A mirror on loopback: files by path, and for each path what may go wrong.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What the server does when a path is asked for.
pub(crate) enum Answer {
    /// The file, or the part of it that was asked for.
    File(Vec<u8>),
    /// The file in pieces, without a word on its length.
    Chunked(Vec<u8>),
    /// The file for those who send this value of `Authorization`; the others get status 401.
    Private(&'static str, Vec<u8>),
    /// A page for people, with status 200.
    Page,
    /// Bytes without a word on their length, until the client has enough.
    Endless,
    /// So many bytes of the file, and then the connection ends. The next request gets all.
    CutOnce(Vec<u8>, usize),
    /// So many bytes of the file; then nothing until the channel closes, and the connection ends.
    /// The next request gets all.
    StallOnce(Vec<u8>, usize, Receiver<()>),
}

#[derive(Default)]
struct Shared {
    answers: BTreeMap<String, Answer>,
    requests: Vec<String>,
}

/// The server. It ends with this value.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let seen = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}

                if head.starts_with("QUIT") {
                    break;
                }
                let seen = Arc::clone(&seen);
                // A client that is gone before it has all is part of some tests.
                connections.push(std::thread::spawn(move || drop(give(&seen, &head, &mut stream))));
            }
            for connection in connections {
                connection.join().unwrap();
            }
        });
        Self { address, shared, thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves these files from now on, and nothing else.
    pub(crate) fn serve(&self, files: BTreeMap<String, Vec<u8>>) {
        let answers = files.into_iter().map(|(path, file)| (path, Answer::File(file)));
        self.shared().answers = answers.collect();
    }

    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.shared().answers.insert(path.to_owned(), answer);
    }

    pub(crate) fn remove(&self, path: &str) {
        self.shared().answers.remove(path).unwrap();
    }

    /// Path and range of every request since the last time.
    pub(crate) fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared().requests)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
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
    format!("http://{}", listener.local_addr().unwrap())
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn give(shared: &Mutex<Shared>, head: &str, stream: &mut TcpStream) -> std::io::Result<()> {
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let from = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let from = value.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()?;
        name.eq_ignore_ascii_case("range").then_some(from)
    });
    let (mut stall, mut endless) = (None, false);
    let reply = {
        let mut shared = lock(shared);
        shared.requests.push(match from {
            Some(from) => format!("{path} from {from}"),
            None => path.clone(),
        });
        match shared.answers.remove(&path) {
            None => page("404 Not Found"),
            Some(Answer::Page) => {
                shared.answers.insert(path, Answer::Page);
                page("200 OK")
            }
            Some(Answer::Endless) => {
                shared.answers.insert(path, Answer::Endless);
                endless = true;
                b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec()
            }
            Some(Answer::Chunked(file)) => {
                let reply = chunked(&file);
                shared.answers.insert(path, Answer::Chunked(file));
                reply
            }
            Some(Answer::Private(word, file)) => {
                let known = head.lines().any(|line| {
                    line.split_once(": ").is_some_and(|(name, value)| {
                        name.eq_ignore_ascii_case("authorization") && value == word
                    })
                });
                let reply =
                    if known { part(&file, from, file.len()) } else { page("401 Unauthorized") };
                shared.answers.insert(path, Answer::Private(word, file));
                reply
            }
            Some(Answer::File(file)) => {
                let reply = part(&file, from, file.len());
                shared.answers.insert(path, Answer::File(file));
                reply
            }
            Some(Answer::CutOnce(file, until)) => {
                let reply = part(&file, from, until);
                shared.answers.insert(path, Answer::File(file));
                reply
            }
            Some(Answer::StallOnce(file, until, end)) => {
                let reply = part(&file, from, until);
                shared.answers.insert(path, Answer::File(file));
                stall = Some(end);
                reply
            }
        }
    };
    stream.write_all(&reply)?;
    if endless {
        loop {
            stream.write_all(&[b'['; 64 << 10])?;
        }
    }
    if let Some(end) = stall {
        // An error says that the test is over, which is what we wait for.
        let _ = end.recv();
    }
    Ok(())
}

fn page(status: &str) -> Vec<u8> {
    let body = "<!DOCTYPE html><title>Please log in</title>\n";
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/html\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn chunked(file: &[u8]) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut reply = head.as_bytes().to_vec();
    for piece in file.chunks(1000) {
        reply.extend(format!("{:x}\r\n", piece.len()).bytes());
        reply.extend(piece);
        reply.extend(b"\r\n");
    }
    reply.extend(b"0\r\n\r\n");
    reply
}

fn part(file: &[u8], from: Option<usize>, until: usize) -> Vec<u8> {
    let size = file.len();
    let start = from.unwrap_or(0);
    let (status, range) = match from {
        Some(from) => {
            let last = size - 1;
            ("206 Partial Content", format!("Content-Range: bytes {from}-{last}/{size}\r\n"))
        }
        None => ("200 OK", String::new()),
    };
    let length = size - start;
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\n{range}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), &file[start..until.max(start)]].concat()
}
