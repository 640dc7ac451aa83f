//! The name of an image: `HOST[:PORT]/PATH:TAG`, whole.
//!
//! The grammar is that of <https://github.com/distribution/reference>. Short names, which stand
//! for a registry that nobody has named, are refused: a container runtime would look for an image
//! of another name than the one it was given.

use std::fmt;

use crate::digest::Sha256;

/// A whole name with a tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    // Invariant: as `parse` accepts it; the tag begins after the colon at `colon`.
    text: String,
    colon: usize,
}

/// The text is not a whole name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the whole name of an image, such as `registry.example/path:1`")]
pub struct ReferenceError(String);

impl Reference {
    /// Reads a name.
    ///
    /// # Errors
    /// A name without a host that can be told from a path (it has a dot or a port, or is
    /// `localhost`), without a tag, or with a digest.
    pub fn new(text: &str) -> Result<Self, ReferenceError> {
        let colon = parse(text).ok_or_else(|| ReferenceError(text.to_owned()))?;
        Ok(Self { text: text.to_owned(), colon })
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What follows the last colon.
    pub fn tag(&self) -> &str {
        &self.text[self.colon + 1..]
    }

    /// The name without the tag.
    pub fn repository(&self) -> &str {
        &self.text[..self.colon]
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where something is in a registry: `HOST[:PORT]/PATH:TAG`, or `HOST[:PORT]/PATH@sha256:DIGEST`. Where
/// both stand, the digest counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    // Invariant: `HOST[:PORT]/PATH` as `parse` accepts it.
    repository: String,
    /// What it is called there.
    pub called: Called,
}

/// What something is called in a repository of a registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Called {
    /// By a name that may stand for something else tomorrow.
    Tag(String),
    /// By the digest of its manifest.
    Digest(Sha256),
}

impl Location {
    /// Reads a name.
    ///
    /// # Errors
    /// As [`Reference::new`], but for a digest, which may be there.
    pub fn new(text: &str) -> Result<Self, ReferenceError> {
        let error = || ReferenceError(text.to_owned());
        let Some((name, digest)) = text.split_once('@') else {
            let reference = Reference::new(text)?;
            let called = Called::Tag(reference.tag().to_owned());
            return Ok(Self { repository: reference.repository().to_owned(), called });
        };
        let digits = digest.strip_prefix("sha256:").ok_or_else(error)?;
        let digest = digits.parse().map_err(|_| error())?;
        let tagged = Reference::new(name).or_else(|_| Reference::new(&format!("{name}:x")));
        let repository = tagged.map_err(|_| error())?.repository().to_owned();
        Ok(Self { repository, called: Called::Digest(digest) })
    }

    /// The host, with its port if one stands there.
    pub fn host(&self) -> &str {
        self.repository.split_once('/').map_or("", |(host, _)| host)
    }

    /// What follows the host.
    pub fn path(&self) -> &str {
        self.repository.split_once('/').map_or("", |(_, path)| path)
    }

    /// The host and the path.
    pub fn repository(&self) -> &str {
        &self.repository
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.called {
            Called::Tag(tag) => write!(f, "{}:{tag}", self.repository),
            Called::Digest(digest) => write!(f, "{}@sha256:{digest}", self.repository),
        }
    }
}

impl fmt::Display for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => write!(f, "sha256:{digest}"),
        }
    }
}

/// Where the colon before the tag is.
fn parse(text: &str) -> Option<usize> {
    let (host, rest) = text.split_once('/')?;
    let (path, tag) = rest.split_once(':')?;
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let is_host = name.contains('.') || port.is_some() || name == "localhost";
    let number = |port: &str| (1..=5).contains(&port.len()) && all(port, |c| c.is_ascii_digit());
    let good = is_host
        && name.split('.').all(is_label)
        && port.is_none_or(number)
        && path.split('/').all(is_component)
        && text.len() - tag.len() <= 256
        && is_tag(tag);
    good.then(|| text.len() - tag.len() - 1)
}

fn all(text: &str, good: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(good)
}

/// Part of a host's name.
fn is_label(label: &str) -> bool {
    all(label, |c| c.is_ascii_alphanumeric() || c == '-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Part of a path: lower-case letters and digits, between which may stand `.`, `_`, `__` or any
/// number of `-`.
fn is_component(component: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = component.split(word).filter(|separator| !separator.is_empty());
    component.starts_with(word)
        && component.ends_with(word)
        && separators.all(|s| matches!(s, "." | "_" | "__") || s.chars().all(|c| c == '-'))
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= 128
        && all(tag, |c| c.is_ascii_alphanumeric() || "._-".contains(c))
        && !tag.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_have_a_host_a_path_and_a_tag() {
        for (text, repository, tag) in [
            ("orlop.dev/pause:1", "orlop.dev/pause", "1"),
            ("localhost/a:b", "localhost/a", "b"),
            (
                "10.0.2.2:5000/library/busy-box__x:v1.37_a",
                "10.0.2.2:5000/library/busy-box__x",
                "v1.37_a",
            ),
            ("Registry.example/a---b.c:X", "Registry.example/a---b.c", "X"),
        ] {
            let reference = Reference::new(text).unwrap();
            assert_eq!((reference.repository(), reference.tag()), (repository, tag));
            assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn a_location_has_a_tag_or_a_digest() {
        let digits = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = Called::Digest(Sha256::of("abc"));
        let by_digest = format!("a.b:5000/c/d@sha256:{digits}");
        for (text, called, shown) in [
            ("a.b:5000/c/d:1".to_owned(), Called::Tag("1".to_owned()), "a.b:5000/c/d:1"),
            (by_digest.clone(), digest.clone(), &by_digest),
            (format!("a.b:5000/c/d:1@sha256:{digits}"), digest, &by_digest),
        ] {
            let location = Location::new(&text).unwrap();
            assert_eq!((location.host(), location.path()), ("a.b:5000", "c/d"));
            assert_eq!((&location.called, location.to_string().as_str()), (&called, shown));
        }
        for text in [
            "a.b/c",
            "a.b/c@1",
            "a.b/c@sha256:00",
            "c@sha256:ba7816bf",
            &format!("c@sha256:{digits}"),
        ] {
            assert_eq!(Location::new(text), Err(ReferenceError(text.to_owned())));
        }
    }

    #[test]
    fn what_is_not_a_whole_name_is_refused() {
        let long = format!("a.b/{}:1", "c".repeat(252));
        for text in [
            "",
            "pause",
            "pause:1",
            "library/pause:1",
            "orlop.dev/pause",
            "orlop.dev/pause:",
            "orlop.dev/Pause:1",
            "orlop.dev/:1",
            "orlop.dev//a:1",
            "orlop.dev/a_-b:1",
            "orlop.dev/a...b:1",
            "orlop.dev/-a:1",
            "orlop.dev/a-:1",
            "orlop.dev/a:-1",
            "orlop.dev/a:b:c",
            "orlop.dev:x/a:1",
            "orlop.dev:/a:1",
            "-a.b/c:1",
            "a..b/c:1",
            "a.b/c@sha256:00",
            "a.b/ü:1",
            long.as_str(),
        ] {
            assert_eq!(Reference::new(text), Err(ReferenceError(text.to_owned())), "{text}");
        }
    }
}
