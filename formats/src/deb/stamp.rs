//! Times as archives of past days write them: `20261128T000000Z` (ISO 8601, basic form, always in
//! universal time).

use std::fmt;
use std::str::FromStr;

use super::date;

/// A second between 1970 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    // Invariant: of a year before 10000.
    seconds: u64,
}

/// The text is not a time of this form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time such as `20261128T000000Z`")]
pub struct StampError(String);

impl Stamp {
    /// The time so many seconds after 1970-01-01 00:00 UTC, if it is before the year 10000.
    pub fn from_seconds(seconds: u64) -> Option<Self> {
        (seconds < 253_402_300_800).then_some(Self { seconds })
    }

    /// Seconds since 1970-01-01 00:00 UTC.
    pub const fn seconds(self) -> u64 {
        self.seconds
    }
}

impl FromStr for Stamp {
    type Err = StampError;

    fn from_str(text: &str) -> Result<Self, StampError> {
        let read = || {
            let digits = |from: usize, to: usize| {
                let digits = text.get(from..to)?;
                digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
            };
            let form = text.len() == 16 && text.get(8..9)? == "T" && text.ends_with('Z');
            let days = date::days(digits(0, 4)?, digits(4, 6)?, digits(6, 8)?)?;
            let (hour, minute, second) = (digits(9, 11)?, digits(11, 13)?, digits(13, 15)?);
            let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
            (form && hour < 24 && minute < 60 && second < 60).then_some(Self { seconds })
        };
        read().ok_or_else(|| StampError(text.to_owned()))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.seconds / 86_400, self.seconds % 86_400);
        let (year, month, day) = date::calendar(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stamps_become_seconds() {
        // As `date -u -d TEXT +%s` has it.
        for (text, seconds) in [
            ("19700101T000000Z", 0),
            ("20000229T235959Z", 951_868_799),
            ("20261128T000000Z", 1_795_824_000),
            ("21000301T000000Z", 4_107_542_400),
            ("99991231T235959Z", 253_402_300_799),
        ] {
            assert_eq!(text.parse::<Stamp>().map(Stamp::seconds), Ok(seconds), "{text}");
            assert_eq!(Stamp::from_seconds(seconds).unwrap().to_string(), text);
        }
        assert_eq!(Stamp::from_seconds(253_402_300_800), None);
    }

    #[test]
    fn what_is_not_such_a_time_is_refused() {
        for text in [
            "",
            "20261128",
            "2026-11-28T00:00:00Z",
            "20261128T000000",
            "20261128T240000Z",
            "20261128T006000Z",
            "20260229T000000Z",
            "20261328T000000Z",
            "19691231T235959Z",
            "20261128t000000Z",
            "20261128T000000Zx",
            "+0261128T000000Z",
            "2026112äT00000Z",
        ] {
            assert_eq!(text.parse::<Stamp>(), Err(StampError(text.to_owned())), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_stamp_comes_back_from_its_text(seconds in 0..253_402_300_800_u64) {
            let stamp = Stamp::from_seconds(seconds).unwrap();
            prop_assert_eq!(stamp.to_string().parse::<Stamp>(), Ok(stamp));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "([0-9]{8}T[0-9]{6}Z|[0-9]{0,4}.{0,16})") {
            drop(text.parse::<Stamp>());
        }
    }
}
