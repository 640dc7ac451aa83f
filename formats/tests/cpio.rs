//! cpio archives before the outside judge, `cpio`, and before a reader that goes by the format.

mod contents;
mod judge;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use contents::Contents;
use expect_test::expect;
use formats::cpio::{Archive, ArchiveError, Device};
use formats::digest::Sha256;
use formats::tree::{Blob, Kind, Node, Tree, TreePath};
use judge::Judge;
use proptest::prelude::*;
use tempfile::TempDir;

const CPIO: Judge = Judge { program: "cpio", package: "cpio" };

const EPOCH: u64 = 1_700_000_000;

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn console() -> Device {
    Device { path: path("dev/console"), mode: 0o600, major: 5, minor: 1 }
}

/// What an initramfs of ours has.
fn initramfs() -> (Tree, Contents) {
    let mut tree = Tree::new();
    let mut contents = Contents::default();
    let mut put = |text: &str, node: Node| tree.insert(path(text), node).unwrap();
    put("dev", Node::directory(0o755));
    put("init", Node::file(contents.add_pattern(1, 100_001), 0o755));
    put("lib", Node::symlink("usr/lib"));
    for size in [0, 1, 2, 3, 4, 511, 512] {
        let node = Node::file(contents.add_pattern(size, size), 0o644);
        put(&format!("usr/lib/modules/{size:03}.ko"), node);
    }
    put("usr/lib-extra", Node { uid: 1, gid: 2, ..Node::directory(0o1777) });
    (tree, contents)
}

/// One entry as the format says it: the 13 numbers of its header, its name, its body.
type Entry = ([u32; 13], String, Vec<u8>);

/// Reads an archive to its end, strictly.
fn read(mut archive: &[u8]) -> Vec<Entry> {
    fn take<'a>(archive: &mut &'a [u8], size: usize) -> &'a [u8] {
        let (piece, rest) = archive.split_at(size);
        let (padding, rest) = rest.split_at(rest.len() % 4);
        assert!(padding.iter().all(|byte| *byte == 0));
        *archive = rest;
        piece
    }
    assert_eq!(archive.len() % 512, 0);
    let mut entries = Vec::new();
    loop {
        let header = str::from_utf8(&archive[..110]).unwrap();
        let digits = header.strip_prefix("070701").unwrap();
        let number = |index: usize| u32::from_str_radix(&digits[index * 8..][..8], 16).unwrap();
        let numbers: [u32; 13] = std::array::from_fn(number);
        let [size, name_size] = [numbers[6], numbers[11]].map(|size| size as usize);
        let head = take(&mut archive, 110 + name_size);
        let name = str::from_utf8(head[110..].strip_suffix(b"\0").unwrap()).unwrap().to_owned();
        let body = take(&mut archive, size).to_vec();
        if name == "TRAILER!!!" {
            assert_eq!(numbers, [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 11, 0]);
            assert!(archive.len() < 512 && archive.iter().all(|byte| *byte == 0));
            return entries;
        }
        entries.push((numbers, name, body));
    }
}

fn assemble(tree: &Tree, contents: &Contents, devices: &[Device]) -> Vec<u8> {
    let archive = Archive::new(tree, devices, EPOCH).unwrap();
    let bytes = contents.assemble(archive.segments());
    assert_eq!(bytes.len() as u64, archive.size());
    bytes
}

#[test]
fn cpio_lists_every_entry_with_its_owner_and_its_device() {
    let (tree, contents) = initramfs();
    let archive = assemble(&tree, &contents, &[console()]);
    let said = CPIO.approve(["--list", "--verbose", "--numeric-uid-gid", "--quiet"], &archive);
    let lines: Vec<_> =
        said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    expect![[r#"
        drwxr-xr-x 4 0 0 0 Nov 14 2023 .
        drwxr-xr-x 2 0 0 0 Nov 14 2023 dev
        crw------- 1 0 0 5, 1 Nov 14 2023 dev/console
        -rwxr-xr-x 1 0 0 100001 Nov 14 2023 init
        lrwxrwxrwx 1 0 0 7 Nov 14 2023 lib -> usr/lib
        drwxr-xr-x 4 0 0 0 Nov 14 2023 usr
        drwxr-xr-x 3 0 0 0 Nov 14 2023 usr/lib
        drwxrwxrwt 2 1 2 0 Nov 14 2023 usr/lib-extra
        drwxr-xr-x 2 0 0 0 Nov 14 2023 usr/lib/modules
        -rw-r--r-- 1 0 0 0 Nov 14 2023 usr/lib/modules/000.ko
        -rw-r--r-- 1 0 0 1 Nov 14 2023 usr/lib/modules/001.ko
        -rw-r--r-- 1 0 0 2 Nov 14 2023 usr/lib/modules/002.ko
        -rw-r--r-- 1 0 0 3 Nov 14 2023 usr/lib/modules/003.ko
        -rw-r--r-- 1 0 0 4 Nov 14 2023 usr/lib/modules/004.ko
        -rw-r--r-- 1 0 0 511 Nov 14 2023 usr/lib/modules/511.ko
        -rw-r--r-- 1 0 0 512 Nov 14 2023 usr/lib/modules/512.ko
    "#]]
    .assert_eq(&(lines.join("\n") + "\n"));
    expect!["ce3132e3edf91f423d17917281ddfbc1b8d1fdfe8f12dd3433531b4fb40e26fa"]
        .assert_eq(&Sha256::of(archive).to_string());
}

#[test]
fn cpio_unpacks_what_the_tree_says() {
    let (tree, contents) = initramfs();
    let archive = assemble(&tree, &contents, &[]);
    let directory = TempDir::new().unwrap();
    let root = directory.path();
    let into = format!("--directory={}", root.display());
    let how = ["--extract", "--no-preserve-owner", "--preserve-modification-time", "--quiet"];
    CPIO.approve([into.as_str()].into_iter().chain(how), &archive);
    for (path, node) in tree.iter() {
        let unpacked = root.join(path.as_str());
        let meta = fs::symlink_metadata(&unpacked).unwrap();
        match &node.kind {
            Kind::Directory => assert!(meta.is_dir(), "{path}"),
            Kind::Symlink(target) => {
                assert_eq!(fs::read_link(&unpacked).unwrap(), Path::new(target), "{path}");
                continue;
            }
            Kind::File(blob) => {
                assert!(fs::read(&unpacked).unwrap() == contents.get(blob), "{path}");
                assert_eq!(meta.mtime().unsigned_abs(), EPOCH, "{path}");
            }
        }
        assert_eq!(meta.permissions().mode() & 0o7777, u32::from(node.mode), "{path}");
    }
}

#[test]
fn what_an_archive_cannot_hold_is_refused() {
    let refuse = |node: Node, devices: &[Device]| {
        let mut tree = Tree::new();
        tree.insert(path("dev/x"), node).unwrap();
        Archive::new(&tree, devices, EPOCH).unwrap_err()
    };
    let x = path("dev/x");
    let huge = Blob { sha256: Sha256::of("huge"), size: 1 << 32 };
    assert_eq!(refuse(Node::file(huge, 0o644), &[]), ArchiveError::Size(x.clone()));
    for target in ["", "a\0b", &"t".repeat(4096)] {
        assert_eq!(refuse(Node::symlink(target), &[]), ArchiveError::Name(x.clone()));
    }
    let xattrs = BTreeMap::from([("user.x".to_owned(), Vec::new())]);
    let with_xattrs = Node { xattrs, ..Node::directory(0o755) };
    assert_eq!(refuse(with_xattrs, &[]), ArchiveError::Xattrs(x.clone()));
    assert_eq!(
        refuse(Node::directory(0o10_000), &[]),
        ArchiveError::Mode { path: x.clone(), mode: 0o10_000 }
    );
    for (taken, name) in [("dev/x", "dev/x"), ("x/console", "x/console"), ("dev/x/y", "dev/x/y")] {
        let device = Device { path: path(taken), ..console() };
        assert_eq!(refuse(Node::symlink("y"), &[device]), ArchiveError::Device(path(name)));
    }
    let twice = [console(), console()];
    assert_eq!(refuse(Node::symlink("y"), &twice), ArchiveError::Device(path("dev/console")));
    let long = path(&format!("{}a", "d/".repeat(2047)));
    let mut tree = Tree::new();
    tree.insert(long.clone(), Node::directory(0o755)).unwrap();
    assert!(Archive::new(&tree, &[], EPOCH).is_ok());
    let longer = long.join("b").unwrap();
    tree.insert(longer.clone(), Node::directory(0o755)).unwrap();
    assert_eq!(Archive::new(&tree, &[], EPOCH), Err(ArchiveError::Name(longer)));
    let epoch = 1 << 32;
    assert_eq!(Archive::new(&Tree::new(), &[], epoch), Err(ArchiveError::Epoch(epoch)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]
    #[test]
    fn a_strict_reader_finds_the_tree(
        names in prop::collection::btree_map("[a-c]{1,9}(/[a-c.]?x[a-c-]{0,9}){0,3}", 0_usize..600, 0..30),
        mode in 0_u16..0o10_000,
        owner in any::<(u32, u32)>(),
    ) {
        let mut tree = Tree::new();
        let mut contents = Contents::default();
        for (text, size) in names {
            let node = if size % 3 == 0 {
                Node::symlink("t".repeat(size + 1))
            } else {
                Node::file(contents.add_pattern(size, size), mode)
            };
            // What would be below a file is left out.
            drop(tree.insert(path(&text), Node { uid: owner.0, gid: owner.1, ..node }));
        }
        let entries = read(&assemble(&tree, &contents, &[]));
        prop_assert_eq!(entries.len(), tree.len());
        for ((ino, (numbers, name, body)), (path, node)) in (1..).zip(entries).zip(tree.iter()) {
            let (type_bits, want_body) = match &node.kind {
                Kind::Directory => (0o040_000, &[][..]),
                Kind::File(blob) => (0o100_000, contents.get(blob)),
                Kind::Symlink(target) => (0o120_000, target.as_bytes()),
            };
            prop_assert_eq!(name, if path.as_str().is_empty() { "." } else { path.as_str() });
            prop_assert_eq!(&body, want_body);
            let [got_ino, got_mode, uid, gid, _, mtime, ..] = numbers;
            prop_assert_eq!([got_ino, uid, gid], [ino, node.uid, node.gid]);
            prop_assert_eq!(got_mode, type_bits | u32::from(node.mode));
            prop_assert_eq!(u64::from(mtime), EPOCH);
        }
    }
}
