//! A repository in a directory, trees over a store, and what must hold whatever happens.

mod damage;
mod faults;
mod judged;
mod large;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use formats::architecture::Architecture;
use formats::digest::Sha256;
use formats::ostree::{Kind, Name as ObjectName, Reference};
use formats::tree::{Node, Tree, TreePath};
use tempfile::TempDir;

use super::*;
use crate::build::report::{Report, Root};
use crate::recipe::model::Name;
use crate::store::Store;
use crate::stored::Hex;

/// A store and a place for a repository, and a build that changes.
struct Bench {
    directory: TempDir,
    store: Store,
    report: Report,
    channel: Name,
    tree: Tree,
}

fn quiet() -> Progress {
    Progress::new(crate::progress::Mode::None)
}

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("bench-").tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let hash = Hex(Sha256::of("root"));
        let root = Root { hash, salt: String::new(), data_size: 1, size: 2, paths: 3 };
        let report = Report {
            schema: 2,
            image: "tiny".to_owned(),
            version: "1.0".to_owned(),
            architecture: Architecture::Amd64,
            kernel: "6.0".to_owned(),
            lock: Some(Hex(Sha256::of("lock"))),
            root,
            command_line: String::new(),
            components: BTreeMap::new(),
            dropped: BTreeMap::new(),
            packages: BTreeMap::new(),
            uki_size: 4,
            initrd_size: 5,
            disk_size: 6,
            artifacts: Vec::new(),
        };
        let channel = Name::try_from("dev".to_owned()).unwrap();
        let mut bench = Self { directory, store, report, channel, tree: Tree::new() };
        bench.fill();
        bench
    }

    /// A bit of everything that an image has.
    fn fill(&mut self) {
        self.file("usr/bin/a", &[7; 100_000], 0o755);
        self.file("usr/bin/same", &[7; 100_000], 0o755);
        self.file("usr/bin/set-id", b"x", 0o4755);
        self.file("etc/empty", b"", 0o600);
        self.insert("etc/owned", Node { uid: 65534, gid: 7, ..self.node(b"x", 0o644) });
        self.insert("bin", Node::symlink("usr/bin"));
        self.insert("lib", Node::symlink("usr/lib-of-é"));
        self.insert("tmp", Node::directory(0o1777));
        for number in 0..300 {
            self.file(&format!("usr/lib/d/{number}"), format!("{number}").as_bytes(), 0o644);
        }
    }

    fn node(&self, content: &[u8], mode: u16) -> Node {
        Node::file(self.store.put_bytes(content).unwrap(), mode)
    }

    fn insert(&mut self, at: &str, node: Node) {
        self.tree.insert(path(at), node).unwrap();
    }

    fn file(&mut self, at: &str, content: &[u8], mode: u16) {
        self.insert(at, self.node(content, mode));
    }

    fn place(&self) -> PathBuf {
        self.directory.path().join("repo")
    }

    fn commit(&self) -> Committed {
        self.try_commit().unwrap()
    }

    fn try_commit(&self) -> Result<Committed> {
        let version = Version { tree: &self.tree, report: &self.report, channel: &self.channel };
        Repository::open_or_make(&self.place(), &quiet())?.add(&version, &self.store, 2, &|_| ())
    }

    fn open(&self) -> Repository {
        Repository::open(&self.place(), &quiet()).unwrap()
    }

    /// Every file of the repository, and what tells that it was not written again.
    fn files(&self) -> BTreeMap<PathBuf, (u64, u64, i64, i64)> {
        files(&self.place())
    }

    fn head(&self) -> Option<Sha256> {
        let name = "orlop/x86_64/tiny/dev".parse().unwrap();
        self.open().head(&name).unwrap()
    }
}

fn files(directory: &Path) -> BTreeMap<PathBuf, (u64, u64, i64, i64)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        if meta.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path, (meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec()));
        }
    }
    all
}

#[test]
fn a_build_becomes_a_commit_that_says_all_of_it() {
    let bench = Bench::new();
    let committed = bench.commit();
    assert_eq!((committed.reference.as_str(), committed.new), ("orlop/x86_64/tiny/dev", true));
    let repository = bench.open();
    let history = repository.history(committed.commit.0, 9).unwrap();
    assert_eq!(
        serde_json::to_value(&history).unwrap(),
        serde_json::json!([{
            "commit": committed.commit, "parent": null, "subject": "tiny 1.0, kernel 6.0",
            "timestamp": 0, "version": "1.0", "kernel": "6.0",
            "root-hash": Sha256::of("root").to_string(), "lock": Sha256::of("lock").to_string(),
            "root-size": 2, "uki-size": 4, "disk-size": 6,
        }])
    );
    // Another repository, another order of things: the same commit.
    let mut other = Bench::new();
    other.file("z", b"z", 0o644);
    other.tree.remove(&path("z"));
    assert_eq!(other.commit().commit, committed.commit);
}

#[test]
fn what_a_repository_has_is_not_written_again() {
    let mut bench = Bench::new();
    let first = bench.commit();
    let before = bench.files();
    let again = bench.commit();
    assert_eq!((again.new, again.objects, again.commit), (false, 0, first.commit));
    assert!(bench.files() == before, "nothing was written");

    bench.file("etc/motd", b"hello", 0o644);
    let second = bench.commit();
    assert_eq!(second.parent, Some(first.commit));
    assert_eq!(second.objects, 4, "the file, its directory, the root, the commit");
    let after = bench.files();
    let objects = |path: &PathBuf| path.components().any(|part| part.as_os_str() == "objects");
    assert!(before.iter().filter(|(path, _)| objects(path)).all(|(p, seen)| after[p] == *seen));
    // Back again is a version of its own, and has nothing new but itself.
    bench.tree.remove(&path("etc/motd"));
    let third = bench.commit();
    assert_eq!((third.parent, third.objects), (Some(second.commit), 1));
    let history = bench.open().history(third.commit.0, 9).unwrap();
    let commits: Vec<_> = history.iter().map(|version| version.commit).collect();
    assert_eq!(commits, [third.commit, second.commit, first.commit]);
}

#[test]
fn another_lock_of_the_same_tree_is_another_version_and_an_unknown_one_can_be_left_out() {
    let mut bench = Bench::new();
    let first = bench.commit();
    bench.report.lock = Some(Hex(Sha256::of("another")));
    let second = bench.commit();
    assert_eq!((second.objects, second.parent), (1, Some(first.commit)));
    bench.report.lock = None;
    let third = bench.commit();
    assert_eq!(bench.open().history(third.commit.0, 1).unwrap()[0].lock, None);
}

#[test]
fn a_version_is_found_by_its_ref_or_by_the_first_digits_of_its_commit() {
    let bench = Bench::new();
    let commit = bench.commit().commit.0;
    let repository = bench.open();
    let digits = commit.to_string();
    for name in ["orlop/x86_64/tiny/dev", &digits, &digits[..4], &digits[..11]] {
        assert_eq!(repository.resolve(name).unwrap(), commit, "{name}");
    }
    for (name, hint) in [
        ("orlop/x86_64/tiny/de", "did you mean `orlop/x86_64/tiny/dev`?"),
        ("tiny", "did you mean `orlop/x86_64/tiny/dev`?"),
        ("colour", "there are `orlop/x86_64/tiny/dev`"),
        (&digits[..3], "there are `orlop/x86_64/tiny/dev`"),
        ("../../x", "there are `orlop/x86_64/tiny/dev`"),
    ] {
        let error = repository.resolve(name).unwrap_err();
        assert_eq!((error.id(), &error.hints()[0][..]), (Id::UnknownVersion, hint), "{name}");
        assert!(error.to_string().ends_with(&format!("has no ref or commit `{name}`")));
    }
}

#[test]
fn digits_that_name_two_commits_name_none() {
    let mut bench = Bench::new();
    bench.commit();
    // Until two begin alike.
    let mut seen = BTreeMap::new();
    let alike = (0..u32::MAX).find_map(|number| {
        let name = |number: u32| Sha256::of(number.to_le_bytes());
        let digits = name(number).to_string()[..4].to_owned();
        seen.insert(digits.clone(), name(number)).map(|other| (digits, [other, name(number)]))
    });
    let (digits, names) = alike.unwrap();
    let repository = bench.open();
    for digest in names {
        let name = ObjectName { digest, kind: Kind::Commit };
        let path = repository.object_path(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    let error = repository.resolve(&digits).unwrap_err();
    assert_eq!(error.to_string(), format!("`{digits}` begins the digests of 2 commits"));
    assert_eq!(error.id(), Id::UnknownVersion);
    bench.tree = Tree::new();
    drop(repository);
    bench.commit();
}

#[test]
fn what_is_not_a_repository_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir_all(path("theirs/objects")).unwrap();
    fs::write(path("theirs/notes"), "x").unwrap();
    fs::write(path("file"), "x").unwrap();
    fs::create_dir_all(path("config/config")).unwrap();
    fs::create_dir_all(path("no-objects")).unwrap();
    fs::write(path("no-objects/config"), Config::ARCHIVE).unwrap();
    fs::create_dir_all(path("newer/objects")).unwrap();
    fs::write(path("newer/config"), "[core]\nrepo_version=2\nmode=bare\n").unwrap();
    for name in ["theirs", "file", "no-objects", "newer"] {
        for error in [
            Repository::open(&path(name), &quiet()).unwrap_err(),
            Repository::open_or_make(&path(name), &quiet()).unwrap_err(),
            check_place(&path(name)).unwrap_err(),
        ] {
            assert_eq!(error.id(), Id::NotARepository, "{name}: {}", error.chain());
        }
    }
    assert_eq!(Repository::open(&path("none"), &quiet()).unwrap_err().id(), Id::NotARepository);
    assert!(!path("none").exists());
    check_place(&path("none")).unwrap();
    fs::create_dir(path("empty")).unwrap();
    check_place(&path("empty")).unwrap();
    // What a repository that was never finished has.
    fs::create_dir_all(path("half/refs/heads")).unwrap();
    fs::write(path("half/.orlop-objects-Dead00"), "[co").unwrap();
    Repository::open_or_make(&path("half"), &quiet()).unwrap();
    assert!(!path("half/.orlop-objects-Dead00").exists());
}

#[test]
fn a_damaged_object_is_named_by_whoever_reads_it_and_nothing_is_made_of_it() {
    let bench = Bench::new();
    let commit = bench.commit().commit.0;
    let out = bench.directory.path().join("out");
    let objects: Vec<_> = bench.files().into_keys().filter(|p| p.extension().is_some()).collect();
    let mut tried = BTreeMap::new();
    for path in objects {
        let extension = path.extension().unwrap().to_str().unwrap().to_owned();
        let times = tried.entry(extension).or_insert(0);
        *times += 1;
        if *times > 6 {
            continue;
        }
        let whole = fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        for bytes in [&damaged[..], &whole[..middle], &[]] {
            fs::write(&path, bytes).unwrap();
            let error = bench.open().checkout(&commit, &out).unwrap_err();
            assert_eq!(error.id(), Id::DamagedObject, "{}", error.chain());
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(error.to_string().contains(name), "{} {name}", error.chain());
            assert!(!out.exists());
        }
        fs::remove_file(&path).unwrap();
        let error = bench.open().checkout(&commit, &out).unwrap_err();
        assert!(error.to_string().contains("lacks the object"), "{}", error.chain());
        fs::write(&path, whole).unwrap();
    }
    assert_eq!(tried.len(), 4, "{tried:?}");
    bench.open().checkout(&commit, &out).unwrap();
    // An object that was removed comes back with the next commit, also of the same version.
    let file = bench.files().into_keys().find(|p| p.extension().is_some_and(|e| e == "filez"));
    fs::remove_file(file.unwrap()).unwrap();
    let mended = bench.commit();
    assert_eq!((mended.new, mended.objects), (false, 1));
    fs::remove_dir_all(&out).unwrap();
    bench.open().checkout(&commit, &out).unwrap();
}

#[test]
fn a_version_becomes_files_of_this_host() {
    let bench = Bench::new();
    let commit = bench.commit().commit.0;
    let out = bench.directory.path().join("a/out");
    let paths = bench.open().checkout(&commit, &out).unwrap();
    assert_eq!(paths, bench.tree.len() as u64);
    for (path, node) in bench.tree.iter() {
        let at = out.join(path.as_str());
        let meta = at.symlink_metadata().unwrap();
        let want = match &node.kind {
            formats::tree::Kind::Symlink(target) => {
                assert_eq!(fs::read_link(&at).unwrap(), Path::new(target));
                continue;
            }
            formats::tree::Kind::File(blob) => {
                assert!(fs::read(&at).unwrap() == bench.store.read_blob(blob).unwrap(), "{path}");
                node.mode & 0o777
            }
            formats::tree::Kind::Directory => node.mode & 0o777,
        };
        assert_eq!(meta.mode() & 0o7777, u32::from(want), "{path}");
    }
    let error = bench.open().checkout(&commit, &out).unwrap_err();
    assert_eq!(error.id(), Id::OutputInTheWay);
    let beside = fs::read_dir(out.parent().unwrap()).unwrap().count();
    assert_eq!(beside, 1, "nothing is left beside it");
}

#[test]
fn old_versions_go_with_what_only_they_had() {
    let mut bench = Bench::new();
    let mut commits = Vec::new();
    for number in 0..4_u8 {
        bench.file("etc/motd", &[number; 9000], 0o644);
        commits.push(bench.commit().commit.0);
    }
    bench.channel = Name::try_from("stable".to_owned()).unwrap();
    bench.commit();
    let before = bench.files();
    let prune =
        |keep, dry| Repository::open_to_prune(&bench.place(), &quiet()).unwrap().prune(keep, dry);
    let dry = prune(2, true).unwrap();
    assert!(bench.files() == before, "a dry run removes nothing");
    let pruned = prune(2, false).unwrap();
    assert_eq!(pruned, dry);
    // Each had a commit, a file and two directories of its own.
    assert_eq!((pruned.commits, pruned.objects, pruned.kept), (2, 8, 3));
    assert_eq!(bench.files().len(), before.len() - 8);
    let repository = bench.open();
    let history = repository.history(commits[3], 9).unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!(history[1].parent, Some(Hex(commits[1])), "it is told, though it is gone");
    for commit in [commits[2], commits[3]] {
        let out = bench.directory.path().join(commit.to_string());
        repository.checkout(&commit, &out).unwrap();
    }
    assert_eq!(repository.resolve(&commits[0].to_string()).unwrap_err().id(), Id::UnknownVersion);
    drop(repository);
    assert_eq!(prune(2, false).unwrap().objects, 0);
}

#[test]
fn nothing_is_pruned_where_it_cannot_be_known_what_is_needed() {
    let mut bench = Bench::new();
    bench.commit();
    bench.file("etc/motd", b"x", 0o644);
    bench.commit();
    let directory =
        bench.files().into_keys().find(|p| p.extension().is_some_and(|e| e == "dirtree"));
    let trees: Vec<_> = bench
        .files()
        .into_keys()
        .filter(|p| p.extension() == directory.as_ref().unwrap().extension())
        .collect();
    for path in trees {
        let whole = fs::read(&path).unwrap();
        fs::write(&path, "x").unwrap();
        let before = bench.files().into_keys().collect::<Vec<_>>();
        let pruned = Repository::open_to_prune(&bench.place(), &quiet()).unwrap().prune(2, false);
        assert_eq!(pruned.unwrap_err().id(), Id::DamagedObject);
        assert_eq!(bench.files().into_keys().collect::<Vec<_>>(), before);
        fs::write(&path, whole).unwrap();
    }
}
