//! One connection: requests come, answers go, until either side has enough or the time is over.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::request::{Head, parse};
use super::response::{Answer, Piece, Then};
use super::status::Status;
use super::{Content, Limits, Line, Shared};

/// How much is read of a file at once.
const PIECE: usize = 64 * 1024;

/// So much of what is not wanted is read before a connection ends, for who gets an answer before all
/// was read would lose it with the connection.
const UNWANTED: usize = 64 * 1024;
/// And for so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers to its end.
pub(super) fn serve(shared: &Shared, stream: &TcpStream, client: SocketAddr) {
    // It is only quicker with it.
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    let mut wait = shared.limits.request;
    loop {
        let arrived = arrive(stream, &mut buffer, wait, shared.limits.request);
        let (then, sent) = match arrived {
            Ok(None) => break,
            Ok(Some(head)) => {
                buffer.drain(..head.length);
                let then = if head.last { Then::Close } else { Then::GoOn };
                let (answer, content) = answer(shared, &head, then);
                (then, reply(shared, stream, client, head.shown, &answer, content.as_ref()))
            }
            Err(status) => {
                let answer = Answer::refusal(status, None, (shared.clock)(), Then::Close);
                (Then::Close, reply(shared, stream, client, "-".to_owned(), &answer, None))
            }
        };
        if sent.is_err() || then == Then::Close {
            break;
        }
        wait = shared.limits.idle;
    }
    end(stream);
}

fn answer(shared: &Shared, head: &Head, then: Then) -> (Answer, Option<Content>) {
    let now = (shared.clock)();
    let request = match &head.request {
        Ok(request) => request,
        Err(status) => return (Answer::refusal(*status, None, now, then), None),
    };
    match shared.site.find(&request.path) {
        Ok(found) => (Answer::to(request, &found, now, then), Some(found.content)),
        Err(status) => (Answer::refusal(status, Some(request.method), now, then), None),
    }
}

/// Waits for a head: `wait` for its first byte, `whole` for the rest. What comes after it stays in
/// the buffer. Nothing comes if the client is gone, or says nothing.
///
/// # Errors
/// What to say before the connection ends: it is no request, or only part of one.
fn arrive(
    stream: &TcpStream,
    buffer: &mut Vec<u8>,
    wait: Duration,
    whole: Duration,
) -> Result<Option<Head>, Status> {
    let mut deadline = Instant::now() + if buffer.is_empty() { wait } else { whole };
    loop {
        if let Some(head) = parse(buffer)? {
            return Ok(Some(head));
        }
        let mut bytes = [0; 4096];
        match read_until(stream, &mut bytes, deadline) {
            Ok(0) => return Ok(None),
            Ok(count) => {
                if buffer.is_empty() && wait > whole {
                    deadline = Instant::now() + whole;
                }
                buffer.extend_from_slice(&bytes[..count]);
            }
            Err(error) if error.kind() == ErrorKind::TimedOut && !buffer.is_empty() => {
                return Err(Status::RequestTimeout);
            }
            Err(_) => return Ok(None),
        }
    }
}

fn read_until(mut stream: &TcpStream, bytes: &mut [u8], deadline: Instant) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(bytes) {
            // One says that it was interrupted, the other that the time is over; the deadline knows.
            Err(error) if is_passing(&error) => {}
            other => return other,
        }
    }
}

/// The time until then; an error if there is none.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn is_passing(error: &io::Error) -> bool {
    [ErrorKind::Interrupted, ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind())
}

/// Sends an answer and logs it, whatever became of it.
fn reply(
    shared: &Shared,
    stream: &TcpStream,
    client: SocketAddr,
    asked: String,
    answer: &Answer,
    content: Option<&Content>,
) -> io::Result<()> {
    let mut sending = Sending { stream, begun: Instant::now(), limits: &shared.limits, sent: 0 };
    let head = answer.head.len() as u64;
    let result = sending.all(answer, content);
    let sent = sending.sent.saturating_sub(head);
    (shared.log)(&Line { client, asked, status: answer.status, sent, length: answer.length() });
    result
}

/// An answer on its way.
struct Sending<'a> {
    stream: &'a TcpStream,
    begun: Instant,
    limits: &'a Limits,
    sent: u64,
}

impl Sending<'_> {
    fn all(&mut self, answer: &Answer, content: Option<&Content>) -> io::Result<()> {
        self.bytes(answer.head.as_bytes())?;
        for piece in &answer.body {
            match (piece, content) {
                (Piece::Text(text), _) => self.bytes(text.as_bytes())?,
                (Piece::Content(range), Some(content)) => {
                    self.content(content, range.start, range.end)?;
                }
                (Piece::Content(_), None) => return Err(ErrorKind::NotFound.into()),
            }
        }
        Ok(())
    }

    fn content(&mut self, content: &Content, mut at: u64, end: u64) -> io::Result<()> {
        let mut buffer = vec![0; PIECE.min(usize::try_from(end - at).unwrap_or(PIECE))];
        while at < end {
            let most = buffer.len().min(usize::try_from(end - at).unwrap_or(PIECE));
            match content.read_at(&mut buffer[..most], at) {
                // The file has become shorter. More was announced, so the connection must end.
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.bytes(&buffer[..count])?;
                    at += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            // What was sent earns the time for more.
            let earned = Duration::from_secs(self.sent / self.limits.pace.max(1));
            let deadline = self.begun + self.limits.answer + earned;
            self.stream.set_write_timeout(Some(left(deadline)?))?;
            let mut stream = self.stream;
            match stream.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.sent += count as u64;
                    bytes = &bytes[count..];
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Says that no more comes, and reads a little of what still does.
fn end(stream: &TcpStream) {
    if stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let deadline = Instant::now() + PATIENCE;
    let (mut bytes, mut unwanted) = ([0; 4096], 0);
    while unwanted < UNWANTED {
        match read_until(stream, &mut bytes, deadline) {
            Ok(0) | Err(_) => break,
            Ok(count) => unwanted += count,
        }
    }
}
