//! Downloads from a server on the loopback: redirects, ranges, failures, proxies.

mod odd;

use std::sync::Mutex;

use super::loopback::{Answer, Server, nobody};
use super::*;
use crate::progress::{Mode, Progress};

fn client() -> Client {
    Client::with_pause(&Proxies::default(), |_| {}).unwrap()
}

fn content() -> Vec<u8> {
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// Downloads over a file that holds `before`; gives the result and what the file holds then.
fn download(server: &Server, before: &[u8], size: usize) -> (Result<Option<String>>, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("partial");
    std::fs::write(&path, before).unwrap();
    let task = Progress::new(Mode::None).task("file", None);
    let result = client().download(&server.url("file"), &path, Some(size as u64), &task);
    (result, std::fs::read(&path).unwrap())
}

#[test]
fn a_request_says_who_we_are_and_wants_the_bytes_as_they_are() {
    let server = Server::start([Answer::Whole(b"abc".to_vec())]);
    assert_eq!(client().get(&server.url("a/b"), 3).unwrap(), b"abc");
    let head = server.requests().remove(0).to_lowercase();
    assert!(head.starts_with("get /a/b http/1.1\r\n"), "{head}");
    assert!(head.contains(concat!("user-agent: orlop/", env!("CARGO_PKG_VERSION"), "\r\n")));
    assert!(head.contains("accept-encoding: identity\r\n"), "{head}");
}

#[test]
fn what_passes_is_tried_again_and_what_lasts_is_not() {
    let good = || Answer::Whole(b"abc".to_vec());
    for (first, requests, id) in [
        (Answer::Status(500, "oops"), 2, None),
        (Answer::Status(503, ""), 2, None),
        (Answer::Status(429, ""), 2, None),
        (Answer::HangUp, 2, None),
        (Answer::Cut(b"abc".to_vec(), 1), 2, None),
        (Answer::Status(404, "no"), 1, Some(Id::NotFound)),
        (Answer::Status(410, "no"), 1, Some(Id::NotFound)),
        (Answer::Status(403, "no"), 1, Some(Id::HttpStatus)),
        (Answer::Raw(b"220 mail.example ESMTP\r\n\r\n".to_vec()), 1, Some(Id::HttpStatus)),
    ] {
        let server = Server::start([first.clone(), good()]);
        let result = client().get(&server.url("file"), 3);
        assert_eq!(result.as_ref().err().map(Error::id), id, "{first:?}: {result:?}");
        assert_eq!(server.requests().len(), requests, "{first:?}");
    }
}

#[test]
fn pauses_grow_and_attempts_are_counted() {
    let pauses = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&pauses);
    let client =
        Client::with_pause(&Proxies::default(), move |p| seen.lock().unwrap().push(p)).unwrap();
    let server = Server::start([Answer::Status(502, "")]);
    let error = client.get(&server.url("file"), 3).unwrap_err();
    assert_eq!(error.id(), Id::HttpStatus);
    assert_eq!(
        error.to_string(),
        format!("the server answered `502 Bad Gateway` when asked for `{}`", server.url("file"))
    );
    assert_eq!(*pauses.lock().unwrap(), [500, 1000, 2000, 4000].map(Duration::from_millis));
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn an_endless_answer_is_not_taken_into_memory() {
    let endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcd".to_vec();
    for answer in [Answer::Whole(b"abcd".to_vec()), Answer::Raw(endless)] {
        let server = Server::start([answer]);
        let error = client().get(&server.url("file"), 3).unwrap_err();
        assert_eq!(error.id(), Id::TooLarge);
        assert_eq!(client().get(&server.url("file"), 4).unwrap(), b"abcd");
    }
}

#[test]
fn a_download_that_is_cut_goes_on_where_it_ended() {
    let content = content();
    let server = Server::start([
        Answer::Cut(content.clone(), 500_000),
        Answer::Status(500, ""),
        Answer::Cut(content.clone(), 900_000),
        Answer::Part(content.clone()),
    ]);
    let (result, file) = download(&server, b"", content.len());
    result.unwrap();
    assert!(file == content);
    let requests = server.requests();
    let ranges: Vec<_> = requests
        .iter()
        .map(|head| head.to_lowercase())
        .map(|head| head.lines().find_map(|line| line.strip_prefix("range: ").map(str::to_owned)))
        .collect();
    assert_eq!(
        ranges.iter().map(Option::as_deref).collect::<Vec<_>>(),
        [None, Some("bytes=500000-"), Some("bytes=500000-"), Some("bytes=900000-")]
    );
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let content = content();
    let server = Server::start([Answer::Whole(content.clone())]);
    let (result, file) = download(&server, b"something else", content.len());
    result.unwrap();
    assert!(file == content);
}

#[test]
fn a_range_that_does_not_fit_makes_the_download_begin_anew() {
    let other_start = b"HTTP/1.1 206 Scripted\r\nConnection: close\r\nContent-Length: 1\r\n\
        Content-Range: bytes 0-0/3\r\n\r\na";
    let other_total = b"HTTP/1.1 206 Scripted\r\nConnection: close\r\nContent-Length: 1\r\n\
        Content-Range: bytes 2-2/9\r\n\r\nc";
    let no_header = b"HTTP/1.1 206 Scripted\r\nConnection: close\r\nContent-Length: 1\r\n\r\nc";
    for first in [
        Answer::Raw(other_start.to_vec()),
        Answer::Raw(other_total.to_vec()),
        Answer::Raw(no_header.to_vec()),
        Answer::Status(416, ""),
    ] {
        let server = Server::start([first, Answer::Part(b"abc".to_vec())]);
        let (result, file) = download(&server, b"xy", 3);
        result.unwrap();
        assert_eq!(file, b"abc");
    }
}

#[test]
fn a_complete_file_is_not_asked_for() {
    let server = Server::start([Answer::HangUp]);
    let (result, file) = download(&server, b"abc", 3);
    result.unwrap();
    assert_eq!(file, b"abc");
    assert!(server.requests().is_empty());
}

#[test]
fn what_was_kept_and_is_too_long_is_thrown_away() {
    let server = Server::start([Answer::Part(b"abc".to_vec())]);
    let (result, file) = download(&server, b"abcdef", 3);
    result.unwrap();
    assert_eq!(file, b"abc");
}

#[test]
fn a_file_of_another_size_is_refused_at_once() {
    let endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcd".to_vec();
    for (answer, what) in [
        (Answer::Whole(b"abcd".to_vec()), "4"),
        (Answer::Whole(b"ab".to_vec()), "2"),
        (Answer::Raw(endless), "more"),
    ] {
        let server = Server::start([answer]);
        let error = download(&server, b"", 3).0.unwrap_err();
        assert_eq!(error.id(), Id::WrongDigest);
        let text = format!("`{}` offers {what} bytes instead of 3", server.url("file"));
        assert_eq!(error.to_string(), text);
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn a_line_that_breaks_always_at_once_is_given_up() {
    let server = Server::start([Answer::Cut(content(), 1000)]);
    let (result, file) = download(&server, b"", content().len());
    assert_eq!(result.unwrap_err().id(), Id::CutShort);
    assert_eq!(server.requests().len(), 5);
    assert_eq!(file, content()[..1000], "what came is kept");
}

#[test]
fn a_web_page_is_called_one() {
    let page =
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html; charset=utf-8\r\n\
        Content-Length: 6\r\n\r\n<html>";
    let server = Server::start([Answer::Raw(page.to_vec())]);
    let error = download(&server, b"", 3).0.unwrap_err();
    assert_eq!(error.id(), Id::WebPage);
    for (start, want) in [
        ("<!DOCTYPE html><html>", true),
        ("\r\n <HTML>", true),
        ("\u{feff}<html>", true),
        ("<!-- a -- b --> <!----><head>", true),
        ("<!-- <html>", false),
        ("<svg>", false),
        ("<?xml version='1.0'?>", false),
        ("", false),
        ("\u{1f}\u{8b}", false),
    ] {
        assert_eq!(is_web_page(start.as_bytes()), want, "{start:?}");
    }
}

#[test]
fn a_file_of_unknown_length_is_as_long_as_what_comes() {
    let content = content();
    let close = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    let chunked = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let pieces = content
        .chunks(70_000)
        .flat_map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
    let chunked: Vec<u8> = chunked.iter().copied().chain(pieces).collect();
    let whole = [chunked.as_slice(), b"0\r\n\r\n"].concat();
    let get = |answers: Vec<Answer>, before: &[u8]| {
        let server = Server::start(answers);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("partial");
        std::fs::write(&path, before).unwrap();
        let task = Progress::new(Mode::None).task("file", None);
        client().download(&server.url("file"), &path, None, &task).unwrap();
        (std::fs::read(&path).unwrap() == content, server.requests().len())
    };
    assert_eq!(get(vec![Answer::Raw([close, content.clone()].concat())], b""), (true, 1));
    assert_eq!(get(vec![Answer::Raw(whole.clone())], b""), (true, 1));
    assert_eq!(get(vec![Answer::Whole(content.clone())], b""), (true, 1));
    // The last piece is missing: what has come may be all, and nobody says so.
    assert_eq!(get(vec![Answer::Raw(chunked), Answer::Raw(whole.clone())], b""), (true, 2));
    // What an earlier run left is gone on with; beyond the end it is thrown away.
    assert_eq!(get(vec![Answer::Part(content.clone())], &content[..1000]), (true, 1));
    assert_eq!(get(vec![Answer::Part(content.clone())], &content), (true, 2));
    assert_eq!(
        get(vec![Answer::Cut(content.clone(), 5), Answer::Part(content.clone())], b""),
        (true, 2)
    );
}

#[test]
fn redirects_are_followed_but_not_forever() {
    let to = |place: &str| {
        let head = "HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\n";
        Answer::Raw(format!("{head}Location: {place}\r\n\r\n").into_bytes())
    };
    let server = Server::start([to("/elsewhere"), Answer::Whole(b"abc".to_vec())]);
    assert_eq!(client().get(&server.url("file"), 3).unwrap(), b"abc");
    assert!(server.requests()[1].starts_with("GET /elsewhere "));

    let server = Server::start([to("/round")]);
    let error = client().get(&server.url("file"), 3).unwrap_err();
    assert_eq!(error.id(), Id::HttpStatus);
    assert!(error.chain().ends_with("too many redirects"), "{}", error.chain());
}

#[test]
fn a_server_that_is_not_there_is_said_to_be_so() {
    let error = client().get(&nobody(), 3).unwrap_err();
    assert_eq!(error.id(), Id::NoConnection);
    assert!(error.chain().contains("Connection refused"), "{}", error.chain());
}

#[test]
fn a_name_that_nobody_knows_is_said_to_be_so() {
    // A label of more than 63 letters is in no name service: the resolver refuses it unasked.
    let url = format!("http://{}.invalid/file", "a".repeat(64));
    let error = client().get(&url, 3).unwrap_err();
    assert_eq!(error.id(), Id::UnknownHost, "{}", error.chain());
}

#[test]
fn a_server_that_does_not_speak_tls_is_not_trusted() {
    let server = Server::start([Answer::Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())]);
    let url = server.url("file").replace("http://", "https://");
    let error = client().get(&url, 3).unwrap_err();
    assert_eq!(error.id(), Id::Untrusted, "{}", error.chain());
}

#[test]
fn what_is_no_address_is_said_to_be_so() {
    for url in ["", "file", "ftp://mirror.example/file", "http://", "http://a b/"] {
        assert_eq!(client().get(url, 3).unwrap_err().id(), Id::BadUrl, "{url}");
    }
}

#[test]
fn a_proxy_is_used_unless_the_host_is_excepted() {
    let forbidden = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let proxy = Server::start([Answer::Raw(forbidden.to_vec())]);
    let server = Server::start([Answer::Whole(b"abc".to_vec())]);
    let client = |none_for: &str| {
        let address = Some(proxy.url(""));
        let none_for = vec![none_for.to_owned()];
        let proxies =
            Proxies { http: address.clone(), https: address, none_for, ..Proxies::default() };
        Client::with_pause(&proxies, |_| {}).unwrap()
    };
    let error = client("other.example").get("https://mirror.example/file", 3).unwrap_err();
    assert_eq!(error.id(), Id::ProxyFailed, "{}", error.chain());
    assert!(proxy.requests()[0].starts_with("CONNECT mirror.example:443 "));
    assert_eq!(client("127.0.0.1").get(&server.url("file"), 3).unwrap(), b"abc");

    let proxies = Proxies { http: Some("http://".to_owned()), ..Proxies::default() };
    assert_eq!(Client::new(&proxies).unwrap_err().id(), Id::ProxyFailed);
}

/// A redirect to another address.
fn moved(place: &str) -> Answer {
    let head = "HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\n";
    Answer::Raw(format!("{head}Location: {place}\r\n\r\n").into_bytes())
}

/// An address with a name and a password.
fn with_login(url: &str) -> String {
    url.replacen("http://", "http://bob:s3cret@", 1)
}

fn authorization(head: &str) -> Option<String> {
    let lower = head.to_lowercase();
    let start = lower.find("\r\nauthorization: ")? + "\r\nauthorization: ".len();
    head[start..].lines().next().map(str::to_owned)
}

#[test]
fn a_name_and_a_password_go_to_their_server_and_to_no_other() {
    let theirs = "Basic Ym9iOnMzY3JldA==".to_owned();
    let other = Server::start([Answer::Whole(b"abc".to_vec())]);
    let first = Server::start([moved("/here"), moved(&other.url("there"))]);
    assert_eq!(client().get(&with_login(&first.url("file")), 3).unwrap(), b"abc");
    let requests = first.requests();
    assert_eq!(authorization(&requests[0]), Some(theirs.clone()));
    assert_eq!(authorization(&requests[1]), Some(theirs.clone()));
    assert_eq!(authorization(&other.requests()[0]), None);

    let first = Server::start([moved("/here"), moved(&other.url("there"))]);
    let mut logins = Logins::default();
    logins.give(&Address::parse(&with_login(&first.url(""))).unwrap());
    let access = Access { logins, ..Access::default() };
    let client = Client::with_pause(access, |_| {}).unwrap();
    assert_eq!(client.get(&first.url("file"), 3).unwrap(), b"abc");
    let sent: Vec<_> = first.requests().iter().map(|head| authorization(head)).collect();
    assert_eq!(sent, [Some(theirs.clone()), Some(theirs)]);
    assert_eq!(authorization(&other.requests()[1]), None);
}

#[test]
fn no_failure_shows_a_password() {
    let closed = |_: &Server| nobody();
    let own = |server: &Server| server.url("file");
    type Ask = fn(&Server) -> String;
    let table: &[(Answer, Ask, Id)] = &[
        (Answer::Status(401, ""), own, Id::Unauthorized),
        (Answer::Status(403, ""), own, Id::HttpStatus),
        (Answer::Status(404, ""), own, Id::NotFound),
        (Answer::Status(500, ""), own, Id::HttpStatus),
        (Answer::Whole(b"abcdef".to_vec()), own, Id::TooLarge),
        (Answer::HangUp, own, Id::CutShort),
        (moved("ftp://a.example/"), own, Id::HttpStatus),
        (moved("http://eve:s3cret@a b/"), own, Id::HttpStatus),
        (Answer::HangUp, closed, Id::NoConnection),
        (Answer::HangUp, |server| server.url("file").replace("http:", "https:"), Id::CutShort),
    ];
    for (answer, ask, id) in table {
        let server = Server::start([answer.clone()]);
        let url = ask(&server).replacen("://", "://bob:s3cret@", 1) + "?Signature=s3cret";
        let error = client().get(&url, 3).unwrap_err();
        assert_eq!(error.id(), *id, "{answer:?} {}", error.chain());
        let said = format!("{} {:?} {error:?}", error.chain(), error.hints());
        assert!(!said.contains("s3cret") && !said.contains("bob"), "{said}");
    }
}

#[test]
fn a_server_that_wants_a_password_is_told_from_one_that_refuses_it() {
    let server = Server::start([Answer::Status(401, "")]);
    let hint = |url: &str| client().get(url, 3).unwrap_err().hints()[0].clone();
    let want = "write the name and the password for `127.0.0.1` into `~/.netrc`";
    assert_eq!(hint(&server.url("file")), want);
    let want = "it refuses the name and the password from the address";
    assert_eq!(hint(&with_login(&server.url("file"))), want);
    assert_eq!(server.requests().len(), 2, "a refusal lasts");
}

#[test]
fn a_proxy_is_asked_for_the_whole_address_of_an_http_server() {
    // Proxies in front of package archives refuse to connect anybody to port 80.
    let proxy = Server::start([Answer::Whole(b"abc".to_vec())]);
    let proxies = Proxies { http: Some(with_login(&proxy.url(""))), ..Proxies::default() };
    let client = Client::with_pause(&proxies, |_| {}).unwrap();
    let url = "http://eve:other@mirror.invalid:8/debian/x?y";
    assert_eq!(client.get(url, 3).unwrap(), b"abc");
    let head = proxy.requests().remove(0);
    assert!(head.starts_with("GET http://mirror.invalid:8/debian/x?y HTTP/1.1\r\n"), "{head}");
    let lower = head.to_lowercase();
    assert_eq!(lower.matches("\r\nhost: ").count(), 1, "{head}");
    assert!(lower.contains("\r\nhost: mirror.invalid:8\r\n"), "{head}");
    assert!(head.contains("Basic Ym9iOnMzY3JldA=="), "the proxy's login\n{head}");
    assert_eq!(authorization(&head).as_deref(), Some("Basic ZXZlOm90aGVy"), "the server's login");
}

#[test]
fn a_bad_proxy_is_named_without_its_password() {
    for address in ["http://bob:s3cret@", "ftp://bob:s3cret@proxy.example", "http://bob:s3cret@a b"]
    {
        let proxies = Proxies { http: Some(address.to_owned()), ..Proxies::default() };
        let error = Client::new(&proxies).unwrap_err();
        assert_eq!(error.id(), Id::ProxyFailed);
        let said = format!("{} {error:?}", error.chain());
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_proxy_that_is_not_there_is_named() {
    let proxy = nobody().replacen("http://", "http://bob:s3cret@", 1);
    let proxies = Proxies { http: Some(proxy), ..Proxies::default() };
    let client = Client::with_pause(&proxies, |_| {}).unwrap();
    let error = client.get("http://mirror.invalid/debian", 3).unwrap_err();
    let hint = error.hints().last().unwrap();
    assert!(hint.starts_with("the way leads through the proxy `http://127.0.0.1:"), "{hint}");
    assert!(!format!("{error:?}").contains("s3cret"));
}
