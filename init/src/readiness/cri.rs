//! Asks a container runtime for its version, over gRPC written by hand.
//!
//! One call, `runtime.v1.RuntimeService/Version`, of one client on a fresh connection. Formats:
//! HTTP/2 is RFC 9113, HPACK RFC 7541, gRPC `doc/PROTOCOL-HTTP2.md` of grpc/grpc, the messages
//! `pkg/apis/runtime/v1/api.proto` of kubernetes/cri-api.
//!
//! **Header blocks are not decoded.** They would need HPACK's tables and Huffman code to learn
//! `grpc-status`; but a gRPC server sends a message on a unary call only if the handler
//! succeeded (a failure, such as `Unimplemented` when the CRI plugin did not load, is trailers
//! alone). So success is: the stream ended in order, and its data is exactly one uncompressed
//! message which is a `VersionResponse` with the name and version of a runtime.

use std::fmt;
use std::io::{self, Read, Write};

/// What a runtime says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// `containerd`.
    pub runtime: String,
    /// `v2.4.2`.
    pub version: String,
    /// `v1`: the version of the CRI.
    pub api: String,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CRI {} {} {}", self.api, self.runtime, self.version)
    }
}

/// Why there is no version.
#[derive(Debug)]
pub enum Error {
    /// The connection failed or was silent for too long.
    Io(io::Error),
    /// The server speaks another protocol, or ours badly.
    Protocol(&'static str),
    /// The server ended the stream or the connection with this HTTP/2 error code.
    Refused(u32),
    /// The server ended the call without a message.
    NoMessage,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the CRI does not answer: {error}"),
            Self::Protocol(what) => write!(f, "the CRI's answer is wrong: {what}"),
            Self::Refused(code) => write!(f, "the CRI refused the call (HTTP/2 error {code})"),
            Self::NoMessage => f.write_str("the socket answers but does not serve the CRI (yet)"),
        }
    }
}

impl std::error::Error for Error {}

/// Calls `Version` and waits for the answer. The time limits are those of `stream`.
///
/// # Errors
/// Whatever keeps us from having a version.
pub fn version(mut stream: impl Read + Write) -> Result<Version, Error> {
    stream.write_all(&request()).map_err(Error::Io)?;
    let mut call = Call::default();
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).map_err(Error::Io)?;
        if length == 0 {
            return Err(Error::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        let step = call.take(&buffer[..length])?;
        if let Some(version) = step.version {
            return Ok(version);
        }
        if !step.reply.is_empty() {
            stream.write_all(&step.reply).map_err(Error::Io)?;
        }
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const STREAM: u32 = 1;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;

/// `SETTINGS_MAX_FRAME_SIZE` is this unless we say otherwise (RFC 9113, 6.5.2).
const LARGEST_FRAME: usize = 16_384;
/// A version is some fifty bytes.
const LONGEST_ANSWER: usize = 4096;
/// Frames of a server that talks without answering.
const MOST_FRAMES: usize = 256;

/// All we ever say unasked: preface, our (default) settings, the call's headers and its message.
fn request() -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, &[]);
    let mut headers = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/runtime.v1.RuntimeService/Version"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "orlop"),
    ] {
        // Literal without indexing, new name, no Huffman code; lengths below 127 are one byte.
        headers.push(0);
        for text in [name, value] {
            headers.extend(u8::try_from(text.len()));
            headers.extend_from_slice(text.as_bytes());
        }
    }
    frame(&mut bytes, HEADERS, END_HEADERS, STREAM, &headers);
    // VersionRequest: field 1, a string. Before it gRPC's prefix: not compressed, length.
    let message = b"\x0a\x02v1";
    let mut data = vec![0, 0, 0, 0, 4];
    data.extend_from_slice(message);
    frame(&mut bytes, DATA, END_STREAM, STREAM, &data);
    bytes
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    // Ours are some hundred bytes at most.
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    bytes.extend_from_slice(&length[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// The call as the server's bytes come in.
#[derive(Debug, Default)]
struct Call {
    /// Bytes of a frame that is not whole yet.
    pending: Vec<u8>,
    /// Payload of the call's DATA frames.
    data: Vec<u8>,
    frames: usize,
    settings_seen: bool,
    /// A HEADERS frame without END_HEADERS came: only CONTINUATION may follow. Holds whether it
    /// also ended the stream.
    in_headers: Option<bool>,
}

#[derive(Debug, Default)]
struct Step {
    /// To be sent back.
    reply: Vec<u8>,
    /// The end of it.
    version: Option<Version>,
}

impl Call {
    fn take(&mut self, bytes: &[u8]) -> Result<Step, Error> {
        self.pending.extend_from_slice(bytes);
        let mut step = Step::default();
        while let Some((&[a, b, c, kind, flags, s0, s1, s2, s3], rest)) =
            self.pending.split_first_chunk::<9>()
        {
            let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
            // The first frame tells another protocol apart, HTTP/1 for example.
            if !self.settings_seen && kind != SETTINGS {
                return Err(Error::Protocol("it does not begin with HTTP/2 settings"));
            }
            if length > LARGEST_FRAME {
                return Err(Error::Protocol("a frame is longer than allowed"));
            }
            let Some(payload) = rest.get(..length) else { break };
            let payload = payload.to_vec();
            self.pending.drain(..9 + length);
            self.settings_seen = true;
            self.frames += 1;
            if self.frames > MOST_FRAMES {
                return Err(Error::Protocol("it talks without answering"));
            }
            let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
            if self.frame(kind, flags, stream, &payload, &mut step.reply)? {
                step.version = Some(self.answer()?);
                break;
            }
        }
        Ok(step)
    }

    /// Whether this frame ended the call.
    fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        if self.in_headers.is_some() && kind != CONTINUATION {
            return Err(Error::Protocol("a header block is interrupted"));
        }
        match kind {
            SETTINGS if flags & ACK == 0 => frame(reply, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(reply, PING, ACK, 0, payload),
            GOAWAY => {
                let Some(&[l0, l1, l2, l3, c0, c1, c2, c3]) = payload.first_chunk::<8>() else {
                    return Err(Error::Protocol("a frame is too short"));
                };
                // Streams up to this one will still be served.
                if u32::from_be_bytes([l0 & 0x7f, l1, l2, l3]) < STREAM {
                    return Err(Error::Refused(u32::from_be_bytes([c0, c1, c2, c3])));
                }
            }
            RST_STREAM if stream == STREAM => {
                let code = payload.first_chunk().map_or(0, |code| u32::from_be_bytes(*code));
                return Err(Error::Refused(code));
            }
            DATA if stream == STREAM => {
                let data = unpadded(flags, payload)?;
                if self.data.len() + data.len() > LONGEST_ANSWER {
                    return Err(Error::Protocol("the message is too long for a version"));
                }
                self.data.extend_from_slice(data);
                return Ok(flags & END_STREAM != 0);
            }
            HEADERS if stream == STREAM => {
                let ends = flags & END_STREAM != 0;
                if flags & END_HEADERS == 0 {
                    self.in_headers = Some(ends);
                    return Ok(false);
                }
                return Ok(ends);
            }
            CONTINUATION => {
                let Some(ends) = self.in_headers else {
                    return Err(Error::Protocol("a header block has no beginning"));
                };
                if flags & END_HEADERS != 0 {
                    self.in_headers = None;
                    return Ok(ends);
                }
            }
            // WINDOW_UPDATE, PRIORITY, acknowledgements and kinds we do not know change nothing.
            _ => {}
        }
        Ok(false)
    }

    fn answer(&self) -> Result<Version, Error> {
        if self.data.is_empty() {
            return Err(Error::NoMessage);
        }
        let Some((&[0, a, b, c, d], message)) = self.data.split_first_chunk::<5>() else {
            return Err(Error::Protocol("the message is compressed or cut short"));
        };
        if usize::try_from(u32::from_be_bytes([a, b, c, d])) != Ok(message.len()) {
            return Err(Error::Protocol("there is not exactly one message"));
        }
        version_response(message).ok_or(Error::Protocol("the message is no VersionResponse"))
    }
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

/// Fields 1 to 4 are strings: `version` of the kubelet API, `runtime_name`, `runtime_version`,
/// `runtime_api_version`. Unknown fields are passed over, as protobuf asks.
fn version_response(mut message: &[u8]) -> Option<Version> {
    let mut fields = [const { String::new() }; 4];
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => drop(varint(&mut message)?),
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let (value, rest) = message.split_at_checked(length)?;
                message = rest;
                let field = usize::try_from(key >> 3).ok()?.checked_sub(1)?;
                if let Some(field) = fields.get_mut(field) {
                    *field = str::from_utf8(value).ok()?.to_owned();
                }
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    let [_, runtime, version, api] = fields;
    (!runtime.is_empty() && !version.is_empty()).then_some(Version { runtime, version, api })
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    /// `VersionResponse` as containerd sends it: `0.1.0`, name, version, `v1`.
    fn message() -> Vec<u8> {
        let mut message = Vec::new();
        for (key, text) in [(0x0a, "0.1.0"), (0x12, "containerd"), (0x1a, "v2.4.2"), (0x22, "v1")] {
            message.extend([key, u8::try_from(text.len()).expect("short")]);
            message.extend_from_slice(text.as_bytes());
        }
        message
    }

    fn grpc(message: &[u8]) -> Vec<u8> {
        let mut data = vec![0];
        data.extend_from_slice(&u32::try_from(message.len()).expect("short").to_be_bytes());
        data.extend_from_slice(message);
        data
    }

    fn frames(list: &[(u8, u8, u32, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, flags, stream, payload) in list {
            frame(&mut bytes, *kind, *flags, *stream, payload);
        }
        bytes
    }

    /// What grpc-go sends: settings, window update and ping, headers, data, trailers.
    fn conversation() -> Vec<u8> {
        frames(&[
            (SETTINGS, 0, 0, &[0, 5, 0, 0, 0x40, 0]),
            (SETTINGS, ACK, 0, &[]),
            (8, 0, 0, &[0, 0, 0, 45]),
            (PING, 0, 0, &[2, 4, 16, 16, 9, 14, 7, 7]),
            (HEADERS, END_HEADERS, 1, &[0x88, 0x5f, 0x8b]),
            (DATA, 0, 1, &grpc(&message())),
            (HEADERS, END_HEADERS | END_STREAM, 1, &[0x40, 0x88]),
        ])
    }

    fn want() -> Version {
        Version { runtime: "containerd".into(), version: "v2.4.2".into(), api: "v1".into() }
    }

    fn settle(bytes: &[u8]) -> Result<Option<Version>, String> {
        Call::default().take(bytes).map(|step| step.version).map_err(|error| error.to_string())
    }

    #[test]
    fn the_request_is_what_the_formats_ask_for() {
        let bytes = request();
        let rest = bytes.strip_prefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("the preface");
        let rest = rest.strip_prefix(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).expect("empty settings");
        let length = usize::from(u16::from_be_bytes([rest[1], rest[2]]));
        assert_eq!([rest[0], rest[3], rest[4], rest[8]], [0, HEADERS, END_HEADERS, 1]);
        let (headers, rest) = rest[9..].split_at(length);
        assert!(
            headers
                .starts_with(b"\x00\x07:method\x04POST\x00\x07:scheme\x04http\x00\x05:path\x22/")
        );
        assert_eq!(rest, b"\0\0\x09\0\x01\0\0\0\x01\0\0\0\0\x04\x0a\x02v1");
    }

    #[test]
    fn a_version_comes_out_however_the_bytes_are_cut() {
        let bytes = conversation();
        assert_eq!(want().to_string(), "CRI v1 containerd v2.4.2");
        for size in 1..bytes.len() {
            let mut call = Call::default();
            let mut replies = Vec::new();
            let mut version = None;
            for chunk in bytes.chunks(size) {
                let step = call.take(chunk).expect("a good conversation");
                replies.extend(step.reply);
                version = step.version.or(version);
            }
            assert_eq!(version, Some(want()), "chunks of {size}");
            let acknowledged =
                frames(&[(SETTINGS, ACK, 0, &[]), (PING, ACK, 0, &[2, 4, 16, 16, 9, 14, 7, 7])]);
            assert_eq!(replies, acknowledged);
        }
    }

    #[test]
    fn padded_data_and_continued_headers_are_understood() {
        let mut padded = vec![3];
        padded.extend(grpc(&message()));
        padded.extend([0, 0, 0]);
        let (first, second) = padded.split_at(1 + 10 + 3);
        let mut first = first.to_vec();
        let second = &second[..second.len() - 3];
        first[0] = 0;
        let bytes = frames(&[
            (SETTINGS, 0, 0, &[]),
            (HEADERS, 0, 1, &[0x88]),
            (CONTINUATION, END_HEADERS, 1, &[0x5f]),
            (DATA, PADDED, 1, &first),
            (DATA, 0, 1, second),
            (HEADERS, END_STREAM, 1, &[0x40]),
            (CONTINUATION, END_HEADERS, 1, &[]),
        ]);
        assert_eq!(settle(&bytes), Ok(Some(want())));
    }

    #[test]
    fn anything_but_a_version_is_an_error() {
        let hello = (SETTINGS, 0, 0, &[][..]);
        let bad = grpc(&[0x12, 200]);
        let empty = grpc(&[]);
        let mut compressed = grpc(&message());
        compressed[0] = 1;
        let mut twice = grpc(&message());
        twice.extend(grpc(&message()));
        let end = |data| frames(&[hello, (DATA, END_STREAM, 1, data)]);
        for (bytes, reason) in [
            // Trailers only: how grpc-go says `Unimplemented`.
            (
                frames(&[hello, (HEADERS, END_HEADERS | END_STREAM, 1, &[0x88])]),
                "the socket answers but does not serve the CRI (yet)",
            ),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "does not begin with HTTP/2 settings"),
            (frames(&[hello, (RST_STREAM, 0, 1, &[0, 0, 0, 7])]), "(HTTP/2 error 7)"),
            (frames(&[hello, (GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2])]), "(HTTP/2 error 2)"),
            (frames(&[hello, (GOAWAY, 0, 0, &[0])]), "a frame is too short"),
            (frames(&[hello, (HEADERS, 0, 1, &[]), hello]), "a header block is interrupted"),
            (frames(&[hello, (CONTINUATION, 0, 1, &[])]), "a header block has no beginning"),
            (frames(&[hello, (DATA, PADDED, 1, &[9, 0])]), "padded by more than its length"),
            (end(&bad), "no VersionResponse"),
            (end(&empty), "no VersionResponse"),
            (end(&compressed), "compressed or cut short"),
            (end(&twice), "not exactly one message"),
            (end(&[0; LONGEST_ANSWER + 1]), "too long"),
            (vec![1, 0, 0, SETTINGS, 0, 0, 0, 0, 0], "longer than allowed"),
        ] {
            let error = settle(&bytes).expect_err(reason);
            assert!(error.contains(reason), "{error} / {reason}");
        }
    }

    #[test]
    fn a_server_that_only_pings_is_given_up() {
        let pings: Vec<_> = (0..MOST_FRAMES).map(|_| (PING, 0, 0, &[0; 8][..])).collect();
        let mut bytes = frames(&[(SETTINGS, 0, 0, &[])]);
        bytes.extend(frames(&pings));
        let error = settle(&bytes).expect_err("endless");
        assert!(error.contains("talks without answering"), "{error}");
    }

    #[test]
    fn a_server_on_a_socket_is_asked_and_gets_its_acknowledgements() {
        let (client, mut server) = UnixStream::pair().expect("a pair");
        let server = thread::spawn(move || {
            let mut asked = vec![0; request().len()];
            server.read_exact(&mut asked).expect("the request");
            assert_eq!(asked, request());
            let (hello, rest) = (frames(&[(SETTINGS, 0, 0, &[])]), conversation());
            server.write_all(&hello).expect("written");
            let mut acknowledged = vec![0; 9];
            server.read_exact(&mut acknowledged).expect("an acknowledgement");
            assert_eq!(acknowledged, frames(&[(SETTINGS, ACK, 0, &[])]));
            server.write_all(&rest).expect("written");
        });
        assert_eq!(version(client).expect("an answer"), want());
        server.join().expect("the server is content");
    }

    #[test]
    fn a_server_that_hangs_up_is_an_error() {
        let (client, server) = UnixStream::pair().expect("a pair");
        let server = thread::spawn(move || {
            let mut asked = vec![0; request().len()];
            (&server).read_exact(&mut asked).expect("the request");
        });
        let error = version(client).expect_err("nobody there");
        assert!(error.to_string().starts_with("the CRI does not answer: "), "{error}");
        server.join().expect("the server is content");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            kind in 0..12_u8,
            flags in any::<u8>(),
            stream in 0..3_u32,
        ) {
            let _ = settle(&bytes);
            let _ = version_response(&bytes);
            let _ = settle(&frames(&[
                (SETTINGS, 0, 0, &[]),
                (kind, flags, stream, &bytes),
                (DATA, END_STREAM, 1, &bytes),
            ]));
        }
    }
}
