//! The arguments of a command, read by hand, and why a command did not do its work.

use std::ffi::OsString;
use std::fmt;

/// Why a command did not do its work.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// It was called wrongly: status 2.
    Usage(String),
    /// It failed: status 1. More than one line if there is more than one reason.
    Failed(String),
}

impl Failure {
    /// The exit status for it.
    pub fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Failure {}

/// The arguments that nobody has taken yet.
#[derive(Debug)]
pub struct Arguments(Vec<String>);

impl Arguments {
    /// The arguments without the program's name.
    ///
    /// # Errors
    /// When one is no text.
    pub fn new(arguments: impl Iterator<Item = OsString>) -> Result<Self, Failure> {
        let text = |argument: OsString| {
            argument
                .into_string()
                .map_err(|raw| Failure::Usage(format!("`{}` is not UTF-8", raw.to_string_lossy())))
        };
        arguments.map(text).collect::<Result<_, _>>().map(Self)
    }

    /// Takes `--flag` and says whether it was there.
    pub fn flag(&mut self, flag: &str) -> bool {
        let at = self.0.iter().position(|argument| argument == flag);
        at.map(|at| self.0.remove(at)).is_some()
    }

    /// Takes `--option VALUE` or `--option=VALUE`.
    ///
    /// # Errors
    /// When the value is missing.
    pub fn option(&mut self, option: &str) -> Result<Option<String>, Failure> {
        let value_of = |argument: &String| {
            let rest = argument.strip_prefix(option)?;
            if rest.is_empty() {
                Some(None)
            } else {
                Some(Some(rest.strip_prefix('=')?.to_owned()))
            }
        };
        let found = self.0.iter().enumerate().find_map(|(at, a)| Some((at, value_of(a)?)));
        match found {
            None => Ok(None),
            Some((at, Some(value))) => {
                self.0.remove(at);
                Ok(Some(value))
            }
            Some((at, None)) if at + 1 < self.0.len() => {
                self.0.remove(at);
                Ok(Some(self.0.remove(at)))
            }
            Some(_) => Err(Failure::Usage(format!("`{option}` needs a value"))),
        }
    }

    /// Takes the first argument that is left, which the help calls `name`. Options and flags must
    /// have been taken before.
    ///
    /// # Errors
    /// When there is none.
    pub fn operand(&mut self, name: &str) -> Result<String, Failure> {
        if self.0.is_empty() {
            return Err(Failure::Usage(format!("{name} is missing")));
        }
        Ok(self.0.remove(0))
    }

    /// All has been taken that the command knows.
    ///
    /// # Errors
    /// When something is left.
    pub fn finish(&self) -> Result<(), Failure> {
        match self.0.first() {
            None => Ok(()),
            Some(left) => Err(Failure::Usage(format!("`{left}` is not expected here"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Arguments {
        Arguments::new(text.split_whitespace().map(OsString::from)).unwrap()
    }

    #[test]
    fn flags_options_and_operands_are_taken_in_any_order() {
        for text in ["--url --root /x dir", "dir --root=/x --url", "--root /x dir --url"] {
            let mut arguments = arguments(text);
            assert!(arguments.flag("--url") && !arguments.flag("--url"));
            assert_eq!(arguments.option("--root"), Ok(Some("/x".to_owned())), "{text}");
            assert_eq!(arguments.option("--root"), Ok(None));
            assert_eq!(arguments.operand("DIR"), Ok("dir".to_owned()));
            assert_eq!(arguments.finish(), Ok(()));
        }
    }

    #[test]
    fn what_is_missing_or_left_over_is_named() {
        let failure = |text: &str| Failure::Usage(text.to_owned());
        assert_eq!(arguments("--root").option("--root"), Err(failure("`--root` needs a value")));
        assert_eq!(arguments("").operand("DIR"), Err(failure("DIR is missing")));
        assert_eq!(arguments("--rot").finish(), Err(failure("`--rot` is not expected here")));
        assert_eq!(arguments("--roots=/x").option("--root"), Ok(None));
    }
}
