//! Whether an unpacked layer has what its blob says: every file of it, byte by byte.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use formats::digest::{Hasher, Sha256};
use formats::tar::read::{Kind, Reader};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTANDARD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What was found of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is as its blob says, or compressed in a way that is not read here.
    Good,
    /// The blob has other bytes than its digest says.
    BadBlob,
    /// This file is not what it should be.
    BadFile(String),
}

/// Compares a layer's blob with the directory it was unpacked into; without one only the blob is
/// looked at.
pub(super) fn check(blob: &Path, digest: &Sha256, directory: Option<&Path>) -> Finding {
    let compared = compare(blob, directory);
    match compared {
        Ok((sum, _)) if sum != *digest => Finding::BadBlob,
        Ok((_, None)) => Finding::Good,
        Ok((_, Some(file))) => Finding::BadFile(file),
        // What cannot be read to its end cannot be unpacked either.
        Err(_) => Finding::BadBlob,
    }
}

fn compare(blob: &Path, directory: Option<&Path>) -> io::Result<(Sha256, Option<String>)> {
    let mut source = BufReader::with_capacity(1 << 16, Hashing::new(File::open(blob)?));
    let beginning = source.fill_buf()?;
    let compressed = beginning.starts_with(&GZIP);
    let readable = !beginning.starts_with(&ZSTANDARD);
    let bad = match directory.filter(|_| readable) {
        None => None,
        // An archive that cannot be read here is judged by its digest alone.
        Some(directory) if compressed => {
            files(MultiGzDecoder::new(&mut source), directory).unwrap_or(None)
        }
        Some(directory) => files(&mut source, directory).unwrap_or(None),
    };
    // The digest is of all bytes, also of those behind the archive.
    io::copy(&mut source, &mut io::sink())?;
    Ok((source.into_inner().hasher.finish(), bad))
}

/// The first file, in the order of names, that is not as the archive says.
fn files(archive: impl Read, directory: &Path) -> io::Result<Option<String>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = open(directory, flags, Mode::empty()) else {
        return Ok(Some(directory.display().to_string()));
    };
    let mut reader = Reader::new(archive);
    // The last member of a name is what was unpacked.
    let mut good = BTreeMap::new();
    while let Some(member) = reader.next_member().map_err(io::Error::other)? {
        let mut path = &member.name[..];
        while let Some(rest) = path.strip_prefix(b"./").or(path.strip_prefix(b"/")) {
            path = rest;
        }
        let name = String::from_utf8_lossy(path).into_owned();
        let is_good =
            member.kind != Kind::File || is_whiteout(&name) || same(&mut reader, &directory, path)?;
        good.insert(name, is_good);
    }
    Ok(good.into_iter().find(|(_, good)| !good).map(|(name, _)| name))
}

/// A file of this name says that another is not there (OCI image specification, layer.md).
fn is_whiteout(name: &str) -> bool {
    name.rsplit('/').next().is_some_and(|name| name.starts_with(".wh."))
}

/// Whether a file has these bytes. Links on the way stay within the layer, as when it was unpacked.
fn same(wanted: &mut impl Read, directory: &OwnedFd, path: &[u8]) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let Ok(file) = openat2(directory, path, flags, Mode::empty(), within) else {
        return Ok(false);
    };
    let mut file = File::from(file);
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let length = wanted.read(&mut left)?;
        if length == 0 {
            // Nothing may be left.
            return Ok(file.read(&mut right)? == 0);
        }
        if file.read_exact(&mut right[..length]).is_err() || left[..length] != right[..length] {
            return Ok(false);
        }
    }
}

/// Reads and hashes.
struct Hashing<R> {
    source: R,
    hasher: Hasher,
}

impl<R> Hashing<R> {
    fn new(source: R) -> Self {
        Self { source, hasher: Hasher::new() }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::images::archive::tests::tar;

    pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A layer and where it was unpacked.
    fn layer(blob: &[u8]) -> (tempfile::TempDir, Sha256) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("blob"), blob).unwrap();
        let fs_ = directory.path().join("fs/etc");
        fs::create_dir_all(&fs_).unwrap();
        fs::write(fs_.join("passwd"), "root").unwrap();
        fs::write(directory.path().join("fs/pause"), [7; 100_000]).unwrap();
        (directory, Sha256::of(blob))
    }

    fn archive() -> Vec<u8> {
        tar(&[
            ("etc/passwd", b"an older one"),
            ("./etc/passwd", b"root"),
            ("etc/.wh.shadow", b""),
            ("/pause", &[7; 100_000]),
        ])
    }

    #[test]
    fn what_was_unpacked_is_compared_to_its_last_byte() {
        for blob in [archive(), gzip(&archive())] {
            let (directory, digest) = layer(&blob);
            let (path, unpacked) = (directory.path().join("blob"), directory.path().join("fs"));
            let look = || check(&path, &digest, Some(&unpacked));
            assert_eq!(look(), Finding::Good);
            let bad = |name: &str| Finding::BadFile(name.to_owned());
            let mut flipped = vec![7; 100_000];
            flipped[99_999] = 6;
            for content in [&b""[..], &[7; 65_536], &[7; 100_001], &flipped] {
                fs::write(unpacked.join("pause"), content).unwrap();
                assert_eq!(look(), bad("pause"), "{}", content.len());
            }
            fs::remove_file(unpacked.join("pause")).unwrap();
            assert_eq!(look(), bad("pause"));
            fs::create_dir(unpacked.join("pause")).unwrap();
            assert_eq!(look(), bad("pause"));
            fs::remove_dir_all(&unpacked).unwrap();
            assert_eq!(look(), bad(unpacked.to_str().unwrap()));
            assert_eq!(check(&path, &digest, None), Finding::Good);
        }
    }

    #[test]
    fn links_in_a_layer_do_not_lead_out_of_it() {
        let (directory, digest) = layer(&archive());
        let unpacked = directory.path().join("fs");
        fs::remove_dir_all(unpacked.join("etc")).unwrap();
        // As containerd resolves it when it unpacks: below the layer's own root.
        fs::create_dir(unpacked.join("private")).unwrap();
        fs::write(unpacked.join("private/passwd"), "root").unwrap();
        std::os::unix::fs::symlink("/private", unpacked.join("etc")).unwrap();
        let look = || check(&directory.path().join("blob"), &digest, Some(&unpacked));
        assert_eq!(look(), Finding::Good);
        fs::remove_file(unpacked.join("private/passwd")).unwrap();
        assert_eq!(look(), Finding::BadFile("etc/passwd".to_owned()));
    }

    #[test]
    fn a_blob_is_bad_by_its_digest_and_one_that_cannot_be_read_here_is_not() {
        for blob in [gzip(&archive()), archive(), b"not an archive".to_vec(), ZSTANDARD.to_vec()] {
            let (directory, digest) = layer(&blob);
            let (path, unpacked) = (directory.path().join("blob"), directory.path().join("fs"));
            assert_eq!(check(&path, &digest, Some(&unpacked)), Finding::Good);
            for damaged in [&blob[..blob.len() - 1], b"", &[blob.clone(), vec![0]].concat()] {
                fs::write(&path, damaged).unwrap();
                assert_eq!(check(&path, &digest, Some(&unpacked)), Finding::BadBlob);
            }
            fs::remove_file(&path).unwrap();
            assert_eq!(check(&path, &digest, None), Finding::BadBlob);
        }
    }
}
