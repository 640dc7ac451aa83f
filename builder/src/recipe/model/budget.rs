//! `[budget]`: what an image may have at most. Nothing of it shapes a byte of one.

use std::fmt;
use std::num::NonZero;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::host_path;

/// What an image may have at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Budget {
    /// The root image with its hash tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Bytes>,
    /// Root and UKI of one slot as `zstd -3` packs them. To measure it takes the program `zstd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Bytes>,
    /// A UKI before it is padded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uki: Option<Bytes>,
    /// PID 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<Bytes>,
    /// Debian packages in the root, the kernel's among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<Count>,
    /// Files in the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Count>,
    /// Files in the root that somebody may execute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executables: Option<Count>,
    /// The directory of the build that [`Budget::max_growth`] is against.
    #[serde(with = "host_path::optional", skip_serializing_if = "Option::is_none")]
    pub base: Option<PathBuf>,
    /// Or the version: a ref, or the first digits of a commit, in the repository of the builds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_version: Option<String>,
    /// How much larger root and UKI may be than those of the base.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_growth: Option<Percent>,
}

/// How many there may be. No image has none of what is counted, so a limit of 0 is a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "i64", into = "u64")]
pub struct Count(NonZero<u64>);

impl Count {
    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl TryFrom<i64> for Count {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        let count = u64::try_from(number).ok().and_then(NonZero::new).map(Self);
        count.ok_or_else(|| format!("`{number}` is no limit: no image could keep to it"))
    }
}

impl From<Count> for u64 {
    fn from(count: Count) -> Self {
        count.get()
    }
}

/// A number of bytes that is not 0, written with its unit: `"62 MB"`, `"190 MiB"`, `"1988400 B"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bytes(pub u64);

/// Units from the largest to the smallest.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("B", 1),
];

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = || {
            let (number, unit) = text.split_once(' ')?;
            let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
            let number = Some(number).filter(|number| is_digits(number))?;
            number.parse::<u64>().ok()?.checked_mul(*factor)
        };
        match bytes() {
            Some(0) => Err(format!("`{text}` is no limit: no image could keep to it")),
            Some(bytes) => Ok(Self(bytes)),
            None => Err(format!(
                "`{text}` is not a size: write for example \"62 MB\", \"190 MiB\" or \"800 B\""
            )),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, factor): &&(&str, u64)| self.0 >= *factor && self.0.is_multiple_of(*factor);
        let (unit, factor) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{} {unit}", self.0 / factor)
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        bytes.to_string()
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An image that may become eleven times as large has no limit.
const MOST_PERCENT: u32 = 1000;

/// A part of a hundred, up to 1000: `"2%"`, `"0.25%"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Percent {
    // In hundredths of one percent.
    hundredths: u32,
}

impl Percent {
    /// In hundredths of one percent.
    pub const fn hundredths(self) -> u32 {
        self.hundredths
    }
}

impl TryFrom<String> for Percent {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let hundredths = || {
            let number = text.strip_suffix('%')?;
            let (whole, part) = number.split_once('.').unwrap_or((number, "00"));
            let plain = is_digits(whole) && is_digits(part) && part.len() <= 2;
            let part: u32 = format!("{part:0<2}").parse().ok().filter(|_| plain)?;
            // What is too large for a number is too large for a limit.
            let whole = whole.parse::<u32>().unwrap_or(u32::MAX);
            Some(whole.saturating_mul(100).saturating_add(part))
        };
        match hundredths() {
            Some(hundredths) if hundredths > MOST_PERCENT * 100 => {
                Err(format!("`{text}` is no limit: at most {MOST_PERCENT}% are one"))
            }
            Some(hundredths) => Ok(Self { hundredths }),
            None => {
                Err(format!("`{text}` is no percentage: write for example \"2%\" or \"0.25%\""))
            }
        }
    }
}

impl From<Percent> for String {
    fn from(percent: Percent) -> Self {
        let (whole, part) = (percent.hundredths / 100, percent.hundredths % 100);
        match part {
            0 => format!("{whole}%"),
            part => format!("{whole}.{part:02}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_again_as_they_were() {
        for (text, bytes) in [
            ("62 MB", 62_000_000),
            ("190 MiB", 190 << 20),
            ("1988400 B", 1_988_400),
            ("0800 B", 800),
        ] {
            let size = Bytes::try_from(text.to_owned()).unwrap();
            assert_eq!(size, Bytes(bytes));
            assert_eq!(Bytes::try_from(size.to_string()), Ok(size));
        }
        for text in [
            "62",
            "62MB",
            "MB",
            "-1 MB",
            "+1 MB",
            "1 mb",
            "1  MB",
            " MB",
            "99999999999 GiB",
            "0 B",
            "0 GiB",
        ] {
            assert!(Bytes::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_of_nothing_is_none() {
        assert_eq!(Count::try_from(1).map(Count::get), Ok(1));
        for number in [0, -1, i64::MIN] {
            assert!(Count::try_from(number).is_err(), "{number}");
        }
    }

    #[test]
    fn percentages_have_at_most_two_digits_behind_the_point() {
        for (text, hundredths) in
            [("2%", 200), ("0.25%", 25), ("0.5%", 50), ("0%", 0), ("1000%", 100_000)]
        {
            let percent = Percent::try_from(text.to_owned()).unwrap();
            assert_eq!(percent, Percent { hundredths });
            assert_eq!(Percent::try_from(String::from(percent)), Ok(percent));
        }
        for text in [
            "2",
            "%",
            "-2%",
            "2.%",
            "2.125%",
            "two%",
            "+2%",
            ".5%",
            "2 %",
            "1.+5%",
            "1000.01%",
            "99999999999%",
        ] {
            assert!(Percent::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
