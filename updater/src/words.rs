//! Errors in words.

use std::error::Error;

/// An error and what it came from, in one line.
pub(crate) fn words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = error.to_string();
        // Some say their cause themselves.
        if !text.ends_with(&why) {
            text += &format!(": {why}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Failure {
        text: &'static str,
        source: std::io::Error,
    }

    #[test]
    fn causes_are_said_once() {
        let failure = |text| Failure { text, source: std::io::Error::other("no room") };
        assert_eq!(words(&failure("cannot write")), "cannot write: no room");
        assert_eq!(words(&failure("cannot write: no room")), "cannot write: no room");
    }
}
