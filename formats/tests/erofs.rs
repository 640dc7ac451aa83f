//! EROFS images before the outside judges: `fsck.erofs` and `dump.erofs`.

mod contents;
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use contents::Contents;
use expect_test::expect;
use formats::digest::Sha256;
use formats::erofs::{Options, Plan, PlanError, Superblock, XattrError};
use formats::tree::{Blob, Kind, Node, Tree, TreePath};
use judge::Judge;
use proptest::prelude::*;
use tempfile::TempDir;

const FSCK: Judge = Judge { program: "fsck.erofs", package: "erofs-utils" };
const DUMP: Judge = Judge { program: "dump.erofs", package: "erofs-utils" };

/// The capability of `ping`: `struct vfs_cap_data` of Linux `include/uapi/linux/capability.h`.
const NET_RAW: [u8; 20] = *b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn options() -> Options {
    Options { epoch: 1_700_000_000, uuid: *b"0123456789abcdef", volume_name: "orlop".to_owned() }
}

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn plan(tree: &Tree) -> Plan {
    Plan::new(tree, &options()).unwrap()
}

/// A tree with everything that images of ours have, at the sizes where layouts change.
fn rich_tree() -> (Tree, Contents) {
    let mut tree = Tree::new();
    let mut contents = Contents::default();
    let mut put = |text: &str, node: Node| tree.insert(path(text), node).unwrap();
    for size in [0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 12_345, 1_048_577] {
        let blob = contents.add_pattern(size, size);
        put(&format!("sizes/{size:07}"), Node::file(blob, 0o644));
        put(&format!("same/{size:07}"), Node::file(blob, 0o600));
    }
    for index in 0..1_200 {
        // Names before, between and behind `.` and `..`, so long that the directory has blocks.
        let first = ["!", "-", "..a", "z", "\u{e9}"][index % 5];
        put(&format!("many/{first}{index:04}{}", "n".repeat(index % 240)), Node::symlink("x"));
    }
    put(&format!("deep{}", "/d".repeat(300)), Node::directory(0o711));
    put("tmp", Node::directory(0o1777));
    put("empty", Node::directory(0o700));
    for length in [1, 100, 4031, 4032, 4063, 4064, 4065, 4095] {
        put(&format!("links/{length:04}"), Node::symlink("t".repeat(length)));
    }
    let blob = contents.add_pattern(1, 3_000);
    for (index, mode) in [0o4755, 0o2755, 0o1644, 0o7777, 0o000, 0o400].into_iter().enumerate() {
        put(&format!("modes/{index}"), Node::file(blob, mode));
    }
    let small = contents.add(b"small");
    for (name, uid, gid) in
        [("small", 1, 2), ("uid", 65_536, 0), ("gid", 0, 4_000_000_000), ("max", 65_535, 65_535)]
    {
        put(&format!("owners/{name}"), Node { uid, gid, ..Node::file(small, 0o644) });
    }
    let xattrs = |value: usize| {
        BTreeMap::from([
            ("security.capability".to_owned(), NET_RAW.to_vec()),
            ("system.posix_acl_access".to_owned(), b"\x02\0\0\0".to_vec()),
            ("trusted.overlay.opaque".to_owned(), b"y".to_vec()),
            ("user.note".to_owned(), vec![b'v'; value]),
        ])
    };
    for value in [0, 1, 3_900, 10_000] {
        let name = |kind: &str| format!("xattrs/{kind}{value:05}");
        put(&name("file"), Node { xattrs: xattrs(value), ..Node::file(small, 0o755) });
        put(&name("link"), Node { xattrs: xattrs(value), ..Node::symlink("target") });
        put(&name("dir"), Node { xattrs: xattrs(value), ..Node::directory(0o755) });
        put(&format!("{}/child", name("dir")), Node::file(small, 0o644));
    }
    (tree, contents)
}

/// Lets `fsck.erofs` read every byte of the image and compares what it extracts with the tree.
fn check_by_fsck(tree: &Tree, contents: &Contents) {
    let directory = TempDir::new().unwrap();
    let image = directory.path().join("image");
    let plan = plan(tree);
    let bytes = contents.assemble(plan.segments());
    assert_eq!(bytes.len() as u64, plan.image_size());
    assert_eq!(Superblock::parse(&bytes), Ok(plan.superblock().clone()));
    fs::write(&image, bytes).unwrap();

    let root = directory.path().join("root");
    let extract = format!("--extract={}", root.display());
    // Owners are root's to give; whoever runs the tests has them checked by `dump.erofs`.
    let options = [&extract, "--preserve-perms", "--no-preserve-owner", "--overwrite"];
    FSCK.approve(options.into_iter().chain([image.to_str().unwrap()]), b"");
    let mut found = BTreeSet::new();
    list(&root, "", &mut found);
    let want: BTreeSet<_> = tree.iter().map(|(path, _)| path.as_str().to_owned()).collect();
    assert_eq!(found, want);
    for (path, node) in tree.iter() {
        let extracted = root.join(path.as_str());
        let meta = fs::symlink_metadata(&extracted).unwrap();
        match &node.kind {
            Kind::Directory => assert!(meta.is_dir(), "{path}"),
            Kind::Symlink(target) => {
                assert_eq!(fs::read_link(&extracted).unwrap(), Path::new(target), "{path}");
                continue;
            }
            Kind::File(blob) => {
                fs::set_permissions(&extracted, fs::Permissions::from_mode(0o600)).unwrap();
                assert!(fs::read(&extracted).unwrap() == contents.get(blob), "{path}");
                assert_eq!(meta.mtime(), 1_700_000_000, "{path}");
            }
        }
        assert_eq!(meta.mode() & 0o7777, u32::from(node.mode), "{path}");
    }
}

fn list(directory: &Path, name: &str, found: &mut BTreeSet<String>) {
    found.insert(name.to_owned());
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let child = entry.file_name().into_string().unwrap();
        let name = if name.is_empty() { child } else { format!("{name}/{child}") };
        if entry.file_type().unwrap().is_dir() {
            list(&entry.path(), &name, found);
        } else {
            found.insert(name);
        }
    }
}

#[test]
fn fsck_extracts_what_the_tree_says() {
    let (tree, contents) = rich_tree();
    check_by_fsck(&tree, &contents);
    check_by_fsck(&Tree::new(), &contents);
}

#[test]
fn dump_erofs_sees_the_numbers_of_every_inode() {
    let (tree, contents) = rich_tree();
    let directory = TempDir::new().unwrap();
    let image = directory.path().join("image");
    fs::write(&image, contents.assemble(plan(&tree).segments())).unwrap();
    let image = image.to_str().unwrap();
    let dump = |path: &str| DUMP.approve([&format!("--path={path}"), image], b"");
    let wanted = [
        ("/owners/small", "Links: 1|Layout: 2|Inode size: 32|Uid: 1   Gid: 2 |0644/"),
        ("/owners/uid", "Inode size: 64|Uid: 65536   Gid: 0 "),
        ("/owners/gid", "Inode size: 64|Uid: 0   Gid: 4000000000 "),
        ("/owners/max", "Inode size: 32|Uid: 65535   Gid: 65535 "),
        ("/modes/3", "Size: 3000 |Layout: 0|0777/rwxrwxrwx"),
        ("/sizes", "Size: 217 |Links: 2|Layout: 2|Xattr size: 0"),
        ("/many", "Size: 168193 |Links: 2|Layout: 2|Timestamp: 2023-11-14 22:13:20.0"),
        ("/", "NID: 128 |Links: 12|Uid: 0   Gid: 0 |0755/"),
        ("/xattrs/file00001", "Layout: 2|Xattr size: 88"),
        ("/xattrs/file03900", "Layout: 2|Xattr size: 3984"),
        ("/xattrs/file10000", "Layout: 0|Xattr size: 10084"),
    ];
    for (path, want) in wanted {
        let said = dump(path);
        for part in want.split('|') {
            assert!(said.contains(part), "{path} has no `{part}`:\n{said}");
        }
    }
    let said = DUMP.approve(["-s", image], b"");
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let inodes = format!("inode count: {} ", tree.len());
    for part in ["created: Tue Nov 14 22:13:20 2023", "features: sb_csum mtime", &inodes] {
        assert!(words.contains(part), "no `{part}`:\n{said}");
    }
}

#[test]
fn the_plan_shows_where_everything_stands() {
    let mut tree = Tree::new();
    let mut contents = Contents::default();
    let large = contents.add_pattern(1, 1_100_000);
    let whole = contents.add_pattern(2, 8_193);
    let small = contents.add(b"127.0.0.1 localhost\n");
    let capability = BTreeMap::from([("security.capability".to_owned(), NET_RAW.to_vec())]);
    for (text, node) in [
        ("bin", Node::symlink("usr/bin")),
        ("etc/empty", Node::file(contents.add(b""), 0o644)),
        ("etc/hosts", Node::file(small, 0o644)),
        ("usr/bin/containerd", Node::file(large, 0o755)),
        ("usr/bin/copy", Node::file(whole, 0o755)),
        ("usr/bin/ping", Node { xattrs: capability, ..Node::file(whole, 0o755) }),
        ("usr/lib/nobody", Node { uid: 70_000, ..Node::directory(0o700) }),
    ] {
        tree.insert(path(text), node).unwrap();
    }
    let plan = plan(&tree);
    expect![[r#"
        erofs `orlop`: 339 blocks, 12 inodes, time 1700000000
        / nid 128 compact 040755 0:0 links 4 size 72 inline 72
        /bin nid 132 compact 120777 0:0 links 1 size 7 inline 7
        /etc nid 134 compact 040755 0:0 links 2 size 61 inline 61
        /etc/empty nid 137 compact 100644 0:0 links 1 size 0
        /etc/hosts nid 138 compact 100644 0:0 links 1 size 20 inline 20
        /usr nid 140 compact 040755 0:0 links 4 size 57 inline 57
        /usr/bin nid 143 compact 040755 0:0 links 2 size 81 inline 81
        /usr/bin/containerd nid 147 compact 100755 0:0 links 1 size 1100000 blocks 64+269
        /usr/bin/copy nid 148 compact 100755 0:0 links 1 size 8193 blocks 336+3
        /usr/bin/ping nid 149 compact 100755 0:0 links 1 xattrs 48 size 8193 blocks 336+3
        /usr/lib nid 152 compact 040755 0:0 links 3 size 45 inline 45
        /usr/lib/nobody nid 155 extended 040700 70000:0 links 2 size 27 inline 27
    "#]]
    .assert_eq(&plan.dump());
    let image = contents.assemble(plan.segments());
    expect!["72a49c83cfdaadb410bb901d22bff904b800f58b9ddc73f74640fe6050347c2d"]
        .assert_eq(&Sha256::of(image).to_string());
}

#[test]
fn the_bytes_of_the_rich_image_are_pinned() {
    let (tree, contents) = rich_tree();
    let image = contents.assemble(plan(&tree).segments());
    expect!["fa831eb1889e36e0d32cc4bb4b5ba8e32604d9c122445439dbefe9e9449c3573"]
        .assert_eq(&Sha256::of(image).to_string());
}

/// Which block each regular file of the plan begins at, by the dump.
fn blocks(plan: &Plan) -> BTreeMap<String, String> {
    let block = |line: &str| {
        let (head, blocks) = line.split_once(" blocks ")?;
        let [name, _, _, _, mode, ..] = head.split(' ').collect::<Vec<_>>()[..] else {
            return None;
        };
        let start = blocks.split_once('+')?.0;
        mode.starts_with("10").then_some((name.to_owned(), start.to_owned()))
    };
    plan.dump().lines().skip(1).filter_map(block).collect()
}

#[test]
fn small_changes_move_no_other_file() {
    let (mut tree, mut contents) = rich_tree();
    let sizes = "/sizes/1048577";
    let before = blocks(&plan(&tree));
    assert!(before.contains_key(sizes) && before.len() > 10, "{before:?}");
    for index in 0..100 {
        let node = Node::file(contents.add_pattern(index, 500), 0o644);
        tree.insert(path(&format!("added/{index}")), node).unwrap();
    }
    // `same` comes first and owns the blocks; both names grow.
    let grown = contents.add_pattern(3, 1_048_577 + 16_000);
    tree.insert(path("same/1048577"), Node::file(grown, 0o600)).unwrap();
    tree.insert(path(sizes), Node::file(grown, 0o600)).unwrap();
    assert_eq!(blocks(&plan(&tree)), before);
}

#[test]
fn files_of_one_content_share_blocks() {
    let (tree, _) = rich_tree();
    let blocks = blocks(&plan(&tree));
    assert_eq!(blocks["/same/0012345"], blocks["/sizes/0012345"]);
    assert_ne!(blocks["/same/0012345"], blocks["/sizes/0004097"]);
}

#[test]
fn a_file_of_4_gib_has_an_extended_inode() {
    let file = |size| {
        let mut tree = Tree::new();
        let blob = Blob { sha256: Sha256::of("huge"), size };
        tree.insert(path("huge"), Node::file(blob, 0o644)).unwrap();
        Plan::new(&tree, &options())
    };
    let four_gib = 1 << 32;
    let start = 64 * 4096;
    let plan = file(four_gib).unwrap();
    assert_eq!(plan.image_size(), start + four_gib);
    assert!(plan.dump().contains("/huge nid 131 extended 100644"), "{}", plan.dump());
    let plan = file(four_gib - 1).unwrap();
    assert!(plan.dump().contains("/huge nid 131 compact 100644"), "{}", plan.dump());
    // The last block that has an address, and the first that has none.
    let most = u64::from(u32::MAX) * 4096 - start;
    assert_eq!(file(most).unwrap().image_size(), start + most);
    assert_eq!(file(most + 1), Err(PlanError::TooLarge));
    assert_eq!(file(u64::MAX), Err(PlanError::TooLarge));
}

#[test]
fn a_tree_that_no_image_can_hold_is_refused() {
    let refuse = |node: Node| {
        let mut tree = Tree::new();
        tree.insert(path("etc/x"), node).unwrap();
        Plan::new(&tree, &options()).unwrap_err()
    };
    let x = path("etc/x");
    assert_eq!(
        refuse(Node::directory(0o10_000)),
        PlanError::Mode { path: x.clone(), mode: 0o10_000 }
    );
    for target in ["", "a\0b", &"t".repeat(4096)] {
        assert_eq!(refuse(Node::symlink(target)), PlanError::Target { path: x.clone() });
    }
    let xattrs = BTreeMap::from([("system.x".to_owned(), Vec::new())]);
    let error = refuse(Node { xattrs, ..Node::directory(0o755) });
    let source = XattrError::Name("system.x".to_owned());
    assert_eq!(error, PlanError::Xattr { path: x, source });
    for volume_name in ["sixteen letters!", "a\0b"] {
        let options = Options { volume_name: volume_name.to_owned(), ..options() };
        let error = PlanError::VolumeName(volume_name.to_owned());
        assert_eq!(Plan::new(&Tree::new(), &options), Err(error));
    }
}

/// A node and the content of a file.
fn any_node() -> impl Strategy<Value = (Node, Vec<u8>)> {
    let border = prop_oneof![0_usize..20, 2030_usize..2070, 4080_usize..4110, 0_usize..20_000];
    let content = (border, any::<u8>()).prop_map(|(size, byte)| vec![byte; size]);
    let target = prop_oneof!["[a-z/.]{1,40}", "[a-z]{3980,4095}"];
    let kind = prop_oneof![
        content.prop_map(|content| (None, content)),
        target.prop_map(|target| (Some(Kind::Symlink(target)), Vec::new())),
        Just((Some(Kind::Directory), Vec::new())),
    ];
    let name = "(user|security|trusted)\\.[a-z]{1,30}";
    let value = prop_oneof![0_usize..30, 3_000_usize..5_000].prop_map(|size| vec![b'v'; size]);
    let xattrs = prop::collection::btree_map(name, value, 0..3);
    // An ordinary user must be able to read what was extracted.
    let mode = (0_u16..0o10_000).prop_map(|mode| mode | 0o700);
    let owner = || prop_oneof![Just(0_u32), any::<u32>()];
    (kind, mode, owner(), owner(), xattrs).prop_map(|((kind, content), mode, uid, gid, xattrs)| {
        let blob = Blob { sha256: Sha256::of(&content), size: content.len() as u64 };
        (Node { kind: kind.unwrap_or(Kind::File(blob)), mode, uid, gid, xattrs }, content)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]
    #[test]
    fn fsck_finds_any_tree_clean(
        nodes in prop::collection::vec(("([ab!\u{e9}]|[c-z]{200,255})(/[ab.]?x[ab-]{0,3}){0,3}", any_node()), 0..60),
    ) {
        let mut tree = Tree::new();
        let mut contents = Contents::default();
        for (text, (node, content)) in nodes {
            contents.add(&content);
            // A path below a file is left out, and one in place of a full directory.
            if let Ok(path) = TreePath::new(&text) {
                drop(tree.insert(path, node));
            }
        }
        check_by_fsck(&tree, &contents);
    }
}
