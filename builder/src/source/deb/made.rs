//! Packages that tests make.

use std::io::Write as _;
use std::iter;

use flate2::Compression;
use flate2::write::GzEncoder;
use formats::deb::ar;
use tar::{Builder, EntryType, Header};

/// A tar archive in the making. Paths are written as they are: also those that nobody should.
pub(crate) struct Tar(pub(crate) Builder<Vec<u8>>);

impl Tar {
    pub(crate) fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub(crate) fn add(mut self, kind: EntryType, path: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = header(kind, path, mode);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    pub(crate) fn directory(self, path: &str, mode: u32) -> Self {
        self.add(EntryType::Directory, path, mode, b"")
    }

    pub(crate) fn file(self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.add(EntryType::Regular, path, mode, content)
    }

    pub(crate) fn link(mut self, kind: EntryType, path: &str, target: &str) -> Self {
        let mut header = header(kind, path, 0o777);
        header.set_size(0);
        header.set_link_name_literal(target).unwrap();
        header.set_cksum();
        self.0.append(&header, &b""[..]).unwrap();
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub(crate) fn header(kind: EntryType, path: &str, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(42);
    header.set_mtime(0);
    header
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn shell(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut deb = ar::MAGIC.to_vec();
    for (name, content) in members {
        let size = content.len();
        let zero = 0;
        writeln!(deb, "{name:<16}{zero:<12}{zero:<6}{zero:<6}{:<8}{size:<10}`", 100_644).unwrap();
        deb.extend(*content);
        deb.extend(iter::repeat_n(b'\n', size % 2));
    }
    deb
}

/// A `.deb` of these two parts.
pub(crate) fn deb(control: &str, data: Tar) -> Vec<u8> {
    let control = gzip(&Tar::new().file("./control", 0o644, control.as_bytes()).finish());
    let data = gzip(&data.finish());
    shell(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &control), ("data.tar.gz", &data)])
}
