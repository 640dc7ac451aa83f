//! Texts of others, made fit for a terminal.

/// Characters of a text of somebody else that are shown.
const LONGEST: usize = 400;

/// One line without control characters.
pub(crate) fn line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(plain).take(LONGEST).collect()
}
