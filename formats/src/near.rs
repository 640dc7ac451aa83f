//! "Did you mean": the known word that a mistyped one is closest to.

/// Longer words are no slip of the finger.
const LONGEST: usize = 200;

/// The name among `known` that was probably meant by `word`: at most one slip of the finger, and
/// one more for every four characters, up to four.
pub fn near<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Comparing takes time and memory by the product of the lengths.
    if word.len() > LONGEST {
        return None;
    }
    let distance = |name: &str| strsim::damerau_levenshtein(word, name);
    let allowed = 1 + (word.chars().count() / 4).min(3);
    known
        .into_iter()
        .map(|name| (distance(name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood_and_another_word_is_not() {
        let keys = ["modules", "initrd-modules", "command-line", "package"];
        for (word, want) in [
            ("modles", Some("modules")),
            ("initrd_modules", Some("initrd-modules")),
            ("command_line", Some("command-line")),
            ("pakcage", Some("package")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(near(word, keys), want, "{word}");
        }
    }
}
