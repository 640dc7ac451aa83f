//! Why something could not be fetched, in words that name the cause: whoever reads them stands before
//! a console, without a shell.

use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use formats::moment::Moment;
use rustls::{CertificateError, Error as Tls};
use ureq::{Error, Timeout};

use crate::{CA_BUNDLE, Limits, REDIRECTS};

/// Why there is no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is not an address.
    Address(String),
    /// The name of the server has no address; what the resolver says.
    Name(String),
    /// No name server has answered for so long.
    NoNameServer(Duration),
    /// The host is there and nobody listens.
    Refused,
    /// There is no way to the host.
    NoRoute(String),
    /// No connection for so long.
    NoConnection(Duration),
    /// No whole answer for so long.
    NoAnswer(Duration),
    /// Not a word for so long.
    Silence(Duration),
    /// The connection ended before the answer did.
    CutShort,
    /// The image has no authorities at all.
    NoAuthorities,
    /// No authority of the image has signed the server's certificate.
    Untrusted,
    /// The certificate begins later than the clock says that it is. Seconds since 1970, if known.
    NotYetValid(Option<Times>),
    /// The certificate has ended.
    Expired(Option<Times>),
    /// The certificate is for other names.
    OtherName(Vec<String>),
    /// Something else about TLS.
    Tls(String),
    /// A redirect from HTTPS to HTTP.
    Downgrade,
    /// Redirects without end.
    Redirects,
    /// The server answered with another status than 200: the number, and its text.
    Status(u16, String),
    /// HTML instead of a file.
    WebPage,
    /// More bytes than this.
    TooLarge(u64),
    /// It is not UTF-8.
    NoText(String),
    /// No answer that HTTP knows.
    Protocol(String),
    /// Neither by the proxy nor without it.
    Twice {
        /// The proxy, without its password.
        proxy: String,
        /// Why not by the proxy.
        by_proxy: Box<Reason>,
        /// Why not without it.
        directly: Box<Reason>,
    },
}

/// What the clock says and where a certificate's validity begins or ends; seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The node's clock.
    pub clock: u64,
    /// The certificate's limit.
    pub limit: u64,
}

impl Reason {
    /// Reads the client's error. `trusts_none`: the image has no authorities.
    pub fn of(error: Error, limits: Limits, trusts_none: bool) -> Self {
        match error {
            Error::Timeout(Timeout::Resolve) => Self::NoNameServer(limits.resolve),
            Error::Timeout(Timeout::Connect) => Self::NoConnection(limits.connect),
            Error::Timeout(Timeout::Global) => Self::NoAnswer(limits.total.unwrap_or_default()),
            Error::Timeout(_) => Self::Silence(limits.silence.unwrap_or_default()),
            Error::Rustls(error) => Self::tls(&error, trusts_none),
            Error::Tls(text) => Self::Tls(text.to_owned()),
            Error::HostNotFound => Self::Name("it has no address".to_owned()),
            Error::RequireHttpsOnly(_) => Self::Downgrade,
            Error::TooManyRedirects | Error::RedirectFailed => Self::Redirects,
            Error::BadUri(text) => Self::Address(text),
            Error::Http(error) => Self::Address(error.to_string()),
            Error::Io(error) => Self::io(&error, trusts_none),
            other => Self::Protocol(other.to_string()),
        }
    }

    fn io(error: &io::Error, trusts_none: bool) -> Self {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) {
            return Self::tls(tls, trusts_none);
        }
        // The kind of a failed look-up has no name in `std`; its text is the only mark.
        let text = error.to_string();
        if let Some(text) = text.strip_prefix("failed to lookup address information: ") {
            return Self::Name(text.to_owned());
        }
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe => Self::CutShort,
            ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => Self::NoRoute(text),
            _ => Self::Protocol(text),
        }
    }

    fn tls(error: &Tls, trusts_none: bool) -> Self {
        use CertificateError as C;
        let Tls::InvalidCertificate(certificate) = error else {
            return Self::Tls(error.to_string());
        };
        match certificate {
            C::UnknownIssuer if trusts_none => Self::NoAuthorities,
            // A bad signature: there is an authority of the issuer's name, but with another key.
            C::UnknownIssuer | C::BadSignature => Self::Untrusted,
            C::NotValidYet => Self::NotYetValid(None),
            C::NotValidYetContext { time, not_before } => Self::NotYetValid(Some(Times {
                clock: time.as_secs(),
                limit: not_before.as_secs(),
            })),
            C::Expired => Self::Expired(None),
            C::ExpiredContext { time, not_after } => {
                Self::Expired(Some(Times { clock: time.as_secs(), limit: not_after.as_secs() }))
            }
            C::NotValidForName => Self::OtherName(Vec::new()),
            C::NotValidForNameContext { presented, .. } => Self::OtherName(presented.clone()),
            other => Self::Tls(format!("the server's certificate is not accepted: {other}")),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(text) => write!(f, "it is not an http or https address ({text})"),
            Self::Name(text) => write!(f, "the server's name cannot be resolved: {text}"),
            Self::NoNameServer(limit) => {
                write!(f, "no name server has answered within {limit:?}")
            }
            Self::Refused => {
                f.write_str("the host refuses the connection: nobody listens at that port")
            }
            Self::NoRoute(text) => write!(f, "the host cannot be reached: {text}"),
            Self::NoConnection(limit) => write!(f, "no connection to the host within {limit:?}"),
            Self::Silence(limit) => write!(f, "the server has said nothing for {limit:?}"),
            Self::NoAnswer(limit) => write!(f, "no whole answer within {limit:?}"),
            Self::CutShort => f.write_str("the connection was cut before the end"),
            Self::NoAuthorities => {
                write!(f, "this image trusts no authority: `{}` has none", CA_BUNDLE)
            }
            Self::Untrusted => f.write_str(
                "the server's certificate is signed by no authority that this image trusts",
            ),
            Self::NotYetValid(times) => {
                f.write_str("the server's certificate is not valid yet")?;
                dates(f, *times, "valid from")?;
                f.write_str(": this node's clock may be wrong")
            }
            Self::Expired(times) => {
                f.write_str("the server's certificate has expired")?;
                dates(f, *times, "valid until")?;
                f.write_str(": it must be renewed, or this node's clock is wrong")
            }
            Self::OtherName(names) if names.is_empty() => {
                f.write_str("the server's certificate is for another name")
            }
            Self::OtherName(names) => {
                write!(f, "the server's certificate is for another name: {}", names.join(", "))
            }
            Self::Tls(text) => write!(f, "no secure connection: {text}"),
            Self::Downgrade => f.write_str(
                "the server redirects from https to http, where anybody could read and change it",
            ),
            Self::Redirects => write!(f, "the server redirects more than {REDIRECTS} times"),
            Self::Status(404 | 410, text) => write!(f, "the server has no such file ({text})"),
            Self::Status(401 | 403, text) => write!(f, "the server denies access ({text})"),
            Self::Status(_, text) => write!(f, "the server answers `{text}`"),
            Self::WebPage => f.write_str("the server answers with a web page instead of the file"),
            Self::TooLarge(limit) => write!(f, "it has more than {limit} bytes"),
            Self::NoText(text) => f.write_str(text),
            Self::Protocol(text) => write!(f, "no proper answer: {text}"),
            Self::Twice { proxy, by_proxy, directly } => {
                write!(f, "by the proxy {proxy}: {by_proxy}; without it: {directly}")
            }
        }
    }
}

fn dates(f: &mut fmt::Formatter<'_>, times: Option<Times>, what: &str) -> fmt::Result {
    match times {
        None => Ok(()),
        Some(Times { clock, limit }) => {
            let [limit, clock] = [limit, clock].map(|time| Moment::since_1970(time).date());
            write!(f, " ({what} {limit}, the clock says {clock})")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_at_its_beginning_is_named_as_the_likely_cause() {
        let reason = |error| Reason::tls(&Tls::InvalidCertificate(error), false).to_string();
        assert_eq!(
            reason(CertificateError::NotValidYetContext {
                time: rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(90_000)),
                not_before: rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(
                    1_767_225_600
                )),
            }),
            "the server's certificate is not valid yet (valid from 2026-01-01, the clock says \
             1970-01-02): this node's clock may be wrong"
        );
        assert_eq!(
            reason(CertificateError::NotValidYet),
            "the server's certificate is not valid yet: this node's clock may be wrong"
        );
    }

    #[test]
    fn an_image_without_authorities_is_told_from_a_stranger_s_certificate() {
        let unknown = Tls::InvalidCertificate(CertificateError::UnknownIssuer);
        assert_eq!(Reason::tls(&unknown, true), Reason::NoAuthorities);
        assert_eq!(Reason::tls(&unknown, false), Reason::Untrusted);
    }

    #[test]
    fn what_the_kernel_says_of_a_route_is_kept() {
        let error = || io::Error::from(ErrorKind::NetworkUnreachable);
        let reason = Reason::of(Error::Io(error()), Limits::default(), false);
        assert_eq!(reason, Reason::NoRoute(error().to_string()));
        for (limit, text) in [
            (Timeout::Resolve, "no name server has answered within 12s"),
            (Timeout::Connect, "no connection to the host within 15s"),
            (Timeout::Global, "no whole answer within 40s"),
            (Timeout::PerRead, "the server has said nothing for 30s"),
        ] {
            let limits = Limits { total: Some(Duration::from_secs(40)), ..Limits::default() };
            let reason = Reason::of(Error::Timeout(limit), limits, false);
            assert_eq!(reason.to_string(), text);
        }
    }
}
