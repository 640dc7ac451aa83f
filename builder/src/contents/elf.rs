//! What Go's linker wrote into an ELF file. Only what is looked at is held: kubelet has 60 MB.

use std::io::{self, Read, Seek};

use formats::go_build_info::{BuildInfo, BuildInfoError, Memory};
use object::elf::{FileHeader32, FileHeader64, PF_W, PF_X, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader as _, SectionHeader as _};
use object::{Endianness, FileKind, ReadCache, ReadRef};

/// The section that a linker of today puts it into; before, it was at the beginning of what can be
/// written.
const SECTION: &[u8] = b".go.buildinfo";

/// So many sections are looked at: a linked program has some forty, and the name of each is kept.
const MOST_SECTIONS: usize = 10_000;

/// What a file says of its making: `None` if it is no program of Go's. What begins as ELF and goes
/// on as something else is none.
///
/// # Errors
/// What reading it fails with. The inner ones are those of [`BuildInfo::find`].
pub fn go(mut content: impl Read + Seek) -> io::Result<Result<Option<BuildInfo>, BuildInfoError>> {
    let mut start = Vec::new();
    (&mut content).take(4).read_to_end(&mut start)?;
    if start != *b"\x7fELF" {
        return Ok(Ok(None));
    }
    let cache = ReadCache::new(content);
    let found = match FileKind::parse(&cache) {
        Ok(FileKind::Elf64) => Image::of::<FileHeader64<Endianness>>(&cache),
        Ok(FileKind::Elf32) => Image::of::<FileHeader32<Endianness>>(&cache),
        _ => None,
    };
    Ok(found.map_or(Ok(None), |image| BuildInfo::find(&image)))
}

/// An ELF file as it lies in memory.
struct Image<'c, C: Read + Seek> {
    content: &'c ReadCache<C>,
    data: Option<(u64, u64)>,
    /// Address, and place in the file, of each loaded segment.
    segments: Vec<Segment>,
}

struct Segment {
    address: u64,
    offset: u64,
    size: u64,
}

impl<'c, C: Read + Seek> Image<'c, C> {
    fn of<H: FileHeader<Endian = Endianness>>(content: &'c ReadCache<C>) -> Option<Self> {
        let header = H::parse(content).ok()?;
        let endian = header.endian().ok()?;
        let (mut segments, mut writable) = (Vec::new(), None);
        for segment in header.program_headers(endian, content).ok()? {
            let (address, size) = (segment.p_vaddr(endian).into(), segment.p_filesz(endian).into());
            segments.push(Segment { address, offset: segment.p_offset(endian).into(), size });
            let loaded = segment.p_type(endian) == PT_LOAD;
            if loaded && segment.p_flags(endian) & (PF_X | PF_W) == PF_W {
                writable.get_or_insert((address, size));
            }
        }
        let sections = header.sections(endian, content).ok()?;
        let named = sections.iter().take(MOST_SECTIONS).find(|section| {
            sections.section_name(endian, *section).is_ok_and(|name| name == SECTION)
        });
        let place = |section: &H::SectionHeader| {
            (section.sh_addr(endian).into(), section.sh_size(endian).into())
        };
        Some(Self { content, data: named.map(place).or(writable), segments })
    }
}

impl<C: Read + Seek> Memory for Image<'_, C> {
    fn data(&self) -> Option<(u64, u64)> {
        self.data
    }

    fn read(&self, address: u64, size: u64) -> &[u8] {
        let read = |segment: &Segment| {
            let at = address.checked_sub(segment.address).filter(|at| *at < segment.size)?;
            let offset = segment.offset.checked_add(at)?;
            self.content.read_bytes_at(offset, size.min(segment.size - at)).ok()
        };
        self.segments.iter().find_map(read).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::process::Command;

    fn read(content: &[u8]) -> Result<Option<BuildInfo>, BuildInfoError> {
        go(Cursor::new(content)).unwrap()
    }

    #[test]
    fn go_itself_agrees_on_what_is_in_its_programs() {
        let root = Command::new("go").args(["env", "GOROOT"]).run().expect("install Go");
        let bin = Path::new(String::from_utf8(root).unwrap().trim()).join("bin");
        for name in ["go", "gofmt"] {
            let program = bin.join(name);
            let judged = Command::new("go").args(["version", "-m"]).arg(&program).run().unwrap();
            let judged = String::from_utf8(judged).unwrap();
            let info = read(&std::fs::read(&program).unwrap()).unwrap().unwrap();
            assert_eq!(format!("{}: {info}", program.display()), judged);
            assert!(info.path.starts_with("cmd/"), "{info}");
        }
    }

    #[test]
    fn other_programs_and_files_are_none_of_gos() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for content in [&own[..], &own[..100_000], b"", b"\x7fELF", b"\x7fELF\x02\x01\x01", b"#!/x"]
        {
            assert_eq!(read(content), Ok(None), "{}", content.len());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_something(bytes in any::<Vec<u8>>(), wide in any::<bool>()) {
            let _ = read(&bytes);
            let start: &[u8] = if wide { b"\x7fELF\x02\x01\x01" } else { b"\x7fELF\x01\x01\x01" };
            let _ = read(&[start, &bytes].concat());
        }
    }
}
