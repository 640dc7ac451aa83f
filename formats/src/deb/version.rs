//! Versions of Debian packages and their order: `[epoch:]upstream[-revision]`.
//! Rules: Debian policy 5.6.12 and deb-version(7); `dpkg --compare-versions` is the judge.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A version. Two versions are equal if neither is later: `1.0`, `0:1.0` and `1.0-0` are one.
#[derive(Debug, Clone)]
pub struct Version {
    text: String,
    epoch: u32,
    // Invariant: these two are lengths of parts of `text`: what stands before the upstream
    // version, and that version itself.
    start: usize,
    upstream_len: usize,
}

/// The text is not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version of a Debian package")]
pub struct VersionError(String);

impl Version {
    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The number before the colon; 0 if there is none.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What upstream calls it.
    pub fn upstream(&self) -> &str {
        &self.text[self.start..self.start + self.upstream_len]
    }

    /// What follows the last hyphen; empty if there is none.
    pub fn revision(&self) -> &str {
        self.text.get(self.start + self.upstream_len + 1..).unwrap_or_default()
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = || VersionError(text.to_owned());
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => {
                (epoch.parse().map_err(|_| error())?, rest)
            }
            Some(_) => return Err(error()),
            None => (0, text),
        };
        let (upstream, revision) = match rest.rsplit_once('-') {
            Some((_, "")) => return Err(error()),
            Some((upstream, revision)) => (upstream, revision),
            None => (rest, ""),
        };
        let good = |part: &str, more: &str| {
            part.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if upstream.is_empty() || !good(upstream, ".+-~:") || !good(revision, ".+~") {
            return Err(error());
        }
        let start = text.len() - rest.len();
        Ok(Self { text: text.to_owned(), epoch, start, upstream_len: upstream.len() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare(self.upstream(), other.upstream()))
            .then_with(|| compare(self.revision(), other.revision()))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

/// Compares by turns what is not a number, character by character, and what is, by its value.
fn compare(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    while !left.is_empty() || !right.is_empty() {
        let (left_text, left_rest) = split(left, |byte| !byte.is_ascii_digit());
        let (right_text, right_rest) = split(right, |byte| !byte.is_ascii_digit());
        let (left_number, left_rest) = split(left_rest, u8::is_ascii_digit);
        let (right_number, right_rest) = split(right_rest, u8::is_ascii_digit);
        let order = compare_text(left_text, right_text)
            .then_with(|| compare_numbers(left_number, right_number));
        if order.is_ne() {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
    Ordering::Equal
}

fn split(bytes: &[u8], belongs: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(|byte| !belongs(byte)).unwrap_or(bytes.len()))
}

/// A tilde sorts before the end, the end before letters, letters before all else.
fn compare_text(left: &[u8], right: &[u8]) -> Ordering {
    let weight = |bytes: &[u8], index: usize| match bytes.get(index) {
        Some(b'~') => (0, 0),
        None => (1, 0),
        Some(byte) if byte.is_ascii_alphabetic() => (2, *byte),
        Some(byte) => (3, *byte),
    };
    (0..left.len().max(right.len()))
        .map(|index| weight(left, index).cmp(&weight(right, index)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Numbers of any length; none at all counts as zero.
fn compare_numbers(left: &[u8], right: &[u8]) -> Ordering {
    let (_, left) = split(left, |byte| *byte == b'0');
    let (_, right) = split(right, |byte| *byte == b'0');
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    const ORDER: &[(&str, Ordering, &str)] = &[
        ("1.0", Ordering::Equal, "1.0"),
        ("1.0", Ordering::Equal, "0:1.0"),
        ("1.0", Ordering::Equal, "1.0-0"),
        ("1.0-0", Ordering::Equal, "1.0-00"),
        ("1.00", Ordering::Equal, "1.0"),
        ("1.0", Ordering::Equal, "01.0"),
        ("1a", Ordering::Equal, "1a0"),
        ("1.0", Ordering::Less, "1.0-1"),
        ("1.0", Ordering::Less, "1.0-0.1"),
        ("1.0-1", Ordering::Less, "1.0-2"),
        ("1.0-9", Ordering::Less, "1.0-10"),
        ("9", Ordering::Less, "10"),
        ("9:1", Ordering::Less, "10:0"),
        ("2:0", Ordering::Greater, "1:99"),
        ("1:1", Ordering::Greater, "2"),
        // The table of policy 5.6.12: ~~, ~~a, ~, nothing, a.
        ("1~~", Ordering::Less, "1~~a"),
        ("1~~a", Ordering::Less, "1~"),
        ("1~", Ordering::Less, "1"),
        ("1", Ordering::Less, "1a"),
        ("1.0~rc1", Ordering::Less, "1.0"),
        ("1.0~rc1-1", Ordering::Less, "1.0-1"),
        ("1.0-1~bpo12+1", Ordering::Less, "1.0-1"),
        ("1.0-1", Ordering::Less, "1.0-1+deb13u1"),
        ("1.0-1+b1", Ordering::Less, "1.0-1+deb13u1"),
        ("1.0-1+deb13u1", Ordering::Less, "1.0-1+deb13u2"),
        ("1.0-1~", Ordering::Greater, "1.0"),
        ("1.0-~1", Ordering::Less, "1.0"),
        // Letters sort before all that is not a letter.
        ("1a", Ordering::Less, "1+"),
        ("1A", Ordering::Less, "1a"),
        ("1z", Ordering::Less, "1.0"),
        ("1.a", Ordering::Less, "1.+"),
        ("1+", Ordering::Less, "1."),
        ("1-1", Ordering::Less, "1.1"),
        ("1.2.3", Ordering::Greater, "1.2"),
        ("1.2-3-4", Ordering::Greater, "1.2-3"),
        ("20240101", Ordering::Greater, "2024.1"),
        ("99999999999999999999999", Ordering::Less, "99999999999999999999999.1"),
        ("99999999999999999999998", Ordering::Less, "99999999999999999999999"),
        ("6.12.48-1", Ordering::Greater, "6.12.9-1"),
        ("2.41-12", Ordering::Less, "2.41-12+deb13u1"),
        ("1:2.3:4-5", Ordering::Greater, "1:2.3-5"),
    ];

    #[test]
    fn versions_are_ordered_as_policy_says() {
        for (left, order, right) in ORDER {
            assert_eq!(version(left).cmp(&version(right)), *order, "{left} {right}");
            assert_eq!(version(right).cmp(&version(left)), order.reverse(), "{right} {left}");
        }
    }

    #[test]
    fn dpkg_orders_versions_as_we_do() {
        for (left, order, right) in ORDER {
            let relation = match order {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            #[expect(clippy::disallowed_methods, reason = "this crate has no `process` module")]
            let status = std::process::Command::new("dpkg")
                .args(["--compare-versions", left, relation, right])
                .status();
            assert!(
                status.expect("package `dpkg` is needed").success(),
                "{left} {relation} {right}"
            );
        }
    }

    #[test]
    fn a_version_falls_into_epoch_upstream_and_revision() {
        for (text, epoch, upstream, revision) in [
            ("1.2", 0, "1.2", ""),
            ("1:2.3-4-5+b1", 1, "2.3-4", "5+b1"),
            ("1:2:3-4", 1, "2:3", "4"),
            ("0:1", 0, "1", ""),
        ] {
            let version = version(text);
            let parts = (version.epoch(), version.upstream(), version.revision());
            assert_eq!(parts, (epoch, upstream, revision), "{text}");
            assert_eq!(version.to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_version_is_refused() {
        for text in ["", "-1", "1-", ":1", "1:", "a:1", "+1:1", "1 2", "1_2", "1-a:b", "1/2", "ä"]
        {
            assert_eq!(text.parse::<Version>(), Err(VersionError(text.to_owned())), "{text:?}");
        }
        assert!("4294967296:1".parse::<Version>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "([-0-9a-z.:~+]|.){0,24}") {
            drop(text.parse::<Version>());
        }

        #[test]
        fn the_order_is_total(texts in prop::array::uniform3("[0-2]{0,2}[a~.+-]?[0-2a]{1,3}")) {
            let parsed: Result<Vec<_>, _> = texts.iter().map(|text| text.parse()).collect();
            prop_assume!(parsed.is_ok());
            let mut versions: Vec<Version> = parsed.unwrap();
            versions.sort();
            prop_assert!(versions[0] <= versions[2]);
            prop_assert_eq!(versions[0].cmp(&versions[1]), versions[1].cmp(&versions[0]).reverse());
        }
    }
}
