//! Releases to a registry and back, as they should be and as they should not be.

use formats::oci::{Called, Location};
use serde_json::Value;

use super::*;
use crate::credentials::registries::Registries;
use crate::durable::testing::{after, refusing};
use crate::http::{Access, Proxies};
use crate::mock_registry::{MockRegistry, Reply};
use crate::progress::Mode;
use crate::registry::{Plain, Purpose};
use crate::release::publish::tests::{DAY, NOW, World, copy};
use crate::release::push::push;

const QUIET: Mode = Mode::None;

fn registry(mock: &MockRegistry, called: &Called) -> Arc<Registry> {
    let sign = if matches!(called, Called::Tag(_)) { ':' } else { '@' };
    let location = Location::new(&format!("{}/releases{sign}{called}", mock.host())).unwrap();
    let access = Access::from(&Proxies::default());
    let (push, plain) = (Purpose::Push, Plain::Loopback);
    Arc::new(Registry::new(&location, push, plain, access, Registries::default()).unwrap())
}

fn tag() -> Called {
    Called::Tag("stable".to_owned())
}

struct Both {
    world: World,
    mock: MockRegistry,
}

impl Both {
    /// A world with a release, pushed.
    fn new() -> Self {
        let both = Self { world: World::new(), mock: MockRegistry::start() };
        both.release("1.0");
        both
    }

    fn release(&self, version: &str) -> crate::release::push::Pushed {
        self.world.publish(version, "releases").unwrap();
        self.push().unwrap()
    }

    fn push(&self) -> Result<crate::release::push::Pushed> {
        let from = self.world.path("releases");
        push(&from, &registry(&self.mock, &tag()), &Progress::new(QUIET))
    }

    fn root(&self) -> Vec<u8> {
        fs::read(self.world.path("keys/1.root.json")).unwrap()
    }

    fn pull(&self, to: &str, belief: Belief<'_>) -> Result<Pulled> {
        let to = self.world.path(to);
        pull(&registry(&self.mock, &tag()), &to, belief, &Progress::new(QUIET))
    }

    fn pull_as_owner(&self, to: &str, now: i64) -> Result<Pulled> {
        self.pull(to, Belief::Root(&self.root(), now))
    }

    /// The manifest that is pushed, changed.
    fn change(&self, change: impl Fn(&mut Value)) {
        let mut manifest: Value = serde_json::from_slice(&self.mock.manifest("stable")).unwrap();
        change(&mut manifest);
        self.mock.put_manifest("stable", manifest.to_string().as_bytes());
    }
}

/// Files of a directory and what is in them, without the lock.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.file_name().is_some_and(|name| name != place::LOCK) {
                let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

#[test]
fn what_is_pushed_comes_back_and_what_is_there_is_not_moved_again() {
    let both = Both::new();
    let first = both.pull_as_owner("mirror", NOW).unwrap();
    let [from, mirror] = ["releases", "mirror"].map(|name| both.world.path(name));
    assert!(files(&from) == files(&mirror));
    assert_eq!((first.versions, first.timestamp), (vec!["1.0".to_owned()], 1));
    assert_eq!(first.files, first.fetched + 4, "four files of metadata");
    both.world.verify("mirror", None, NOW).unwrap();
    let again = both.push().unwrap();
    assert_eq!((again.sent, again.sent_bytes, again.digest), (0, 0, first.digest));
    assert_eq!(both.pull("mirror", Belief::Place).unwrap().fetched, 0);

    let second = both.release("2.0");
    assert!(second.sent > 5 && second.sent < second.files - 5, "{second:?}");
    let newer = both.pull("mirror", Belief::Place).unwrap();
    assert_eq!(newer.versions, ["1.0", "2.0"]);
    assert!(newer.fetched > 0 && newer.fetched < newer.files - 4);
    assert_eq!(both.world.verify("mirror", None, NOW).unwrap().release.version, "2.0");
    both.release("3.0");
    both.pull("mirror", Belief::Place).unwrap();
    assert!(mirror.join("targets/1.0").exists(), "readers of the state before need it");
    both.release("4.0");
    both.pull("mirror", Belief::Place).unwrap();
    assert!(!mirror.join("targets/1.0").exists());
    // What was there of states before is not pushed.
    let fresh = both.pull_as_owner("fresh", NOW).unwrap();
    assert_eq!(fresh.versions, ["3.0", "4.0"]);
    assert!(!both.world.path("fresh/targets/2.0").exists());
    assert!(!both.world.path("fresh").join(PARTS).exists());
    // By its digest, the state of that time.
    let digest = Called::Digest(first.digest);
    let old = both.world.path("old");
    pull(&registry(&both.mock, &digest), &old, Belief::Place, &Progress::new(QUIET)).unwrap();
    assert_eq!(both.world.verify("old", None, NOW).unwrap().release.version, "1.0");
}

#[test]
fn a_directory_with_something_else_is_left_as_it_is() {
    let both = Both::new();
    for name in ["home/file", "half/targets/x", "half/.publishing"] {
        let path = both.world.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "mine").unwrap();
    }
    for name in ["home", "half", "home/file"] {
        let error = both.pull(name, Belief::Place).unwrap_err();
        assert_eq!(error.id(), Id::NotReleases, "{name}");
    }
    assert_eq!(files(&both.world.path("home")).len(), 1);
    fs::create_dir(both.world.path("empty")).unwrap();
    both.pull_as_owner("empty", NOW).unwrap();
    let to = registry(&both.mock, &tag());
    let error = push(&both.world.path("home"), &to, &Progress::new(QUIET)).unwrap_err();
    assert_eq!(error.id(), Id::NotReleases);
}

#[test]
fn what_is_old_of_another_owner_or_over_is_not_believed() {
    let both = Both::new();
    copy(&both.world.path("releases"), &both.world.path("before"));
    both.release("2.0");
    both.pull_as_owner("mirror", NOW).unwrap();
    let before = files(&both.world.path("mirror"));
    let over = both.pull_as_owner("mirror", NOW + 8 * DAY).unwrap_err();
    assert!(over.id() == Id::Metadata && over.chain().contains("expired"), "{}", over.chain());
    assert_eq!(both.pull("mirror", Belief::Place).unwrap().fetched, 0);

    // The registry goes back to what it had.
    let to = registry(&both.mock, &tag());
    push(&both.world.path("before"), &to, &Progress::new(QUIET)).unwrap();
    let back = both.pull("mirror", Belief::Place).unwrap_err();
    assert_eq!(back.id(), Id::Metadata, "{}", back.chain());

    let other = World::new();
    other.publish("9.0", "releases").unwrap();
    push(&other.path("releases"), &to, &Progress::new(QUIET)).unwrap();
    assert_eq!(both.pull("mirror", Belief::Place).unwrap_err().id(), Id::Metadata);
    assert_eq!(both.pull_as_owner("new", NOW).unwrap_err().id(), Id::Metadata);
    assert!(!both.world.path("new").exists());
    assert!(files(&both.world.path("mirror")) == before);
}

#[test]
fn what_is_no_directory_of_releases_is_refused_before_anything_is_written() {
    type Change = fn(&mut Value);
    let title = |layer: &Value| layer["annotations"]["org.opencontainers.image.title"].clone();
    let layers = |manifest: &mut Value| manifest["layers"].as_array_mut().unwrap().clone();
    let cases: [(Change, Id, &str); 6] = [
        (|it| *it = serde_json::json!([]), Id::Artifact, "is not an object"),
        (|it| it["mediaType"] = "x/y".into(), Id::Artifact, "a document of the type `x/y`"),
        (
            |it| drop(it["layers"].as_array_mut().unwrap().pop()),
            Id::Artifact,
            "it has no `metadata/timestamp.json`",
        ),
        (
            |it| it["layers"][0]["annotations"] = serde_json::json!({}),
            Id::Artifact,
            "its layer 0 has no name",
        ),
        (|it| drop(it["layers"].as_array_mut().unwrap().remove(0)), Id::Artifact, "names"),
        (|it| it["layers"][0]["size"] = 7.into(), Id::Metadata, "bytes"),
    ];
    for (change, id, want) in cases {
        let both = Both::new();
        both.change(change);
        let error = both.pull_as_owner("mirror", NOW).unwrap_err();
        assert!(error.id() == id && error.chain().contains(want), "{}", error.chain());
        assert!(!both.world.path("mirror/metadata").exists());
    }
    // Larger than metadata is.
    let both = Both::new();
    both.change(|manifest| {
        let last = layers(manifest).len() - 1;
        assert_eq!(title(&manifest["layers"][last]), TIMESTAMP);
        manifest["layers"][last]["size"] = (6 << 20).into();
    });
    assert_eq!(both.pull_as_owner("mirror", NOW).unwrap_err().id(), Id::Artifact);
    // More than is needed is no harm, and does not come.
    let both = Both::new();
    both.mock.put_blob(b"extra");
    both.change(|manifest| {
        let mut extra = manifest["layers"][0].clone();
        extra["digest"] = format!("sha256:{}", Sha256::of("extra")).into();
        extra["size"] = 5.into();
        extra["annotations"]["org.opencontainers.image.title"] = "targets/extra".into();
        manifest["layers"].as_array_mut().unwrap().push(extra);
    });
    both.pull_as_owner("mirror", NOW).unwrap();
    assert!(files(&both.world.path("mirror")) == files(&both.world.path("releases")));
}

#[test]
fn other_bytes_are_told_and_not_kept() {
    let both = Both::new();
    let packed = files(&both.world.path("releases"));
    let (name, bytes) = packed.iter().find(|(name, _)| name.ends_with(".root.zst")).unwrap();
    let mut other = bytes.clone();
    other[0] ^= 1;
    let digest = Sha256::of(bytes).to_string();
    assert!(name.contains(&digest), "{name}");
    let asked_for = digest.clone();
    both.mock.odd(move |asked| {
        let wanted = asked.method == "GET" && asked.target.ends_with(&asked_for);
        wanted.then(|| Reply::new(200, &other))
    });
    let error = both.pull_as_owner("mirror", NOW).unwrap_err();
    assert_eq!(error.id(), Id::WrongDigest, "{}", error.chain());
    assert!(error.chain().contains("gives other bytes for `targets/1.0/"), "{}", error.chain());
    assert!(!both.world.path("mirror").join(PARTS).join(&digest).exists());
    assert!(!is_of_releases(&both.world.path("mirror")));
    both.mock.even();
    both.pull_as_owner("mirror", NOW).unwrap();
    // One that was damaged where it lies is mended.
    let mirror = both.world.path("mirror");
    let (name, bytes) = files(&mirror).pop_last().unwrap();
    let mut other = bytes.clone();
    other[0] ^= 1;
    fs::write(mirror.join(&name), &other).unwrap();
    assert_eq!(both.pull("mirror", Belief::Place).unwrap().fetched, 1);
    assert!(files(&mirror)[&name] == bytes);
    // One that was damaged is not pushed.
    let releases = both.world.path("releases");
    fs::write(releases.join(&name), &other).unwrap();
    assert_eq!(both.push().unwrap_err().id(), Id::Metadata);
}

#[test]
fn killed_at_every_write_readers_see_one_state_and_the_next_one_goes_on() {
    let both = Both::new();
    both.pull_as_owner("base", NOW).unwrap();
    both.release("2.0");
    let mut seen = [0, 0];
    for write in 0.. {
        let at = format!("at-{write}");
        copy(&both.world.path("base"), &both.world.path(&at));
        let pulled = refusing(after(write), || both.pull(&at, Belief::Place));
        let is_new = both.world.verify(&at, None, NOW).unwrap().release.version == "2.0";
        both.world.verify(&at, Some("1.0"), NOW).unwrap();
        if pulled.is_ok() {
            assert!(is_new && write > 20, "after {write} writes");
            break;
        }
        assert_eq!(pulled.unwrap_err().id(), Id::Write);
        seen[usize::from(is_new)] += 1;
        both.pull(&at, Belief::Place).unwrap();
        assert_eq!(both.world.verify(&at, None, NOW).unwrap().release.version, "2.0");
        fs::remove_dir_all(both.world.path(&at)).unwrap();
    }
    assert!(seen[0] > 20 && seen[1] > 0, "{seen:?}");
}

#[test]
fn what_was_interrupted_goes_on_where_it_was() {
    let both = Both::new();
    let pushed = both.mock.blobs();
    let other = MockRegistry::start();
    let to = registry(&other, &tag());
    let push_there = || push(&both.world.path("releases"), &to, &Progress::new(QUIET));
    let mut left = 4;
    other.odd(move |asked| {
        left -= i32::from(asked.method == "PUT");
        (left < 0).then(|| Reply::new(403, ""))
    });
    assert_eq!(push_there().unwrap_err().id(), Id::Unauthorized);
    assert!((1..pushed).contains(&other.blobs()));
    other.even();
    let there = other.blobs();
    assert_eq!(push_there().unwrap().sent, pushed - there);

    let mut left = 9;
    both.mock.odd(move |_| {
        left -= 1;
        (left < 0).then(|| Reply::new(403, ""))
    });
    assert!(both.pull_as_owner("mirror", NOW).is_err());
    both.mock.even();
    let came = files(&both.world.path("mirror")).into_keys();
    let there = came.filter(|name| name.starts_with("targets/")).count();
    let pulled = both.pull_as_owner("mirror", NOW).unwrap();
    assert!(there > 0 && pulled.fetched == pulled.files - 4 - there, "{there} {pulled:?}");
    assert!(files(&both.world.path("mirror")) == files(&both.world.path("releases")));
}

#[test]
fn two_at_once_are_told() {
    let both = Both::new();
    let to = both.world.path("mirror");
    fs::create_dir(&to).unwrap();
    let place = Place::open(&to).unwrap();
    // Somebody else has begun to pull.
    fs::create_dir(to.join(PARTS)).unwrap();
    assert_eq!(both.pull_as_owner("mirror", NOW).unwrap_err().id(), Id::Publishing);
    drop(place);
    both.pull_as_owner("mirror", NOW).unwrap();
}

#[test]
fn roots_that_follow_are_pulled_and_those_before_for_others() {
    let both = Both::new();
    both.pull_as_owner("mirror", NOW).unwrap();
    let keys = both.world.path("keys");
    let text = fs::read_to_string(keys.join("keys.toml")).unwrap();
    let text = text.replace("keys = [\"timestamp\"]", "keys = [\"snapshot\"]");
    fs::write(keys.join("keys.toml"), text).unwrap();
    let progress = Progress::new(QUIET);
    let source = crate::keys::passphrase::Source::Terminal;
    let mut keyring = crate::keys::keyring::Keyring::load(&keys, source, &progress).unwrap();
    let role = crate::keys::roles::Role::Timestamp;
    crate::keys::begin::next(role, &mut keyring, NOW).unwrap();
    both.release("2.0");
    both.pull("mirror", Belief::Place).unwrap();
    assert_eq!(both.world.verify("mirror", None, NOW).unwrap().roles[0].1, 2);
    let second = fs::read(keys.join("2.root.json")).unwrap();
    both.pull("second", Belief::Root(&second, NOW)).unwrap();
    let roots = |at: &str| [1, 2].map(|n| both.world.path(&format!("{at}/metadata/{n}.root.json")));
    for (one, other) in roots("second").iter().zip(roots("releases")) {
        assert_eq!(fs::read(one).unwrap(), fs::read(other).unwrap());
    }
}
