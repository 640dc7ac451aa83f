//! tar archives before the outside judge, GNU tar.

mod contents;
mod judge;

use contents::Contents;
use expect_test::expect;
use formats::tar::Archive;
use formats::tree::{Kind, Node, Tree, TreePath};
use judge::Judge;
use proptest::prelude::*;

const TAR: Judge = Judge { program: "tar", package: "tar" };

const EPOCH: u64 = 1_700_000_000;

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

fn assemble(tree: &Tree, contents: &Contents, epoch: u64) -> Vec<u8> {
    let archive = Archive::new(tree, epoch).unwrap();
    let bytes = contents.assemble(archive.segments());
    assert_eq!(bytes.len() as u64, archive.size());
    bytes
}

/// The judge's view, one entry a line.
fn listed(archive: &[u8]) -> String {
    TAR.approve(
        ["--list", "--verbose", "--full-time", "--numeric-owner", "--quoting-style=escape"],
        archive,
    )
}

#[test]
fn the_judge_sees_what_the_tree_has() {
    let mut tree = Tree::new();
    let mut contents = Contents::default();
    let mut put = |text: &str, node: Node| tree.insert(path(text), node).unwrap();
    put("bin", Node::symlink("usr/bin"));
    put("tmp", Node::directory(0o1777));
    put("usr/bin/pause", Node::file(contents.add_pattern(1, 100_001), 0o755));
    put("usr/empty", Node::file(contents.add(b""), 0o600));
    put("usr/owned", Node { uid: 65534, gid: 2_097_151, ..Node::file(contents.add(b"x"), 0o4644) });
    let (long, longest) = ("d".repeat(70), "n".repeat(99));
    put(&format!("{long}/{long}/{longest}"), Node::directory(0o755));
    let listed = listed(&assemble(&tree, &contents, EPOCH));
    expect![[r#"
        lrwxrwxrwx 0/0               0 2023-11-14 22:13:20 bin -> usr/bin
        drwxr-xr-x 0/0               0 2023-11-14 22:13:20 D/
        drwxr-xr-x 0/0               0 2023-11-14 22:13:20 D/D/
        drwxr-xr-x 0/0               0 2023-11-14 22:13:20 D/D/N/
        drwxrwxrwt 0/0               0 2023-11-14 22:13:20 tmp/
        drwxr-xr-x 0/0               0 2023-11-14 22:13:20 usr/
        drwxr-xr-x 0/0               0 2023-11-14 22:13:20 usr/bin/
        -rwxr-xr-x 0/0          100001 2023-11-14 22:13:20 usr/bin/pause
        -rw------- 0/0               0 2023-11-14 22:13:20 usr/empty
        -rwSr--r-- 65534/2097151     1 2023-11-14 22:13:20 usr/owned
    "#]]
    .assert_eq(&listed.replace(&long, "D").replace(&longest, "N"));
}

#[test]
fn an_archive_is_the_same_bytes_each_time() {
    let mut tree = Tree::new();
    let mut contents = Contents::default();
    tree.insert(path("a/b"), Node::file(contents.add(b"content"), 0o644)).unwrap();
    let archive = assemble(&tree, &contents, 0);
    assert_eq!(archive.len(), 4 * 512 + 512);
    let digest = formats::digest::Sha256::of(&archive).to_string();
    expect!["95f900049e46b5c81040898339c052e2d0ad32ad61a3c815534038f837a0b7ce"].assert_eq(&digest);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn contents_come_out_as_they_went_in(sizes in proptest::collection::vec(0_usize..2000, 1..6)) {
        let mut tree = Tree::new();
        let mut contents = Contents::default();
        for (index, size) in sizes.iter().enumerate() {
            let node = Node::file(contents.add_pattern(index, *size), 0o644);
            tree.insert(path(&format!("d{index}/file")), node).unwrap();
        }
        let archive = assemble(&tree, &contents, EPOCH);
        for (path, node) in tree.iter() {
            if let Kind::File(blob) = &node.kind {
                let output = TAR.run(["--extract", "--to-stdout", "--", path.as_str()], &archive);
                prop_assert!(output.status.success());
                prop_assert_eq!(&output.stdout, contents.get(blob));
            }
        }
    }
}
