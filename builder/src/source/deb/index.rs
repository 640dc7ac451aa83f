//! A suite's list of packages: which file to take, and the few fields of it that we need.
//! Nothing is decompressed before its digest and size are those of the signed release file.

use std::io::{BufRead, BufReader, Read};
use std::rc::Rc;

use crate::archive::form::Packing;
use crate::error::{Context as _, Error, Id, Result};
use formats::architecture::Architecture;
use formats::deb::control::{Paragraph, paragraphs_from};
use formats::deb::{Release, Version};
use formats::digest::Sha256;
use formats::tree::{Blob, TreePath};

/// No index is larger, in bytes, packed or unpacked: that of Debian's main has 55 MB.
const MAX_SIZE: u64 = 512 * 1024 * 1024;

/// No paragraph is larger, in bytes.
const MAX_PARAGRAPH: u64 = 1024 * 1024;

/// The forms of an index that we can unpack, the smallest first.
const FORMS: [(&str, Packing); 5] = [
    (".xz", Packing::Xz),
    (".zst", Packing::Zstd),
    (".bz2", Packing::Bzip2),
    (".gz", Packing::Gzip),
    ("", Packing::None),
];

/// What is taken over of a package.
#[derive(Debug, Clone)]
pub struct Record {
    /// `Package`.
    pub name: String,
    /// `Version`.
    pub version: Version,
    /// `amd64` or `all`.
    pub architecture: String,
    /// The name in `Source`, or the package's own.
    pub source: String,
    /// The suite in whose index it stands.
    pub suite: Rc<str>,
    /// `Filename`: below the mirror's base address.
    pub path: String,
    /// `SHA256` and `Size`.
    pub blob: Blob,
    /// `Pre-Depends` and `Depends`, not yet parsed: most packages are never asked for theirs.
    pub depends: String,
    /// `Provides`.
    pub provides: String,
    /// `Conflicts`.
    pub conflicts: String,
    /// `Breaks`.
    pub breaks: String,
}

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
        let mut text = Text { line: 1, bytes: 0, paragraph: Vec::new() };
        while text.next_paragraph(&mut reader, url)? {
            if text.bytes > self.unpacked {
                let message = format!("`{url}` unpacks to more than {} bytes", self.unpacked);
                return Err(Error::new(Id::WrongIndex, message));
            }
            records.extend(text.record(url, &suite, self.architecture)?);
        }
        Ok(records)
    }
}

/// One paragraph of the unpacked index: the whole of it is never in memory.
struct Text {
    // The number of the paragraph's first line.
    line: usize,
    bytes: u64,
    paragraph: Vec<u8>,
}

impl Text {
    /// Goes on to the next paragraph, if there is one.
    fn next_paragraph(&mut self, reader: &mut impl BufRead, url: &str) -> Result<bool> {
        self.line += self.paragraph.iter().filter(|byte| **byte == b'\n').count();
        self.paragraph.clear();
        loop {
            let start = self.paragraph.len();
            let room = MAX_PARAGRAPH.saturating_sub(start as u64);
            let read = (&mut *reader)
                .take(room)
                .read_until(b'\n', &mut self.paragraph)
                .or_fail(Id::WrongIndex, || format!("cannot unpack `{url}`"))?;
            self.bytes += read as u64;
            let line = &self.paragraph[start..];
            if read as u64 == room && !line.ends_with(b"\n") {
                let message = format!("`{url}`, line {}: the paragraph has no end", self.line);
                return Err(Error::new(Id::BadArchiveData, message));
            }
            if line.trim_ascii().is_empty() && (read == 0 || start > 0) {
                return Ok(!self.paragraph.is_empty());
            }
        }
    }

    fn record(&self, url: &str, suite: &Rc<str>, meant: Architecture) -> Result<Option<Record>> {
        let understand = || format!("cannot understand `{url}`");
        let text = std::str::from_utf8(&self.paragraph).or_fail(Id::BadArchiveData, understand)?;
        let Some(paragraph) = paragraphs_from(text, self.line).next() else { return Ok(None) };
        let paragraph = paragraph.or_fail(Id::BadArchiveData, understand)?;
        let architecture = paragraph.get("Architecture").unwrap_or_default();
        if ![meant.debian(), "all"].contains(&architecture) {
            return Ok(None);
        }
        let record = record(&paragraph, architecture, suite);
        record.map(Some).map_err(|field| {
            let name = paragraph.get("Package").unwrap_or_default();
            let line = paragraph.field(field).map_or(self.line, |field| field.line);
            let message =
                format!("`{url}`, line {line}: field `{field}` of package `{name}` is not valid");
            Error::new(Id::BadArchiveData, message)
        })
    }
}

/// The error is the name of the field that is missing or wrong.
fn record(
    paragraph: &Paragraph<'_>,
    architecture: &str,
    suite: &Rc<str>,
) -> std::result::Result<Record, &'static str> {
    let get = |name| paragraph.get(name).unwrap_or_default();
    let must = |name: &'static str| paragraph.get(name).filter(|text| !text.is_empty()).ok_or(name);
    let name = must("Package")?;
    let path = must("Filename")?;
    let odd = |c: char| c.is_whitespace() || c.is_control() || "?#%\\".contains(c);
    if path.starts_with('/') || path.contains(odd) || TreePath::new(path).is_err() {
        return Err("Filename");
    }
    let source = get("Source").split([' ', '(']).next().filter(|source| !source.is_empty());
    let depends = [get("Pre-Depends"), get("Depends")].map(str::trim).join(", ");
    Ok(Record {
        name: name.to_owned(),
        version: must("Version")?.parse().map_err(|_| "Version")?,
        architecture: architecture.to_owned(),
        source: source.unwrap_or(name).to_owned(),
        suite: Rc::clone(suite),
        path: path.to_owned(),
        blob: Blob {
            sha256: must("SHA256")?.parse().map_err(|_| "SHA256")?,
            size: must("Size")?.parse().map_err(|_| "Size")?,
        },
        depends,
        provides: get("Provides").to_owned(),
        conflicts: get("Conflicts").to_owned(),
        breaks: get("Breaks").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::process::Command;
    use crate::source::deb::testing::package;

    fn blob(content: &[u8]) -> Blob {
        Blob { sha256: Sha256::of(content), size: content.len() as u64 }
    }

    fn release(files: &[(&str, &[u8])]) -> Release {
        let files = files.iter().map(|(path, content)| ((*path).to_owned(), blob(content)));
        Release {
            suite: "stable".into(),
            codename: "trixie".into(),
            version: String::new(),
            date: String::new(),
            made: 0,
            valid_until: None,
            by_hash: true,
            not_automatic: false,
            but_automatic_upgrades: false,
            architectures: Vec::new(),
            components: Vec::new(),
            files: files.collect::<BTreeMap<_, _>>(),
        }
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(content: &[u8]) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let command = Command::new("xz").arg("--stdout").arg("--keep").arg(file.path());
        command.run().expect("package `xz-utils` is needed")
    }

    fn bzip2(content: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
    }

    const PLAIN: &str = "main/binary-amd64/Packages";

    fn read(content: &str) -> Result<Vec<Record>> {
        let release = release(&[(PLAIN, content.as_bytes())]);
        choose(&release, "trixie", "main", Architecture::Amd64)?.read(
            content.as_bytes(),
            "url",
            "trixie",
        )
    }

    #[test]
    fn the_smallest_form_is_taken_by_its_digest() {
        let files: [(&str, &[u8]); 3] = [
            (PLAIN, b"plain"),
            ("main/binary-amd64/Packages.gz", b"gz"),
            ("main/binary-amd64/Packages.xz", b"xz"),
        ];
        for (count, path, content) in
            [(3, "Packages.xz", "xz"), (2, "Packages.gz", "gz"), (1, "Packages", "plain")]
        {
            let index =
                choose(&release(&files[..count]), "trixie", "main", Architecture::Amd64).unwrap();
            assert_eq!(index.blob, blob(content.as_bytes()));
            let hash = Sha256::of(content);
            assert_eq!(
                index.paths,
                [
                    format!("main/binary-amd64/by-hash/SHA256/{hash}"),
                    format!("main/binary-amd64/{path}"),
                ]
            );
        }
        let without = Release { by_hash: false, ..release(&files) };
        assert_eq!(choose(&without, "trixie", "main", Architecture::Amd64).unwrap().paths.len(), 1);
    }

    #[test]
    fn a_missing_component_is_named_with_those_that_there_are() {
        let release = release(&[(PLAIN, b"x"), ("contrib/binary-amd64/Packages.xz", b"x")]);
        let error = choose(&release, "trixie", "non-free", Architecture::Amd64).unwrap_err();
        assert_eq!(error.id(), Id::MissingIndex);
        assert_eq!(error.to_string(), "suite `trixie` has no component `non-free` for amd64");
        assert_eq!(error.hints(), ["it has `contrib`, `main`"]);
    }

    #[test]
    fn every_packing_gives_the_same_records() {
        let text = format!("{}\n{}", package("a", "1", "Depends: b\n"), package("b", "2", ""));
        for (ending, packed) in [
            ("", text.clone().into_bytes()),
            (".gz", gzip(text.as_bytes())),
            (".xz", xz(text.as_bytes())),
            (".bz2", bzip2(text.as_bytes())),
            (".zst", zstd(text.as_bytes())),
        ] {
            let path = format!("{PLAIN}{ending}");
            let index =
                choose(&release(&[(&path, &packed)]), "trixie", "main", Architecture::Amd64)
                    .unwrap();
            let records = index.read(&packed, "url", "trixie").unwrap();
            let names: Vec<_> = records.iter().map(|record| record.name.as_str()).collect();
            assert_eq!(names, ["a", "b"], "{ending}");
            assert_eq!(records[0].depends, ", b");
        }
    }

    #[test]
    fn an_index_in_several_parts_is_read_to_its_end() {
        // As parallel packers write it, and `cat` of two packed files.
        let [a, b] = ["a", "b"].map(|name| format!("{}\n", package(name, "1", "")));
        type Pack = fn(&[u8]) -> Vec<u8>;
        let packers: [(&str, Pack); 4] =
            [(".gz", gzip), (".bz2", bzip2), (".xz", xz), (".zst", zstd)];
        for (ending, pack) in packers {
            let packed = [pack(a.as_bytes()), pack(b.as_bytes())].concat();
            let path = format!("{PLAIN}{ending}");
            let index =
                choose(&release(&[(&path, &packed)]), "trixie", "main", Architecture::Amd64)
                    .unwrap();
            let records = index.read(&packed, "url", "trixie").unwrap();
            let names: Vec<_> = records.iter().map(|record| record.name.as_str()).collect();
            assert_eq!(names, ["a", "b"], "{ending}");
        }
    }

    #[test]
    fn an_index_in_a_form_that_is_not_known_is_no_missing_component() {
        let path = format!("{PLAIN}.lzma");
        let error =
            choose(&release(&[(&path, b"x")]), "trixie", "main", Architecture::Amd64).unwrap_err();
        assert_eq!(error.id(), Id::MissingIndex);
        let message = format!("suite `trixie` has its index in no form that is known: `{path}`");
        assert_eq!(error.to_string(), message);
    }

    #[test]
    fn the_source_is_named_without_its_version() {
        for (field, source) in [("", "a"), ("Source: b\n", "b"), ("Source: c (1.2)\n", "c")] {
            assert_eq!(read(&package("a", "1", field)).unwrap()[0].source, source);
        }
    }

    #[test]
    fn packages_of_other_architectures_are_passed_over() {
        let text = package("a", "1", "").replace("amd64", "i386");
        assert!(read(&text).unwrap().is_empty());
        let text = package("a", "1", "").replace("Architecture: amd64", "Architecture: all");
        assert_eq!(read(&text).unwrap().len(), 1);
    }

    #[test]
    fn another_digest_is_refused_before_anything_is_unpacked() {
        let index =
            choose(&release(&[(PLAIN, b"abc")]), "trixie", "main", Architecture::Amd64).unwrap();
        for content in ["abd", "abcd", ""] {
            let error = index.read(content.as_bytes(), "url", "trixie").unwrap_err();
            assert_eq!(error.id(), Id::WrongIndex);
        }
    }

    #[test]
    fn an_index_that_unpacks_to_more_than_is_listed_is_refused() {
        let text = package("a", "1", "");
        let packed = gzip(format!("{text}\n{text}").as_bytes());
        let path = format!("{PLAIN}.gz");
        let release = release(&[(&path, &packed), (PLAIN, text.as_bytes())]);
        let index = choose(&release, "trixie", "main", Architecture::Amd64).unwrap();
        assert_eq!(index.read(&packed, "url", "trixie").unwrap_err().id(), Id::WrongIndex);
    }

    #[test]
    fn a_bad_field_is_named_with_its_line() {
        let good = package("good", "1", "");
        let lines = good.lines().count() + 1;
        for (field, from, to) in [
            ("Version", "Version: 1", "Version: 1_0"),
            ("Version", "Version: 1", "Version:"),
            ("SHA256", "SHA256: ", "SHA256: x"),
            ("Size", "Size: ", "Size: -"),
            ("Filename", "Filename: pool", "Filename: ../pool"),
            ("Filename", "Filename: pool", "Filename: /pool"),
            ("Filename", "Filename: pool", "Filename: a b"),
        ] {
            let bad = package("bad", "1", "").replace(from, to);
            let error = read(&format!("{good}\n{bad}")).unwrap_err();
            assert_eq!(error.id(), Id::BadArchiveData);
            let line = bad.lines().position(|line| line.starts_with(field)).unwrap() + 1 + lines;
            let message =
                format!("`url`, line {line}: field `{field}` of package `bad` is not valid");
            assert_eq!(error.to_string(), message);
        }
        let error = read(&format!("{good}\nno field\n")).unwrap_err();
        let line = lines + 1;
        let message = format!("cannot understand `url`: line {line}: expected `Field: value`");
        assert_eq!(error.chain(), message);
    }

    #[test]
    fn a_paragraph_without_an_end_is_refused() {
        let long = format!("{}Description: {}\n", package("a", "1", ""), "x".repeat(1 << 20));
        assert_eq!(read(&long).unwrap_err().id(), Id::BadArchiveData);
    }

    proptest! {
        #[test]
        fn any_content_is_read_or_refused(content in "(?s)(Package: a\n|Architecture: all\n|\n| |.){0,20}") {
            drop(read(&content));
        }
    }
}
