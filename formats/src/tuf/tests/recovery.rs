//! What must be taken although it looks odd: rotation of keys, recovery after a break-in, and what
//! others write that we do not understand.

use super::super::*;
use super::world::*;

/// An attacker who had the keys of timestamps and snapshots has published versions that nobody can
/// exceed. The owner withdraws a key, and clients begin anew.
#[test]
fn versions_may_fall_once_a_key_of_timestamps_or_snapshots_is_withdrawn() {
    for (timestamp, snapshot) in [(8, SNAPSHOT), (TIMESTAMP, 8), (8, 9)] {
        let mut world = World::new();
        let mut client = world.client();
        let last = u64::try_from(i64::MAX).unwrap();
        (world.timestamp.version, world.snapshot.version) = (last, last);
        world.targets.head.version = last;
        world.publish();
        world.refresh(&mut client).unwrap();

        (world.timestamp.version, world.snapshot.version) = (6, 6);
        world.targets.head.version = 6;
        world.publish();
        let refused = world.refresh(&mut client).unwrap_err();
        assert!(matches!(refused.reason, Reason::Rollback { found: 6, .. }), "{refused}");

        world.root = root(2, timestamp, snapshot);
        world.publish_root();
        (world.timestamp_signers, world.snapshot_signers) = (vec![timestamp], vec![snapshot]);
        world.publish();
        let trusted = world.refresh(&mut client).unwrap();
        assert_eq!(trusted.targets(), Some(&world.targets));
        assert_eq!(trusted.timestamp().unwrap().head.version, 6);
    }
}

#[test]
fn another_key_beside_the_old_one_lets_no_version_fall() {
    let mut world = World::new();
    let mut client = world.client();
    world.refresh(&mut client).unwrap();
    world.root = Root::new(Head::new(2, NOW + DAY), |role| match role {
        TopLevel::Root => (ROOT.map(key).to_vec(), 2),
        TopLevel::Timestamp => (vec![key(TIMESTAMP), key(8)], 1),
        TopLevel::Snapshot => (vec![key(SNAPSHOT)], 1),
        TopLevel::Targets => (vec![key(TARGETS)], 1),
    });
    world.publish_root();
    world.timestamp.version = 4;
    world.timestamp_signers = vec![8];
    world.publish();
    let refused = world.refresh(&mut client).unwrap_err();
    assert_eq!(refused.reason, Reason::Rollback { found: 4, trusted: 5 });
}

#[test]
fn all_keys_of_the_root_may_be_replaced_step_by_step() {
    let mut world = World::new();
    let mut client = world.client();
    for (version, before, now) in [(2, [1, 2], [11, 12]), (3, [11, 12], [21, 22])] {
        let all = now.map(key).to_vec();
        world.root = Root::new(Head::new(version, NOW - DAY), |_| (all.clone(), 2));
        world.root_signers = [before, now].concat();
        world.publish_root();
    }
    // Those on the way may have expired; the last one must not.
    let refused = world.refresh(&mut client).unwrap_err();
    assert!(matches!(refused.reason, Reason::Expired(_)), "{refused}");
    world.root.head = Head::new(4, NOW + DAY);
    world.root_signers = vec![21, 22];
    world.publish_root();
    for signers in
        [&mut world.timestamp_signers, &mut world.snapshot_signers, &mut world.targets_signers]
    {
        *signers = vec![21, 22];
    }
    world.publish();
    assert_eq!(world.refresh(&mut client).unwrap().root(), &world.root);
}

#[test]
fn keys_that_no_role_has_any_more_are_not_in_the_next_root() {
    let mut root = root(1, TIMESTAMP, SNAPSHOT);
    root.head.version = 2;
    root.assign(TopLevel::Timestamp, [key(8), key(SNAPSHOT)], 1);
    root.assign(TopLevel::Snapshot, [key(9)], 1);
    let ids = |root: &Root| root.keys.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    let mut want: Vec<_> = [1, 2, 3, 8, SNAPSHOT, 9, TARGETS].map(|n| key(n).id()).to_vec();
    want.sort();
    assert_eq!(ids(&root), want);
    assert_eq!(Root::read(root.to_json()), Ok(root));
}

/// Whoever walks roots by hand cannot forget to verify the rest again.
#[test]
fn a_new_root_has_verified_nothing_yet() {
    let mut world = World::new();
    let mut trusted = world.refresh(&mut world.client()).unwrap();
    world.root.head.version = 2;
    assert_eq!(trusted.update_root(&file(&world.root, &world.root_signers)), Ok(false));
    assert_eq!(trusted.root(), &world.root);
    assert!(trusted.timestamp().is_none() && trusted.snapshot().is_none());
    let targets = file(&world.targets, &world.targets_signers);
    assert_eq!(trusted.update_targets(&targets), Err(Reason::Missing));
}

#[test]
fn a_timestamp_of_the_same_version_changes_nothing_whatever_it_says() {
    let mut world = World::new();
    let mut client = world.client();
    world.refresh(&mut client).unwrap();
    let kept = client.kept.clone();
    world.snapshot.version = 100;
    world.publish();
    assert_eq!(world.refresh(&mut client).unwrap().snapshot().unwrap().head.version, 5);
    assert_eq!(client.kept, kept);
}

#[test]
fn what_is_up_to_date_is_not_fetched_again() {
    let mut world = World::new();
    world.delegate("b", &["b/*"], 7);
    let role: RoleName = "b".parse().unwrap();
    world.delegated.get_mut(&role).unwrap().0.targets.insert(path("b/c"), target("one"));
    world.publish();
    let mut client = world.client();
    world.find(&mut client, "b/c").unwrap();
    world.served.retain(|path, _| path == "timestamp.json");
    assert_eq!(world.find(&mut client, "b/c").unwrap().path, path("b/c"));
}

#[test]
fn a_repository_without_consistent_snapshots_has_plain_names() {
    let mut world = World::new();
    world.root.consistent_snapshot = false;
    world.publish_root();
    world.publish();
    let names = ["snapshot.json", "targets.json", "timestamp.json"];
    assert!(names.iter().all(|name| world.served.contains_key(*name)));
    let found = world.find(&mut world.client(), "1.0/a").unwrap();
    assert_eq!(found.place(Form::Address), "1.0/a");
}

/// A root that somebody else has written, with members that we do not know: who signs it signs them too.
#[test]
fn what_is_not_understood_is_signed_and_kept() {
    let world = World::new();
    let text = String::from_utf8(world.served["1.root.json"].clone()).unwrap();
    let text = text.replacen("\"threshold\": 2", "\"threshold\": 2, \"x-period\": [7]", 1);
    let text = text.replacen("\"_type\"", "\"x-owner\": {\"a\": null}, \"_type\"", 1);
    let text = text.replacen("\"keyid\"", "\"x-when\": 1, \"keyid\"", 1);
    let mut signed = Signed::parse(text.as_bytes()).unwrap();
    assert!(String::from_utf8(signed.to_file()).unwrap().contains("x-when"));
    let root: Root = signed.metadata().unwrap();
    assert_eq!(root.to_json(), Json::parse(&signed.message()).unwrap());
    assert!(signed.signers(&root.keys, root.role(TopLevel::Root)).is_empty());
    for number in [1, 2] {
        let Ok(()) = signed.sign(&signer(number));
    }
    let again = Signed::parse(&signed.to_file()).unwrap();
    assert_eq!(again, signed);
    assert_eq!(again.signers(&root.keys, root.role(TopLevel::Root)).len(), 2);
    assert_eq!(again.metadata::<Root>().unwrap(), root);
    assert!(Trusted::new(&signed.to_file(), NOW).is_ok());
}

#[test]
fn it_is_to_be_believed_until_the_first_of_the_four_expires() {
    let mut world = World::new();
    world.timestamp.expires = NOW + DAY;
    world.publish();
    assert_eq!(world.refresh(&mut world.client()).unwrap().expires(), NOW + DAY);
}
