//! The few calls of the Kubernetes API that a node needs of its own Node object, over HTTP/1.1 with
//! kubelet's certificate. Each has a limit of time and of bytes, whatever answers.

use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use formats::fleet::{COMPONENT, Status};
use formats::moment::Moment;
use serde_json::Value;
use ureq::http::Response;
use ureq::http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use ureq::{Agent, RequestBuilder};
use web::{Identity, Limits, Reason, Secrecy};

use super::credentials::{Credentials, Unjoined};
use super::objects::{self, LARGEST, Line, NodeCondition, Seen};
use super::occasion::Occasion;
use crate::client::retry::retry_after;
use crate::files::{below, read};
use crate::health::probe::Cluster;

/// Only what every object has: no status, no spec. An API server refuses the one where the other is due.
const METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const METADATA_OF_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

/// The kernel's id of this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const LONGEST_ID: u64 = 256;
/// Bytes of a refusal that are read.
const LARGEST_REFUSAL: u64 = 64 << 10;

/// A watch in which nothing was said for so long is taken for dead: a server says once a minute that
/// nothing has happened.
const SILENCE: Duration = Duration::from_secs(150);
/// What an answer may take beyond what the server was told to take.
const MARGIN: Duration = Duration::from_secs(30);

/// Why the API server has not done what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Nobody can speak for the node.
    #[error(transparent)]
    Unjoined(#[from] Unjoined),
    /// kubelet's certificate is of no use.
    #[error("kubelet's certificate cannot be used: {0}")]
    Identity(#[from] web::NoIdentity),
    /// No answer.
    #[error("the API server {server}: {reason}")]
    Web {
        /// Its address.
        server: String,
        /// Why not.
        reason: Reason,
    },
    /// It refuses.
    #[error("the API server {server} answers `{text}`{}", because(.message.as_deref()))]
    Refused {
        /// Its address.
        server: String,
        /// The status.
        status: u16,
        /// The status in words.
        text: String,
        /// Why, if it says so.
        message: Option<String>,
        /// When to come again, if it says so.
        again: Option<Duration>,
    },
    /// What answers is no API server, or a broken one.
    #[error("the API server {server} {what}")]
    Odd {
        /// Its address.
        server: String,
        /// What it does.
        what: String,
    },
}

fn because(message: Option<&str>) -> String {
    message.map(|message| format!(": {message}")).unwrap_or_default()
}

impl Trouble {
    /// Whether what was asked for is too long ago: it begins anew with a list.
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Refused { status: 410, .. })
    }

    /// When the server wants to be asked again, if it says so.
    pub fn again(&self) -> Option<Duration> {
        match self {
            Self::Refused { again, .. } => *again,
            _ => None,
        }
    }
}

/// The API server of the node's cluster.
#[derive(Debug)]
pub struct Api {
    root: PathBuf,
    connected: Mutex<Option<Connection>>,
}

/// Who asks with these credentials.
#[derive(Debug, Clone)]
struct Connection {
    credentials: Credentials,
    agent: Agent,
    trusts_none: bool,
}

/// What is asked.
struct Request<'r> {
    method: Method<'r>,
    /// Path and query.
    path: &'r str,
    accept: &'r str,
    limits: Limits,
}

enum Method<'r> {
    Get,
    /// With a type and a body.
    Patch(&'r str, &'r Value),
    Post(&'r str, &'r Value),
}

impl Api {
    /// Of the node whose file system begins at `root`. Nothing is asked yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), connected: Mutex::new(None) }
    }

    /// The name of the own Node object.
    ///
    /// # Errors
    /// The node has not joined a cluster.
    pub fn node(&self) -> Result<String, Trouble> {
        Ok(Credentials::find(&self.root)?.node)
    }

    /// The own Node object, if there is one, and the version from which on to watch it.
    pub(super) fn look(&self, limit: Duration) -> Result<(String, Option<Seen>), Trouble> {
        let connection = self.connect()?;
        let path = format!("/api/v1/nodes?{}", connection.own());
        let (method, limits) = (Method::Get, within(limit));
        let body =
            connection.read(&Request { method, path: &path, accept: METADATA_OF_LIST, limits })?;
        let node = &connection.credentials.node;
        objects::list(&body, node).map_err(|error| connection.no_api(&error))
    }

    /// Watches the own Node object from that version on for so long.
    pub(super) fn watch(&self, version: &str, length: Duration) -> Result<Watch, Trouble> {
        let connection = self.connect()?;
        let digits = |c: &char| c.is_ascii_alphanumeric();
        let version: String = version.chars().filter(digits).take(64).collect();
        let path = format!(
            "/api/v1/nodes?{}&watch=true&allowWatchBookmarks=true&resourceVersion={version}\
             &timeoutSeconds={}",
            connection.own(),
            length.as_secs(),
        );
        let limits = Limits {
            total: Some(length + MARGIN),
            silence: Some(SILENCE.min(length + MARGIN)),
            ..Limits::default()
        };
        let method = Method::Get;
        let response =
            connection.ask(&Request { method, path: &path, accept: METADATA, limits })?;
        let lines = BufReader::new(response.into_body().into_reader());
        Ok(Watch { connection, limits, lines: Box::new(lines) })
    }

    /// Writes the node's answer on its object, and nothing else.
    pub(super) fn annotate(&self, status: &Status, limit: Duration) -> Result<(), Trouble> {
        self.change(&objects::patch(status), limit)
    }

    /// Changes the own Node object by a merge patch.
    pub(super) fn change(&self, patch: &Value, limit: Duration) -> Result<(), Trouble> {
        let connection = self.connect()?;
        let node = &connection.credentials.node;
        let path = format!("/api/v1/nodes/{node}?fieldManager={COMPONENT}");
        let (method, limits) = (Method::Patch(MERGE_PATCH, patch), within(limit));
        connection.read(&Request { method, path: &path, accept: METADATA, limits }).map(drop)
    }

    /// Makes an Event about the own Node object. `now` is in seconds since 1970.
    pub(super) fn tell(
        &self,
        uid: &str,
        occasion: &Occasion,
        now: i64,
        limit: Duration,
    ) -> Result<(), Trouble> {
        let connection = self.connect()?;
        let time = Moment::at(now).rfc3339();
        let event = objects::event(&connection.credentials.node, uid, occasion, &time);
        let (method, limits) = (Method::Post(JSON, &event), within(limit));
        let path = "/api/v1/namespaces/default/events";
        connection.read(&Request { method, path, accept: METADATA, limits }).map(drop)
    }

    /// With the credentials as they are now: kubelet renews them.
    fn connect(&self) -> Result<Connection, Trouble> {
        let credentials = Credentials::find(&self.root)?;
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = connected.as_ref().filter(|it| it.credentials == credentials) {
            return Ok(connection.clone());
        }
        let connection = Connection::new(credentials)?;
        *connected = Some(connection.clone());
        Ok(connection)
    }
}

impl Cluster for Api {
    fn condition(&self, kind: &str, limit: Duration) -> Result<String, String> {
        let condition = || -> Result<_, Trouble> {
            let connection = self.connect()?;
            let path = format!("/api/v1/nodes/{}", connection.credentials.node);
            let (method, limits) = (Method::Get, within(limit));
            let body = connection.read(&Request { method, path: &path, accept: JSON, limits })?;
            objects::condition(&body, kind).map_err(|error| connection.no_api(&error))
        };
        let condition = condition().map_err(|trouble| trouble.to_string())?;
        of_this_boot(&self.root, condition, kind)
    }
}

/// The status of a condition, if kubelet has told of it in this boot. What it told in the boot before stands
/// in the object for a while longer, and says nothing of the release that runs now.
fn of_this_boot(root: &Path, condition: NodeCondition, kind: &str) -> Result<String, String> {
    let own = read(&below(root, BOOT_ID), LONGEST_ID);
    let own = own.map_err(|error| format!("cannot read `{BOOT_ID}`: {error}"))?;
    let own = own.unwrap_or_default();
    if condition.boot.is_empty() || condition.boot != own.trim() {
        return Err("kubelet has told the API server nothing in this boot".to_owned());
    }
    condition.status.ok_or_else(|| format!("the Node object has no condition {kind}"))
}

fn within(limit: Duration) -> Limits {
    let limits = Limits::default();
    Limits {
        total: Some(limit),
        resolve: limits.resolve.min(limit),
        connect: limits.connect.min(limit),
        silence: None,
    }
}

impl Connection {
    fn new(credentials: Credentials) -> Result<Self, Trouble> {
        let Credentials { server, authorities, pair, proxies, .. } = &credentials;
        let authorities = web::authorities(authorities.as_bytes());
        let trusts_none = authorities.is_empty();
        let identity = Identity::of(pair.as_bytes())?;
        let proxy = web::proxy::proxy_for(proxies, server);
        let name = concat!("orlop-updater/", env!("CARGO_PKG_VERSION"));
        let (secrecy, limits) = (Secrecy::of(server), Limits::default());
        let agent =
            web::agent_as(name, authorities, Some(&identity), secrecy, proxy.as_ref(), limits);
        let agent = agent.map_err(|error| Trouble::Web {
            server: server.clone(),
            reason: Reason::of(error, limits, trusts_none),
        })?;
        Ok(Self { credentials, agent, trusts_none })
    }

    /// The selector by which the Node authorizer lets a node list and watch Nodes.
    fn own(&self) -> String {
        format!("fieldSelector=metadata.name%3D{}", self.credentials.node)
    }

    fn web(&self, error: ureq::Error, limits: Limits) -> Trouble {
        let reason = Reason::of(error, limits, self.trusts_none);
        Trouble::Web { server: self.credentials.server.clone(), reason }
    }

    fn odd(&self, what: impl Into<String>) -> Trouble {
        Trouble::Odd { server: self.credentials.server.clone(), what: what.into() }
    }

    fn no_api(&self, error: &serde_json::Error) -> Trouble {
        self.odd(format!("answers with what is no object of Kubernetes: {error}"))
    }

    /// The answer, if it can be one.
    fn ask(&self, request: &Request<'_>) -> Result<Response<ureq::Body>, Trouble> {
        let Request { method, path, accept, limits } = request;
        let address = format!("{}{path}", self.credentials.server);
        let answered = match method {
            Method::Get => {
                let request = self.agent.get(address).header(ACCEPT, *accept);
                timed(request, *limits).call()
            }
            Method::Patch(kind, body) | Method::Post(kind, body) => {
                let request = match method {
                    Method::Patch(..) => self.agent.patch(address),
                    _ => self.agent.post(address),
                };
                let request = request.header(ACCEPT, *accept).header(CONTENT_TYPE, *kind);
                timed(request, *limits).send(body.to_string())
            }
        };
        let response = answered.map_err(|error| self.web(error, *limits))?;
        let header = |name| {
            let value = response.headers().get(name).map(|value| value.as_bytes());
            String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
        };
        let (kind, again) = (header(CONTENT_TYPE), retry_after(&header(RETRY_AFTER)));
        let status = response.status();
        if !status.is_success() {
            let mut body = Vec::new();
            // What the refusal says is worth having, and nothing depends on it.
            let said = response.into_body().into_reader().take(LARGEST_REFUSAL);
            let message =
                { said }.read_to_end(&mut body).ok().and_then(|_| objects::refusal(&body));
            let server = self.credentials.server.clone();
            let (status, text) = (status.as_u16(), status.to_string());
            return Err(Trouble::Refused { server, status, text, message, again });
        }
        if web::is_web_page(&kind) {
            return Err(
                self.odd("answers with a web page: is there a login page or a proxy between?")
            );
        }
        if !kind.starts_with(JSON) {
            let kind: String = kind.chars().filter(|c| !c.is_control()).take(40).collect();
            return Err(self.odd(format!("answers with `{kind}` and not with JSON")));
        }
        Ok(response)
    }

    /// The whole answer.
    fn read(&self, request: &Request<'_>) -> Result<Vec<u8>, Trouble> {
        let mut body = self.ask(request)?.into_body().into_reader().take(LARGEST + 1);
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes).map_err(|error| self.web(error.into(), request.limits))?;
        self.bounded(bytes.len())?;
        Ok(bytes)
    }

    fn bounded(&self, length: usize) -> Result<(), Trouble> {
        match length as u64 > LARGEST {
            true => Err(self.odd(format!("answers with more than {LARGEST} bytes"))),
            false => Ok(()),
        }
    }
}

/// With limits of its own.
fn timed<B>(request: RequestBuilder<B>, limits: Limits) -> RequestBuilder<B> {
    let Limits { total, resolve, connect, silence } = limits;
    request
        .config()
        .timeout_global(total)
        .timeout_resolve(Some(resolve))
        .timeout_connect(Some(connect))
        .timeout_recv_response(silence.map(|silence| silence.min(MARGIN)))
        .timeout_per_read(silence)
        .build()
}

/// What happens to the own Node object, as it happens.
pub(super) struct Watch {
    connection: Connection,
    limits: Limits,
    lines: Box<dyn io::BufRead + Send>,
}

impl Watch {
    /// What is said next; nothing when the server ends it.
    pub(super) fn next(&mut self) -> Result<Option<Line>, Trouble> {
        let mut bytes = Vec::new();
        let line = self.lines.by_ref().take(LARGEST + 1).read_until(b'\n', &mut bytes);
        line.map_err(|error| self.connection.web(error.into(), self.limits))?;
        self.connection.bounded(bytes.len())?;
        if bytes.trim_ascii().is_empty() {
            return Ok(None);
        }
        let line = objects::line(&bytes, &self.connection.credentials.node);
        match line.map_err(|error| self.connection.no_api(&error))? {
            Line::Failed(status, message) => {
                let server = self.connection.credentials.server.clone();
                let (text, message) = (status.to_string(), Some(message));
                Err(Trouble::Refused { server, status, text, message, again: None })
            }
            line => Ok(Some(line)),
        }
    }
}

#[cfg(test)]
mod tests;
