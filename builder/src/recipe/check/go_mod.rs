//! The two kinds of lines of a `go.mod` that matter here: `tool`, which programs may be built,
//! and `toolchain` (Go Modules Reference, "go.mod files").

use std::collections::BTreeSet;

/// What a `go.mod` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct GoMod {
    /// Import paths of the programs.
    pub(super) tools: BTreeSet<String>,
    /// Such as `go1.26.8`.
    pub(super) toolchain: Option<String>,
}

impl GoMod {
    /// Reads the text; lines that are not known are passed over, for `go` will judge them.
    pub(super) fn parse(text: &str) -> Self {
        let mut found = Self::default();
        let mut block = None;
        for line in text.lines() {
            let line = line.split_once("//").map_or(line, |(code, _)| code);
            let words: Vec<_> = line.split_whitespace().map(unquoted).collect();
            match (block, words.as_slice()) {
                (Some(_), [")"]) => block = None,
                (Some("tool"), [path]) | (None, ["tool", path]) if *path != "(" => {
                    found.tools.insert((*path).to_owned());
                }
                (None, [verb, "("]) => block = Some(*verb),
                (None, ["toolchain", name]) => found.toolchain = Some((*name).to_owned()),
                _ => {}
            }
        }
        found
    }
}

fn unquoted(word: &str) -> &str {
    let inner = |quote| word.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('`')).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tool_lines_are_found_alone_and_in_blocks() {
        let text = "module m // tool no\n\ngo 1.26.0\ntoolchain go1.26.8\ntool a/b\n\
                    tool (\n\tc/d // why\n\t\"e/f\"\n)\nrequire (\n\ttool/x v1.0.0\n\ttool\n)\n";
        let tools = ["a/b", "c/d", "e/f"].map(str::to_owned).into();
        let want = GoMod { tools, toolchain: Some("go1.26.8".to_owned()) };
        assert_eq!(GoMod::parse(text), want);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(tool|toolchain|[()\"`/ \n]|\\PC)*") {
            GoMod::parse(&text);
        }
    }
}
