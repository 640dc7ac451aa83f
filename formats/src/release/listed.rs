//! Which releases a channel has: what its metadata says of each `release.json`, in `custom`.

use super::FILE;
use crate::tuf::{Json, Object, Targets};

/// Which release it is, from 1 on: the highest is the newest.
const NUMBER: &str = "number";

/// The release's epoch once more: it outlives the file that says it.
const EPOCH: &str = "epoch";

/// When it came to the channel, in seconds since 1970.
const PUBLISHED: &str = "published";

/// A release that metadata names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Which it is.
    pub number: u64,
    /// Its version.
    pub version: String,
    /// When it came to the channel, in seconds since 1970, if that is said.
    pub published: Option<i64>,
    /// Its epoch; 0 if none is said.
    pub epoch: u64,
}

/// All releases, the oldest first.
pub fn listed(targets: &Targets) -> Vec<Listed> {
    let mut releases: Vec<_> = targets
        .targets
        .iter()
        .filter_map(|(path, file)| {
            let version = path.as_str().strip_suffix(FILE)?.strip_suffix('/')?;
            let custom = file.custom.as_ref()?;
            let integer = |name| match custom.get(name)? {
                Json::Integer(number) => Some(*number),
                _ => None,
            };
            let number = u64::try_from(integer(NUMBER)?).ok()?;
            let epoch = integer(EPOCH).and_then(|epoch| u64::try_from(epoch).ok()).unwrap_or(0);
            let published = integer(PUBLISHED);
            Some(Listed { number, version: version.to_owned(), published, epoch })
        })
        .collect();
    releases.sort();
    releases
}

/// The number of a release by its version, if there is one.
pub fn number(channel: &[Listed], version: &str) -> Option<u64> {
    channel.iter().find(|it| it.version == version).map(|it| it.number)
}

/// Whether a node that runs `runs` may take a release with this `min_from`: whether what runs is that
/// release, or came to the channel after it. A version that the channel does not have any more came before
/// all that it has.
pub fn is_reached(channel: &[Listed], min_from: Option<&str>, runs: &str) -> bool {
    min_from.is_none_or(|first| {
        let place = |version| number(channel, version).unwrap_or(0);
        runs == first || place(runs) > place(first)
    })
}

/// What `custom` of a `release.json` says of it.
pub fn custom(number: u64, published: i64, epoch: u64) -> Object {
    let natural = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let members = [(NUMBER, natural(number)), (PUBLISHED, published), (EPOCH, natural(epoch))];
    members.into_iter().map(|(name, value)| (name.to_owned(), Json::Integer(value))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::digest::Sha256;
    use crate::tuf::{Head, TargetFile};

    #[test]
    fn a_release_is_reached_by_the_order_in_which_releases_came_whatever_their_versions() {
        let listed = |(number, version): (u64, &str)| Listed {
            number,
            version: version.to_owned(),
            published: None,
            epoch: 0,
        };
        let channel = [(4, "9.0"), (5, "beta"), (6, "alpha"), (7, "1.0")].map(listed);
        for (min_from, runs, want) in [
            (None, "gone", true),
            (Some("beta"), "beta", true),
            (Some("beta"), "alpha", true),
            (Some("beta"), "1.0", true),
            (Some("beta"), "9.0", false),
            (Some("9.0"), "gone", false),
            (Some("gone"), "gone", true),
            (Some("gone"), "9.0", true),
            (Some("gone"), "gone too", false),
        ] {
            assert_eq!(is_reached(&channel, min_from, runs), want, "{min_from:?} {runs}");
        }
    }

    #[test]
    fn releases_are_listed_by_number_and_other_files_are_none() {
        let mut targets =
            Targets { head: Head::new(1, 0), targets: BTreeMap::new(), delegations: None };
        for (path, custom) in [
            ("9.0/release.json", Some(custom(1, 50, 0))),
            ("1.0/release.json", Some(custom(2, 70, 5))),
            ("0.5/release.json", Some([(NUMBER.to_owned(), Json::Integer(0))].into())),
            ("1.0/root.zst", Some(custom(3, 0, 9))),
            ("2.0/release.json", None),
            ("3.0/release.json", Some([(NUMBER.to_owned(), Json::Integer(-1))].into())),
            ("release.json", Some(custom(4, 0, 0))),
        ] {
            let file = TargetFile { custom, ..TargetFile::new(1, Sha256::of(path)) };
            targets.targets.insert(path.parse().unwrap(), file);
        }
        let found = listed(&targets);
        let found = found.iter().map(|it| (it.version.as_str(), it.published, it.epoch));
        let found: Vec<_> = found.collect();
        assert_eq!(found, [("0.5", None, 0), ("9.0", Some(50), 0), ("1.0", Some(70), 5)]);
    }
}
