//! Configs from servers on the loopback, by HTTP and by HTTPS with an authority of their own.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustix::net::{self, AddressFamily, SocketType};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;
use crate::root::{Keep, PUBLIC};

/// An authority for the length of a test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The settings of a server with a certificate for `name`, valid in these years.
    fn server(&self, name: &str, from: i32, to: i32) -> Arc<rustls::ServerConfig> {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

/// A server that gives the same answer to each request. It ends with this value.
struct Server {
    address: SocketAddr,
    scheme: &'static str,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// `answer` may hold the server's own address as `{self}`. An empty one is never finished:
    /// the client must lose its patience.
    fn start(tls: Option<Arc<rustls::ServerConfig>>, answer: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let answer = answer.replace("{self}", &address.to_string());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut first = [0];
                if stream.peek(&mut first).is_ok() && first == *b"Q" {
                    return;
                }
                // Clients that hang up early are what some tests want.
                let _ = match &tls {
                    None => converse(&mut stream, &answer),
                    Some(config) => {
                        let mut tls = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
                        let mut stream = rustls::Stream::new(&mut tls, &mut stream);
                        let done = converse(&mut stream, &answer);
                        stream.conn.send_close_notify();
                        done.and_then(|()| stream.flush())
                    }
                };
            }
        });
        Self { address, scheme, thread: Some(thread) }
    }

    fn plain(answer: &str) -> Self {
        Self::start(None, answer)
    }

    fn url(&self) -> String {
        format!("{}://{}/node.toml", self.scheme, self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            drop(stream.write_all(b"Q"));
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn converse(stream: &mut (impl Read + Write), answer: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    if answer.is_empty() {
        // Until the client goes.
        return reader.read_to_end(&mut Vec::new()).map(drop);
    }
    reader.into_inner().write_all(answer.as_bytes())?;
    Ok(())
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn redirect(to: &str) -> String {
    let head = "HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\n";
    format!("{head}Location: {to}\r\n\r\n")
}

/// An image that trusts these authorities.
fn image(authorities: &[&Authority]) -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::new(directory.path());
    let bundle: String = authorities.iter().map(|authority| authority.0.pem()).collect();
    root.write(CA_BUNDLE, bundle.as_bytes(), PUBLIC, Keep::ThisBoot).unwrap();
    (directory, root)
}

fn get_by(authorities: &[&Authority], address: &str) -> Result<String, Reason> {
    let limits = Limits { size: 64, ..Limits::default() };
    let (_directory, root) = image(authorities);
    fetch(&root, address, limits).map_err(|error| error.reason)
}

#[test]
fn a_config_comes_by_http_and_through_redirects() {
    let server = Server::plain(&ok("schema = 1\n"));
    assert_eq!(get_by(&[], &server.url()), Ok("schema = 1\n".to_owned()));
    let first = Server::plain(&redirect(&server.url()));
    assert_eq!(get_by(&[], &first.url()), Ok("schema = 1\n".to_owned()));
}

#[test]
fn a_config_comes_by_https_if_the_image_trusts_the_authority() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = Server::start(Some(ours.server("127.0.0.1", 2000, 2100)), &ok("schema = 1\n"));
    assert_eq!(get_by(&[&theirs, &ours], &server.url()), Ok("schema = 1\n".to_owned()));
    assert_eq!(get_by(&[&theirs], &server.url()), Err(Reason::Untrusted));
    assert_eq!(get_by(&[], &server.url()), Err(Reason::NoAuthorities));
    let first = Server::plain(&redirect(&server.url()));
    assert_eq!(get_by(&[&ours], &first.url()), Ok("schema = 1\n".to_owned()));
}

#[test]
fn a_certificate_of_another_time_or_name_is_refused_with_the_cause() {
    let authority = Authority::new();
    let reason = |name: &str, from, to| {
        let server = Server::start(Some(authority.server(name, from, to)), &ok("schema = 1\n"));
        get_by(&[&authority], &server.url()).unwrap_err().to_string()
    };
    let early = reason("127.0.0.1", 2200, 2300);
    assert!(early.contains("not valid yet (valid from 2200-01-01, the clock says 20"), "{early}");
    assert!(early.ends_with(": this node's clock may be wrong"), "{early}");
    let late = reason("127.0.0.1", 2000, 2001);
    assert!(late.contains("has expired (valid until 2001-01-01, the clock says 20"), "{late}");
    let other = reason("config.example", 2000, 2100);
    assert!(other.contains("is for another name") && other.contains("config.example"), "{other}");
}

#[test]
fn a_redirect_from_https_to_http_is_not_followed() {
    let authority = Authority::new();
    let open = Server::plain(&ok("schema = 1\n"));
    let server =
        Server::start(Some(authority.server("127.0.0.1", 2000, 2100)), &redirect(&open.url()));
    assert_eq!(get_by(&[&authority], &server.url()), Err(Reason::Downgrade));
}

#[test]
fn answers_that_are_no_config_are_told_apart() {
    for (answer, reason) in [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "the server has no such file (404 Not Found)",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "the server denies access (403 Forbidden)",
        ),
        (
            "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "the server answers `503 Service Unavailable`",
        ),
        (ok("\n<!DOCTYPE HTML><title>log in</title>"), "a web page instead of the file"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi".to_owned(),
            "a web page instead of the file",
        ),
        (ok(&" ".repeat(65)), "it has more than 64 bytes"),
        (redirect("http://{self}/again"), "the server redirects more than 5 times"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 20\r\nConnection: close\r\n\r\nschema".to_owned(),
            "the connection was cut before the end",
        ),
        ("220 mail.example ESMTP\r\n\r\n".to_owned(), "no proper answer: "),
    ] {
        let server = Server::plain(&answer);
        let error = get_by(&[], &server.url()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error} instead of {reason}");
    }
}

#[test]
fn a_body_without_a_length_is_limited_too() {
    let server = Server::plain(&format!("HTTP/1.0 200 OK\r\n\r\n{}", "#".repeat(100_000)));
    assert_eq!(get_by(&[], &server.url()), Err(Reason::TooLarge(64)));
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let limits = Limits { total: Duration::from_millis(50), ..Limits::default() };
    let server = Server::plain("");
    let (_directory, root) = image(&[]);
    let error = fetch(&root, &server.url(), limits).unwrap_err();
    assert_eq!(error.reason, Reason::NoAnswer(limits.total));
}

#[test]
fn a_host_that_is_not_there_is_told_with_the_address_but_not_its_secrets() {
    // A port that is taken and not listened on: nobody else can begin to.
    let held = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    net::bind(&held, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = SocketAddrV4::try_from(net::getsockname(&held).unwrap()).unwrap().port();
    let (_directory, root) = image(&[]);
    let address = format!("http://user:secret@127.0.0.1:{port}/n?token=secret");
    let error = fetch(&root, &address, Limits::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot fetch the node config from `http://127.0.0.1:{port}/n?...`: the host refuses \
             the connection: nobody listens at that port"
        )
    );
}

#[test]
fn a_name_without_an_address_is_told() {
    // A label of more than 63 letters is in no name service: the resolver refuses it unasked.
    let reason = get_by(&[], &format!("http://{}.invalid/n", "a".repeat(64))).unwrap_err();
    assert!(matches!(reason, Reason::Name(_)), "{reason}");
    assert!(reason.to_string().starts_with("the server's name cannot be resolved: "));
}

#[test]
fn what_is_no_address_is_refused() {
    for address in ["ftp://127.0.0.1/n", "http:///n", "127.0.0.1"] {
        let reason = get_by(&[], address).unwrap_err();
        assert!(matches!(reason, Reason::Address(_)), "{address}: {reason:?}");
    }
}

/// A proxy that reaches nobody: what is behind it answers with `body`. It gives what it was asked.
fn proxy(body: &'static str) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        for answer in ["HTTP/1.1 200 Connection established\r\n\r\n", &ok(body)] {
            let mut lines = BufReader::new(&stream).lines();
            asked.extend(lines.by_ref().map(Result::unwrap).take_while(|line| !line.is_empty()));
            stream.write_all(answer.as_bytes()).unwrap();
        }
        asked
    });
    (address, thread)
}

#[test]
fn a_config_comes_by_the_proxy_and_without_it_if_it_is_not_there() {
    let (_directory, root) = image(&[]);
    let by_proxy = |proxy: SocketAddr, address: &str| {
        let text = format!("HTTP_PROXY=http://me:s%40cret@{proxy}\nNO_PROXY=127.0.0.0/8\n");
        root.write(proxy::PATH, text.as_bytes(), crate::root::SECRET, Keep::ThisBoot).unwrap();
        fetch(&root, address, Limits::default()).map_err(|error| error.to_string())
    };
    let (there, asked) = proxy("schema = 1\n");
    // A name that is only known behind the proxy.
    assert_eq!(by_proxy(there, "http://config.example/n"), Ok("schema = 1\n".to_owned()));
    let asked = asked.join().unwrap();
    assert_eq!(asked[0], "CONNECT config.example:80 HTTP/1.1");
    let authorized = asked
        .iter()
        .any(|line| line.eq_ignore_ascii_case("proxy-authorization: Basic bWU6c0BjcmV0"));
    assert!(authorized, "{asked:?}");

    // Where that one was, nobody is any more.
    let server = Server::plain(&ok("schema = 1\n"));
    let error = by_proxy(there, "http://[::1]:1/n").unwrap_err();
    let want = format!("by the proxy http://me:***@{there}: ");
    assert!(error.contains(&want) && error.contains("; without it: "), "{error}");
    assert!(!error.contains("cret"), "{error}");
    assert_eq!(by_proxy(there, &server.url()), Ok("schema = 1\n".to_owned()), "by NO_PROXY");
}
