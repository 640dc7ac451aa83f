//! Answers: purely, what is sent for a request and what was found.

use std::fmt::Write as _;
use std::ops::Range;

use formats::digest::Sha256;

use super::Found;
use super::conditions::{Validators, Verdict, date};
use super::range::{Asked, asked};
use super::request::{Method, Request};
use super::status::Status;

/// An answer, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: Status,
    /// Status line and fields, to the empty line.
    pub(super) head: String,
    pub(super) body: Vec<Piece>,
}

/// Part of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// These bytes.
    Text(String),
    /// These bytes of what was found.
    Content(Range<u64>),
}

/// Whether another answer follows on the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    Close,
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Content(range) => range.end - range.start,
        }
    }
}

impl Answer {
    /// How many bytes the body has.
    pub(super) fn length(&self) -> u64 {
        self.body.iter().map(Piece::length).sum()
    }

    /// The answer to a request for which something was found, at a moment in seconds since 1970.
    pub(super) fn to(request: &Request, found: &Found, now: u64, then: Then) -> Self {
        let validators = Validators::of(found, now);
        let verdict = validators.judge(&request.fields);
        let mut fields = format!(
            "Accept-Ranges: bytes\r\nETag: {}\r\nLast-Modified: {}\r\n",
            validators.etag,
            date(validators.modified)
        );
        let asked = match (&request.fields.range, request.method, verdict) {
            // Ranges are of GET alone.
            (Some(range), Method::Get, Verdict::Go) => asked(range, found.size),
            (_, _, Verdict::Go | Verdict::Whole) => Asked::Whole,
            (_, _, Verdict::NotModified) => {
                return Self::new(Status::NotModified, &fields, Vec::new(), now, then);
            }
            (_, method, Verdict::Failed) => {
                return Self::plain(Status::PreconditionFailed, &fields, Some(method), now, then);
            }
        };
        let (media, size) = (found.media, found.size);
        let (status, body) = match asked {
            Asked::Whole => {
                let _ = write!(fields, "Content-Type: {media}\r\n");
                (Status::Ok, vec![Piece::Content(0..size)])
            }
            Asked::Nothing => {
                let _ = write!(fields, "Content-Range: bytes */{size}\r\n");
                let status = Status::RangeNotSatisfiable;
                return Self::plain(status, &fields, Some(request.method), now, then);
            }
            Asked::Parts(parts) => match &parts[..] {
                [part] => {
                    let place = content_range(part, size);
                    let _ = write!(fields, "Content-Type: {media}\r\n{place}");
                    (Status::PartialContent, vec![Piece::Content(part.clone())])
                }
                parts => {
                    let boundary = boundary(found);
                    let kind = format!("multipart/byteranges; boundary={boundary}");
                    let _ = write!(fields, "Content-Type: {kind}\r\n");
                    (Status::PartialContent, multipart(parts, size, media, &boundary))
                }
            },
        };
        let length: u64 = body.iter().map(Piece::length).sum();
        let _ = write!(fields, "Content-Length: {length}\r\n");
        let body = if request.method == Method::Head { Vec::new() } else { body };
        Self::new(status, &fields, body, now, then)
    }

    /// The answer to a request that is not answered with a file.
    pub(super) fn refusal(status: Status, method: Option<Method>, now: u64, then: Then) -> Self {
        let allow = if status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
        Self::plain(status, allow, method, now, then)
    }

    /// An answer whose body is the status, for people.
    fn plain(status: Status, fields: &str, method: Option<Method>, now: u64, then: Then) -> Self {
        let text = format!("{}\n", status.reason());
        let length = text.len();
        let fields = format!("{fields}Content-Type: text/plain\r\nContent-Length: {length}\r\n");
        let body = if method == Some(Method::Head) { Vec::new() } else { vec![Piece::Text(text)] };
        Self::new(status, &fields, body, now, then)
    }

    fn new(status: Status, fields: &str, body: Vec<Piece>, now: u64, then: Then) -> Self {
        let connection = if then == Then::Close { "Connection: close\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {} {}\r\nDate: {}\r\nX-Content-Type-Options: nosniff\r\n{fields}{connection}\r\n",
            status.code(),
            status.reason(),
            date(now)
        );
        Self { status, head, body }
    }
}

fn content_range(part: &Range<u64>, size: u64) -> String {
    format!("Content-Range: bytes {}-{}/{size}\r\n", part.start, part.end - 1)
}

/// What stands between parts. Whoever wrote the file could not know it, for it depends on when that
/// was done, and where the file lies.
fn boundary(found: &Found) -> String {
    Sha256::of(&found.tag).to_string()[..32].to_owned()
}

/// RFC 9110, section 14.6, and RFC 2046, section 5.1.
fn multipart(parts: &[Range<u64>], size: u64, media: &str, boundary: &str) -> Vec<Piece> {
    let mut body = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let before = if number == 0 { "" } else { "\r\n" };
        let place = content_range(part, size);
        let head = format!("{before}--{boundary}\r\nContent-Type: {media}\r\n{place}\r\n");
        body.extend([Piece::Text(head), Piece::Content(part.clone())]);
    }
    body.push(Piece::Text(format!("\r\n--{boundary}--\r\n")));
    body
}

#[cfg(test)]
mod tests {
    use super::super::Content;
    use super::super::request::parse;
    use super::*;

    const NOW: u64 = 784_111_877;

    fn answer(method: &str, fields: &str) -> Answer {
        let text = format!("{method} /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let request = parse(text.as_bytes()).unwrap().unwrap().request.unwrap();
        let content = Content::Bytes((*b"0123456789").into());
        let (tag, media) = ("t".to_owned(), "application/json");
        let found = Found { content, size: 10, tag, modified: NOW - 100, media };
        Answer::to(&request, &found, NOW, Then::GoOn)
    }

    fn lines(answer: &Answer) -> Vec<&str> {
        assert!(answer.head.ends_with("\r\n\r\n"));
        answer.head.trim_end().split("\r\n").collect()
    }

    #[test]
    fn all_of_a_file_and_its_head_alone() {
        let whole = answer("GET", "");
        assert_eq!(
            lines(&whole),
            [
                "HTTP/1.1 200 OK",
                "Date: Sun, 06 Nov 1994 08:51:17 GMT",
                "X-Content-Type-Options: nosniff",
                "Accept-Ranges: bytes",
                "ETag: \"t\"",
                "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT",
                "Content-Type: application/json",
                "Content-Length: 10",
            ]
        );
        assert_eq!(whole.body, [Piece::Content(0..10)]);
        // Of HEAD, a range is not heard.
        for fields in ["", "Range: bytes=0-1\r\n"] {
            let head = answer("HEAD", fields);
            assert_eq!((&head.head, head.body.len()), (&whole.head, 0));
        }
    }

    #[test]
    fn a_part_says_where_it_lies() {
        let part = answer("GET", "Range: bytes=3-4\r\n");
        assert_eq!(
            (part.status, &part.body[..]),
            (Status::PartialContent, &[Piece::Content(3..5)][..])
        );
        assert!(part.head.contains("\r\nContent-Range: bytes 3-4/10\r\n"), "{}", part.head);
        assert!(part.head.contains("\r\nContent-Length: 2\r\n"), "{}", part.head);
        let none = answer("GET", "Range: bytes=10-\r\n");
        assert_eq!(none.status, Status::RangeNotSatisfiable);
        assert!(none.head.contains("\r\nContent-Range: bytes */10\r\n"), "{}", none.head);
        let other = answer("GET", "Range: bytes=3-4\r\nIf-Range: \"x\"\r\n");
        assert_eq!((other.status, other.length()), (Status::Ok, 10));
    }

    #[test]
    fn several_parts_are_one_body_of_the_announced_length() {
        let answer = answer("GET", "Range: bytes=7-,0-1\r\n");
        let boundary = "e3b98a4da31a127d4bde6e43033f66ba";
        let part = |before: &str, place: &str| {
            Piece::Text(format!(
                "{before}--{boundary}\r\nContent-Type: application/json\r\n\
                 Content-Range: bytes {place}/10\r\n\r\n"
            ))
        };
        assert_eq!(
            answer.body,
            [
                part("", "7-9"),
                Piece::Content(7..10),
                part("\r\n", "0-1"),
                Piece::Content(0..2),
                Piece::Text(format!("\r\n--{boundary}--\r\n")),
            ]
        );
        let kind = format!("\r\nContent-Type: multipart/byteranges; boundary={boundary}\r\n");
        assert!(answer.head.contains(&kind), "{}", answer.head);
        assert!(answer.head.contains(&format!("\r\nContent-Length: {}\r\n", answer.length())));
    }

    #[test]
    fn what_is_refused_says_so_and_what_the_client_has_is_not_sent() {
        let refused = Answer::refusal(Status::MethodNotAllowed, None, NOW, Then::Close);
        let want = "HTTP/1.1 405 Method Not Allowed\r\nDate: Sun, 06 Nov 1994 08:51:17 GMT\r\n\
                    X-Content-Type-Options: nosniff\r\nAllow: GET, HEAD\r\nContent-Type: text/plain\r\n\
                    Content-Length: 19\r\nConnection: close\r\n\r\n";
        assert_eq!(refused.head, want);
        assert_eq!(refused.body, [Piece::Text("Method Not Allowed\n".to_owned())]);
        let head = Answer::refusal(Status::NotFound, Some(Method::Head), NOW, Then::GoOn);
        assert!(head.body.is_empty() && head.head.contains("Content-Length: 10\r\n"));
        let same = answer("GET", "If-None-Match: \"t\"\r\nRange: bytes=0-1\r\n");
        assert_eq!((same.status, same.body.len()), (Status::NotModified, 0));
        assert!(!same.head.contains("Content-Length"), "{}", same.head);
        let failed = answer("GET", "If-Match: \"x\"\r\n");
        assert_eq!((failed.status, failed.length()), (Status::PreconditionFailed, 20));
    }
}
