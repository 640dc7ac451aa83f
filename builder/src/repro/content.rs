//! Where inside of a file two contents differ: the line of a text, the section of a program, and
//! what it is that differs there.

use std::collections::BTreeMap;

use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader as _, SectionHeader as _};

use super::fields::{self, Field, Shape};
use super::place::{Finding, Looks, Part};

/// The header of RFC 1952, as far as it has fixed places.
pub(super) const GZIP: [Field; 4] = [
    Field::new("flags of gzip", 3, 1, Shape::Number),
    Field::new("time of gzip", 4, 4, Shape::Time),
    Field::new("level of gzip", 8, 1, Shape::Number),
    Field::new("operating system of gzip", 9, 1, Shape::Number),
];
/// Bytes of that header.
pub(super) const GZIP_HEADER: usize = 10;

/// A text that is larger is not taken apart into lines.
const MOST_TEXT: usize = 64 << 20;

/// As many bytes are compared at once.
const PIECE: usize = 4096;

/// As much of a line is shown.
const SHOWN: usize = 80;

/// The first difference of two contents, which do differ.
pub(super) fn compare(one: &[u8], two: &[u8]) -> Finding {
    if let (Some(one), Some(two)) = (text(one), text(two)) {
        return lines(one, two);
    }
    if let (Some(first), Some(second)) = (gzip(one), gzip(two))
        && let Some(found) = fields::compare(first, second, &GZIP).into_iter().next()
    {
        return found;
    }
    if let (Some(ones), Some(twos)) = (elf_sections(one), elf_sections(two))
        && let Some(found) = sections(&ones, &twos)
    {
        return found;
    }
    byte(one, two)
}

/// How many bytes two contents begin alike.
pub(super) fn same_bytes(one: &[u8], two: &[u8]) -> usize {
    // Piece by piece first, for that is much faster.
    let pieces = one.chunks_exact(PIECE).zip(two.chunks_exact(PIECE));
    let whole = PIECE * pieces.take_while(|(one, two)| one == two).count();
    let rest = one[whole..].iter().zip(&two[whole..]);
    whole + rest.take_while(|(one, two)| one == two).count()
}

/// The first byte that differs.
fn byte(one: &[u8], two: &[u8]) -> Finding {
    let at = one.iter().zip(two).take_while(|(one, two)| one == two).count();
    let found = Finding::at([Part::Byte { number: at as u64 }]).values(hex(one, at), hex(two, at));
    Finding { looks: binary(one, two, at), ..found }
}

fn text(bytes: &[u8]) -> Option<&str> {
    let odd = |c: char| c.is_control() && !"\n\r\t".contains(c);
    let text = (bytes.len() <= MOST_TEXT).then(|| std::str::from_utf8(bytes).ok())?;
    text.filter(|text| !text.contains(odd))
}

fn gzip(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(..GZIP_HEADER).filter(|head| head.starts_with(&[0x1F, 0x8B]))
}

fn hex(bytes: &[u8], at: usize) -> String {
    let bytes = bytes.get(at..(at + 16).min(bytes.len())).unwrap_or_default();
    if bytes.is_empty() {
        return "the end".to_owned();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first line that differs. What ends a line belongs to it.
fn lines(one: &str, two: &str) -> Finding {
    let split = |text| str::split_inclusive(text, '\n').collect::<Vec<_>>();
    let (ones, twos) = (split(one), split(two));
    let at = ones.iter().zip(&twos).take_while(|(one, two)| one == two).count();
    let line = Part::Line { number: at as u64 + 1 };
    let (first, second) = (ones.get(at).copied(), twos.get(at).copied());
    let words = |line: &str| line.trim_end_matches(['\n', '\r']).to_owned();
    let sorted = |text| {
        let mut lines: Vec<_> = str::lines(text).collect();
        lines.sort_unstable();
        lines
    };
    let reordered = !one.lines().eq(two.lines()) && sorted(one) == sorted(two);
    let parts = if reordered { vec![Part::Order, line] } else { vec![line] };
    let (own, other) =
        (first.map(words).unwrap_or_default(), second.map(words).unwrap_or_default());
    // Where the words are the same, the ends of the lines are shown, too.
    let show = |line: Option<&str>, words: &str, others: &str| match line {
        Some(line) if words == others => around(line, others),
        Some(_) => around(words, others),
        None => "the end".to_owned(),
    };
    let found = Finding::at(parts).values(show(first, &own, &other), show(second, &other, &own));
    let looks = (!reordered).then(|| looks(&own, &other));
    Finding { looks: looks.flatten(), root_hash: only_root_hash(&own, &other), ..found }
}

/// Whether two command lines differ in nothing but the hash of the root.
pub(super) fn only_root_hash(one: &str, two: &str) -> bool {
    let others = |text: &str| -> Vec<String> {
        let words = text.split_whitespace();
        words.filter(|word| !word.starts_with("orlop.roothash=")).map(str::to_owned).collect()
    };
    one != two && one.contains("orlop.roothash=") && others(one) == others(two)
}

/// How many bytes two texts begin alike, up to a character.
fn alike(one: &str, two: &str) -> usize {
    let same = one.chars().zip(two.chars()).take_while(|(one, two)| one == two);
    same.map(|(c, _)| c.len_utf8()).sum()
}

/// As much of a line as shows what differs from another one.
fn around(line: &str, other: &str) -> String {
    if line.chars().count() <= SHOWN {
        return line.to_owned();
    }
    let at = alike(line, other);
    let start = line[..at].char_indices().rev().nth(SHOWN / 4).map_or(0, |(start, _)| start);
    let piece: String = line[start..].chars().take(SHOWN).collect();
    let before = if start == 0 { "" } else { "..." };
    let after = if line.len() == start + piece.len() { "" } else { "..." };
    format!("{before}{piece}{after}")
}

/// What the words look like in which two texts differ first.
pub(super) fn looks(one: &str, two: &str) -> Option<Looks> {
    let at = alike(one, two);
    let (one, two) = (word(one, at), word(two, at));
    let both = |is: fn(&str) -> bool| is(one) && is(two);
    if both(is_uuid) {
        Some(Looks::Uuid)
    } else if both(is_time) {
        Some(Looks::Time)
    } else if both(|word| word.starts_with('/') && word.len() > 1) {
        Some(Looks::Path)
    } else {
        None
    }
}

/// The word around a byte.
fn word(text: &str, at: usize) -> &str {
    let outside = |c: char| !(c.is_ascii_alphanumeric() || "-_:./+".contains(c));
    let start = text[..at]
        .rfind(outside)
        .map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
    let end = text[at..].find(outside).map_or(text.len(), |end| at + end);
    text.get(start..end).unwrap_or_default()
}

fn is_uuid(word: &str) -> bool {
    word.len() == 36 && uuid::Uuid::try_parse(word).is_ok()
}

/// Seconds, milliseconds or microseconds since 1970 in this century, a date, or a time of day.
fn is_time(word: &str) -> bool {
    let shape: String = word.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let since = word.parse::<u64>().is_ok_and(|number| {
        [1, 1_000, 1_000_000, 1_000_000_000].iter().any(|unit| is_seconds(number / unit))
    });
    since || shape.starts_with("0000-00-00") || shape.contains("00:00")
}

/// From 2001 to 2099.
fn is_seconds(number: u64) -> bool {
    (978_307_200..4_102_444_800).contains(&number)
}

/// Whether the four bytes around the first that differs are a time in both.
fn binary(one: &[u8], two: &[u8], at: usize) -> Option<Looks> {
    // The lower bytes differ first, and times stand at multiples of four.
    let start = at - at % 4;
    let time = |bytes: &[u8]| {
        let bytes = bytes.get(start..start + 4)?.try_into().ok()?;
        is_seconds(u64::from(u32::from_le_bytes(bytes))).then_some(())
    };
    let same_rest = one.get(start + 4..) == two.get(start + 4..);
    // Nothing else differs: what looks like a time is one.
    (time(one).is_some() && time(two).is_some() && same_rest).then_some(Looks::Time)
}

/// The sections of an ELF file, in its order, each name once.
fn elf_sections(bytes: &[u8]) -> Option<Vec<(String, &[u8])>> {
    let header = FileHeader64::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, bytes).ok()?;
    let mut found = BTreeMap::new();
    for section in sections.iter() {
        let Some((start, size)) = section.file_range(endian) else { continue };
        let name = sections.section_name(endian, section).ok()?;
        let range = usize::try_from(start).ok()?..usize::try_from(start.checked_add(size)?).ok()?;
        let name = String::from_utf8_lossy(name).into_owned();
        found.entry(name).or_insert((start, bytes.get(range)?));
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(_, (start, _))| *start);
    Some(found.into_iter().map(|(name, (_, data))| (name, data)).collect())
}

/// The first section that differs: two programs of other lengths differ in their headers, which
/// says nothing.
fn sections(ones: &[(String, &[u8])], twos: &[(String, &[u8])]) -> Option<Finding> {
    let other: BTreeMap<_, _> = twos.iter().map(|(name, data)| (name, *data)).collect();
    for (name, one) in ones {
        match other.get(name) {
            Some(two) if one == two => {}
            Some(two) => return Some(byte(one, two).within([Part::section(name)])),
            None => return Some(Finding::presence(Part::section(name), true)),
        }
    }
    let new = twos.iter().find(|(name, _)| ones.iter().all(|(known, _)| known != name))?;
    Some(Finding::presence(Part::section(&new.0), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(one: &str, two: &str) -> (String, Option<Looks>) {
        let found = compare(one.as_bytes(), two.as_bytes());
        (found.place.to_string(), found.looks)
    }

    #[test]
    fn what_differs_in_a_text_has_a_line_and_often_a_look() {
        let time = Some(Looks::Time);
        for (one, two, place, looks) in [
            ("a\nbuilt 2026-11-29\n", "a\nbuilt 2028-01-03\n", "line 2", time),
            ("at 10:11:12", "at 10:11:59", "line 1", time),
            ("x=1795000000", "x=1829000000", "line 1", time),
            ("x=1795000", "x=1829000", "line 1", None),
            (
                "id 0e9d8a3e-7f0a-4b6f-9d0c-0d6c1b7c2f11 z",
                "id 5b0c55b1-60ff-4c0a-8a43-9c9d3f2b8f52 z",
                "line 1",
                Some(Looks::Uuid),
            ),
            ("dir=/var/tmp/a", "dir=/home/b", "line 1", Some(Looks::Path)),
            ("a\nb\nc\n", "a\nc\nb\n", "order, line 2", None),
            ("a\n", "a\nb\n", "line 2", None),
            ("a\n", "a", "line 1", None),
            ("x\na\r\n", "x\na\n", "line 2", None),
            ("", "\n", "line 1", None),
            ("a\nb\nc", "a\nc\nb", "order, line 2", None),
            ("é 1795000000", "é 1829000000", "line 1", time),
        ] {
            assert_eq!(found(one, two), (place.to_owned(), looks), "{one:?} {two:?}");
        }
        for (one, two, first, second) in [
            ("a\n", "a", "a\n", "a"),
            ("a\r\nb", "a\nb", "a\r\n", "a\n"),
            ("", "\n", "the end", "\n"),
            ("a\n", "b", "a", "b"),
        ] {
            let found = compare(one.as_bytes(), two.as_bytes());
            assert_eq!((found.one.as_deref(), found.two.as_deref()), (Some(first), Some(second)));
        }
        let long = format!("{}2026-11-29{}", "x ".repeat(200), " y".repeat(200));
        let shown = compare(long.as_bytes(), long.replace("2026", "2027").as_bytes()).one.unwrap();
        assert!(shown.contains("2026-11-29") && shown.len() < 100, "{shown}");
        assert!(shown.starts_with("...") && shown.ends_with("..."), "{shown}");
    }

    #[test]
    fn a_time_in_a_header_of_gzip_and_one_among_bytes_are_told() {
        let gzip = |time: u32| {
            let mut bytes = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 2, 3, 99, 0];
            bytes[4..8].copy_from_slice(&time.to_le_bytes());
            bytes
        };
        let found = compare(&gzip(5), &gzip(6));
        assert_eq!(
            (found.place.to_string(), found.looks),
            ("time of gzip".into(), Some(Looks::Time))
        );
        let bytes = |time: u32| [&[0, 1, 2, 3][..], &time.to_le_bytes(), &[0xFF; 9]].concat();
        let found = compare(&bytes(1_795_000_000), &bytes(1_795_000_001));
        assert_eq!((found.place.to_string(), found.looks), ("byte 4".into(), Some(Looks::Time)));
        let found = compare(&bytes(1), &bytes(2));
        assert_eq!((found.one.as_deref(), found.looks), (Some("01000000ffffffffffffffffff"), None));
    }

    #[test]
    fn the_bytes_that_are_alike_are_counted_across_pieces() {
        let one = vec![7; 3 * PIECE + 5];
        for at in [0, PIECE - 1, PIECE, 2 * PIECE + 1, 3 * PIECE, 3 * PIECE + 4] {
            let mut two = one.clone();
            two[at] = 8;
            assert_eq!((same_bytes(&one, &two), same_bytes(&one, &one[..at])), (at, at));
        }
        assert_eq!((same_bytes(&one, &one), same_bytes(&[], &one)), (one.len(), 0));
    }

    #[test]
    fn a_program_names_its_section() {
        let path = std::env::current_exe().unwrap();
        let one = std::fs::read(path).unwrap();
        let header = FileHeader64::<Endianness>::parse(one.as_slice()).unwrap();
        let sections = header.sections(Endianness::Little, one.as_slice()).unwrap();
        let (_, rodata) = sections.section_by_name(Endianness::Little, b".rodata").unwrap();
        let (start, _) = rodata.file_range(Endianness::Little).unwrap();
        let mut two = one.clone();
        two[usize::try_from(start).unwrap() + 100] ^= 1;
        assert_eq!(compare(&one, &two).place.to_string(), "section .rodata, byte 100");
        // A program of another length has another header, which is not what is told.
        two[0x28] ^= 1;
        two.extend([0; 8]);
        two[0x28] ^= 1;
        two[usize::try_from(start).unwrap() + 100] ^= 1;
        assert_eq!(compare(&one, &two).place.to_string(), format!("byte {}", one.len()));
        two[0x30] ^= 1;
        two[usize::try_from(start).unwrap() + 7] ^= 1;
        assert_eq!(compare(&one, &two).place.to_string(), "section .rodata, byte 7");
    }
}
