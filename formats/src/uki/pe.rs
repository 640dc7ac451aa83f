//! The headers of a PE32+ file: as much as it takes to add sections.

use super::{Section, SectionInfo, UkiError};
use crate::le::{array_at, put, u16_at, u32_at};

const SECTION_HEADER: usize = 40;
const COFF_HEADER: usize = 24;
/// Sections that we add begin on a page, also where an older stub asks for less: systemd 252 has
/// 0x200.
const PAGE: u32 = 0x1000;
/// Initialised data, readable. `.linux` too: the stub hands it to the firmware as a file and never
/// executes it in place.
const READABLE_DATA: u32 = 0x4000_0040;
/// Offsets in the optional header of PE32+.
mod optional {
    pub(super) const MAGIC: usize = 0;
    pub(super) const SIZE_OF_INITIALIZED_DATA: usize = 8;
    pub(super) const SECTION_ALIGNMENT: usize = 32;
    pub(super) const FILE_ALIGNMENT: usize = 36;
    pub(super) const SIZE_OF_IMAGE: usize = 56;
    pub(super) const SIZE_OF_HEADERS: usize = 60;
    pub(super) const CHECKSUM: usize = 64;
    pub(super) const SUBSYSTEM: usize = 68;
    pub(super) const DIRECTORIES: usize = 108;
    pub(super) const CERTIFICATES: usize = 112 + 4 * 8;
}

/// The headers of a file. Every section's bytes lie inside the file.
pub(super) struct Headers {
    /// Where `PE\0\0` stands.
    start: usize,
    machine: u16,
    optional_size: usize,
    section_alignment: u32,
    file_alignment: u32,
    headers_size: usize,
    initialized_data: u32,
    certificates: u64,
    symbols: [u8; 8],
    sections: Vec<[u8; SECTION_HEADER]>,
    /// Sections that were read; [`Headers::append`] adds the others.
    old_sections: usize,
}

impl Headers {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, UkiError> {
        let cut = || UkiError::Damaged("they are cut off");
        if !bytes.starts_with(b"MZ") {
            return Err(UkiError::NotEfi("no MZ header"));
        }
        let start = u32_at(bytes, 0x3C).ok_or(UkiError::NotEfi("no PE header"))? as usize;
        if array_at(bytes, start) != Some(*b"PE\0\0") {
            return Err(UkiError::NotEfi("no PE header"));
        }
        let coff = |at| u16_at(bytes, start + at).map(usize::from).ok_or_else(cut);
        let (count, optional_size) = (coff(6)?, coff(20)?);
        let machine = u16_at(bytes, start + 4).ok_or_else(cut)?;
        let symbols = array_at(bytes, start + 12).ok_or_else(cut)?;
        let optional_start = start + COFF_HEADER;
        let optional = bytes.get(optional_start..optional_start + optional_size).ok_or_else(cut)?;
        if u16_at(optional, optional::MAGIC) != Some(0x20B) {
            return Err(UkiError::NotEfi("it is not PE32+"));
        }
        // 10 is a program; drivers have 11 and 12.
        if u16_at(optional, optional::SUBSYSTEM) != Some(10) {
            return Err(UkiError::NotEfi("its subsystem is another one"));
        }
        let field = |at| u32_at(optional, at).ok_or_else(cut);
        let directories = field(optional::DIRECTORIES)?;
        let certificates = match directories {
            0..=4 => 0,
            _ => {
                let bytes = array_at(optional, optional::CERTIFICATES).ok_or_else(cut)?;
                u64::from_le_bytes(bytes)
            }
        };
        let (section_alignment, file_alignment) =
            (field(optional::SECTION_ALIGNMENT)?, field(optional::FILE_ALIGNMENT)?);
        if !section_alignment.is_power_of_two()
            || !file_alignment.is_power_of_two()
            || !(512..=65_536).contains(&file_alignment)
            || section_alignment < file_alignment
        {
            return Err(UkiError::Damaged("the alignments are not usable"));
        }
        let table = optional_start + optional_size;
        let sections = (0..count)
            .map(|at| array_at(bytes, table + at * SECTION_HEADER).ok_or_else(cut))
            .collect::<Result<Vec<_>, _>>()?;
        let headers = Self {
            start,
            machine,
            optional_size,
            section_alignment,
            file_alignment,
            headers_size: field(optional::SIZE_OF_HEADERS)? as usize,
            initialized_data: field(optional::SIZE_OF_INITIALIZED_DATA)?,
            certificates,
            symbols,
            old_sections: sections.len(),
            sections,
        };
        headers.check(bytes.len())?;
        Ok(headers)
    }

    fn check(&self, file_size: usize) -> Result<(), UkiError> {
        let table_end = self.table() + self.sections.len() * SECTION_HEADER;
        if table_end > self.headers_size || self.headers_size > file_size {
            return Err(UkiError::Damaged("the section headers do not fit"));
        }
        for section in &self.sections {
            let (start, size) = (raw_start(section), raw_size(section));
            let end = start.checked_add(size).ok_or(UkiError::Damaged("a section has no end"))?;
            if size > 0 && (start < self.headers_size || end > file_size) {
                return Err(UkiError::Damaged("a section lies outside the file"));
            }
            if address(section).checked_add(virtual_size(section)).is_none() {
                return Err(UkiError::Damaged("a section has no end in memory"));
            }
        }
        Ok(())
    }

    pub(super) fn sections(&self) -> Vec<SectionInfo> {
        let sections = self.sections.iter();
        sections
            .map(|section| SectionInfo {
                name: name(section),
                virtual_address: address(section),
                virtual_size: virtual_size(section),
                file: raw_start(section)..raw_start(section) + raw_size(section),
            })
            .collect()
    }

    pub(super) fn machine(&self) -> u16 {
        self.machine
    }

    pub(super) fn is_signed(&self) -> bool {
        self.certificates != 0
    }

    pub(super) fn file_alignment(&self) -> u32 {
        self.file_alignment
    }

    /// Where the last section ends in the file.
    pub(super) fn file_end(&self) -> usize {
        let ends = self.sections.iter().map(|section| raw_start(section) + raw_size(section));
        ends.max().unwrap_or(0).max(self.headers_size)
    }

    /// Clears the pointer to the COFF symbols and their number.
    pub(super) fn forget_symbols(&mut self) {
        self.symbols = [0; 8];
    }

    /// Adds the bytes of `sections` to `image`, and remembers their headers for
    /// [`Headers::write`].
    pub(super) fn append(
        &mut self,
        image: &mut Vec<u8>,
        sections: &[Section<'_>],
    ) -> Result<(), UkiError> {
        let sizes: Vec<_> = sections.iter().map(|one| (one.name, one.data.len())).collect();
        let file_end = self.announce(image.len(), &sizes)?;
        for section in sections {
            let start = self.aligned_in_file(image.len())? as usize;
            image.resize(start, 0);
            image.extend(section.data);
        }
        image.resize(file_end, 0);
        Ok(())
    }

    /// Remembers the headers of sections, by name and size, that stand behind the first `length`
    /// bytes of the file. Returns where the last one ends there.
    pub(super) fn announce(
        &mut self,
        length: usize,
        sections: &[(&str, usize)],
    ) -> Result<usize, UkiError> {
        if self.is_signed() {
            return Err(UkiError::Signed);
        }
        let used = self.table() + self.sections.len() * SECTION_HEADER;
        // Headers that reach into the first section's bytes would overwrite it.
        let first = self.sections.iter().filter(|section| raw_size(section) > 0).map(raw_start);
        let room = first.min().unwrap_or(self.headers_size).min(self.headers_size);
        let free = room.saturating_sub(used) / SECTION_HEADER;
        if free < sections.len() {
            return Err(UkiError::NoHeaderRoom { free, needed: sections.len() });
        }
        // All checks before the first change, so that an error leaves the image as it was.
        let mut headers = Vec::new();
        let mut initialized_data = self.initialized_data;
        let mut file_end = self.aligned_in_file(length)?;
        let alignment = self.section_alignment.max(PAGE);
        let mut memory_end =
            self.memory_end()?.checked_next_multiple_of(alignment).ok_or(UkiError::TooLarge)?;
        for (new, length) in sections {
            let mut header = [0; SECTION_HEADER];
            let taken = self.sections.iter().chain(&headers).any(|old| name(old) == *new);
            if !matches!(new.len(), 1..=8) || !new.is_ascii() || taken {
                return Err(UkiError::SectionName((*new).to_owned()));
            }
            let size = u32::try_from(*length).map_err(|_| UkiError::TooLarge)?;
            let raw = self.aligned_in_file(*length)?;
            header[..new.len()].copy_from_slice(new.as_bytes());
            put(&mut header, 8, size.to_le_bytes());
            put(&mut header, 12, memory_end.to_le_bytes());
            put(&mut header, 16, raw.to_le_bytes());
            put(&mut header, 20, if raw == 0 { [0; 4] } else { file_end.to_le_bytes() });
            put(&mut header, 36, READABLE_DATA.to_le_bytes());
            headers.push(header);
            file_end = file_end.checked_add(raw).ok_or(UkiError::TooLarge)?;
            // An empty section still has a page, so that no two have one address.
            memory_end = memory_end
                .checked_add(size.max(1))
                .and_then(|end| end.checked_next_multiple_of(alignment))
                .ok_or(UkiError::TooLarge)?;
            initialized_data = initialized_data.checked_add(raw).ok_or(UkiError::TooLarge)?;
        }
        self.sections.extend(headers);
        self.initialized_data = initialized_data;
        Ok(file_end as usize)
    }

    /// Writes what has changed over the headers of `image`.
    pub(super) fn write(&self, image: &mut [u8]) -> Result<(), UkiError> {
        let size_of_image = self.memory_end()?;
        let (header, optional) = (self.start, self.start + COFF_HEADER);
        // A count that came from 16 bits plus what there was room for.
        let count = u16::try_from(self.sections.len()).map_err(|_| UkiError::TooLarge)?;
        put(image, header + 6, count.to_le_bytes());
        put(image, header + 12, self.symbols);
        let data = self.initialized_data.to_le_bytes();
        put(image, optional + optional::SIZE_OF_INITIALIZED_DATA, data);
        put(image, optional + optional::SIZE_OF_IMAGE, size_of_image.to_le_bytes());
        put(image, optional + optional::CHECKSUM, [0; 4]);
        for (at, section) in self.sections.iter().enumerate().skip(self.old_sections) {
            put(image, self.table() + at * SECTION_HEADER, *section);
        }
        Ok(())
    }

    /// Where the section headers begin.
    fn table(&self) -> usize {
        self.start + COFF_HEADER + self.optional_size
    }

    /// The first free address behind all sections.
    fn memory_end(&self) -> Result<u32, UkiError> {
        let ends = self.sections.iter().map(|section| address(section) + virtual_size(section));
        let headers = u32::try_from(self.headers_size).map_err(|_| UkiError::TooLarge)?;
        let end = ends.max().unwrap_or(0).max(headers);
        end.checked_next_multiple_of(self.section_alignment).ok_or(UkiError::TooLarge)
    }

    fn aligned_in_file(&self, size: usize) -> Result<u32, UkiError> {
        let size = u32::try_from(size).map_err(|_| UkiError::TooLarge)?;
        size.checked_next_multiple_of(self.file_alignment).ok_or(UkiError::TooLarge)
    }
}

fn name(header: &[u8; SECTION_HEADER]) -> String {
    let name = header[..8].split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

fn virtual_size(header: &[u8; SECTION_HEADER]) -> u32 {
    u32_at(header, 8).unwrap_or(0)
}

fn address(header: &[u8; SECTION_HEADER]) -> u32 {
    u32_at(header, 12).unwrap_or(0)
}

fn raw_size(header: &[u8; SECTION_HEADER]) -> usize {
    u32_at(header, 16).unwrap_or(0) as usize
}

fn raw_start(header: &[u8; SECTION_HEADER]) -> usize {
    u32_at(header, 20).unwrap_or(0) as usize
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A small program with two sections, headers of 0x400 bytes.
    pub(crate) fn stub() -> Vec<u8> {
        stub_with(0x400)
    }

    /// The same with so many bytes of headers.
    pub(in super::super) fn stub_with(headers: usize) -> Vec<u8> {
        let mut bytes = vec![0; headers + 0x400];
        put(&mut bytes, 0, *b"MZ");
        let start = 0x40;
        put(&mut bytes, 0x3C, 0x40_u32.to_le_bytes());
        put(&mut bytes, start, *b"PE\0\0");
        put(&mut bytes, start + 4, 0x8664_u16.to_le_bytes());
        put(&mut bytes, start + 6, 2_u16.to_le_bytes());
        put(&mut bytes, start + 20, 0xF0_u16.to_le_bytes());
        put(&mut bytes, start + 22, 0x22E_u16.to_le_bytes());
        let optional = start + COFF_HEADER;
        put(&mut bytes, optional, 0x20B_u16.to_le_bytes());
        let mut field = |at: usize, value: u32| put(&mut bytes, optional + at, value.to_le_bytes());
        field(optional::SIZE_OF_INITIALIZED_DATA, 0x200);
        field(16, 0x1000);
        field(20, 0x1000);
        field(optional::SECTION_ALIGNMENT, 0x1000);
        field(optional::FILE_ALIGNMENT, 0x200);
        field(optional::SIZE_OF_IMAGE, 0x3000);
        field(optional::SIZE_OF_HEADERS, u32::try_from(headers).unwrap());
        field(optional::CHECKSUM, 0xDEAD);
        field(optional::SUBSYSTEM, 10);
        field(optional::DIRECTORIES, 16);
        let table = optional + 0xF0;
        for (at, name, size) in [(0_u32, *b".text\0\0\0", 0x20_u32), (1, *b".sdmagic", 0x10)] {
            let header = table + at as usize * SECTION_HEADER;
            put(&mut bytes, header, name);
            put(&mut bytes, header + 8, size.to_le_bytes());
            put(&mut bytes, header + 12, (0x1000 + at * 0x1000).to_le_bytes());
            put(&mut bytes, header + 16, 0x200_u32.to_le_bytes());
            let raw = u32::try_from(headers).unwrap() + at * 0x200;
            put(&mut bytes, header + 20, raw.to_le_bytes());
            put(&mut bytes, header + 36, 0x6000_0020_u32.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn sizes_in_the_headers_follow_the_sections() {
        let image = super::super::add_sections(&stub(), &[Section { name: ".a", data: &[1; 700] }]);
        let image = image.unwrap();
        let field = |at| u32_at(&image, 0x40 + COFF_HEADER + at).unwrap();
        assert_eq!(field(optional::SIZE_OF_IMAGE), 0x4000);
        assert_eq!(field(optional::SIZE_OF_INITIALIZED_DATA), 0x200 + 0x400);
        assert_eq!(field(optional::CHECKSUM), 0);
        assert_eq!(u16_at(&image, 0x46), Some(3));
        assert_eq!(image.len(), 0x800 + 0x400);
    }

    #[test]
    fn what_is_no_efi_program_says_why() {
        let parse = |at: usize, value: u8| {
            let mut bytes = stub();
            bytes[at] = value;
            Headers::parse(&bytes).err()
        };
        assert_eq!(parse(0, 0), Some(UkiError::NotEfi("no MZ header")));
        assert_eq!(parse(0x40, 0), Some(UkiError::NotEfi("no PE header")));
        assert_eq!(parse(0x59, 1), Some(UkiError::NotEfi("it is not PE32+")));
        assert_eq!(parse(0x58 + 68, 3), Some(UkiError::NotEfi("its subsystem is another one")));
        let aligned = UkiError::Damaged("the alignments are not usable");
        assert_eq!(parse(0x58 + 36, 3), Some(aligned));
        let outside = UkiError::Damaged("a section lies outside the file");
        assert_eq!(parse(0x58 + 0xF0 + 18, 1), Some(outside));
        assert_eq!(parse(0x46, 20), Some(UkiError::Damaged("the section headers do not fit")));
    }
}
