//! Where the node config may come from, and which of it counts.
//!
//! The places are asked one after the other, and the first that has a config, or says from where
//! to fetch one, wins; those after it are not looked at. What wins is taken even if it cannot be
//! used: a node must not quietly become another one because a file was damaged. `docs/node.md`
//! says it for users.

pub mod disks;
pub mod label;
pub mod last_good;
pub mod oem;
pub mod pin;
pub mod places;
pub mod volume;

use std::fmt;

use pin::Device;

/// No source may have more bytes: a config with many certificates and static pods has a tenth.
pub const LIMIT: u64 = 1024 * 1024;

/// What the file is called on a volume.
pub const FILE_NAME: &str = "node.toml";

/// What the name of a volume begins with.
const VOLUME: &str = "volume ";

/// The place that a config came from, or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// A place by its name, or an address.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The volume with this label on this device.
    pub fn volume(label: &str, device: &str) -> Self {
        Self(format!("{VOLUME}{label} ({device})"))
    }

    /// Whether it is a volume.
    pub fn is_volume(&self) -> bool {
        self.0.starts_with(VOLUME)
    }

    /// The whole text, which may have a password in it; [`Origin`]'s `Display` leaves that out.
    pub fn whole(&self) -> &str {
        &self.0
    }
}

/// For people: an address without user, password and query, which may be secrets.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return f.write_str(&self.0);
        };
        let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (path, dots) = match path.find(['?', '#']) {
            Some(end) => (&path[..end], "?..."),
            None => (path, ""),
        };
        write!(f, "{scheme}://{host}{path}{dots}")
    }
}

/// What a place has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No config; says what is not there.
    Nothing(&'static str),
    /// The text of a config.
    Text(String),
    /// The address to fetch one from.
    Address(String),
    /// A config, or a word of one, which cannot be used; says why.
    Unusable(String),
}

/// A place that was asked, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The place.
    pub origin: Origin,
    /// The device that it is on, if it is a volume.
    pub device: Option<Device>,
    /// Its answer.
    pub found: Found,
}

/// The place that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The place and its answer, which is not [`Found::Nothing`]. None if no place has any.
    pub chosen: Option<Candidate>,
    /// Why it is this one: one line for the log.
    pub reason: String,
}

/// Asks the places in their order until one has something.
pub fn decide(candidates: impl IntoIterator<Item = Candidate>) -> Decision {
    let mut passed = Vec::new();
    for candidate in candidates {
        let Candidate { origin, found, .. } = &candidate;
        let what = match found {
            Found::Nothing(lacks) => {
                passed.push(format!("{origin}: {lacks}"));
                continue;
            }
            Found::Text(_) => format!("{origin} has the node config"),
            Found::Address(address) => {
                format!("{origin} says to fetch the node config from {}", Origin::new(address))
            }
            Found::Unusable(_) => format!("what {origin} has cannot be used"),
        };
        let reason = if passed.is_empty() {
            what
        } else {
            format!("{what} (asked before: {})", passed.join("; "))
        };
        return Decision { chosen: Some(candidate), reason };
    }
    let reason = format!("no place has a node config ({})", passed.join("; "));
    Decision { chosen: None, reason }
}

/// The bytes of a file as the text of a config. A byte order mark, which editors of Windows put
/// in front, is left out.
///
/// # Errors
/// When they are no UTF-8, with the line.
pub fn text(bytes: Vec<u8>) -> Result<String, String> {
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
        Err(error) => {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            Err(format!("line {line} is not UTF-8 text"))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(origin: &str, found: Found) -> Candidate {
        Candidate { origin: Origin::new(origin), device: None, found }
    }

    #[test]
    fn the_first_place_with_anything_wins_and_the_reason_says_why() {
        let nothing = || candidate("one", Found::Nothing("no file"));
        let secret = "https://user:secret@h.example/n?token=secret";
        for (found, reason) in [
            (Found::Text("schema = 1".to_owned()), "two has the node config"),
            (
                Found::Address(secret.to_owned()),
                "two says to fetch the node config from https://h.example/n?...",
            ),
            (Found::Unusable("too large".to_owned()), "what two has cannot be used"),
        ] {
            let two = candidate("two", found);
            let never = std::iter::once_with(|| panic!("a place after the one that counts"));
            let decision = decide([nothing(), two.clone()].into_iter().chain(never));
            assert_eq!(decision.chosen, Some(two.clone()));
            assert_eq!(decision.reason, format!("{reason} (asked before: one: no file)"));
            assert_eq!(decide([two]).reason, reason);
        }
    }

    #[test]
    fn if_no_place_has_any_the_reason_names_all() {
        let decision = decide([
            candidate("one", Found::Nothing("no file")),
            candidate("two", Found::Nothing("no volume")),
        ]);
        let reason = "no place has a node config (one: no file; two: no volume)".to_owned();
        assert_eq!(decision, Decision { chosen: None, reason });
    }

    #[test]
    fn addresses_are_shown_without_what_may_be_secret() {
        for (whole, shown) in [
            ("fw_cfg opt/a@b", "fw_cfg opt/a@b"),
            ("http://h.example:80/a/b", "http://h.example:80/a/b"),
            ("https://u:p@h.example/a@b", "https://h.example/a@b"),
            ("https://u:p@h.example?q=u@v/x", "https://h.example?..."),
            ("https://h.example/a#s", "https://h.example/a?..."),
        ] {
            let origin = Origin::new(whole);
            assert_eq!((origin.to_string().as_str(), origin.whole()), (shown, whole));
        }
    }

    #[test]
    fn bytes_become_text_without_a_byte_order_mark() {
        assert_eq!(text(b"\xef\xbb\xbfschema = 1".to_vec()), Ok("schema = 1".to_owned()));
        assert_eq!(text(b"a = 1\nb = \xff".to_vec()), Err("line 2 is not UTF-8 text".to_owned()));
    }

    proptest! {
        #[test]
        fn no_address_makes_showing_it_panic(whole in "\\PC*", rest in "[a@:/?#]{0,12}") {
            let _ = Origin::new(whole).to_string();
            let shown = Origin::new(format!("https://u:secret@{rest}")).to_string();
            prop_assert!(!shown.contains("secret"), "{shown}");
        }
    }
}
