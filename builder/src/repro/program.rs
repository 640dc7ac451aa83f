//! Two EFI programs: UKIs, the kernel, the boot loader. Fields of their headers, then section by
//! section (Microsoft's "PE Format").

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

/// Sections that hold text.
const TEXTS: [&str; 3] = [".osrel", ".cmdline", ".uname"];

/// All that differs; nothing, if one of them is no EFI program and the place is not known.
pub(super) fn compare(one: &[u8], two: &[u8]) -> Vec<Finding> {
    let (Ok(first), Ok(second)) = (Uki::parse(one), Uki::parse(two)) else { return Vec::new() };
    let mut found = Vec::new();
    let names = |uki: &Uki<'_>| -> Vec<String> {
        uki.sections().iter().map(|section| section.name.clone()).collect()
    };
    let (ones, twos) = (names(&first), names(&second));
    let all: Vec<_> = ones.iter().chain(twos.iter().filter(|name| !ones.contains(name))).collect();
    for name in all {
        match (first.section(name), second.section(name)) {
            (Some(one), Some(two)) => found.extend(section(name, one, two)),
            (one, _) => found.push(Finding::presence(Part::section(name), one.is_some())),
        }
    }
    if found.is_empty() && ones != twos {
        found.push(Finding::at([Part::field("section headers"), Part::Order]));
    }
    let mut headers = header(one, two, &first, &second);
    // Where sections have other sizes, the headers say so.
    if !found.is_empty() {
        headers.retain(|found| found.looks.is_some());
    }
    found.splice(0..0, headers);
    if found.is_empty() {
        let at = one.iter().zip(two).take_while(|(one, two)| one == two).count() as u64;
        found.push(Finding::at([Part::Padding, Part::Byte { number: at }]));
    }
    found
}

fn header(one: &[u8], two: &[u8], first: &Uki<'_>, second: &Uki<'_>) -> Vec<Finding> {
    let cut = |bytes: &[u8], uki: &Uki<'_>| {
        // The headers end where the first section begins.
        let starts = uki.sections().iter().filter_map(|s| offset(bytes, uki.section(&s.name)?));
        let end = starts.min().unwrap_or(bytes.len());
        bytes.get(..end).unwrap_or_default().to_vec()
    };
    let (one, two) = (cut(one, first), cut(two, second));
    let place = |bytes: &[u8]| {
        let bytes = bytes.get(PE_OFFSET..PE_OFFSET + 4).and_then(|bytes| bytes.try_into().ok());
        usize::try_from(u32::from_le_bytes(bytes.unwrap_or_default())).unwrap_or_default()
    };
    let at = place(&one);
    let header = |inner: Finding| inner.within([Part::field("PE header")]);
    if at != place(&two) {
        return vec![header(Finding::at([Part::field("e_lfanew")]))];
    }
    let pe = |bytes: &[u8]| bytes.get(at..).unwrap_or_default().to_vec();
    let mut found = fields::compare(&pe(&one), &pe(&two), &HEADERS);
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
    use crate::image::disk::Slot;
    use crate::image::tests::uki;
    use crate::repro::place::Looks;

    fn places(one: &[u8], two: &[u8]) -> Vec<String> {
        compare(one, two).iter().map(|found| found.place.to_string()).collect()
    }

    #[test]
    fn a_changed_byte_of_a_section_and_a_stamp_of_the_header_are_named() {
        let one = uki(Slot::A, 4096);
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
        assert_eq!(places(&one, &two)[0], format!("padding, byte {}", one.len()));
        assert_eq!(places(&one, &uki(Slot::B, 4096)), ["section .cmdline, line 1"]);
        assert_eq!(places(&one, b"MZ"), [""; 0]);
    }
}
