//! Small builds, published, refreshed, withdrawn, and killed at every write.

use std::fs;
use std::path::PathBuf;

use formats::digest::Sha256;
use formats::verity::Verity;
use rustix::io::Errno;
use tempfile::TempDir;

use super::*;
use crate::build::artifact::Kind;
use crate::durable::testing::{after, refusing};
use crate::keys::begin;
use crate::keys::passphrase::Source;
use crate::progress::{Mode, Progress};
use crate::release::kept::Kept;
use crate::release::verify::{Verified, verify};

pub(in crate::release) const NOW: i64 = 1_900_000_000;
pub(in crate::release) const DAY: i64 = 86_400;
const KEEP: Keep = Keep { releases: 2, deltas: 1 };

pub(in crate::release) struct World {
    place: TempDir,
}

impl World {
    pub(in crate::release) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let plan = begin::Plan { roots: 1, threshold: 1 };
        begin::keys(&place.path().join("keys"), plan, None, NOW).unwrap();
        Self { place }
    }

    pub(in crate::release) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// A build of a version, whose image has 8 blocks.
    fn build(&self, version: &str) -> PathBuf {
        let directory = self.path(&format!("build-{version}"));
        fs::create_dir_all(&directory).unwrap();
        let block = |number: u8| Sha256::of([number]).as_bytes().repeat(128);
        let mut data: Vec<u8> = (0..8).flat_map(block).collect();
        data[..version.len()].copy_from_slice(version.as_bytes());
        let verity = Verity::of(&[7; 16], &data).unwrap();
        let image = [&data[..], &verity.tree].concat();
        let files = [Kind::Root, Kind::Uki, Kind::Spdx, Kind::CycloneDx, Kind::Provenance];
        let artifacts: Vec<_> = files
            .into_iter()
            .map(|kind| {
                let name = kind.file_name();
                let bytes = match kind {
                    Kind::Root => image.clone(),
                    Kind::Uki => uki(version),
                    _ => name.into(),
                };
                fs::write(directory.join(name), &bytes).unwrap();
                serde_json::json!({
                    "kind": kind, "name": name, "size": bytes.len(),
                    "sha256": Sha256::of(&bytes).to_string(),
                })
            })
            .collect();
        let report = serde_json::json!({
            "schema": 3, "image": "tiny", "version": version, "kernel": "6.12",
            "root": {
                "hash": verity.root_hash.to_string(), "salt": "07".repeat(16),
                "data-size": data.len(), "size": image.len(), "paths": 1,
            },
            "command-line": "", "components": {}, "dropped": {},
            "packages": {}, "uki-size": 1, "initrd-size": 1, "disk-size": 1,
            "artifacts": artifacts,
        });
        fs::write(directory.join("build.json"), report.to_string()).unwrap();
        directory
    }

    pub(in crate::release) fn with<T>(
        &self,
        now: i64,
        work: impl FnOnce(&mut Publisher<'_, '_>) -> T,
    ) -> T {
        let progress = Progress::new(Mode::None);
        let mut keyring = Keyring::load(&self.path("keys"), Source::Terminal, &progress).unwrap();
        work(&mut Publisher::new(&mut keyring, now).unwrap())
    }

    pub(in crate::release) fn publish(&self, version: &str, to: &str) -> Result<Published> {
        self.build(version);
        self.publish_built(version, to, KEEP)
    }

    fn publish_built(&self, version: &str, to: &str, keep: Keep) -> Result<Published> {
        let (build, to) = (self.path(&format!("build-{version}")), self.path(to));
        self.with(NOW, |it| it.publish(&build, &to, &Terms::default(), keep, 1))
    }

    pub(in crate::release) fn verify(
        &self,
        at: &str,
        version: Option<&str>,
        now: i64,
    ) -> Result<Verified> {
        let root = fs::read(self.path("keys/1.root.json")).unwrap();
        verify(&reader::directory(&self.path(at)), Kept::once(&root), version, now)
    }
}

/// The UKI of a version: its command line, a kernel that is new with the fourth, and padding.
fn uki(version: &str) -> Vec<u8> {
    let kernel = u8::from(version >= "4");
    let mut bytes: Vec<u8> =
        (0..128).flat_map(|part| *Sha256::of([kernel, part]).as_bytes()).collect();
    bytes[..version.len()].copy_from_slice(version.as_bytes());
    bytes.resize(16 << 12, 0);
    bytes
}

pub(in crate::release) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn releases_are_published_with_deltas_and_the_oldest_goes() {
    let world = World::new();
    let one = world.publish("1.0", "releases").unwrap();
    assert_eq!((&one.versions[..], one.removed.len(), one.timestamp), (&["1.0".into()][..], 0, 1));
    let two = world.publish("2.0", "releases").unwrap();
    let two = two.release.unwrap();
    let deltas = &two.deltas;
    assert_eq!((deltas.len(), deltas[0].from.as_str()), (1, "1.0"));
    let uki_delta = deltas[0].uki.as_ref().unwrap();
    assert_eq!(uki_delta.hash, one.release.unwrap().uki.hash);
    let three = world.publish("3.0", "releases").unwrap();
    assert_eq!(
        (three.versions, three.removed),
        (vec!["2.0".into(), "3.0".into()], vec!["1.0".into()])
    );
    let three = three.release.unwrap();
    let targets = world.path("releases/targets");
    assert_eq!(names(&targets), ["1.0", "2.0", "3.0"], "readers of the state before need it");
    let there = names(&targets.join("3.0/delta"));
    let ends = |end: &str| there.iter().filter(|name| name.ends_with(end)).count();
    assert_eq!((there.len(), ends(".2.0.delta"), ends(".2.0.uki.delta")), (2, 1, 1), "{there:?}");
    let verified = world.verify("releases", None, NOW).unwrap();
    assert_eq!((verified.release.version.as_str(), verified.expires), ("3.0", NOW + 7 * DAY));
    assert_eq!(world.verify("releases", Some("2.0"), NOW).unwrap().release.version, "2.0");
    let error = world.verify("releases", Some("1.0"), NOW).unwrap_err();
    assert_eq!(error.id(), Id::UnknownRelease);
    assert_eq!(world.publish("3.0", "releases").unwrap_err().id(), Id::Published);
    let four = world.publish("4.0", "releases").unwrap().release.unwrap();
    assert_eq!((four.deltas.len(), &four.deltas[0].uki), (1, &None), "the whole is smaller");
    assert_ne!(four.uki.hash, three.uki.hash);
    assert_eq!(names(&targets), ["2.0", "3.0", "4.0"]);
}

/// The order is: all files, then the one that leads to them.
#[test]
fn killed_at_every_write_readers_see_one_state_and_the_next_one_goes_on() {
    let world = World::new();
    world.publish("1.0", "base").unwrap();
    world.build("2.0");
    // One file more or less; a delta is what takes time.
    let keep = Keep { deltas: 0, ..KEEP };
    let mut seen = [0, 0];
    for write in 0.. {
        let at = format!("at-{write}");
        copy(&world.path("base"), &world.path(&at));
        let published = refusing(after(write), || world.publish_built("2.0", &at, keep));
        let now = world.verify(&at, None, NOW).unwrap();
        assert!(["1.0", "2.0"].contains(&now.release.version.as_str()));
        let is_new = now.release.version == "2.0";
        world.verify(&at, Some("1.0"), NOW).unwrap();
        if published.is_ok() {
            assert!(is_new && write > 30, "after {write} writes");
            break;
        }
        assert_eq!(published.unwrap_err().id(), Id::Write);
        seen[usize::from(is_new)] += 1;
        match world.publish_built("2.0", &at, keep) {
            Ok(_) => assert!(!is_new),
            Err(error) => assert!(is_new && error.id() == Id::Published, "{}", error.chain()),
        }
        assert_eq!(world.verify(&at, None, NOW).unwrap().release.version, "2.0");
        fs::remove_dir_all(world.path(&at)).unwrap();
    }
    assert!(seen[0] > 30 && seen[1] > 0, "{seen:?}");
}

#[test]
fn a_refresh_signs_the_timestamp_and_an_old_snapshot_and_nothing_else() {
    let world = World::new();
    world.publish("1.0", "releases").unwrap();
    let metadata = world.path("releases/metadata");
    let before = names(&metadata);
    let refresh = |now| world.with(now, |it| it.refresh(&world.path("releases")));
    let later = NOW + 6 * DAY;
    assert_eq!(refresh(later).unwrap().expires, later + 7 * DAY);
    assert_eq!(names(&metadata), before);
    assert!(world.verify("releases", None, NOW + 8 * DAY).is_ok());
    let error = world.verify("releases", None, NOW + 13 * DAY).unwrap_err();
    assert!(error.id() == Id::Metadata && error.chain().contains("expired"), "{}", error.chain());
    refresh(NOW + 20 * DAY).unwrap();
    assert!(names(&metadata).contains(&"2.snapshot.json".to_owned()));
    assert!(world.verify("releases", None, NOW + 21 * DAY).is_ok());
    let nothing = world.with(NOW, |it| it.refresh(&world.path("none")).unwrap_err());
    assert_eq!(nothing.id(), Id::UnknownRelease);
}

#[test]
fn a_release_is_withdrawn_and_promoted_as_it_is() {
    let world = World::new();
    let [from, to] = ["from", "to"].map(|name| world.path(name));
    world.publish("1.0", "from").unwrap();
    world.publish("2.0", "from").unwrap();
    let source = reader::directory(&from);
    let promoted = world.with(NOW, |it| it.promote(&source, "2.0", &to, KEEP).unwrap());
    assert_eq!(promoted.versions, ["2.0"]);
    assert_eq!(names(&to.join("targets/2.0")), names(&from.join("targets/2.0")));
    let again = world.with(NOW, |it| it.promote(&source, "2.0", &to, KEEP).unwrap_err());
    assert_eq!(again.id(), Id::Published);
    let new = world.path("new");
    for to in [&to, &new] {
        let none = world.with(NOW, |it| it.promote(&source, "3.0", to, KEEP).unwrap_err());
        assert_eq!(none.id(), Id::UnknownRelease);
    }
    let none = world.with(NOW, |it| it.withdraw(&new, "2.0").unwrap_err());
    assert_eq!(none.id(), Id::UnknownRelease);
    assert!(!new.exists(), "no directory is made for what is not there");
    let left = world.with(NOW, |it| it.withdraw(&from, "2.0").unwrap());
    assert_eq!((left.versions, left.removed), (vec!["1.0".into()], vec!["2.0".into()]));
    assert_eq!(world.verify("from", None, NOW).unwrap().release.version, "1.0");
    let gone = world.with(NOW, |it| it.withdraw(&from, "2.0").unwrap_err());
    assert_eq!(gone.id(), Id::UnknownRelease);
}

#[test]
fn what_cannot_be_published_is_told_before_a_byte_is() {
    let world = World::new();
    let to = world.path("releases");
    let build = world.build("1.0");
    let publish = |terms: &Terms| {
        world.with(NOW, |it| it.publish(&build, &to, terms, KEEP, 1).unwrap_err().id())
    };
    let version = Some("../1".to_owned());
    assert_eq!(publish(&Terms { version, ..Terms::default() }), Id::ReleaseTerms);
    let alone = Place::open(&to).unwrap();
    assert_eq!(publish(&Terms::default()), Id::Publishing);
    drop(alone);
    let report = build.join("build.json");
    let text = fs::read_to_string(&report).unwrap();
    fs::write(&report, text.replace(&"07".repeat(16), &"08".repeat(16))).unwrap();
    assert_eq!(publish(&Terms::default()), Id::DamagedImage);
    fs::remove_file(world.path("keys/snapshot.pem")).unwrap();
    assert_eq!(publish(&Terms::default()), Id::Signatures);
    assert!(!to.join("metadata").exists() && !to.join("targets").exists());
}

#[test]
fn what_was_changed_on_the_way_is_refused() {
    let world = World::new();
    world.publish("1.0", "releases").unwrap();
    let directory = world.path("releases/targets/1.0");
    for name in [".root.zst", ".uki.zst"] {
        let packed = names(&directory).into_iter().find(|packed| packed.ends_with(name)).unwrap();
        let path = directory.join(packed);
        let good = fs::read(&path).unwrap();
        let refused = |bytes: Option<&[u8]>| {
            match bytes {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let error = world.verify("releases", None, NOW).unwrap_err();
            assert_eq!(error.id(), Id::Metadata, "{}", error.chain());
        };
        refused(Some(&good[1..]));
        refused(Some(&[&good[..], &[0]].concat()));
        let mut flipped = good.clone();
        flipped[9] ^= 1;
        refused(Some(&flipped));
        refused(None);
        fs::write(&path, &good).unwrap();
        world.verify("releases", None, NOW).unwrap();
    }

    // Signed, and not the UKI that is described; then no description of a release.
    let sign = |name: &str, bytes: &[u8]| {
        world.with(NOW, |it| {
            let directory = world.path("releases");
            let place = Place::open(&directory).unwrap();
            let state = State::load(&directory, &it.roots).unwrap();
            let mut targets = state.targets();
            let path: TargetPath = name.parse().unwrap();
            let mut file = TargetFile::new(bytes.len() as u64, Sha256::of(bytes));
            file.custom = targets.targets[&path].custom.clone();
            let name = path.path(file.hashes.prefix(), Form::File);
            place.put(&format!("targets/{name}"), bytes).unwrap();
            targets.targets.insert(path, file);
            let signers = it.edition_signers(None).unwrap();
            it.edition(&place, &state, &signers, targets).unwrap();
        });
        let error = world.verify("releases", None, NOW).unwrap_err();
        assert_eq!(error.id(), Id::Release);
        error.chain()
    };
    let mut other = Vec::new();
    crate::delta::pack(&uki("2.0")[..], &mut other, 1).unwrap();
    let said = sign("1.0/uki.zst", &other);
    assert!(said.starts_with("the UKI of the release 1.0 is refused"), "{said}");
    sign("1.0/release.json", b"{}");
}

/// In a new root for each of the three roles, its key is that of another.
fn rotate(world: &World) {
    let file = world.path("keys/keys.toml");
    for (role, before, after) in [
        (Role::Timestamp, "timestamp", "root-1"),
        (Role::Snapshot, "snapshot", "timestamp"),
        (Role::Targets, "targets", "snapshot"),
    ] {
        let text = fs::read_to_string(&file).unwrap();
        let table = format!("[{role}]\n");
        let (head, tail) = text.split_once(&table).unwrap();
        let tail = tail.replacen(&format!("\"{before}\""), &format!("\"{after}\""), 1);
        fs::write(&file, format!("{head}{table}{tail}")).unwrap();
        let progress = Progress::new(Mode::None);
        let mut keyring = Keyring::load(&world.path("keys"), Source::Terminal, &progress).unwrap();
        begin::next(role, &mut keyring, NOW).unwrap();
    }
}

#[test]
fn other_keys_sign_what_comes_after_them() {
    let world = World::new();
    world.publish("1.0", "releases").unwrap();
    rotate(&world);
    let refreshed = world.with(NOW, |it| it.refresh(&world.path("releases")));
    let error = refreshed.unwrap_err();
    assert!(error.id() == Id::Metadata && error.hints()[0].contains("`publish`"), "{error:?}");
    world.publish("2.0", "releases").unwrap();
    let verified = world.verify("releases", None, NOW).unwrap();
    assert_eq!(verified.roles[0], ("root", 4, NOW + 365 * DAY));
    assert_eq!(verified.release.version, "2.0");
    world.with(NOW, |it| it.refresh(&world.path("releases"))).unwrap();
}

/// The window of a rotation: at no write is there anything that a reader would refuse, whether it has seen
/// the new roots or not.
#[test]
fn killed_at_every_write_of_a_rotation_no_reader_is_refused() {
    let world = World::new();
    world.publish("1.0", "base").unwrap();
    rotate(&world);
    world.build("2.0");
    let keep = Keep { deltas: 0, ..KEEP };
    let roots = fs::read(world.path("keys/1.root.json")).unwrap();
    for write in 0.. {
        let at = format!("at-{write}");
        copy(&world.path("base"), &world.path(&at));
        let place = reader::directory(&world.path(&at));
        let state = world.path(&format!("state-{write}"));
        let look = || {
            let kept = Kept::directory(&state, || Ok(roots.clone())).unwrap();
            verify(&place, kept, None, NOW)
        };
        look().unwrap();
        let published = refusing(after(write), || world.publish_built("2.0", &at, keep));
        for _ in 0..2 {
            look().unwrap();
        }
        world.verify(&at, None, NOW).unwrap();
        if published.is_ok() {
            assert!(write > 30, "after {write} writes");
            break;
        }
        // Whatever came of it, the next one brings all roots.
        match world.publish_built("2.0", &at, keep) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.id(), Id::Published);
                world.with(NOW, |it| it.refresh(&world.path(&at))).unwrap();
            }
        }
        assert_eq!(look().unwrap().roles[0].1, 4);
        fs::remove_dir_all(world.path(&at)).unwrap();
    }
}

/// The new roots are still to come when the next publisher begins, and it is stopped there too.
#[test]
fn stopped_twice_before_the_new_roots_no_reader_is_refused() {
    let world = World::new();
    world.publish("1.0", "releases").unwrap();
    rotate(&world);
    for version in ["2.0", "3.0"] {
        let stopped =
            |deed: &str| (deed == "rename .orlop-metadata 2.root.json").then_some(Errno::IO);
        let error = refusing(stopped, || world.publish(version, "releases").unwrap_err());
        assert_eq!(error.id(), Id::Write);
        let verified = world.verify("releases", None, NOW).unwrap();
        assert_eq!((verified.release.version.as_str(), verified.roles[0].1), (version, 1));
    }
    world.with(NOW, |it| it.refresh(&world.path("releases"))).unwrap();
    assert_eq!(world.verify("releases", None, NOW).unwrap().roles[0].1, 4);
}

/// Who lost a key cannot sign with it: between the root and the timestamp readers are told so, and go on
/// with the next state.
#[test]
fn without_the_keys_that_were_the_next_state_is_good_all_the_same() {
    let world = World::new();
    world.publish("1.0", "releases").unwrap();
    let lost = fs::read(world.path("keys/targets.pem")).unwrap();
    rotate(&world);
    fs::remove_file(world.path("keys/targets.pem")).unwrap();
    let root = fs::read(world.path("keys/1.root.json")).unwrap();
    let kept = || Kept::directory(&world.path("state"), || Ok(root.clone())).unwrap();
    let place = reader::directory(&world.path("releases"));
    verify(&place, kept(), None, NOW).unwrap();
    let stopped =
        |deed: &str| (deed == "rename .orlop-metadata timestamp.json").then_some(Errno::IO);
    let error = refusing(stopped, || world.publish("2.0", "releases").unwrap_err());
    assert_eq!(error.id(), Id::Write);
    let refused = verify(&place, kept(), None, NOW).unwrap_err();
    assert!(refused.chain().contains("must"), "{}", refused.chain());
    // A key that is there and does not open is as one that is not.
    fs::write(world.path("keys/targets.pem"), &lost[1..]).unwrap();
    world.publish("2.0", "releases").unwrap();
    assert_eq!(verify(&place, kept(), None, NOW).unwrap().release.version, "2.0");
}

#[test]
fn what_a_directory_has_had_counts_also_when_it_is_gone() {
    let world = World::new();
    let to = world.path("releases");
    let publish = |version: &str, epoch: Option<u64>, min_from: Option<&str>| {
        let terms = Terms { epoch, min_from: min_from.map(str::to_owned), ..Terms::default() };
        let build = world.build(version);
        let published = world.with(NOW, |it| it.publish(&build, &to, &terms, KEEP, 1));
        published.map(|it| it.release.unwrap())
    };
    let refused = |version, epoch, min_from| {
        let error = publish(version, epoch, min_from).unwrap_err();
        (error.id(), error.chain().replace(to.to_str().unwrap(), "DIR"))
    };
    let never = "`DIR` never had a release 1.0 to come from".to_owned();
    assert_eq!(refused("1.0", None, Some("1.0")), (Id::ReleaseTerms, never));
    assert_eq!(publish("1.0", Some(3), None).unwrap().epoch, 3);
    assert_eq!(publish("2.0", None, Some("1.0")).unwrap().epoch, 3);
    let below = "the epoch 2 is below 3, which `DIR` has had".to_owned();
    assert_eq!(refused("3.0", Some(2), None), (Id::ReleaseTerms, below));

    copy(&to, &world.path("other"));
    for version in ["1.0", "2.0"] {
        world.with(NOW, |it| it.withdraw(&to, version).unwrap());
    }
    let again = "`DIR` had a release 2.0 before".to_owned();
    assert_eq!(refused("2.0", None, None), (Id::Published, again));
    let below = "the epoch 0 is below 3, which `DIR` has had".to_owned();
    assert_eq!(refused("3.0", Some(0), None), (Id::ReleaseTerms, below));
    assert_eq!(publish("3.0", None, Some("1.0")).unwrap().epoch, 3);
    // As it was, it may come back.
    let other = reader::directory(&world.path("other"));
    world.with(NOW, |it| it.promote(&other, "2.0", &to, KEEP).unwrap());
    let root = fs::read(world.path("keys/1.root.json")).unwrap();
    let verified = verify(&reader::directory(&to), Kept::once(&root), None, NOW).unwrap();
    assert_eq!(verified.versions(), ["3.0", "2.0"], "the last that came is the newest");
    // Another one of this version may not.
    world.publish("2.0", "third").unwrap();
    world.with(NOW, |it| it.withdraw(&to, "2.0").unwrap());
    let third = reader::directory(&world.path("third"));
    let error = world.with(NOW, |it| it.promote(&third, "2.0", &to, KEEP).unwrap_err());
    assert_eq!(error.id(), Id::ReleaseTerms, "its epoch is 0");
}

#[test]
fn a_release_has_the_version_that_its_image_says() {
    let world = World::new();
    let (build, to) = (world.build("1.0"), world.path("releases"));
    let publish = |version: &str| {
        let terms = Terms { version: Some(version.to_owned()), ..Terms::default() };
        world.with(NOW, |it| it.publish(&build, &to, &terms, KEEP, 1))
    };
    let error = publish("2.0").unwrap_err();
    let said = error.chain().replace(build.to_str().unwrap(), "BUILD");
    assert_eq!(
        (error.id(), said.as_str()),
        (Id::ReleaseTerms, "`BUILD` is version 1.0 by its image, and not 2.0")
    );
    assert!(!to.join("metadata").exists(), "nothing was published");
    assert_eq!(publish("1.0").unwrap().release.unwrap().version, "1.0");
}

#[test]
fn a_directory_has_one_image_for_one_architecture() {
    let world = World::new();
    world.publish("1.0", "releases").unwrap();
    let build = world.build("2.0");
    let report = build.join("build.json");
    let text = fs::read_to_string(&report).unwrap();
    let to = world.path("releases");
    let publish =
        |to: &Path| world.with(NOW, |it| it.publish(&build, to, &Terms::default(), KEEP, 1));
    for (change, of) in [
        (text.replace("\"tiny\"", "\"storage\""), "`storage` for amd64"),
        (text.replacen('{', "{\"architecture\":\"arm64\",", 1), "`tiny` for arm64"),
    ] {
        fs::write(&report, change).unwrap();
        let error = publish(&to).unwrap_err();
        let said = error.chain();
        assert!(error.id() == Id::ReleaseTerms && said.ends_with(of), "{said}");
        // Nor by promotion.
        let (from, place) = (format!("of {of}"), world.path(&format!("of {of}")));
        publish(&place).unwrap();
        let other = reader::directory(&world.path(&from));
        let error = world.with(NOW, |it| it.promote(&other, "2.0", &to, KEEP).unwrap_err());
        assert!(error.id() == Id::ReleaseTerms && error.chain().ends_with(of));
    }
    assert_eq!(world.verify("releases", None, NOW).unwrap().versions(), ["1.0"]);
}

#[test]
fn what_a_release_is_reached_from_stays_and_is_told_of_when_it_is_withdrawn() {
    let world = World::new();
    let to = world.path("releases");
    let publish = |version: &str, min_from: Option<&str>| {
        let terms = Terms { min_from: min_from.map(str::to_owned), ..Terms::default() };
        let build = world.build(version);
        let published = world.with(NOW, |it| it.publish(&build, &to, &terms, KEEP, 1)).unwrap();
        (published.versions, published.removed)
    };
    let names = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    publish("1.0", None);
    publish("1.1", Some("1.0"));
    // Two stay, and by them what they are reached from, and what that is reached from.
    assert_eq!(publish("1.2", Some("1.1")), (names(&["1.0", "1.1", "1.2"]), names(&[])));
    assert_eq!(publish("1.3", None), (names(&["1.0", "1.1", "1.2", "1.3"]), names(&[])));
    let gone = world.with(NOW, |it| it.withdraw(&to, "1.1").unwrap());
    assert_eq!((gone.removed, gone.stranded), (names(&["1.1"]), names(&["1.2"])));
    assert_eq!(publish("1.4", Some("1.3")), (names(&["1.3", "1.4"]), names(&["1.0", "1.2"])));
}

#[test]
fn where_locks_hold_nobody_back_the_second_publisher_is_told_before_it_leads_anybody() {
    let world = World::new();
    world.publish("1.0", "releases").unwrap();
    let to = world.path("releases");
    let timestamp = to.join("metadata/timestamp.json");
    let place = Place::open(&to).unwrap();
    let before = fs::read(&timestamp).unwrap();
    fs::write(&timestamp, "of another").unwrap();
    assert_eq!(place.lead(b"ours").unwrap_err().id(), Id::Publishing);
    assert_eq!(fs::read(&timestamp).unwrap(), b"of another");
    fs::write(&timestamp, &before).unwrap();
    place.lead(b"ours").unwrap();
    assert_eq!(fs::read(&timestamp).unwrap(), b"ours");
}
