//! A mock of an API server, for worlds that a real one does not bring about: HTML, bodies without end,
//! refusals at will. It speaks HTTP without TLS. What a real one grants a node is tested against that
//! (`qemu-tests/tests/cluster.rs`).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What was asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    /// Lower case, a line each.
    pub(super) head: String,
    pub(super) body: String,
}

/// What is answered.
pub(super) enum Answer {
    /// A status with its words, a type, a body.
    Whole(&'static str, &'static str, String),
    /// JSON, as it comes; the connection ends with the sender.
    Lines(Receiver<String>),
    /// This again and again, after that head.
    Endless(&'static str, &'static [u8]),
    /// These bytes, and the connection is cut.
    Raw(&'static [u8]),
    /// Nothing at all.
    Silence,
}

impl Answer {
    pub(super) fn json(body: impl ToString) -> Self {
        Self::Whole("200 OK", "application/json", body.to_string())
    }
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

pub(super) struct MockApi {
    pub(super) address: SocketAddr,
    open: Arc<Mutex<Vec<TcpStream>>>,
    stop: Arc<AtomicBool>,
    accepts: Option<JoinHandle<()>>,
}

impl MockApi {
    pub(super) fn new(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (open, stop) = (Arc::<Mutex<Vec<TcpStream>>>::default(), Arc::<AtomicBool>::default());
        let (streams, stopped) = (Arc::clone(&open), Arc::clone(&stop));
        let handler: Arc<Handler> = Arc::new(handler);
        let accepts = std::thread::spawn(move || {
            let mut answers = Vec::new();
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let stream = stream.unwrap();
                let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
                streams.push(stream.try_clone().unwrap());
                let handler = Arc::clone(&handler);
                let ends = Arc::clone(&stopped);
                answers.push(std::thread::spawn(move || answer(stream, &*handler, &ends)));
            }
            for answer in answers {
                answer.join().unwrap();
            }
        });
        Self { address, open, stop, accepts: Some(accepts) }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Cuts all connections, as a crash does.
    pub(super) fn cut(&self) {
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for MockApi {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.cut();
        if let Some(accepts) = self.accepts.take() {
            drop(accepts.join());
        }
    }
}

/// What cannot be written has lost its reader.
fn answer(mut stream: TcpStream, handler: &Handler, stop: &AtomicBool) {
    let Some(asked) = ask(&stream) else { return };
    let head = |status: &str, kind: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n")
    };
    match handler(&asked) {
        Answer::Whole(status, kind, body) => {
            let head = head(status, kind);
            let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            drop(stream.write_all(text.as_bytes()));
        }
        Answer::Lines(lines) => {
            let head = head("200 OK", "application/json") + "\r\n";
            if stream.write_all(head.as_bytes()).is_err() {
                return;
            }
            while !stop.load(Ordering::SeqCst) {
                match lines.recv_timeout(Duration::from_millis(50)) {
                    Ok(line) if stream.write_all(format!("{line}\n").as_bytes()).is_err() => return,
                    Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        }
        Answer::Endless(before, again) => {
            let mut more = stream.write_all(before.as_bytes());
            while more.is_ok() {
                more = stream.write_all(again);
            }
        }
        Answer::Raw(bytes) => drop(stream.write_all(bytes)),
        // Until the other end hangs up.
        Answer::Silence => drop(stream.read(&mut [0])),
    }
    drop(stream.shutdown(Shutdown::Both));
}

fn ask(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
        head += &(line + "\n");
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { method, path, head, body: String::from_utf8(body).ok()? })
}
