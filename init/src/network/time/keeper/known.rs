//! What outlives the process that keeps the clock, as a line of text for the next one. Times are in
//! milliseconds since the kernel started, which has not started again meanwhile.

use std::time::Duration;

const SET: &str = "set";
const AGREED: &str = "agreed";
/// What stands for "no" and "never".
const NO: &str = "-";

/// What a [`super::Keeper`] knows of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known {
    /// Servers have told the time once.
    pub set: bool,
    /// Several of them.
    pub agreed: bool,
    /// When they last have, if the kernel was not told since that this is too long ago.
    pub heard: Option<Duration>,
}

impl Known {
    /// The line: `set agreed 74250`.
    pub fn to_line(self) -> String {
        let word = |is_so, word| if is_so { word } else { NO };
        let heard = self.heard.map_or_else(|| NO.to_owned(), |at| at.as_millis().to_string());
        format!("{} {} {heard}", word(self.set, SET), word(self.agreed, AGREED))
    }

    /// Out of a line; one that is none says nothing.
    pub fn from_line(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let [set, agreed, heard] = words[..] else { return Self::default() };
        let heard = heard.parse().ok().map(Duration::from_millis);
        Self { set: set == SET, agreed: agreed == AGREED, heard }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_the_clock_is_the_same_after_the_program_has_started_again() {
        let heard = Some(Duration::from_millis(74_250));
        for (known, line) in [
            (Known { set: true, agreed: true, heard }, "set agreed 74250"),
            (Known { set: true, agreed: false, heard: None }, "set - -"),
            (Known::default(), "- - -"),
        ] {
            assert_eq!(known.to_line(), line);
            assert_eq!(Known::from_line(line), known);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_panic(text in ".{0,40}", number in "[-0-9]{0,30}") {
            let _ = Known::from_line(&text);
            let _ = Known::from_line(&format!("set agreed {number}"));
        }
    }
}
