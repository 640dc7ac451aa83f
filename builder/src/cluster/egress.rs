//! How the API server reaches kubelets (for logs, exec, port-forward) and pods: an HTTP CONNECT
//! proxy on a Unix socket, which knows for each node a port of this host that leads to it.
//!
//! A guest behind QEMU's user-mode network cannot be reached by its address, and several guests
//! may have the same one elsewhere. The API server asks for an address, as its own
//! `egressselector` package writes it (`CONNECT 10.0.2.15:10250 HTTP/1.1`, RFC 9110 section
//! 9.3.6); the file of that name in the directory of nodes holds the port. It is read for each
//! connection, so nodes come and go while the cluster runs. What is at no node's address is looked
//! for among the pods ([`super::forward`]); all else is refused.

use std::fs;
use std::io::{self, Read, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::cluster::forward::Reached;

/// A request is longer than this only by mistake.
const LONGEST_REQUEST: usize = 8 * 1024;
/// After a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);
/// The API server sends its request at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// A proxy that runs in a thread, with one more for each connection.
#[derive(Debug)]
pub struct Proxy {
    listener: UnixListener,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on `directory/name`, however long the path of the directory is. `nodes` is the
    /// directory of registered nodes, `pods` connects to what is at another address.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn start(
        directory: &Path,
        name: &str,
        nodes: &Path,
        pods: impl Fn(&str) -> Result<Reached, String> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let directory = fs::File::open(directory)?;
        let listener =
            UnixListener::bind(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))?;
        let (accepting, nodes) = (listener.try_clone()?, nodes.to_owned());
        let pods = Arc::new(pods);
        let thread = thread::spawn(move || {
            for stream in accepting.incoming() {
                match stream {
                    Ok(stream) => {
                        let (nodes, pods) = (nodes.clone(), Arc::clone(&pods));
                        thread::spawn(move || serve(stream, &nodes, &*pods));
                    }
                    // The peer was faster in going than we in coming, or there is a shortage that
                    // may pass; `stop` ends it otherwise.
                    Err(error) if is_passing(&error) => thread::sleep(PAUSE),
                    Err(_) => return,
                }
            }
        });
        Ok(Self { listener, thread: Some(thread) })
    }

    /// Accepts no more. Connections end when one of their ends closes.
    pub fn stop(&mut self) {
        // On Linux this wakes whoever waits in accept(2).
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = rustix::io::Errno::from_io_error(error);
    [Errno::INTR, Errno::CONNABORTED, Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|passing| errno == Some(*passing))
}

/// Serves one connection to its end. A connection that breaks has ended too.
fn serve(mut client: UnixStream, nodes: &Path, pods: &dyn Fn(&str) -> Result<Reached, String>) {
    drop(client.set_read_timeout(Some(PATIENCE)));
    match read_request(&mut client).and_then(|request| connect(&request, nodes, pods)) {
        Ok(reached) => {
            let greeted = client
                .set_read_timeout(None)
                .and_then(|()| client.write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
            if greeted.is_ok() {
                carry(&client, &reached.stream);
            }
        }
        Err(why) => {
            // The API server shows the status line to whoever asked for a log. Nobody is left to
            // tell if it has closed.
            let line = format!("HTTP/1.1 502 {why}\r\nContent-Length: 0\r\n\r\n");
            drop(client.write_all(line.as_bytes()));
        }
    }
}

/// Reads up to the empty line and not a byte further: what follows belongs to the node.
fn read_request(client: &mut impl Read) -> Result<Vec<u8>, String> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        if request.len() == LONGEST_REQUEST {
            return Err("the request is too long".to_owned());
        }
        match client.read(&mut byte) {
            Ok(0) => return Err("the request ends early".to_owned()),
            Ok(_) => request.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("the request does not come: {error}")),
        }
    }
    Ok(request)
}

fn connect(
    request: &[u8],
    nodes: &Path,
    pods: &dyn Fn(&str) -> Result<Reached, String>,
) -> Result<Reached, String> {
    let address = target(request)?;
    let path = nodes.join(address);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return pods(address);
        }
        Err(error) => return Err(format!("cannot read what is registered at {address}: {error}")),
    };
    let port = text.trim().parse::<u16>();
    let port = port.map_err(|_| format!("what is registered at {address} is not a port"))?;
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .map(Reached::from)
        .map_err(|error| format!("port {port}, registered at {address}, does not answer: {error}"))
}

/// The target of a CONNECT request, which is fit to be a file's name.
fn target(request: &[u8]) -> Result<&str, String> {
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| "the request is not text")?;
    let mut words = line.split(' ');
    let (Some("CONNECT"), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("only CONNECT is served here".to_owned());
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
    let port = target.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let fit = target.len() <= 200 && !target.starts_with('.') && target.chars().all(plain);
    if !fit || port.is_none() || !version.starts_with("HTTP/1.") {
        return Err("the target is not an address with a port".to_owned());
    }
    Ok(target)
}

/// Carries bytes both ways until both are done.
fn carry(client: &UnixStream, node: &TcpStream) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut from, mut to) = (client, node);
            drop(io::copy(&mut from, &mut to));
            drop(node.shutdown(Shutdown::Write));
        });
        let (mut from, mut to) = (node, client);
        drop(io::copy(&mut from, &mut to));
        drop(client.shutdown(Shutdown::Write));
    });
}

/// Where nodes are registered, in a cluster's directory.
pub fn nodes_directory(directory: &Path) -> PathBuf {
    directory.join("nodes")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;

    struct Place {
        directory: tempfile::TempDir,
        _proxy: Proxy,
    }

    impl Place {
        /// In a directory whose path is longer than a socket's may be.
        fn new() -> Self {
            let directory = tempfile::Builder::new().prefix(&"long-".repeat(40)).tempdir().unwrap();
            let nodes = nodes_directory(directory.path());
            fs::create_dir(&nodes).unwrap();
            let nobody = |address: &str| Err(format!("nobody is at {address}"));
            let proxy = Proxy::start(directory.path(), "egress.sock", &nodes, nobody).unwrap();
            Self { directory, _proxy: proxy }
        }

        fn register(&self, address: &str, content: &str) {
            fs::write(nodes_directory(self.directory.path()).join(address), content).unwrap();
        }

        /// Sends a request and returns the stream and the answer's first line.
        fn ask(&self, request: &str) -> (UnixStream, String) {
            let open = fs::File::open(self.directory.path()).unwrap();
            let path = format!("/proc/self/fd/{}/egress.sock", open.as_raw_fd());
            let mut stream = UnixStream::connect(path).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let answer = read_request(&mut stream).unwrap();
            let line = String::from_utf8(answer).unwrap();
            (stream, line.lines().next().unwrap().to_owned())
        }
    }

    const ASKED: &str = "CONNECT 10.0.2.15:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

    #[test]
    fn a_registered_node_is_reached_and_bytes_go_both_ways() {
        let place = Place::new();
        let node = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        place.register("10.0.2.15:10250", &format!("{}\n", node.local_addr().unwrap().port()));
        for _ in 0..2 {
            let (mut client, answer) = place.ask(ASKED);
            assert_eq!(answer, "HTTP/1.1 200 OK");
            let (mut kubelet, _) = node.accept().unwrap();
            client.write_all(b"hello").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut heard = String::new();
            kubelet.read_to_string(&mut heard).unwrap();
            assert_eq!(heard, "hello");
            kubelet.write_all(b"and back").unwrap();
            drop(kubelet);
            let mut heard = String::new();
            client.read_to_string(&mut heard).unwrap();
            assert_eq!(heard, "and back");
        }
    }

    #[test]
    fn all_else_is_refused_with_the_reason() {
        let place = Place::new();
        place.register("10.0.2.16:10250", "soon");
        // Nobody listens on a port that is only reserved.
        let port = crate::cluster::ports::Port::reserve().unwrap();
        place.register("10.0.2.17:10250", &port.number().to_string());
        for (request, want) in [
            (ASKED, "HTTP/1.1 502 nobody is at 10.0.2.15:10250"),
            ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 502 only CONNECT is served here"),
            (
                "CONNECT ../egress.sock:1 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 502 the target is not an address with a port",
            ),
            (
                "CONNECT 10.0.2.16:10250 HTTP/1.1\r\n\r\n",
                "HTTP/1.1 502 what is registered at 10.0.2.16:10250 is not a port",
            ),
        ] {
            assert_eq!(place.ask(request).1, want);
        }
        let (_, answer) = place.ask("CONNECT 10.0.2.17:10250 HTTP/1.1\r\n\r\n");
        assert!(answer.contains("registered at 10.0.2.17:10250, does not answer"), "{answer}");
    }

    #[test]
    fn a_node_that_is_registered_later_is_reached_then() {
        let place = Place::new();
        assert!(place.ask(ASKED).1.contains("502"));
        let node = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        place.register("10.0.2.15:10250", &node.local_addr().unwrap().port().to_string());
        assert!(place.ask(ASKED).1.contains("200"));
        fs::remove_file(nodes_directory(place.directory.path()).join("10.0.2.15:10250")).unwrap();
        assert!(place.ask(ASKED).1.contains("502"));
    }

    #[test]
    fn a_request_without_an_end_is_given_up() {
        let endless = vec![b'x'; LONGEST_REQUEST * 2];
        assert_eq!(read_request(&mut &endless[..]), Err("the request is too long".to_owned()));
        assert_eq!(read_request(&mut &b"CONN"[..]), Err("the request ends early".to_owned()));
    }

    proptest! {
        #[test]
        fn no_request_names_a_file_outside_the_directory(request in "(CONNECT )?.{0,40}( HTTP/1.1)?\r\n") {
            if let Ok(target) = target(request.as_bytes()) {
                prop_assert!(Path::new(target).components().count() == 1);
                prop_assert!(!target.starts_with('.') && !target.contains('/'));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            drop(target(&bytes));
        }
    }
}
