//! Before the stock program: what we write it reads, and what it writes we read.

use formats::tar;

use super::*;
use crate::build::root;
use crate::process::Command;

/// `ostree` on this repository.
#[track_caller]
fn ostree(repository: &Path, words: &[&str]) -> String {
    let command = Command::new("ostree").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    let command = command.args(words).arg(format!("--repo={}", repository.display()));
    let said = command.run();
    let said = said.unwrap_or_else(|e| panic!("{}; the package `ostree` is needed", e.chain()));
    String::from_utf8(said).unwrap()
}

const REF: &str = "orlop/x86_64/tiny/dev";

#[test]
fn the_stock_program_finds_nothing_wrong_and_says_what_we_said() {
    let mut bench = Bench::new();
    let first = bench.commit().commit.0.to_string();
    let place = bench.place();
    let xattr = |node: Node| Node {
        xattrs: [("security.capability".to_owned(), vec![1, 0, 0, 2])].into(),
        ..node
    };
    bench.insert("usr/bin/capable", xattr(bench.node(b"c", 0o755)));
    bench.insert("srv", xattr(Node::directory(0o750)));
    let second = bench.commit().commit.0.to_string();
    ostree(&place, &["fsck", "--quiet"]);
    let log = ostree(&place, &["log", REF]);
    for said in [&first, &second, "tiny 1.0, kernel 6.0", "Version: 1.0", "1970-01-01 00:00:00"] {
        assert!(log.contains(said), "{said} is not in\n{log}");
    }
    let size = |key: &str| ostree(&place, &["show", "--print-metadata-key", key, REF]);
    assert_eq!(size("orlop.root-size"), "'2'\n");
    assert_eq!(size("orlop.lock"), format!("'{}'\n", Sha256::of("lock")));

    let list = ostree(&place, &["ls", "-R", "-X", REF]);
    let paths: Vec<_> = list.lines().filter_map(|line| line.split(" } /").nth(1)).collect();
    let ours: Vec<_> = bench.tree.iter().collect();
    assert_eq!(paths.len(), ours.len());
    for (path, node) in ours {
        let target = match &node.kind {
            formats::tree::Kind::Symlink(target) => format!(" -> {target}"),
            _ => String::new(),
        };
        let line = format!(" }} {path}{target}");
        let line = list.lines().find(|said| said.ends_with(&line));
        let line = line.unwrap_or_else(|| panic!("{path} is not in\n{list}"));
        let mut words = line.split_whitespace();
        let mode = words.next().unwrap();
        assert_eq!(u16::from_str_radix(&mode[1..], 8).unwrap(), node.mode, "{line}");
        assert_eq!(words.next().unwrap(), node.uid.to_string(), "{line}");
        assert_eq!(words.next().unwrap(), node.gid.to_string(), "{line}");
        assert_eq!(line.contains("0x01, 0x00, 0x00, 0x02"), !node.xattrs.is_empty(), "{line}");
    }
    let mut diff: Vec<_> =
        ostree(&place, &["diff", &first, &second]).lines().map(str::to_owned).collect();
    diff.sort();
    assert_eq!(diff, ["A    /srv", "A    /usr/bin/capable"]);

    let summary = ostree(&place, &["summary", "-v"]);
    let object = ObjectName { digest: second.parse().unwrap(), kind: Kind::Commit };
    let size = bench.open().object_path(&object).metadata().unwrap().len();
    let size = format!("Latest Commit ({size} bytes)");
    for said in
        [&format!("* {REF}\n"), &size, &second, "archive-z2", "(ostree.commit.version): 1.0"]
    {
        assert!(summary.contains(said), "{said} is not in\n{summary}");
    }
    let out = bench.directory.path().join("out");
    ostree(&place, &["checkout", "--user-mode", &first, out.to_str().unwrap()]);
    assert!(fs::read(out.join("usr/bin/a")).unwrap() == [7; 100_000]);
    let range = ["static-delta", "generate", "--from", &first, "--to", &second];
    ostree(&place, &range);
    assert!(ostree(&place, &["static-delta", "list"]).contains(&first[..10]));
    // A name of any script, which it gave.
    ostree(&place, &["refs", "--create=é/节点", &first]);
    // Its summary stays the stock program's where ours has nothing to say.
    ostree(&place, &["summary", "--update"]);
    bench.file("etc/motd", b"x", 0o644);
    bench.commit();
    let summary = ostree(&place, &["summary", "-v"]);
    assert!(summary.contains("* é/节点\n"), "{summary}");
    ostree(&place, &["fsck", "--quiet"]);
    Repository::open_to_prune(&place, &quiet()).unwrap().prune(1, false).unwrap();
    ostree(&place, &["fsck", "--quiet"]);
    ostree(&place, &["prune", "--refs-only", "--depth=0"]);
    assert!(!bench.commit().new);
}

/// The tree as a tar archive, and the metadata as it has them typed.
#[test]
fn the_stock_program_gives_the_same_tree_the_same_name() {
    let bench = Bench::new();
    let commit = bench.commit().commit.0.to_string();
    let archive = tar::Archive::new(&bench.tree, 0).unwrap();
    let mut bytes = Vec::new();
    root::segments(archive.segments(), &bench.store, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    let path = bench.directory.path().join("tree.tar");
    fs::write(&path, bytes).unwrap();
    let judge = bench.directory.path().join("judge");
    ostree(&judge, &["init", "--mode=archive"]);
    let tree = format!("--tree=tar={}", path.display());
    let said = ostree(
        &judge,
        &[
            "commit",
            "--branch=x",
            &tree,
            "--tar-autocreate-parents",
            "--no-bindings",
            "--timestamp=@0",
            "--subject=tiny 1.0, kernel 6.0",
            "--add-metadata=orlop.disk-size='6'",
            "--add-metadata=orlop.kernel='6.0'",
            &format!("--add-metadata=orlop.lock='{}'", Sha256::of("lock")),
            &format!("--add-metadata=orlop.root-hash='{}'", Sha256::of("root")),
            "--add-metadata=orlop.root-size='2'",
            "--add-metadata=orlop.uki-size='4'",
            "--add-metadata=version='1.0'",
        ],
    );
    assert_eq!(said.trim(), commit);
}

/// What a walk over a version finds: mode, link or content.
fn found(repository: &Repository, tree: &Sha256, at: &str, all: &mut BTreeMap<String, String>) {
    let directory = repository.directory(tree).unwrap();
    for (name, digest) in &directory.files {
        let content = std::cell::RefCell::new(Vec::new());
        let header = repository.file(digest, |_| {
            Ok(|bytes: &[u8]| {
                content.borrow_mut().extend_from_slice(bytes);
                Ok(())
            })
        });
        let header = header.unwrap();
        let content = String::from_utf8(content.into_inner()).unwrap();
        let xattrs = header.attributes.xattrs.keys().cloned().collect::<Vec<_>>().join(",");
        let mode = header.attributes.mode;
        let value = format!("{mode:o} {}{content} {xattrs}", header.target);
        all.insert(format!("{at}/{name}"), value.trim_end().to_owned());
    }
    for (name, (tree, meta)) in &directory.directories {
        let mode = repository.directory_meta(meta).unwrap().mode;
        all.insert(format!("{at}/{name}"), format!("{mode:o}"));
        found(repository, tree, &format!("{at}/{name}"), all);
    }
}

#[test]
fn a_repository_of_the_stock_program_is_read_in_every_mode() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir_all(path("tree/usr/bin")).unwrap();
    fs::write(path("tree/usr/bin/a"), "content").unwrap();
    fs::write(path("tree/empty"), "").unwrap();
    std::os::unix::fs::symlink("usr/bin", path("tree/bin")).unwrap();
    let mode = |at: &str, mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(path(at), mode).unwrap();
    };
    for (at, bits) in [("tree/usr/bin/a", 0o755), ("tree/empty", 0o644)] {
        mode(at, bits);
    }
    for at in ["tree", "tree/usr", "tree/usr/bin"] {
        mode(at, 0o755);
    }
    let want = [
        ("/bin", "120777 usr/bin"),
        ("/empty", "100644"),
        ("/usr", "40755"),
        ("/usr/bin", "40755"),
        ("/usr/bin/a", "100755 content"),
    ];
    let want: BTreeMap<_, _> = want.map(|(path, value)| (path.to_owned(), value.to_owned())).into();
    for mode in ["archive", "bare", "bare-user", "bare-user-only"] {
        let place = path(mode);
        ostree(&place, &["init", &format!("--mode={mode}")]);
        let tree = format!("--tree=dir={}", path("tree").display());
        let metadata = "--add-metadata=a.complex=[('x', {'y': <uint16 7>}, 1.5)]";
        let mut words = vec!["commit", "-b", "a/b", "-s", "it", "--timestamp=@7", &tree, metadata];
        words.extend((mode == "bare-user-only").then_some("--canonical-permissions"));
        let first = ostree(&place, &words);
        let second = ostree(&place, &words);
        let repository = Repository::open(&place, &quiet()).unwrap();
        let head = repository.resolve("a/b").unwrap();
        assert_eq!(second.trim(), head.to_string());
        let history = repository.history(head, 9).unwrap();
        assert_eq!(history.len(), 2, "{mode}");
        assert_eq!(history[1].commit.0.to_string(), first.trim());
        assert_eq!((history[0].subject.as_str(), history[0].timestamp), ("it", 7));
        let commit = repository.commit(&head).unwrap();
        let mut all = BTreeMap::new();
        found(&repository, &commit.tree, "", &mut all);
        assert_eq!(all, want, "{mode}");
        let out = path(&format!("{mode}-out"));
        repository.checkout(&head, &out).unwrap();
        assert_eq!(fs::read(out.join("bin/a")).unwrap(), b"content");
        drop(repository);
        let error = Repository::open_to_prune(&place, &quiet()).map(drop);
        assert_eq!(error.map_err(|error| error.id()).is_ok(), mode == "archive");

        // The damage of a file is found in every mode.
        let repository = Repository::open(&place, &quiet()).unwrap();
        let below =
            |tree: Sha256, name: &str| repository.directory(&tree).unwrap().directories[name].0;
        let bin = repository.directory(&below(below(commit.tree, "usr"), "bin")).unwrap();
        let name = ObjectName { digest: bin.files["a"], kind: Kind::File };
        let file = repository.object_path(&name);
        let mut bytes = fs::read(&file).unwrap();
        let last = bytes.len() - 2;
        bytes[last] ^= 0x10;
        fs::write(&file, bytes).unwrap();
        let error =
            Repository::open(&place, &quiet()).unwrap().checkout(&head, &path("none")).unwrap_err();
        assert_eq!(error.id(), Id::DamagedObject, "{mode}: {}", error.chain());
    }
}
