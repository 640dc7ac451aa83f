//! The reader on arbitrary bytes and on our own archives. What other programs' archives hold is
//! tested in `builder`, where the programs can be run.

use super::*;
use crate::digest::Sha256;
use crate::segment::Segment;
use crate::tar::Archive;
use crate::tree::{Blob, Node, Tree, TreePath};
use proptest::prelude::*;

/// Every member with its content, up to the first error.
fn read(bytes: &[u8]) -> (Vec<(Member, Vec<u8>)>, Option<ReadError>) {
    let mut reader = Reader::new(bytes);
    let mut members = Vec::new();
    loop {
        let member = match reader.next_member() {
            Ok(Some(member)) => member,
            Ok(None) => return (members, None),
            Err(error) => return (members, Some(error)),
        };
        let mut content = Vec::new();
        // A hole can be larger than any memory.
        if let Err(error) = (&mut reader).take(1 << 20).read_to_end(&mut content) {
            return (members, Some(error.into()));
        }
        members.push((member, content));
    }
}

fn ours() -> Vec<u8> {
    let mut tree = Tree::new();
    let blob = Blob { sha256: Sha256::of("content"), size: 7 };
    for (path, node) in [
        ("d", Node::directory(0o755)),
        ("d/file", Node { uid: 7, gid: 8, ..Node::file(blob, 0o4755) }),
        ("link", Node::symlink("d/file")),
    ] {
        tree.insert(TreePath::new(path).unwrap(), node).unwrap();
    }
    let mut bytes = Vec::new();
    for segment in Archive::new(&tree, 0).unwrap().segments() {
        match segment {
            Segment::Bytes(piece) => bytes.extend(piece),
            Segment::Blob { padding, .. } => {
                bytes.extend(b"content");
                bytes.extend(vec![0; usize::try_from(padding).unwrap()]);
            }
        }
    }
    bytes
}

#[test]
fn what_we_write_is_read_back() {
    let (members, error) = read(&ours());
    assert!(error.is_none(), "{error:?}");
    let member = |name: &str, kind, mode| Member {
        name: name.into(),
        kind,
        size: 0,
        mode,
        uid: 0,
        gid: 0,
        xattrs: BTreeMap::new(),
    };
    let file = Member { size: 7, uid: 7, gid: 8, ..member("d/file", Kind::File, 0o4755) };
    let want = [
        (member("d/", Kind::Directory, 0o755), Vec::new()),
        (file, b"content".to_vec()),
        (member("link", Kind::Symlink(b"d/file".to_vec()), 0o777), Vec::new()),
    ];
    assert_eq!(members, want);
}

#[test]
fn what_is_not_read_of_a_member_is_passed_over() {
    let bytes = ours();
    for taken in [0, 3, 7] {
        let mut reader = Reader::new(bytes.as_slice());
        let mut names = Vec::new();
        while let Some(member) = reader.next_member().unwrap() {
            names.push(member.name);
            let read = (&mut reader).take(taken).read_to_end(&mut Vec::new()).unwrap();
            assert_eq!(read as u64, taken.min(member.size));
        }
        assert_eq!(names, [&b"d/"[..], b"d/file", b"link"]);
    }
}

#[test]
fn nothing_is_read_after_an_error() {
    let mut bytes = ours();
    bytes[512] ^= 1;
    let mut reader = Reader::new(bytes.as_slice());
    assert!(reader.next_member().unwrap().is_some());
    assert!(reader.next_member().is_err());
    assert!(reader.next_member().unwrap().is_none());
}

proptest! {
    #[test]
    fn whatever_the_bytes_are_reading_ends(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        read(&bytes);
    }

    /// Past the checksum, where arbitrary bytes seldom come.
    #[test]
    fn whatever_a_header_says_reading_ends(
        changes in proptest::collection::vec((0_usize..512, any::<u8>()), 0..8),
        flag in proptest::sample::select(b"01257SLKxgVDMZ\0".to_vec()),
        content in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let mut block = ours()[512..1024].to_vec();
        block[156] = flag;
        for (at, byte) in changes {
            block[at] = byte;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        read(&[block, content].concat());
    }
}
