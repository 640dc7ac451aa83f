//! Signatures on files of all roles.

use std::fs;

use formats::tuf::publish;

use super::super::begin::{Plan, keys};
use super::super::passphrase::Source;
use super::*;
use crate::progress::{Mode, Progress};

const NOW: i64 = 1_900_000_000;

fn empty(version: u64) -> Targets {
    Targets { head: Head::new(version, NOW), targets: [].into(), delegations: None }
}

#[test]
fn metadata_of_every_role_is_signed_by_the_keys_of_that_role() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("keys");
    keys(&directory, Plan { roots: 1, threshold: 1 }, None, NOW).unwrap();
    let progress = Progress::new(Mode::None);
    let mut keyring = Keyring::load(&directory, Source::Terminal, &progress).unwrap();
    let file = place.path().join("some.json");
    let snapshot = Snapshot { head: Head::new(3, NOW), meta: [].into() };
    let timestamp = Timestamp::of(Head::new(4, NOW), &snapshot, b"");
    let nobody: [&super::super::keyring::Hand; 0] = [];
    for (role, version, bytes) in [
        ("targets", 2, publish::signed(&empty(2), &nobody).unwrap()),
        ("snapshot", 3, publish::signed(&snapshot, &nobody).unwrap()),
        ("timestamp", 4, publish::signed(&timestamp, &nobody).unwrap()),
    ] {
        fs::write(&file, bytes).unwrap();
        let signed = sign(&file, &mut keyring).unwrap();
        assert_eq!((signed.role.as_str(), signed.version, signed.expires), (role, version, NOW));
        let added: Vec<_> = signed.added.iter().map(Name::as_str).collect();
        assert_eq!(added, [role]);
        assert!(signed.is_complete());
        let before = fs::read(&file).unwrap();
        let again = sign(&file, &mut keyring).unwrap();
        assert!(again.added.is_empty() && again.is_complete());
        assert_eq!(fs::read(&file).unwrap(), before);
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "nothing is left beside");
}

#[test]
fn what_is_no_metadata_or_lacks_the_root_before_is_not_signed() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("keys");
    keys(&directory, Plan { roots: 1, threshold: 1 }, None, NOW).unwrap();
    let progress = Progress::new(Mode::None);
    let mut keyring = Keyring::load(&directory, Source::Terminal, &progress).unwrap();
    let file = place.path().join("some.json");
    let mut said = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let error = sign(&file, &mut keyring).unwrap_err();
        assert_eq!(fs::read(&file).unwrap(), bytes, "it stays as it was");
        error.id()
    };
    assert_eq!(said(b"{"), Id::Metadata);
    assert_eq!(said(br#"{"signatures":[],"signed":{"_type":"mirrors"}}"#), Id::Metadata);
    let long = vec![b' '; usize::try_from(Limits::DEFAULT.targets).unwrap() + 1];
    assert_eq!(said(&long), Id::Metadata);
    let mut root = Roots::load(&directory).unwrap().last;
    root.head.version = 3;
    let nobody: [&super::super::keyring::Hand; 0] = [];
    assert_eq!(said(&publish::signed(&root, &nobody).unwrap()), Id::Read);
    fs::copy(directory.join("1.root.json"), directory.join("2.root.json")).unwrap();
    assert_eq!(said(&publish::signed(&root, &nobody).unwrap()), Id::Metadata);
    let none = sign(&place.path().join("none"), &mut keyring).unwrap_err();
    assert_eq!(none.id(), Id::Read);
}
