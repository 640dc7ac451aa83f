//! Which entry was started: the EFI variables in which the loader and the stub of a UKI leave it
//! (<https://systemd.io/BOOT_LOADER_INTERFACE/>).

use super::{Name, Slot};

/// The variables that name the entry which was started, the surest first: what the stub was loaded
/// from, whoever has loaded it; the entry that the loader chose; what the firmware has loaded, which is
/// the UKI itself where there is no loader.
pub const VARIABLES: [&str; 3] =
    ["StubImageIdentifier", "LoaderEntrySelected", "LoaderImageIdentifier"];

/// Bytes of a variable that are read at most: a path on the EFI system partition is far shorter.
pub const LONGEST: u64 = 2048;

/// The slot that an entry starts. `path` is its name, with or without what stands before it; neither
/// FAT nor firmware tells capital letters from small ones.
pub fn slot(path: &str) -> Option<Slot> {
    let name = path.rsplit(['/', '\\']).next()?;
    name.to_ascii_lowercase().parse().ok().map(Name::slot)
}

/// The slot that a variable names, of the bytes of its file in efivarfs: four of attributes, then the
/// text in UTF-16, little-endian, with a zero behind it.
pub fn slot_of_variable(file: &[u8]) -> Option<Slot> {
    let text = file.get(4..)?;
    let units = text.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    // Names of entries are ASCII; what is not is none of them.
    let characters = units.take_while(|unit| *unit != 0);
    let text: Option<String> =
        characters.map(|unit| u8::try_from(unit).ok().map(char::from)).collect();
    slot(&text?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variable(text: &str) -> Vec<u8> {
        let text = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
        [6, 0, 0, 0].into_iter().chain(text).collect()
    }

    #[test]
    fn an_entry_says_whose_it_is() {
        for (path, want) in [
            ("2a.efi", Some(Slot::A)),
            ("1b.efi", Some(Slot::B)),
            ("10b+3.efi", Some(Slot::B)),
            ("3a+2-1.efi", Some(Slot::A)),
            ("\\EFI\\Linux\\1b+0-3.efi", Some(Slot::B)),
            ("/EFI/Linux/2a.efi", Some(Slot::A)),
            ("\\EFI\\LINUX\\2A.EFI", Some(Slot::A)),
            ("a.efi", None),
            ("2.efi", None),
            ("2c.efi", None),
            ("2ab.efi", None),
            ("2a", None),
            ("2a+.efi", None),
            ("2a+x.efi", None),
            ("2a+1-.efi", None),
            ("2a+1-1-1.efi", None),
            ("2a3.efi", None),
            ("\\EFI\\BOOT\\BOOTX64.EFI", None),
            ("\\EFI\\2a.efi\\x", None),
            ("2\u{e4}.efi", None),
            (".efi", None),
            ("", None),
        ] {
            assert_eq!(slot(path), want, "{path}");
            assert_eq!(slot_of_variable(&variable(path)), want, "{path}");
        }
    }

    #[test]
    fn what_is_cut_or_no_ascii_names_no_entry() {
        let whole = variable("2b.efi");
        assert_eq!(slot_of_variable(&whole[..whole.len() - 2]), Some(Slot::B), "no zero behind it");
        assert_eq!(slot_of_variable(&whole[..whole.len() - 3]), None);
        assert_eq!(slot_of_variable(&whole[..3]), None);
        assert_eq!(slot_of_variable(&variable("2b.ef\u{169}")), None);
        assert_eq!(slot_of_variable(&[&whole[..], b"more"].concat()), Some(Slot::B));
    }

    proptest! {
        #[test]
        fn no_variable_makes_the_parser_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            text in "[0-9]{0,3}[abAB\\\\/+-]{0,3}[0-9]{0,2}\\PC{0,2}[.]efi",
        ) {
            let _ = slot_of_variable(&bytes);
            let _ = slot(&text);
            let _ = slot_of_variable(&variable(&text));
        }
    }
}
