//! What the boot loader is told by EFI variables, as systemd's Boot Loader Interface names them
//! (<https://systemd.io/BOOT_LOADER_INTERFACE/>), and the ids by which it knows its entries
//! (UAPI.1, "Boot Loader Specification", "Boot counting").
//!
//! A variable is a file of efivarfs: its attributes, then its value
//! (`Documentation/filesystems/efivarfs.rst` of the kernel).

/// Whose variables these are.
pub const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// The id of the entry that the loader starts once. It removes the variable before it does.
pub const ONE_SHOT: &str = "LoaderEntryOneShot";

/// Non-volatile, and there for boot services and at runtime (UEFI 2.10, 8.2): what outlives the machine
/// and what the loader can see.
const ATTRIBUTES: u32 = 0x7;

/// The longest value that is written or read, in UTF-16 units: a name of FAT.
const LONGEST: usize = 255;

/// The name of a variable's file.
pub fn file_name(variable: &str) -> String {
    format!("{variable}-{VENDOR}")
}

/// The bytes of a variable's file for a text: attributes, and the text in UTF-16 that ends with a zero.
/// `None` for a text that no entry can have: an empty one, one with a zero, or one that is too long.
pub fn encode(text: &str) -> Option<Vec<u8>> {
    let units = text.encode_utf16().count();
    if units == 0 || units > LONGEST || text.contains('\0') {
        return None;
    }
    let mut bytes = ATTRIBUTES.to_le_bytes().to_vec();
    bytes.extend(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
    Some(bytes)
}

/// The text of a variable's file; `None` if it holds none. The zero at its end may be missing, as some
/// write it so; its attributes do not matter.
pub fn parse(file: &[u8]) -> Option<String> {
    let (_, value) = file.split_first_chunk::<4>()?;
    let (pairs, []) = value.as_chunks::<2>() else { return None };
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    let text = units.strip_suffix(&[0]).unwrap_or(&units);
    if text.is_empty() || text.len() > LONGEST || text.contains(&0) {
        return None;
    }
    String::from_utf16(text).ok()
}

/// The id by which the loader knows the entry of a file: its name without the counters. An id with
/// them is consumed, and the default starts.
pub fn entry_id(file_name: &str) -> String {
    let Some((stem, suffix)) = file_name.rsplit_once('.') else { return file_name.to_owned() };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_counter = |text: &str| match text.split_once('-') {
        Some((left, done)) => is_number(left) && is_number(done),
        None => is_number(text),
    };
    match stem.rsplit_once('+') {
        Some((name, counter)) if is_counter(counter) => format!("{name}.{suffix}"),
        _ => file_name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_are_those_that_the_loader_was_seen_to_take() {
        assert_eq!(file_name(ONE_SHOT), "LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f");
        let want = b"\x07\0\0\x002\0b\0.\0e\0f\0i\0\0\0";
        assert_eq!(encode("2b.efi").as_deref(), Some(&want[..]));
        assert_eq!(parse(want).as_deref(), Some("2b.efi"));
        assert_eq!(parse(&want[..want.len() - 2]).as_deref(), Some("2b.efi"));
    }

    #[test]
    fn what_is_no_id_is_neither_written_nor_read() {
        for text in ["", "a\0b", &"x".repeat(256)] {
            assert_eq!(encode(text), None, "{text:?}");
        }
        for bytes in [
            &b""[..],
            b"\x07\0\0",
            b"\x07\0\0\0",
            b"\x07\0\0\0\0\0",
            b"\x07\0\0\0a",
            b"\x07\0\0\0\0\0a\0",
            b"\x07\0\0\0\0\xd8",
        ] {
            assert_eq!(parse(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn an_id_has_no_counters() {
        for (file, id) in [
            ("2b+0.efi", "2b.efi"),
            ("1a+3.efi", "1a.efi"),
            ("1a+2-1.efi", "1a.efi"),
            ("2b.efi", "2b.efi"),
            ("2b+.efi", "2b+.efi"),
            ("2b+x.efi", "2b+x.efi"),
            ("2b+1-.efi", "2b+1-.efi"),
            ("2b+1-2-3.efi", "2b+1-2-3.efi"),
            ("2b+1", "2b+1"),
            ("", ""),
        ] {
            assert_eq!(entry_id(file), id, "{file}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_read_back(text in "[^\0]{1,60}") {
            let bytes = encode(&text).expect("a text");
            prop_assert_eq!(parse(&bytes), Some(text));
        }

        #[test]
        fn any_counter_is_taken_off_and_an_id_is_its_own(
            name in "[0-9]{1,4}[ab]", left in 0_u32..1000, done in prop::option::of(0_u32..1000),
        ) {
            let counter = done.map_or(left.to_string(), |done| format!("{left}-{done}"));
            let id = format!("{name}.efi");
            prop_assert_eq!(entry_id(&format!("{name}+{counter}.efi")), id.clone());
            prop_assert_eq!(entry_id(&id), id);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
        }
    }
}
