//! Trees that a few objects say and no memory or disk could hold.

use formats::ostree::{Attributes, Commit, Directory};

use super::*;
use crate::diff::load::Versions;

/// Puts an object where it belongs, and gives its digest.
fn put(place: &Path, kind: Kind, bytes: &[u8]) -> Sha256 {
    let digest = Sha256::of(bytes);
    let path = place.join(ObjectName { digest, kind }.path(Mode::Archive));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    digest
}

/// A commit whose directories are each in the one before, under all of these names.
fn nested(place: &Path, depth: usize, names: &[&str], xattr: usize) -> Sha256 {
    let xattrs = BTreeMap::from([("user.x".to_owned(), vec![7; xattr])]);
    let meta = Attributes::of_directory(0o755, 0, 0, xattrs);
    let meta = put(place, Kind::DirectoryMeta, &meta.encode());
    let mut tree = put(place, Kind::Directory, &Directory::default().encode());
    for _ in 0..depth {
        let entry = |name: &&str| ((*name).to_owned(), (tree, meta));
        let directory =
            Directory { files: BTreeMap::new(), directories: names.iter().map(entry).collect() };
        tree = put(place, Kind::Directory, &directory.encode());
    }
    let commit = Commit {
        metadata: BTreeMap::new(),
        parent: None,
        subject: String::new(),
        body: String::new(),
        timestamp: 0,
        tree,
        meta,
    };
    put(place, Kind::Commit, &commit.encode())
}

#[test]
fn a_version_that_is_too_deep_or_has_too_many_paths_is_refused_and_nothing_is_made_of_it() {
    let bench = Bench::new();
    drop(Repository::open_or_make(&bench.place(), &quiet()).unwrap());
    let out = bench.directory.path().join("out");
    for (commit, want) in [
        (nested(&bench.place(), 400, &["a"], 0), "more than 256 directories within each other"),
        (
            nested(&bench.place(), 60, &["a", "b"], 60_000),
            "more than 256.0 MiB of names and attributes",
        ),
    ] {
        let repository = bench.open();
        let want = format!("a version in `{}` has {want}", bench.place().display());
        let mut errors = vec![];
        let of_diff = Versions::open(&bench.place(), &quiet()).unwrap().load(&commit.to_string());
        errors.push(of_diff.unwrap_err());
        // To write some thousand directories in vain takes its time.
        if want.contains("within") {
            errors.push(repository.checkout(&commit, &out).unwrap_err());
            errors.push(repository.sizes(&commit).unwrap_err());
        }
        for error in errors {
            assert_eq!((error.id(), error.to_string()), (Id::VersionTooLarge, want.clone()));
        }
        assert!(!out.exists());
        drop(repository);
        // What is needed of it is known all the same: each object once.
        let heads = bench.place().join("refs/heads/x");
        fs::write(&heads, format!("{commit}\n")).unwrap();
        let prune = Repository::open_to_prune(&bench.place(), &quiet()).unwrap().prune(1, true);
        assert_eq!(prune.unwrap().kept, 1);
        fs::remove_file(heads).unwrap();
    }
    let few = nested(&bench.place(), 255, &["a"], 0);
    assert_eq!(bench.open().checkout(&few, &out).unwrap(), 256);
}

#[test]
fn an_object_that_is_larger_than_any_is_not_read_whole() {
    let bench = Bench::new();
    let commit = bench.commit().commit.0;
    let name = ObjectName { digest: commit, kind: Kind::Commit };
    let path = bench.open().object_path(&name);
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(1 << 40).unwrap();
    let error = bench.open().commit(&commit).unwrap_err();
    assert_eq!(error.id(), Id::DamagedObject);
    assert!(error.chain().ends_with("it has more than 16777216 bytes"), "{}", error.chain());
}
