//! Files from the web: an archive's members, or the file as it is.
//!
//! Archives are tar, plain or compressed with gzip or xz; which one, their first bytes tell. What
//! an archive says of owners, modes and times is not taken over.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Seek as _};

use flate2::read::MultiGzDecoder;
use formats::tree::{Blob, Node, TreePath};
use lzma_rust2::XzReader;
use tar::EntryType;

use crate::error::{Context as _, Error, Id, Result};
use crate::recipe::model::{self, ImagePath};
use crate::store::Store;

/// How many similar members an error names.
const NEAR: usize = 3;

/// The nodes that this component gives the tree, sorted by path; the file itself is in the store
/// already, and so are the unpacked ones afterwards.
///
/// # Errors
/// [`Id::StoreMissing`] if the file was not fetched; [`Id::Archive`] if it is not an archive or
/// is broken; [`Id::ArchiveMember`] if it does not hold what the recipe wants of it.
pub fn nodes(store: &Store, url: &model::Url, blob: &Blob) -> Result<Vec<(TreePath, Node)>> {
    let mut found = BTreeMap::new();
    let mut wanted = BTreeMap::new();
    for (member, ImagePath(at)) in &url.unpack {
        if member == "." {
            found.insert(at.clone(), Node::file(*blob, url.mode.0));
        } else {
            wanted.insert(normal(member), at);
        }
    }
    if !wanted.is_empty() {
        unpack(store, url, blob, wanted, &mut found)?;
    }
    Ok(found.into_iter().collect())
}

fn unpack(
    store: &Store,
    url: &model::Url,
    blob: &Blob,
    mut wanted: BTreeMap<String, &TreePath>,
    found: &mut BTreeMap<TreePath, Node>,
) -> Result<()> {
    let broken = || format!("cannot unpack `{}`", url.url);
    let mut archive = tar::Archive::new(reader(store, url, blob)?);
    let mut others = Vec::new();
    for entry in archive.entries().or_fail(Id::Archive, broken)? {
        let mut entry = entry.or_fail(Id::Archive, broken)?;
        let name = normal(&String::from_utf8_lossy(&entry.path_bytes()));
        let Some(at) = wanted.remove(&name) else {
            others.push(name);
            continue;
        };
        let link = |entry: &tar::Entry<'_, _>| {
            let target = entry.link_name_bytes().unwrap_or_default();
            String::from_utf8_lossy(&target).into_owned()
        };
        let node = match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let mut writer = store.writer()?;
                std::io::copy(&mut entry, &mut writer).or_fail(Id::Archive, broken)?;
                Node::file(writer.finish()?, url.mode.0)
            }
            EntryType::Symlink => Node::symlink(link(&entry)),
            kind => {
                let (what, hint) = match kind {
                    EntryType::Directory => {
                        ("a directory", "name the files in it one by one".to_owned())
                    }
                    EntryType::Link => {
                        ("a hard link", format!("unpack `{}` instead", link(&entry)))
                    }
                    _ => ("no file", "only files and symbolic links can be unpacked".to_owned()),
                };
                let message = format!("`{name}` in `{}` is {what}", url.url);
                return Err(Error::new(Id::ArchiveMember, message).hint(hint));
            }
        };
        found.insert(at.clone(), node);
        if wanted.is_empty() {
            return Ok(());
        }
    }
    let Some((missing, _)) = wanted.pop_first() else { return Ok(()) };
    let message = format!("there is no `{missing}` in `{}`", url.url);
    let error = Error::new(Id::ArchiveMember, message);
    let near: Vec<_> = near(&missing, others).iter().map(|name| format!("`{name}`")).collect();
    Err(match near.as_slice() {
        [] => error.hint("it holds no files"),
        near => error.hint(format!("it holds {}", near.join(", "))),
    })
}

fn reader(store: &Store, url: &model::Url, blob: &Blob) -> Result<Box<dyn Read>> {
    let cannot = || format!("cannot read blob `{}`", blob.sha256);
    let mut file = store.open_blob(blob)?;
    let mut start = Vec::new();
    (&mut file).take(512).read_to_end(&mut start).or_fail(Id::Read, cannot)?;
    file.rewind().or_fail(Id::Read, cannot)?;
    let file = BufReader::new(file);
    // Gzip: RFC 1952, section 2.3.1. Xz: its file format, section 2.1.1.1. Tar: POSIX ustar.
    if start.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(MultiGzDecoder::new(file)))
    } else if start.starts_with(b"\xfd7zXZ\0") {
        Ok(Box::new(XzReader::new(file, true)))
    } else if start.get(257..262) == Some(b"ustar") {
        Ok(Box::new(file))
    } else {
        let message = format!("`{}` is not a tar archive, plain or with gzip or xz", url.url);
        Err(Error::new(Id::Archive, message).hint("`\".\"` in `unpack` stands for the file itself"))
    }
}

/// A member's path as people write it: without `./` before and `/` after.
fn normal(member: &str) -> String {
    let member = member.strip_prefix("./").unwrap_or(member);
    member.trim_start_matches('/').trim_end_matches('/').to_owned()
}

/// The members that a person most likely meant: of the same name first, then of similar paths.
fn near(missing: &str, mut members: Vec<String>) -> Vec<String> {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    members.retain(|member| !member.is_empty());
    members.sort_by_cached_key(|member| {
        let distance = strsim::damerau_levenshtein(member, missing);
        (name(member) != name(missing), distance, member.clone())
    });
    members.dedup();
    members.truncate(NEAR);
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::model::{Digest, FileMode};
    use std::io::Write as _;

    fn tar() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |name: &str, kind: EntryType, link: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o4777);
            header.set_uid(1000);
            header.set_size(content.len() as u64);
            if !link.is_empty() {
                header.set_link_name(link).unwrap();
            }
            builder.append_data(&mut header, name, content).unwrap();
        };
        add("./pkg/bin", EntryType::Directory, "", b"");
        add("./pkg/bin/runc", EntryType::Regular, "", b"program");
        add("./pkg/bin/runc.sig", EntryType::Regular, "", b"signature");
        add("./pkg/bin/alias", EntryType::Symlink, "runc", b"");
        add("./pkg/bin/hard", EntryType::Link, "pkg/bin/runc", b"");
        add(&format!("./pkg/{}", "long/".repeat(40)), EntryType::Directory, "", b"");
        add(&format!("./pkg/{}file", "long/".repeat(40)), EntryType::Regular, "", b"deep");
        builder.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// By the stock program, as an outside judge of the format.
    fn xz(bytes: &[u8]) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        let command = crate::process::Command::new("xz").args(["-z", "-c"]).arg(&path);
        command.run().expect("the test needs xz: install xz-utils")
    }

    fn unpacked(file: &[u8], unpack: &[(&str, &str)]) -> Result<Vec<(TreePath, Node)>> {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let blob = store.put_bytes(file).unwrap();
        let url = model::Url {
            url: "https://mirror.example/pkg".to_owned(),
            sha256: Digest(blob.sha256),
            unpack: unpack
                .iter()
                .map(|(from, to)| {
                    ((*from).to_owned(), ImagePath::try_from((*to).to_owned()).unwrap())
                })
                .collect(),
            mode: FileMode(0o755),
        };
        let nodes = nodes(&store, &url, &blob)?;
        for (_, node) in &nodes {
            if let formats::tree::Kind::File(blob) = node.kind {
                assert!(store.has(&blob));
            }
        }
        Ok(nodes)
    }

    fn file(at: &str, content: &[u8]) -> (TreePath, Node) {
        let sha256 = formats::digest::Sha256::of(content);
        let blob = Blob { sha256, size: content.len() as u64 };
        (TreePath::new(at).unwrap(), Node::file(blob, 0o755))
    }

    #[test]
    fn members_come_out_of_every_kind_of_archive() {
        let deep = format!("pkg/{}file", "long/".repeat(40));
        for archive in [tar(), gzip(&tar()), xz(&tar())] {
            let found = unpacked(
                &archive,
                &[
                    ("pkg/bin/runc", "/usr/bin/runc"),
                    ("./pkg/bin/alias", "/usr/bin/alias"),
                    (&deep, "/usr/lib/deep"),
                ],
            );
            let alias = (TreePath::new("usr/bin/alias").unwrap(), Node::symlink("runc"));
            let want = vec![alias, file("usr/bin/runc", b"program"), file("usr/lib/deep", b"deep")];
            assert_eq!(found.unwrap(), want);
        }
    }

    #[test]
    fn the_file_itself_is_a_dot() {
        assert_eq!(unpacked(b"abc", &[(".", "/opt/x")]).unwrap(), [file("opt/x", b"abc")]);
    }

    #[test]
    fn a_member_that_is_not_there_is_compared_with_those_that_are() {
        let error = unpacked(&tar(), &[("bin/runc", "/usr/bin/runc")]).unwrap_err();
        assert_eq!(error.id(), Id::ArchiveMember);
        assert_eq!(error.to_string(), "there is no `bin/runc` in `https://mirror.example/pkg`");
        assert_eq!(error.hints(), ["it holds `pkg/bin/runc`, `pkg/bin`, `pkg/bin/hard`"]);
    }

    #[test]
    fn what_is_no_file_is_not_unpacked() {
        for (member, what, hint) in [
            ("pkg/bin", "a directory", "name the files in it one by one"),
            ("pkg/bin/hard", "a hard link", "unpack `pkg/bin/runc` instead"),
        ] {
            let error = unpacked(&tar(), &[(member, "/usr/x")]).unwrap_err();
            assert_eq!(error.id(), Id::ArchiveMember);
            let text = format!("`{member}` in `https://mirror.example/pkg` is {what}");
            assert_eq!(error.to_string(), text);
            assert_eq!(error.hints(), [hint]);
        }
    }

    #[test]
    fn what_is_no_archive_or_a_broken_one_is_said_to_be_so() {
        let mut broken = gzip(&tar());
        broken.truncate(broken.len() / 2);
        for bytes in [b"abc".to_vec(), Vec::new(), vec![0x1f, 0x8b, 1], gzip(b"abc"), broken] {
            let error = unpacked(&bytes, &[("absent", "/usr/x")]).unwrap_err();
            assert_eq!(error.id(), Id::Archive, "{bytes:?}: {}", error.chain());
        }
    }
}
