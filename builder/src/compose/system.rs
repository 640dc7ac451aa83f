//! The files that maintainer scripts would have made and the image needs: each a pure function
//! from data to text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use formats::deb::date;

use crate::lock::model::Suite;
use crate::os_release::{IMAGE, VERSION};
use crate::recipe::model::{Name, Os, User};

/// `os-release(5)`, by the keys of [`crate::os_release`].
pub fn os_release(os: &Os, image: &Name) -> String {
    let name = shell_quoted(&os.name);
    let pretty = shell_quoted(&format!("{} {} ({image})", os.name, os.version));
    let version = shell_quoted(&os.version);
    format!(
        "ID={}\nNAME={name}\nPRETTY_NAME={pretty}\n{IMAGE}={image}\n{VERSION}={version}\n",
        os.id
    )
}

fn shell_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '$' | '`' | '\\') {
            quoted.push('\\');
        }
        quoted.push(if c.is_control() { ' ' } else { c });
    }
    quoted + "\""
}

/// `passwd(5)` and `group(5)`: the recipe's users sorted by id, each with a group of its own name
/// and id. Nobody can log in: there is no shell.
pub fn accounts(users: &BTreeMap<Name, User>) -> (String, String) {
    let mut by_id: Vec<_> =
        users.iter().map(|(name, user)| (user.id, name.as_str(), user)).collect();
    by_id.sort_unstable_by_key(|(id, name, _)| (*id, *name));
    let (mut passwd, mut group) = (String::new(), String::new());
    for (id, name, user) in by_id {
        let home = user.home.as_ref().map_or("/nonexistent".to_owned(), |home| home.0.to_string());
        // Writing to a String cannot fail.
        let _ = writeln!(passwd, "{name}:x:{id}:{id}::{home}:/nonexistent");
        let _ = writeln!(group, "{name}:x:{id}:");
    }
    (passwd, group)
}

/// The earliest time that a node's clock can rightly show, in seconds since 1970: the day of the
/// newest release file of the lock. By the day, for an image should not change because an archive
/// was signed once more. `None` without suites.
pub fn time_floor(suites: &[Suite]) -> Option<String> {
    const DAY: u64 = 24 * 60 * 60;
    let newest = suites.iter().filter_map(|suite| date::parse(&suite.date).ok()).max()?;
    Some(format!("{}\n", newest - newest % DAY))
}

/// One file of all certificates (`cafile`, PEM), in the order given; each ends with a line break.
pub fn ca_bundle<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bundle = Vec::new();
    for certificate in certificates {
        bundle.extend_from_slice(certificate);
        if !certificate.ends_with(b"\n") {
            bundle.push(b'\n');
        }
    }
    bundle
}

#[cfg(test)]
mod tests {
    use formats::digest::Sha256;

    use super::*;
    use crate::recipe::model::Digest;

    fn name(text: &str) -> Name {
        Name::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn os_release_is_quoted_for_a_shell_and_has_no_key_that_orders_boot_entries() {
        let os = Os { id: name("orlopos"), name: "Orlop\"$OS".into(), version: "1.2".into() };
        let text = os_release(&os, &name("base"));
        assert_eq!(
            text,
            "ID=orlopos\nNAME=\"Orlop\\\"\\$OS\"\nPRETTY_NAME=\"Orlop\\\"\\$OS 1.2 (base)\"\n\
             ORLOP_IMAGE=base\nORLOP_VERSION=\"1.2\"\n"
        );
        for line in text.lines() {
            for key in ["VERSION", "IMAGE_VERSION", "BUILD_ID"] {
                assert!(!line.starts_with(key), "{line}");
            }
        }
    }

    #[test]
    fn users_have_fixed_ids_and_no_shell() {
        let users = BTreeMap::from([
            (name("b"), User { id: 200, home: None }),
            (name("a"), User { id: 300, home: None }),
        ]);
        let (passwd, group) = accounts(&users);
        assert_eq!(
            passwd,
            "b:x:200:200::/nonexistent:/nonexistent\na:x:300:300::/nonexistent:/nonexistent\n"
        );
        assert_eq!(group, "b:x:200:\na:x:300:\n");
    }

    #[test]
    fn no_clock_is_right_before_the_day_of_the_newest_release_file() {
        let suite = |date: &str| Suite {
            name: "trixie".to_owned(),
            date: date.to_owned(),
            signed_by: String::new(),
            release: Digest(Sha256::of(b"")),
        };
        let suites = [
            suite("Sat, 12 Sep 2026 07:55:41 UTC"),
            suite("Thu, 19 Nov 2026 02:12:54 UTC"),
            suite("yesterday"),
        ];
        // As `date -u -d 2026-11-19 +%s` has it.
        assert_eq!(time_floor(&suites).as_deref(), Some("1795046400\n"));
        assert_eq!(time_floor(&[]), None);
    }

    #[test]
    fn certificates_never_run_into_one_another() {
        assert_eq!(ca_bundle([&b"one"[..], b"two\n"]), b"one\ntwo\n");
    }
}
