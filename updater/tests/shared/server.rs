//! A server on loopback that gives the files of a directory, as they are or in some odd way.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use updater::cancel::Cancel;

/// What is odd about an answer.
#[derive(Debug, Clone)]
pub enum Odd {
    /// This status line, and lines of a head.
    Status(&'static str, &'static str),
    /// A page for people.
    Page,
    /// The whole file for every range.
    NoRanges,
    /// Other bytes than were asked for.
    OtherRange,
    /// A word that it is packed.
    Packed,
    /// It ends after so many bytes.
    Cut(usize),
    /// It never ends.
    Endless,
    /// A byte now and then.
    Drip,
    /// The same, of the whole file for every range.
    DripWhole,
    /// Not a word.
    Silent,
    /// A byte of the file is another one.
    Changed,
    /// One byte is missing, and the length fits it.
    Short,
    /// It is there: below this address.
    Redirect(String),
}

struct Rule {
    part: String,
    odd: Odd,
    /// How often, if not for ever.
    times: Option<u32>,
}

#[derive(Default)]
struct Shared {
    rules: Vec<Rule>,
    requests: Vec<String>,
    /// Bytes of bodies.
    given: u64,
}

pub struct Server {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    stop: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(directory: &Path) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let stop = Cancel::new();
        let (seen, ends, directory) = (Arc::clone(&shared), stop.clone(), directory.to_owned());
        let thread = std::thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming() {
                if ends.check().is_err() {
                    break;
                }
                let (seen, ends, directory) = (Arc::clone(&seen), ends.clone(), directory.clone());
                // Clients that hang up are what some tests want.
                connections.push(std::thread::spawn(move || {
                    drop(converse(stream.unwrap(), &directory, &seen, &ends));
                }));
            }
            for connection in connections {
                connection.join().unwrap();
            }
        });
        Self { address, shared, stop, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Is odd about every path that holds `part`.
    pub fn odd(&self, part: &str, odd: Odd) {
        self.shared.lock().unwrap().rules.push(Rule { part: part.to_owned(), odd, times: None });
    }

    /// Is odd so often.
    pub fn odd_times(&self, part: &str, odd: Odd, times: u32) {
        let rule = Rule { part: part.to_owned(), odd, times: Some(times) };
        self.shared.lock().unwrap().rules.push(rule);
    }

    /// Is odd about nothing any more.
    pub fn well(&self) {
        self.shared.lock().unwrap().rules.clear();
    }

    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().requests)
    }

    /// Bytes of bodies that were given.
    pub fn given(&self) -> u64 {
        self.shared.lock().unwrap().given
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// An address of this host where nobody listens.
pub fn nobody() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn converse(
    mut stream: TcpStream,
    directory: &Path,
    shared: &Mutex<Shared>,
    stop: &Cancel,
) -> io::Result<()> {
    let mut head = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    while reader.read_line(&mut head)? > 2 {}
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let range = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let (first, last) = value.trim().strip_prefix("bytes=")?.split_once('-')?;
        let range = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        name.eq_ignore_ascii_case("range").then_some(range)
    });
    let odd = {
        let mut shared = shared.lock().unwrap();
        let asked = range.map_or(String::new(), |(first, last)| format!(" {first}-{last}"));
        shared.requests.push(format!("{path}{asked}"));
        let rule =
            shared.rules.iter_mut().find(|it| path.contains(&it.part) && it.times != Some(0));
        rule.map(|rule| {
            rule.times = rule.times.map(|times| times - 1);
            rule.odd.clone()
        })
    };
    match &odd {
        Some(Odd::Status(line, more)) => {
            return write!(
                stream,
                "HTTP/1.1 {line}\r\nConnection: close\r\n{more}Content-Length: 0\r\n\r\n"
            );
        }
        Some(Odd::Page) => return page(&mut stream, "200 OK"),
        Some(Odd::Silent) => return silent(stop),
        Some(Odd::Redirect(to)) => {
            let head = "HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\n";
            return write!(stream, "{head}Location: {to}{path}\r\n\r\n");
        }
        _ => {}
    }
    let file: PathBuf = directory.join(path.trim_start_matches('/'));
    let Ok(mut bytes) = fs::read(file) else {
        return page(&mut stream, "404 Not Found");
    };
    let whole = bytes.len();
    match &odd {
        Some(Odd::Changed) => bytes[whole / 4 * 3] ^= 1,
        Some(Odd::Short) => drop(bytes.pop()),
        _ => {}
    }
    let range = range.filter(|_| !matches!(odd, Some(Odd::NoRanges | Odd::DripWhole)));
    let mut line = "200 OK".to_owned();
    let mut more = String::new();
    let mut body = bytes;
    if let Some((first, last)) = range {
        let shift = usize::from(matches!(odd, Some(Odd::OtherRange)));
        let (first, last) = (first.saturating_sub(shift), last.saturating_sub(shift));
        body = body.get(first..=last).unwrap_or_default().to_vec();
        line = "206 Partial Content".to_owned();
        more = format!("Content-Range: bytes {first}-{last}/{whole}\r\n");
    }
    let length = body.len();
    match &odd {
        Some(Odd::Packed) => more += "Content-Encoding: gzip\r\n",
        Some(Odd::Endless | Odd::Drip) => {}
        _ => more += &format!("Content-Length: {length}\r\n"),
    }
    write!(stream, "HTTP/1.1 {line}\r\nConnection: close\r\n{more}\r\n")?;
    match odd {
        Some(Odd::Cut(after)) => body.truncate(after),
        Some(Odd::Drip | Odd::DripWhole) => {
            for byte in body.iter().cycle() {
                stream.write_all(&[*byte])?;
                if stop.pause(Duration::from_millis(5)).is_err() {
                    return Ok(());
                }
            }
        }
        Some(Odd::Endless) => loop {
            stream.write_all(&body)?;
            stream.write_all(&[b' '; 1000])?;
            if stop.check().is_err() {
                return Ok(());
            }
        },
        _ => {}
    }
    for piece in body.chunks(64 << 10) {
        stream.write_all(piece)?;
        shared.lock().unwrap().given += piece.len() as u64;
    }
    Ok(())
}

fn silent(stop: &Cancel) -> io::Result<()> {
    // It ends when the test does.
    let _ = stop.pause(Duration::from_secs(60));
    Ok(())
}

fn page(stream: &mut TcpStream, status: &str) -> io::Result<()> {
    let body = "<!DOCTYPE html><title>Please log in</title>\n";
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/html\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}
