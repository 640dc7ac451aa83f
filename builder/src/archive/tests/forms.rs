//! Archives that nobody's tar makes, block by block; and what is no archive.

use super::*;
use proptest::prelude::*;

/// A header of GNU's form with a right checksum.
fn header(name: &str, flag: u8, size: usize, change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar  \0");
    change(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn member(name: &str, flag: u8, content: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let padding = content.len().next_multiple_of(512) - content.len();
    [header(name, flag, content.len(), change), content.to_vec(), vec![0; padding]].concat()
}

fn file(name: &str, content: &str) -> Vec<u8> {
    member(name, b'0', content.as_bytes(), |_| ())
}

/// Records of pax for the next member.
fn pax(flag: u8, records: &[(&str, &str)]) -> Vec<u8> {
    let mut text = String::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (rest..).find(|length| rest + length.to_string().len() == *length).unwrap();
        text += &format!("{length} {key}={value}\n");
    }
    member("pax", flag, text.as_bytes(), |_| ())
}

fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 1024]].concat()
}

#[test]
fn what_is_odd_and_right_is_read_as_gnu_tar_reads_it() {
    let link = |name: &str, flag: u8, target: &'static str, size| {
        header(name, flag, size, |block| {
            block[157..157 + target.len()].copy_from_slice(target.as_bytes());
        })
    };
    let posix = |block: &mut [u8]| block[257..265].copy_from_slice(b"ustar\x0000");
    let prefixed = |block: &mut [u8]| {
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[345..348].copy_from_slice(b"pre");
    };
    let gnu_prefix = |block: &mut [u8]| block[345..348].copy_from_slice(b"pre");
    let base_256 = |block: &mut [u8]| {
        block[124..136].copy_from_slice(b"\x80\0\0\0\0\0\0\0\0\0\0\x03");
    };
    let blanks = |block: &mut [u8]| block[124..136].copy_from_slice(b"          3 ");
    let v7 = |block: &mut [u8]| block[257..265].fill(0);
    let long =
        |name: &str| member("././@LongLink", b'L', format!("{name}\0rest").as_bytes(), |_| ());
    let signed = {
        let mut block = header("\u{e4}\u{e4}", b'0', 1, |_| ());
        block[148..156].fill(b' ');
        let sum: i32 = block.iter().map(|byte| i32::from(byte.cast_signed())).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        [block, b"s".to_vec(), vec![0; 511]].concat()
    };
    for (what, parts) in [
        ("prefix of POSIX", vec![member("a", b'0', b"abc", prefixed)]),
        ("no prefix in GNU's form", vec![member("a", b'0', b"abc", gnu_prefix)]),
        ("size in base 256", vec![member("a", b'0', b"abc", base_256), file("b", "b")]),
        ("size after blanks", vec![member("a", b'0', b"abc", blanks), file("b", "b")]),
        ("v7", vec![member("a", 0, b"abc", v7)]),
        ("directory of v7", vec![member("d/", 0, b"", v7), file("d/a", "a")]),
        ("directory by its slash", vec![member("d/", b'0', b"", posix), file("d/a", "a")]),
        ("contiguous file", vec![member("a", b'7', b"abc", posix)]),
        ("signed checksum", vec![signed]),
        ("two long names", vec![long("first"), long("second"), file("a", "abc")]),
        ("pax before long", vec![pax(b'x', &[("path", "p")]), long("l"), file("a", "abc")]),
        ("long before pax", vec![long("l"), pax(b'x', &[("path", "p")]), file("a", "abc")]),
        ("two pax", vec![pax(b'x', &[("path", "p")]), pax(b'x', &[("uid", "1")]), file("a", "")]),
        ("pax twice", vec![pax(b'x', &[("path", "p"), ("path", "q")]), file("a", "abc")]),
        ("pax of Solaris", vec![pax(b'X', &[("path", "p")]), file("a", "abc")]),
        (
            "size of pax",
            vec![
                pax(b'x', &[("size", "3")]),
                member("a", b'0', b"abc", |block| {
                    block[124..136].copy_from_slice(b"00000000000\0");
                }),
                file("b", "b"),
            ],
        ),
        ("global path", vec![pax(b'g', &[("comment", "c")]), file("a", "a"), file("b", "b")]),
        ("size of a link", vec![file("a", "a"), link("b", b'1', "a", 512), file("c", "c")]),
        ("hard link by another way", vec![file("./d//a", "a"), link("b", b'1', "d/./a", 0)]),
        ("hard link to a link", vec![link("s", b'2', "there", 0), link("b", b'1', "s", 0)]),
        (
            "hard link, then another file",
            vec![file("a", "first"), link("b", b'1', "a", 0), file("a", "second")],
        ),
        ("link, then a file", vec![link("a", b'2', "b", 0), file("a", "a")]),
        ("file, then a directory", vec![file("a", "a"), member("a", b'5', b"", posix)]),
        ("leading slash", vec![file("/a", "a"), file("//b", "b")]),
        ("one zero block", vec![file("a", "a"), vec![0; 512], file("b", "b")]),
        ("no end", vec![file("a", "a")]),
    ] {
        let whole = archive(&parts);
        alike(&whole, what);
        alike(&parts.concat(), &format!("{what}, no end"));
        let garbage = [whole, b"garbage".repeat(200)].concat();
        alike(&garbage, &format!("{what}, garbage behind"));
    }
}

#[test]
fn what_gnu_tar_refuses_we_refuse_too() {
    let sparse = |records: &[(&str, &str)], content: &[u8]| {
        archive(&[pax(b'x', records), member("a", b'0', content, |_| ())])
    };
    let broken = |at: usize| {
        let mut archive = archive(&[file("a", "abc"), file("b", "b")]);
        archive[at] ^= 0x20;
        archive
    };
    let malformed = member("pax", b'x', b"12 path=a\n", |_| ());
    let negative = |block: &mut [u8]| block[124..136].fill(0xff);
    let cut = |parts: &[Vec<u8>], less: usize| {
        let parts = parts.concat();
        parts[..parts.len() - less].to_vec()
    };
    for (archive, why) in [
        (broken(1024), "byte 1024: the checksum of a header is wrong"),
        (broken(0), "no archive that is known"),
        (archive(&[malformed, file("a", "a")]), "a record of pax is wrong"),
        (archive(&[member("a", b'0', b"", negative)]), "negative or too large"),
        (cut(&[file("a", "abc")], 510), "ends within a file"),
        (sparse(&[("GNU.sparse.map", "0,1,1")], b"abc"), "a sparse file has no size"),
        (
            sparse(&[("GNU.sparse.size", "9"), ("GNU.sparse.map", "0,1,1")], b"abc"),
            "the map of a sparse file is wrong",
        ),
        (
            sparse(&[("GNU.sparse.size", "9"), ("GNU.sparse.map", "x,1")], b"abc"),
            "a number of pax is none",
        ),
    ] {
        assert_eq!(theirs(&archive), None, "{why}");
        refused(&archive, why);
    }
}

/// Where the judge guesses, or takes what makes no sense, we say that we do not.
#[test]
fn what_has_no_clear_meaning_is_refused_in_words() {
    let sparse = |records: &[(&str, &str)], content: &[u8]| {
        archive(&[pax(b'x', records), member("a", b'0', content, |_| ())])
    };
    let overlap = [("GNU.sparse.size", "9"), ("GNU.sparse.map", "2,2,1,1")];
    let beyond = [("GNU.sparse.size", "4"), ("GNU.sparse.map", "2,3")];
    let version =
        [("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9")];
    let less = [("GNU.sparse.size", "9"), ("GNU.sparse.map", "2,2")];
    let volume = archive(&[member("a", b'M', b"abc", |_| ())]);
    let described = archive(&[pax(b'x', &[("path", "p")])]);
    let nameless = archive(&[file("", "a")]);
    let global = archive(&[pax(b'g', &[("GNU.sparse.size", "9")]), file("a", "a")]);
    let unknown = archive(&[member("a", b'Z', b"abc", |_| ())]);
    let full = archive(&[member("d/", b'0', b"abc", |_| ())]);
    let mut half_a_header = [file("a", "abc"), file("b", "b")].concat();
    half_a_header.truncate(1448);
    for (archive, why) in [
        (half_a_header, "ends within a block"),
        (sparse(&overlap, b"abc"), "overlap"),
        (sparse(&beyond, b"abc"), "beyond its end"),
        (sparse(&less, b"abc"), "does not fit its content"),
        (sparse(&version, b"abc"), "`a` in it is a sparse file of version 2.0"),
        (volume, "`a` in it is a file that began on another volume"),
        (described, "before the member that is described"),
        (nameless, "no name"),
        (global, "a global header describes a sparse file"),
        (unknown, "`a` in it is of the type `Z`"),
        (full, "a directory has content"),
    ] {
        refused(&archive, why);
    }
}

#[test]
fn what_cannot_be_in_an_image_is_named_only_when_it_is_wanted() {
    let tree = ours(&archive(&[
        member("device", b'3', b"", |_| ()),
        member("pipe", b'6', b"", |_| ()),
        header("lost", b'1', 0, |block| block[157..161].copy_from_slice(b"none")),
        header("way", b'2', 0, |block| block[157..161].copy_from_slice(b"else")),
        file("way/file", "through a link"),
        file("../outside", "x"),
        file("full/a", "a"),
        file("full", "no directory"),
    ]));
    let tree = tree.unwrap();
    for (path, want) in [
        ("device", "a device"),
        ("pipe", "a pipe"),
        ("lost", "a hard link to what is not in the archive"),
        ("way/file", "below what is no directory"),
        ("full", "a directory and something else"),
    ] {
        assert_eq!(tree[path], Seen::Other(want));
    }
    assert!(tree.keys().all(|path| !path.contains("outside")), "{}", short(&tree));
}

#[test]
fn what_is_no_archive_is_called_by_its_name() {
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    for (bytes, what) in [
        (b"".to_vec(), "it is empty"),
        (b"abc".to_vec(), "it is no archive that is known"),
        (vec![b'x'; 2000], "it is no archive that is known"),
        (gzip(b"abc"), "it is packed with gzip and holds no tar archive"),
        (gzip(&gzip(&archive(&[file("a", "a")]))), "it is packed with gzip and holds no tar"),
        (b"<!DOCTYPE html><p>".to_vec(), "it is a web page"),
        (b"7z\xbc\xaf\x27\x1c\0\x04".to_vec(), "it is a 7-Zip archive"),
        (b"Rar!\x1a\x07\x01\0".to_vec(), "it is a RAR archive"),
        (b"!<arch>\ndebian-binary   ".to_vec(), "it is a Debian package"),
        (b"\x7fELF\x02\x01".to_vec(), "it is a program"),
        (b"LZIP\x01".to_vec(), "it is packed with lzip"),
        (b"\x1f\x9d\x90".to_vec(), "it is packed with `compress`"),
        (b"070701".to_vec(), "it is a cpio archive"),
    ] {
        refused(&bytes, what);
    }
}

proptest! {
    // Each case runs the judge.
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever the bytes are, reading ends, and what both read is the same.
    #[test]
    fn a_changed_archive_is_read_alike_or_refused(
        at in 0_usize..4096,
        byte: u8,
        cut in proptest::option::of(0_usize..4096),
    ) {
        let mut bytes = archive(&[
            file("a", "first"),
            pax(b'x', &[("path", "p"), ("uid", "7")]),
            file("b", "second"),
        ]);
        let at = at.min(bytes.len() - 1);
        bytes[at] = byte;
        bytes.truncate(cut.unwrap_or(usize::MAX));
        if let Ok(ours) = ours(&bytes)
            && let Some(theirs) = theirs(&bytes)
        {
            prop_assert_eq!(short(&ours), short(&theirs));
        }
    }
}

#[test]
fn zeros_after_a_packed_archive_are_nothing() {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&archive(&[file("a", "content")])).unwrap();
    let packed = encoder.finish().unwrap();
    let zeros = vec![0; 70_000];
    alike(&[packed.clone(), zeros.clone()].concat(), "zeros after gzip");
    refused(&[packed, zeros, b"more".to_vec()].concat(), "something follows the zeros");
}
