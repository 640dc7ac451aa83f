//! A full disk, a kill, and two at once: nothing is lost, nothing is half-visible.

use std::sync::Barrier;

use rustix::io::Errno;

use super::*;
use crate::durable::testing::{asked, refusing};

/// Reads a version to its last object.
pub(super) fn read_all(repository: &Repository, head: &Sha256) -> Result<()> {
    let commit = repository.commit(head)?;
    let mut directories = vec![(commit.tree, commit.meta)];
    while let Some((tree, meta)) = directories.pop() {
        repository.directory_meta(&meta)?;
        let directory = repository.directory(&tree)?;
        for file in directory.files.values() {
            repository.file(file, |_| Ok(|_: &[u8]| Ok(())))?;
        }
        directories.extend(directory.directories.values());
    }
    Ok(())
}

/// Every ref names a version that is there to its last object.
fn whole(bench: &Bench) {
    let repository = bench.open();
    for (name, head) in repository.refs().named {
        read_all(&repository, &head).unwrap_or_else(|e| panic!("{name}: {}", e.chain()));
    }
    let in_tmp = fs::read_dir(bench.place().join("tmp")).unwrap().count();
    assert_eq!(in_tmp, 0, "something was left in `tmp`");
}

#[test]
fn objects_are_on_the_disk_before_their_commit_and_the_commit_before_its_ref() {
    let bench = Bench::new();
    drop(Repository::open_or_make(&bench.place(), &quiet()).unwrap());
    let (committed, asked) = asked(|| bench.commit());
    let commit = committed.commit.0.to_string();
    let at = |word: &str| {
        let found = asked.iter().position(|deed| deed.contains(word));
        found.unwrap_or_else(|| panic!("no {word} in {asked:#?}"))
    };
    let last_object = asked.iter().rposition(|deed| deed.contains(".filez")).unwrap();
    let named = asked[last_object..].iter().position(|deed| deed.starts_with("syncfs")).unwrap();
    let commit = at(&commit[2..]);
    assert!(asked[..last_object].iter().any(|deed| deed.starts_with("syncfs")), "{asked:#?}");
    assert!(last_object + named < commit, "{asked:#?}");
    // The commit's name is on the disk, and its ref comes then, and the summary.
    assert!(asked[commit + 1].starts_with("sync "), "{asked:#?}");
    assert!(commit + 1 < at(" dev") && at(" dev") < at(" summary"), "{asked:#?}");
}

#[test]
fn a_disk_that_refuses_anything_at_any_moment_leaves_whole_versions_and_no_garbage() {
    let mut bench = Bench::new();
    let first = bench.commit().commit.0;
    bench.file("etc/motd", b"hello", 0o644);
    let mut refused = 0;
    loop {
        let count = std::cell::Cell::new(0);
        let failing = refused;
        let refuse = move |_: &str| {
            count.set(count.get() + 1);
            (count.get() == failing + 1).then_some(Errno::NOSPC)
        };
        let outcome = refusing(refuse, || bench.try_commit());
        whole(&bench);
        let head = bench.head().unwrap();
        let Err(error) = outcome else {
            assert_ne!(head, first);
            break;
        };
        // What is found out of contents is remembered in the store, which is on that disk, too.
        let ids = [Id::RepositoryWrite, Id::StoreWrite];
        assert!(ids.contains(&error.id()), "{}", error.chain());
        refused += 1;
        if head != first {
            // The ref was brought forward; the summary follows with whoever comes next.
            assert!(!bench.commit().new);
            whole(&bench);
            // Back to where it was, for the next moment.
            let repository = Repository::open_or_make(&bench.place(), &quiet()).unwrap();
            let name = "orlop/x86_64/tiny/dev".parse().unwrap();
            repository.set_head(&name, &first).unwrap();
            repository.update_summary().unwrap();
        }
        let pruned = Repository::open_to_prune(&bench.place(), &quiet()).unwrap().prune(9, false);
        pruned.unwrap();
    }
    assert!(refused > 8, "only {refused} moments");
}

#[test]
fn a_repository_that_could_not_be_made_is_none_and_is_made_the_next_time() {
    for moment in 0..3 {
        let bench = Bench::new();
        let count = std::cell::Cell::new(0);
        let refuse = move |_: &str| {
            count.set(count.get() + 1);
            (count.get() == moment + 1).then_some(Errno::NOSPC)
        };
        let error = refusing(refuse, || bench.try_commit()).unwrap_err();
        assert_eq!(error.id(), Id::RepositoryWrite, "{}", error.chain());
        bench.commit();
        whole(&bench);
    }
}

/// As a process that was killed leaves it.
#[test]
fn what_a_killed_commit_left_goes_with_the_next_and_its_objects_with_a_prune() {
    let mut bench = Bench::new();
    bench.commit();
    let before = bench.files().len();
    fs::create_dir(bench.place().join("tmp/.orlop-objects-Dead00")).unwrap();
    fs::write(bench.place().join("tmp/.orlop-objects-Dead00/x"), "half").unwrap();
    fs::write(bench.place().join("tmp/.orlop-objects-Dead01"), "half").unwrap();
    let name = ObjectName { digest: Sha256::of("x"), kind: Kind::Directory };
    let repository = bench.open();
    let orphan = repository.object_path(&name);
    drop(repository);
    fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    fs::write(&orphan, "of no version").unwrap();
    bench.file("etc/motd", b"hello", 0o644);
    let new = bench.commit().objects;
    whole(&bench);
    let pruned =
        Repository::open_to_prune(&bench.place(), &quiet()).unwrap().prune(9, false).unwrap();
    assert_eq!((pruned.objects, pruned.commits), (1, 0));
    assert_eq!(bench.files().len() as u64, before as u64 + new);
}

#[test]
fn a_summary_that_is_older_than_its_refs_is_made_anew() {
    let bench = Bench::new();
    bench.commit();
    let path = bench.place().join("summary");
    let whole = fs::read(&path).unwrap();
    for damaged in [&b""[..], b"x", &whole[..whole.len() - 1]] {
        fs::write(&path, damaged).unwrap();
        fs::write(bench.place().join("summary.sig"), "of another").unwrap();
        assert!(!bench.commit().new);
        assert!(fs::read(&path).unwrap() == whole);
        assert!(!bench.place().join("summary.sig").exists());
    }
}

#[test]
fn two_commits_at_once_are_two_versions_one_after_the_other() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("repo");
    for round in 0..4_u8 {
        let barrier = Barrier::new(2);
        let commits = std::thread::scope(|scope| {
            let commit = |which: u8| {
                let (barrier, place) = (&barrier, &place);
                scope.spawn(move || {
                    let mut bench = Bench::new();
                    bench.file("etc/motd", &[round, which], 0o644);
                    let version = Version {
                        tree: &bench.tree,
                        report: &bench.report,
                        channel: &bench.channel,
                    };
                    barrier.wait();
                    let repository = Repository::open_or_make(place, &quiet()).unwrap();
                    repository.add(&version, &bench.store, 2, &|_| ()).unwrap()
                })
            };
            [commit(1), commit(2)].map(|thread| thread.join().unwrap())
        });
        let repository = Repository::open(&place, &quiet()).unwrap();
        let head = repository.resolve("orlop/x86_64/tiny/dev").unwrap();
        let history = repository.history(head, 99).unwrap();
        assert_eq!(history.len(), 2 * usize::from(round + 1), "no version was lost");
        for committed in commits {
            assert!(history.iter().any(|version| version.commit == committed.commit));
        }
    }
}
