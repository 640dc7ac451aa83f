//! What can go wrong between two machines: which of it passes by itself, and how it is said.

use std::error::Error as StdError;
use std::io::ErrorKind;
use std::time::Duration;

use ureq::http::{Response, StatusCode};
use ureq::{Body, Timeout};

use super::answer::retry_after;
use super::pace::TooSlow;
use crate::error::{Error, Id};

/// The result of one attempt of several.
pub(crate) type Attempt<T> = Result<T, Failure>;

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the user is told if it was the last attempt.
    pub(crate) error: Error,
    /// Whether it is worth another attempt.
    pub(crate) passing: bool,
    /// Bytes that the attempt brought nevertheless.
    pub(crate) progress: u64,
    /// How long the server wants to be left alone.
    pub(crate) wait: Option<Duration>,
}

impl Failure {
    /// Another attempt may do better.
    pub(crate) fn passing(error: Error) -> Self {
        Self { error, passing: true, progress: 0, wait: None }
    }

    /// Another attempt would end in the same way.
    pub(crate) fn lasting(error: Error) -> Self {
        Self { error, passing: false, progress: 0, wait: None }
    }

    /// The attempt brought so many bytes before it failed.
    pub(crate) fn after(self, progress: u64) -> Self {
        Self { progress, ..self }
    }

    /// The request went through this proxy: it may be the one that is not there.
    pub(crate) fn by_way_of(self, proxy: &str) -> Self {
        let error = self.error.hint(format!("the way leads through the proxy `{proxy}`"));
        Self { error, ..self }
    }

    /// The server answered with something that is not the file.
    pub(crate) fn answer(url: &str, response: &Response<Body>) -> Self {
        let status = response.status();
        let wait = retry_after(response.headers());
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Self::lasting(Error::new(
                Id::NotFound,
                format!("the server has no `{url}` ({status})"),
            )),
            _ => {
                let error = Error::new(
                    Id::HttpStatus,
                    format!("the server answered `{status}` when asked for `{url}`"),
                );
                let busy =
                    [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
                if busy || status.is_server_error() {
                    Self { wait, ..Self::passing(error) }
                } else {
                    Self::lasting(error)
                }
            }
        }
    }

    /// The proxy wants to know who asks.
    pub(crate) fn proxy_login(url: &str) -> Self {
        let message = format!("the proxy wants a name and a password on the way to `{url}`");
        Self::lasting(Error::new(Id::ProxyFailed, message).hint(PROXY_LOGIN))
    }

    /// There is no whole answer.
    pub(crate) fn transport(url: &str, error: ureq::Error) -> Self {
        use ureq::Error as E;
        fn failure<C: StdError + Send + Sync + 'static>(
            id: Id,
            message: String,
            cause: C,
        ) -> Error {
            Error::new(id, message).caused_by(cause)
        }
        match error {
            E::Io(io) if io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
                Self::lasting(untrusted(url, io))
            }
            E::Io(io) if io.get_ref().is_some_and(|inner| inner.is::<TooSlow>()) => Self::passing(
                failure(Id::CutShort, format!("the server sends `{url}` too slowly"), io),
            ),
            E::Io(io) => match io.kind() {
                ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe => Self::passing(failure(
                    Id::CutShort,
                    format!("the connection was cut while fetching `{url}`"),
                    io,
                )),
                // The kind of a failed look-up has no name in `std`; its text is the only mark.
                _ if io.to_string().contains("lookup address information") => {
                    Self::lasting(unknown_host(url).caused_by(io))
                }
                ErrorKind::ConnectionRefused
                | ErrorKind::NetworkUnreachable
                | ErrorKind::HostUnreachable => Self::lasting(no_connection(url).caused_by(io)),
                _ => Self::passing(no_connection(url).caused_by(io)),
            },
            E::Timeout(
                Timeout::PerRead | Timeout::PerWrite | Timeout::RecvResponse | Timeout::RecvBody,
            ) => Self::passing(failure(
                Id::CutShort,
                format!("the server of `{url}` fell silent"),
                error,
            )),
            E::Timeout(_) => Self::passing(no_connection(url).caused_by(error)),
            E::ConnectionFailed => Self::lasting(no_connection(url)),
            E::HostNotFound => Self::lasting(unknown_host(url)),
            E::Rustls(_) | E::Tls(_) | E::Pem(_) | E::TlsRequired => {
                Self::lasting(untrusted(url, error))
            }
            // The cause repeats the address with all that is secret in it.
            E::BadUri(_) => {
                let message = format!("`{url}` is not an http or https address");
                Self::lasting(Error::new(Id::BadUrl, message))
            }
            E::Http(_) => Self::lasting(failure(
                Id::BadUrl,
                format!("`{url}` is not an http or https address"),
                error,
            )),
            // A chunk's head has come in part only.
            E::BodyStalled => Self::passing(failure(
                Id::CutShort,
                format!("the connection was cut while fetching `{url}`"),
                error,
            )),
            E::ConnectProxyFailed(why) if why.contains("407") => Self::proxy_login(url),
            E::ConnectProxyFailed(_) | E::InvalidProxyUrl => Self::lasting(
                failure(
                    Id::ProxyFailed,
                    format!("the proxy does not let us through to `{url}`"),
                    error,
                )
                .hint("`http_proxy`, `https_proxy` and `no_proxy` name the proxies"),
            ),
            _ => Self::lasting(failure(
                Id::HttpStatus,
                format!("the server gave no proper answer when asked for `{url}`"),
                error,
            )),
        }
    }
}

const PROXY_LOGIN: &str = "write them into its address, `http://NAME:PASSWORD@HOST:PORT`; for \
                           Debian's mirrors apt's `auth.conf` does as well";

fn no_connection(url: &str) -> Error {
    Error::new(Id::NoConnection, format!("cannot connect to the server of `{url}`"))
        .hint("is the server running, and is this host on the network?")
}

fn unknown_host(url: &str) -> Error {
    Error::new(Id::UnknownHost, format!("the name of the server of `{url}` cannot be resolved"))
        .hint("check the spelling, and this host's name servers in /etc/resolv.conf")
}

fn untrusted(url: &str, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    let cause = cause.into();
    let error = Error::new(Id::Untrusted, format!("no secure connection to the server of `{url}`"));
    let hint = if cause.to_string().contains("UnknownIssuer") {
        "install `ca-certificates`, or name your own with `SSL_CERT_FILE`"
    } else {
        "is this host's clock right, and is the address an https one?"
    };
    error.caused_by(cause).hint(hint)
}
