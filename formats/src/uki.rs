//! Unified kernel images: systemd's EFI stub with the kernel and all that belongs to it as
//! sections of one PE file. (UAPI.5, "Unified Kernel Image"; Microsoft's "PE Format".)
//!
//! [`build`] adds the sections, [`pad_to`] brings the file to the one size that all UKIs of a node
//! have ([`announce_padding`] without holding it), [`Uki::parse`] reads. Signing is not done here: it
//! comes after padding, for padding must lie inside what is signed.

mod pe;

use std::ops::Range;

use pe::Headers;
#[cfg(test)]
pub(crate) use pe::tests::stub;

/// The sections that a UKI of ours has beside the stub's own, in order.
pub const SECTIONS: [&str; 5] = [".osrel", ".cmdline", ".uname", ".linux", ".initrd"];

/// A section to add.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// 1 to 8 bytes of ASCII, such as `.cmdline`.
    pub name: &'a str,
    /// What it holds.
    pub data: &'a [u8],
}

/// Why there is no UKI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UkiError {
    /// The bytes are no PE file for 64-bit UEFI.
    #[error("it is not a 64-bit EFI program: {0}")]
    NotEfi(&'static str),
    /// A header points outside the file, or sections overlap.
    #[error("the PE headers are damaged: {0}")]
    Damaged(&'static str),
    /// It carries a signature, which any change would break.
    #[error("it is signed already")]
    Signed,
    /// The stub was not linked with enough room for more section headers.
    #[error("the stub has room for {free} more section headers, {needed} are needed")]
    NoHeaderRoom {
        /// How many fit.
        free: usize,
        /// How many shall be added.
        needed: usize,
    },
    /// No name, one of more than 8 bytes, or one that is there already.
    #[error("`{0}` cannot be the name of a new section")]
    SectionName(String),
    /// An address or a size above 4 GiB.
    #[error("the image is larger than a PE file can be")]
    TooLarge,
    /// The file is larger than the size it shall have.
    #[error("the image has {size} bytes, which is more than {target}")]
    LargerThanTarget {
        /// What it has.
        size: u64,
        /// What it shall have.
        target: u64,
    },
    /// The size to pad to is not a multiple of the file's alignment.
    #[error("the image cannot be padded to {target} bytes: its parts are aligned to {alignment}")]
    UnalignedTarget {
        /// What it shall have.
        target: u64,
        /// PE's FileAlignment.
        alignment: u32,
    },
}

/// What makes a stub a UKI.
#[derive(Debug, Clone, Copy)]
pub struct Sections<'a> {
    /// `os-release`: `.osrel`.
    pub osrel: &'a [u8],
    /// The kernel's command line: `.cmdline`.
    pub cmdline: &'a [u8],
    /// The kernel's release, as `uname -r` tells it: `.uname`.
    pub uname: &'a [u8],
    /// The kernel: `.linux`.
    pub linux: &'a [u8],
    /// The initial RAM disk: `.initrd`.
    pub initrd: &'a [u8],
}

/// Makes a UKI of systemd's stub: see [`add_sections`].
///
/// # Errors
/// See [`UkiError`].
pub fn build(stub: &[u8], sections: &Sections<'_>) -> Result<Vec<u8>, UkiError> {
    let Sections { osrel, cmdline, uname, linux, initrd } = *sections;
    let data = [osrel, cmdline, uname, linux, initrd];
    let mut parts = Vec::new();
    for (name, data) in SECTIONS.into_iter().zip(data) {
        parts.push(Section { name, data });
    }
    add_sections(stub, &parts)
}

/// Adds `sections` to `stub`, each behind the last one in the file and in memory, on a page or as
/// the stub's headers ask if that is more.
///
/// What stands behind the stub's last section is cut off, and the header's pointer to it cleared:
/// it is a COFF symbol table, which `sbsign` would else take for a gap. The time stamp is the
/// stub's; the checksum, which UEFI does not look at, is zero.
///
/// # Errors
/// See [`UkiError`].
pub fn add_sections(stub: &[u8], sections: &[Section<'_>]) -> Result<Vec<u8>, UkiError> {
    let mut headers = Headers::parse(stub)?;
    let end = headers.file_end();
    let mut image = stub.get(..end).ok_or(UkiError::Damaged("a section is cut off"))?.to_vec();
    let data = sections.iter().map(|section| section.data.len() + 4096).sum();
    image.reserve(data);
    headers.forget_symbols();
    headers.append(&mut image, sections)?;
    headers.write(&mut image)?;
    Ok(image)
}

/// Pads an unsigned image to exactly `size` bytes with a section `.pad` of zeros. A section,
/// because loaders and `sbsign` know what to do with one; of bytes behind the last section
/// `sbsign` warns as gaps.
///
/// An image that has `size` bytes is left as it is.
///
/// # Errors
/// See [`UkiError`]; the image is then unchanged.
pub fn pad_to(image: &mut Vec<u8>, size: u64) -> Result<(), UkiError> {
    let zeros = announce_padding(image, size)?;
    let zeros = usize::try_from(zeros).map_err(|_| UkiError::TooLarge)?;
    image.resize(image.len() + zeros, 0);
    Ok(())
}

/// As [`pad_to`], for who does not hold the zeros: writes the header of `.pad` and returns how many
/// zeros stand behind the image then.
///
/// # Errors
/// See [`UkiError`]; the image is then unchanged.
pub fn announce_padding(image: &mut [u8], size: u64) -> Result<u64, UkiError> {
    let mut headers = Headers::parse(image)?;
    let target = usize::try_from(size).map_err(|_| UkiError::TooLarge)?;
    if headers.is_signed() {
        return Err(UkiError::Signed);
    }
    if headers.file_end() != image.len() {
        return Err(UkiError::Damaged("bytes behind the last section"));
    }
    let missing = target
        .checked_sub(image.len())
        .ok_or(UkiError::LargerThanTarget { size: image.len() as u64, target: size })?;
    let alignment = headers.file_alignment();
    if !size.is_multiple_of(u64::from(alignment)) {
        return Err(UkiError::UnalignedTarget { target: size, alignment });
    }
    if !image.len().is_multiple_of(alignment as usize) {
        return Err(UkiError::Damaged("the last section is not aligned"));
    }
    if missing > 0 {
        headers.announce(image.len(), &[(".pad", missing)])?;
        headers.write(image)?;
    }
    Ok(missing as u64)
}

/// A UKI, or any other EFI program, as a list of sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uki<'a> {
    bytes: &'a [u8],
    sections: Vec<SectionInfo>,
    machine: u16,
    signed: bool,
}

/// Where a section is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionInfo {
    /// The name, without its padding.
    pub name: String,
    /// Where it is loaded, relative to the image.
    pub virtual_address: u32,
    /// Its size in memory: for the sections of a UKI, the size of the data.
    pub virtual_size: u32,
    // Invariant: inside the file.
    file: Range<usize>,
}

impl<'a> Uki<'a> {
    /// Reads the headers of a PE file.
    ///
    /// # Errors
    /// [`UkiError::NotEfi`] or [`UkiError::Damaged`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, UkiError> {
        let headers = Headers::parse(bytes)?;
        let (machine, signed) = (headers.machine(), headers.is_signed());
        Ok(Self { bytes, sections: headers.sections(), machine, signed })
    }

    /// All sections in order of their headers.
    pub fn sections(&self) -> &[SectionInfo] {
        &self.sections
    }

    /// What the section of this name holds, without what pads it in the file.
    pub fn section(&self, name: &str) -> Option<&'a [u8]> {
        self.contents().find(|(known, _)| *known == name).map(|(_, data)| data)
    }

    /// Each section by name with what it holds, as [`Uki::section`] gives it, in the order of their
    /// headers: also those whose name another one has.
    pub fn contents(&self) -> impl Iterator<Item = (&str, &'a [u8])> {
        self.sections.iter().filter_map(|section| {
            let data = self.bytes.get(section.file.clone())?;
            let size = usize::try_from(section.virtual_size).ok()?;
            Some((section.name.as_str(), data.get(..size).unwrap_or(data)))
        })
    }

    /// A section that holds text, such as `.cmdline`, without the NUL that may end it.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        let text = std::str::from_utf8(self.section(name)?).ok()?;
        Some(text.trim_end_matches('\0'))
    }

    /// The machine that it is for, by the number of the headers.
    pub fn machine(&self) -> u16 {
        self.machine
    }

    /// Whether there is a certificate table. What it says is not checked.
    pub fn is_signed(&self) -> bool {
        self.signed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::pe::tests::{stub, stub_with};
    use super::*;

    const PARTS: [Section<'_>; 5] = [
        Section { name: ".osrel", data: b"ID=orlop\n" },
        Section { name: ".cmdline", data: b"panic=5 ro" },
        Section { name: ".uname", data: b"6.12" },
        Section { name: ".linux", data: &[7; 5000] },
        Section { name: ".initrd", data: &[8; 512] },
    ];

    #[test]
    fn sections_are_added_in_order_on_pages_and_read_back() {
        let stub = stub();
        let image = add_sections(&stub, &PARTS).unwrap();
        let uki = Uki::parse(&image).unwrap();
        let listing: Vec<_> = uki
            .sections()
            .iter()
            .map(|section| (section.name.as_str(), section.virtual_address, section.virtual_size))
            .collect();
        assert_eq!(
            listing,
            [
                (".text", 0x1000, 0x20),
                (".sdmagic", 0x2000, 0x10),
                (".osrel", 0x3000, 9),
                (".cmdline", 0x4000, 10),
                (".uname", 0x5000, 4),
                (".linux", 0x6000, 5000),
                (".initrd", 0x8000, 512),
            ]
        );
        for part in PARTS {
            assert_eq!(uki.section(part.name), Some(part.data));
        }
        let whole = Sections {
            osrel: PARTS[0].data,
            cmdline: PARTS[1].data,
            uname: PARTS[2].data,
            linux: PARTS[3].data,
            initrd: PARTS[4].data,
        };
        assert!(build(&stub, &whole).as_ref() == Ok(&image));
        assert_eq!(uki.text(".cmdline"), Some("panic=5 ro"));
        assert_eq!(uki.section(".pad"), None);
        assert!(image.len().is_multiple_of(512));
        assert!(add_sections(&stub, &PARTS) == Ok(image), "same inputs, same bytes");
    }

    #[test]
    fn a_symbol_table_behind_the_sections_is_cut_off() {
        let mut with_symbols = stub();
        let plain = add_sections(&with_symbols, &PARTS).unwrap();
        // COFF header: pointer to the symbols, and their number.
        let end = u32::try_from(with_symbols.len()).unwrap();
        with_symbols[0x4C..0x50].copy_from_slice(&end.to_le_bytes());
        with_symbols[0x50..0x54].copy_from_slice(&2_u32.to_le_bytes());
        with_symbols.extend([0xAA; 40]);
        assert!(add_sections(&with_symbols, &PARTS) == Ok(plain));
    }

    #[test]
    fn padding_gives_the_exact_size_and_keeps_all_sections() {
        let mut image = add_sections(&stub(), &PARTS).unwrap();
        let before = image.clone();
        let mut bare = image.clone();
        let zeros = announce_padding(&mut bare, 65_536).unwrap();
        pad_to(&mut image, 65_536).unwrap();
        assert_eq!(image.len(), 65_536);
        assert_eq!((bare.len(), zeros), (before.len(), (65_536 - before.len()) as u64));
        assert!(image.starts_with(&bare) && bare != before);
        let uki = Uki::parse(&image).unwrap();
        for part in PARTS {
            assert_eq!(uki.section(part.name), Some(part.data));
        }
        let pad = uki.section(".pad").unwrap();
        assert_eq!(pad.len(), 65_536 - before.len());
        assert!(pad.iter().all(|byte| *byte == 0));
        let padded = image.clone();
        pad_to(&mut image, 65_536).unwrap();
        assert!(image == padded, "already of this size");
    }

    #[test]
    fn what_cannot_be_padded_is_left_alone() {
        let image = add_sections(&stub(), &PARTS).unwrap();
        let size = image.len() as u64;
        let refused = |mut image: Vec<u8>, target| {
            let before = image.clone();
            let error = pad_to(&mut image, target).unwrap_err();
            assert!(image == before);
            error
        };
        let target = size - 512;
        assert_eq!(refused(image.clone(), target), UkiError::LargerThanTarget { size, target });
        let target = size + 1;
        let alignment = 512;
        assert_eq!(refused(image.clone(), target), UkiError::UnalignedTarget { target, alignment });
        let mut signed = image.clone();
        signed[0xE8..0xF0].copy_from_slice(&[1; 8]);
        assert_eq!(refused(signed, size + 512), UkiError::Signed);
        let mut tail = image;
        tail.push(0);
        let error = UkiError::Damaged("bytes behind the last section");
        assert_eq!(refused(tail, size + 1024), error);
    }

    #[test]
    fn a_stub_without_room_for_headers_is_refused() {
        // 0x200 bytes of headers hold two sections and two more.
        let stub = stub_with(0x200);
        assert!(add_sections(&stub, &PARTS[..2]).is_ok());
        let error = UkiError::NoHeaderRoom { free: 2, needed: 5 };
        assert_eq!(add_sections(&stub, &PARTS), Err(error));
    }

    #[test]
    fn names_that_are_long_or_taken_are_refused() {
        for name in ["", ".ninebyte", ".text", ".ä"] {
            let error = UkiError::SectionName(name.to_owned());
            assert_eq!(add_sections(&stub(), &[Section { name, data: b"x" }]), Err(error));
        }
        let twice = [Section { name: ".a", data: b"x" }; 2];
        assert_eq!(add_sections(&stub(), &twice), Err(UkiError::SectionName(".a".to_owned())));
    }

    #[test]
    fn a_signed_stub_is_refused() {
        let mut stub = stub();
        stub[0xE8..0xF0].copy_from_slice(&[1; 8]);
        assert!(Uki::parse(&stub).unwrap().is_signed());
        assert_eq!(add_sections(&stub, &PARTS), Err(UkiError::Signed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..1024)) {
            prop_assert!(Uki::parse(&bytes).is_err());
        }

        #[test]
        fn changed_headers_do_not_make_anything_panic(
            changes in prop::collection::vec((0_usize..0x1D0, any::<u8>()), 1..6),
        ) {
            let mut image = stub();
            for (at, value) in changes {
                image[at] = value;
            }
            if let Ok(uki) = Uki::parse(&image) {
                for section in uki.sections() {
                    uki.section(&section.name);
                }
            }
            drop(add_sections(&image, &PARTS));
            drop(pad_to(&mut image, 8192));
        }

        #[test]
        fn any_sections_read_back(data in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6000), 0..6)) {
            let names = [".a", ".b", ".c", ".d", ".e", ".f"];
            let sections: Vec<_> =
                names.into_iter().zip(&data).map(|(name, data)| Section { name, data }).collect();
            let image = add_sections(&stub(), &sections).unwrap();
            let uki = Uki::parse(&image).unwrap();
            for section in sections {
                prop_assert_eq!(uki.section(section.name), Some(section.data));
            }
        }
    }
}
