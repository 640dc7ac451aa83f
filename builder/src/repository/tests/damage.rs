//! Refs and objects that are not what they should be: they are in nobody's way but their own, nobody
//! waits for them, and nothing goes because of them.

use std::os::unix::fs::symlink;

use super::*;
use crate::durable;

fn fifo(path: &Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
}

impl Bench {
    /// The file of a ref of this image.
    fn file_of(&self, channel: &str) -> PathBuf {
        self.place().join("refs/heads/orlop/x86_64/tiny").join(channel)
    }

    fn on(&mut self, channel: &str) -> Sha256 {
        self.channel = Name::try_from(channel.to_owned()).unwrap();
        self.commit().commit.0
    }

    fn prune(&self, keep: usize) -> Pruned {
        let repository = Repository::open_to_prune(&self.place(), &quiet()).unwrap();
        let dry = repository.prune(keep, true).unwrap();
        let pruned = repository.prune(keep, false).unwrap();
        assert_eq!(dry, pruned);
        pruned
    }

    /// Whether a version is there, to its last object.
    fn is_whole(&self, commit: &Sha256) -> bool {
        faults::read_all(&self.open(), commit).is_ok()
    }
}

/// What it is called, and how it comes about.
type Damage = (&'static str, fn(&Path));

/// What stands where a ref should be.
const DAMAGES: [Damage; 8] = [
    ("empty", |path| fs::write(path, "").unwrap()),
    ("rubbish", |path| fs::write(path, b"\xff\x1b[2J\n").unwrap()),
    ("dangling", |path| fs::write(path, format!("{}\n", Sha256::of("none"))).unwrap()),
    ("large", |path| fs::write(path, "a".repeat(1 << 20)).unwrap()),
    ("pipe", fifo),
    ("link to nothing", |path| symlink("nowhere", path).unwrap()),
    ("link to itself", |path| symlink(path.file_name().unwrap(), path).unwrap()),
    ("link to a device", |path| symlink("/dev/zero", path).unwrap()),
];

#[test]
fn a_damaged_ref_is_named_and_in_nobodys_way() {
    for (what, damage) in DAMAGES {
        let mut bench = Bench::new();
        bench.tree = Tree::new();
        bench.file("etc/motd", b"stable", 0o644);
        let stable = bench.on("stable");
        let mut versions = Vec::new();
        for number in 0..3_u8 {
            bench.file("etc/motd", &[number; 9000], 0o644);
            versions.push(bench.on("dev"));
        }
        fs::remove_file(bench.file_of("stable")).unwrap();
        damage(&bench.file_of("stable"));

        let repository = bench.open();
        let refs = repository.refs();
        let names: Vec<_> = refs.named.keys().map(Reference::as_str).collect();
        assert!(names.contains(&"orlop/x86_64/tiny/dev"), "{what}: {names:?}");
        assert_eq!(refs.damaged.len(), usize::from(what != "dangling"), "{what}");
        assert_eq!(repository.resolve("orlop/x86_64/tiny/dev").unwrap(), versions[2], "{what}");
        if what != "dangling" {
            let error = repository.resolve("orlop/x86_64/tiny/stable").unwrap_err();
            assert_eq!(error.id(), Id::DamagedObject, "{what}");
        }
        drop(repository);

        // The others go on, and it is said.
        bench.file("etc/motd", b"newest", 0o644);
        let committed = bench.commit();
        let [damaged] = committed.damaged.as_slice() else { panic!("{what}: {committed:?}") };
        assert_eq!(damaged.name, "orlop/x86_64/tiny/stable");
        assert!(!damaged.warning().contains(char::is_control), "{what}: {}", damaged.warning());
        let told = bench.open().summary().unwrap().refs;
        let told: Vec<_> = told.iter().map(|(name, entry)| (name.as_str(), entry.commit)).collect();
        let want =
            [("orlop/x86_64/tiny/dev", committed.commit.0), ("orlop/x86_64/tiny/stable", stable)];
        assert_eq!(told, want, "{what}: what it named is offered as before");

        let pruned = bench.prune(1);
        assert_eq!((pruned.commits, pruned.kept), (3, 2), "{what}");
        assert_eq!(pruned.damaged.len(), 1, "{what}");
        assert!(bench.is_whole(&stable) && bench.is_whole(&committed.commit.0), "{what}");
        assert!(!bench.is_whole(&versions[0]), "{what}");
    }
}

#[test]
fn what_a_damaged_ref_may_have_named_stays_if_nothing_tells_what_it_was() {
    let mut bench = Bench::new();
    bench.file("etc/motd", b"stable", 0o644);
    let stable = bench.on("stable");
    bench.file("etc/motd", b"old", 0o644);
    let old = bench.on("dev");
    bench.file("etc/motd", b"new", 0o644);
    let new = bench.on("dev");
    for name in ["summary", "refs/heads/orlop/x86_64/tiny/stable"] {
        fs::write(bench.place().join(name), "").unwrap();
    }
    let orphan = |text: &str| {
        let name = ObjectName { digest: Sha256::of(text), kind: Kind::Directory };
        let path = bench.open().object_path(&name);
        fs::create_dir_all(durable::parent(&path)).unwrap();
        fs::write(path, "of no version").unwrap();
    };
    orphan("x");
    let pruned = bench.prune(1);
    // A commit was there before its ref: what is of none was of none that the ref could have named.
    assert_eq!((pruned.commits, pruned.objects, pruned.kept), (0, 1, 3));
    // One that is lost had objects that nobody can tell from those.
    fs::write(bench.file_of("stable"), format!("{}\n", Sha256::of("none"))).unwrap();
    orphan("y");
    assert_eq!(bench.prune(1).objects, 0);
    for commit in [stable, old, new] {
        assert!(bench.is_whole(&commit));
    }
    fs::remove_file(bench.file_of("stable")).unwrap();
    assert_eq!(bench.prune(1).commits, 2);
}

#[test]
fn a_ref_whose_name_is_of_any_script_or_of_no_ref_keeps_its_versions() {
    let mut bench = Bench::new();
    let mut commits = Vec::new();
    let names = [
        "heads/é",
        "heads/节点/稳定",
        "remotes/origin/a",
        "mirrors/a.b/c",
        "heads/a b~",
        "other/x",
    ];
    for (number, name) in names.iter().enumerate() {
        bench.file("etc/motd", format!("{number}").as_bytes(), 0o644);
        commits.push(bench.on(&format!("c{number}")));
        let path = bench.place().join("refs").join(name);
        fs::create_dir_all(durable::parent(&path)).unwrap();
        durable::rename(&bench.file_of(&format!("c{number}")), &path).unwrap();
    }
    let odd = std::os::unix::ffi::OsStrExt::from_bytes(b"refs/heads/\xff");
    bench.file("etc/motd", b"odd", 0o644);
    commits.push(bench.on("odd"));
    durable::rename(&bench.file_of("odd"), &bench.place().join::<&std::ffi::OsStr>(odd)).unwrap();
    // What is no ref by its name nor by what it holds is nothing of ours.
    fs::write(bench.place().join("refs/heads/.notes~"), "x").unwrap();
    bench.file("etc/motd", b"dev", 0o644);
    commits.push(bench.on("dev"));
    let pruned = bench.prune(1);
    assert_eq!((pruned.objects, pruned.damaged.len()), (0, 0));
    assert!(commits.iter().all(|commit| bench.is_whole(commit)));
    let told = bench.open().summary().unwrap().refs;
    let told: Vec<_> = told.keys().map(Reference::as_str).collect();
    assert_eq!(told, ["orlop/x86_64/tiny/dev", "é", "节点/稳定"]);
    assert_eq!(bench.open().resolve("é").unwrap(), commits[0]);
}

#[test]
fn where_refs_were_lost_every_version_stays() {
    let bench = Bench::new();
    let commit = bench.commit().commit.0;
    for (lost, name) in [("refs/heads", "refs/heads"), ("refs", "refs/")] {
        fs::remove_dir_all(bench.place().join(lost)).unwrap();
        let pruned = bench.prune(1);
        assert_eq!((pruned.objects, pruned.kept), (0, 1), "{lost}");
        let names = |damaged: &[Damaged]| damaged.iter().map(|one| one.name.clone()).collect();
        let names: [Vec<String>; 2] = [names(&pruned.damaged), names(&bench.open().refs().damaged)];
        assert_eq!(names, [[name], [name]], "{lost}");
        assert!(bench.is_whole(&commit));
    }
    // The next commit makes what it needs.
    assert!(bench.commit().damaged.is_empty());
    fs::remove_file(bench.file_of("dev")).unwrap();
    assert_eq!(bench.prune(1).commits, 1, "whoever removes a ref wants no version of it");
}

#[test]
fn what_stands_in_the_place_of_an_object_is_damage_and_blocks_nobody() {
    let bench = Bench::new();
    let commit = bench.commit().commit.0;
    let objects: Vec<_> = bench.files().into_keys().filter(|p| p.extension().is_some()).collect();
    for extension in ["filez", "dirtree", "dirmeta", "commit"] {
        let is = |path: &&PathBuf| path.extension().is_some_and(|one| one == extension);
        let path = objects.iter().find(is).unwrap();
        let whole = fs::read(path).unwrap();
        let damages: [Damage; 4] = [
            ("empty", |path| fs::write(path, "").unwrap()),
            ("pipe", fifo),
            ("directory", |path| fs::create_dir(path).unwrap()),
            ("link", |path| symlink("/dev/zero", path).unwrap()),
        ];
        for (what, damage) in damages {
            fs::remove_file(path).unwrap();
            damage(path);
            let out = bench.directory.path().join("out");
            let error = bench.open().checkout(&commit, &out).unwrap_err();
            assert_eq!(error.id(), Id::DamagedObject, "{extension} {what}: {}", error.chain());
            let pruned =
                Repository::open_to_prune(&bench.place(), &quiet()).unwrap().prune(9, false);
            // Of a file or of attributes only the name counts.
            let is_known = ["filez", "dirmeta"].contains(&extension) || extension == "commit";
            assert_eq!(pruned.is_ok(), is_known, "{extension} {what}");
            if what == "directory" {
                assert_eq!(bench.try_commit().unwrap_err().id(), Id::RepositoryWrite);
                fs::remove_dir(path).unwrap();
            }
            // A commit puts it right.
            bench.commit();
            assert!(fs::read(path).unwrap() == whole, "{extension} {what}");
        }
    }
}

#[test]
fn a_repository_whose_files_are_pipes_is_none_or_is_mended_and_blocks_nobody() {
    let bench = Bench::new();
    bench.commit();
    fs::remove_file(bench.place().join("summary")).unwrap();
    fifo(&bench.place().join("summary"));
    assert!(!bench.commit().new);
    assert!(bench.open().summary().is_some());
    fs::remove_file(bench.place().join("config")).unwrap();
    fifo(&bench.place().join("config"));
    let error = Repository::open(&bench.place(), &quiet()).unwrap_err();
    assert_eq!(error.id(), Id::NotARepository);
}

#[test]
fn a_ref_has_no_place_within_another_nor_in_that_of_a_directory() {
    let bench = Bench::new();
    fs::create_dir_all(bench.place()).unwrap();
    drop(Repository::open_or_make(&bench.place(), &quiet()).unwrap());
    let heads = bench.place().join("refs/heads");
    fs::write(heads.join("orlop"), "").unwrap();
    let error = bench.try_commit().unwrap_err();
    assert_eq!(error.id(), Id::RepositoryWrite);
    let want = format!(
        "there can be no ref `orlop/x86_64/tiny/dev`: `{}` is a file",
        heads.join("orlop").display()
    );
    assert_eq!(error.to_string(), want);
    fs::remove_file(heads.join("orlop")).unwrap();
    fs::create_dir_all(bench.file_of("dev")).unwrap();
    let error = bench.try_commit().unwrap_err();
    assert!(error.to_string().ends_with("is a directory"), "{error}");
    let objects = bench.files().into_keys().filter(|path| path.extension().is_some()).count();
    assert_eq!(objects, 0, "nothing was written in vain");
    fs::remove_dir(bench.file_of("dev")).unwrap();
    bench.commit();
}

#[test]
fn a_lost_version_comes_back_or_comes_before_the_next_one_all_the_same() {
    let mut bench = Bench::new();
    bench.commit();
    bench.file("etc/motd", b"lost", 0o644);
    let lost = bench.commit().commit.0;
    let name = ObjectName { digest: lost, kind: Kind::Commit };
    let path = bench.open().object_path(&name);
    fs::remove_file(&path).unwrap();
    let back = bench.commit();
    assert_eq!((back.commit.0, back.new, back.objects), (lost, false, 1));
    assert_eq!(bench.open().history(lost, 9).unwrap().len(), 2);
    fs::remove_file(&path).unwrap();
    bench.file("etc/motd", b"x", 0o644);
    let next = bench.commit();
    assert_eq!((next.parent, next.new, next.damaged.len()), (Some(Hex(lost)), true, 0));
    assert_eq!(bench.open().history(next.commit.0, 9).unwrap().len(), 1);
    assert_eq!(bench.prune(9).damaged, []);
}
