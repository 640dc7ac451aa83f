//! Header blocks of HTTP/2 (HPACK, RFC 7541), as far as one client needs them.
//!
//! We send every field as a literal, and allow the server no dynamic table
//! (`SETTINGS_HEADER_TABLE_SIZE` is 0), so that a block is decoded by itself. No name that we
//! look for (`grpc-status`, `grpc-message`) is in the static table, so that is only counted.

/// Entries of the static table (appendix A).
const STATIC_ENTRIES: usize = 61;

/// Appends a field as a literal that is not to be indexed, without Huffman code (section 6.2.2).
pub(crate) fn encode(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        push_length(block, text.len());
        block.extend_from_slice(text.as_bytes());
    }
}

/// A length with a prefix of 7 bits (section 5.1).
fn push_length(block: &mut Vec<u8>, length: usize) {
    let small = u8::try_from(length).ok().filter(|&length| length < 0x7f);
    let Some(small) = small else {
        block.push(0x7f);
        let mut rest = length - 0x7f;
        while rest > 0x7f {
            block.push(u8::try_from(rest & 0x7f).unwrap_or(0) | 0x80);
            rest >>= 7;
        }
        return block.push(u8::try_from(rest).unwrap_or(0));
    };
    block.push(small);
}

/// The fields of a block whose names are spelled out; the others have one of the static table.
/// `None` if it is not well-formed or uses a dynamic table.
pub(crate) fn decode(mut block: &[u8]) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    while let Some(&first) = block.first() {
        let name = match first {
            // Indexed: name and value.
            0x80.. => {
                in_static_table(integer(&mut block, 7)?)?;
                continue;
            }
            // Literal with indexing, which does nothing in a table of no size.
            0x40.. => integer(&mut block, 6)?,
            // A new size of the dynamic table: it has none.
            0x20.. => {
                if integer(&mut block, 5)? != 0 {
                    return None;
                }
                continue;
            }
            // Literal, not or never indexed.
            _ => integer(&mut block, 4)?,
        };
        if name == 0 {
            let name = string(&mut block)?;
            fields.push((name, string(&mut block)?));
        } else {
            in_static_table(name)?;
            string(&mut block)?;
        }
    }
    Some(fields)
}

fn in_static_table(index: usize) -> Option<()> {
    (1..=STATIC_ENTRIES).contains(&index).then_some(())
}

/// An integer whose first byte has `bits` for it (section 5.1).
fn integer(block: &mut &[u8], bits: u32) -> Option<usize> {
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(take(block)?) & most;
    if value < most {
        return Some(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = take(block)?;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    // Far beyond any header.
    None
}

fn take(block: &mut &[u8]) -> Option<u8> {
    let (&byte, rest) = block.split_first()?;
    *block = rest;
    Some(byte)
}

/// A string literal (section 5.2). What is no UTF-8 is replaced: it is for people.
fn string(block: &mut &[u8]) -> Option<String> {
    let huffman = block.first()? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length)?;
    *block = rest;
    if !huffman {
        return Some(String::from_utf8_lossy(bytes).into_owned());
    }
    Some(String::from_utf8_lossy(&unpack(bytes)?).into_owned())
}

/// The length in bits of each byte's code (appendix B), and of the mark of the end. The code is
/// canonical: among codes of one length, those of smaller bytes are smaller.
const CODE_LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// How many codes there are of each length.
const CODES: [u32; 31] = {
    let mut codes = [0; 31];
    let mut symbol = 0;
    while symbol < CODE_LENGTHS.len() {
        codes[CODE_LENGTHS[symbol] as usize] += 1;
        symbol += 1;
    }
    codes
};

/// Undoes the Huffman code. Messages are short and rare, so it goes bit by bit.
fn unpack(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    // The first code of a length follows the last one of the length before.
    let (mut code, mut first, mut length) = (0, 0, 0);
    for byte in bytes {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            first = (first + CODES.get(length)?) << 1;
            length += 1;
            // No code of this length is smaller than the first.
            let nth = code - first;
            if nth < *CODES.get(length)? {
                // The mark of the end is no byte, and must not appear.
                plain.push(u8::try_from(symbol(length, nth)?).ok()?);
                (code, first, length) = (0, 0, 0);
            }
        }
    }
    // The rest of the last byte is filled with the beginning of the mark: ones.
    (length < 8 && code == (1 << length) - 1).then_some(plain)
}

/// What has the `nth` code of this length.
fn symbol(length: usize, nth: u32) -> Option<usize> {
    let same = |&symbol: &usize| usize::from(CODE_LENGTHS[symbol]) == length;
    (0..CODE_LENGTHS.len()).filter(same).nth(usize::try_from(nth).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let digit = |pair: &[u8]| {
            let text = str::from_utf8(pair).expect("ASCII");
            u8::from_str_radix(text, 16).expect("hexadecimal")
        };
        digits.chunks(2).map(digit).collect()
    }

    /// The other direction of what is tested.
    fn pack(text: &[u8]) -> Vec<u8> {
        let mut bits = String::new();
        for &byte in text {
            let length = usize::from(CODE_LENGTHS[usize::from(byte)]);
            let first = (0..length).fold(0, |first, length| (first + CODES[length]) << 1);
            let before = &CODE_LENGTHS[..usize::from(byte)];
            let before = before.iter().filter(|&&other| usize::from(other) == length).count();
            let code = first + u32::try_from(before).expect("few");
            bits.push_str(&format!("{code:0length$b}"));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        let byte = |bits: &[u8]| bits.iter().fold(0_u8, |byte, bit| byte << 1 | (bit - b'0'));
        bits.as_bytes().chunks(8).map(byte).collect()
    }

    #[test]
    fn the_examples_of_the_specification_are_undone() {
        // Section C.4 and C.6 of RFC 7541.
        for (code, plain) in [
            ("f1e3 c2e5 f23a 6ba0 ab90 f4ff", "www.example.com"),
            ("a8eb 1064 9cbf", "no-cache"),
            ("25a8 49e9 5bb8 e8b4 bf", "custom-value"),
            (
                "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            ("9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3", "https://www.example.com"),
        ] {
            assert_eq!(unpack(&hex(code)).as_deref(), Some(plain.as_bytes()), "{plain}");
        }
    }

    #[test]
    fn codes_that_do_not_end_well_are_refused() {
        // More than seven bits of filling, filling that is not ones, the mark of the end.
        for code in ["ff ff", "1e", "ff ff ff ff"] {
            assert_eq!(unpack(&hex(code)), None, "{code}");
        }
        assert_eq!(unpack(&hex("1f")).as_deref(), Some(&b"a"[..]));
    }

    #[test]
    fn trailers_as_grpc_go_sends_them_are_read() {
        let mut block = hex("20 88 5f");
        block.push(0x10);
        block.extend_from_slice(b"application/grpc");
        // `grpc-status` by Huffman code, value `5`; a literal which is never indexed.
        block.push(0x40);
        let name = pack(b"grpc-status");
        block.push(0x80 | u8::try_from(name.len()).expect("short"));
        block.extend_from_slice(&name);
        block.extend_from_slice(b"\x015\x10\x0cgrpc-message\x02no");
        let want = [("grpc-status", "5"), ("grpc-message", "no")];
        let want = want.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(decode(&block).as_deref(), Some(&want[..]));
    }

    #[test]
    fn a_dynamic_table_and_cut_blocks_are_refused() {
        for block in [
            "80",
            "be",
            "21",
            "3f e1 1f",
            "40",
            "00 01",
            "00 05 61",
            "7f ff ff ff ff ff 01",
            "0f 2f",
        ] {
            assert_eq!(decode(&hex(block)), None, "{block}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(name in "[a-z-]{0,20}", value in "[ -~]{0,300}") {
            let mut block = Vec::new();
            encode(&mut block, &name, &value);
            prop_assert_eq!(decode(&block), Some(vec![(name, value)]));
        }

        #[test]
        fn what_is_packed_is_unpacked(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(unpack(&pack(&bytes)), Some(bytes));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&bytes);
            let _ = unpack(&bytes);
        }
    }
}
