//! Calls over a connection: one at a time, blocking, each with a time limit if it has one.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::session::Session;

/// What a client needs of a connection.
pub trait Transport: Read + Write {
    /// From now on a read or write fails after this time; never if there is none.
    ///
    /// # Errors
    /// What the system says.
    fn limit(&mut self, time: Option<Duration>) -> io::Result<()>;
}

impl Transport for UnixStream {
    fn limit(&mut self, time: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(time)?;
        self.set_write_timeout(time)
    }
}

/// A client of one server.
#[derive(Debug)]
pub struct Client<T> {
    transport: T,
    session: Session,
    metadata: Vec<(&'static str, String)>,
}

impl Client<UnixStream> {
    /// Connects to a Unix socket.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(path: &Path, largest_message: usize) -> io::Result<Self> {
        UnixStream::connect(path).map(|stream| Self::new(stream, largest_message))
    }
}

impl<T: Transport> Client<T> {
    /// Uses a connection that nobody has used before, and takes messages of at most so many bytes.
    pub fn new(transport: T, largest_message: usize) -> Self {
        Self { transport, session: Session::new(largest_message), metadata: Vec::new() }
    }

    /// Sends this with each call from now on: `containerd-namespace`, for example.
    pub fn set_metadata(&mut self, name: &'static str, value: &str) {
        self.metadata.retain(|(other, _)| *other != name);
        self.metadata.push((name, value.to_owned()));
    }

    /// Makes a call with one request and one response, which is over within `limit`.
    ///
    /// # Errors
    /// Whatever keeps us from having a response.
    pub fn unary(&mut self, path: &str, request: &[u8], limit: Duration) -> Result<Vec<u8>, Error> {
        let mut call = self.call(path, Some(limit))?;
        call.send(request, true)?;
        let response = call.receive()?;
        let response = response.ok_or(Error::Protocol("the call succeeded without a message"))?;
        // The end tells whether it was a success.
        match call.receive()? {
            None => Ok(response),
            Some(_) => Err(Error::Protocol("there is not exactly one message")),
        }
    }

    /// Begins a call of any number of requests and responses. Without a limit it waits for the
    /// server as long as that takes.
    ///
    /// # Errors
    /// If the server takes no more calls on this connection.
    pub fn call(&mut self, path: &str, limit: Option<Duration>) -> Result<Call<'_, T>, Error> {
        let timeout = limit.map(|limit| {
            // At most eight digits (PROTOCOL-HTTP2.md).
            format!("{}m", limit.as_millis().min(99_999_999))
        });
        let mut metadata: Vec<_> =
            self.metadata.iter().map(|(name, value)| (*name, value.as_str())).collect();
        metadata.extend(timeout.as_ref().map(|timeout| ("grpc-timeout", timeout.as_str())));
        self.session.open(path, &metadata)?;
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        Ok(Call { client: self, deadline })
    }
}

/// A call under way.
#[derive(Debug)]
pub struct Call<'a, T> {
    client: &'a mut Client<T>,
    deadline: Option<Instant>,
}

impl<T: Transport> Call<'_, T> {
    /// Sends a request; `last` if no other follows. Waits while the server takes no more.
    ///
    /// # Errors
    /// What happened to the connection. A call that the server has ended is none: [`Self::receive`]
    /// says how it ended.
    pub fn send(&mut self, message: &[u8], last: bool) -> Result<(), Error> {
        self.client.session.send(message, last)?;
        while !self.client.session.all_sent() {
            self.exchange()?;
        }
        self.flush()
    }

    /// Says that no request follows.
    ///
    /// # Errors
    /// What happened to the connection.
    pub fn end(&mut self) -> Result<(), Error> {
        self.client.session.end();
        self.flush()
    }

    /// Waits for the next response; `None` if there is no other and the call was a success.
    ///
    /// # Errors
    /// What happened to the connection, and any status but success.
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(message) = self.client.session.message() {
                return Ok(Some(message));
            }
            match self.client.session.status() {
                Some(status) if status.code == 0 => return Ok(None),
                Some(status) => return Err(Error::Status(status.clone())),
                None => self.exchange()?,
            }
        }
    }

    /// Sends what there is, then waits for the server to say something.
    fn exchange(&mut self) -> Result<(), Error> {
        self.flush()?;
        let mut buffer = [0; 16 * 1024];
        self.limit()?;
        let length = loop {
            match self.client.transport.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if length == 0 {
            return Err(Error::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        self.client.session.take(&buffer[..length])?;
        // Acknowledgements and windows: the server may wait for them.
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Error> {
        let outgoing = std::mem::take(&mut self.client.session.outgoing);
        if !outgoing.is_empty() {
            self.limit()?;
            self.client.transport.write_all(&outgoing)?;
        }
        Ok(())
    }

    fn limit(&mut self) -> Result<(), Error> {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Error::Io(io::ErrorKind::TimedOut.into()));
        }
        Ok(self.client.transport.limit(left)?)
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{self, JoinHandle};

    use super::*;
    use crate::error::Status;
    use crate::session::{DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, WINDOW_UPDATE, frame};
    use crate::{hpack, protobuf};

    const MINUTE: Duration = Duration::from_secs(60);

    /// A server that reads frames and answers each call by its path.
    fn serve(
        mut stream: UnixStream,
        answer: impl Fn(&str, &[u8]) -> (Vec<Vec<u8>>, u32) + Send + 'static,
    ) -> JoinHandle<usize> {
        thread::spawn(move || {
            let mut preface = [0; 24];
            if stream.read_exact(&mut preface).is_err() {
                return 0;
            }
            let mut settings = Vec::new();
            frame(&mut settings, SETTINGS, 0, 0, &[]);
            stream.write_all(&settings).expect("written");
            let (mut path, mut body, mut calls) = (String::new(), Vec::new(), 0);
            loop {
                let mut head = [0; 9];
                if stream.read_exact(&mut head).is_err() {
                    return calls;
                }
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; usize::try_from(length).expect("small")];
                stream.read_exact(&mut payload).expect("a whole frame");
                let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                match head[3] {
                    HEADERS => {
                        let fields = hpack::decode(&payload).expect("a header block");
                        let mut fields = fields.into_iter();
                        path = fields.find(|(name, _)| name == ":path").expect("a path").1;
                        body.clear();
                    }
                    DATA => body.extend_from_slice(&payload),
                    _ => continue,
                }
                let mut reply = Vec::new();
                if head[3] == DATA && length > 0 {
                    let window = length.to_be_bytes();
                    frame(&mut reply, WINDOW_UPDATE, 0, 0, &window);
                    frame(&mut reply, WINDOW_UPDATE, 0, id, &window);
                }
                if head[3] == DATA && head[4] & END_STREAM != 0 {
                    calls += 1;
                    let (messages, status) = answer(&path, &body[5..]);
                    frame(&mut reply, HEADERS, END_HEADERS, id, &[0x88]);
                    for message in messages {
                        let mut data = vec![0];
                        let length = u32::try_from(message.len()).expect("short");
                        data.extend_from_slice(&length.to_be_bytes());
                        data.extend_from_slice(&message);
                        for part in data.chunks(16_384) {
                            frame(&mut reply, DATA, 0, id, part);
                        }
                    }
                    let mut block = Vec::new();
                    hpack::encode(&mut block, "grpc-status", &status.to_string());
                    frame(&mut reply, HEADERS, END_HEADERS | END_STREAM, id, &block);
                }
                stream.write_all(&reply).expect("written");
            }
        })
    }

    fn pair() -> (Client<UnixStream>, UnixStream) {
        let (client, server) = UnixStream::pair().expect("a pair");
        (Client::new(client, 1 << 20), server)
    }

    #[test]
    fn calls_follow_each_other_on_one_connection() {
        let (mut client, server) = pair();
        let server = serve(server, |path, request| match path {
            "/echo" => (vec![request.to_vec()], 0),
            "/twice" => (vec![vec![1], vec![2]], 0),
            "/nothing" => (vec![], 0),
            _ => (vec![], 6),
        });
        for size in [0, 10, 200_000] {
            let request = vec![7; size];
            assert_eq!(client.unary("/echo", &request, MINUTE).expect("an echo"), request);
        }
        let error = client.unary("/other", b"", MINUTE).expect_err("status 6");
        assert!(error.is(Status::ALREADY_EXISTS), "{error}");
        let error = client.unary("/nothing", b"", MINUTE).expect_err("no message");
        assert!(error.to_string().contains("without a message"), "{error}");
        let error = client.unary("/twice", b"", MINUTE).expect_err("two messages");
        assert!(error.to_string().contains("not exactly one"), "{error}");
        let mut call = client.call("/twice", None).expect("a call");
        call.send(b"", true).expect("sent");
        assert_eq!(call.receive().expect("one"), Some(vec![1]));
        assert_eq!(call.receive().expect("two"), Some(vec![2]));
        assert_eq!(call.receive().expect("the end"), None);
        drop(client);
        assert_eq!(server.join().expect("the server is content"), 7);
    }

    #[test]
    fn a_runtime_is_asked_for_its_version() {
        let (mut client, server) = pair();
        let server = serve(server, |path, request| {
            assert_eq!((path, request), ("/runtime.v1.RuntimeService/Version", &b"\x0a\x02v1"[..]));
            let message =
                protobuf::Message::new().text(2, "containerd").text(3, "v2").text(4, "v1");
            (vec![message.as_bytes().to_vec()], 0)
        });
        let version = client.version(MINUTE).expect("a version");
        assert_eq!(version.to_string(), "CRI v1 containerd v2");
        drop(client);
        server.join().expect("the server is content");
    }

    #[test]
    fn all_leases_are_deleted_and_the_last_waits_for_the_garbage() {
        let (mut client, server) = pair();
        let server = serve(server, |path, request| match path {
            "/containerd.services.leases.v1.Leases/List" => {
                let lease = |id| protobuf::Message::new().text(1, id);
                let list = protobuf::Message::new().message(1, &lease("a")).message(1, &lease("b"));
                (vec![list.as_bytes().to_vec()], 0)
            }
            _ => match request {
                // It has ended by itself.
                b"\x0a\x01a" => (vec![], Status::NOT_FOUND),
                b"\x0a\x01b\x10\x01" => (vec![vec![]], 0),
                other => panic!("{other:?}"),
            },
        });
        client.delete_leases(MINUTE).expect("deleted");
        drop(client);
        assert_eq!(server.join().expect("the server is content"), 3);
    }

    #[test]
    fn a_server_that_says_nothing_is_given_up_in_time() {
        let (mut client, server) = pair();
        let error = client.unary("/x", b"", Duration::from_millis(20)).expect_err("silence");
        assert_eq!(error.to_string(), "no answer in time");
        drop(server);
    }

    #[test]
    fn a_server_that_hangs_up_is_an_error() {
        let (mut client, server) = pair();
        let server = thread::spawn(move || drop((&server).read(&mut [0; 10])));
        let error = client.unary("/x", b"", MINUTE).expect_err("nobody there");
        assert!(error.to_string().starts_with("no answer: "), "{error}");
        server.join().expect("the server is content");
    }
}
