//! A container registry on the loopback address: the read-only half of the OCI distribution
//! specification, for the images that a test made.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
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

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Registry(Listener);

impl Registry {
    /// Listens on a free port.
    ///
    /// # Errors
    /// There is none.
    pub fn serve(content: Content) -> io::Result<Self> {
        let content = Arc::new(content);
        let listener = Listener::new(move |client| {
            let content = Arc::clone(&content);
            // A client that goes away has what it wanted.
            thread::spawn(move || drop(serve(&client, &content)));
        });
        Ok(Self(listener?))
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.0.port()
    }
}

fn serve(client: &TcpStream, content: &Content) -> io::Result<()> {
    let mut requests = BufReader::new(client);
    loop {
        let mut line = String::new();
        if requests.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while requests.read_line(&mut header)? > 2 {
            header.clear();
        }
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let answer = answer(content, target);
        let mut reply = BufWriter::new(client);
        let (status, kind, body) = match &answer {
            Some(answer) => ("200 OK", answer.kind, answer.body),
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

/// What stands at a path such as `/v2/busybox/manifests/1?ns=example`.
fn answer<'a>(content: &'a Content, target: &str) -> Option<Answer<'a>> {
    let path = target.split('?').next().unwrap_or(target).strip_prefix("/v2/")?;
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
        let ask = |request: &str| {
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, registry.port())).unwrap();
            write!(client, "{request} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let mut text = String::new();
            client.read_to_string(&mut text).unwrap();
            text
        };
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
