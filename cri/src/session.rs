//! The conversation: what a client of gRPC over HTTP/2 says and understands, without I/O.
//!
//! HTTP/2 is RFC 9113, gRPC `doc/PROTOCOL-HTTP2.md` of grpc/grpc. A session has one call at a
//! time. Flow control is kept in both directions: what we send waits for the server's windows,
//! and what we took is given back at once, for a message that is too long is refused anyway.

use std::collections::VecDeque;

use crate::error::{Error, Status};
use crate::hpack;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

const SETTINGS_HEADER_TABLE_SIZE: u16 = 1;
const SETTINGS_ENABLE_PUSH: u16 = 2;
const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 4;
const CANCEL: u32 = 8;

/// `SETTINGS_MAX_FRAME_SIZE` is this unless we say otherwise (RFC 9113, 6.5.2); the server's is at
/// least as much.
const LARGEST_FRAME: usize = 16_384;
/// Both windows begin with this (RFC 9113, 6.9.2).
const FIRST_WINDOW: i64 = 65_535;
/// Of a whole header block: an error message in it is some hundred bytes.
const LARGEST_HEADERS: usize = 64 * 1024;

/// One connection from the client's side.
#[derive(Debug)]
pub(crate) struct Session {
    /// To be sent.
    pub(crate) outgoing: Vec<u8>,
    /// Bytes of a frame that is not whole yet.
    incoming: Vec<u8>,
    settings_seen: bool,
    /// What the server still takes of DATA, over the whole connection.
    window: i64,
    /// The same for a new stream.
    stream_window: i64,
    /// The server takes no stream after this one.
    last_stream: u32,
    /// A header block whose end is to come.
    headers: Option<Headers>,
    stream: Stream,
    largest_message: usize,
}

#[derive(Debug)]
struct Headers {
    stream: u32,
    ends: bool,
    block: Vec<u8>,
}

/// The current call.
#[derive(Debug, Default)]
struct Stream {
    /// 0 before the first.
    id: u32,
    window: i64,
    /// What is to be sent, and whether nothing follows.
    body: VecDeque<u8>,
    body_ends: bool,
    /// The server knows that nothing follows.
    sent_end: bool,
    /// Bytes of a message that is not whole yet.
    data: Vec<u8>,
    messages: VecDeque<Vec<u8>>,
    status: Option<Status>,
}

impl Session {
    /// A session that takes messages of at most so many bytes.
    pub(crate) fn new(largest_message: usize) -> Self {
        let mut outgoing = PREFACE.to_vec();
        let mut settings = Vec::new();
        for (name, value) in [(SETTINGS_HEADER_TABLE_SIZE, 0_u32), (SETTINGS_ENABLE_PUSH, 0)] {
            settings.extend_from_slice(&name.to_be_bytes());
            settings.extend_from_slice(&value.to_be_bytes());
        }
        frame(&mut outgoing, SETTINGS, 0, 0, &settings);
        Self {
            outgoing,
            incoming: Vec::new(),
            settings_seen: false,
            window: FIRST_WINDOW,
            stream_window: FIRST_WINDOW,
            last_stream: u32::MAX,
            headers: None,
            // It counts as ended.
            stream: Stream { sent_end: true, status: Some(Status::default()), ..Stream::default() },
            largest_message,
        }
    }

    /// Begins a call; one that has not ended is given up.
    pub(crate) fn open(&mut self, path: &str, metadata: &[(&str, &str)]) -> Result<(), Error> {
        if self.stream.status.is_none() || !self.stream.sent_end {
            self.frame(RST_STREAM, 0, self.stream.id, &CANCEL.to_be_bytes());
        }
        // Ours are odd (RFC 9113, 5.1.1).
        let id = self.stream.id.checked_add(if self.stream.id == 0 { 1 } else { 2 });
        let id = id.filter(|&id| id < 1 << 31 && id <= self.last_stream);
        let id = id.ok_or(Error::Protocol("the connection takes no more calls"))?;
        self.stream = Stream { id, window: self.stream_window, ..Stream::default() };
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", "orlop"),
        ]
        .iter()
        .chain(metadata)
        {
            hpack::encode(&mut block, name, value);
        }
        self.frame(HEADERS, END_HEADERS, id, &block);
        Ok(())
    }

    /// Queues a message of the current call; `last` if no other follows.
    pub(crate) fn send(&mut self, message: &[u8], last: bool) -> Result<(), Error> {
        let length = u32::try_from(message.len());
        let length = length.map_err(|_| Error::Protocol("a message of ours is too long"))?;
        // Not compressed, length.
        self.stream.body.push_back(0);
        self.stream.body.extend(length.to_be_bytes());
        self.stream.body.extend(message);
        self.stream.body_ends |= last;
        self.pump();
        Ok(())
    }

    /// Says that no message follows.
    pub(crate) fn end(&mut self) {
        self.stream.body_ends = true;
        self.pump();
    }

    /// Whether what was queued has gone as far as the windows allow, which is all of it.
    pub(crate) fn all_sent(&self) -> bool {
        self.stream.body.is_empty() || self.stream.status.is_some()
    }

    /// The next message of the server in this call.
    pub(crate) fn message(&mut self) -> Option<Vec<u8>> {
        self.stream.messages.pop_front()
    }

    /// How the server ended this call, if it did.
    pub(crate) fn status(&self) -> Option<&Status> {
        self.stream.status.as_ref()
    }

    /// Takes in what the server sent.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.incoming.extend_from_slice(bytes);
        let mut incoming = std::mem::take(&mut self.incoming);
        let mut rest = &incoming[..];
        let mut result = Ok(());
        while let Some((&[a, b, c, kind, flags, s0, s1, s2, s3], after)) =
            rest.split_first_chunk::<9>()
        {
            let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
            // The first frame tells another protocol apart, HTTP/1 for example.
            if !self.settings_seen && kind != SETTINGS {
                return Err(Error::Protocol("it does not begin with HTTP/2 settings"));
            }
            if length > LARGEST_FRAME {
                return Err(Error::Protocol("a frame is longer than allowed"));
            }
            let Some((payload, after)) = after.split_at_checked(length) else { break };
            rest = after;
            self.settings_seen = true;
            let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
            result = self.understand(kind, flags, stream, payload);
            if result.is_err() {
                break;
            }
        }
        let taken = incoming.len() - rest.len();
        incoming.drain(..taken);
        self.incoming = incoming;
        self.pump();
        result
    }

    fn understand(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> Result<(), Error> {
        if self.headers.is_some() && kind != CONTINUATION {
            return Err(Error::Protocol("a header block is interrupted"));
        }
        let current = stream == self.stream.id && self.stream.status.is_none();
        match kind {
            SETTINGS if flags & ACK == 0 => {
                self.settings(payload);
                self.frame(SETTINGS, ACK, 0, &[]);
            }
            PING if flags & ACK == 0 => self.frame(PING, ACK, 0, payload),
            GOAWAY => {
                let Some(&[l0, l1, l2, l3, c0, c1, c2, c3]) = payload.first_chunk::<8>() else {
                    return Err(Error::Protocol("a frame is too short"));
                };
                // Streams up to this one will still be served.
                self.last_stream = u32::from_be_bytes([l0 & 0x7f, l1, l2, l3]);
                if self.last_stream < self.stream.id && self.stream.status.is_none() {
                    return Err(Error::Refused(u32::from_be_bytes([c0, c1, c2, c3])));
                }
            }
            RST_STREAM if current => {
                let code = payload.first_chunk().map_or(0, |code| u32::from_be_bytes(*code));
                return Err(Error::Refused(code));
            }
            WINDOW_UPDATE => {
                let more = payload.first_chunk().map_or(0, |more| u32::from_be_bytes(*more));
                let more = i64::from(more & 0x7fff_ffff);
                if stream == 0 {
                    self.window += more;
                } else if current {
                    self.stream.window += more;
                }
            }
            DATA => {
                self.give_back(stream, payload.len(), current && flags & END_STREAM == 0);
                if current {
                    self.stream.data.extend_from_slice(unpadded(flags, payload)?);
                    self.cut_messages()?;
                    if flags & END_STREAM != 0 {
                        return Err(Error::Protocol("the call ended without a status"));
                    }
                }
            }
            HEADERS => {
                let mut block = unpadded(flags, payload)?;
                if flags & PRIORITY != 0 {
                    block = block.get(5..).ok_or(Error::Protocol("a frame is too short"))?;
                }
                let ends = flags & END_STREAM != 0;
                let headers = Headers { stream, ends, block: block.to_vec() };
                return self.headers(headers, flags);
            }
            CONTINUATION => {
                let Some(mut headers) = self.headers.take() else {
                    return Err(Error::Protocol("a header block has no beginning"));
                };
                headers.block.extend_from_slice(payload);
                return self.headers(headers, flags);
            }
            // PRIORITY, acknowledgements and kinds we do not know change nothing.
            _ => {}
        }
        Ok(())
    }

    fn settings(&mut self, payload: &[u8]) {
        for &[n0, n1, v0, v1, v2, v3] in payload.as_chunks::<6>().0 {
            if u16::from_be_bytes([n0, n1]) == SETTINGS_INITIAL_WINDOW_SIZE {
                let window = i64::from(u32::from_be_bytes([v0 & 0x7f, v1, v2, v3]));
                // It holds for the stream that is open as well (RFC 9113, 6.9.2).
                self.stream.window += window - self.stream_window;
                self.stream_window = window;
            }
        }
    }

    fn headers(&mut self, headers: Headers, flags: u8) -> Result<(), Error> {
        if headers.block.len() > LARGEST_HEADERS {
            return Err(Error::Protocol("a header block is too long"));
        }
        if flags & END_HEADERS == 0 {
            self.headers = Some(headers);
            return Ok(());
        }
        if headers.stream != self.stream.id || self.stream.status.is_some() || !headers.ends {
            return Ok(());
        }
        let fields = hpack::decode(&headers.block)
            .ok_or(Error::Protocol("a header block cannot be decoded"))?;
        let field = |wanted: &str| {
            let mut fields = fields.iter().filter(|(name, _)| name == wanted);
            fields.next().map(|(_, value)| value.as_str())
        };
        let code = field("grpc-status").and_then(|code| code.parse().ok());
        let code = code.ok_or(Error::Protocol("the call ended without a status"))?;
        if code == 0 && !self.stream.data.is_empty() {
            return Err(Error::Protocol("the last message is cut short"));
        }
        let message = unescape(field("grpc-message").unwrap_or_default());
        self.stream.status = Some(Status { code, message });
        Ok(())
    }

    /// Lets the server send as much again as it just did.
    fn give_back(&mut self, stream: u32, length: usize, stream_goes_on: bool) {
        let Ok(length) = u32::try_from(length) else { return };
        if length == 0 {
            return;
        }
        self.frame(WINDOW_UPDATE, 0, 0, &length.to_be_bytes());
        if stream_goes_on {
            self.frame(WINDOW_UPDATE, 0, stream, &length.to_be_bytes());
        }
    }

    fn cut_messages(&mut self) -> Result<(), Error> {
        while let Some((&[compressed, a, b, c, d], rest)) =
            self.stream.data.split_first_chunk::<5>()
        {
            if compressed != 0 {
                return Err(Error::Protocol("the message is compressed"));
            }
            let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            if length > self.largest_message {
                return Err(Error::Protocol("the message is too long"));
            }
            let Some(message) = rest.get(..length) else { return Ok(()) };
            self.stream.messages.push_back(message.to_vec());
            self.stream.data.drain(..5 + length);
        }
        Ok(())
    }

    /// Moves what the windows allow from the body into frames.
    fn pump(&mut self) {
        while !self.stream.sent_end && self.stream.status.is_none() {
            let window = usize::try_from(self.window.min(self.stream.window)).unwrap_or(0);
            let length = self.stream.body.len().min(window).min(LARGEST_FRAME);
            let last = self.stream.body_ends && length == self.stream.body.len();
            if length == 0 && !last {
                return;
            }
            let payload: Vec<u8> = self.stream.body.drain(..length).collect();
            let sent = i64::try_from(length).unwrap_or(0);
            self.window -= sent;
            self.stream.window -= sent;
            self.stream.sent_end = last;
            self.frame(DATA, if last { END_STREAM } else { 0 }, self.stream.id, &payload);
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        frame(&mut self.outgoing, kind, flags, stream, payload);
    }
}

pub(crate) fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    // Ours are a `LARGEST_FRAME` at most.
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    bytes.extend_from_slice(&length[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

fn unpadded(flags: u8, payload: &[u8]) -> Result<&[u8], Error> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let unpadded = payload
        .split_first()
        .and_then(|(&padding, rest)| rest.get(..rest.len().checked_sub(usize::from(padding))?));
    unpadded.ok_or(Error::Protocol("a frame is padded by more than its length"))
}

/// `grpc-message` is percent-encoded.
fn unescape(text: &str) -> String {
    let mut plain = Vec::new();
    let mut bytes = text.as_bytes();
    while let Some((&byte, rest)) = bytes.split_first() {
        let code = rest.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        let code = code.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            Some(code) if byte == b'%' => {
                plain.push(code);
                bytes = &rest[2..];
            }
            _ => {
                plain.push(byte);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests;
