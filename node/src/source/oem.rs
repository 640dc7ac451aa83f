//! The OEM strings of SMBIOS: words that a hypervisor or a maker put there for the system to read.
//!
//! Format: DMTF DSP0134, 6.1.2 (structure header), 6.1.3 (strings), 7.12 (type 11). The kernel
//! gives each structure with its strings in `/sys/firmware/dmi/entries/11-N/raw`
//! (drivers/firmware/dmi-sysfs.c). QEMU: `-smbios type=11,value=org.orlop.config=URL`.

/// The type of the structure.
const OEM_STRINGS: u8 = 11;

/// Type, length and handle, and the number of strings.
const HEADER: usize = 5;

/// The strings of one structure of type 11, in order; none if it is anything else.
pub fn strings(raw: &[u8]) -> Vec<&[u8]> {
    let (Some([OEM_STRINGS, length]), Some(count)) = (raw.first_chunk(), raw.get(HEADER - 1))
    else {
        return Vec::new();
    };
    let Some(rest) = raw.get(usize::from(*length).max(HEADER)..) else {
        return Vec::new();
    };
    rest.split(|byte| *byte == 0)
        .take_while(|string| !string.is_empty())
        .take(usize::from(*count))
        .collect()
}

/// The value of the first string `KEY=VALUE` with this key.
pub fn value<'a>(raw: &'a [u8], key: &str) -> Option<&'a [u8]> {
    strings(raw)
        .into_iter()
        .find_map(|string| string.strip_prefix(key.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn structure(length: u8, count: u8, strings: &[u8]) -> Vec<u8> {
        let mut raw = vec![11, length, 0, 14, count];
        raw.resize(usize::from(length).max(5), 0xee);
        raw.extend(strings);
        raw
    }

    #[test]
    fn a_value_is_found_by_its_key() {
        let raw = structure(5, 3, b"a=1\0org.orlop.config=http://h/n?a=b\0c\0\0");
        assert_eq!(strings(&raw), [&b"a=1"[..], b"org.orlop.config=http://h/n?a=b", b"c"]);
        assert_eq!(value(&raw, "org.orlop.config"), Some(&b"http://h/n?a=b"[..]));
        assert_eq!(value(&raw, "org.orlop"), None);
        assert_eq!(value(&raw, "c"), None);
    }

    #[test]
    fn strings_begin_after_the_structure_and_end_with_it() {
        assert_eq!(strings(&structure(8, 2, b"a\0b\0\0")), [b"a", b"b"]);
        assert_eq!(strings(&structure(5, 1, b"a\0b\0\0")), [b"a"]);
        assert_eq!(strings(&structure(5, 9, b"a\0\0b\0\0")), [b"a"]);
        // Without the NUL at the end, and with a length that no structure has.
        assert_eq!(strings(&structure(5, 1, b"a")), [b"a"]);
        assert_eq!(strings(&structure(0, 1, b"a\0\0")), [b"a"]);
    }

    #[test]
    fn another_structure_has_none() {
        let mut raw = structure(5, 1, b"a\0\0");
        raw[0] = 1;
        assert_eq!(strings(&raw), Vec::<&[u8]>::new());
        assert_eq!(strings(&[11, 5, 0, 0]), Vec::<&[u8]>::new());
        assert_eq!(strings(&[11, 200, 0, 0, 1, b'a', 0]), Vec::<&[u8]>::new());
    }

    proptest! {
        #[test]
        fn no_structure_makes_the_parser_panic(mut raw in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = strings(&raw);
            if let Some(first) = raw.first_mut() {
                *first = OEM_STRINGS;
            }
            prop_assert!(strings(&raw).len() <= 255);
        }
    }
}
