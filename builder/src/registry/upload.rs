//! Bringing blobs and manifests into a registry. A blob goes in one piece: a session is opened, and the
//! whole content is put to where it says (specification, "Pushing a blob monolithically").

use std::io::Read;

use formats::digest::Sha256;
use formats::oci::{Called, Document, MANIFEST_TYPE};
use formats::tree::Blob;
use ureq::Body;
use ureq::http::{Method, Response, StatusCode};

use super::{DIGEST, Registry, header, of_type};
use crate::credentials::Address;
use crate::error::{Context as _, Id, Result};
use crate::http::exchange::{Ask, Content, Who};
use crate::http::{Attempt, Failure};

/// What gives the content of a blob from its first byte on, as often as it is asked.
pub(crate) type Open<'a> = dyn Fn() -> std::io::Result<Box<dyn Read + 'a>> + 'a;

impl Registry {
    /// Whether the registry has a blob.
    ///
    /// # Errors
    /// Those of asking.
    pub fn has(&self, blob: &Blob) -> Result<bool> {
        let address = self.blob_address(&blob.sha256)?;
        let ask = Ask { method: Method::HEAD, address, headers: Vec::new() };
        self.client.retrying(|| {
            let response = self.ask(&ask, &mut || Ok(Content::Nothing))?;
            match response.status() {
                StatusCode::OK => {
                    // One that was cut off there is none; what it has of it, it replaces.
                    let size = header(&response, "content-length").and_then(|it| it.parse().ok());
                    Ok(size.is_none_or(|size: u64| size == blob.size))
                }
                StatusCode::NOT_FOUND => Ok(false),
                _ => Err(self.refusal(response, "does not say which blobs it has")),
            }
        })
    }

    /// Sends a blob, which the registry then has under its digest.
    ///
    /// # Errors
    /// [`Id::Read`] if it cannot be read; those of asking, among them that the registry is full.
    pub fn send(&self, blob: &Blob, open: &Open<'_>) -> Result<()> {
        let address = self.address("blobs/uploads/")?;
        let begin = Ask { method: Method::POST, address, headers: Vec::new() };
        self.client.retrying(|| {
            let response = self.ask(&begin, &mut || Ok(Content::Nothing))?;
            if response.status() != StatusCode::ACCEPTED {
                return Err(self.refusal(response, "takes no blob"));
            }
            let place = self.place(&begin.address, &response).map_err(Failure::lasting)?;
            let sign = if place.as_str().contains('?') { '&' } else { '?' };
            let text = format!("{}{sign}digest=sha256:{}", place.as_str(), blob.sha256);
            let address = Address::parse(&text).map_err(Failure::lasting)?;
            let headers = vec![of_type("application/octet-stream")];
            let put = Ask { method: Method::PUT, address, headers };
            let response = self.put(&put, blob, open)?;
            self.taken(response, &blob.sha256, "does not take a blob")
        })
    }

    /// Puts the content, again if who asks had to be told.
    fn put(&self, put: &Ask, blob: &Blob, open: &Open<'_>) -> Attempt<Response<Body>> {
        let mut introduced = false;
        loop {
            let reader = open().or_fail(Id::Read, || "cannot read what is to be pushed");
            let mut reader = reader.map_err(Failure::lasting)?;
            let content = Content::Stream(reader.as_mut(), blob.size);
            let response = self.client.exchange(put, Who::Known, content)?;
            if response.status() != StatusCode::UNAUTHORIZED || introduced {
                return Ok(response);
            }
            self.introduce(&response)?;
            introduced = true;
        }
    }

    /// Gives a manifest its tag, or none if the location has a digest. All that it names is there already.
    ///
    /// # Errors
    /// Those of asking; [`Id::WrongDigest`] if the registry makes another one of it.
    pub fn put_manifest(&self, manifest: &Document) -> Result<()> {
        let called = match &self.location.called {
            Called::Tag(tag) => tag.clone(),
            Called::Digest(_) => format!("sha256:{}", manifest.blob.sha256),
        };
        let address = self.address(&format!("manifests/{called}"))?;
        let put = Ask { method: Method::PUT, address, headers: vec![of_type(MANIFEST_TYPE)] };
        self.client.retrying(|| {
            let response = self.ask(&put, &mut || Ok(Content::Bytes(&manifest.bytes)))?;
            self.taken(response, &manifest.blob.sha256, "does not take the manifest")
        })
    }

    /// That the registry has taken what has this digest.
    fn taken(&self, response: Response<Body>, digest: &Sha256, refused: &str) -> Attempt<()> {
        if ![StatusCode::CREATED, StatusCode::OK, StatusCode::NO_CONTENT]
            .contains(&response.status())
        {
            return Err(self.refusal(response, refused));
        }
        let said = header(&response, DIGEST).filter(|said| said.starts_with("sha256:"));
        if said.is_some_and(|said| said != format!("sha256:{digest}")) {
            return Err(Failure::lasting(self.wrong("has taken other bytes than were sent")));
        }
        Ok(())
    }
}
