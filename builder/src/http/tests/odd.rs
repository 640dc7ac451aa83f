//! Servers as they should not be: each is told by what it does, nothing that it sends is taken for
//! the file, and none holds us for ever.

use super::*;

const CLOSE: &str = "Connection: close\r\n";

fn raw(text: &str) -> Answer {
    Answer::Raw(text.as_bytes().to_vec())
}

/// What comes of a file of three bytes, by both ways to get one; how often was asked for each.
fn both(answer: &Answer) -> [(Error, usize); 2] {
    let asked = |ask: &dyn Fn(&Server) -> Result<()>| {
        let server = Server::start([answer.clone()]);
        let error = ask(&server).unwrap_err();
        (error, server.requests().len())
    };
    let into_memory = |server: &Server| client().get(&server.url("file"), 3).map(drop);
    [asked(&into_memory), asked(&|server| download(server, b"", 3).0.map(drop))]
}

#[test]
fn an_answer_that_is_none_is_told_by_what_is_wrong_and_not_asked_for_again() {
    let body = "3\r\nabc\r\n0\r\n\r\n";
    for (answer, what) in [
        (moved("file:///etc/hostname"), "answered with a place that is none"),
        (moved("file:/etc/hostname"), "answered with a place that is none"),
        (moved("ftp://mirror.example/x"), "answered with a place that is none"),
        (moved("http://"), "answered with a place that is none"),
        (raw("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), "302 Found"),
        (raw("HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n\r\nabc"), "206 Partial"),
        (raw("HTTP/1.1 204 No Content\r\n\r\n"), "204 No Content"),
        (raw("HTTP/1.1 304 Not Modified\r\n\r\n"), "304 Not Modified"),
        (raw("HTTP/1.1 999 Odd\r\nContent-Length: 3\r\n\r\nabc"), "999"),
        (raw("abc"), "no proper answer"),
        (raw("HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc"), "no proper answer"),
        (raw("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nabc"), "no proper answer"),
        (raw("HTTP/1.1 200 OK\r\nContent Length: 3\r\n\r\nabc"), "no proper answer"),
        (Answer::Endless(b"HTTP/1.1 200 OK\r\nX: ", b"x"), "no proper answer"),
        (Answer::Endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), "no proper answer"),
    ] {
        for (error, asked) in both(&answer) {
            assert_eq!(error.id(), Id::HttpStatus, "{answer:?}: {}", error.chain());
            assert!(error.chain().contains(what), "{answer:?}: {}", error.chain());
            assert_eq!(asked, 1, "{answer:?}");
        }
    }
    // The same with a proper body is one.
    let good = format!("HTTP/1.1 200 OK\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\n{body}");
    let server = Server::start([raw(&good)]);
    assert_eq!(client().get(&server.url("file"), 3).unwrap(), b"abc");
}

#[test]
fn servers_that_send_to_one_another_are_left() {
    // A circle is closed by an address that is known only once the server has started.
    let second = Server::start([moved("//127.0.0.1:1/")]);
    let first = Server::start([moved(&second.url("a"))]);
    let error = client().get(&first.url("b"), 3).unwrap_err();
    assert_eq!(error.id(), Id::NoConnection, "{}", error.chain());
    let round = Server::start([moved("a"), moved("/b?x"), moved("?y")]);
    let error = client().get(&round.url("c"), 3).unwrap_err();
    assert!(error.chain().ends_with("too many redirects"), "{}", error.chain());
    assert_eq!(round.requests().len(), REDIRECTS as usize + 1);
}

#[test]
fn a_body_that_is_cut_is_called_so_however_its_length_was_said() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "",
    ] {
        for (error, asked) in both(&raw(head)) {
            assert_eq!(error.id(), Id::CutShort, "{head}: {}", error.chain());
            assert_eq!(asked, 5, "{head}");
        }
    }
}

#[test]
fn an_endless_body_is_left_where_it_is_longer_than_it_may_be() {
    for head in [
        &b"HTTP/1.1 200 OK\r\n\r\n"[..],
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let chunked = head.windows(7).any(|window| window == b"chunked");
        let answer = Answer::Endless(head, if chunked { b"4\r\nabcd\r\n" } else { b"abcd" });
        let [(memory, one), (file, two)] = both(&answer);
        assert_eq!((memory.id(), file.id()), (Id::TooLarge, Id::WrongDigest));
        assert_eq!((one, two), (1, 1));
    }
    // What follows an error is nobody's business.
    let answer = Answer::Endless(b"HTTP/1.1 403 No\r\nContent-Length: 99999999999\r\n\r\n", b"x");
    assert!(both(&answer).iter().all(|(error, _)| error.id() == Id::HttpStatus));
}

#[test]
fn a_server_that_sends_a_byte_now_and_then_is_too_slow() {
    let server = Server::start([Answer::Whole(content())]);
    let slow = |bytes| {
        let mut client = client();
        client.pace = Pace { bytes, time: Duration::ZERO };
        client
    };
    let url = server.url("file");
    let error = slow(1 << 30).get(&url, 1 << 30).unwrap_err();
    assert_eq!(error.id(), Id::CutShort);
    let said = format!("the server sends `{url}` too slowly: ");
    assert!(error.chain().starts_with(&said), "{}", error.chain());
    assert_eq!(server.requests().len(), 5, "it may get better");
    assert_eq!(slow(1).get(&url, 1 << 30).unwrap().len(), content().len());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("partial");
    let task = Progress::new(Mode::None).task("file", None);
    let result = slow(1 << 30).download(&url, &path, None, &task);
    assert_eq!(result.unwrap_err().id(), Id::CutShort);
}

#[test]
fn what_comes_again_and_again_is_no_progress() {
    // Each second attempt brings more than the one before it, and none more than the first.
    let long = vec![1; 2 << 20];
    let cut = |until| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", long.len());
        Answer::Raw([head.as_bytes(), &long[..until]].concat())
    };
    let script = (0..20).flat_map(|_| [cut(1 << 20), cut(1)]);
    let server = Server::start(script);
    let (result, _) = download(&server, b"", long.len());
    assert_eq!(result.unwrap_err().id(), Id::CutShort);
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn a_busy_server_is_left_alone_for_as_long_as_it_wants() {
    let pauses = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&pauses);
    let client =
        Client::with_pause(&Proxies::default(), move |p| seen.lock().unwrap().push(p)).unwrap();
    let busy = |status: u16, headers: &str| {
        raw(&format!("HTTP/1.1 {status} Busy\r\n{CLOSE}Content-Length: 0\r\n{headers}\r\n"))
    };
    let server = Server::start([
        busy(429, "Retry-After: 7\r\n"),
        busy(
            503,
            "Date: Thu, 19 Nov 2026 02:12:54 GMT\r\nRetry-After: Thu, 19 Nov 2026 02:13:24 GMT\r\n",
        ),
        busy(503, "Retry-After: 0\r\n"),
        busy(503, "Retry-After: later\r\n"),
        Answer::Whole(b"abc".to_vec()),
    ]);
    assert_eq!(client.get(&server.url("file"), 3).unwrap(), b"abc");
    assert_eq!(*pauses.lock().unwrap(), [7, 30, 2, 4].map(Duration::from_secs));

    let server = Server::start([busy(429, "Retry-After: 3600\r\n")]);
    let error = client.get(&server.url("file"), 3).unwrap_err();
    assert_eq!(error.id(), Id::HttpStatus);
    assert_eq!(error.hints(), ["it wants to be left alone for 3600 s"]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_that_packs_unasked_is_named_where_the_file_is_not_right() {
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: ";
    let server = Server::start([raw(&format!("{head}2\r\n\r\nab"))]);
    let error = download(&server, b"", 3).0.unwrap_err();
    let hint = "the server has packed what it sent (`Content-Encoding: gzip`), which nobody asked \
                it to";
    assert_eq!((error.id(), error.hints().last().unwrap().as_str()), (Id::WrongDigest, hint));
    // What many say of a file that is packed all along.
    let server = Server::start([raw(&format!("{head}3\r\n\r\nabc"))]);
    let (result, file) = download(&server, b"", 3);
    assert_eq!((result.unwrap().as_deref(), &file[..]), (Some("gzip"), &b"abc"[..]));
}

#[test]
fn servers_of_all_ages_are_understood() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let next = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    for (answer, requests) in [
        // As old as the protocol, without a length.
        (raw("HTTP/1.0 200 OK\r\n\r\nabc"), 2),
        // It says that it keeps the connection, and does not.
        (raw(next), 2),
        (raw(&format!("HTTP/1.1 100 Continue\r\n\r\n{next}")), 2),
        (raw(&format!("{early}{next}")), 2),
        (raw("HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc"), 2),
    ] {
        let server = Server::start([answer.clone()]);
        let client = client();
        for _ in 0..2 {
            let got = client.get(&server.url("file"), 3);
            assert_eq!(got.as_deref().unwrap_or_default(), b"abc", "{answer:?} {got:?}");
        }
        assert_eq!(server.requests().len(), requests, "{answer:?}");
    }
    let server = Server::at("::1", [Answer::Whole(b"abc".to_vec())]);
    let url = server.url("file");
    assert!(url.starts_with("http://[::1]:"), "{url}");
    assert_eq!(client().get(&url, 3).unwrap(), b"abc");
}

#[test]
fn a_proxy_that_wants_a_password_is_told_from_a_server_that_does() {
    let answer = raw("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\
         Connection: close\r\nContent-Length: 0\r\n\r\n");
    for scheme in ["http", "https"] {
        let proxy = Server::start([answer.clone()]);
        let address = Some(proxy.url(""));
        let proxies = Proxies { http: address.clone(), https: address, ..Proxies::default() };
        let client = Client::with_pause(&proxies, |_| {}).unwrap();
        let url = format!("{scheme}://mirror.invalid/file");
        let error = client.get(&url, 3).unwrap_err();
        assert_eq!(error.id(), Id::ProxyFailed, "{}", error.chain());
        let said = format!("the proxy wants a name and a password on the way to `{url}`");
        assert_eq!(error.to_string(), said);
        assert!(error.hints()[0].contains("NAME:PASSWORD"), "{:?}", error.hints());
        assert!(error.hints()[1].contains("through the proxy"), "{:?}", error.hints());
        assert_eq!(proxy.requests().len(), 1);
    }
}
