//! One request of any method, and the answer to it, for protocols that are more than files.

use std::io::{self, Read};

use ureq::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, PROXY_AUTHORIZATION,
};
use ureq::http::{Method, Request, Response};
use ureq::{Body, SendBody};

use super::{Attempt, Client, Failure, Route, by_way_of};
use crate::credentials::{Address, Login};
use crate::error::{Error, Id, Result};

/// A larger content is sent only after the server has said that it wants it, or has said nothing for a
/// second: so its refusal is heard, which would be lost behind a connection that it closes.
const WAIT_FOR_WORD: u64 = 64 * 1024;

/// What is sent.
pub(crate) enum Content<'a> {
    Nothing,
    /// So many bytes.
    Bytes(&'a [u8]),
    /// So many bytes of a reader.
    Stream(&'a mut dyn Read, u64),
}

/// A request, without what the server is told of who asks.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) address: Address,
    pub(crate) headers: Vec<(HeaderName, String)>,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Who<'a> {
    /// As the server has been told before ([`Client::authorize`]).
    Known,
    /// This one; nobody, if there is none.
    Login(Option<&'a Login>),
}

impl Client {
    /// Asks once, follows nobody, and gives whatever answer there is.
    pub(crate) fn exchange(
        &self,
        ask: &Ask,
        who: Who<'_>,
        content: Content<'_>,
    ) -> Attempt<Response<Body>> {
        let url = &ask.address.to_string();
        let route = self.access.proxies.route(&ask.address).map_err(Failure::lasting)?;
        let route = match route {
            // What asks a proxy for addresses knows this method alone.
            Route::Ask(proxy) if ask.method != Method::GET => Route::Tunnel(proxy),
            route => route,
        };
        let agent = self.agent(&route).map_err(Failure::lasting)?;
        let authorization = match who {
            Who::Known => self.authorization(&ask.address),
            Who::Login(login) => login.map(Login::basic),
        };
        let proxys = route.authorization(&self.access.logins).map_err(Failure::lasting)?;
        let mut headers = ask.headers.clone();
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        headers.extend(proxys.map(|value| (PROXY_AUTHORIZATION, value)));
        let size = match &content {
            Content::Nothing => 0,
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Stream(_, size) => *size,
        };
        let mut bytes: &[u8];
        let reader: Option<&mut dyn Read> = match content {
            Content::Nothing => None,
            Content::Bytes(all) => {
                bytes = all;
                Some(&mut bytes)
            }
            Content::Stream(reader, _) => Some(reader),
        };
        if reader.is_some() || ask.method == Method::POST {
            headers.push((CONTENT_LENGTH, size.to_string()));
        }
        if size > WAIT_FOR_WORD {
            headers.push((EXPECT, "100-continue".to_owned()));
        }
        let mut whole = reader.map(|inner| Whole { inner, left: size, failed: None });
        let request = request(ask, headers).map_err(Failure::lasting)?;
        let response = match &mut whole {
            Some(whole) => agent.run(request.map(|()| SendBody::from_reader(whole))),
            None => agent.run(request),
        };
        if let Some(error) = whole.and_then(|whole| whole.failed) {
            let message = format!("cannot read what `{url}` is sent");
            return Err(Failure::lasting(Error::new(Id::Read, message).caused_by(error)));
        }
        by_way_of(&route, url, response)
    }
}

fn request(ask: &Ask, headers: Vec<(HeaderName, String)>) -> Result<Request<()>> {
    let mut request = Request::builder().method(ask.method.clone()).uri(ask.address.as_str());
    for (name, value) in headers {
        // What cannot be said in a header comes from a server or a file, and may be a secret.
        let value = HeaderValue::from_str(&value).map_err(|_| {
            let message =
                format!("what `{}` is to be told does not fit into a header", ask.address);
            Error::new(Id::BadUrl, message)
        })?;
        request = request.header(name, value);
    }
    request.body(()).map_err(|error| {
        let message = format!("`{}` is not an http or https address", ask.address);
        Error::new(Id::BadUrl, message).caused_by(error)
    })
}

/// Exactly so many bytes of a reader: one that ends before that is no content.
struct Whole<'a> {
    inner: &'a mut dyn Read,
    left: u64,
    /// Why there was nothing more to send.
    failed: Option<String>,
}

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = match self.inner.read(&mut buffer[..most]) {
            Ok(0) if most > 0 => Err(io::Error::other("it is shorter than it was")),
            read => read,
        };
        self.failed = read.as_ref().err().map(ToString::to_string);
        self.left -= *read.as_ref().unwrap_or(&0) as u64;
        read
    }
}
