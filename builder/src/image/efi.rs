//! EFI programs on their way to the disk. What firmware will check must be padded before it is
//! signed, and is not touched afterwards, so each stage is a type and the disk takes the last:
//!
//! ```text
//! Made --pad--> Padded --sign--> Ready --> the disk
//! ```
//!
//! The boot loader has no size to keep: it comes as it is and is signed too. [`Unsigned`] is the
//! only [`Signer`] so far.

use std::fmt;

use formats::digest::{Hasher, Sha256};
use formats::uki::{self, UkiError};

use super::disk::{mib, roomy};
use crate::error::{Error, Id, Result};
use crate::recipe::model::Mib;

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The boot loader.
    Loader,
    /// The UKI.
    Uki,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loader => f.write_str("the boot loader"),
            Self::Uki => f.write_str("the UKI"),
        }
    }
}

/// Puts a signature into a program.
pub trait Signer: fmt::Debug {
    /// The bytes that a signature adds: the same for every program, and a multiple of 512, to
    /// which the parts of a program are aligned.
    fn room(&self) -> u64;

    /// The signed program.
    ///
    /// # Errors
    /// Those of the signer.
    fn sign(&self, program: Program, content: Content) -> Result<Content>;
}

/// A file that may end in many zeros, which are counted and not held: most of a UKI is padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    bytes: Vec<u8>,
    zeros: u64,
}

impl Content {
    /// A file without what is padded.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, zeros: 0 }
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64 + self.zeros
    }

    /// All but the zeros behind them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All of it.
    pub fn into_bytes(self) -> Vec<u8> {
        let Self { mut bytes, zeros } = self;
        bytes.resize(bytes.len() + usize::try_from(zeros).unwrap_or(usize::MAX), 0);
        bytes
    }

    /// Its digest.
    pub fn sha256(&self) -> Sha256 {
        const ZEROS: [u8; 4096] = [0; 4096];
        let mut hasher = Hasher::new();
        hasher.update(&self.bytes);
        let mut left = self.zeros;
        while left > 0 {
            let piece = left.min(ZEROS.len() as u64);
            hasher.update(&ZEROS[..usize::try_from(piece).unwrap_or(ZEROS.len())]);
            left -= piece;
        }
        hasher.finish()
    }
}

/// Leaves a program as it is.
#[derive(Debug, Clone, Copy)]
pub struct Unsigned;

impl Signer for Unsigned {
    fn room(&self) -> u64 {
        0
    }

    fn sign(&self, _: Program, content: Content) -> Result<Content> {
        Ok(content)
    }
}

/// A UKI as it was made of its parts.
#[derive(Debug, Clone)]
pub struct Made {
    bytes: Vec<u8>,
}

/// A program that nothing is added to but a signature.
#[derive(Debug, Clone)]
pub struct Padded {
    program: Program,
    content: Content,
}

/// A program as it will be on the disk, byte for byte.
#[derive(Debug, Clone)]
pub struct Ready(Content);

impl Made {
    /// The UKI in `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Pads it, so that with the signature of `signer` it has `size`, the one that all UKIs have.
    ///
    /// # Errors
    /// [`Id::UkiTooLarge`].
    pub fn pad(self, size: Mib, signer: &dyn Signer) -> Result<Padded> {
        let Self { mut bytes } = self;
        let program = Program::Uki;
        let has = bytes.len() as u64;
        let room = size.bytes().saturating_sub(signer.room());
        let zeros = uki::announce_padding(&mut bytes, room).map_err(|error| match error {
            UkiError::LargerThanTarget { .. } => {
                let needs = has + signer.room();
                let message = format!("{program} has {} and may have {size}", mib(needs));
                Error::new(Id::UkiTooLarge, message).hint(format!(
                    "raise `uki` in `[disk]`, for example to \"{}\", and `esp` to hold two of them",
                    roomy(needs)
                ))
            }
            UkiError::Signed => Error::new(
                Id::UkiTooLarge,
                format!("{program} is signed and was not padded to {size} before"),
            )
            .hint("pad, then sign: the padding must be part of what is signed"),
            error => Error::new(Id::Bug, format!("cannot pad {program}")).caused_by(error),
        })?;
        Ok(Padded { program, content: Content { bytes, zeros } })
    }
}

impl Padded {
    /// The boot loader.
    pub fn loader(bytes: Vec<u8>) -> Self {
        Self { program: Program::Loader, content: Content::new(bytes) }
    }

    /// Signs it.
    ///
    /// # Errors
    /// Those of `signer`; [`Id::Bug`] if the signature has another size than was said.
    pub fn sign(self, signer: &dyn Signer) -> Result<Ready> {
        let Self { program, content } = self;
        let wanted = content.size() + signer.room();
        let signed = signer.sign(program, content)?;
        if signed.size() == wanted {
            return Ok(Ready(signed));
        }
        let message = format!("{program} has {} bytes when signed, not {wanted}", signed.size());
        Err(Error::new(Id::Bug, message))
    }
}

impl Ready {
    /// The file.
    pub fn content(&self) -> &Content {
        &self.0
    }

    /// How many bytes it has.
    pub(super) fn size(&self) -> u64 {
        self.0.size()
    }
}

#[cfg(test)]
mod tests {
    use formats::uki::Uki;

    use super::*;
    use crate::image::tests::uki;

    /// Adds bytes that stand for a signature.
    #[derive(Debug)]
    struct Appends {
        says: u64,
        adds: usize,
    }

    impl Signer for Appends {
        fn room(&self) -> u64 {
            self.says
        }

        fn sign(&self, program: Program, content: Content) -> Result<Content> {
            let mut bytes = content.into_bytes();
            assert!(
                program == Program::Loader || Uki::parse(&bytes).unwrap().section(".pad").is_some()
            );
            bytes.resize(bytes.len() + self.adds, 0xAB);
            Ok(Content::new(bytes))
        }
    }

    #[test]
    fn a_signature_comes_after_the_padding_and_the_whole_has_the_one_size() {
        let made = || Made::new(uki(70_000));
        let size = Mib(2);
        let signer = Appends { says: 1536, adds: 1536 };
        let ready = made().pad(size, &signer).unwrap().sign(&signer).unwrap();
        assert_eq!(ready.size(), size.bytes());
        assert!(ready.content().bytes().ends_with(&[0xAB; 1536]));
        let plain = made().pad(size, &Unsigned).unwrap().sign(&Unsigned).unwrap();
        assert_eq!(plain.size(), size.bytes());
        let (size, digest) = (plain.size(), plain.content().sha256());
        let whole = plain.content().clone().into_bytes();
        assert!(whole.starts_with(b"MZ") && whole.ends_with(&[0; 1536]));
        assert_eq!((whole.len() as u64, Sha256::of(&whole)), (size, digest));
        assert!(plain.content().bytes().len() < 100_000, "the padding is not held");

        let loader = Padded::loader(vec![1; 1000]).sign(&signer).unwrap();
        assert_eq!(loader.content().bytes()[1000..], [0xAB; 1536]);
    }

    #[test]
    fn a_signature_of_another_size_than_was_planned_does_not_get_onto_a_disk() {
        let signer = Appends { says: 1024, adds: 1536 };
        let padded = Made::new(uki(4096)).pad(Mib(2), &signer).unwrap();
        let error = padded.sign(&signer).unwrap_err();
        assert_eq!(error.id(), Id::Bug);
        assert!(error.to_string().starts_with("the UKI has 2097664 bytes"), "{error}");
    }

    #[test]
    fn a_uki_beyond_its_size_names_the_key_to_raise() {
        let made = Made::new(uki(3 << 20));
        let error = made.pad(Mib(2), &Unsigned).unwrap_err();
        assert_eq!(error.id(), Id::UkiTooLarge);
        assert_eq!(error.to_string(), "the UKI has 3.1 MiB and may have 2 MiB");
        assert_eq!(
            error.hints(),
            ["raise `uki` in `[disk]`, for example to \"8 MiB\", and `esp` to hold two of them"]
        );
    }

    #[test]
    fn a_signed_uki_is_not_padded_behind_its_signature() {
        let mut bytes = uki(4096);
        bytes[0xE8..0xF0].copy_from_slice(&[1; 8]);
        let error = Made::new(bytes).pad(Mib(2), &Unsigned).unwrap_err();
        assert_eq!(error.id(), Id::UkiTooLarge);
        assert!(error.to_string().contains("signed"), "{error}");
    }
}
