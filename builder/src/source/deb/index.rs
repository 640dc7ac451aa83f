//! A suite's list of packages: which file to take, and how it is unpacked. Nothing is decompressed
//! before its digest and size are those of the signed release file.

mod record;

use std::io::{BufReader, Read as _};
use std::rc::Rc;

use crate::archive::form::Packing;
use crate::error::{Error, Id, Result};
use formats::architecture::Architecture;
use formats::deb::Release;
use formats::digest::Sha256;
use formats::tree::Blob;

pub use record::Record;
use record::Text;

/// No index is larger, in bytes, packed or unpacked: that of Debian's main has 55 MB.
const MAX_SIZE: u64 = 512 * 1024 * 1024;

/// The forms of an index that we can unpack, the smallest first.
const FORMS: [(&str, Packing); 5] = [
    (".xz", Packing::Xz),
    (".zst", Packing::Zstd),
    (".bz2", Packing::Bzip2),
    (".gz", Packing::Gzip),
    ("", Packing::None),
];

/// An index that the release file lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// Where it may be, below the suite's directory; the first is best.
    pub paths: Vec<String>,
    /// What it must be.
    pub blob: Blob,
    packing: Packing,
    // What it must unpack to at most.
    unpacked: u64,
    architecture: Architecture,
}

/// Chooses the index of `component`: the smallest form that we can unpack, under the name of its
/// digest if the archive has such names (a mirror in the middle of an update still has the old
/// file there).
///
/// Packages of architecture `all` are in the same file.
///
/// # Errors
/// [`Id::MissingIndex`] if the release file lists none.
pub fn choose(
    release: &Release,
    suite: &str,
    component: &str,
    architecture: Architecture,
) -> Result<IndexFile> {
    let directory = format!("{component}/binary-{architecture}");
    let plain = format!("{directory}/Packages");
    let unpacked = release.files.get(&plain).map_or(MAX_SIZE, |blob| blob.size.min(MAX_SIZE));
    for (ending, packing) in FORMS {
        let path = format!("{plain}{ending}");
        let Some(blob) = release.files.get(&path).copied() else { continue };
        if blob.size > MAX_SIZE {
            let message = format!("index `{path}` of suite `{suite}` has {} bytes", blob.size);
            return Err(Error::new(Id::BadArchiveData, message));
        }
        let by_hash = format!("{directory}/by-hash/SHA256/{}", blob.sha256);
        let paths = release.by_hash.then_some(by_hash).into_iter().chain([path]).collect();
        return Ok(IndexFile { paths, blob, packing, unpacked, architecture });
    }
    let other = release.files.keys().find(|path| path.starts_with(&format!("{plain}.")));
    if let Some(other) = other {
        let message = format!("suite `{suite}` has its index in no form that is known: `{other}`");
        let known = FORMS.map(|(ending, _)| format!("`Packages{ending}`")).join(", ");
        return Err(Error::new(Id::MissingIndex, message).hint(format!("known are {known}")));
    }
    let message = format!("suite `{suite}` has no component `{component}` for {architecture}");
    let offered: Vec<_> = release
        .files
        .keys()
        .filter_map(|path| path.split_once(&format!("/binary-{architecture}/Packages")))
        .map(|(component, _)| format!("`{component}`"))
        .collect();
    let mut offered: Vec<_> = offered;
    offered.dedup();
    Err(Error::new(Id::MissingIndex, message).hint(format!("it has {}", offered.join(", "))))
}

impl IndexFile {
    /// Reads the records of the file's content, which came from `url`.
    ///
    /// # Errors
    /// [`Id::WrongIndex`] if it is not the file that the release lists, [`Id::BadArchiveData`] if
    /// it is, and cannot be understood.
    pub fn read(&self, content: &[u8], url: &str, suite: &str) -> Result<Vec<Record>> {
        let found = Blob { sha256: Sha256::of(content), size: content.len() as u64 };
        if found != self.blob && content.trim_ascii_start().first() == Some(&b'<') {
            let message =
                format!("`{url}` is a web page, not the index that the release file lists");
            return Err(Error::new(Id::WrongIndex, message)
                .hint("a network with a login page answers like this"));
        }
        if found != self.blob {
            let message = format!(
                "`{url}` has {} bytes and sha256 `{}`, the release file says {} and `{}`",
                found.size, found.sha256, self.blob.size, self.blob.sha256
            );
            return Err(Error::new(Id::WrongIndex, message)
                .hint("the mirror may be in the middle of an update: try again, or another one"));
        }
        let unpacked = self.packing.reader(content);
        let mut reader = BufReader::with_capacity(1 << 16, unpacked.take(self.unpacked + 1));
        let suite: Rc<str> = suite.into();
        let mut records = Vec::new();
        let mut text = Text::new();
        while text.next_paragraph(&mut reader, url)? {
            if text.bytes() > self.unpacked {
                let message = format!("`{url}` unpacks to more than {} bytes", self.unpacked);
                return Err(Error::new(Id::WrongIndex, message));
            }
            records.extend(text.record(url, &suite, self.architecture)?);
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests;
