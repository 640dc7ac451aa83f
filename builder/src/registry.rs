//! Registries of container images as a place for files: the protocol of the OCI distribution
//! specification <https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md>, as far as it
//! takes to push and pull an artifact.
//!
//! What comes is believed by its digest alone. A name and a password go to the registry that they are
//! for, to the server of tokens that it names, and to no other that an answer points to.

mod challenge;
mod refusal;
mod token;
mod upload;

use std::io::Read as _;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use formats::digest::Sha256;
use formats::oci::{Called, INDEX_TYPE, LARGEST_MANIFEST, Location, MANIFEST_TYPE};
use formats::tree::Blob;
use ureq::Body;
use ureq::http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use ureq::http::{Method, Response, StatusCode};

use crate::credentials::registries::{Known, Registries};
use crate::credentials::{Address, Scheme};
use crate::error::{Error, Id, Result};
use crate::http::exchange::{Ask, Content, Who};
use crate::http::{Access, Attempt, Client, Failure};
use crate::progress::Task;

/// The header with the digest of what was given or taken.
const DIGEST: &str = "docker-content-digest";
/// So many times an answer may point elsewhere.
const REDIRECTS: u32 = 10;

/// Whether a registry is spoken to without encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// On this host only.
    Loopback,
    /// Wherever it is.
    Always,
}

/// What is to be done there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Read.
    Pull,
    /// Read and write.
    Push,
}

/// A repository of a registry.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    server: Address,
    location: Location,
    purpose: Purpose,
    plain: Plain,
    logins: Registries,
    // What is known of who asks, once somebody wanted to know.
    known: Mutex<Option<Option<Known>>>,
}

/// Whether a host is this one, whatever its port.
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Registry {
    /// The repository of `location`, reached as `access` says.
    ///
    /// # Errors
    /// Those of [`Client::new`].
    pub fn new(
        location: &Location,
        purpose: Purpose,
        plain: Plain,
        access: Access,
        logins: Registries,
    ) -> Result<Self> {
        let (server, access) = server(location, plain, access)?;
        Ok(Self::of(Client::new(access)?, server, location, purpose, plain, logins))
    }

    fn of(
        client: Client,
        server: Address,
        location: &Location,
        purpose: Purpose,
        plain: Plain,
        logins: Registries,
    ) -> Self {
        let location = location.clone();
        Self { client, server, location, purpose, plain, logins, known: Mutex::default() }
    }

    /// Which one it is, and what is called how there.
    pub fn location(&self) -> &Location {
        &self.location
    }

    fn address(&self, rest: &str) -> Result<Address> {
        self.server.join(&format!("/v2/{}/{rest}", self.location.path()))
    }

    fn blob_address(&self, digest: &Sha256) -> Result<Address> {
        self.address(&format!("blobs/sha256:{digest}"))
    }

    /// The manifest and its digest, of at most [`LARGEST_MANIFEST`] bytes.
    ///
    /// # Errors
    /// [`Id::NotFound`] if there is none; [`Id::WrongDigest`] if it is another one than was asked for;
    /// those of asking.
    pub fn manifest(&self) -> Result<(Vec<u8>, Sha256)> {
        self.manifest_called(&self.location.called)
    }

    /// The manifest, or the index, that is called so in this repository, likewise.
    ///
    /// # Errors
    /// As [`Registry::manifest`].
    pub fn manifest_called(&self, called: &Called) -> Result<(Vec<u8>, Sha256)> {
        let address = self.address(&format!("manifests/{called}"))?;
        let kinds = [
            MANIFEST_TYPE,
            INDEX_TYPE,
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.distribution.manifest.list.v2+json",
        ];
        let ask = Ask { method: Method::GET, address, headers: vec![(ACCEPT, kinds.join(", "))] };
        let bytes = self.client.retrying(|| {
            let response = self.ask(&ask, &mut || Ok(Content::Nothing))?;
            if response.status() != StatusCode::OK {
                return Err(self.refusal(response, "has no manifest for us"));
            }
            let said = header(&response, DIGEST);
            let bytes = whole(response, LARGEST_MANIFEST, &ask.address)?;
            let digest = format!("sha256:{}", Sha256::of(&bytes));
            if said.is_some_and(|said| said.starts_with("sha256:") && said != digest) {
                return Err(Failure::lasting(
                    self.wrong("says another digest than the manifest has"),
                ));
            }
            Ok(bytes)
        })?;
        let digest = Sha256::of(&bytes);
        match called {
            Called::Digest(wanted) if *wanted != digest => {
                Err(self.wrong("gives another manifest than the one with this digest"))
            }
            _ => Ok((bytes, digest)),
        }
    }

    /// A small blob, in memory.
    ///
    /// # Errors
    /// [`Id::WrongDigest`] if it is another one; [`Id::NotFound`]; those of asking.
    pub fn bytes(&self, blob: &Blob) -> Result<Vec<u8>> {
        let address = self.blob_address(&blob.sha256)?;
        let bytes = self.anew(|| self.client.get(address.as_str(), blob.size))?;
        if bytes.len() as u64 != blob.size || Sha256::of(&bytes) != blob.sha256 {
            return Err(self.wrong(&format!("gives other bytes for sha256:{}", blob.sha256)));
        }
        Ok(bytes)
    }

    /// Downloads a blob into a file, going on where an earlier download into it ended. The size is right
    /// then; its digest is for the caller to look at.
    ///
    /// # Errors
    /// [`Id::WrongDigest`] if it has another size; [`Id::NotFound`]; those of asking and writing.
    pub fn download(&self, blob: &Blob, into: &Path, task: &Task) -> Result<()> {
        let address = self.blob_address(&blob.sha256)?;
        let got = self.anew(|| self.client.download(address.as_str(), into, Some(blob.size), task));
        got.map(drop).map_err(|error| match error.id() {
            Id::WrongDigest => self.wrong(&format!("gives other bytes: {}", error.chain())),
            Id::StoreWrite => Error::new(Id::Write, error.chain()),
            _ => error,
        })
    }

    /// Does what may be refused because a token is over, and then once more with another one.
    fn anew<T>(&self, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        match work() {
            Err(error) if error.id() == Id::Unauthorized => {
                // Any question makes the registry say what it wants to be told.
                let address = self.address("tags/list?n=1")?;
                let ask = Ask { method: Method::GET, address, headers: Vec::new() };
                let asked = self.client.retrying(|| self.ask(&ask, &mut || Ok(Content::Nothing)));
                asked.and_then(|_| work())
            }
            result => result,
        }
    }

    /// Asks, tells who asks if the registry wants to know, and follows where it points to.
    fn ask<'c>(
        &self,
        ask: &Ask,
        content: &mut dyn FnMut() -> Attempt<Content<'c>>,
    ) -> Attempt<Response<Body>> {
        let response = self.follow(ask, content)?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        self.introduce(&response)?;
        let response = self.follow(ask, content)?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        Err(self.refusal(response, "does not let us in"))
    }

    fn follow<'c>(
        &self,
        ask: &Ask,
        content: &mut dyn FnMut() -> Attempt<Content<'c>>,
    ) -> Attempt<Response<Body>> {
        let mut ask = ask.clone();
        for _ in 0..=REDIRECTS {
            let response = self.client.exchange(&ask, Who::Known, content()?)?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            ask.address = self.place(&ask.address, &response).map_err(Failure::lasting)?;
        }
        Err(Failure::lasting(self.odd("points from one place to the next")))
    }

    /// Where an answer points to. What began under encryption does not go on without it.
    fn place(&self, from: &Address, response: &Response<Body>) -> Result<Address> {
        let place = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let place = place.ok_or_else(|| self.odd("does not say where to go on"))?;
        let place = from
            .join(place)
            .map_err(|error| self.odd("points to a place that is none").caused_by(error))?;
        if from.scheme() == Scheme::Https && place.scheme() == Scheme::Http {
            return Err(self.odd(&format!("points to `{place}`, which is not encrypted")));
        }
        Ok(place)
    }

    /// The registry breaks the protocol.
    fn odd(&self, what: &str) -> Error {
        Error::new(Id::Registry, format!("the registry of `{}` {what}", self.location))
    }

    /// What it gives is not what it should be.
    fn wrong(&self, what: &str) -> Error {
        Error::new(Id::WrongDigest, format!("the registry of `{}` {what}", self.location)).hint(
            "try again; if it happens again, something on the way or in the registry is damaged",
        )
    }

    fn known(&self) -> Result<Option<Known>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        let host = match self.location.host() {
            // Its files have it under the name of its first version.
            "docker.io" => "index.docker.io",
            host => host,
        };
        let found = self.logins.find(host, self.location.path())?;
        let found = found.or_else(|| self.client.login(&self.server).map(Known::Login));
        *known = Some(found.clone());
        Ok(found)
    }
}

/// Where the registry is, and how it is reached: this host without a proxy.
fn server(location: &Location, plain: Plain, mut access: Access) -> Result<(Address, Access)> {
    let host = match location.host() {
        "docker.io" => "registry-1.docker.io",
        host => host,
    };
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    let near = is_loopback(name);
    let scheme = if near || plain == Plain::Always { "http" } else { "https" };
    if near {
        access.proxies.none_for.push(name.to_owned());
    }
    Ok((Address::parse(&format!("{scheme}://{host}"))?, access))
}

fn header(response: &Response<Body>, name: &str) -> Option<String> {
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

/// The whole content of an answer, of at most `limit` bytes.
fn whole(response: Response<Body>, limit: u64, address: &Address) -> Attempt<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut reader = response.into_body().into_reader().take(limit + 1);
    let url = &address.to_string();
    reader.read_to_end(&mut bytes).map_err(|error| Failure::transport(url, error.into()))?;
    if bytes.len() as u64 > limit {
        let message = format!("`{url}` has more than {limit} bytes");
        return Err(Failure::lasting(Error::new(Id::TooLarge, message)));
    }
    Ok(bytes)
}

/// The content type of a request.
fn of_type(media_type: &str) -> (ureq::http::HeaderName, String) {
    (CONTENT_TYPE, media_type.to_owned())
}

/// All that is read of a registry's answers beside manifests, for fuzz targets.
pub(crate) fn judge(bytes: &[u8]) {
    let _ = challenge::Challenge::choose(str::from_utf8(bytes));
    for reason in refusal::reasons(bytes) {
        debug_assert!(!reason.contains(char::is_control));
    }
    let _ = token::token(bytes);
}

#[cfg(test)]
mod tests;
