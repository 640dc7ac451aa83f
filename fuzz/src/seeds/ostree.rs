//! Of each file of a repository one.

use formats::digest::Sha256;
use formats::ostree::{
    ArchiveHeader, Attributes, Commit, Config, Directory, Entry, FileHeader, Number, Summary, Value,
};
use formats::tree::Node;

use super::texts;

pub(crate) fn ostree() -> Vec<Vec<u8>> {
    let digest = Sha256::of("x");
    let meta = Attributes::of_directory(0o755, 0, 7, [("user.a".into(), vec![1])].into());
    let directory = Directory {
        files: [("a".to_owned(), digest), ("b".to_owned(), digest)].into(),
        directories: [("c".to_owned(), (digest, digest))].into(),
    };
    let commit = Commit {
        metadata: [
            ("size".to_owned(), Value::number(Number::U64, 7)),
            ("version".to_owned(), Value::text("1.0")),
        ]
        .into(),
        parent: Some(digest),
        subject: "s".to_owned(),
        body: String::new(),
        timestamp: 7,
        tree: digest,
        meta: digest,
    };
    let entry = ("a/b".parse().expect("a ref"), Entry::new(digest, 7, 7, Some("1.0")));
    let summary = Summary::of_archive([entry].into(), None);
    let link = FileHeader::of(&Node::symlink("a")).expect("a link is a file");
    let mut seeds = vec![
        meta.encode(),
        directory.encode(),
        commit.encode(),
        summary.encode(),
        ArchiveHeader { header: link, size: 0 }.encode(),
        Config::ARCHIVE.as_bytes().to_vec(),
    ];
    seeds.extend(texts(&["orlop/machine/node/dev", "(sas)\na\0b\0\u{2}\u{2}", "a{sv}\n"]));
    seeds.push(format!("{digest}\n").into_bytes());
    seeds
}
