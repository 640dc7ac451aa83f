//! A private container registry on the loopback address: the read-only half of the OCI distribution
//! specification, for the images that a test made. Its API lies below a path, as that of a cache
//! beside others does, and who asks must have the password. It is its own proxy as well: what is
//! asked of it in a proxy's form it answers itself, wherever that would be.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::listener::Listener;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What can be pulled: blobs by digest, and the manifest behind each `name:tag`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Everything, manifests too, by `sha256:...`.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// `busybox:1` and the digest of its manifest.
    pub tags: BTreeMap<String, String>,
}

/// Where its API begins, in place of `/v2`.
pub const PATH: &str = "/v2/hub";
/// Who may pull.
pub const USER: &str = "puller";
/// And by which password.
pub const PASSWORD: &str = "registry-Secret-1";
/// The user and the password of the proxy, as they stand in its address.
pub const PROXY_LOGIN: &str = "node:proxy-Secret-2";

/// `USER:PASSWORD` in Base64, as headers have it (RFC 7617).
const AUTHORIZATION: &str = "Basic cHVsbGVyOnJlZ2lzdHJ5LVNlY3JldC0x";
/// The same of [`PROXY_LOGIN`].
const PROXY_AUTHORIZATION: &str = "Basic bm9kZTpwcm94eS1TZWNyZXQtMg==";

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Registry {
    listener: Listener,
    proxied: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Registry {
    /// Listens on a free port.
    ///
    /// # Errors
    /// There is none.
    pub fn serve(content: Content) -> io::Result<Self> {
        let content = Arc::new(content);
        let proxied = Arc::new(AtomicUsize::new(0));
        let asked = Arc::new(AtomicUsize::new(0));
        let counts = (Arc::clone(&proxied), Arc::clone(&asked));
        let listener = Listener::new(move |client| {
            let (content, counts) = (Arc::clone(&content), counts.clone());
            // A client that goes away has what it wanted.
            thread::spawn(move || drop(serve(&client, &content, &counts)));
        });
        Ok(Self { listener: listener?, proxied, asked })
    }

    /// How many requests there were, whoever sent them and whatever came of them.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// What it was asked as a proxy, by who has the proxy's password, and could answer.
    pub fn proxied(&self) -> usize {
        self.proxied.load(Ordering::SeqCst)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.listener.port()
    }
}

fn serve(
    client: &TcpStream,
    content: &Content,
    (proxied, asked): &(Arc<AtomicUsize>, Arc<AtomicUsize>),
) -> io::Result<()> {
    let mut requests = BufReader::new(client);
    loop {
        let mut line = String::new();
        if requests.read_line(&mut line)? == 0 {
            return Ok(());
        }
        asked.fetch_add(1, Ordering::SeqCst);
        let (mut header, mut may_pull, mut may_pass) = (String::new(), false, false);
        while requests.read_line(&mut header)? > 2 {
            if let Some((name, value)) = header.trim_end().split_once(": ") {
                may_pull |= name.eq_ignore_ascii_case("authorization") && value == AUTHORIZATION;
                may_pass |= name.eq_ignore_ascii_case("proxy-authorization")
                    && value == PROXY_AUTHORIZATION;
            }
            header.clear();
        }
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let elsewhere = target.strip_prefix("http://").map(|rest| {
            let path = rest.find('/').unwrap_or(rest.len());
            &rest[path..]
        });
        let answer = answer(content, elsewhere.unwrap_or(target));
        let mut reply = BufWriter::new(client);
        let unauthorized = &b"{\"errors\":[{\"code\":\"UNAUTHORIZED\"}]}"[..];
        let (status, kind, body) = match &answer {
            _ if elsewhere.is_some() && !may_pass => {
                ("407 Proxy Authentication Required", "text/plain", &b""[..])
            }
            _ if !may_pull => ("401 Unauthorized", "application/json", unauthorized),
            Some(answer) => {
                proxied.fetch_add(usize::from(elsewhere.is_some()), Ordering::SeqCst);
                ("200 OK", answer.kind, answer.body)
            }
            None => (
                "404 Not Found",
                "application/json",
                &b"{\"errors\":[{\"code\":\"NOT_FOUND\"}]}"[..],
            ),
        };
        write!(
            reply,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n",
            body.len()
        )?;
        if let Some(digest) = answer.as_ref().and_then(|answer| answer.digest) {
            write!(reply, "Docker-Content-Digest: {digest}\r\n")?;
        }
        if status.starts_with("401") {
            write!(reply, "WWW-Authenticate: Basic realm=\"tests\"\r\n")?;
        }
        write!(reply, "\r\n")?;
        if method != "HEAD" {
            reply.write_all(body)?;
        }
        reply.flush()?;
    }
}

struct Answer<'a> {
    kind: &'static str,
    digest: Option<&'a str>,
    body: &'a [u8],
}

/// What stands at a path such as `/v2/hub/busybox/manifests/1?ns=example`.
fn answer<'a>(content: &'a Content, target: &str) -> Option<Answer<'a>> {
    let path = target.split('?').next().unwrap_or(target).strip_prefix(PATH)?;
    let path = path.strip_prefix('/')?;
    if path.is_empty() {
        return Some(Answer { kind: "application/json", digest: None, body: b"{}" });
    }
    let (kind, wanted) = if let Some((name, reference)) = path.split_once("/manifests/") {
        let tagged = content.tags.get(&format!("{name}:{reference}")).map(String::as_str);
        (MANIFEST, tagged.unwrap_or(reference))
    } else {
        ("application/octet-stream", path.split_once("/blobs/")?.1)
    };
    let (digest, body) = content.blobs.get_key_value(wanted)?;
    Some(Answer { kind, digest: Some(digest), body })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn manifests_are_found_by_tag_and_digest_and_blobs_by_digest() {
        let content = Content {
            blobs: [("sha256:aa", &b"manifest"[..]), ("sha256:bb", b"layer")]
                .map(|(digest, bytes)| (digest.to_owned(), bytes.to_vec()))
                .into(),
            tags: [("busybox:1".to_owned(), "sha256:aa".to_owned())].into(),
        };
        let registry = Registry::serve(content).unwrap();
        let ask_as = |request: &str, headers: &str| {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, registry.port())).unwrap();
            write!(client, "{request} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            text
        };
        let own = format!("Authorization: {AUTHORIZATION}\r\n");
        let ask = |request: &str| ask_as(&request.replace(" /v2/", " /v2/hub/"), &own);
        assert!(ask_as("GET /v2/hub/", "").starts_with("HTTP/1.1 401"));
        assert!(ask_as("GET /v2/", &own).starts_with("HTTP/1.1 404"), "another path");
        let proxied = "GET http://away.example/v2/hub/";
        assert!(ask_as(proxied, &own).starts_with("HTTP/1.1 407"));
        let both = format!("{own}Proxy-Authorization: {PROXY_AUTHORIZATION}\r\n");
        assert!(ask_as(proxied, &both).starts_with("HTTP/1.1 200"));
        assert_eq!((registry.proxied(), registry.asked()), (1, 4));
        assert!(ask("GET /v2/").ends_with("\r\n\r\n{}"));
        for path in ["busybox/manifests/1", "busybox/manifests/sha256:aa?ns=docker.io"] {
            let text = ask(&format!("GET /v2/{path}"));
            assert!(
                text.contains("Docker-Content-Digest: sha256:aa")
                    && text.ends_with("\r\n\r\nmanifest")
            );
        }
        assert!(ask("GET /v2/busybox/blobs/sha256:bb").ends_with("\r\n\r\nlayer"));
        let head = ask("HEAD /v2/busybox/blobs/sha256:bb");
        assert!(head.contains("Content-Length: 5") && head.ends_with("\r\n\r\n"));
        assert!(ask("GET /v2/busybox/manifests/2").starts_with("HTTP/1.1 404"));
        assert!(ask("GET /etc/passwd").starts_with("HTTP/1.1 404"));
    }
}
