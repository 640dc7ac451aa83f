//! How often something is done: `30m`, `6h`, `1d`.

use std::fmt;
use std::str::FromStr;

const UNITS: [(&str, u32); 3] = [("d", 86_400), ("h", 3600), ("m", 60)];

/// A time between two looks: a whole number of minutes, hours or days, from a minute to a week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval(u32);

impl Interval {
    const SHORTEST: u32 = 60;
    const LONGEST: u32 = 7 * 86_400;

    /// In seconds.
    pub fn seconds(self) -> u32 {
        self.0
    }
}

impl Default for Interval {
    /// An hour.
    fn default() -> Self {
        Self(3600)
    }
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = UNITS.iter().find_map(|(unit, seconds)| {
            let number = text.strip_suffix(unit)?;
            let digits = number.bytes().all(|byte| byte.is_ascii_digit());
            number.parse::<u32>().ok().filter(|_| digits)?.checked_mul(*seconds)
        });
        match seconds {
            Some(seconds) if (Self::SHORTEST..=Self::LONGEST).contains(&seconds) => {
                Ok(Self(seconds))
            }
            _ => Err(format!(
                "`{text}` is no interval: it is written as `30m`, `6h` or `1d`, from a minute to seven days"
            )),
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A minute divides every interval.
        let (unit, seconds) =
            UNITS.iter().find(|(_, seconds)| self.0.is_multiple_of(*seconds)).unwrap_or(&UNITS[2]);
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_number_and_its_unit() {
        for (text, seconds, shown) in [
            ("1m", 60, "1m"),
            ("90m", 5400, "90m"),
            ("60m", 3600, "1h"),
            ("48h", 172_800, "2d"),
            ("7d", 604_800, "7d"),
        ] {
            let interval: Interval = text.parse().unwrap();
            assert_eq!((interval.seconds(), interval.to_string()), (seconds, shown.to_owned()));
            assert_eq!(shown.parse(), Ok(interval));
        }
        assert_eq!(Interval::default().to_string(), "1h");
    }

    #[test]
    fn what_is_none_is_told() {
        for text in ["", "h", "1", "0m", "59s", "8d", "169h", "+1h", "1.5h", "1 h", "99999999999d"]
        {
            let error = text.parse::<Interval>().unwrap_err();
            assert!(error.starts_with(&format!("`{text}` is no interval: ")), "{error}");
        }
    }
}
