//! CRC-32C (Castagnoli) as the kernel's `crc32c()` computes it: reflected polynomial 0x82F63B78,
//! the state goes in and comes out as it is, without a final inversion.

/// One step for each value of a byte.
const TABLE: [u32; 256] = {
    let mut table = [0_u32; 256];
    let mut index: u32 = 0;
    // `for` is not allowed in a constant.
    while index < 256 {
        let mut value = index;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0x82F6_3B78 } else { value >> 1 };
            bit += 1;
        }
        table[index as usize] = value;
        index += 1;
    }
    table
};

/// Takes `bytes` into `state`.
pub(super) fn crc32c(state: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(state, |state, byte| {
        let [low, ..] = state.to_le_bytes();
        state >> 8 ^ TABLE[usize::from(low ^ byte)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_check_value_comes_out() {
        // RFC 3720 inverts at both ends; 0xE3069283 is the catalogue's value for "123456789".
        assert_eq!(!crc32c(!0, b"123456789"), 0xE306_9283);
        assert_eq!(!crc32c(!0, &[0; 32]), 0x8A91_36AA);
    }

    #[test]
    fn pieces_sum_to_the_whole() {
        assert_eq!(crc32c(crc32c(!0, b"1234"), b"56789"), crc32c(!0, b"123456789"));
    }
}
