//! systemd-boot as a file: which version it is, and whether it is signed. The marker is that which
//! bootctl(1) goes by, in the section `.sdmagic`.

use crate::architecture::Architecture;
use crate::deb::Version;
use crate::uki::{Uki, UkiError};

/// Where an image has the boot loader that a disk of it begins with.
pub const IN_IMAGE: &str = "/usr/lib/orlop/systemd-boot.efi";

const MARK: &str = "#### LoaderInfo: systemd-boot ";
const END: &str = " ####";
/// No version is longer.
const LONGEST: usize = 128;

/// The program is not the boot loader.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootLoaderError {
    /// It is no program of EFI.
    #[error(transparent)]
    Program(#[from] UkiError),
    /// It is a program of EFI for other processors.
    #[error("it is not for {0}")]
    Machine(Architecture),
    /// It has no marker.
    #[error("it is not systemd-boot")]
    Other,
}

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootLoader {
    /// Its version, as its packager has it.
    pub version: String,
    /// Whether it has a certificate table. What that says is not checked.
    pub signed: bool,
}

impl BootLoader {
    /// Reads a file for machines of this architecture.
    ///
    /// # Errors
    /// See [`BootLoaderError`].
    pub fn parse(file: &[u8], architecture: Architecture) -> Result<Self, BootLoaderError> {
        let program = Uki::parse(file)?;
        if program.machine() != architecture.pe_machine() {
            return Err(BootLoaderError::Machine(architecture));
        }
        let text = program.section(".sdmagic").and_then(version).or_else(|| version(file));
        let version = text.ok_or(BootLoaderError::Other)?.to_owned();
        Ok(Self { version, signed: program.is_signed() })
    }

    /// Whether this one is older than another. `None` if a version is none that can be compared.
    pub fn is_older(&self, other: &Self) -> Option<bool> {
        let own: Version = self.version.parse().ok()?;
        Some(own < other.version.parse().ok()?)
    }
}

/// The version behind the first marker.
fn version(bytes: &[u8]) -> Option<&str> {
    let at = bytes.windows(MARK.len()).position(|window| window == MARK.as_bytes())?;
    let rest = bytes.get(at + MARK.len()..)?;
    let rest = rest.get(..LONGEST.min(rest.len()))?;
    let end = rest.windows(END.len()).position(|window| window == END.as_bytes())?;
    let text = std::str::from_utf8(rest.get(..end)?).ok()?;
    (!text.is_empty() && text.chars().all(|c| c.is_ascii_graphic())).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn loader(version: &str) -> BootLoader {
        BootLoader { version: version.to_owned(), signed: false }
    }

    #[test]
    fn the_version_is_that_of_the_marker() {
        for (text, want) in [
            ("..#### LoaderInfo: systemd-boot 257.13-1~deb13u1 ####\0", Some("257.13-1~deb13u1")),
            ("#### LoaderInfo: systemd-boot 258~rc1 ####", Some("258~rc1")),
            ("#### LoaderInfo: systemd-boot  ####", None),
            ("#### LoaderInfo: systemd-boot 257", None),
            ("#### LoaderInfo: systemd-stub 257 ####", None),
            ("#### LoaderInfo: systemd-boot two words ####", None),
            ("", None),
        ] {
            assert_eq!(version(text.as_bytes()), want, "{text}");
        }
        let long = format!("{MARK}{}{END}", "7".repeat(LONGEST));
        assert_eq!(version(long.as_bytes()), None);
    }

    #[test]
    fn versions_are_in_the_order_of_their_packager() {
        for (own, other, want) in [
            ("257.13-1~deb13u1", "257.13-1", Some(true)),
            ("257.13-1", "257.13-1~deb13u1", Some(false)),
            ("257.9", "257.13", Some(true)),
            ("258~rc1", "258", Some(true)),
            ("257", "257", Some(false)),
            ("v257!", "257", None),
        ] {
            assert_eq!(loader(own).is_older(&loader(other)), want, "{own} {other}");
        }
    }

    #[test]
    fn what_is_something_else_is_told_from_it() {
        let said = |file: &[u8]| {
            BootLoader::parse(file, Architecture::Amd64).map_err(|error| error.to_string())
        };
        assert!(said(b"text").unwrap_err().starts_with("it is not a 64-bit EFI program"));
        let mut program = crate::uki::stub();
        assert_eq!(said(&program).unwrap_err(), "it is not systemd-boot");
        let marked = format!("{MARK}257{END}");
        program[0x400..0x400 + marked.len()].copy_from_slice(marked.as_bytes());
        assert_eq!(said(&program), Ok(loader("257")));
        let other = BootLoader::parse(&program, Architecture::Arm64);
        assert_eq!(other, Err(BootLoaderError::Machine(Architecture::Arm64)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = BootLoader::parse(&bytes, Architecture::Amd64);
            let _ = version(&bytes);
        }
    }
}
