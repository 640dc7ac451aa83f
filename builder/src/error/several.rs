//! Many problems of one text as one error.

use std::fmt::{self, Write as _};

use super::{Error, Id};

/// One of them: a message, perhaps with the lines that are meant, and what cures it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) text: String,
    pub(crate) hint: Option<String>,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// One error for all problems of `what`, such as "the recipe".
pub(crate) fn several(id: Id, what: &str, mut problems: Vec<Shown>) -> Error {
    if problems.len() == 1
        && let Some(Shown { text, hint }) = problems.pop()
    {
        let error = Error::new(id, text);
        return match hint {
            Some(hint) => error.hint(hint),
            None => error,
        };
    }
    let mut text = format!("{} problems in {what}", problems.len());
    for problem in problems {
        text.push('\n');
        for line in problem.to_string().lines() {
            write!(text, "\n  {line}").expect("writing to a string cannot fail");
        }
    }
    Error::new(id, text)
}
