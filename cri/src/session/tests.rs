//! Conversations with a server that is written down frame by frame.

use proptest::prelude::*;

use super::*;

/// The largest message in these tests.
const LIMIT: usize = 100;

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

fn trailers(status: &str, message: &str) -> Vec<u8> {
    let mut block = Vec::new();
    hpack::encode(&mut block, "grpc-status", status);
    hpack::encode(&mut block, "grpc-message", message);
    block
}

/// A session whose first call is sent.
fn called() -> Session {
    let mut session = Session::new(LIMIT);
    session.open("/service/Method", &[("grpc-timeout", "5m")]).expect("opened");
    session.send(b"request", true).expect("sent");
    session
}

/// What grpc-go sends: settings, window update and ping, headers, data, trailers.
fn conversation() -> Vec<u8> {
    frames(&[
        (SETTINGS, 0, 0, &[0, 5, 0, 0, 0x40, 0]),
        (SETTINGS, ACK, 0, &[]),
        (WINDOW_UPDATE, 0, 0, &[0, 0, 0, 45]),
        (PING, 0, 0, &[2, 4, 16, 16, 9, 14, 7, 7]),
        (HEADERS, END_HEADERS, 1, &[0x88]),
        (DATA, 0, 1, &grpc(b"one")),
        (DATA, 0, 1, &grpc(b"two")),
        (HEADERS, END_HEADERS | END_STREAM, 1, &trailers("0", "")),
    ])
}

#[test]
fn the_request_is_what_the_formats_ask_for() {
    let bytes = called().outgoing;
    let rest = bytes.strip_prefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("the preface");
    let settings = b"\0\0\x0c\x04\0\0\0\0\0\0\x01\0\0\0\0\0\x02\0\0\0\0";
    let rest = rest.strip_prefix(settings).expect("no table, no push");
    let length = usize::from(u16::from_be_bytes([rest[1], rest[2]]));
    assert_eq!([rest[0], rest[3], rest[4], rest[8]], [0, HEADERS, END_HEADERS, 1]);
    let (headers, rest) = rest[9..].split_at(length);
    let fields: Vec<_> = hpack::decode(headers).expect("our own");
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let want = [
        ":method: POST",
        ":scheme: http",
        ":path: /service/Method",
        ":authority: localhost",
        "content-type: application/grpc",
        "te: trailers",
        "user-agent: orlop",
        "grpc-timeout: 5m",
    ];
    assert_eq!(fields, want);
    assert_eq!(rest, frames(&[(DATA, END_STREAM, 1, &grpc(b"request"))]));
}

#[test]
fn messages_and_the_end_come_out_however_the_bytes_are_cut() {
    let bytes = conversation();
    for size in 1..bytes.len() {
        let mut session = called();
        session.outgoing.clear();
        for chunk in bytes.chunks(size) {
            session.take(chunk).expect("a good conversation");
        }
        assert_eq!(session.message().as_deref(), Some(&b"one"[..]), "chunks of {size}");
        assert_eq!(session.message().as_deref(), Some(&b"two"[..]));
        assert_eq!(session.message(), None);
        assert_eq!(session.status(), Some(&Status::default()));
        let window: &[u8] = &[0, 0, 0, 8];
        let replies = frames(&[
            (SETTINGS, ACK, 0, &[]),
            (PING, ACK, 0, &[2, 4, 16, 16, 9, 14, 7, 7]),
            (WINDOW_UPDATE, 0, 0, window),
            (WINDOW_UPDATE, 0, 1, window),
            (WINDOW_UPDATE, 0, 0, window),
            (WINDOW_UPDATE, 0, 1, window),
        ]);
        assert_eq!(session.outgoing, replies);
    }
}

#[test]
fn an_error_is_told_by_code_and_words() {
    let mut session = called();
    let block = trailers("12", "unknown service runtime.v1.RuntimeService: 100%25 %zz");
    let bytes = frames(&[
        (SETTINGS, 0, 0, &[]),
        (HEADERS, END_STREAM, 1, &block[..10]),
        (CONTINUATION, END_HEADERS, 1, &block[10..]),
    ]);
    session.take(&bytes).expect("a good conversation");
    let message = "unknown service runtime.v1.RuntimeService: 100% %zz".to_owned();
    assert_eq!(session.status(), Some(&Status { code: 12, message }));
}

#[test]
fn a_second_call_on_the_connection_has_a_stream_of_its_own() {
    let mut session = called();
    session.take(&conversation()).expect("a good conversation");
    session.outgoing.clear();
    session.open("/service/Other", &[]).expect("opened");
    assert_eq!(session.outgoing[8], 3);
    assert_eq!((session.message(), session.status()), (None, None));
    // What still comes for the first is no news.
    session.take(&frames(&[(DATA, 0, 1, &grpc(b"late"))])).expect("passed over");
    assert_eq!(session.message(), None);
    // It is given up for a third.
    session.outgoing.clear();
    session.open("/service/Other", &[]).expect("opened");
    let reset = frames(&[(RST_STREAM, 0, 3, &[0, 0, 0, 8])]);
    assert!(session.outgoing.starts_with(&reset));
}

#[test]
fn a_long_request_waits_for_the_windows_of_the_server() {
    let mut session = Session::new(LIMIT);
    session.open("/service/Write", &[]).expect("opened");
    session.outgoing.clear();
    session.send(&[7; 100_000], true).expect("queued");
    let sent = |session: &mut Session| {
        let mut lengths = Vec::new();
        let bytes = std::mem::take(&mut session.outgoing);
        let mut rest = &bytes[..];
        while let Some((&[a, b, c, kind, flags, ..], after)) = rest.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, a, b, c]);
            rest = &after[usize::try_from(length).expect("small")..];
            if kind == DATA {
                lengths.push((length, flags));
            }
        }
        lengths
    };
    assert_eq!(sent(&mut session), [(16_384, 0), (16_384, 0), (16_384, 0), (16_383, 0)]);
    assert!(!session.all_sent());
    // The connection may take more, the stream not yet; then both, by new settings.
    session.take(&frames(&[(SETTINGS, 0, 0, &[])])).expect("taken");
    session.take(&frames(&[(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0])])).expect("taken");
    assert_eq!(sent(&mut session), []);
    session.take(&frames(&[(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 100])])).expect("taken");
    assert_eq!(sent(&mut session), [(100, 0)]);
    session.take(&frames(&[(SETTINGS, 0, 0, &[0, 4, 0, 2, 0, 0])])).expect("taken");
    assert_eq!(sent(&mut session), [(16_384, 0), (16_384, 0), (1_602, END_STREAM)]);
    assert!(session.all_sent());
}

#[test]
fn padding_and_priority_are_cut_off() {
    let mut padded = vec![3];
    padded.extend(grpc(b"message"));
    padded.extend([0, 0, 0]);
    let mut headers = vec![1, 0, 0, 0, 0, 16];
    headers.extend(trailers("0", ""));
    headers.push(0);
    let mut session = called();
    let flags = END_STREAM | END_HEADERS | PADDED | PRIORITY;
    let bytes =
        frames(&[(SETTINGS, 0, 0, &[]), (DATA, PADDED, 1, &padded), (HEADERS, flags, 1, &headers)]);
    session.take(&bytes).expect("a good conversation");
    assert_eq!(session.message().as_deref(), Some(&b"message"[..]));
    assert_eq!(session.status(), Some(&Status::default()));
}

#[test]
fn what_breaks_the_rules_is_an_error() {
    let hello = (SETTINGS, 0, 0, &[][..]);
    let mut compressed = grpc(b"message");
    compressed[0] = 1;
    let long = grpc(&[0; LIMIT + 1]);
    let end = END_HEADERS | END_STREAM;
    let good = trailers("0", "");
    let endless = vec![0; LARGEST_FRAME];
    let mut headers = vec![hello, (HEADERS, 0, 1, &endless[..])];
    headers.extend((0..4).map(|_| (CONTINUATION, 0, 1, &endless[..])));
    for (bytes, reason) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "does not begin with HTTP/2 settings"),
        (frames(&[hello, (RST_STREAM, 0, 1, &[0, 0, 0, 7])]), "(HTTP/2 error 7)"),
        (frames(&[hello, (GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2])]), "(HTTP/2 error 2)"),
        (frames(&[hello, (GOAWAY, 0, 0, &[0])]), "a frame is too short"),
        (frames(&[hello, (HEADERS, 0, 1, &[]), hello]), "a header block is interrupted"),
        (frames(&[hello, (CONTINUATION, 0, 1, &[])]), "a header block has no beginning"),
        (frames(&[hello, (DATA, PADDED, 1, &[9, 0])]), "padded by more than its length"),
        (frames(&[hello, (DATA, END_STREAM, 1, &[])]), "ended without a status"),
        (frames(&[hello, (HEADERS, end, 1, &[0x88])]), "ended without a status"),
        (frames(&[hello, (HEADERS, end, 1, &[0xff])]), "a header block cannot be decoded"),
        (frames(&headers), "a header block is too long"),
        (frames(&[hello, (DATA, 0, 1, &compressed)]), "compressed"),
        (frames(&[hello, (DATA, 0, 1, &long)]), "too long"),
        (frames(&[hello, (DATA, 0, 1, &long[..4]), (HEADERS, end, 1, &good)]), "cut short"),
        (vec![1, 0, 0, SETTINGS, 0, 0, 0, 0, 0], "longer than allowed"),
    ] {
        let error = called().take(&bytes).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error} / {reason}");
    }
}

#[test]
fn a_server_that_goes_away_serves_what_it_has_taken_and_no_more() {
    let mut session = called();
    let bytes = frames(&[
        (SETTINGS, 0, 0, &[]),
        (GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]),
        (HEADERS, END_HEADERS | END_STREAM, 1, &trailers("0", "")),
    ]);
    session.take(&bytes).expect("a good conversation");
    assert_eq!(session.status(), Some(&Status::default()));
    let error = session.open("/service/Other", &[]).expect_err("gone").to_string();
    assert!(error.contains("takes no more calls"), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in 0..12_u8,
        flags in any::<u8>(),
        stream in 0..3_u32,
    ) {
        let _ = called().take(&bytes);
        let mut session = called();
        let _ = session.take(&frames(&[
            (SETTINGS, 0, 0, &[]),
            (kind, flags, stream, &bytes),
            (DATA, 0, 1, &bytes),
            (HEADERS, END_HEADERS | END_STREAM, 1, &bytes),
        ]));
        let _ = session.open("/service/Other", &[]);
    }
}
