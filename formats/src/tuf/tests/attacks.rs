//! The table of attacks: each is refused, says why, and does no lasting harm.

use super::super::*;
use super::world::*;
use crate::digest::Sha256;

/// What a client says that was up to date when the attack began; `attack` is let loose on the next
/// edition, which is served in full before.
fn refused(attack: impl FnOnce(&mut World)) -> String {
    let mut world = World::new();
    world.delegate("b", &["b/*"], 7);
    world.publish();
    let mut client = world.client();
    world.refresh(&mut client).unwrap();
    let mut honest = world.clone();

    world.advance();
    world.publish();
    attack(&mut world);
    let refused = world.refresh(&mut client).unwrap_err().to_string();

    // Whatever was kept, the next honest edition is taken.
    honest.now = world.now;
    honest.root.head.version =
        Trusted::new(&client.kept["root.json"], NOW).unwrap().root().head.version;
    (0..2).for_each(|_| honest.advance());
    for head in [
        &mut honest.root.head,
        &mut honest.targets.head,
        &mut honest.snapshot,
        &mut honest.timestamp,
    ] {
        head.expires = world.now + DAY;
    }
    honest.root.head.version += 1;
    honest.publish_root();
    honest.publish();
    let trusted = honest.refresh(&mut client);
    assert_eq!(trusted.unwrap().targets(), Some(&honest.targets), "after {refused}");
    refused
}

fn change(world: &mut World, path: &str, change: impl FnOnce(&mut Object)) {
    let bytes = world.served.get_mut(path).unwrap();
    let Json::Object(mut file) = Json::parse(bytes).unwrap() else { panic!("an object") };
    change(&mut file);
    *bytes = Json::Object(file).to_file();
}

/// Signs what stands under a name with these keys, after a change of what it says.
fn forge(world: &mut World, path: &str, signers: &[u8], forge: impl FnOnce(&mut Object)) {
    change(world, path, |file| {
        let Some(Json::Object(signed)) = file.get_mut("signed") else { panic!("an object") };
        forge(signed);
        let message = file["signed"].to_canonical();
        let signature = |number: &u8| {
            let Ok(signature) = signer(*number).sign(&message);
            let signature = key::hex(&signature);
            fields::object(
                [("keyid", key(*number).id().into()), ("sig", signature.into())],
                &Object::new(),
            )
        };
        let signatures = signers.iter().map(signature).collect();
        file.insert("signatures".to_owned(), Json::List(signatures));
    });
}

type Attack = fn(&mut World);

#[test]
fn each_attack_is_refused_with_its_reason() {
    let attacks: &[(Attack, &str)] = &[
        // Rollback of each role.
        (
            |w| {
                w.timestamp.version = 4;
                w.publish();
            },
            "`timestamp.json`: its version is 4, and 5 is trusted: a rollback",
        ),
        (
            |w| {
                w.snapshot.version = 4;
                w.publish();
            },
            "`timestamp.json`: it names version 4 of `snapshot.json`, and 5 is trusted: a rollback",
        ),
        (
            |w| {
                w.targets.head.version = 4;
                w.publish();
            },
            "`snapshot.json`: it names version 4 of `targets.json`, and 5 is trusted: a rollback",
        ),
        (
            |w| {
                w.delegated.values_mut().for_each(|(role, _)| role.head.version = 4);
                w.publish();
            },
            "`snapshot.json`: it names version 4 of `b.json`, and 5 is trusted: a rollback",
        ),
        (
            |w| {
                w.delegated.clear();
                w.publish();
            },
            "`snapshot.json`: it does not name `b.json`, which it did before",
        ),
        (
            |w| {
                let old = w.served["1.root.json"].clone();
                w.served.insert("2.root.json".to_owned(), old);
            },
            "`root.json`: its version is 1, and not 2",
        ),
        // A chain of roots with a gap.
        (
            |w| {
                w.root.head.version = 3;
                let bytes = file(&w.root, &w.root_signers);
                w.served.insert("2.root.json".to_owned(), bytes);
            },
            "`root.json`: its version is 3, and not 2",
        ),
        // Freeze: nothing new is served, or nothing that has not expired.
        (
            |w| {
                *w = World::new();
                w.now += 31 * DAY;
            },
            "`timestamp.json`: it expired at 2030-01-31 00:00:00 UTC: nothing newer is to be had, or \
             it is kept back",
        ),
        (
            |w| {
                w.timestamp.expires = NOW;
                w.publish();
            },
            "`timestamp.json`: it expired at 2030-01-01 00:00:00 UTC: nothing newer is to be had, or \
             it is kept back",
        ),
        (
            |w| {
                w.snapshot.expires = NOW;
                w.publish();
            },
            "`snapshot.json`: it expired at 2030-01-01 00:00:00 UTC: nothing newer is to be had, or \
             it is kept back",
        ),
        (
            |w| {
                w.targets.head.expires = NOW - 1;
                w.publish();
            },
            "`targets.json`: it expired at 2029-12-31 23:59:59 UTC: nothing newer is to be had, or \
             it is kept back",
        ),
        (
            |w| {
                w.root.head.version = 2;
                w.root.head.expires = NOW;
                w.publish_root();
            },
            "`root.json`: it expired at 2030-01-01 00:00:00 UTC: nothing newer is to be had, or it \
             is kept back",
        ),
        // Files of different editions: signed all of them, but not together.
        (
            |w| {
                let old = w.served["5.snapshot.json"].clone();
                w.served.insert("6.snapshot.json".to_owned(), old);
            },
            "`snapshot.json`: its sha256 is not the one that was signed",
        ),
        (
            |w| {
                let old = w.served["5.targets.json"].clone();
                w.served.insert("6.targets.json".to_owned(), old);
            },
            "`targets.json`: its sha256 is not the one that was signed",
        ),
        (
            |w| {
                forge(w, "timestamp.json", &[TIMESTAMP], |signed| {
                    let meta = r#"{"snapshot.json":{"version":7}}"#;
                    signed.insert("meta".to_owned(), Json::parse(meta.as_bytes()).unwrap());
                });
                let old = w.served["6.snapshot.json"].clone();
                w.served.insert("7.snapshot.json".to_owned(), old);
            },
            "`snapshot.json`: its version is 6, and not 7",
        ),
        // Data without end.
        (
            |w| {
                w.served.insert("timestamp.json".to_owned(), vec![b' '; 100 << 20]);
            },
            "`timestamp.json`: it has more than the 16384 bytes that are taken",
        ),
        (
            |w| {
                w.served.insert("2.root.json".to_owned(), vec![b'['; 100 << 20]);
            },
            "`2.root.json`: it has more than the 524288 bytes that are taken",
        ),
        (
            |w| {
                w.served.get_mut("6.snapshot.json").unwrap().push(b' ');
            },
            "`6.snapshot.json`: it has more than the 800 bytes that are taken",
        ),
        (
            |w| {
                forge(w, "timestamp.json", &[TIMESTAMP], |signed| {
                    let meta = r#"{"snapshot.json":{"version":6,"length":104857600}}"#;
                    signed.insert("meta".to_owned(), Json::parse(meta.as_bytes()).unwrap());
                });
            },
            "`snapshot.json`: it has more than the 2097152 bytes that are taken",
        ),
        // JSON that is hard to read.
        (
            |w| {
                w.served.insert("timestamp.json".to_owned(), vec![b'['; 16 << 10]);
            },
            "`timestamp.json`: it is not the JSON that TUF has: it is deeper than 32 at line 1 column 33",
        ),
        (
            |w| {
                let text = br#"{"signed":{},"signed":{},"signatures":[]}"#.to_vec();
                w.served.insert("timestamp.json".to_owned(), text);
            },
            "`timestamp.json`: it is not the JSON that TUF has: it has `signed` twice at line 1 column 21",
        ),
        // Keys.
        (
            |w| {
                w.timestamp_signers = vec![STRANGER];
                w.publish();
            },
            "`timestamp.json`: 0 of the keys of `timestamp` have signed it, and 1 must",
        ),
        (
            |w| {
                w.snapshot_signers = vec![TIMESTAMP];
                w.publish();
            },
            "`snapshot.json`: 0 of the keys of `snapshot` have signed it, and 1 must",
        ),
        (
            |w| {
                w.targets_signers = vec![];
                w.publish();
            },
            "`targets.json`: 0 of the keys of `targets` have signed it, and 1 must",
        ),
        (
            |w| {
                w.root = root(2, 8, SNAPSHOT);
                w.publish_root();
            },
            "`timestamp.json`: 0 of the keys of `timestamp` have signed it, and 1 must",
        ),
        (
            |w| {
                w.root.head.version = 2;
                w.root_signers = vec![1];
                w.publish_root();
            },
            "`root.json`: 1 of the keys of `root, as it was before` have signed it, and 2 must",
        ),
        (
            |w| {
                let mine = [11, 12].map(key);
                w.root = Root::new(Head::new(2, NOW + DAY), |_| (mine.to_vec(), 2));
                w.root_signers = vec![11, 12, 1];
                w.publish_root();
            },
            "`root.json`: 1 of the keys of `root, as it was before` have signed it, and 2 must",
        ),
        (
            |w| {
                let new = [11, 12].map(key);
                w.root = Root::new(Head::new(2, NOW + DAY), |_| (new.to_vec(), 2));
                w.root_signers = vec![1, 2, 11];
                w.publish_root();
            },
            "`root.json`: 1 of the keys of `root` have signed it, and 2 must",
        ),
        (
            |w| {
                forge(w, "timestamp.json", &[TIMESTAMP, TIMESTAMP], |_| ());
            },
            "`timestamp.json`: it has two signatures of the key `KEY`",
        ),
        (
            |w| {
                let bytes = w.served.get_mut("timestamp.json").unwrap();
                let text = String::from_utf8(bytes.clone()).unwrap();
                *bytes = text.replace("2030-", "2031-").into_bytes();
            },
            "`timestamp.json`: 0 of the keys of `timestamp` have signed it, and 1 must",
        ),
        // Right signatures of something else.
        (
            |w| {
                let snapshot = Snapshot { head: w.snapshot.clone(), meta: [].into() };
                let bytes = file(&snapshot, &[TIMESTAMP]);
                w.served.insert("timestamp.json".to_owned(), bytes);
            },
            "`timestamp.json`: it is metadata of the type `snapshot`, not `timestamp`",
        ),
        (
            |w| {
                forge(w, "timestamp.json", &[TIMESTAMP], |signed| {
                    signed.insert("spec_version".to_owned(), "2.0.0".into());
                });
            },
            "`timestamp.json`: it follows version `2.0.0` of the specification, and not 1",
        ),
        (
            |w| {
                forge(w, "timestamp.json", &[TIMESTAMP], |signed| {
                    signed.insert("version".to_owned(), Json::Integer(0));
                });
            },
            "`timestamp.json`: its `version` is not a number from 1",
        ),
        (
            |w| {
                forge(w, "timestamp.json", &[TIMESTAMP], |signed| {
                    let meta = r#"{"snapshot.json":{"version":6,"hashes":{"md5":"00"}}}"#;
                    signed.insert("meta".to_owned(), Json::parse(meta.as_bytes()).unwrap());
                });
            },
            "`snapshot.json`: it has no hash of a kind that is known, only md5",
        ),
        // Files that are not there.
        (
            |w| drop(w.served.remove("timestamp.json")),
            "`timestamp.json`: the repository does not have it",
        ),
        (
            |w| drop(w.served.remove("6.snapshot.json")),
            "`snapshot.json`: the repository does not have it",
        ),
        (
            |w| drop(w.served.remove("6.targets.json")),
            "`targets.json`: the repository does not have it",
        ),
    ];
    for (attack, want) in attacks {
        let said = refused(attack);
        assert_eq!(said.replace(&key(TIMESTAMP).id(), "KEY"), *want);
    }
}

/// One key under two names is one key.
#[test]
fn one_key_twice_is_not_two_keys() {
    let mut world = World::new();
    let ours = key(TIMESTAMP);
    let Json::Object(mut members) = ours.to_json() else { panic!("an object") };
    members.insert("x".to_owned(), Json::Null);
    let again = Key::read(Json::Object(members), "").unwrap();
    let roles = world.root.clone();
    world.root = Root::new(roles.head, |role| match role {
        TopLevel::Root => (ROOT.map(key).to_vec(), 2),
        TopLevel::Timestamp => (vec![ours.clone(), again.clone()], 2),
        TopLevel::Snapshot => (vec![key(SNAPSHOT)], 1),
        TopLevel::Targets => (vec![key(TARGETS)], 1),
    });
    world.publish_root();
    forge(&mut world, "timestamp.json", &[TIMESTAMP], |_| ());
    let (one, two) = (ours.id(), again.id());
    assert_ne!(one, two);
    change(&mut world, "timestamp.json", |file| {
        let Some(Json::List(signatures)) = file.get_mut("signatures") else { panic!("a list") };
        let Json::Object(mut second) = signatures[0].clone() else { panic!("an object") };
        second.insert("keyid".to_owned(), two.into());
        signatures.push(Json::Object(second));
    });
    let refused = world.refresh(&mut world.client()).unwrap_err();
    let want = Reason::Signatures { role: "timestamp".to_owned(), valid: 1, threshold: 2 };
    assert_eq!(refused.reason, want);
}

#[test]
fn a_client_without_a_root_or_with_a_damaged_one_believes_nobody() {
    let world = World::new();
    let refresh = |root: Option<Vec<u8>>| {
        let mut client = Memory::default();
        client.kept.extend(root.map(|root| ("root.json".to_owned(), root)));
        world.refresh(&mut client).unwrap_err().reason
    };
    assert_eq!(refresh(None), Reason::NoRoot);
    assert_eq!(refresh(Some(vec![b' '; 1 << 20])), Reason::NoRoot);
    assert!(matches!(refresh(Some(b"{}".to_vec())), Reason::Shape { .. }));
    let unsigned = file(&world.root, &[]);
    let want = Reason::Signatures { role: "root".to_owned(), valid: 0, threshold: 2 };
    assert_eq!(refresh(Some(unsigned)), want);
    let nobodys = file(&Root::new(Head::new(1, NOW + DAY), |_| (vec![], 0)), &[]);
    assert!(matches!(refresh(Some(nobodys)), Reason::Shape { .. }));
}

#[test]
fn roots_are_walked_up_to_a_bound_and_the_next_refresh_walks_on() {
    let mut world = World::new();
    let mut client = world.client();
    for version in 2..=8 {
        world.root.head.version = version;
        world.publish_root();
    }
    world.limits.roots = 4;
    for want in [5, 8] {
        let trusted = world.refresh(&mut client).unwrap();
        assert_eq!(trusted.root().head.version, want);
    }
}

#[test]
fn a_target_that_leads_elsewhere_makes_its_metadata_none() {
    for name in ["../a", "/a", "a/../../b", "a\\\\b", "a/\\u0000"] {
        let mut world = World::new();
        forge(&mut world, "5.targets.json", &[TARGETS], |signed| {
            let text = format!(r#"{{"{name}":{{"length":1,"hashes":{{"sha256":"00"}}}}}}"#);
            signed.insert("targets".to_owned(), Json::parse(text.as_bytes()).unwrap());
        });
        let bytes = world.served["5.targets.json"].clone();
        let read = Signed::parse(&bytes).unwrap().metadata::<Targets>();
        let want = "a name that stays below its directory";
        assert!(matches!(read, Err(Reason::Shape { want: said, .. }) if said == want), "{name}");
    }
}

#[test]
fn a_target_with_another_length_or_hash_is_refused_by_its_name() {
    let mut world = World::new();
    let odd = TargetFile { hashes: Hashes::sha256(Sha256::of("x")), ..target("two") };
    world.targets.targets.insert(path("1.0/b"), odd);
    world.publish();
    let mut client = world.client();
    let found = world.find(&mut client, "1.0/a").unwrap();
    assert_eq!(found.place(Form::File), format!("1.0/{}.a", Sha256::of("one")));
    let check = |found: &Found, bytes: &str| {
        let mut check = found.check().unwrap();
        check.update(bytes.as_bytes()).and_then(|()| check.finish())
    };
    assert_eq!(check(&found, "one"), Ok(()));
    assert_eq!(check(&found, "on"), Err(Reason::Length { found: 2, want: 3 }));
    assert_eq!(check(&found, "once"), Err(Reason::TooLong(3)));
    assert_eq!(check(&found, "two"), Err(Reason::Hash("sha256")));
    let found = world.find(&mut client, "1.0/b").unwrap();
    assert_eq!(check(&found, "two"), Err(Reason::Hash("sha256")));
    let refused = world.find(&mut client, "1.0/c").unwrap_err();
    assert_eq!(refused.to_string(), "`1.0/c`: there is no such target");
}
