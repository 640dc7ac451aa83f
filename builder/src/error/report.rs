//! A failure as a program reads it. `docs/json.md` has the fields.

use serde::Serialize;

use super::{Error, Exit, Id};

/// The version of all JSON that commands print.
pub const SCHEMA: u32 = 1;

/// One line of JSON on stderr, the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    schema: u32,
    event: &'static str,
    id: &'static str,
    class: &'static str,
    status: u8,
    message: String,
    hints: Vec<String>,
}

impl Failure {
    /// What is said of this error.
    pub fn new(error: &Error) -> Self {
        Self::of(error.id(), error.chain(), error.cures())
    }

    /// What is said of a command line that the parser of arguments refuses in these words. It
    /// writes for people: what is wrong, tips, how to call it, and where there is more.
    pub fn usage(text: &str) -> Self {
        let text = text.strip_prefix("error: ").unwrap_or(text);
        let end = ["\nUsage:", "\nFor more information"].iter().filter_map(|mark| text.find(mark));
        let said = &text[..end.min().unwrap_or(text.len())];
        let tip = |line: &&str| line.trim_start().starts_with("tip: ");
        let (tips, message): (Vec<&str>, Vec<&str>) = said.lines().partition(tip);
        let mut hints: Vec<_> =
            tips.iter().map(|tip| tip.trim_start().trim_start_matches("tip: ").into()).collect();
        if hints.is_empty() {
            hints.push("`orlop help` says what can be typed".to_owned());
        }
        Self::of(Id::CommandLine, message.join("\n").trim().to_owned(), hints)
    }

    fn of(id: Id, message: String, hints: Vec<String>) -> Self {
        let exit = id.exit();
        let (id, class) = (id.code(), exit.class());
        Self { schema: SCHEMA, event: "error", id, class, status: exit as u8, message, hints }
    }
}

impl Exit {
    /// The class in a word.
    pub fn class(self) -> &'static str {
        match self {
            Self::CheckFailed => "check-failed",
            Self::Usage => "usage",
            Self::Recipe => "recipe",
            Self::Lock => "lock",
            Self::Fetch => "fetch",
            Self::Environment => "environment",
            Self::Io => "io",
            Self::Verification => "verification",
            Self::Bug => "bug",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_parser_of_arguments_says_becomes_a_message_and_its_tips_hints() {
        let text = "error: unexpected argument '--ofline' found\n\n  tip: a similar argument exists: \
                    '--offline'\n\nUsage: orlop build [RECIPE]\n\nFor more information, try \
                    '--help'.\n";
        let failure = Failure::usage(text);
        assert_eq!(failure.message, "unexpected argument '--ofline' found");
        assert_eq!(failure.hints, ["a similar argument exists: '--offline'"]);
        let failure = Failure::usage("error: invalid value 'x' for '--jobs <N>': not a number");
        assert_eq!(failure.message, "invalid value 'x' for '--jobs <N>': not a number");
        assert_eq!((failure.id, failure.status), ("E0200", 2));
        assert_eq!(failure.hints.len(), 1);
    }

    #[test]
    fn causes_and_line_breaks_stay_in_one_line() {
        let error =
            Error::new(Id::Write, "cannot write\n  x").caused_by(std::io::Error::other("y"));
        let line = serde_json::to_string(&Failure::new(&error)).unwrap();
        assert_eq!(
            line,
            r#"{"schema":1,"event":"error","id":"E0702","class":"io","status":7,"message":"cannot write\n  x: y","hints":["`orlop explain E0702` says more"]}"#
        );
    }
}
