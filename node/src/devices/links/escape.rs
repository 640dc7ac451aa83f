//! How udev writes what devices say of themselves into names: `udev_replace_chars` and
//! `udev_replace_whitespace` of systemd, `blkid_encode_string` of libblkid.

/// What stands in a name as it is.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c) || !c.is_ascii()
}

/// Each letter that may not stand in a name becomes `_`; `allowed` may stand too.
pub(super) fn replaced(text: &str, allowed: &str) -> String {
    let letter = |c: char| {
        if (is_plain(c) && !c.is_control()) || allowed.contains(c) {
            c
        } else if c.is_ascii_whitespace() && allowed.contains(' ') {
            ' '
        } else {
            '_'
        }
    };
    text.chars().map(letter).collect()
}

/// Blanks at both ends go, those between become one `_`.
pub(super) fn joined(text: &str) -> String {
    text.split(|c: char| c.is_ascii_whitespace() || c == '\x0b')
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("_")
}

/// What is in an attribute, as a rule sees it.
pub(super) fn attribute(text: &str) -> String {
    replaced(text.trim_end_matches(|c: char| c.is_ascii_whitespace() || c == '\0'), "/ $%?,")
}

/// Labels and the like: what may not stand in a name is written by its bytes.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if is_plain(c) && !c.is_control() {
            out.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                out.push_str(&format!("\\x{byte:02x}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_replaced_blanks_joined_and_labels_encoded() {
        assert_eq!(replaced("QEMU NVMe Ctrl(1)", ""), "QEMU_NVMe_Ctrl_1_");
        assert_eq!(replaced("a/b\tc", "/ "), "a/b c");
        assert_eq!(joined("  QEMU    QEMU HARDDISK   x  "), "QEMU_QEMU_HARDDISK_x");
        assert_eq!(
            attribute("Amazon Elastic Block Store              \n"),
            "Amazon Elastic Block Store"
        );
        assert_eq!(encoded("my data/1 é"), "my\\x20data\\x2f1\\x20é");
    }
}
