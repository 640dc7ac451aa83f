//! Values of a unit's keys, each checked when it is made.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// 1 to 32 of `a-z`, `0-9` and `-`, beginning with a letter: it becomes the name of a log file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitName(String);

impl UnitName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UnitName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let first = text.chars().next().is_some_and(|c| c.is_ascii_lowercase());
        if first && text.len() <= 32 && text.chars().all(good) {
            return Ok(Self(text));
        }
        Err(format!(
            "`{text}` is not a unit's name: use 1 to 32 of a-z, 0-9 and `-`, a letter first"
        ))
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// An absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsolutePath(pub PathBuf);

impl TryFrom<String> for AbsolutePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with('/') && !text.contains('\0') {
            return Ok(Self(text.into()));
        }
        Err(format!("`{text}` must begin with `/`"))
    }
}

/// A control group directly below the root, such as `/runtime`; not `/init`, where PID 1 lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CgroupPath(String);

impl CgroupPath {
    /// Its directory, where the hierarchy is mounted at `root`.
    pub fn below(&self, root: &Path) -> PathBuf {
        root.join(&self.0)
    }
}

impl TryFrom<String> for CgroupPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        match text.strip_prefix('/') {
            Some("init") => Err("`/init` is the control group of PID 1".to_owned()),
            Some(name) if !name.is_empty() && name.chars().all(good) => Ok(Self(name.to_owned())),
            _ => Err(format!(
                "`{text}` is not a control group of a unit: write `/` and a name of a-z, 0-9, `-`"
            )),
        }
    }
}

/// -1000 (never chosen by the OOM killer) to 1000 (first).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OomScore(i16);

impl TryFrom<i64> for OomScore {
    type Error = String;

    fn try_from(score: i64) -> Result<Self, String> {
        match i16::try_from(score) {
            Ok(score @ -1000..=1000) => Ok(Self(score)),
            _ => Err(format!("{score} is not an OOM score: use -1000 to 1000")),
        }
    }
}

impl fmt::Display for OomScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `"100ms"`, `"30s"`, `"5m"`: a whole number and its unit, at most a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextDuration(pub(super) Duration);

impl TryFrom<String> for TextDuration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            _ => 0,
        };
        let total = number.parse::<u64>().ok().and_then(|n| n.checked_mul(milliseconds));
        match total {
            Some(total) if milliseconds > 0 && total <= 86_400_000 => {
                Ok(Self(Duration::from_millis(total)))
            }
            _ => Err(format!("`{text}` is not a duration: write \"100ms\", \"30s\" or \"5m\"")),
        }
    }
}

/// `"64MiB"`: a whole number of `KiB`, `MiB` or `GiB`, not 0, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TextSize(pub(super) u64);

impl TryFrom<String> for TextSize {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let bytes = match unit {
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => 0,
        };
        match number.parse::<u64>().ok().and_then(|number| number.checked_mul(bytes)) {
            Some(total) if total > 0 => Ok(Self(total)),
            _ => Err(format!("`{text}` is not a size: write \"512KiB\", \"64MiB\" or \"1GiB\"")),
        }
    }
}
