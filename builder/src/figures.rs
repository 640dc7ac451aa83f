//! Sizes and numbers as a person reads them: the one way in which all commands say them.

/// Bytes with a unit, such as `1.2 MiB`.
pub fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut scale = 1024_u128;
    let mut unit = 0;
    // To the nearest tenth, as everywhere: 1023.96 KiB is 1.0 MiB.
    let tenths = |scale: u128| (u128::from(bytes) * 10 + scale / 2) / scale;
    while tenths(scale) >= 10_240 && unit + 1 < units.len() {
        scale *= 1024;
        unit += 1;
    }
    let tenths = tenths(scale);
    format!("{}.{} {}", tenths / 10, tenths % 10, units[unit])
}

/// By how much something grew, with a sign.
pub fn growth(by: i64) -> String {
    let sign = if by < 0 { "-" } else { "+" };
    format!("{sign}{}", bytes(by.unsigned_abs()))
}

/// A number with its noun: `1 file`, `2 files`.
pub fn number(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A share in percent with one digit, such as `0.4 %`.
pub fn share(part: u64, whole: u64) -> String {
    let whole = u128::from(whole.max(1));
    let per_mille = (u128::from(part) * 1000 + whole / 2) / whole;
    format!("{}.{} %", per_mille / 10, per_mille % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_digit_behind_the_point_and_a_sign_where_they_grew() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (148_992_000, "142.1 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1 << 40, "1.0 TiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
        assert_eq!((growth(-2048), growth(0)), ("-2.0 KiB".into(), "+0 B".into()));
        assert_eq!((number(1, "file"), number(0, "file")), ("1 file".into(), "0 files".into()));
        assert_eq!((share(1, 250), share(1, 0)), ("0.4 %".into(), "100.0 %".into()));
    }
}
