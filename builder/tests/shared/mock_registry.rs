//! A mock of a registry on loopback: as much of the OCI distribution specification as pushing and pulling
//! take, and what a test makes of it. The real one, which judges us as well, is a program of Go that
//! `cargo xtask setup` brings; and no real one can be made to lie.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use formats::digest::Sha256;

/// A request. The content is there but for those who wait for a word before they send it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// `METHOD TARGET`, and in which words the asker says who he is.
    pub(crate) fn line(&self) -> String {
        let who = self.header("authorization").map_or(String::new(), |who| format!(" as {who}"));
        format!("{} {}{who}", self.method, self.target)
    }
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content: Vec<u8>,
    /// The content comes again and again.
    pub(crate) endless: bool,
    /// The connection ends after so many bytes of the content.
    pub(crate) cut: Option<usize>,
}

impl Reply {
    pub(crate) fn new(status: u16, content: impl AsRef<[u8]>) -> Self {
        Self { status, content: content.as_ref().to_vec(), ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

type Odd = Box<dyn FnMut(&Asked) -> Option<Reply> + Send>;

#[derive(Default)]
struct State {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: BTreeMap<String, Vec<u8>>,
    asked: Vec<String>,
    odd: Option<Odd>,
    sessions: u32,
}

/// The mock. It ends with this value.
pub(crate) struct MockRegistry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

impl MockRegistry {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut first = [0; 4];
                if stream.peek(&mut first).is_ok_and(|read| &first[..read] == b"QUIT") {
                    break;
                }
                let shared = Arc::clone(&shared);
                // Who hangs up before the end is part of some tests.
                connections.push(std::thread::spawn(move || drop(serve(&shared, stream))));
            }
            for connection in connections {
                connection.join().unwrap();
            }
        });
        Self { address, state, thread: Some(thread) }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Whatever this says is answered in place of what is right.
    pub(crate) fn odd(&self, odd: impl FnMut(&Asked) -> Option<Reply> + Send + 'static) {
        self.state().odd = Some(Box::new(odd));
    }

    /// Answers are right again.
    pub(crate) fn even(&self) {
        self.state().odd = None;
    }

    /// What was asked since the last time.
    pub(crate) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state().asked)
    }

    pub(crate) fn put_blob(&self, content: &[u8]) {
        let digest = format!("sha256:{}", Sha256::of(content));
        self.state().blobs.insert(digest, content.to_vec());
    }

    pub(crate) fn put_manifest(&self, tag: &str, content: &[u8]) {
        self.state().manifests.insert(tag.to_owned(), content.to_vec());
    }

    pub(crate) fn manifest(&self, tag: &str) -> Vec<u8> {
        self.state().manifests[tag].clone()
    }

    /// How many blobs there are.
    pub(crate) fn blobs(&self) -> usize {
        self.state().blobs.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for MockRegistry {
    fn drop(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            drop(stream.write_all(b"QUIT"));
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(state: &Mutex<State>, mut stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let mut asked = Asked {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        ..Asked::default()
    };
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        asked.headers.push((name.to_owned(), value.to_owned()));
    }
    let waits = asked.header("expect").is_some();
    let length = asked.header("content-length").and_then(|it| it.parse().ok()).unwrap_or(0u64);
    let content = |reader: &mut BufReader<TcpStream>, asked: &mut Asked| {
        reader.take(length).read_to_end(&mut asked.content).map(drop)
    };
    if !waits {
        content(&mut reader, &mut asked)?;
    }
    let odd = {
        let mut state = lock(state);
        state.asked.push(asked.line());
        state.odd.as_mut().and_then(|odd| odd(&asked))
    };
    let reply = match odd {
        Some(reply) => reply,
        None => {
            if waits {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                content(&mut reader, &mut asked)?;
            }
            right(&mut lock(state), &asked)
        }
    };
    give(&mut stream, &asked, &reply)
}

fn give(stream: &mut TcpStream, asked: &Asked, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Mocked\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !reply.endless {
        head += &format!("Content-Length: {}\r\n", reply.content.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if asked.method == "HEAD" {
        return Ok(());
    }
    stream.write_all(&reply.content[..reply.cut.unwrap_or(reply.content.len())])?;
    if reply.endless {
        loop {
            stream.write_all(&reply.content)?;
        }
    }
    Ok(())
}

/// `{"errors": ...}` as a registry has it.
pub(crate) fn errors(code: &str, message: &str) -> String {
    format!(r#"{{"errors":[{{"code":"{code}","message":"{message}","detail":{{}}}}]}}"#)
}

fn right(state: &mut State, asked: &Asked) -> Reply {
    let (path, query) = asked.target.split_once('?').unwrap_or((&asked.target, ""));
    let parts: Vec<_> = path.rsplitn(3, '/').collect();
    let [last, kind, _] = parts[..] else { return Reply::new(404, "") };
    let none = |code: &str| Reply::new(404, errors(code, "none"));
    match (asked.method.as_str(), kind) {
        ("GET", "manifests") => match state.manifests.get(last) {
            None => none("MANIFEST_UNKNOWN"),
            Some(manifest) => Reply::new(200, manifest)
                .with("Docker-Content-Digest", format!("sha256:{}", Sha256::of(manifest))),
        },
        ("PUT", "manifests") => {
            let digest = format!("sha256:{}", Sha256::of(&asked.content));
            for name in [last, &digest] {
                state.manifests.insert(name.to_owned(), asked.content.clone());
            }
            Reply::new(201, "").with("Docker-Content-Digest", digest)
        }
        ("HEAD" | "GET", "blobs") => match state.blobs.get(last) {
            None => none("BLOB_UNKNOWN"),
            Some(blob) => part(blob, asked),
        },
        ("POST", "uploads") => {
            state.sessions += 1;
            // Relative, with a query of its own.
            Reply::new(202, "").with("Location", format!("{path}{}?_state=a%2Fb", state.sessions))
        }
        ("PUT", "uploads") => {
            let digest = format!("sha256:{}", Sha256::of(&asked.content));
            if query != format!("_state=a%2Fb&digest={digest}") {
                return Reply::new(400, errors("DIGEST_INVALID", "another digest"));
            }
            state.blobs.insert(digest.clone(), asked.content.clone());
            Reply::new(201, "").with("Docker-Content-Digest", digest)
        }
        ("GET", "tags") => Reply::new(200, r#"{"tags":[]}"#),
        _ => Reply::new(404, errors("UNSUPPORTED", "not mocked")),
    }
}

fn part(blob: &[u8], asked: &Asked) -> Reply {
    let range = asked.header("range").and_then(|it| it.strip_prefix("bytes=")?.strip_suffix('-'));
    match range.and_then(|from| from.parse::<usize>().ok()) {
        None => Reply::new(200, blob),
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", blob.len() - 1, blob.len());
            Reply::new(206, &blob[from..]).with("Content-Range", range)
        }
    }
}
