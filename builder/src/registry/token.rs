//! Telling a registry who asks: by a name and a password, or by a token that another server gives for
//! them: <https://distribution.github.io/distribution/spec/auth/token/>, and with a token in their place
//! <https://distribution.github.io/distribution/spec/auth/oauth/>.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use ureq::Body;
use ureq::http::header::WWW_AUTHENTICATE;
use ureq::http::{Method, Response, StatusCode};

use super::challenge::Challenge;
use super::{Plain, Purpose, Registry, is_loopback, of_type, whole};
use crate::credentials::registries::Known;
use crate::credentials::{Address, Login, Scheme};
use crate::error::{Error, Id, Result};
use crate::http::exchange::{Ask, Content, Who};
use crate::http::{Attempt, Failure};

/// More than any token is, in bytes.
const LONGEST: u64 = 1 << 20;
/// What stands in a query as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a server of tokens says.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// The token in such an answer.
pub(crate) fn token(bytes: &[u8]) -> Option<String> {
    let Answer { token, access_token } = serde_json::from_slice(bytes).ok()?;
    let token = if token.is_empty() { access_token } else { token };
    let plain = |c: char| c.is_ascii_graphic();
    (!token.is_empty() && token.chars().all(plain)).then_some(token)
}

fn query(fields: &[(&str, &str)]) -> String {
    let field =
        |(name, value): &(&str, &str)| format!("{name}={}", utf8_percent_encode(value, PLAIN));
    fields.iter().map(field).collect::<Vec<_>>().join("&")
}

impl Registry {
    /// Makes that the registry is told from now on what it wants to be told.
    pub(super) fn introduce(&self, response: &Response<Body>) -> Attempt<()> {
        let headers = response.headers().get_all(WWW_AUTHENTICATE);
        let headers = headers.iter().filter_map(|value| value.to_str().ok());
        let known = self.known().map_err(Failure::lasting)?;
        let lasting = |error: Error| Failure::lasting(error);
        match Challenge::choose(headers) {
            None => Err(lasting(self.odd("does not say what it wants to be told (401)"))),
            Some(Challenge::Basic) => match known {
                Some(Known::Login(login)) => {
                    self.client.authorize(&self.server, login.basic());
                    Ok(())
                }
                _ => Err(lasting(self.nobody())),
            },
            Some(Challenge::Bearer { realm, service, scope }) => {
                let realm = self.realm(&realm).map_err(lasting)?;
                let token = self.token(&realm, service.as_deref(), scope.as_deref(), known)?;
                self.client.authorize(&self.server, format!("Bearer {token}"));
                Ok(())
            }
        }
    }

    /// That nothing is known that the registry could be told.
    fn nobody(&self) -> Error {
        let message = format!("the registry of `{}` wants a name and a password", self.location);
        Error::new(Id::Unauthorized, message).hint(self.logins.hint(self.location.host()))
    }

    /// The server of tokens: no password goes there without encryption, unless the registry itself is
    /// spoken to so.
    fn realm(&self, realm: &str) -> Result<Address> {
        let address = Address::parse(realm)
            .map_err(|error| self.odd("names a server of tokens that is none").caused_by(error))?;
        let near = is_loopback(address.host()) && self.server.scheme() == Scheme::Http;
        if address.scheme() == Scheme::Http && !near && self.plain != Plain::Always {
            let what = format!("wants its password told to `{address}`, which is not encrypted");
            return Err(self.odd(&what));
        }
        Ok(address)
    }

    /// What a token must be for.
    fn scope(&self) -> String {
        let deeds = match self.purpose {
            Purpose::Pull => "pull",
            Purpose::Push => "pull,push",
        };
        format!("repository:{}:{deeds}", self.location.path())
    }

    fn token(
        &self,
        realm: &Address,
        service: Option<&str>,
        wanted: Option<&str>,
        known: Option<Known>,
    ) -> Attempt<String> {
        let own = self.scope();
        let mut fields: Vec<_> = service.map(|service| ("service", service)).into_iter().collect();
        fields.push(("scope", &own));
        fields.extend(wanted.filter(|wanted| *wanted != own).map(|wanted| ("scope", wanted)));
        let (login, form): (Option<Login>, _) = match &known {
            Some(Known::Identity(identity)) => {
                let mut all = vec![("grant_type", "refresh_token"), ("client_id", "orlop")];
                all.push(("refresh_token", identity));
                all.extend(fields.iter().filter(|(name, _)| *name == "service"));
                // This form has one field for all that the token must be for.
                let scopes: Vec<_> =
                    fields.iter().filter(|(name, _)| *name == "scope").map(|(_, it)| *it).collect();
                let scopes = scopes.join(" ");
                all.push(("scope", &scopes));
                (None, Some(query(&all)))
            }
            Some(Known::Login(login)) => (Some(login.clone()), None),
            None => (None, None),
        };
        let ask = match &form {
            Some(_) => Ask {
                method: Method::POST,
                address: realm.clone(),
                headers: vec![of_type("application/x-www-form-urlencoded")],
            },
            None => {
                let text = realm.as_str().split('#').next().unwrap_or_default();
                let sign = if text.contains('?') { '&' } else { '?' };
                let address = Address::parse(&format!("{text}{sign}{}", query(&fields)));
                let address = address.map_err(Failure::lasting)?;
                Ask { method: Method::GET, address, headers: Vec::new() }
            }
        };
        let content =
            form.as_ref().map_or(Content::Nothing, |form| Content::Bytes(form.as_bytes()));
        // Nobody is followed from here: what is told here is for this server.
        let response = self.client.exchange(&ask, Who::Login(login.as_ref()), content)?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response, "does not let us in: its server of tokens refuses"));
        }
        let bytes = whole(response, LONGEST, realm)?;
        let none = || Failure::lasting(self.odd("has a server of tokens that gives none"));
        token(&bytes).ok_or_else(none)
    }
}
