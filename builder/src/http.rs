//! Getting files over HTTP and HTTPS, for `lock`, `fetch` and what speaks of releases only.
//!
//! Nothing that comes from here is believed: a digest or a signature decides afterwards. So the
//! client's duty is to be patient (retries, resumed downloads, bounded sizes) and to say exactly
//! what went wrong. Ranges follow RFC 9110, section 14.

mod answer;
pub(crate) mod exchange;
mod failure;
mod forward;
mod local;
#[cfg(test)]
pub(crate) mod loopback;
mod pace;
mod route;
mod wrong;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ureq::config::ConfigBuilder;
use ureq::http::header::{AUTHORIZATION, LOCATION, PROXY_AUTHORIZATION, RANGE};
use ureq::http::{Response, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::typestate::AgentScope;
use ureq::{Agent, Body};

use crate::credentials::{Address, Login, Logins, Scheme};
use crate::error::{Context as _, Error, Id, Result};
use crate::progress::Task;
use crate::source::deb::mirror::local_path;
use answer::continues;
pub(crate) use failure::{Attempt, Failure};
use pace::Pace;
pub use route::Proxies;
use route::Route;
pub use wrong::{OTHER_FILE, is_web_page, packed_unasked, web_page};
use wrong::{too_large, wrong_size};

/// How often a request is tried in all, if each time nothing or little comes.
const ATTEMPTS: u32 = 5;
/// The pause before the second attempt; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// An attempt that brought so many bytes does not count: a long download over a bad line may be
/// cut often and still arrive.
const WORTH_IT: u64 = 1024 * 1024;
const CONNECT: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(60);
/// What a busy server may ask us to wait before the next attempt.
const PATIENCE: Duration = Duration::from_secs(60);
const REDIRECTS: u32 = 10;
/// A file of a length that nobody says has no more bytes.
const MAX_UNKNOWN: u64 = 16 << 30;
/// It takes so many bytes to know a web page.
const PAGE_START: u64 = 4096;

/// How servers are reached, and what they are told of us. It shapes no byte of what comes.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Through which proxies.
    pub proxies: Proxies,
    /// With which names and passwords.
    pub logins: Logins,
    /// Whether addresses may be of files on this host.
    pub disk: Disk,
}

/// What becomes of `file:` addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Disk {
    /// They are no addresses.
    #[default]
    Refused,
    /// The files are read: mirrors may be on a disk.
    Allowed,
}

impl From<&Proxies> for Access {
    fn from(proxies: &Proxies) -> Self {
        Self { proxies: proxies.clone(), ..Self::default() }
    }
}

/// An HTTP client. One serves all threads.
pub struct Client {
    access: Access,
    // Made when first needed.
    agents: Mutex<BTreeMap<Route, Agent>>,
    // What a server was found to want to be told, and which one.
    authorization: Mutex<Option<(Address, String)>>,
    pace: Pace,
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
    pub fn new(access: impl Into<Access>) -> Result<Self> {
        Self::with_pause(access, std::thread::sleep)
    }

    /// As [`Client::new`]; `pause` waits between two attempts.
    pub(crate) fn with_pause(
        access: impl Into<Access>,
        pause: impl Fn(Duration) + Send + Sync + 'static,
    ) -> Result<Self> {
        let access = access.into();
        access.proxies.check()?;
        Ok(Self {
            access,
            agents: Mutex::default(),
            authorization: Mutex::default(),
            pace: Pace::USUAL,
            pause: Box::new(pause),
        })
    }

    /// From now on tells this server, and no other, this value of `Authorization` in place of a name and
    /// a password.
    pub(crate) fn authorize(&self, server: &Address, value: String) {
        *lock(&self.authorization) = Some((server.clone(), value));
    }

    /// The name and the password that the user has for a server.
    pub(crate) fn login(&self, address: &Address) -> Option<Login> {
        self.access.logins.find(address)
    }

    /// What the server of `address` is told beside a name and a password.
    fn authorization(&self, address: &Address) -> Option<String> {
        let authorization = lock(&self.authorization);
        let (server, value) = authorization.as_ref()?;
        address.same_server(server).then(|| value.clone())
    }

    /// Gets a file of at most `limit` bytes into memory.
    ///
    /// # Errors
    /// [`Id::NotFound`] if the server has no such file, [`Id::TooLarge`], and what else can
    /// happen between two machines: see `docs/components.md`.
    pub fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>> {
        if let Some(path) = self.on_disk(url) {
            return local::get(&path, limit);
        }
        let address = &Address::parse(url)?;
        let url = &address.to_string();
        self.retrying(|| {
            let response = self.send(address, 0)?;
            if response.status() != StatusCode::OK {
                return Err(Failure::answer(url, &response));
            }
            let body = response.into_body();
            if body.content_length().is_some_and(|length| length > limit) {
                return Err(Failure::lasting(too_large(url, limit)));
            }
            let mut bytes = Vec::new();
            let mut reader = self.pace.keep(body.into_reader()).take(limit + 1);
            let read = reader.read_to_end(&mut bytes);
            read.map_err(|error| Failure::transport(url, error.into()))?;
            if bytes.len() as u64 > limit {
                return Err(Failure::lasting(too_large(url, limit)));
            }
            Ok(bytes)
        })
    }

    /// Downloads a file to `into`, going on where an earlier download into that file ended. What
    /// has come stays there when the line breaks.
    ///
    /// The size is checked if it is known, the content is not: that is the caller's duty. Without
    /// a size the file is as long as the server says, or what it sends if it does not say. Gives
    /// how the server has packed it, should it have done so unasked.
    ///
    /// # Errors
    /// As [`Client::get`]; [`Id::WrongDigest`] if the server's file has another size,
    /// [`Id::WebPage`] if it answers with a page for people, [`Id::StoreWrite`].
    pub fn download(
        &self,
        url: &str,
        into: &Path,
        size: Option<u64>,
        task: &Task,
    ) -> Result<Option<String>> {
        if let Some(path) = self.on_disk(url) {
            return local::copy_to(&path, into, size, task).map(|()| None);
        }
        let address = &Address::parse(url)?;
        let cannot_write = || format!("cannot write `{}`", into.display());
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(into)
            .or_fail(Id::StoreWrite, cannot_write)?;
        let mut counted = 0;
        let length = |file: &File| file.metadata().map(|meta| meta.len());
        // What was had before and comes again is no progress.
        let mut furthest = length(&file).or_fail(Id::StoreWrite, cannot_write)?;
        self.retrying(|| {
            let mut done = Progressed { task, counted: &mut counted };
            self.download_once(address, &mut file, size, &mut done).map_err(|failure| {
                let before = furthest;
                furthest = before.max(length(&file).unwrap_or(before));
                failure.after(furthest - before)
            })
        })
    }

    fn download_once(
        &self,
        address: &Address,
        file: &mut File,
        wanted: Option<u64>,
        progressed: &mut Progressed<'_>,
    ) -> Attempt<Option<String>> {
        let io = |error: std::io::Error| {
            let error = Error::new(Id::StoreWrite, "cannot write a download").caused_by(error);
            Failure::lasting(error)
        };
        let mut have = file.metadata().map_err(io)?.len();
        if wanted.is_some_and(|size| have > size) {
            file.set_len(0).map_err(io)?;
            have = 0;
        }
        if wanted == Some(have) {
            return Ok(None);
        }
        let url = &address.to_string();
        let response = self.send(address, have)?;
        match response.status() {
            StatusCode::OK => {
                file.set_len(0).map_err(io)?;
                have = 0;
            }
            StatusCode::PARTIAL_CONTENT if have > 0 && continues(&response, have, wanted) => {}
            // The server's file is not the one that the download began with.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if have > 0 => {
                file.set_len(0).map_err(io)?;
                return self.download_once(address, file, wanted, progressed);
            }
            _ => return Err(Failure::answer(url, &response)),
        }
        progressed.reached(have);
        let packed = answer::packed(response.headers());
        let body = response.into_body();
        let offered = body.content_length().map(|length| have + length);
        let mut reader = self.pace.keep(body.into_reader());
        if let (Some(size), Some(offered)) = (wanted, offered)
            && size != offered
        {
            let mut start = Vec::new();
            // What is there of it shows what it is; an error shows nothing.
            let _ = reader.take(PAGE_START).read_to_end(&mut start);
            let wrong = wrong_size(url, &start, size, &offered.to_string());
            return Err(Failure::lasting(packed_unasked(wrong, packed.as_deref())));
        }
        let end = wanted.or(offered);
        let most = end.unwrap_or(MAX_UNKNOWN);
        file.seek(SeekFrom::Start(have)).map_err(io)?;
        let mut buffer = vec![0; 128 * 1024];
        let mut start = None;
        while have <= most {
            let read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => return Err(Failure::transport(url, error.into())),
            };
            start.get_or_insert_with(|| buffer[..read].to_vec());
            have += read as u64;
            if have <= most {
                file.write_all(&buffer[..read]).map_err(io)?;
                progressed.reached(have);
            }
        }
        match end {
            Some(size) if have < size => Err(Failure::passing(Error::new(
                Id::CutShort,
                format!("`{url}` ended after {have} of {size} bytes"),
            ))),
            _ if have <= most => Ok(packed),
            _ => {
                file.set_len(0).map_err(io)?;
                Err(Failure::lasting(match end {
                    Some(size) => {
                        let wrong = wrong_size(url, &start.unwrap_or_default(), size, "more");
                        packed_unasked(wrong, packed.as_deref())
                    }
                    None => too_large(url, MAX_UNKNOWN),
                }))
            }
        }
    }

    /// Asks for a file from byte `from` on, wherever it has moved to. A name and a password go to
    /// the server that they are for and to no other that an answer points to.
    fn send(&self, asked: &Address, from: u64) -> Attempt<Response<Body>> {
        let url = &asked.to_string();
        let bad = |message: &str, cause: Error| {
            let message = format!("the server {message} when asked for `{url}`");
            Failure::lasting(Error::new(Id::HttpStatus, message).caused_by(cause))
        };
        let mut address = asked.clone();
        let mut encrypted = false;
        for _ in 0..=REDIRECTS {
            encrypted |= address.scheme() == Scheme::Https;
            // What began under encryption is not told without it, whoever wishes so.
            let secret = !encrypted || address.scheme() == Scheme::Https;
            let own = asked.login().filter(|_| address.same_server(asked)).cloned();
            let login = own.or_else(|| self.access.logins.find(&address)).filter(|_| secret);
            let value = self.authorization(&address).filter(|_| secret);
            let value = value.or_else(|| login.as_ref().map(Login::basic));
            let response = self.send_once(&address, value, from, url)?;
            if response.status() == StatusCode::UNAUTHORIZED {
                let hint = self.access.logins.hint(&address, login.as_ref());
                return Err(Failure::lasting(unauthorized(url, &hint)));
            }
            let place = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            match place {
                Some(place) if response.status().is_redirection() => {
                    address = address
                        .join(place)
                        .map_err(|error| bad("answered with a place that is none", error))?;
                }
                _ => return Ok(response),
            }
        }
        let many = Error::new(Id::HttpStatus, "too many redirects");
        Err(bad("gave no proper answer", many))
    }

    fn send_once(
        &self,
        address: &Address,
        authorization: Option<String>,
        from: u64,
        url: &str,
    ) -> Attempt<Response<Body>> {
        let route = self.access.proxies.route(address).map_err(Failure::lasting)?;
        let agent = self.agent(&route).map_err(Failure::lasting)?;
        let proxys = route.authorization(&self.access.logins).map_err(Failure::lasting)?;
        let mut request = agent.get(address.as_str());
        for (name, value) in [(AUTHORIZATION, authorization), (PROXY_AUTHORIZATION, proxys)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        by_way_of(&route, url, request.call())
    }

    fn on_disk(&self, url: &str) -> Option<PathBuf> {
        local_path(url).filter(|_| self.access.disk == Disk::Allowed)
    }

    fn agent(&self, route: &Route) -> Result<Agent> {
        let mut agents = lock(&self.agents);
        if let Some(agent) = agents.get(route) {
            return Ok(agent.clone());
        }
        let agent = route.agent(config(roots()), &self.access.logins)?;
        agents.insert(route.clone(), agent.clone());
        Ok(agent)
    }

    /// Tries again what may pass by itself, with pauses between.
    pub(crate) fn retrying<T>(&self, mut attempt: impl FnMut() -> Attempt<T>) -> Result<T> {
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
            let pause = FIRST_PAUSE * 2_u32.pow(failed - 1);
            let wanted = failure.wait.unwrap_or(pause);
            if wanted > PATIENCE {
                let hint = format!("it wants to be left alone for {} s", wanted.as_secs());
                return Err(failure.error.hint(hint));
            }
            (self.pause)(pause.max(wanted));
        }
    }
}

/// The answer that came this way, or what is to be said of it.
fn by_way_of(
    route: &Route,
    url: &str,
    response: std::result::Result<Response<Body>, ureq::Error>,
) -> Attempt<Response<Body>> {
    let Some(proxy) = route.proxy() else {
        return response.map_err(|error| Failure::transport(url, error));
    };
    match response {
        Ok(response) if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Err(Failure::proxy_login(url).by_way_of(&proxy))
        }
        response => response.map_err(|error| Failure::transport(url, error).by_way_of(&proxy)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The root certificates of this host, read once for all clients.
fn roots() -> RootCerts {
    static ROOTS: OnceLock<RootCerts> = OnceLock::new();
    let load = || {
        // A certificate that cannot be read is skipped, as every TLS client does: if it was the
        // one that mattered, the handshake says so.
        let certificates = rustls_native_certs::load_native_certs().certs;
        certificates.iter().map(|der| Certificate::from_der(der).to_owned()).into()
    };
    ROOTS.get_or_init(load).clone()
}

fn config(roots: RootCerts) -> ConfigBuilder<AgentScope> {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(roots)
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .http_status_as_error(false)
        // Each step may need another proxy and another password: we follow them ourselves.
        .max_redirects(0)
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .timeout_per_write(Some(SILENCE))
        .user_agent(concat!("orlop/", env!("CARGO_PKG_VERSION")))
        // A file's digest is that of its bytes: nothing on the way may compress them.
        .accept_encoding("identity")
}

/// The error of a server that wants a name and a password, or other ones.
fn unauthorized(url: &str, hint: &str) -> Error {
    Error::new(Id::Unauthorized, format!("the server of `{url}` wants a name and a password"))
        .hint(hint)
}

#[cfg(test)]
mod tests;
