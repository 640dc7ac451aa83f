//! The little of the Kubernetes API that starting and watching a cluster needs, over HTTPS with a
//! client certificate (<https://kubernetes.io/docs/reference/using-api/api-concepts/>).

use std::fmt;
use std::io::{BufRead, BufReader, Read as _};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::http::StatusCode;
use ureq::http::header::CONTENT_TYPE;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body};

use crate::cluster::pki::Pair;
use crate::error::{Context as _, Id, Result};

const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take that is not a watch: the API server itself gives up after a minute.
const ANSWER: Duration = Duration::from_secs(70);
/// Of an answer that is only looked at for its reason.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// A client of servers that the cluster's CA vouches for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    server: String,
    agent: Agent,
}

/// Why a request failed.
#[derive(Debug)]
pub enum Refusal {
    /// The server has answered with this status and for this reason.
    Status(StatusCode, String),
    /// There was no answer.
    Transport(Box<ureq::Error>),
    /// The answer ended early, or is not what an API server sends.
    Answer(std::io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status, reason) => write!(f, "{}: {reason}", status.as_u16()),
            Self::Transport(error) => error.fmt(f),
            Self::Answer(error) => error.fmt(f),
        }
    }
}

// The text above is that of the source, so there is none.
impl std::error::Error for Refusal {}

impl Client {
    /// A client of the API server at `server`, such as `https://127.0.0.1:6443`.
    ///
    /// # Errors
    /// [`Id::Bug`] if what we made ourselves is no certificate or no key.
    pub fn new(server: impl Into<String>, ca: &str, pair: &Pair) -> Result<Self> {
        let ours = || "a certificate of our own cannot be read";
        let ca = Certificate::from_pem(ca.as_bytes()).or_fail(Id::Bug, ours)?;
        let own = Certificate::from_pem(pair.certificate.as_bytes()).or_fail(Id::Bug, ours)?;
        let key = PrivateKey::from_pem(pair.key.as_bytes()).or_fail(Id::Bug, ours)?;
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::new_with_certs(&[ca]))
            .client_cert(Some(ClientCert::new_with_certs(&[own], key)))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            // What the environment names leads elsewhere.
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .user_agent(concat!("orlop/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { server: server.into(), agent })
    }

    /// Gets any address and wants success.
    ///
    /// # Errors
    /// Anything else.
    pub fn probe(&self, url: &str) -> Result<(), Refusal> {
        let response = self.agent.get(url).call().map_err(transport)?;
        accepted(response.status(), response.into_body()).map(drop)
    }

    /// Whether the API server says that it is ready.
    ///
    /// # Errors
    /// It is not.
    pub fn ready(&self) -> Result<(), Refusal> {
        self.probe(&format!("{}/readyz", self.server))
    }

    /// Reads the object at this path.
    ///
    /// # Errors
    /// There is none, or there is no answer.
    pub fn get(&self, path: &str) -> Result<Value, Refusal> {
        let response =
            self.agent.get(format!("{}{path}", self.server)).call().map_err(transport)?;
        let body = accepted(response.status(), response.into_body())?;
        serde_json::from_reader(body.into_reader()).map_err(|error| Refusal::Answer(error.into()))
    }

    /// Makes an object in the collection at this path; one that is there already is left as it is.
    ///
    /// # Errors
    /// The API server refuses, or does not answer.
    pub fn create(&self, path: &str, object: &Value) -> Result<(), Refusal> {
        let response = self
            .agent
            .post(format!("{}{path}", self.server))
            .header(CONTENT_TYPE, "application/json")
            .send(object.to_string())
            .map_err(transport)?;
        match accepted(response.status(), response.into_body()) {
            Err(Refusal::Status(StatusCode::CONFLICT, _)) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Watches the collection at this path for what changes after `version`, the resource version
    /// of its list. One event of JSON a line, until the server closes.
    ///
    /// # Errors
    /// The API server refuses, or does not answer.
    pub fn watch(&self, path: &str, version: &str) -> Result<impl BufRead + use<>, Refusal> {
        let url = format!("{}{path}?watch=true&resourceVersion={version}", self.server);
        let response = self.agent.get(url).call().map_err(transport)?;
        let body = accepted(response.status(), response.into_body())?;
        Ok(BufReader::new(body.into_reader()))
    }
}

fn transport(error: ureq::Error) -> Refusal {
    Refusal::Transport(Box::new(error))
}

/// The body of a good answer; the reason from the body of a bad one.
fn accepted(status: StatusCode, body: Body) -> Result<Body, Refusal> {
    if status.is_success() {
        return Ok(body);
    }
    let mut text = String::new();
    // Half a reason is better than none.
    drop(body.into_reader().take(LONGEST_ANSWER).read_to_string(&mut text));
    Err(Refusal::Status(status, reason(&text)))
}

/// The message of a `Status` object, or the last line of a text: `/readyz` lists what it waits
/// for and ends with the verdict.
fn reason(text: &str) -> String {
    let object: Option<Value> = serde_json::from_str(text).ok();
    let message = object.as_ref().and_then(|object| object["message"].as_str());
    let failed: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("[-]")).collect();
    match message {
        Some(message) => message.to_owned(),
        None if !failed.is_empty() => {
            let names = failed.iter().filter_map(|line| line.split(' ').next());
            format!("it waits for {}", names.collect::<Vec<_>>().join(", "))
        }
        None => text.lines().last().unwrap_or_default().trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread::JoinHandle;

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

    use super::*;
    use crate::cluster::pki::{self, Pki};
    use crate::settings;

    fn new_pki() -> Pki {
        pki::make(settings::now(), &["127.0.0.1"]).unwrap()
    }

    /// Answers one request over TLS after the client has shown a certificate of the same CA, and
    /// returns the request; nothing if there was no handshake.
    fn serve(pki: &Pki, answer: String) -> (String, JoinHandle<Option<String>>) {
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(der(&pki.ca.certificate)).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
        let key = PrivateKeyDer::from_pem_slice(pki.serving.key.as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![der(&pki.serving.certificate)], key)
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (tcp, _) = listener.accept().unwrap();
            let tls = ServerConnection::new(Arc::new(config)).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(tls, tcp));
            let mut request = String::new();
            let mut length = 0;
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).ok().filter(|&length| length > 0)?;
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                request += &line;
                if line == "\r\n" {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            stream.get_mut().conn.send_close_notify();
            stream.get_mut().flush().unwrap();
            Some(request + &String::from_utf8(body).unwrap())
        });
        (url, server)
    }

    fn answer(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    }

    #[test]
    fn an_object_is_made_as_the_administrator() {
        let pki = new_pki();
        let (url, server) = serve(&pki, answer("201 Created", "{}"));
        let client = Client::new(url, &pki.ca.certificate, &pki.admin).unwrap();
        client.create("/api/v1/namespaces", &serde_json::json!({ "a": 1 })).unwrap();
        let request = server.join().unwrap().unwrap();
        assert!(request.starts_with("POST /api/v1/namespaces HTTP/1.1\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"a\":1}"), "{request}");
    }

    #[test]
    fn a_refusal_says_the_servers_own_reason_and_what_exists_is_no_refusal() {
        let pki = new_pki();
        for (status, body, want) in [
            ("403 Forbidden", r#"{"kind":"Status","message":"no"}"#, Err("403: no")),
            ("409 Conflict", r#"{"kind":"Status","message":"exists"}"#, Ok(())),
            ("500 X", "[+]ping ok\n[-]etcd failed: x\nfailed", Err("500: it waits for etcd")),
            ("503 X", "first\nlast\n", Err("503: last")),
        ] {
            let (url, server) = serve(&pki, answer(status, body));
            let client = Client::new(url, &pki.ca.certificate, &pki.admin).unwrap();
            let made = client.create("/x", &Value::Null).map_err(|refusal| refusal.to_string());
            assert_eq!(made, want.map_err(str::to_owned));
            server.join().unwrap().unwrap();
        }
    }

    #[test]
    fn a_watch_gives_one_event_a_line() {
        let pki = new_pki();
        let (url, server) = serve(&pki, answer("200 OK", "{\"type\":\"ADDED\"}\n{}\n"));
        let client = Client::new(url, &pki.ca.certificate, &pki.admin).unwrap();
        let watch = client.watch("/api/v1/nodes", "7").unwrap();
        let lines: Vec<_> = watch.lines().map_while(Result::ok).collect();
        assert_eq!(lines, ["{\"type\":\"ADDED\"}", "{}"]);
        let request = server.join().unwrap().unwrap();
        assert!(
            request.starts_with("GET /api/v1/nodes?watch=true&resourceVersion=7 "),
            "{request}"
        );
    }

    #[test]
    fn a_server_of_another_authority_is_not_believed() {
        let (pki, other) = (new_pki(), new_pki());
        let (url, server) = serve(&other, answer("200 OK", "ok"));
        let client = Client::new(url, &pki.ca.certificate, &pki.admin).unwrap();
        assert!(matches!(client.ready(), Err(Refusal::Transport(_))));
        assert_eq!(server.join().unwrap(), None);
    }
}
