//! New directories of keys, and roots that follow each other while several people hold the keys.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tempfile::TempDir;

use super::super::passphrase::Source;
use super::super::roots::Roots;
use super::super::sign::sign;
use super::*;
use crate::progress::{Mode, Progress};

const NOW: i64 = 1_900_000_000;
const PLAN: Plan = Plan { roots: 3, threshold: 2 };

/// A directory with new keys in `keys`.
fn place() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("keys");
    keys(&directory, PLAN, None, NOW).unwrap();
    (place, directory)
}

/// What `work` makes of the keys that are here.
fn with<T>(directory: &Path, work: impl FnOnce(&mut Keyring<'_>) -> T) -> T {
    let progress = Progress::new(Mode::None);
    work(&mut Keyring::load(directory, Source::Terminal, &progress).unwrap())
}

fn copy(from: &Path, to: &Path, names: &[&str]) {
    fs::create_dir_all(to).unwrap();
    for name in names {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

fn have(outcome: &Outcome) -> Vec<(u64, usize, u64)> {
    outcome.counts.iter().map(|count| (count.root, count.have, count.want)).collect()
}

#[test]
fn new_keys_have_a_root_that_all_keys_of_root_have_signed() {
    let (place, directory) = place();
    let roots = Roots::load(&directory).unwrap();
    assert_eq!((roots.files.len(), roots.last.head.version, roots.begun), (1, 1, None));
    assert_eq!(roots.last.head.expires, NOW + 365 * 86_400);
    for name in ["root-1.pem", "root-3.pem", "timestamp.pem"] {
        let mode = fs::metadata(directory.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let signed = with(&directory, |keyring| sign(&directory.join("1.root.json"), keyring).unwrap());
    assert_eq!((have(&signed), signed.added.len()), (vec![(1, 3, 2)], 0));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing is left beside");

    let error = keys(&directory, PLAN, None, NOW).unwrap_err();
    assert_eq!(error.id(), Id::KeyInTheWay);
    for (roots, threshold) in [(3, 0), (3, 4), (0, 1), (0, 0)] {
        let error = keys(&place.path().join("b"), Plan { roots, threshold }, None, NOW);
        assert_eq!(error.unwrap_err().id(), Id::KeyRoles);
        assert!(!place.path().join("b").exists());
    }
    let nowhere = keys(&place.path().join("none/b"), PLAN, None, NOW);
    assert_eq!(nowhere.unwrap_err().id(), Id::Write);
}

#[test]
fn a_first_root_is_made_of_keys_that_are_there_and_never_written_over() {
    let (place, theirs) = place();
    let ours = place.path().join("ours");
    copy(&theirs, &ours, &["keys.toml", "root-2.pem"]);
    assert_eq!(Roots::load(&ours).unwrap_err().id(), Id::Read);
    let made = with(&ours, |keyring| first(keyring, NOW).unwrap());
    assert_eq!((have(&made), made.is_complete()), (vec![(1, 1, 2)], false));
    assert_eq!(Roots::load(&ours).unwrap_err().id(), Id::Signatures);
    let again = with(&ours, |keyring| first(keyring, NOW).unwrap_err());
    assert_eq!(again.id(), Id::KeyInTheWay);
}

/// Alice and Bob have a key of root each, and the third is lost.
#[test]
fn two_people_sign_the_next_root_one_after_the_other_and_the_old_keys_have_a_say() {
    let (place, all) = place();
    let [alice, bob] = ["alice", "bob"].map(|name| place.path().join(name));
    copy(&all, &alice, &["keys.toml", "1.root.json", "root-1.pem"]);
    let text = fs::read_to_string(alice.join("keys.toml")).unwrap();
    let text = text.replace(r#""root-2", "root-3"]"#, r#""root-2"]"#);
    fs::write(alice.join("keys.toml"), text).unwrap();
    copy(&alice, &bob, &["keys.toml", "1.root.json"]);
    copy(&all, &bob, &["root-2.pem"]);

    let made = with(&alice, |keyring| next(Role::Root, keyring, NOW + 1).unwrap());
    assert_eq!((have(&made), made.added.len()), (vec![(1, 1, 2), (2, 1, 2)], 1));
    assert!(!made.is_complete());
    assert_eq!(Roots::load(&alice).unwrap().last.head.version, 1, "it does not count yet");
    let early = with(&alice, |keyring| next(Role::Root, keyring, NOW).unwrap_err());
    assert_eq!(early.id(), Id::Signatures);

    copy(&alice, &bob, &["2.root.json"]);
    let signed = with(&bob, |keyring| sign(&bob.join("2.root.json"), keyring).unwrap());
    assert_eq!((have(&signed), signed.is_complete()), (vec![(1, 2, 2), (2, 2, 2)], true));
    copy(&bob, &alice, &["2.root.json"]);
    let roots = Roots::load(&alice).unwrap();
    assert_eq!((roots.last.head.version, roots.files.len(), roots.begun), (2, 2, None));

    // Who has left signs nothing any more.
    copy(&all, &bob, &["root-3.pem"]);
    fs::remove_file(bob.join("root-2.pem")).unwrap();
    let made = with(&bob, |keyring| next(Role::Targets, keyring, NOW).unwrap());
    assert_eq!((have(&made), made.added.len()), (vec![(2, 0, 2), (3, 0, 2)], 0));
    let error = with(&bob, |keyring| sign(&bob.join("3.root.json"), keyring).unwrap_err());
    assert_eq!(error.id(), Id::Signatures);
    assert_eq!(error.hints(), ["those that may are root-1, root-2"]);
}

#[test]
fn a_rotated_role_has_other_keys_and_the_others_stay() {
    let (_place, directory) = place();
    let before = Roots::load(&directory).unwrap().last;
    let text = fs::read_to_string(directory.join("keys.toml")).unwrap();
    let text = text.replace("keys = [\"timestamp\"]", "keys = [\"snapshot\"]");
    fs::write(directory.join("keys.toml"), text).unwrap();
    let made = with(&directory, |keyring| next(Role::Timestamp, keyring, NOW + 5).unwrap());
    assert!(made.is_complete());
    let after = Roots::load(&directory).unwrap().last;
    let ids = |root: &formats::tuf::Root, role: Role| root.role(role.of_metadata()).ids.clone();
    assert_eq!(ids(&after, Role::Timestamp), ids(&before, Role::Snapshot));
    assert_ne!(ids(&after, Role::Timestamp), ids(&before, Role::Timestamp));
    for role in [Role::Root, Role::Targets, Role::Snapshot] {
        assert_eq!(ids(&after, role), ids(&before, role));
    }
    assert_eq!(after.head.expires, before.head.expires + 5);
}

#[test]
fn roots_that_do_not_follow_from_each_other_are_refused() {
    let (place, directory) = place();
    fs::copy(directory.join("1.root.json"), directory.join("2.root.json")).unwrap();
    assert_eq!(Roots::load(&directory).unwrap_err().id(), Id::Metadata, "the version");
    let other = place.path().join("other");
    keys(&other, PLAN, None, NOW).unwrap();
    let made = with(&other, |keyring| next(Role::Root, keyring, NOW).unwrap());
    assert!(made.is_complete());
    fs::copy(other.join("2.root.json"), directory.join("2.root.json")).unwrap();
    let roots = Roots::load(&directory).unwrap();
    assert!(roots.begun.is_some() && roots.files.len() == 1, "signed by others");
    fs::write(directory.join("2.root.json"), "{}").unwrap();
    assert_eq!(Roots::load(&directory).unwrap_err().id(), Id::Metadata);
}
