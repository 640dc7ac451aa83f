//! From the bytes of an `InRelease` file to a release that may be believed: signed by a pinned
//! key, of the suite that was asked for, and of these days.

use formats::deb::Release;

use super::signature::{self, CLOCK_SKEW, Keys};
use crate::error::{Context as _, Error, Id, Result};

/// No `InRelease` file is larger, in bytes: Debian's has 140 KB.
pub const MAX_SIZE: u64 = 8 * 1024 * 1024;

/// A release file whose signature, name and date were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Believed {
    /// What the signature covers.
    pub release: Release,
    /// The pinned fingerprint.
    pub signed_by: String,
}

/// Checks the file that came from `url` for `suite`; `now` is in seconds since 1970.
///
/// # Errors
/// [`Id::NotRelease`] for a web page, those of [`signature::verify`], [`Id::BadArchiveData`],
/// [`Id::WrongSuite`], [`Id::ReleaseDate`].
pub fn believe(file: &[u8], url: &str, suite: &str, keys: &Keys, now: u64) -> Result<Believed> {
    let start = file.trim_ascii_start();
    if start.first() == Some(&b'<') {
        return Err(Error::new(
            Id::NotRelease,
            format!("`{url}` is a web page, not a release file"),
        )
        .hint("a network with a login page answers like this"));
    }
    let what = format!("the release file `{url}`");
    let signed = signature::verify(file, &what, keys, now)?;
    let release = Release::parse(&signed.text)
        .or_fail(Id::BadArchiveData, || format!("cannot understand {what}"))?;
    if suite != release.codename && suite != release.suite {
        let names = format!("`{}` (`{}`)", release.codename, release.suite);
        let message = format!("{what} is of suite {names}, not of `{suite}`");
        return Err(Error::new(Id::WrongSuite, message));
    }
    if release.made > now.saturating_add(CLOCK_SKEW) {
        let message = format!("{what} was made in the future, on {}", release.date);
        return Err(Error::new(Id::ReleaseDate, message).hint("check the clock of this host"));
    }
    if let Some(until) = release.valid_until.filter(|until| *until < now) {
        let days = (now - until) / (24 * 60 * 60);
        let message = format!(
            "{what} is no longer valid: it expired {days} days ago, made on {}",
            release.date
        );
        return Err(Error::new(Id::ReleaseDate, message).hint(
            "use a mirror that is up to date (`--mirror URL`), and check the clock of this host",
        ));
    }
    Ok(Believed { release, signed_by: signed.signed_by })
}
