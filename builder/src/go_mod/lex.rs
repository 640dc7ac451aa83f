//! The words of a `go.mod`, as Go's own lexer tells them apart: words and strings, brackets and
//! commas by themselves, comments after `//` wherever they begin.

/// What a line is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A bare word, a bracket or a comma.
    Word(&'a str),
    /// What stood between double quotes. It may stand for a path or a version and nothing else.
    Quoted(&'a str),
}

impl<'a> Token<'a> {
    /// The text, with or without quotes.
    pub(super) fn text(self) -> &'a str {
        match self {
            Self::Word(text) | Self::Quoted(text) => text,
        }
    }
}

/// The tokens of one line, without its comment.
///
/// # Errors
/// In words. Stricter than Go: no escapes in strings, and of other alphabets letters only.
pub(super) fn tokens(line: &str) -> Result<Vec<Token<'_>>, String> {
    // A lone carriage return counts as a blank, so the line ends of DOS need no care.
    const BLANK: [char; 3] = [' ', '\t', '\r'];
    let mut tokens = Vec::new();
    let mut rest = line.trim_start_matches(BLANK);
    while let Some(first) = rest.chars().next().filter(|_| !rest.starts_with("//")) {
        let length = match first {
            '"' => {
                let end = rest[1..].find('"').ok_or("a string does not end")?;
                let text = &rest[1..=end];
                if text.contains('\\') {
                    return Err("escapes in strings are not understood".to_owned());
                }
                tokens.push(Token::Quoted(text));
                end + 2
            }
            '(' | ')' | '[' | ']' | '{' | '}' | ',' => {
                tokens.push(Token::Word(&rest[..1]));
                1
            }
            _ => {
                let stops = |c: char| BLANK.contains(&c) || "()[]{},".contains(c);
                let word = &rest[..rest.find(stops).unwrap_or(rest.len())];
                let word = word.find("//").map_or(word, |comment| &word[..comment]);
                check(word)?;
                tokens.push(Token::Word(word));
                word.len()
            }
        };
        rest = rest[length..].trim_start_matches(BLANK);
    }
    Ok(tokens)
}

fn check(word: &str) -> Result<(), String> {
    if word.contains("/*") {
        return Err("a comment begins with `//`".to_owned());
    }
    let fits = |c: &char| c.is_ascii_graphic() && !"'`\"".contains(*c) || c.is_alphanumeric();
    match word.chars().find(|c| !fits(c)) {
        Some(c) => Err(format!("`{}` cannot stand in a word", c.escape_default())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_falls_into_words_strings_and_brackets() {
        for (line, want) in [
            ("require (// why", &["require", "("][..]),
            ("\ta.example/x\tv1.0.0//indirect\r", &["a.example/x", "v1.0.0"]),
            ("retract[v1.0.0,v1.1.0 ]", &["retract", "[", "v1.0.0", ",", "v1.1.0", "]"]),
            ("replace a=>b v1", &["replace", "a=>b", "v1"]),
            ("godebug a=b:c", &["godebug", "a=b:c"]),
            ("tool https://x", &["tool", "https:"]),
            ("   // nothing", &[]),
        ] {
            let tokens = tokens(line).unwrap();
            assert!(tokens.iter().all(|token| matches!(token, Token::Word(_))), "{line}");
            assert_eq!(tokens.into_iter().map(Token::text).collect::<Vec<_>>(), want, "{line}");
        }
        assert_eq!(
            tokens("x \"a (b//c\"y"),
            Ok(vec![Token::Word("x"), Token::Quoted("a (b//c"), Token::Word("y"),])
        );
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused() {
        for (line, why) in [
            ("tool \"x", "a string does not end"),
            (r#"tool "\x41""#, "escapes in strings are not understood"),
            ("tool `x`", "``` cannot stand in a word"),
            ("tool it's", "`\\'` cannot stand in a word"),
            ("tool a/*b*/", "a comment begins with `//`"),
            ("tool a\u{a0}b", "`\\u{a0}` cannot stand in a word"),
            ("\u{feff}module m", "`\\u{feff}` cannot stand in a word"),
        ] {
            assert_eq!(tokens(line), Err(why.to_owned()), "{line}");
        }
    }
}
