//! Getting files over HTTP and HTTPS, for `lock` and `fetch` only.
//!
//! Nothing that comes from here is believed: a digest or a signature decides afterwards. So the
//! client's duty is to be patient (retries, resumed downloads, bounded sizes) and to say exactly
//! what went wrong. Ranges follow RFC 9110, section 14.

mod failure;
#[cfg(test)]
pub(crate) mod loopback;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE};
use ureq::http::{Response, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body, Proxy};

use crate::error::{Context as _, Error, Id, Result};
use crate::progress::Task;
use failure::{Attempt, Failure};

/// How often a request is tried in all, if each time nothing or little comes.
const ATTEMPTS: u32 = 5;
/// The pause before the second attempt; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// An attempt that brought so many bytes does not count: a long download over a bad line may be
/// cut often and still arrive.
const WORTH_IT: u64 = 1024 * 1024;
const CONNECT: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(60);
const REDIRECTS: u32 = 10;

/// Which proxy to go through, by the address's scheme.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// The proxy's address for `http:` addresses.
    pub http: Option<String>,
    /// The proxy's address for `https:` addresses.
    pub https: Option<String>,
    /// Hosts that are reached directly: `host` (and all below it), `.domain`, `*`.
    pub none_for: Vec<String>,
}

/// An HTTP client. One serves all threads.
pub struct Client {
    plain: Agent,
    secure: Agent,
    pause: Box<dyn Fn(Duration) + Send + Sync>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client that trusts the root certificates of this host.
    ///
    /// # Errors
    /// [`Id::ProxyFailed`] if a proxy's address is not one.
    pub fn new(proxies: &Proxies) -> Result<Self> {
        Self::with_pause(proxies, std::thread::sleep)
    }

    /// As [`Client::new`]; `pause` waits between two attempts.
    pub(crate) fn with_pause(
        proxies: &Proxies,
        pause: impl Fn(Duration) + Send + Sync + 'static,
    ) -> Result<Self> {
        // A certificate that cannot be read is skipped, as every TLS client does: if it was the
        // one that mattered, the handshake says so.
        let certificates = rustls_native_certs::load_native_certs().certs;
        let roots: RootCerts =
            certificates.iter().map(|der| Certificate::from_der(der).to_owned()).into();
        let agent = |address: &Option<String>| {
            let proxy = address.as_deref().map(|address| proxy(address, &proxies.none_for));
            Ok::<_, Error>(agent(roots.clone(), proxy.transpose()?))
        };
        Ok(Self {
            plain: agent(&proxies.http)?,
            secure: agent(&proxies.https)?,
            pause: Box::new(pause),
        })
    }

    /// Gets a file of at most `limit` bytes into memory.
    ///
    /// # Errors
    /// [`Id::NotFound`] if the server has no such file, [`Id::TooLarge`], and what else can
    /// happen between two machines: see `docs/components.md`.
    pub fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>> {
        self.retrying(|| {
            let response = self.send(url, 0)?;
            if response.status() != StatusCode::OK {
                return Err(Failure::status(url, response.status()));
            }
            let too_large =
                || Error::new(Id::TooLarge, format!("`{url}` has more than {limit} bytes"));
            let body = response.into_body();
            if body.content_length().is_some_and(|length| length > limit) {
                return Err(Failure::lasting(too_large()));
            }
            let mut bytes = Vec::new();
            let read = body.into_reader().take(limit + 1).read_to_end(&mut bytes);
            read.map_err(|error| Failure::transport(url, error.into()))?;
            if bytes.len() as u64 > limit {
                return Err(Failure::lasting(too_large()));
            }
            Ok(bytes)
        })
    }

    /// How many bytes the server says that the file has.
    ///
    /// # Errors
    /// As [`Client::get`]; [`Id::WebPage`] if the server does not say.
    pub fn size(&self, url: &str) -> Result<u64> {
        self.retrying(|| {
            let response = self.send(url, 0)?;
            if response.status() != StatusCode::OK {
                return Err(Failure::status(url, response.status()));
            }
            let size = response.into_body().content_length();
            size.ok_or_else(|| Failure::lasting(web_page(url)))
        })
    }

    /// Downloads a file of exactly `size` bytes to `into`, going on where an earlier download
    /// into that file ended. What has come stays there when the line breaks.
    ///
    /// The size is checked, the content is not: that is the caller's duty.
    ///
    /// # Errors
    /// As [`Client::get`]; [`Id::WrongDigest`] if the server's file has another size,
    /// [`Id::WebPage`] if it answers with a page for people, [`Id::StoreWrite`].
    pub fn download(&self, url: &str, into: &Path, size: u64, task: &Task) -> Result<()> {
        let cannot_write = || format!("cannot write `{}`", into.display());
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(into)
            .or_fail(Id::StoreWrite, cannot_write)?;
        let mut counted = 0;
        self.retrying(|| {
            let length = |file: &File| {
                let length = file.metadata().or_fail(Id::StoreWrite, cannot_write);
                length.map(|meta| meta.len()).map_err(Failure::lasting)
            };
            let before = length(&file)?;
            let mut done = Progressed { task, counted: &mut counted };
            self.download_once(url, &mut file, size, &mut done).map_err(|failure| {
                let after = length(&file).unwrap_or(before);
                failure.after(after.saturating_sub(before))
            })
        })
    }

    fn download_once(
        &self,
        url: &str,
        file: &mut File,
        size: u64,
        progressed: &mut Progressed<'_>,
    ) -> Attempt<()> {
        let io = |error: std::io::Error| {
            let error = Error::new(Id::StoreWrite, "cannot write a download").caused_by(error);
            Failure::lasting(error)
        };
        let mut have = file.metadata().map_err(io)?.len();
        if have > size {
            file.set_len(0).map_err(io)?;
            have = 0;
        }
        if have == size {
            return Ok(());
        }
        let response = self.send(url, have)?;
        match response.status() {
            StatusCode::OK => {
                file.set_len(0).map_err(io)?;
                have = 0;
            }
            StatusCode::PARTIAL_CONTENT if have > 0 && continues(&response, have, size) => {}
            // The server's file is not the one that the download began with.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => {
                file.set_len(0).map_err(io)?;
                return self.download_once(url, file, size, progressed);
            }
            status => return Err(Failure::status(url, status)),
        }
        progressed.reached(have);
        let html = content_type(&response).starts_with("text/html");
        let body = response.into_body();
        if let Some(offered) = body.content_length().filter(|offered| have + offered != size) {
            return Err(Failure::lasting(wrong_size(url, html, size, &format!("{offered}"))));
        }
        file.seek(SeekFrom::Start(have)).map_err(io)?;
        let mut reader = body.into_reader();
        let mut buffer = vec![0; 128 * 1024];
        while have <= size {
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => return Err(Failure::transport(url, error.into())),
            };
            have += read as u64;
            if have <= size {
                file.write_all(&buffer[..read]).map_err(io)?;
                progressed.reached(have);
            }
        }
        match have {
            have if have > size => {
                file.set_len(0).map_err(io)?;
                Err(Failure::lasting(wrong_size(url, html, size, "more")))
            }
            have if have < size => Err(Failure::passing(Error::new(
                Id::CutShort,
                format!("`{url}` ended after {have} of {size} bytes"),
            ))),
            _ => Ok(()),
        }
    }

    fn send(&self, url: &str, from: u64) -> Attempt<Response<Body>> {
        let agent = match url.split_once("://") {
            Some(("http", _)) => &self.plain,
            Some(("https", _)) => &self.secure,
            _ => {
                let message = format!("`{url}` is not an http or https address");
                return Err(Failure::lasting(Error::new(Id::BadUrl, message)));
            }
        };
        let mut request = agent.get(url);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        request.call().map_err(|error| Failure::transport(url, error))
    }

    fn retrying<T>(&self, mut attempt: impl FnMut() -> Attempt<T>) -> Result<T> {
        let mut failed = 0;
        loop {
            let failure = match attempt() {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            failed = if failure.progress >= WORTH_IT { 1 } else { failed + 1 };
            if !failure.passing || failed >= ATTEMPTS {
                return Err(failure.error);
            }
            (self.pause)(FIRST_PAUSE * 2_u32.pow(failed - 1));
        }
    }
}

/// Whether these first bytes of a file are those of a web page: what captive portals and error
/// pages send with a cheerful status.
pub fn is_web_page(start: &[u8]) -> bool {
    let start = start.trim_ascii_start();
    let begins = |tag: &str| {
        start.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag.as_bytes()))
    };
    begins("<!doctype html") || begins("<html")
}

/// A task's bytes, each counted once although a download may begin anew.
struct Progressed<'a> {
    task: &'a Task,
    counted: &'a mut u64,
}

impl Progressed<'_> {
    fn reached(&mut self, position: u64) {
        self.task.advance(position.saturating_sub(*self.counted));
        *self.counted = position.max(*self.counted);
    }
}

fn agent(roots: RootCerts, proxy: Option<Proxy>) -> Agent {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(roots)
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy)
        .http_status_as_error(false)
        .max_redirects(REDIRECTS)
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .user_agent(concat!("orlop/", env!("CARGO_PKG_VERSION")))
        // A file's digest is that of its bytes: nothing on the way may compress them.
        .accept_encoding("identity")
        .build()
        .new_agent()
}

fn proxy(address: &str, none_for: &[String]) -> Result<Proxy> {
    let bad = || format!("`{address}` is not the address of a proxy");
    let parsed = Proxy::new(address).or_fail(Id::ProxyFailed, bad)?;
    let mut builder = Proxy::builder(parsed.protocol()).host(parsed.host()).port(parsed.port());
    if let Some(username) = parsed.username() {
        builder = builder.username(username);
    }
    if let Some(password) = parsed.password() {
        builder = builder.password(password);
    }
    for host in none_for.iter().filter(|host| !host.is_empty()) {
        builder = builder.no_proxy(host);
        // As for curl and Go, a host's name stands for all below it too.
        if !host.starts_with(['.', '*']) {
            builder = builder.no_proxy(&format!(".{host}"));
        }
    }
    builder.build().or_fail(Id::ProxyFailed, bad)
}

/// Whether the answer is the rest, from byte `have` on, of a file of `size` bytes.
fn continues(response: &Response<Body>, have: u64, size: u64) -> bool {
    let header = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let range = header.and_then(|header| header.strip_prefix("bytes "));
    let parts = range.and_then(|range| {
        let (span, total) = range.split_once('/')?;
        let (first, _) = span.split_once('-')?;
        Some((first.trim().parse::<u64>().ok()?, total.trim()))
    });
    parts.is_some_and(|(first, total)| first == have && (total == "*" || total.parse() == Ok(size)))
}

fn content_type(response: &Response<Body>) -> String {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_ascii_lowercase()
}

/// What to do about a server that has another file than the one that was asked for.
pub const OTHER_FILE: &str =
    "another mirror may have the right file (`--mirror URL`); for a `url`, check its `sha256`";

fn wrong_size(url: &str, html: bool, size: u64, offered: &str) -> Error {
    if html {
        return web_page(url);
    }
    Error::new(Id::WrongDigest, format!("`{url}` offers {offered} bytes instead of {size}"))
        .hint(OTHER_FILE)
}

/// The error for an answer which [`is_web_page`].
pub fn web_page(url: &str) -> Error {
    Error::new(Id::WebPage, format!("the server answered with a web page instead of `{url}`"))
        .hint("is there a login page or a filter between this host and the server?")
}

#[cfg(test)]
mod tests;
