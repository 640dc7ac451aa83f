//! A package as it is asked for: `name`, or with a pin as on apt's command line, `name=version` and
//! `name/suite`. Syntax: apt-get(8).

use std::fmt;
use std::str::FromStr;

use super::version::Version;

/// A package, and which of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The package.
    pub name: String,
    /// Which of it.
    pub pin: Pin,
}

/// Which of several versions of a package is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// The one that is taken of itself.
    None,
    /// This one, of whatever suite.
    Version(Version),
    /// The one of this suite.
    Suite(String),
}

/// The text does not ask for a package.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// Not even a name.
    #[error("`{0}` is not a Debian package's name")]
    Name(String),
    /// A colon and an architecture follow the name.
    #[error("`{0}` names an architecture: an image has one, and packages are taken for it")]
    Architecture(String),
    /// A bound as in a dependency.
    #[error(
        "`{0}` gives a bound: name one version as in `crun=1.21-1`, or a suite as in `crun/sid`"
    )]
    Bound(String),
    /// What follows `=` or `/` is none.
    #[error("`{0}` does not name a version or a suite after the package")]
    Pin(String),
}

/// Whether this can be the name of a package (policy 5.6.1).
pub fn is_name(text: &str) -> bool {
    text.len() >= 2 && has_form(text)
}

/// Of the characters of a name: what an archive that does not follow policy may have.
fn has_form(text: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    let first = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    first && text.chars().all(good)
}

impl FromStr for Wish {
    type Err = WishError;

    fn from_str(text: &str) -> Result<Self, WishError> {
        let at = text.find(['=', '/']);
        let (name, rest) = text.split_at(at.unwrap_or(text.len()));
        if !has_form(name) {
            let plain = name.split([':', ' ', '(']).next().is_some_and(has_form);
            return Err(match plain {
                true if text.contains(['(', '<', '>', ' ']) => WishError::Bound(text.to_owned()),
                true if name.contains(':') => WishError::Architecture(text.to_owned()),
                _ => WishError::Name(text.to_owned()),
            });
        }
        let bad = || WishError::Pin(text.to_owned());
        let suite = |suite: &str| {
            let good = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
            !suite.is_empty() && suite.chars().all(good)
        };
        let pin = match (rest.strip_prefix('='), rest.strip_prefix('/')) {
            (Some(version), _) => Pin::Version(version.parse().map_err(|_| bad())?),
            (_, Some(name)) if suite(name) => Pin::Suite(name.to_owned()),
            (None, None) => Pin::None,
            _ => return Err(bad()),
        };
        Ok(Self { name: name.to_owned(), pin })
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.pin {
            Pin::None => Ok(()),
            Pin::Version(version) => write!(f, "={version}"),
            Pin::Suite(suite) => write!(f, "/{suite}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_package_may_be_asked_for_in_three_ways() {
        for (text, name, pin) in [
            ("crun", "crun", Pin::None),
            ("g++", "g++", Pin::None),
            ("crun=1:1.21~rc1-1+b2", "crun", Pin::Version("1:1.21~rc1-1+b2".parse().unwrap())),
            ("crun/trixie-backports", "crun", Pin::Suite("trixie-backports".to_owned())),
            ("crun/buster/updates", "crun", Pin::Suite("buster/updates".to_owned())),
        ] {
            let wish: Wish = text.parse().unwrap();
            assert_eq!((wish.name.as_str(), &wish.pin), (name, &pin));
            assert_eq!(wish.to_string(), text);
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused_with_what_it_looks_like() {
        type Kind = fn(String) -> WishError;
        let table: &[(&str, Kind)] = &[
            ("", WishError::Name),
            ("Crun", WishError::Name),
            ("=1", WishError::Name),
            ("/sid", WishError::Name),
            ("crun:amd64", WishError::Architecture),
            ("crun:any=1", WishError::Architecture),
            ("crun (>= 1)", WishError::Bound),
            ("crun >= 1", WishError::Bound),
            ("crun=", WishError::Pin),
            ("crun=1 2", WishError::Pin),
            ("crun=1*", WishError::Pin),
            ("crun/", WishError::Pin),
            ("crun/a b", WishError::Pin),
        ];
        for (text, kind) in table {
            assert_eq!(text.parse::<Wish>(), Err(kind((*text).to_owned())));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([a-z]{2,4}[=/:]?[0-9a-z.:~*-]{0,6}|.{0,12})") {
            if let Ok(wish) = text.parse::<Wish>() {
                prop_assert_eq!(wish.to_string(), text);
            }
        }
    }
}
