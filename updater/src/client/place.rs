//! One place of releases, a directory or an address, and one attempt to read a file of it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use formats::tuf::{Form, Found, metadata_path};
use ureq::Agent;
use ureq::http::HeaderMap;
use ureq::http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, RANGE, RETRY_AFTER,
};
use web::Reason;

use super::answer::{Asked, Body, Head, Odd, judge};
use super::pace::TooSlow;

/// A file of a release, below the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    file: String,
    address: String,
}

impl Name {
    /// Metadata, by the name that a workflow asks for: quoted as in an address.
    pub fn metadata(path: &str) -> Self {
        // What a workflow asks for is quoted by itself, and needs no quotes below a directory but for the
        // names of delegated roles, which a channel of ours does not have.
        Self { file: format!("metadata/{path}"), address: format!("metadata/{path}") }
    }

    /// The first root of a place.
    pub fn first_root() -> Self {
        Self::metadata(&metadata_path("root", Some(1), Form::File))
    }

    /// A target.
    pub fn target(found: &Found) -> Self {
        let below = |form| format!("targets/{}", found.place(form));
        Self { file: below(Form::File), address: below(Form::Address) }
    }
}

/// As it stands in an address.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// Where releases are.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a directory.
    Directory(PathBuf),
    /// Below an address.
    Web {
        /// The address, without `/` at its end.
        address: String,
        /// Who asks.
        agent: Agent,
        /// How long the agent waits.
        limits: web::Limits,
        /// Whether it trusts no authority at all.
        trusts_none: bool,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => write!(f, "{}", directory.display()),
            Self::Web { address, .. } => f.write_str(address),
        }
    }
}

/// Why one place did not give a file.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// No answer.
    #[error(transparent)]
    Web(#[from] WebReason),
    /// An answer that is none.
    #[error(transparent)]
    Odd(#[from] Odd),
    /// It drips.
    #[error(transparent)]
    Slow(#[from] TooSlow),
    /// A file that cannot be read.
    #[error("it cannot be read: {0}")]
    Disk(io::Error),
    /// What it gave is not what was signed.
    #[error("what it gives is not what was signed: {0}")]
    Lied(String),
}

/// [`Reason`] as an error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WebReason(pub Reason);

impl Why {
    /// Whether it may be otherwise in a while: then the place is asked again.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Web(WebReason(reason)) => !matches!(
                reason,
                Reason::Address(_)
                    | Reason::NoAuthorities
                    | Reason::Untrusted
                    | Reason::Expired(_)
                    | Reason::NotYetValid(_)
                    | Reason::OtherName(_)
                    | Reason::Downgrade
                    | Reason::Redirects
            ),
            Self::Odd(odd) => odd.passes(),
            Self::Slow(_) => true,
            Self::Disk(_) | Self::Lied(_) => false,
        }
    }

    /// Whether the place is there and this file of it is no good, so that another file may be.
    pub fn is_of_the_file(&self) -> bool {
        match self {
            Self::Odd(odd) => !odd.passes(),
            Self::Lied(_) => true,
            Self::Web(_) | Self::Slow(_) | Self::Disk(_) => false,
        }
    }
}

/// The body of an answer.
pub(super) struct Opened {
    pub(super) body: Box<dyn Read + Send>,
    pub(super) is: Body,
}

impl Place {
    /// Asks for a file once.
    pub(super) fn open(&self, name: &Name, asked: &Asked) -> Result<Opened, Why> {
        match self {
            Self::Directory(directory) => open_file(directory.join(&name.file), asked),
            Self::Web { address, agent, .. } => {
                let mut request = agent.get(format!("{address}/{}", name.address));
                if let Asked::Part(Range { start, end }, _) = asked {
                    request = request.header(RANGE, format!("bytes={start}-{}", end - 1));
                }
                let response = request.call().map_err(|error| self.web(error))?;
                let head = head(response.status(), response.headers());
                let is = judge(&head, asked)?;
                Ok(Opened { body: Box::new(response.into_body().into_reader()), is })
            }
        }
    }

    /// What a failed read means.
    pub(super) fn failed(&self, error: io::Error) -> Why {
        match self {
            Self::Directory(_) => Why::Disk(error),
            Self::Web { .. } => self.web(error.into()),
        }
    }

    fn web(&self, error: ureq::Error) -> Why {
        match self {
            Self::Directory(_) => Why::Disk(io::Error::other(error)),
            Self::Web { limits, trusts_none, .. } => {
                Why::Web(WebReason(Reason::of(error, *limits, *trusts_none)))
            }
        }
    }
}

fn open_file(path: PathBuf, asked: &Asked) -> Result<Opened, Why> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Odd::Missing("no such file".to_owned()).into());
        }
        file => file.map_err(Why::Disk)?,
    };
    let metadata = file.metadata().map_err(Why::Disk)?;
    if !metadata.is_file() {
        return Err(Odd::Missing("no such file".to_owned()).into());
    }
    let (start, length) = match asked {
        Asked::All => (0, None),
        Asked::Whole(length) => (0, Some(*length)),
        Asked::Part(range, length) => (range.start, Some(*length)),
    };
    if let Some(want) = length.filter(|length| *length != metadata.len()) {
        return Err(Odd::Length { said: metadata.len(), want }.into());
    }
    file.seek(SeekFrom::Start(start)).map_err(Why::Disk)?;
    Ok(Opened { body: Box::new(file), is: Body::AsAsked })
}

fn head(status: ureq::http::StatusCode, headers: &HeaderMap) -> Head {
    let value = |name: HeaderName| {
        headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Head {
        status: status.as_u16(),
        text: status.to_string(),
        content_type: value(CONTENT_TYPE).unwrap_or_default(),
        content_encoding: value(CONTENT_ENCODING),
        content_length: value(CONTENT_LENGTH).and_then(|length| length.trim().parse().ok()),
        content_range: value(CONTENT_RANGE),
        retry_after: value(RETRY_AFTER),
    }
}
