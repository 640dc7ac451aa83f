//! A server on loopback, and clients that are slow, many, or up to something.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::sync::mpsc::{self, Receiver};

use super::*;

const NOW: u64 = 1_800_000_000;

/// A site with one file of this size, at `/a`.
#[derive(Debug)]
struct Zeros(usize);

impl Site for Zeros {
    fn find(&self, path: &SitePath) -> Result<Found, Status> {
        if path.as_path().to_str() != Some("a") {
            return Err(Status::NotFound);
        }
        let content = Content::Bytes(vec![b'0'; self.0].into());
        let (size, tag) = (self.0 as u64, "t".to_owned());
        Ok(Found { content, size, tag, modified: 1, media: "text/plain" })
    }
}

/// A server whose log can be read.
struct Bench {
    running: Running,
    log: Receiver<Line>,
}

impl Bench {
    fn start(size: usize, limits: Limits) -> Self {
        let server = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let (sender, log) = mpsc::channel();
        let sender = Mutex::new(sender);
        let line = move |line: &Line| _ = sender.lock().unwrap().send(line.clone());
        let running = server.start(Zeros(size), limits, || NOW, Box::new(line));
        Self { running, log }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.running.address()).unwrap()
    }

    /// All that comes back for these bytes, to the end of the connection.
    fn ask(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        // The server may have heard enough before it was all said.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        rest(&mut stream)
    }

    /// Status and bytes of the next line of the log.
    fn logged(&self) -> (u16, u64, u64) {
        let line = self.log.recv().unwrap();
        (line.status.code(), line.sent, line.length)
    }
}

fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn requests_that_come_at_once_are_answered_in_order() {
    let bench = Bench::start(3, Limits::default());
    let last = "HEAD /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let answers = bench.ask(format!("{GET}{}{last}{GET}", GET.replace("/a", "/b")).as_bytes());
    let statuses: Vec<_> = answers.matches("HTTP/1.1 ").collect();
    assert_eq!(statuses.len(), 3, "{answers}");
    assert!(answers.starts_with("HTTP/1.1 200 OK\r\n"), "{answers}");
    assert!(answers.contains("\r\n\r\n000HTTP/1.1 404 Not Found\r\n"), "{answers}");
    assert!(answers.ends_with("Content-Length: 3\r\nConnection: close\r\n\r\n"), "{answers}");
    assert_eq!(
        [bench.logged(), bench.logged(), bench.logged()],
        [(200, 3, 3), (404, 10, 10), (200, 0, 0)]
    );
}

#[test]
fn what_is_no_request_is_answered_once_and_ends_the_connection() {
    let bench = Bench::start(3, Limits::default());
    let long = format!("GET /a HTTP/1.1\r\nHost: h\r\nx: {}\r\n\r\n", "x".repeat(40_000));
    for (bytes, status) in [
        (&b"hello\r\n\r\n"[..], 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nGET /", 200),
        (b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (long.as_bytes(), 431),
    ] {
        let answer = bench.ask(bytes);
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert_eq!(bench.logged().0, status);
    }
    assert_eq!(bench.ask(b""), "", "nothing was asked");
    assert_eq!(bench.ask(b"GET /a HT"), "", "and nobody waits for an answer");
}

#[test]
fn who_is_slow_to_ask_is_told_so_and_who_says_nothing_is_not_waited_for() {
    let request = Duration::from_secs(1);
    let bench = Bench::start(3, Limits { request, ..Limits::default() });
    let mut slow = bench.connect();
    slow.write_all(b"GET /a HTTP/1.1\r\n").unwrap();
    assert!(rest(&mut slow).starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    assert_eq!(bench.logged().0, 408);
    assert_eq!(rest(&mut bench.connect()), "");
    let idle = Duration::from_millis(100);
    let bench = Bench::start(3, Limits { idle, ..Limits::default() });
    let mut idle = bench.connect();
    idle.write_all(GET.as_bytes()).unwrap();
    assert!(rest(&mut idle).ends_with("\r\n\r\n000"));
}

#[test]
fn who_does_not_take_an_answer_loses_it() {
    // More than sockets hold.
    let size = 64 << 20;
    let answer = Duration::from_millis(200);
    let bench = Bench::start(size, Limits { answer, pace: u64::MAX, ..Limits::default() });
    let mut stream = bench.connect();
    stream.write_all(GET.as_bytes()).unwrap();
    let (status, sent, length) = bench.logged();
    assert_eq!((status, length), (200, size as u64));
    assert!(sent < length, "{sent}");
    let line = Line {
        client: bench.running.address(),
        asked: "GET /a".to_owned(),
        status: Status::Ok,
        sent: 7,
        length: 9,
    };
    assert!(line.to_string().ends_with(" GET /a 200 7 of 9"), "{line}");
}

#[test]
fn there_are_no_more_connections_than_may_be_and_the_next_gets_its_turn() {
    let bench = Bench::start(3, Limits { connections: 2, ..Limits::default() });
    let mut open = [bench.connect(), bench.connect()];
    for stream in &mut open {
        stream.write_all(GET.as_bytes()).unwrap();
        assert_eq!(bench.logged().0, 200);
    }
    let mut next = bench.connect();
    next.write_all(GET.as_bytes()).unwrap();
    assert_eq!(bench.running.shared.open().streams.len(), 2);
    assert!(bench.log.try_recv().is_err(), "the third is answered");
    drop(open);
    assert_eq!(bench.logged().0, 200);
    next.shutdown(Shutdown::Write).unwrap();
    assert!(rest(&mut next).ends_with("\r\n\r\n000"));
}

#[test]
fn its_end_ends_all_connections() {
    let bench = Bench::start(64 << 20, Limits::default());
    let (mut waiting, mut taking) = (bench.connect(), bench.connect());
    taking.write_all(GET.as_bytes()).unwrap();
    taking.read_exact(&mut [0; 1000]).unwrap();
    waiting.write_all(b"GET").unwrap();
    let address = bench.running.address();
    drop(bench);
    assert_eq!(rest(&mut waiting), "");
    assert!(rest(&mut taking).len() < 64 << 20);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_port_that_somebody_has_is_refused() {
    let bench = Bench::start(0, Limits::default());
    let error = Server::bind(bench.running.address()).unwrap_err();
    assert_eq!(error.id(), Id::CannotListen);
}
