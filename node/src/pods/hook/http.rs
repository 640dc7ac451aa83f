//! Hooks that ask by HTTP.

use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::InvalidMessage;
use ureq::http::header::LOCATION;
use ureq::http::{Response, Uri};
use ureq::tls::{TlsConfig, TlsProvider};
use ureq::{Agent, Body};

use super::{Header, address};

/// Of an answer nobody reads more.
const LONGEST_ANSWER: u64 = 10 * 1024;
/// As many as kubelet follows.
const REDIRECTS: usize = 10;

/// Asks once, for at most `time`. Whatever is answered, the hook has done its work: kubelet asks
/// without looking at certificates or at the status, and follows a redirect only to the same host,
/// for what answers is a pod, which is not to make the node ask others. Where HTTPS is asked for and
/// plain HTTP is spoken it asks again so, without what says who asks.
///
/// # Errors
/// Nothing is answered in time.
pub(super) fn get(url: &str, headers: &[Header], time: Duration) -> Result<(), String> {
    let end = Instant::now() + time;
    let plain = url.strip_prefix("https:").map(|rest| format!("http:{rest}"));
    match (follow(url, headers, end), plain) {
        (Err(NoAnswer::NoTls), Some(plain)) => {
            let is_kept = |header: &&Header| !header.name.eq_ignore_ascii_case("authorization");
            let headers: Vec<_> = headers.iter().filter(is_kept).cloned().collect();
            follow(&plain, &headers, end)
        }
        (answer, _) => answer,
    }
    .map_err(|error| match error {
        NoAnswer::NoTls => "it does not speak TLS".to_owned(),
        NoAnswer::Other(why) => why,
    })
}

enum NoAnswer {
    /// What came is not of TLS.
    NoTls,
    Other(String),
}

impl From<ureq::Error> for NoAnswer {
    fn from(error: ureq::Error) -> Self {
        let tls = match &error {
            ureq::Error::Rustls(tls) => Some(tls),
            ureq::Error::Io(error) => error.get_ref().and_then(|error| error.downcast_ref()),
            _ => None,
        };
        match tls {
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::NoTls,
            _ => Self::Other(error.to_string()),
        }
    }
}

fn follow(url: &str, headers: &[Header], end: Instant) -> Result<(), NoAnswer> {
    let agent = agent();
    let is_none = |error| NoAnswer::Other(format!("`{url}` is no address: {error}"));
    let mut at = url.parse::<Uri>().map_err(is_none)?;
    for _ in 0..=REDIRECTS {
        let request = headers.iter().fold(agent.get(&at), |request, header| {
            request.header(header.name.as_str(), header.value.as_str())
        });
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let request = request.config().timeout_global(Some(left)).build();
        let answer = request.call()?;
        let next = redirect(&at, &answer);
        // Whether it says it to the end does not matter.
        let _ = answer.into_body().into_reader().take(LONGEST_ANSWER).read_to_end(&mut Vec::new());
        match next {
            Some(next) => at = next,
            None => return Ok(()),
        }
    }
    Err(NoAnswer::Other(format!("it redirects more than {REDIRECTS} times")))
}

fn agent() -> Agent {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .disable_verification(true)
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("orlop-node/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// Where an answer leads, if that is on the same host.
fn redirect(from: &Uri, answer: &Response<Body>) -> Option<Uri> {
    // Those that Go follows.
    let leads = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = leads.then(|| answer.headers().get(LOCATION))?;
    let to = address::resolve(from, location?.to_str().ok()?)?;
    (to.host() == from.host()).then_some(to)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{Shutdown, TcpListener};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Gives each answer to one request, and then the first lines of the requests. `{self}` in an
    /// answer is the own address.
    fn serve(answers: &[&str], ask: impl FnOnce(&str)) -> Vec<String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let answers: Vec<_> = answers.iter().map(|a| a.replace("{self}", &address)).collect();
        let server = thread::spawn(move || {
            let mut lines = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("a request");
                let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
                let mut line = String::new();
                reader.read_line(&mut line).expect("a line");
                lines.push(line.trim().to_owned());
                while reader.read_line(&mut line).expect("a line") > 2 {}
                stream.write_all(answer.as_bytes()).expect("the client reads");
            }
            lines
        });
        ask(&address);
        server.join().expect("the server is content")
    }

    fn redirect_to(location: &str) -> String {
        format!("HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: {location}\r\n\r\n")
    }

    #[test]
    fn whatever_is_answered_the_hook_has_done_its_work() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
            // It hangs up in the middle of it.
            "HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\nhalf",
        ] {
            let asked = serve(&[answer], |address| {
                let headers = [Header { name: "A".to_owned(), value: "b".to_owned() }];
                get(&format!("http://{address}/bye?now=1"), &headers, MINUTE).expect("done");
            });
            assert_eq!(asked, ["GET /bye?now=1 HTTP/1.1"]);
        }
    }

    #[test]
    fn a_redirect_is_followed_on_the_same_host_alone() {
        let done = "HTTP/1.1 204 Done\r\nConnection: close\r\n\r\n";
        let there = redirect_to("/bye/");
        let whole = redirect_to("http://{self}/there/x");
        let beside = redirect_to("y?z");
        let asked = serve(&[&there, &whole, &beside, done], |address| {
            get(&format!("http://{address}/bye"), &[], MINUTE).expect("done");
        });
        let want = ["/bye", "/bye/", "/there/x", "/there/y?z"];
        assert_eq!(asked, want.map(|path| format!("GET {path} HTTP/1.1")));

        let (other, elsewhere) = (TcpListener::bind(("127.0.0.2", 0)).expect("a port"), "x");
        let away = other.local_addr().expect("an address");
        let away = redirect_to(&format!("http://{away}/{elsewhere}"));
        serve(&[&away], |address| {
            get(&format!("http://{address}/bye"), &[], MINUTE).expect("done");
        });
        other.set_nonblocking(true).expect("a socket");
        assert!(other.accept().is_err(), "another host was asked");

        let again = redirect_to("/again");
        serve(&[again.as_str(); REDIRECTS + 1], |address| {
            let error = get(&format!("http://{address}/"), &[], MINUTE).expect_err("a circle");
            assert_eq!(error, "it redirects more than 10 times");
        });
    }

    #[test]
    fn what_speaks_plain_http_at_a_port_for_https_is_asked_so() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client that begins with TLS");
            let mut hello = [0; 16 * 1024];
            assert!(stream.read(&mut hello).expect("a hello") > 0);
            stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").expect("the client reads");
            stream.shutdown(Shutdown::Write).expect("the end");
            // Without reading all a reset would overtake the answer.
            let _ = stream.read_to_end(&mut Vec::new());
            let (mut stream, _) = listener.accept().expect("a request");
            let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
            let (mut lines, mut line) = (Vec::new(), String::new());
            while reader.read_line(&mut line).expect("a line") > 2 {
                lines.push(std::mem::take(&mut line).trim().to_ascii_lowercase());
            }
            let done = "HTTP/1.1 204 Done\r\nConnection: close\r\n\r\n";
            stream.write_all(done.as_bytes()).expect("the client reads");
            lines
        });
        let header = |name: &str, value: &str| Header { name: name.into(), value: value.into() };
        let headers = [header("Authorization", "secret"), header("A", "b")];
        get(&format!("https://{address}/bye"), &headers, MINUTE).expect("done");
        let lines = server.join().expect("the server is content");
        assert_eq!(lines[0], "get /bye http/1.1");
        assert!(lines.contains(&"a: b".to_owned()), "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains("secret")), "{lines:?}");
    }

    #[test]
    fn what_does_not_answer_is_given_up_in_time() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (done, ended) = mpsc::channel();
        let asking = thread::spawn(move || {
            done.send(get(&format!("http://{address}/"), &[], Duration::from_millis(20)))
        });
        let error = ended.recv_timeout(MINUTE).expect("an end").expect_err("nobody answers");
        assert!(error.contains("timeout"), "{error}");
        asking.join().expect("it ended").expect("told");
        for (url, want) in [("http://a b/", "is no address"), ("http://127.0.0.1:1/\n", "address")]
        {
            let error = get(url, &[], MINUTE).expect_err("no address");
            assert!(error.contains(want), "{error}");
        }
        let header = Header { name: "no name".to_owned(), value: "x".to_owned() };
        get("http://127.0.0.1:1/", &[header], MINUTE).expect_err("no header");
    }
}
