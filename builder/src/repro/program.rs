//! Two EFI programs: UKIs, the kernel, the boot loader. Fields of their headers, then section by
//! section (Microsoft's "PE Format").

use std::collections::BTreeMap;

use formats::uki::Uki;

use super::content;
use super::fields::{self, Field, Shape};
use super::initrd;
use super::place::{Finding, Part};

/// Where `e_lfanew` is: the offset of the PE header.
const PE_OFFSET: usize = 0x3C;

/// Fields of the headers, counted from the PE header.
const HEADERS: [Field; 8] = [
    Field::new("TimeDateStamp", 8, 4, Shape::Time),
    Field::new("Characteristics", 22, 2, Shape::Number),
    Field::new("linker version", 26, 2, Shape::Number),
    Field::new("AddressOfEntryPoint", 40, 4, Shape::Number),
    Field::new("SizeOfImage", 80, 4, Shape::Number),
    Field::new("SizeOfHeaders", 84, 4, Shape::Number),
    Field::new("CheckSum", 88, 4, Shape::Checksum),
    Field::new("certificate table", 168, 8, Shape::Number),
];

/// Where the PE header says how many sections there are, and how long the optional header is, behind
/// which their headers stand.
const SECTIONS: usize = 6;
const OPTIONAL_SIZE: usize = 20;
const OPTIONAL: usize = 24;
/// Where it says where the certificates are (the fifth data directory).
const CERTIFICATES: usize = 168;
/// Bytes of the header of a section.
const SECTION_HEADER: usize = 40;
/// Its fields.
const SECTION: [Field; 6] = [
    Field::new("name", 0, 8, Shape::Text),
    Field::new("VirtualSize", 8, 4, Shape::Number),
    Field::new("VirtualAddress", 12, 4, Shape::Number),
    Field::new("SizeOfRawData", 16, 4, Shape::Number),
    Field::new("PointerToRawData", 20, 4, Shape::Number),
    Field::new("Characteristics", 36, 4, Shape::Number),
];

/// Sections that hold text.
const TEXTS: [&str; 3] = [".osrel", ".cmdline", ".uname"];

/// All that differs; nothing, if one of them is no EFI program and the place is not known.
pub(super) fn compare(one: &[u8], two: &[u8]) -> Vec<Finding> {
    let (Ok(first), Ok(second)) = (Uki::parse(one), Uki::parse(two)) else { return Vec::new() };
    let mut found = Vec::new();
    let (ones, twos) = (named(&first), named(&second));
    let [first_keys, second_keys] =
        [&ones, &twos].map(|all| all.iter().map(|(key, _)| key).collect::<Vec<_>>());
    let [by_first, by_second] =
        [&ones, &twos].map(|all| all.iter().cloned().collect::<BTreeMap<_, _>>());
    let only_second = second_keys.iter().filter(|key| !by_first.contains_key(**key));
    for key in first_keys.iter().chain(only_second) {
        match (by_first.get(*key), by_second.get(*key)) {
            (Some(one), Some(two)) => found.extend(section(&key.0, one, two)),
            (one, _) => found.push(Finding::presence(Part::section(&key.0), one.is_some())),
        }
    }
    if found.is_empty() && first_keys != second_keys {
        found.push(Finding::at([Part::field("section headers"), Part::Order]));
    }
    let mut headers = header(one, two, &first, &second);
    // Where sections have other sizes, the headers say so.
    if !found.is_empty() {
        headers.retain(|found| found.looks.is_some());
    }
    found.splice(0..0, headers);
    if found.is_empty() {
        found.push(outside(one, two));
    }
    found
}

/// The sections, each by its name and how often that has come before: one may come again.
fn named<'a>(uki: &Uki<'a>) -> Vec<((String, usize), &'a [u8])> {
    let mut times = BTreeMap::new();
    let named = uki.contents().map(|(name, data)| {
        let time = times.entry(name.to_owned()).or_insert(0);
        *time += 1;
        ((name.to_owned(), *time), data)
    });
    named.collect()
}

/// The first byte that differs, which is neither of a header nor of a section.
fn outside(one: &[u8], two: &[u8]) -> Finding {
    let at = content::same_bytes(one, two);
    let sizes = [one.len() as u64, two.len() as u64];
    if at >= one.len().min(two.len()) {
        return Finding::byte_or_size(at as u64, sizes);
    }
    let directory = pe_start(one) + CERTIFICATES;
    let start = number(one, directory) as usize;
    if start > 0 && at >= start && at - start < number(one, directory + 4) as usize {
        let number = (at - start) as u64;
        return Finding::at([Part::field("certificate table"), Part::Byte { number }]);
    }
    Finding::at([Part::Padding, Part::Byte { number: at as u64 }])
}

/// Four bytes as a number; 0 where there are none.
fn number(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    u32::from_le_bytes(bytes.unwrap_or_default())
}

fn pe_start(bytes: &[u8]) -> usize {
    number(bytes, PE_OFFSET) as usize
}

fn header(one: &[u8], two: &[u8], first: &Uki<'_>, second: &Uki<'_>) -> Vec<Finding> {
    let cut = |bytes: &[u8], uki: &Uki<'_>| {
        // The headers end where the first section begins.
        let starts = uki.contents().filter_map(|(_, data)| {
            // An empty one stands nowhere.
            (!data.is_empty()).then(|| offset(bytes, data)).flatten()
        });
        let end = starts.min().unwrap_or(bytes.len());
        bytes.get(..end).unwrap_or_default().to_vec()
    };
    let (one, two) = (cut(one, first), cut(two, second));
    let at = pe_start(&one);
    let header = |inner: Finding| inner.within([Part::field("PE header")]);
    if at != pe_start(&two) {
        return vec![header(Finding::at([Part::field("e_lfanew")]))];
    }
    let pe = |bytes: &[u8]| bytes.get(at..).unwrap_or_default().to_vec();
    let (one_pe, two_pe) = (pe(&one), pe(&two));
    let short = |bytes: &[u8], at: usize| (number(bytes, at) & 0xFFFF) as usize;
    let table = |bytes: &[u8]| OPTIONAL + short(bytes, OPTIONAL_SIZE);
    let (start, count) = (table(&one_pe), short(&one_pe, SECTIONS));
    let mut found;
    if start == table(&two_pe) && count == short(&two_pe, SECTIONS) {
        let part = |bytes: &[u8], from: usize, to: usize| {
            bytes.get(from.min(bytes.len())..to.min(bytes.len())).unwrap_or_default().to_vec()
        };
        found = fields::compare(&part(&one_pe, 0, start), &part(&two_pe, 0, start), &HEADERS);
        for index in 0..count {
            let from = start + index * SECTION_HEADER;
            let part = |bytes: &[u8]| part(bytes, from, from + SECTION_HEADER);
            let (one, two) = (part(&one_pe), part(&two_pe));
            let name = String::from_utf8_lossy(one.get(..8).unwrap_or_default()).into_owned();
            let within = Part::field(format!("header of section {}", name.trim_end_matches('\0')));
            let inner = fields::compare(&one, &two, &SECTION).into_iter();
            found.extend(inner.map(|found| found.within([within.clone()])));
        }
        let end = start + count * SECTION_HEADER;
        let rest = |bytes: &[u8]| part(bytes, end, bytes.len());
        let behind = fields::compare(&rest(&one_pe), &rest(&two_pe), &[]);
        found.extend(behind.into_iter().map(|found| found.within([Part::Padding])));
    } else {
        found = fields::compare(&one_pe, &two_pe, &HEADERS);
    }
    let stub = |bytes: &[u8]| bytes.get(..at).unwrap_or_default().to_vec();
    found.extend(fields::compare(&stub(&one), &stub(&two), &[]));
    found.into_iter().map(header).collect()
}

/// Where a slice of `bytes` begins in them.
fn offset(bytes: &[u8], part: &[u8]) -> Option<usize> {
    (part.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)
}

fn section(name: &str, one: &[u8], two: &[u8]) -> Vec<Finding> {
    if one == two {
        return Vec::new();
    }
    let inner = match name {
        ".initrd" => initrd::compare(one, two),
        ".linux" => compare(one, two),
        _ => Vec::new(),
    };
    let inner = if inner.is_empty() {
        // The NUL behind a text is no text.
        let plain = |bytes: &[u8]| -> Vec<u8> {
            let text = TEXTS.contains(&name);
            let end = bytes.iter().rposition(|byte| *byte != 0 || !text).map_or(0, |at| at + 1);
            bytes[..end].to_vec()
        };
        vec![content::compare(&plain(one), &plain(two))]
    } else {
        inner
    };
    inner.into_iter().map(|found| found.within([Part::section(name)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::uki;
    use crate::repro::place::Looks;

    fn places(one: &[u8], two: &[u8]) -> Vec<String> {
        compare(one, two).iter().map(|found| found.place.to_string()).collect()
    }

    #[test]
    fn a_changed_byte_of_a_section_and_a_stamp_of_the_header_are_named() {
        let one = uki(4096);
        let linux = Uki::parse(&one).unwrap().section(".linux").unwrap();
        let at = offset(&one, linux).unwrap();
        let mut two = one.clone();
        two[at + 77] ^= 1;
        assert_eq!(places(&one, &two), ["section .linux, byte 77"]);

        let pe = usize::from(one[PE_OFFSET]) | usize::from(one[PE_OFFSET + 1]) << 8;
        let mut two = one.clone();
        two[pe + 8] ^= 1;
        let found = compare(&one, &two);
        assert_eq!(found[0].place.to_string(), "PE header, TimeDateStamp");
        assert_eq!((found.len(), found[0].looks), (1, Some(Looks::Time)));
        two[pe + 88] ^= 1;
        assert_eq!(compare(&one, &two).len(), 1, "the checksum follows");

        let mut two = one.clone();
        two.extend([0; 512]);
        assert_eq!(places(&one, &two), ["size"]);
        let names = Uki::parse(&one).unwrap();
        let index = names.sections().iter().position(|info| info.name == ".linux").unwrap();
        let table = pe + OPTIONAL + 0xF0 + index * SECTION_HEADER;
        let mut two = one.clone();
        two[table + 12] ^= 1;
        assert_eq!(places(&one, &two), ["PE header, header of section .linux, VirtualAddress"]);
        // Behind what a section holds, up to where the next one begins.
        let mut two = one.clone();
        let cmdline = Uki::parse(&one).unwrap().section(".cmdline").unwrap();
        let end = offset(&one, cmdline).unwrap() + cmdline.len();
        two[end] ^= 1;
        assert_eq!(places(&one, &two), [format!("padding, byte {end}")]);
        // A second section of a name, as many as the kernel finds.
        let again = |other: u8| {
            let mut two = one.clone();
            let osrel = pe + OPTIONAL + 0xF0 + 2 * SECTION_HEADER;
            two[osrel..osrel + 8].copy_from_slice(b".linux\0\0");
            let inner = Uki::parse(&two).unwrap().section(".linux").unwrap();
            let at = offset(&two, inner).unwrap();
            two[at] ^= other;
            two
        };
        assert!(places(&again(0), &again(1))[0].starts_with("section .linux, "));
        let mut two = one.clone();
        two[end - 1] ^= 1;
        assert_eq!(places(&one, &two), ["section .cmdline, line 1"]);
        assert_eq!(places(&one, b"MZ"), [""; 0]);
    }
}
