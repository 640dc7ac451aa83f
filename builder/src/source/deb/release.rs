//! From the bytes of an `InRelease` file to a release that may be believed: signed by a pinned
//! key, of the suite that was asked for, and of these days.

use std::collections::BTreeMap;

use formats::deb::{Release, Stamp, date};

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
    /// It had expired, but not at the time of the recipe's snapshot.
    pub expired_since: bool,
}

/// By which times release files are judged.
#[derive(Debug, Clone, Default)]
pub struct Times {
    /// Now, in seconds since 1970.
    pub now: u64,
    /// The time of the recipe's dated archive.
    pub snapshot: Option<Stamp>,
    /// By suite the `Date` of the release file that the lock was made of.
    pub locked: BTreeMap<String, String>,
}

impl Times {
    /// The time as of which release files must be good.
    fn as_of(&self) -> u64 {
        self.snapshot.map_or(self.now, |stamp| stamp.seconds().min(self.now))
    }

    /// The `Date` that a suite's release file must not fall short of. A snapshot from before it
    /// was chosen on purpose.
    fn floor(&self, suite: &str) -> Option<(u64, &str)> {
        let date = self.locked.get(suite)?;
        let made = date::parse(date).ok()?;
        (made <= self.as_of().saturating_add(CLOCK_SKEW)).then_some((made, date))
    }
}

/// Checks the file that came from `url` for `suite`.
///
/// # Errors
/// [`Id::NotRelease`] for a web page, those of [`signature::verify`], [`Id::BadArchiveData`],
/// [`Id::WrongSuite`], [`Id::ReleaseDate`], [`Id::ReleaseOlder`].
pub fn believe(
    file: &[u8],
    url: &str,
    suite: &str,
    keys: &Keys,
    times: &Times,
) -> Result<Believed> {
    let start = file.trim_ascii_start();
    if start.first() == Some(&b'<') {
        return Err(Error::new(
            Id::NotRelease,
            format!("`{url}` is a web page, not a release file"),
        )
        .hint("a network with a login page answers like this"));
    }
    let what = format!("the release file `{url}`");
    let signed = signature::verify(file, &what, keys, times.as_of())?;
    let release = Release::parse(&signed.text)
        .or_fail(Id::BadArchiveData, || format!("cannot understand {what}"))?;
    if suite != release.codename && suite != release.suite {
        let names = format!("`{}` (`{}`)", release.codename, release.suite);
        let message = format!("{what} is of suite {names}, not of `{suite}`");
        return Err(Error::new(Id::WrongSuite, message));
    }
    check_dates(&release, &what, suite, times)?;
    let expired_since = release.valid_until.is_some_and(|until| until < times.now);
    Ok(Believed { release, signed_by: signed.signed_by, expired_since })
}

fn check_dates(release: &Release, what: &str, suite: &str, times: &Times) -> Result<()> {
    let as_of = times.as_of();
    if release.made > as_of.saturating_add(CLOCK_SKEW) {
        return Err(match times.snapshot {
            Some(stamp) if release.made <= times.now.saturating_add(CLOCK_SKEW) => {
                let date = &release.date;
                let message = format!("{what} was made on {date}, after `snapshot = \"{stamp}\"`");
                Error::new(Id::ReleaseDate, message).hint(
                    "name an archive of that day: `--mirror https://archive.example/debian/{snapshot}`",
                )
            }
            _ => {
                let message = format!("{what} was made in the future, on {}", release.date);
                Error::new(Id::ReleaseDate, message).hint("check the clock of this host")
            }
        });
    }
    if let Some(until) = release.valid_until.filter(|until| *until < as_of) {
        let days = (as_of - until) / (24 * 60 * 60);
        let when = times.snapshot.map_or(String::new(), |stamp| format!(" as of `{stamp}`"));
        let message = format!(
            "{what} is no longer valid{when}: it expired {days} days ago, made on {}",
            release.date
        );
        let error = Error::new(Id::ReleaseDate, message).hint(
            "use a mirror that is up to date (`--mirror URL`), and check the clock of this host",
        );
        return Err(match Stamp::from_seconds(release.made) {
            Some(made) if times.snapshot.is_none() => error.hint(format!(
                "to build from an archive of the past on purpose, write `snapshot = \"{made}\"` \
                 into `[debian]`"
            )),
            _ => error,
        });
    }
    if let Some((made, date)) = times.floor(suite).filter(|(made, _)| release.made < *made) {
        let days = (made - release.made) / (24 * 60 * 60);
        let message = format!(
            "{what} is {days} days older than the one of the lock: it was made on {}, that on \
             {date}",
            release.date
        );
        return Err(Error::new(Id::ReleaseOlder, message)
            .hint("the mirror has fallen behind, or somebody withholds updates: use another")
            .hint("to go back on purpose: `orlop lock --allow-older`"));
    }
    Ok(())
}
