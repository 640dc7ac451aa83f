//! What each attack does, and what is said to it.

use formats::tuf::{Head, Json, Root, TopLevel};

use crate::releases::{Files, Forger, said, signed_part};

/// What is done to the files, and what is said then: in a directory, and over HTTP if that is another.
pub(super) struct Attack {
    pub(super) name: &'static str,
    pub(super) does: fn(&mut Forger<'_>, &Files),
    pub(super) says: &'static str,
    pub(super) says_over_http: Option<&'static str>,
}

const fn attack(
    name: &'static str,
    does: fn(&mut Forger<'_>, &Files),
    says: &'static str,
) -> Attack {
    Attack { name, does, says, says_over_http: None }
}

const fn two_ways(
    name: &'static str,
    does: fn(&mut Forger<'_>, &Files),
    says: &'static str,
    http: &'static str,
) -> Attack {
    Attack { name, does, says, says_over_http: Some(http) }
}

const PAST: i64 = 1_700_000_000;
const EXPIRED: &str =
    "it expired at 2023-11-14 22:13:20 UTC: nothing newer is to be had, or it is kept back";
/// 100 MB that a reader of JSON would go deep into.
const HUGE: usize = 100_000_000;

fn put(forger: &mut Forger<'_>, name: &str, bytes: Vec<u8>) {
    forger.files.insert(name.to_owned(), bytes);
}

fn take_old(forger: &mut Forger<'_>, old: &Files, name: &str, of: &str) {
    put(forger, &format!("metadata/{name}"), old[&format!("metadata/{of}")].clone());
}

/// The next root, as `change` has it, signed by these.
fn next_root(forger: &mut Forger<'_>, by: &[&str], change: impl FnOnce(&mut Root)) {
    let mut root: Root = said(&forger.files["metadata/1.root.json"]);
    root.head.version = 2;
    change(&mut root);
    let bytes = forger.signed(&root, by);
    put(forger, "metadata/2.root.json", bytes);
}

pub(super) const ATTACKS: &[Attack] = &[
    attack(
        "rollback of the timestamp",
        |f, old| take_old(f, old, "timestamp.json", "timestamp.json"),
        "`timestamp.json`: its version is 1, and 2 is trusted: a rollback",
    ),
    attack(
        "rollback of the snapshot",
        |f, _| {
            f.snapshot.version = 1;
            f.publish();
        },
        "`timestamp.json`: it names version 1 of `snapshot.json`, and 2 is trusted: a rollback",
    ),
    attack(
        "rollback of targets",
        |f, _| {
            f.set_targets("version", 1);
            f.publish();
        },
        "`snapshot.json`: it names version 1 of `targets.json`, and 2 is trusted: a rollback",
    ),
    attack(
        "rollback of the root",
        |f, old| take_old(f, old, "2.root.json", "1.root.json"),
        "`root.json`: its version is 1, and not 2",
    ),
    attack(
        "a chain of roots with a gap",
        |f, _| next_root(f, &["root-1", "root-2"], |root| root.head.version = 3),
        "`root.json`: its version is 3, and not 2",
    ),
    attack(
        "freeze: an expired timestamp",
        |f, _| {
            f.timestamp.expires = PAST;
            f.publish();
        },
        EXPIRED,
    ),
    attack(
        "freeze: an expired snapshot",
        |f, _| {
            f.snapshot.expires = PAST;
            f.publish();
        },
        EXPIRED,
    ),
    attack(
        "freeze: expired targets",
        |f, _| {
            let then = Json::Text("2023-11-14T22:13:20Z".to_owned());
            f.targets.insert("expires".to_owned(), then);
            f.publish();
        },
        EXPIRED,
    ),
    attack(
        "freeze: an expired root",
        |f, _| next_root(f, &["root-1", "root-2"], |root| root.head.expires = PAST),
        EXPIRED,
    ),
    attack(
        "mix and match: an older snapshot",
        |f, old| {
            f.publish();
            take_old(f, old, "3.snapshot.json", "1.snapshot.json");
        },
        "`snapshot.json`: its sha256 is not the one that was signed",
    ),
    attack(
        "mix and match: older targets",
        |f, old| {
            f.publish();
            take_old(f, old, "3.targets.json", "1.targets.json");
        },
        "`targets.json`: it has ",
    ),
    two_ways(
        "endless data: a timestamp of 100 MB",
        |f, _| put(f, "metadata/timestamp.json", vec![b'['; HUGE]),
        "`timestamp.json`: it has more than the 16384 bytes that are taken",
        "has more than 16384 bytes",
    ),
    two_ways(
        "endless data: a root of 100 MB",
        |f, _| put(f, "metadata/2.root.json", vec![b' '; HUGE]),
        "`2.root.json`: it has more than the 524288 bytes that are taken",
        "has more than 524288 bytes",
    ),
    attack(
        "endless data: a snapshot whose length of 100 MB is signed",
        |f, _| {
            let text = br#"{"snapshot.json":{"version":3,"length":100000000}}"#;
            let mut timestamp = signed_part(&f.files["metadata/timestamp.json"]);
            timestamp.insert("version".to_owned(), Json::Integer(3));
            timestamp.insert("meta".to_owned(), Json::parse(text).unwrap());
            let bytes = f.signed_object(timestamp, &["timestamp"]);
            put(f, "metadata/timestamp.json", bytes);
            put(f, "metadata/3.snapshot.json", vec![b'['; HUGE]);
        },
        "`snapshot.json`: it has more than the 2097152 bytes that are taken",
    ),
    two_ways(
        "endless data: a root image that does not end",
        |f, _| {
            let path = f.path("2.0", "root.zst");
            f.files.get_mut(&path).unwrap().resize(HUGE, 0);
        },
        "`2.0/root.zst`: it has more than the ",
        "offers 100000000 bytes instead of ",
    ),
    attack(
        "JSON: deep nesting",
        |f, _| put(f, "metadata/timestamp.json", vec![b'['; 16 << 10]),
        "`timestamp.json`: it is not the JSON that TUF has: it is deeper than 32",
    ),
    attack(
        "JSON: five megabytes of small values",
        |f, _| {
            let text = format!("[{}0]", "0,".repeat((5 << 19) - 2));
            f.publish_anything(text.as_bytes(), 3);
        },
        "`targets.json`: it is not the JSON that TUF has: it has more than 65536 values",
    ),
    attack(
        "JSON: one name twice",
        |f, _| {
            let text = br#"{"signed":{},"signed":{},"signatures":[]}"#;
            put(f, "metadata/timestamp.json", text.to_vec());
        },
        "it has `signed` twice",
    ),
    attack(
        "wrong key: a timestamp signed by the key of snapshots",
        |f, _| {
            f.by[2] = "snapshot";
            f.publish();
        },
        "`timestamp.json`: 0 of the keys of `timestamp` have signed it, and 1 must",
    ),
    attack(
        "wrong key: a snapshot signed by the key of timestamps",
        |f, _| {
            f.by[1] = "timestamp";
            f.publish();
        },
        "`snapshot.json`: 0 of the keys of `snapshot` have signed it, and 1 must",
    ),
    attack(
        "wrong key: targets signed by a key of root",
        |f, _| {
            f.by[0] = "root-1";
            f.publish();
        },
        "`targets.json`: 0 of the keys of `targets` have signed it, and 1 must",
    ),
    attack(
        "a revoked key",
        |f, _| {
            let key = formats::tuf::Signer::key(&f.hand("snapshot"));
            next_root(f, &["root-1", "root-2"], |root| {
                root.assign(TopLevel::Timestamp, [key], 1);
            });
            f.publish();
        },
        "`timestamp.json`: 0 of the keys of `timestamp` have signed it, and 1 must",
    ),
    attack(
        "too few signatures",
        |f, _| next_root(f, &["root-3"], |_| ()),
        "`root.json`: 1 of the keys of `root, as it was before` have signed it, and 2 must",
    ),
    attack(
        "one key twice",
        |f, _| {
            let mut root = signed_part(&f.files["metadata/1.root.json"]);
            root.insert("version".to_owned(), Json::Integer(2));
            let bytes = f.signed_object(root, &["root-1", "root-1"]);
            put(f, "metadata/2.root.json", bytes);
        },
        "`root.json`: it has two signatures of the key `SHA256`",
    ),
    attack(
        "keys of the attacker's own in the next root",
        |f, _| {
            let theirs =
                ["targets", "snapshot"].map(|name| formats::tuf::Signer::key(&f.hand(name)));
            next_root(f, &["targets", "snapshot", "root-1"], |root| {
                *root = Root::new(Head::new(2, root.head.expires), |_| (theirs.to_vec(), 2));
            });
        },
        "`root.json`: 1 of the keys of `root, as it was before` have signed it, and 2 must",
    ),
    attack(
        "altered metadata",
        |f, _| {
            let path = "metadata/timestamp.json";
            let text = String::from_utf8(f.files[path].clone()).unwrap();
            put(f, path, text.replacen("\"expires\": \"20", "\"expires\": \"21", 1).into_bytes());
        },
        "`timestamp.json`: 0 of the keys of `timestamp` have signed it, and 1 must",
    ),
    attack(
        "altered root image",
        |f, _| {
            let path = f.path("2.0", "root.zst");
            f.files.get_mut(&path).unwrap()[100] ^= 1;
        },
        "`2.0/root.zst`: its sha256 is not the one that was signed",
    ),
    attack(
        "altered SBOM, which no node reads",
        |f, _| {
            let path = f.path("2.0", "sbom.spdx.json");
            f.files.get_mut(&path).unwrap()[100] ^= 1;
        },
        "`2.0/sbom.spdx.json`: its sha256 is not the one that was signed",
    ),
    two_ways(
        "a root image that was cut",
        |f, _| {
            let path = f.path("2.0", "root.zst");
            f.files.get_mut(&path).unwrap().pop();
        },
        "`2.0/root.zst`: it has ",
        " bytes instead of ",
    ),
    attack(
        "a root image that is not there",
        |f, _| {
            let path = f.path("2.0", "root.zst");
            f.files.remove(&path);
        },
        "`2.0/root.zst`: the repository does not have it",
    ),
    attack(
        "another algorithm of hashes",
        |f, _| {
            let hashes = [("md5".to_owned(), Json::Text("00".repeat(16)))];
            f.target("2.0/root.zst").insert("hashes".to_owned(), Json::Object(hashes.into()));
            f.publish();
        },
        "`2.0/root.zst`: it has no hash of a kind that is known, only md5",
    ),
    attack(
        "a file of another type",
        |f, _| {
            let bytes = f.files["metadata/2.snapshot.json"].clone();
            let bytes = f.signed_object(signed_part(&bytes), &["timestamp"]);
            put(f, "metadata/timestamp.json", bytes);
        },
        "`timestamp.json`: it is metadata of the type `snapshot`, not `timestamp`",
    ),
    attack(
        "a specification of the future",
        |f, _| {
            let mut timestamp = signed_part(&f.files["metadata/timestamp.json"]);
            timestamp.insert("spec_version".to_owned(), Json::Text("2.0.0".to_owned()));
            let bytes = f.signed_object(timestamp, &["timestamp"]);
            put(f, "metadata/timestamp.json", bytes);
        },
        "`timestamp.json`: it follows version `2.0.0` of the specification, and not 1",
    ),
    attack(
        "path tricks in the name of a target",
        |f, _| {
            let said = Json::Object(f.target("2.0/release.json").clone());
            let Some(Json::Object(targets)) = f.targets.get_mut("targets") else { panic!("none") };
            targets.insert("2.0/../../../etc/passwd".to_owned(), said);
            let bytes = f.signed_object(f.targets.clone(), &["targets"]);
            f.publish_anything(&bytes, 3);
        },
        "its `targets.2.0/../../../etc/passwd` is not a name that stays below its directory",
    ),
    attack(
        "a page of a captive portal in place of a root",
        |f, _| put(f, "metadata/2.root.json", b"<!DOCTYPE html><title>Log in</title>".to_vec()),
        "`root.json`: it is not the JSON that TUF has",
    ),
    attack(
        "a description that was signed and is none",
        |f, _| {
            f.replace_target("2.0", "release.json", b"{}");
            f.publish();
        },
        "error[E0852]: the release 2.0 is refused: it is not the description of a release",
    ),
    attack(
        "the description of another release",
        |f, _| {
            let path = f.path("1.0", "release.json");
            let other = f.files[&path].clone();
            f.replace_target("2.0", "release.json", &other);
            f.publish();
        },
        "error[E0852]: the release 2.0 is refused: it says that it is 1.0",
    ),
    attack(
        "a root image that was signed and is another",
        |f, _| {
            let path = f.path("2.0", "root.tree.zst");
            let other = f.files[&path].clone();
            f.replace_target("2.0", "root.zst", &other);
            f.publish();
        },
        "error[E0852]: the root image of the release 2.0 is refused: ",
    ),
];
