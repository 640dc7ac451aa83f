//! An address of the web, with the name and the password that may stand in it kept apart.

use std::fmt;

use percent_encoding::percent_decode_str;

use super::{Login, Source};
use crate::error::{Error, Id, Result};

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// An `http` or `https` address. It is shown without the name and the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    // Invariant: `scheme://host[:port]` and the rest, without user information.
    plain: String,
    scheme: Scheme,
    // Without the brackets of an IPv6 address.
    host: String,
    port: Option<u16>,
    // Where the path begins in `plain`.
    path: usize,
    login: Option<Login>,
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// [`Id::BadUrl`], in a message that shows no password.
    pub fn parse(text: &str) -> Result<Self> {
        let read = |text: &str| {
            let (scheme, rest) = text.split_once("://")?;
            let scheme = match scheme.to_ascii_lowercase().as_str() {
                "http" => Scheme::Http,
                "https" => Scheme::Https,
                _ => return None,
            };
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            // As curl and apt: the last one parts, so a password may hold the character.
            let (user, place) = match authority.rsplit_once('@') {
                Some((user, place)) => (Some(user), place),
                None => (None, authority),
            };
            let (host, port) = split_port(place)?;
            let odd = |c: char| c.is_whitespace() || c.is_control() || "\"<>\\^`{|}".contains(c);
            if host.is_empty() || text.contains(odd) {
                return None;
            }
            let login = user.filter(|user| !user.is_empty()).map(login_of);
            let plain = format!("{scheme}://{place}{path}");
            let path = plain.len() - path.len();
            Some(Self { plain, scheme, host: host.to_owned(), port, path, login })
        };
        read(text).ok_or_else(|| {
            let message = format!("`{}` is not an http or https address", shown(text));
            Error::new(Id::BadUrl, message)
        })
    }

    /// The address without a name and a password: what may be written anywhere.
    pub fn as_str(&self) -> &str {
        &self.plain
    }

    /// How its server is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The server, a name or a number.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, if one is written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The port that is written, or that of the scheme.
    pub fn any_port(&self) -> u16 {
        self.port.unwrap_or(match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        })
    }

    /// What follows the server, a query included.
    pub fn path(&self) -> &str {
        &self.plain[self.path..]
    }

    /// What stood before the server.
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Whether the other is of the same scheme, host and port.
    pub fn same_server(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.host.eq_ignore_ascii_case(&other.host)
            && self.any_port() == other.any_port()
    }

    /// The address that `reference` means when it stands in an answer to this one
    /// (RFC 3986, 5.2, without dots in paths).
    ///
    /// # Errors
    /// [`Id::BadUrl`].
    pub fn join(&self, reference: &str) -> Result<Self> {
        let server = &self.plain[..self.path];
        let path = self.path().split(['?', '#']).next().unwrap_or_default();
        let absolute = reference.split(['/', '?', '#']).next().is_some_and(|start| {
            start.split_once(':').is_some_and(|(scheme, _)| {
                !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+')
            })
        });
        let text = if absolute {
            reference.to_owned()
        } else if reference.starts_with("//") {
            format!("{}:{reference}", self.scheme)
        } else if reference.starts_with('/') {
            format!("{server}{reference}")
        } else if reference.starts_with('?') {
            format!("{server}{path}{reference}")
        } else {
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            format!("{server}{directory}/{reference}")
        };
        Self::parse(&text)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plain)
    }
}

/// `host`, `host:port`, `[number]`, `[number]:port`.
fn split_port(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match place.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    match rest.strip_prefix(':') {
        Some("") => Some((host, None)),
        Some(port) => Some((host, Some(port.parse().ok()?))),
        None if rest.is_empty() => Some((host, None)),
        None => None,
    }
}

fn login_of(user: &str) -> Login {
    let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    Login::new(plain(user), plain(password), Source::Address)
}

/// What is no address, as it may be shown: without anything before its last `@`, for that may be
/// a password, however the text was meant.
pub fn shown(text: &str) -> String {
    let Some((before, after)) = text.rsplit_once('@') else { return text.to_owned() };
    let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
    let good = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+');
    if good { format!("{scheme}://...@{after}") } else { format!("...@{after}") }
}
