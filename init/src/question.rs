//! What a unit is asked, to know whether it works: PID 1 reads it from the unit's file, and `log`
//! asks it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A question to a unit. A good answer to it means that the unit works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Whether somebody accepts a connection at this Unix socket.
    SocketAnswers(PathBuf),
    /// Which `Version` the container runtime behind this Unix socket has. An accepted connection says
    /// too little: containerd serves its socket even if its CRI plugin did not load.
    CriVersion(PathBuf),
    /// Whether this address answers with status 200.
    Http200(HttpTarget),
}

impl Question {
    /// As a unit's file has it: its key, and the text behind it.
    pub fn words(&self) -> (&'static str, String) {
        match self {
            Self::SocketAnswers(path) => ("socket-answers", path.display().to_string()),
            Self::CriVersion(path) => ("cri-version", path.display().to_string()),
            Self::Http200(target) => ("http-200", target.to_string()),
        }
    }

    /// Out of its words.
    pub fn of(key: &str, text: &str) -> Option<Self> {
        Some(match key {
            "socket-answers" => Self::SocketAnswers(text.into()),
            "cri-version" => Self::CriVersion(text.into()),
            "http-200" => Self::Http200(text.to_owned().try_into().ok()?),
            _ => return None,
        })
    }

    /// The socket, if it is asked at one.
    pub fn socket(&self) -> Option<&PathBuf> {
        match self {
            Self::SocketAnswers(path) | Self::CriVersion(path) => Some(path),
            Self::Http200(_) => None,
        }
    }
}

/// `http://ADDRESS:PORT/PATH` with a literal address: no resolver is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget {
    /// Where to connect.
    pub address: SocketAddr,
    /// What to ask for, with its `/`.
    pub path: String,
}

impl TryFrom<String> for HttpTarget {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.strip_prefix("http://").and_then(|rest| {
            let slash = rest.find('/')?;
            let address = rest[..slash].parse().ok()?;
            let path = rest[slash..].to_owned();
            path.bytes().all(|b| b.is_ascii_graphic()).then_some(Self { address, path })
        });
        parts.ok_or_else(|| format!("`{text}` is not of the form http://127.0.0.1:10248/healthz"))
    }
}

impl fmt::Display for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.path)
    }
}
