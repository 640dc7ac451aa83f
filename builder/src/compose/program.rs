//! What a file of the root is, by its content: a script, a program with what it needs, or data.
//!
//! Only what is looked at is held: a program may be larger than all that a build needs otherwise.

use std::error::Error;
use std::io::{self, Read, Seek};

use object::elf::{DT_NEEDED, FileHeader32, FileHeader64, PT_INTERP};
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::{Endianness, FileKind, ReadCache, ReadRef};

/// What a file's content says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Neither ELF nor script.
    Data,
    /// `#!` and the interpreter.
    Script(String),
    /// ELF: the dynamic linker if there is one, and the libraries that it asks for.
    Elf {
        /// `PT_INTERP`.
        linker: Option<String>,
        /// `DT_NEEDED`, in order.
        needed: Vec<String>,
    },
    /// It begins as ELF, and this is wrong with it.
    Damaged(String),
}

/// Linux `BINPRM_BUF_SIZE`: how much of a script's first line the kernel looks at.
const SCRIPT_LINE: u64 = 256;

impl Program {
    /// Looks at a file, whose position is at its beginning.
    ///
    /// # Errors
    /// What reading it fails with.
    pub fn of(mut content: impl Read + Seek) -> io::Result<Self> {
        let mut start = Vec::new();
        (&mut content).take(SCRIPT_LINE).read_to_end(&mut start)?;
        if let Some(script) = start.strip_prefix(b"#!") {
            let line = script.split(|byte| *byte == b'\n').next().unwrap_or_default();
            return Ok(Self::Script(String::from_utf8_lossy(line).trim().to_owned()));
        }
        if !start.starts_with(b"\x7fELF") {
            return Ok(Self::Data);
        }
        let cache = ReadCache::new(content);
        let program = match FileKind::parse(&cache) {
            Ok(FileKind::Elf64) => elf::<FileHeader64<Endianness>, _>(&cache),
            Ok(FileKind::Elf32) => elf::<FileHeader32<Endianness>, _>(&cache),
            Ok(_) => return Ok(Self::Damaged("it is neither of 32 nor of 64 bits".to_owned())),
            Err(error) => Err(error.into()),
        };
        Ok(program.unwrap_or_else(|error| Self::Damaged(error.to_string())))
    }
}

fn elf<'data, H, R>(content: R) -> Result<Program, Box<dyn Error>>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = H::parse(content)?;
    let endian = header.endian()?;
    let mut linker = None;
    for segment in header.program_headers(endian, content)? {
        if segment.p_type(endian) == PT_INTERP {
            let path = segment.data(endian, content);
            let path = path.map_err(|()| "the name of its linker is not in it")?;
            linker = Some(String::from_utf8_lossy(path).trim_end_matches('\0').to_owned());
        }
    }
    let sections = header.sections(endian, content)?;
    let mut needed = Vec::new();
    if let Some((entries, strings)) = sections.dynamic(endian, content)? {
        let strings = sections.strings(endian, content, strings)?;
        for entry in entries.iter().filter(|entry| entry.tag32(endian) == Some(DT_NEEDED)) {
            let name = entry.val32(endian).and_then(|at| strings.get(at).ok());
            let name = name.ok_or("the name of a library is not in it")?;
            needed.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    Ok(Program::Elf { linker, needed })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn program(content: &[u8]) -> Program {
        Program::of(Cursor::new(content)).unwrap()
    }

    #[test]
    fn the_first_bytes_tell_programs_apart() {
        assert_eq!(program(b""), Program::Data);
        assert_eq!(program(b"text"), Program::Data);
        assert_eq!(program(b"#! /bin/sh -e\nx"), Program::Script("/bin/sh -e".into()));
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let Program::Elf { linker, needed } = program(&own) else { panic!("ELF expected") };
        assert!(linker.unwrap().contains("ld-linux"));
        assert!(needed.iter().any(|library| library.starts_with("libc.so")));
    }

    #[test]
    fn what_only_begins_as_elf_is_damaged() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        for content in [&b"\x7fELF"[..], b"\x7fELF\x02\x01\x01", b"\x7fELF\x09", &own[..100_000]] {
            assert!(matches!(program(content), Program::Damaged(_)), "{}", content.len());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_something(bytes in any::<Vec<u8>>(), wide in any::<bool>()) {
            program(&bytes);
            let start: &[u8] = if wide { b"\x7fELF\x02\x01\x01" } else { b"\x7fELF\x01\x01\x01" };
            program(&[start, &bytes].concat());
        }
    }
}
