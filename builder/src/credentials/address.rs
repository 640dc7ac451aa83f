//! An address of the web, with the name and the password that may stand in it kept apart. Nor are
//! the values of a query shown: in an address that was signed for its bearer they are the password.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize, Serializer};

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

/// An `http` or `https` address. It is shown without the name and the password, and without the
/// values of its query.
#[derive(Clone, PartialEq, Eq)]
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
        read(text).ok_or_else(|| {
            let message = format!("`{}` is not an http or https address", shown(text));
            Error::new(Id::BadUrl, message)
        })
    }

    /// The address without a name and a password, as it is asked for. Its query may be a secret:
    /// what people read is what `Display` gives.
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
        f.write_str(&without_values(&self.plain))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self}, {:?})", self.login)
    }
}

/// An address that somebody wrote and nobody has judged yet. Wherever it is shown or written it is
/// without what may be a secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Written(String);

impl Written {
    /// Reads it.
    ///
    /// # Errors
    /// As [`Address::parse`].
    pub fn address(&self) -> Result<Address> {
        Address::parse(&self.0)
    }

    /// As it was written, for those who ask the server.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Written {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Written({self})")
    }
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn read(text: &str) -> Option<Address> {
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
    Some(Address { plain, scheme, host: host.to_owned(), port, path, login })
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

/// An address as it may be shown, or what is none: that without anything before its last `@`, for
/// it may be a password, however the text was meant.
pub fn shown(text: &str) -> String {
    if let Some(address) = read(text) {
        return address.to_string();
    }
    let text = &without_values(text);
    let Some((before, after)) = text.rsplit_once('@') else { return text.clone() };
    let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
    let good = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+');
    if good { format!("{scheme}://...@{after}") } else { format!("...@{after}") }
}

/// The same address, each value of the query replaced by dots; a fragment, which no server sees,
/// is left out with it.
fn without_values(address: &str) -> String {
    let Some((place, query)) = address.split_once('?') else { return address.to_owned() };
    let query = query.split('#').next().unwrap_or_default();
    let hidden = query.split('&').map(|part| match part.split_once('=') {
        Some((name, _)) => format!("{name}=..."),
        None => "...".to_owned(),
    });
    format!("{place}?{}", hidden.collect::<Vec<_>>().join("&"))
}

/// A text of many lines in which each byte of what may be secret in an address is replaced by a
/// dot: everything else stays in its place.
pub fn masked(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, address) = rest.split_at(at + 3);
        masked.push_str(before);
        let end = address.find(|c: char| c.is_whitespace() || "\"'`".contains(c));
        let (address, after) = address.split_at(end.unwrap_or(address.len()));
        let login = address.rfind('@').unwrap_or(0);
        masked.extend(std::iter::repeat_n('.', login));
        let (place, query) = match address[login..].split_once('?') {
            Some((place, query)) => (place, Some(query)),
            None => (&address[login..], None),
        };
        masked.push_str(place);
        for c in query.iter().flat_map(|query| std::iter::once('?').chain(query.chars())) {
            match c {
                '?' | '&' | '=' => masked.push(c),
                _ => masked.extend(std::iter::repeat_n('.', c.len_utf8())),
            }
        }
        rest = after;
    }
    masked.push_str(rest);
    masked
}
