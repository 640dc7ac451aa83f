//! Names for commits: paths below `refs/heads`, each a file with a digest.

use std::fmt;
use std::str::FromStr;

use crate::digest::Sha256;

/// The name of a ref: parts of letters and digits of any script, `-`, `.` and `_`, joined by `/`. No
/// part begins with `-` or `.`. This is the rule of `ostree_validate_rev` in `ostree-core.c`, whose
/// `\w` is a letter or a number of Unicode and, since PCRE 10.43, a mark that combines with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference(String);

/// Bytes of a name in a directory: `NAME_MAX` of `linux/limits.h`.
const LONGEST_PART: usize = 255;

/// A text is not the name of a ref.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be the name of a ref: use letters, digits, `_`, then also `-` and `.`, and `/` \
     between parts"
)]
pub struct ReferenceError(String);

impl Reference {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let part = |part: &str| {
            part.len() <= LONGEST_PART
                && part.starts_with(is_of_a_word)
                && part.chars().all(|c| is_of_a_word(c) || "-.".contains(c))
        };
        if text.split('/').all(part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ReferenceError(text.to_owned()))
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What `\w` stands for. The marks are those which letters are decomposed into.
fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || matches!(c, '\u{300}'..='\u{36f}')
}

/// The commit that the file of a ref names.
pub fn parse_target(text: &str) -> Option<Sha256> {
    text.trim_end_matches('\n').parse().ok()
}

/// The file of a ref that names this commit.
pub fn target(commit: &Sha256) -> String {
    format!("{commit}\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_a_ref_that_stays_below_its_directory_or_is_refused(
            text in prop_oneof![any::<String>(), "[a-z./-]{0,12}"],
        ) {
            if let Ok(name) = text.parse::<Reference>() {
                let path = format!("/{name}/");
                prop_assert!(!path.contains("/../") && !path.contains("//"));
                prop_assert_eq!(name.as_str(), &text);
            }
            let _ = parse_target(&text);
        }
    }

    #[test]
    fn a_ref_is_a_path_that_stays_where_it_is() {
        for good in ["main", "orlop/x86_64/node/dev", "a.b/c-", "_a", "é", "e\u{301}", "节点/²½Ⅷ"]
        {
            assert_eq!(good.parse::<Reference>().unwrap().as_str(), good);
        }
        let long = "a".repeat(256);
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "a/../b",
            ".",
            ".a",
            "a/-b",
            "a b",
            "a:b",
            "a+b",
            "→",
            "a\n",
            "a\u{200d}b",
            "\u{202e}a",
            &long,
        ] {
            assert_eq!(bad.parse::<Reference>(), Err(ReferenceError(bad.to_owned())), "{bad:?}");
        }
    }

    #[test]
    fn the_file_of_a_ref_is_a_digest_and_a_line_break() {
        let commit = Sha256::of("x");
        assert_eq!(parse_target(&target(&commit)), Some(commit));
        assert_eq!(parse_target(target(&commit).trim_end()), Some(commit));
        for bad in ["", "\n", "ba78\n", "x".repeat(64).as_str()] {
            assert_eq!(parse_target(bad), None);
        }
    }
}
