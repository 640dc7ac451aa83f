//! Names that come from images, made harmless: one line, nothing that a terminal obeys, nothing that
//! turns the direction of what is written after it.

/// The text with an escape, as Rust writes it, for everything that is not seen as itself. `\` is
/// doubled, so that no two texts look alike.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\\' || c.is_control() || is_invisible(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Unicode's separators of lines, marks without width, and what turns the direction of writing.
fn is_invisible(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x61C | 0x180E | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0xFEFF
        | 0xFFF0..=0xFFFB | 0xE0000..=0xE0FFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_or_nobody_sees_is_escaped() {
        for (text, shown) in [
            ("/usr/bin/a b", "/usr/bin/a b"),
            ("ä→|<b>", "ä→|<b>"),
            ("a\nb\u{1b}[2J\u{9b}m", r"a\nb\u{1b}[2J\u{9b}m"),
            ("\u{202e}gpj.exe", r"\u{202e}gpj.exe"),
            (r"a\n", r"a\\n"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }
}
