//! The head of a request (RFC 9112), read by `httparse`.

use httparse::{EMPTY_HEADER, Error};

use super::path::SitePath;
use super::status::Status;

/// The largest head, in bytes.
pub(crate) const LARGEST_HEAD: usize = 16 * 1024;

/// The most fields of a head.
const MOST_FIELDS: usize = 64;

/// So much of a target goes into the log.
const SHOWN: usize = 200;

/// What may be done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
}

/// A request that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(super) method: Method,
    pub(super) path: SitePath,
    pub(super) fields: Fields,
}

/// The fields that shape an answer, as they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) if_match: Option<String>,
    pub(super) if_none_match: Option<String>,
    pub(super) if_modified_since: Option<String>,
    pub(super) if_unmodified_since: Option<String>,
    pub(super) if_range: Option<String>,
    pub(super) range: Option<String>,
}

/// What bytes are a request.
#[derive(Debug)]
pub(crate) struct Head {
    /// How many bytes it has.
    pub(super) length: usize,
    /// Method and target, for the log: one line of visible ASCII.
    pub(super) shown: String,
    /// Whether another request may follow on the connection.
    pub(super) last: bool,
    /// The request, or why there is none.
    pub(super) request: Result<Request, Status>,
}

/// Reads a head from the start of `bytes`; nothing if it has not ended yet.
///
/// # Errors
/// The status to answer with before the connection ends: it is no head, and nobody knows where one
/// would begin.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Head>, Status> {
    let mut fields = [EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= LARGEST_HEAD => length,
        Ok(httparse::Status::Partial) if bytes.len() <= LARGEST_HEAD => return Ok(None),
        Ok(_) | Err(Error::TooManyHeaders) => return Err(Status::HeadersTooLarge),
        Err(Error::Version) => return Err(Status::VersionNotSupported),
        Err(_) => return Err(Status::BadRequest),
    };
    let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    let old = parsed.version == Some(0);
    let mut known = Fields::default();
    let (mut hosts, mut body, mut close) = (0, false, old);
    for field in parsed.headers.iter() {
        // What is not ASCII is in no field that we know.
        let value = std::str::from_utf8(field.value).unwrap_or_default();
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("host") {
            hosts += 1;
        } else if is("transfer-encoding") || (is("content-length") && value != "0") {
            body = true;
        } else if is("connection") {
            let mut options = value.split(',').map(str::trim);
            close |= options.any(|option| option.eq_ignore_ascii_case("close"));
        } else {
            known.add(field.name, value);
        }
    }
    let request = || {
        if hosts > 1 || (hosts == 0 && !old) {
            return Err(Status::BadRequest);
        }
        let method = match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => return Err(Status::MethodNotAllowed),
        };
        Ok(Request { method, path: SitePath::parse(target)?, fields: known })
    };
    let request = request();
    // Nobody reads a body, so nobody finds what would come after it.
    Ok(Some(Head { length, shown: shown(method, target), last: close || body, request }))
}

impl Fields {
    /// Takes a field, if it is one of ours.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        let (field, joined) = match name.to_ascii_lowercase().as_str() {
            "if-match" => (&mut self.if_match, true),
            "if-none-match" => (&mut self.if_none_match, true),
            "if-modified-since" => (&mut self.if_modified_since, false),
            "if-unmodified-since" => (&mut self.if_unmodified_since, false),
            "if-range" => (&mut self.if_range, false),
            "range" => (&mut self.range, false),
            _ => return,
        };
        *field = Some(match field.take() {
            None => value.to_owned(),
            Some(before) if joined => format!("{before}, {value}"),
            // Twice what may stand once is neither of both.
            Some(_) => String::new(),
        });
    }
}

fn shown(method: &str, target: &str) -> String {
    let text = format!("{method} {target}");
    let visible = |byte: u8| if byte.is_ascii_graphic() || byte == b' ' { byte } else { b'?' };
    let cut = if text.len() > SHOWN { "..." } else { "" };
    let text: String = text.bytes().take(SHOWN).map(|byte| char::from(visible(byte))).collect();
    text + cut
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(text: &str) -> Head {
        parse(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn a_request_is_read_with_the_fields_that_shape_its_answer() {
        let text = "GET /a?b HTTP/1.1\r\nHost: h\r\nrange: bytes=0-1\r\nIf-None-Match: \"x\"\r\n\
                    Accept: */*\r\nIF-NONE-MATCH: \"y\"\r\n\r\nGET";
        let Head { length, shown, last, request } = head(text);
        assert_eq!((length, shown.as_str(), last), (text.len() - 3, "GET /a?b", false));
        let request = request.unwrap();
        assert_eq!((request.method, request.path.as_path().to_str()), (Method::Get, Some("a")));
        let fields = Fields {
            range: Some("bytes=0-1".to_owned()),
            if_none_match: Some("\"x\", \"y\"".to_owned()),
            ..Fields::default()
        };
        assert_eq!(request.fields, fields);
        let twice = head("GET / HTTP/1.1\nHost: h\nRange: bytes=0-1\nRange: bytes=2-3\n\n");
        assert_eq!(twice.request.unwrap().fields.range.as_deref(), Some(""));
    }

    #[test]
    fn a_connection_goes_on_unless_somebody_wants_its_end_or_there_is_a_body() {
        for (head_, last) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: h\r\nConnection: TE, Close\r\n\r\n", true),
            ("GET / HTTP/1.0\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", true),
        ] {
            assert_eq!(head(head_).last, last, "{head_}");
        }
    }

    #[test]
    fn what_cannot_be_answered_has_its_status() {
        for (text, want) in [
            ("GET / HTTP/1.1\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Status::BadRequest),
            ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", Status::MethodNotAllowed),
            ("get / HTTP/1.1\r\nHost: a\r\n\r\n", Status::MethodNotAllowed),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Status::BadRequest),
            ("GET /.x HTTP/1.1\r\nHost: a\r\n\r\n", Status::NotFound),
        ] {
            assert_eq!(head(text).request.unwrap_err(), want, "{text}");
        }
        let long =
            |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(length));
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(MOST_FIELDS));
        for (text, want) in [
            ("\0", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", Status::BadRequest),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Status::VersionNotSupported),
            (&many, Status::HeadersTooLarge),
            (&long(LARGEST_HEAD), Status::HeadersTooLarge),
            (&long(LARGEST_HEAD)[..LARGEST_HEAD + 1], Status::HeadersTooLarge),
        ] {
            assert_eq!(
                parse(text.as_bytes()).unwrap_err(),
                want,
                "{}",
                &text[..text.len().min(60)]
            );
        }
        for text in
            ["", "\r\n", "GET / HTTP/1.1\r\nHost: a\r\n", &long(LARGEST_HEAD)[..LARGEST_HEAD]]
        {
            assert!(parse(text.as_bytes()).unwrap().is_none());
        }
    }

    #[test]
    fn what_is_asked_is_shown_as_visible_text_that_is_not_long() {
        assert_eq!(shown("GET", "/\u{1b}[31m\u{e4}"), "GET /?[31m??");
        assert_eq!(shown("GET", &"/".repeat(300)).len(), SHOWN + 3);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic_and_nothing_invisible_is_shown(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
            text in "(GET|HEAD|[A-Z]{1,4}) [/%.a-z0-9?\u{80}-\u{ff}]{0,20} HTTP/1\\.[01]\r\n(Host: h\r\n)?",
        ) {
            for bytes in [&bytes[..], &[text.as_bytes(), &bytes, b"\r\n\r\n"].concat()] {
                if let Ok(Some(head)) = parse(bytes) {
                    prop_assert!(head.shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
                    prop_assert!(head.length <= bytes.len());
                }
            }
        }
    }
}
