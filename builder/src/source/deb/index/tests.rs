//! Lists of packages in every form, and what is no list.

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
            choose(&release(&[(&path, &packed)]), "trixie", "main", Architecture::Amd64).unwrap();
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
    let packers: [(&str, Pack); 4] = [(".gz", gzip), (".bz2", bzip2), (".xz", xz), (".zst", zstd)];
    for (ending, pack) in packers {
        let packed = [pack(a.as_bytes()), pack(b.as_bytes())].concat();
        let path = format!("{PLAIN}{ending}");
        let index =
            choose(&release(&[(&path, &packed)]), "trixie", "main", Architecture::Amd64).unwrap();
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
        let message = format!("`url`, line {line}: field `{field}` of package `bad` is not valid");
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
