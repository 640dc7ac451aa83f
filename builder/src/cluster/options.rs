//! What may be asked of a cluster.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Arguments of `orlop cluster`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Keep the cluster's files in DIR, which must not exist or be empty; its logs stay there
    /// [default: a temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The directory with `kubernetes/go.mod` and `etcd/go.mod` [default: `components` or
    /// `recipes/components` in or above the current directory, or above the program]
    #[arg(long, value_name = "DIR")]
    pub components: Option<PathBuf>,
    /// Build also the programs of something that runs on nodes, beside the cluster's in `bin`
    #[arg(long, value_name = "WHAT")]
    pub with: Vec<Extra>,
    /// How long certificates live which the cluster signs for kubelets, such as 90s, 2m, 12h, 30d
    #[arg(long, value_name = "TIME", default_value = "365d")]
    pub certificate_life: Life,
    /// How long nodes may join with the bootstrap token
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub token_life: Life,
}

/// What can be built beside a control plane, to be put into images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Extra {
    /// `flanneld` and its CNI plugin `flannel`: a pod network that spans nodes
    Flannel,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dir: None,
            components: None,
            with: Vec::new(),
            certificate_life: Life(365 * 24 * 3600),
            token_life: Life(24 * 3600),
        }
    }
}

/// How long something is valid, in seconds: at least one, at most ten years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life(u64);

impl Life {
    const LONGEST: u64 = 10 * 365 * 24 * 3600;

    /// As a time.
    pub fn time(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0)
    }

    /// In seconds.
    pub fn seconds(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Life {
    /// As Go's `time.ParseDuration` reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

impl FromStr for Life {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 24 * 3600)];
        let mut named = units
            .iter()
            .filter_map(|(unit, seconds)| text.strip_suffix(unit).map(|number| (number, *seconds)));
        let (number, factor) = named.next().unwrap_or((text, 1));
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = digits.then(|| number.parse::<u64>().ok()?.checked_mul(factor)).flatten();
        match seconds {
            Some(seconds @ 1..=Self::LONGEST) => Ok(Self(seconds)),
            Some(_) => Err("it must be at least 1s and at most ten years".to_owned()),
            None => Err(format!("`{text}` is not a time: write for example 90s, 2m, 12h or 30d")),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn the_defaults_are_those_of_the_command_line() {
        let parsed = Cli::try_parse_from(["cluster"]).unwrap().options;
        assert_eq!(format!("{parsed:?}"), format!("{:?}", Options::default()));
    }

    #[test]
    fn times_are_read_with_their_unit() {
        for (text, seconds) in
            [("90", 90), ("90s", 90), ("2m", 120), ("12h", 43200), ("30d", 2_592_000)]
        {
            assert_eq!(text.parse(), Ok(Life(seconds)), "{text}");
        }
        assert_eq!("2m".parse::<Life>().unwrap().to_string(), "120s");
        for text in ["", "s", "0", "-1s", "+1s", "1w", "1.5h", "4000d", "99999999999999999999d"] {
            assert!(text.parse::<Life>().is_err(), "{text}");
        }
    }
}
