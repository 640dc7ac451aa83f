//! GUIDs as GPT stores and people write them.

use std::fmt;
use std::str::FromStr;

/// A GUID in the bytes that stand on the disk: the first three groups of its text are
/// little-endian there, the last two are not (UEFI specification 2.10, appendix A).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid([u8; 16]);

/// Where the byte that comes N-th in the text stands on the disk.
const TEXT_ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl Guid {
    /// All zeros: the type of an unused entry.
    pub const ZERO: Self = Self([0; 16]);

    /// From the bytes on the disk.
    pub const fn from_disk_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes on the disk.
    pub const fn to_disk_bytes(self) -> [u8; 16] {
        self.0
    }

    /// From the bytes in the order of the text, which is how RFC 9562 and the `uuid` crate keep
    /// them.
    pub const fn from_uuid_bytes(bytes: [u8; 16]) -> Self {
        let mut disk = [0; 16];
        let mut at = 0;
        while at < 16 {
            disk[TEXT_ORDER[at]] = bytes[at];
            at += 1;
        }
        Self(disk)
    }

    /// The bytes in the order of the text.
    pub fn to_uuid_bytes(self) -> [u8; 16] {
        TEXT_ORDER.map(|at| self.0[at])
    }

    /// From the number whose 32 hexadecimal digits are those of the text, for constants.
    pub(crate) const fn from_text_digits(digits: u128) -> Self {
        Self::from_uuid_bytes(digits.to_be_bytes())
    }
}

impl fmt::Display for Guid {
    /// Lower case, as the kernel prints `PARTUUID` and `blkid` shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.to_uuid_bytes().iter().enumerate() {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a GUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a GUID: expected 8-4-4-4-12 hexadecimal digits")]
pub struct ParseGuidError(String);

impl FromStr for Guid {
    type Err = ParseGuidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseGuidError(text.to_owned());
        let groups: Vec<&str> = text.split('-').collect();
        if !groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) {
            return Err(error());
        }
        let digits = groups.concat();
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(error());
        }
        u128::from_str_radix(&digits, 16).map(Self::from_text_digits).map_err(|_| error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_mixed_endian_on_the_disk() {
        // The ESP's type, bytes as in the UEFI specification's own dump.
        let disk = [
            0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E,
            0xC9, 0x3B,
        ];
        let guid = Guid::from_disk_bytes(disk);
        assert_eq!(guid.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        assert_eq!("C12A7328-F81F-11D2-BA4B-00A0C93EC93B".parse(), Ok(guid));
        assert_eq!(Guid::from_uuid_bytes(guid.to_uuid_bytes()), guid);
    }

    #[test]
    fn what_is_not_a_guid_is_refused() {
        for text in [
            "",
            "c12a7328f81f11d2ba4b00a0c93ec93b",
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93",
            "g12a7328-f81f-11d2-ba4b-00a0c93ec93b",
            "+12a7328-f81f-11d2-ba4b-00a0c93ec93b",
            "äää2a7328-f81f-11d2-ba4b-00a0c93ec93b",
        ] {
            assert_eq!(text.parse::<Guid>(), Err(ParseGuidError(text.to_owned())));
        }
    }
}
